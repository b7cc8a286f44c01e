//! The published Auto-AR, exactly: one auto-regression for all channels, judged by how it rolls out.
//!
//! Xu et al., *Specialized Foundation Models Struggle to Beat Supervised Baselines* (arXiv 2411.02796), as the authors'
//! code has it, in double precision. It is here to be held against, with its oddities: the last rows of the training
//! part stand twice in what it is fitted to; one channel that fails KPSS differences all; and the score is the error in
//! the sample over the whole horizon, with a penalty that hardly counts.

use std::num::NonZeroUsize;

use serde::Serialize;

use crate::auto::pooled_regression;
use crate::gram::LagGram;
use crate::kpss::kpss_trend;
use crate::lag_products::LagProducts;
use crate::linear_map::LinearMap;
use crate::moments::WindowMoments;
use crate::stationary::{MAX_NUM_DIFF, differences};

/// What the orders that are tried fall short of the lookback by, the differences apart.
const SHORT_BY: [usize; 5] = [16, 8, 4, 2, 0];
/// The same for a short lookback, as for the weekly illness data.
const SHORT_BY_OF_FEW: [usize; 12] = [86, 57, 38, 25, 17, 11, 7, 5, 3, 2, 1, 0];
/// Lookbacks below this are short.
const FEW: usize = 128;

/// What the procedure comes to for one horizon.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The order with the least score.
    pub order: usize,
    /// Differences, the same for all channels.
    pub num_diff: usize,
    /// The scores of all orders that were tried, ascending.
    pub scores: Vec<Score>,
    /// For every channel.
    pub map: LinearMap,
}

/// How an order rolled out in the sample: `ln MSE + (order + 1)·ln n / n`, `n` the forecasts of all windows, channels
/// and steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Lags.
    pub order: usize,
    /// The smaller, the better.
    pub score: f64,
}

/// The regressions of all orders that are tried, for all horizons.
#[derive(Clone, Debug)]
pub struct ReferenceFit {
    lookback: NonZeroUsize,
    num_diff: usize,
    /// One a channel: what it is fitted to.
    samples: Vec<Vec<f64>>,
    /// Order, coefficients, intercept.
    regressions: Vec<(usize, Vec<f64>, f64)>,
}

impl ReferenceFit {
    /// Fits standardised channels, each with `train` rows and the rows for validation after them.
    ///
    /// `None` where no order can be tried: the lookback is below three, or the rows are too few for a regression.
    pub fn new(channels: &[&[f64]], train: usize, lookback: NonZeroUsize) -> Option<Self> {
        let with_repeated_rows = |channel: &&[f64]| {
            let again = train.checked_sub(lookback.get())?;
            Some([&channel[..train], &channel[again..]].concat())
        };
        let samples: Vec<Vec<f64>> = channels.iter().map(with_repeated_rows).collect::<Option<_>>()?;
        let num_diff = (0..MAX_NUM_DIFF)
            .find(|d| {
                samples
                    .iter()
                    .all(|samples| kpss_trend(&differenced(samples, *d)).passes())
            })
            .unwrap_or(MAX_NUM_DIFF);
        let highest = lookback.get().checked_sub(num_diff)?;
        let products: Vec<LagProducts> = samples
            .iter()
            .map(|samples| {
                let values = differenced(samples, num_diff);
                (highest < values.len()).then(|| LagProducts::new(&values, highest))
            })
            .collect::<Option<_>>()?;
        let short_by = if lookback.get() < FEW {
            &SHORT_BY_OF_FEW[..]
        } else {
            &SHORT_BY
        };
        let orders = short_by.iter().filter_map(|short_by| highest.checked_sub(*short_by));
        let regressions: Vec<_> = orders
            .filter(|order| *order > 0)
            .filter_map(|order| {
                let grams = products.iter().map(|products| LagGram::new(&products.narrowed(order)));
                let sum = grams.reduce(|mut sum, gram| {
                    sum += &gram;
                    sum
                })?;
                let (coefficients, intercept) = pooled_regression(sum);
                Some((order, coefficients, intercept))
            })
            .collect();
        (!regressions.is_empty()).then_some(Self {
            lookback,
            num_diff,
            samples,
            regressions,
        })
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.samples.len()
    }

    /// The moments of one channel's windows, of which [`choose`](Self::choose) wants the sum. `None` if the rows are
    /// too few for one window.
    pub fn moments(&self, channel: usize, horizon: NonZeroUsize) -> Option<WindowMoments> {
        WindowMoments::new(&self.samples[channel], self.lookback, horizon)
    }

    /// The order with the least score over these windows; of equals the lowest.
    pub fn choose(&self, moments: &WindowMoments, horizon: NonZeroUsize) -> Reference {
        let forecasts = (moments.windows() * horizon.get()) as f64;
        let tried = self.regressions.iter().map(|(order, coefficients, intercept)| {
            let map = LinearMap::auto_regression(coefficients, *intercept, self.num_diff, self.lookback, horizon);
            let mse = moments.squared_errors(&map).iter().sum::<f64>() / forecasts;
            let score = mse.ln() + (order + 1) as f64 * forecasts.ln() / forecasts;
            (Score { order: *order, score }, map)
        });
        let (scores, maps): (Vec<Score>, Vec<LinearMap>) = tried.unzip();
        let least = (0..scores.len()).reduce(|best, other| {
            let better = scores[other].score < scores[best].score;
            if better { other } else { best }
        });
        let least = least.expect("the constructor leaves at least one order");
        Reference {
            order: scores[least].order,
            num_diff: self.num_diff,
            map: maps[least].clone(),
            scores,
        }
    }
}

fn differenced(samples: &[f64], times: usize) -> Vec<f64> {
    let mut values = samples.to_vec();
    for _ in 0..times {
        values = differences(&values);
    }
    values
}
