//! The fitted model as plain data: an auto-regression, or the fallback that stands in for it.
//!
//! How it is found is written in `fit` and `estimate`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fitted auto-regression: plain data, every number finite.
///
/// With `u` the series differenced `num_diff` times,
/// `u[t] = intercept + Σ_j coefficients[j-1] · u[t-j] + e[t]`, `j = 1..=order`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedAr {
    /// Number of lags; equals `coefficients.len()`.
    pub order: usize,
    /// Times the series was differenced, 0 to 2.
    pub num_diff: usize,
    /// Lag 1 first; without unit.
    pub coefficients: Vec<f64>,
    /// In the channel's unit.
    pub intercept: f64,
    /// Residual variance with the degrees of freedom taken off, in the channel's unit squared; `None` where the
    /// samples are too few to tell, or so large that their square is beyond `f64`.
    pub variance: Option<f64>,
    /// BIC at the chosen order, as statsmodels counts it; `None` for a fallback.
    pub bic: Option<f64>,
    /// Highest order that was tried.
    pub max_order: usize,
    /// Why this is not an Auto-AR fit, if it is not.
    pub fallback: Option<Fallback>,
}

/// A simpler model that stands in where Auto-AR cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// All samples are equal: that value, for ever.
    Constant,
    /// Too few samples to test and regress: a random walk.
    Short,
    /// More gaps than samples: a random walk.
    Sparse,
    /// The regression runs away within the horizon: a random walk.
    Exploding,
}

impl Fallback {
    /// Every fallback, for counters that start at zero.
    pub const ALL: [Self; 4] = [Self::Constant, Self::Short, Self::Sparse, Self::Exploding];
}

impl fmt::Display for Fallback {
    /// The label value of this fallback in metrics.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Short => "short",
            Self::Sparse => "sparse",
            Self::Exploding => "exploding",
        })
    }
}
