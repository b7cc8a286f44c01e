//! The forecast recursion as one linear map.
//!
//! Feeding forecasts back as if they were samples is linear in the samples, so the forecast of each step is a row of
//! weights on the newest samples plus a multiple of the intercept.

use std::num::NonZeroUsize;

use crate::dot::dot;

/// The weights that an auto-regression of `num_diff` times differenced samples gives to the newest samples, for each
/// step ahead.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastMap {
    lookback: usize,
    /// One row a step, newest sample first.
    weights: Vec<f64>,
    /// Moving-average weights ψ0 … ψ(H-1).
    psi: Vec<f64>,
}

impl ForecastMap {
    /// Builds the rows in O(horizon · lookback).
    ///
    /// Row 1 is `a`, the coefficients on the samples themselves. The forecast of step `h + 1` is that of step `h`
    /// seen from one step later, with the sample not yet seen replaced by its own forecast:
    /// `w(h+1, j) = w(h, j+1) + w(h, 1)·a(j)`, and `w(h, 1)` is ψh.
    pub fn new(coefficients: &[f64], num_diff: usize, horizon: NonZeroUsize) -> Self {
        let a = coefficients_on_samples(coefficients, num_diff);
        let lookback = a.len();
        let mut weights = Vec::with_capacity(lookback * horizon.get());
        let mut psi = vec![1.0];
        let mut row = a.clone();
        weights.extend_from_slice(&row);
        while psi.len() < horizon.get() {
            let newest = row.first().copied().unwrap_or(0.0);
            psi.push(newest);
            row.push(0.0);
            row = row[1..]
                .iter()
                .zip(&a)
                .map(|(shifted, a)| shifted + newest * a)
                .collect();
            weights.extend_from_slice(&row);
        }
        Self { lookback, weights, psi }
    }

    /// Samples that a forecast looks back on: the order plus the number of differences.
    pub fn lookback(&self) -> usize {
        self.lookback
    }

    /// Number of steps.
    pub fn horizon(&self) -> usize {
        self.psi.len()
    }

    /// The weights of a step (1, 2, …), newest sample first. With at least one difference they sum to one.
    pub fn row(&self, step: usize) -> &[f64] {
        &self.weights[(step - 1) * self.lookback..step * self.lookback]
    }

    /// The expected value of each step, for samples (oldest first) measured from `reference`.
    ///
    /// `intercept` is that of the regression on these deviations. Taking the last sample for the reference of
    /// differenced series, and the mean for others, makes an offset cost no digits.
    ///
    /// # Panics
    ///
    /// If there are fewer samples than the map looks back on.
    pub fn mean(&self, samples: &[f64], reference: f64, intercept: f64) -> Vec<f64> {
        let newest = samples[samples.len() - self.lookback..].iter().rev();
        let deviations: Vec<f64> = newest.map(|sample| sample - reference).collect();
        let drift = self.drift(intercept);
        let steps = (1..=self.horizon()).zip(drift);
        steps
            .map(|(step, drift)| reference + (dot(self.row(step), &deviations) + drift))
            .collect()
    }

    /// What an intercept of the regression adds up to at each step.
    pub fn drift(&self, intercept: f64) -> Vec<f64> {
        let mut drift = 0.0;
        let steps = self.psi.iter().map(|psi| {
            drift += psi * intercept;
            drift
        });
        steps.collect()
    }

    /// The standard deviation of the error at each step, in units of the residuals' own:
    /// `√(ψ0² + … + ψ(h-1)²)`.
    pub fn deviation(&self) -> Vec<f64> {
        let mut variance = 0.0;
        let variances = self.psi.iter().map(|psi| {
            variance += psi * psi;
            variance
        });
        variances.map(f64::sqrt).collect()
    }
}

/// Multiplies the polynomial of the differenced series, `1 − φ1 B − φ2 B² − …`, by `(1 − B)` for each difference.
fn coefficients_on_samples(coefficients: &[f64], num_diff: usize) -> Vec<f64> {
    let mut polynomial = vec![1.0];
    polynomial.extend(coefficients.iter().map(|coefficient| -coefficient));
    polynomial.resize(1 + coefficients.len() + num_diff, 0.0);
    for _ in 0..num_diff {
        for j in (1..polynomial.len()).rev() {
            polynomial[j] -= polynomial[j - 1];
        }
    }
    polynomial[1..].iter().map(|term| -term).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(coefficients: &[f64], num_diff: usize) -> ForecastMap {
        ForecastMap::new(coefficients, num_diff, NonZeroUsize::new(4).expect("four"))
    }

    #[test]
    fn no_coefficient_and_one_difference_is_a_random_walk() {
        let walk = map(&[], 1);
        assert_eq!(walk.mean(&[3.0, 7.0], 7.0, 0.0), [7.0; 4]);
        assert_eq!(walk.mean(&[3.0, 7.0], 7.0, 0.5), [7.5, 8.0, 8.5, 9.0]);
        assert_eq!(walk.deviation(), [1.0, 2.0, 3.0, 4.0].map(f64::sqrt));
    }

    #[test]
    fn no_coefficient_and_no_difference_is_the_mean() {
        let mean = map(&[], 0);
        assert_eq!(mean.lookback(), 0);
        assert_eq!(mean.mean(&[1.0, 2.0], 1.5, 0.0), [1.5; 4]);
        assert_eq!(mean.deviation(), [1.0; 4]);
    }

    #[test]
    fn two_differences_continue_the_line_through_the_last_two_samples() {
        let line = map(&[], 2);
        assert_eq!(line.mean(&[5.0, 8.0], 8.0, 0.0), [11.0, 14.0, 17.0, 20.0]);
        // ψ of a twice integrated walk: 1, 2, 3, …
        assert_eq!(line.deviation(), [1.0, 5.0, 14.0, 30.0].map(f64::sqrt));
    }

    #[test]
    fn rows_of_a_differenced_model_sum_to_one() {
        let map = map(&[0.5, -0.3, 0.2], 1);
        assert_eq!(map.lookback(), 4);
        for step in 1..=4 {
            assert!((map.row(step).iter().sum::<f64>() - 1.0).abs() < 1e-15);
        }
    }
}
