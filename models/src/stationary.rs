//! The stationary form of a window: differenced until KPSS passes, centred, scaled. What the regression is about.

use crate::dot::{sum, sum_of};
use crate::kpss::kpss_trend;
use crate::lag_products::LagProducts;
use crate::solution::ArSolution;
use crate::unit::Unit;

/// At most so many differences: a third would be a sign of something that no difference cures.
pub(crate) const MAX_NUM_DIFF: usize = 2;

/// How samples became stationary values: `value = (Δ^num_diff sample − centre) / unit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Form {
    pub(crate) num_diff: usize,
    /// The mean of the differenced samples.
    pub(crate) centre: f64,
    /// The power of two that brings the largest value near one.
    pub(crate) unit: Unit,
}

/// Stationary values, as far as two differences can make them so, near one in magnitude and around zero.
#[derive(Clone, Debug)]
pub(crate) struct Stationary {
    pub(crate) form: Form,
    pub(crate) values: Vec<f64>,
}

impl Form {
    /// The variance that a value cannot be known better than: a sample near one is rounded by half an epsilon.
    pub(crate) fn known_variance(&self) -> f64 {
        self.unit.strip(self.unit.strip(f64::EPSILON * f64::EPSILON / 4.0))
    }

    /// Stationary values of samples without gaps, fewer by the number of differences.
    pub(crate) fn values(&self, samples: &[f64]) -> Vec<f64> {
        let mut values = samples.to_vec();
        for _ in 0..self.num_diff {
            values = differences(&values);
        }
        for value in &mut values {
            *value = self.unit.strip(*value - self.centre);
        }
        values
    }

    /// The highest order for so many stationary values: at least three rows stand for each lag.
    pub(crate) fn max_order(&self, values: usize, max_lookback: usize) -> usize {
        max_lookback.saturating_sub(self.num_diff).min(values / 4)
    }
}

impl Stationary {
    /// Differences samples without gaps as often as it takes for KPSS to pass, at most twice.
    pub(crate) fn new(samples: &[f64]) -> Self {
        let (num_diff, mut values) = differenced(samples);
        let centre = mean(&values);
        for value in &mut values {
            *value -= centre;
        }
        let unit = Unit::of(&values);
        for value in &mut values {
            *value = unit.strip(*value);
        }
        let form = Form { num_diff, centre, unit };
        Self { form, values }
    }

    /// What the regressions of every order need to know.
    pub(crate) fn products(&self, max_lookback: usize) -> LagProducts {
        LagProducts::new(&self.values, self.form.max_order(self.values.len(), max_lookback))
    }

    /// The auto-regression with the least BIC, from these products of the values.
    pub(crate) fn solve(&self, products: &LagProducts) -> ArSolution {
        ArSolution::new(products, self.form.known_variance(), |regression| {
            regression.residual_sum(&self.values)
        })
    }
}

fn differenced(samples: &[f64]) -> (usize, Vec<f64>) {
    let mut y = samples.to_vec();
    for num_diff in 0..MAX_NUM_DIFF {
        if kpss_trend(&y).passes() {
            return (num_diff, y);
        }
        y = differences(&y);
    }
    (MAX_NUM_DIFF, y)
}

pub(crate) fn differences(y: &[f64]) -> Vec<f64> {
    y.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// In two rounds: the second removes the rounding that a large offset leaves in the first.
fn mean(y: &[f64]) -> f64 {
    let n = y.len() as f64;
    let rough = sum(y) / n;
    rough + sum_of(y, y, |y, _| y - rough) / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_stop_at_two() {
        let cubic: Vec<f64> = (0..200).map(|t| f64::from(t - 60).powi(3) + f64::from(t % 3)).collect();
        assert_eq!(differenced(&cubic).0, 2);
        assert_eq!(differenced(&cubic).1.len(), 198);
    }
}
