//! What stands for a missing sample.

use serde::{Deserialize, Serialize};

/// The declared policy for gaps inside a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapPolicy {
    /// A straight line between the neighbours.
    #[default]
    Interpolate,
    /// The last sample before the gap.
    Hold,
    /// No forecast for a channel with a gap.
    Error,
}
