//! What is asked, and the samples that it is asked of.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::member::Member;
use crate::forecast::Level;
use crate::moments::WindowMoments;

/// The lookback of a channel is a power of two below the one that is asked for, so that channels share pools.
const SHORTEST_LOOKBACK: usize = 2;
/// The moments of windows grow with the square of their length: 26 MB each for this one.
const LONGEST_WINDOW: usize = 2_560;
/// A validation stretch is this share of the samples, if nobody says where it begins.
pub(crate) const VALIDATION_SHARE: usize = 5;

/// What is asked of a combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoSpec {
    /// Steps to forecast.
    pub horizon: NonZeroUsize,
    /// Samples a forecast may look back on; a short channel looks back less.
    pub lookback: NonZeroUsize,
    /// Samples of a season, if the channel has one.
    pub season: Option<NonZeroUsize>,
    /// What to choose from, each once. With one there is no choice.
    pub members: Vec<Member>,
    /// Intervals to give.
    pub levels: Vec<Level>,
}

/// A channel as it is fitted: samples without gaps, of about unit variance around zero.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    pub(super) values: &'a [f64],
    pub(super) validation: usize,
    pub(super) lookback: NonZeroUsize,
}

impl<'a> Training<'a> {
    /// Samples up to the cutoff, oldest first, with the place where the validation stretch begins. `None` if they are
    /// too few on either side of it, for this horizon.
    pub fn new(values: &'a [f64], validation: usize, spec: &AutoSpec) -> Option<Self> {
        let horizon = spec.horizon.get();
        let windows = (validation + 1).checked_sub(horizon)?;
        let asked = spec.lookback.get().min(LONGEST_WINDOW.checked_sub(horizon)?);
        if values.len() < validation + horizon {
            return None;
        }
        let season = spec.season.map(NonZeroUsize::get);
        let season = season.filter(|season| *season < windows && *season <= asked);
        // At least half as many windows as weights: the penalty does the rest.
        let told = lookback_for(windows * 2 / 3, asked).max(season.unwrap_or(0));
        let lookback = NonZeroUsize::new(told).filter(|lookback| lookback.get() >= SHORTEST_LOOKBACK)?;
        (validation >= lookback.get() + horizon).then_some(Self {
            values,
            validation,
            lookback,
        })
    }

    /// The same, with the last fifth for validation, or a horizon if that is longer.
    pub fn with_last_fifth(values: &'a [f64], spec: &AutoSpec) -> Option<Self> {
        let stretch = (values.len() / VALIDATION_SHARE).max(spec.horizon.get());
        Self::new(values, values.len().checked_sub(stretch)?, spec)
    }

    /// Samples a forecast looks back on.
    pub fn lookback(&self) -> NonZeroUsize {
        self.lookback
    }

    /// What precedes the validation stretch.
    pub(super) fn before(&self) -> &'a [f64] {
        &self.values[..self.validation]
    }

    /// The validation stretch, and the lookback of its first forecast.
    pub(super) fn stretch(&self) -> &'a [f64] {
        &self.values[self.validation - self.lookback.get()..]
    }

    pub(super) fn moments(&self, values: &[f64], horizon: NonZeroUsize) -> WindowMoments {
        WindowMoments::new(values, self.lookback, horizon).expect("the constructor has seen that a window fits")
    }
}

/// The longest lookback up to `most` that is `asked` or a power of two below it; 0 if there is none.
fn lookback_for(most: usize, asked: usize) -> usize {
    if most >= asked {
        asked
    } else {
        most.checked_ilog2().map_or(0, |exponent| 1 << exponent)
    }
}
