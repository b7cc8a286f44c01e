//! The model of one channel, in the channel's own power of two: which one it is, and what it expects.
//!
//! Samples come here with the unit off, so that no square overflows; [`crate::fit`] puts it back.

use std::num::NonZeroUsize;

use crate::auto_ar::Fallback;
use crate::dot::extremes;
use crate::forecast_map::ForecastMap;
use crate::solution::ArSolution;
use crate::stationary::Form;

/// A forecast may leave the observed range by this many times the range, and as many times more as the horizon is
/// longer than the series. An honest trend stays far inside; a regression with a root outside the unit circle does
/// not stay long.
const BOUND_IN_RANGES: f64 = 10.0;

/// A model of samples that are near one in magnitude.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    pub(crate) num_diff: usize,
    pub(crate) coefficients: Vec<f64>,
    /// The intercept for samples measured from `centre`.
    pub(crate) intercept: f64,
    /// The mean of the samples without differences; zero with, where it plays no part.
    pub(crate) centre: f64,
    pub(crate) variance: Option<f64>,
    pub(crate) order_search: Option<OrderSearch>,
    pub(crate) fallback: Option<Fallback>,
}

/// What the search for the order found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderSearch {
    pub(crate) bic: f64,
    /// Rows of the common sample: a change of unit moves the BIC by this many times `2·ln unit`.
    pub(crate) rows: usize,
    pub(crate) max_order: usize,
}

/// What a model expects.
#[derive(Clone, Debug)]
pub(crate) struct Outlook {
    pub(crate) mean: Vec<f64>,
    /// The standard deviation of each step's error, if known.
    pub(crate) deviation: Option<Vec<f64>>,
}

/// How far samples reach, in value and in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    pub(crate) count: usize,
}

impl Estimate {
    /// Auto-AR, from the solution for the stationary form of the samples.
    pub(crate) fn auto_ar(form: Form, solution: ArSolution) -> Self {
        let Form { num_diff, centre, unit } = form;
        let remainder = 1.0 - solution.coefficients.iter().sum::<f64>();
        let intercept = unit.restore(solution.intercept);
        Self {
            num_diff,
            intercept: if num_diff == 0 {
                intercept
            } else {
                intercept + centre * remainder
            },
            centre: if num_diff == 0 { centre } else { 0.0 },
            coefficients: solution.coefficients,
            variance: solution.variance.map(|variance| unit.restore_square(variance)),
            order_search: Some(OrderSearch {
                bic: solution.bic + 2.0 * solution.rows as f64 * unit.ln(),
                rows: solution.rows,
                max_order: solution.max_order,
            }),
            fallback: None,
        }
    }

    /// The same value for ever.
    pub(crate) fn constant(value: f64) -> Self {
        Self {
            num_diff: 0,
            centre: value,
            variance: Some(0.0),
            ..Self::random_walk(&[], Fallback::Constant)
        }
    }

    /// The last value for ever. Its variance comes from samples that may have gaps (NaN).
    pub(crate) fn random_walk(samples: &[f64], fallback: Fallback) -> Self {
        Self {
            num_diff: 1,
            coefficients: Vec::new(),
            intercept: 0.0,
            centre: 0.0,
            variance: walk_variance(samples),
            order_search: None,
            fallback: Some(fallback),
        }
    }

    /// The intercept for samples measured from zero, as the equation of the model has it.
    pub(crate) fn plain_intercept(&self) -> f64 {
        self.intercept + self.centre * (1.0 - self.coefficients.iter().sum::<f64>())
    }

    /// What the model expects after the last of these samples.
    pub(crate) fn outlook(&self, samples: &[f64], horizon: NonZeroUsize) -> Outlook {
        let map = ForecastMap::new(&self.coefficients, self.num_diff, horizon);
        let last = samples.last().copied().unwrap_or(self.centre);
        let reference = if self.num_diff == 0 { self.centre } else { last };
        let widened = |variance: f64| map.deviation().iter().map(|psi| psi * variance.sqrt()).collect();
        Outlook {
            mean: map.mean(samples, reference, self.intercept),
            deviation: self.variance.map(widened),
        }
    }
}

impl Outlook {
    /// Whether mean and deviation stay within a wide bound around the samples; never if one is not finite.
    pub(crate) fn stays_near(&self, samples: Extent) -> bool {
        let bound = samples.bound(self.mean.len());
        samples.holds(&self.mean) && self.deviation.iter().flatten().all(|deviation| *deviation <= bound)
    }
}

impl Extent {
    pub(crate) fn of(samples: &[f64]) -> Self {
        let (lowest, highest) = extremes(samples);
        Self {
            lowest,
            highest,
            count: samples.len(),
        }
    }

    /// How far a forecast of so many steps may leave the observed range.
    fn bound(self, horizon: usize) -> f64 {
        let reach = horizon as f64 / self.count as f64;
        (self.highest - self.lowest) * BOUND_IN_RANGES * (1.0 + reach)
    }

    /// Whether these forecasts stay within a wide bound around the samples; never if one is not finite.
    pub(crate) fn holds(self, forecasts: &[f64]) -> bool {
        let bound = self.bound(forecasts.len());
        let range = self.lowest - bound..=self.highest + bound;
        forecasts.iter().all(|forecast| range.contains(forecast))
    }
}

/// The variance of one step of a random walk without drift: a move over `k` steps has `k` times as much of it.
/// `None` with fewer than three moves.
fn walk_variance(samples: &[f64]) -> Option<f64> {
    let seen: Vec<(usize, f64)> = samples
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, sample)| !sample.is_nan())
        .collect();
    let moves = seen.windows(2).map(|pair| {
        let (before, after) = (pair[0], pair[1]);
        (after.1 - before.1).powi(2) / (after.0 - before.0) as f64
    });
    (moves.len() >= 3).then(|| moves.clone().sum::<f64>() / moves.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_over_a_gap_counts_as_so_many_steps() {
        let gap = f64::NAN;
        assert_eq!(walk_variance(&[0.0, 2.0, 0.0, 2.0]), Some(4.0));
        assert_eq!(walk_variance(&[0.0, gap, gap, gap, 4.0, 6.0, 4.0]), Some(4.0));
        assert_eq!(walk_variance(&[0.0, gap, 2.0, 0.0]), None);
    }

    #[test]
    fn an_outlook_is_near_while_it_stays_in_the_bound_and_never_if_it_is_not_finite() {
        let samples = [0.0, 1.0];
        let outlook = |mean: f64, deviation: f64| Outlook {
            mean: vec![0.5, mean],
            deviation: Some(vec![0.1, deviation]),
        };
        for (mean, deviation, near) in [
            (20.9, 19.9, true),
            (-19.9, 0.0, true),
            (21.1, 0.0, false),
            (0.5, 20.1, false),
            (f64::NAN, 0.0, false),
            (0.5, f64::NAN, false),
            (f64::INFINITY, 0.0, false),
        ] {
            assert_eq!(
                outlook(mean, deviation).stays_near(Extent::of(&samples)),
                near,
                "{mean} {deviation}"
            );
        }
    }
}
