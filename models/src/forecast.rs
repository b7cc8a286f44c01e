//! A forecast as plain data: means and intervals for the steps after a cutoff.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::series::ChannelName;
use crate::time::{Grid, Slot, Timestamp};

/// The share of outcomes that an interval promises to hold: strictly between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Level(f64);

impl Level {
    /// A level, if it lies strictly between 0 and 1.
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share < 1.0).then_some(Self(share))
    }

    /// The share, between 0 and 1.
    pub fn share(self) -> f64 {
        self.0
    }

    /// In percent with no trailing zeros, as column names have it: `80`, `97.5`.
    pub fn percent(self) -> String {
        let text = format!("{:.4}", self.0 * 100.0);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl fmt::Display for Level {
    /// As a share, the way the metric label has it: `0.8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The bounds of a forecast at one level, one pair a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// What the bounds promise.
    pub level: Level,
    /// Lower bound of each step, in the channel's unit.
    pub lower: Vec<f64>,
    /// Upper bound of each step, in the channel's unit.
    pub upper: Vec<f64>,
}

/// What is expected of a channel after its cutoff. Every number in it is finite, every length is the horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Whose forecast this is.
    pub channel: ChannelName,
    /// The channel's grid; step 1 is the slot after `cutoff_slot`.
    pub grid: Grid,
    /// The slot of the newest sample that the forecast has seen.
    pub cutoff_slot: Slot,
    /// The expected value of each step, in the channel's unit.
    pub mean: Vec<f64>,
    /// One entry a level, in the order asked for; empty where the samples are too few to tell a variance.
    pub intervals: Vec<Interval>,
}

impl Forecast {
    /// The time of the newest sample that the forecast has seen.
    pub fn cutoff(&self) -> Timestamp {
        self.grid.time(self.cutoff_slot)
    }

    /// The time that a step (1, 2, …) speaks of.
    pub fn time(&self, step: usize) -> Timestamp {
        self.grid.time(self.cutoff_slot.saturating_add(step as Slot))
    }

    /// The number of steps.
    pub fn horizon(&self) -> usize {
        self.mean.len()
    }
}
