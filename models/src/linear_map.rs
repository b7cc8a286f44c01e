//! Forecasts as one linear map: what every method of the family comes to.
//!
//! A forecast of step `h` is the newest sample, plus a weight on how far each sample before it lies from it, plus a
//! weight on the newest sample itself, plus a constant. Without the last two a shift of the whole channel shifts the
//! forecast by as much: such a map serves any channel of a pool.

use std::num::NonZeroUsize;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dense::{Matrix, window_products};
use crate::forecast_map::ForecastMap;

/// The weights that the newest `lookback` samples have in each step's forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearMap {
    /// `(lookback + 1) × horizon`. Row `i < lookback - 1`: on the deviation of a sample from the newest one, the oldest
    /// sample first. Row `lookback - 1`: on the newest sample. Row `lookback`: the constant.
    weights: Matrix,
}

impl LinearMap {
    /// The newest sample for ever: a random walk.
    pub fn random_walk(lookback: NonZeroUsize, horizon: NonZeroUsize) -> Self {
        Self {
            weights: Matrix::zeros(lookback.get() + 1, horizon.get()),
        }
    }

    /// The sample of one season before, again and again.
    ///
    /// # Panics
    ///
    /// If the season is longer than the lookback.
    pub fn seasonal_naive(lookback: NonZeroUsize, horizon: NonZeroUsize, season: NonZeroUsize) -> Self {
        assert!(season <= lookback, "a season of {season} is beyond {lookback} samples");
        let mut map = Self::random_walk(lookback, horizon);
        for step in 0..horizon.get() {
            // Back from the newest sample.
            let back = season.get() - 1 - step % season.get();
            if back > 0 {
                map.weights.row_mut(lookback.get() - 1 - back)[step] = 1.0;
            }
        }
        map
    }

    /// The recursion of an auto-regression, `u[t] = intercept + Σ_j coefficients[j-1]·u[t-j]` for samples differenced
    /// `num_diff` times.
    ///
    /// # Panics
    ///
    /// If the order and the differences together are beyond the lookback.
    pub fn auto_regression(
        coefficients: &[f64],
        intercept: f64,
        num_diff: usize,
        lookback: NonZeroUsize,
        horizon: NonZeroUsize,
    ) -> Self {
        let recursion = ForecastMap::new(coefficients, num_diff, horizon);
        let newest = lookback.get() - 1;
        assert!(
            recursion.lookback() <= lookback.get(),
            "a lookback of {lookback} is too short"
        );
        let mut map = Self::random_walk(lookback, horizon);
        for (step, drift) in recursion.drift(intercept).into_iter().enumerate() {
            let row = recursion.row(step + 1);
            for (back, weight) in row.iter().enumerate().skip(1) {
                map.weights.row_mut(newest - back)[step] = *weight;
            }
            // With a difference the weights sum to one but for rounding, and the level plays no part.
            let level = if num_diff == 0 {
                row.iter().sum::<f64>() - 1.0
            } else {
                0.0
            };
            map.weights.row_mut(newest)[step] = level;
            map.weights.row_mut(newest + 1)[step] = drift;
        }
        map
    }

    /// Weights as [`WindowMoments`](crate::moments::WindowMoments) has its features.
    pub(crate) fn from_weights(weights: Matrix) -> Self {
        Self { weights }
    }

    /// `weights[map][step]` times each map, summed.
    ///
    /// # Panics
    ///
    /// If there is no map, or one of another shape.
    pub(crate) fn combined(maps: &[&Self], weights: &[Vec<f64>]) -> Self {
        let mut sum = Matrix::zeros(maps[0].weights.rows(), maps[0].horizon());
        for (map, weights) in maps.iter().zip(weights) {
            for row in 0..sum.rows() {
                let terms = map.weights.row(row).iter().zip(weights);
                for (sum, (weight, share)) in sum.row_mut(row).iter_mut().zip(terms) {
                    *sum += share * weight;
                }
            }
        }
        Self { weights: sum }
    }

    /// Samples that a forecast looks back on.
    pub fn lookback(&self) -> usize {
        self.weights.rows() - 1
    }

    /// Number of steps.
    pub fn horizon(&self) -> usize {
        self.weights.columns()
    }

    /// One row a feature, one column a step.
    pub(crate) fn weights(&self) -> &Matrix {
        &self.weights
    }

    /// Whether every weight is zero.
    pub(crate) fn is_random_walk(&self) -> bool {
        (0..self.weights.rows()).all(|row| self.weights.row(row).iter().all(|weight| *weight == 0.0))
    }

    /// Whether every weight is a number.
    pub(crate) fn is_finite(&self) -> bool {
        (0..self.weights.rows()).all(|row| self.weights.row(row).iter().all(|weight| weight.is_finite()))
    }

    /// The expected value of each step after these samples, oldest first.
    ///
    /// # Panics
    ///
    /// If there are fewer samples than the map looks back on.
    pub fn forecast(&self, samples: &[f64]) -> Vec<f64> {
        let samples = &samples[samples.len() - self.lookback()..];
        let (newest, before) = samples.split_last().expect("a lookback is at least one");
        let mut forecast: Vec<f64> = self.weights.row(samples.len()).to_vec();
        let mut add = |row: usize, times: f64| {
            for (forecast, weight) in forecast.iter_mut().zip(self.weights.row(row)) {
                *forecast += times * weight;
            }
        };
        for (row, sample) in before.iter().enumerate() {
            add(row, sample - newest);
        }
        add(before.len(), *newest);
        forecast.iter().map(|ahead| newest + ahead).collect()
    }

    /// The forecasts from many origins, one row each. Row `r` has seen `samples` up to but without
    /// `origins.start + r·stride`.
    ///
    /// # Panics
    ///
    /// If an origin has fewer samples before it than the map looks back on.
    pub fn forecasts(&self, samples: &[f64], origins: Range<usize>, stride: NonZeroUsize) -> Matrix {
        let lookback = self.lookback();
        let starts = (origins.start - lookback..origins.end - lookback).step_by(stride.get());
        let mut forecasts = window_products(samples, starts, &self.on_samples());
        for row in 0..forecasts.rows() {
            let constant = self.weights.row(lookback);
            for (forecast, constant) in forecasts.row_mut(row).iter_mut().zip(constant) {
                *forecast += constant;
            }
        }
        forecasts
    }

    /// The weights on the samples themselves, `lookback × horizon`, the oldest first.
    fn on_samples(&self) -> Matrix {
        let (newest, horizon) = (self.lookback() - 1, self.horizon());
        let mut weights = Matrix::zeros(newest + 1, horizon);
        let mut on_newest: Vec<f64> = self.weights.row(newest).iter().map(|level| 1.0 + level).collect();
        for row in 0..newest {
            weights.row_mut(row).copy_from_slice(self.weights.row(row));
            for (on_newest, weight) in on_newest.iter_mut().zip(self.weights.row(row)) {
                *on_newest -= weight;
            }
        }
        weights.row_mut(newest).copy_from_slice(&on_newest);
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).expect("not zero")
    }

    #[test]
    fn naive_maps_repeat_what_was() {
        let samples = [9.0, 1.0, 2.0, 3.0];
        assert_eq!(LinearMap::random_walk(size(2), size(3)).forecast(&samples), [3.0; 3]);
        let seasonal = LinearMap::seasonal_naive(size(4), size(5), size(3));
        assert_eq!(seasonal.forecast(&samples), [1.0, 2.0, 3.0, 1.0, 2.0]);
        let whole = LinearMap::seasonal_naive(size(3), size(4), size(3));
        assert_eq!(whole.forecast(&samples), [1.0, 2.0, 3.0, 1.0]);
    }

    #[test]
    fn an_auto_regression_is_its_own_recursion() {
        let samples = [0.3, -1.2, 0.7, 2.0, 1.1];
        for (num_diff, lookback) in [(0, 2), (1, 3), (2, 5)] {
            let map = LinearMap::auto_regression(&[0.5, -0.3], 0.2, num_diff, size(lookback), size(4));
            let mut values = samples.to_vec();
            for _ in 0..4 {
                let mut u = values.clone();
                let mut last = vec![];
                for _ in 0..num_diff {
                    last.push(u[u.len() - 1]);
                    u = u.windows(2).map(|pair| pair[1] - pair[0]).collect();
                }
                let next = 0.2 + 0.5 * u[u.len() - 1] - 0.3 * u[u.len() - 2];
                values.push(next + last.iter().sum::<f64>());
            }
            for (forecast, literal) in map.forecast(&samples).iter().zip(&values[5..]) {
                assert!((forecast - literal).abs() < 1e-12, "{num_diff}: {forecast} {literal}");
            }
        }
    }

    #[test]
    fn many_origins_at_once_are_each_by_itself() {
        let samples: Vec<f64> = (0..60).map(|t| (t as f64 * 0.7).sin() + 0.1 * t as f64).collect();
        let map = LinearMap::auto_regression(&[0.4, 0.1, -0.2], 0.05, 0, size(5), size(7));
        for stride in [1, 4] {
            let all = map.forecasts(&samples, 9..50, size(stride));
            assert_eq!(all.rows(), 41_usize.div_ceil(stride));
            for row in 0..all.rows() {
                let alone = map.forecast(&samples[..9 + row * stride]);
                for (many, alone) in all.row(row).iter().zip(&alone) {
                    assert!((many - alone).abs() < 1e-12);
                }
            }
        }
    }
}
