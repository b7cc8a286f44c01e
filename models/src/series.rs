//! One channel's window on a regular grid: what a fit sees.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::{Grid, Slot, Timestamp};

/// A channel's name, shared: the same text stands in histories, jobs, forecasts and snapshots.
pub type ChannelName = Arc<str>;

/// The newest samples of one channel on its grid, oldest first.
///
/// A gap is a `NaN`. The first and the last value are never gaps, so `values` of a series is empty only for a
/// channel that has no sample at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Whose samples these are.
    pub channel: ChannelName,
    /// The grid on which they lie.
    pub grid: Grid,
    /// The slot of `values[0]`.
    pub first_slot: Slot,
    /// One value a slot.
    pub values: Vec<f64>,
}

impl Series {
    /// The time of the newest sample: forecasts start one step after it. `None` without samples.
    pub fn cutoff(&self) -> Option<Timestamp> {
        let last = self.values.len().checked_sub(1)?;
        Some(self.grid.time(self.first_slot + last as Slot))
    }
}
