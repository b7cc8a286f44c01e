//! Asynchronous successive halving (ASHA, arXiv 1810.05934): trials that do worse than others at the same age get no
//! more epochs.
//!
//! Two rules. [`Stopping`] decides at each report whether a trial ends, as Ray Tune's `AsyncHyperBandScheduler` does
//! and DASHA with it. [`Promotion`] is the paper's own: every trial rests at its rung until it is called to the next.
//! Both are plain states that reports move. The same reports in the same order give the same decisions, before and
//! after a checkpoint.

mod promotion;
mod score;
mod stopping;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use promotion::{Job, Promotion};
pub use stopping::{Rung, Stopping};

/// What becomes of the trial that has just reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It gets another epoch.
    Continue,
    /// It rests at its rung with its weights kept; it may be promoted later.
    Pause,
    /// It is over.
    Stop,
}

/// Which scores are better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The greater.
    #[default]
    Max,
    /// The smaller.
    Min,
}

impl Mode {
    /// The score, turned so that greater is better.
    fn orient(self, score: f64) -> f64 {
        match self {
            Self::Max => score,
            Self::Min => -score,
        }
    }
}

/// The rule's parameters. The default is that of DASHA: rungs at 1, 2, 4, 8 and 16 epochs, and 20 the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Epochs that every trial gets: the first rung.
    pub grace_period: u32,
    /// Epochs of the longest trial.
    pub max_t: u32,
    /// Of so many trials one goes on; each rung is so many times as far as the one before.
    pub reduction_factor: f64,
    /// Which scores are better.
    pub mode: Mode,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace_period: 1,
            max_t: 20,
            reduction_factor: 2.0,
            mode: Mode::Max,
        }
    }
}

/// Why there is no such rule, or why it was not asked for a report.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AshaError {
    /// There is no first rung.
    #[error("grace_period is 0; every trial gets an epoch at least")]
    GracePeriod,
    /// The longest trial ends before the first rung.
    #[error("max_t is {max_t}; it must not be less than grace_period, {grace_period}")]
    MaxT {
        /// Epochs of the longest trial.
        max_t: u32,
        /// Epochs that every trial gets.
        grace_period: u32,
    },
    /// Rungs would not grow.
    #[error("reduction_factor is {0}; it must be greater than 1")]
    ReductionFactor(f64),
    /// The paper's rule takes one of a whole number of trials.
    #[error("reduction_factor is {0}; promotion needs a whole number, 2 at least")]
    WholeReductionFactor(f64),
    /// Nobody asked this trial to run.
    #[error("trial {0} has no job")]
    NoJob(u32),
}

impl Settings {
    /// Whether rungs can be made of these.
    fn check(&self) -> Result<(), AshaError> {
        let Self {
            grace_period, max_t, ..
        } = *self;
        if grace_period == 0 {
            return Err(AshaError::GracePeriod);
        }
        if max_t < grace_period {
            return Err(AshaError::MaxT { max_t, grace_period });
        }
        if !(self.reduction_factor.is_finite() && self.reduction_factor > 1.0) {
            return Err(AshaError::ReductionFactor(self.reduction_factor));
        }
        Ok(())
    }
}
