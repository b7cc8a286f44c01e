//! What is known of the libtorch child, and what it did.

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
    /// Whether it computes networks by oneDNN, once it has said so: slow where it does not.
    pub onednn: Option<bool>,
    /// Why the last one ended or could not start.
    pub last_error: Option<String>,
}

/// What became of fits that the libtorch child was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TorchFits {
    /// Channels that it fitted.
    pub fitted: u64,
    /// Channels that it left to the CPU, since it was not sure.
    pub unsure: u64,
    /// Batches that it failed to answer, or not with what can be true; the CPU fitted their channels.
    pub failed: u64,
}
