//! What is known of the libtorch child.

/// What is known of the libtorch child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TorchStatus {
    /// Whether a child runs and has answered its last ping.
    pub up: bool,
    /// Times a child had to be started again.
    pub restarts: u64,
    /// The libtorch it runs on, once it has said so: `2.11.0`.
    pub version: Option<String>,
    /// `cpu` or `cuda`, once it has said so.
    pub device: Option<String>,
    /// Why the last one ended or could not start.
    pub last_error: Option<String>,
}
