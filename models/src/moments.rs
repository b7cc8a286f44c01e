//! Second moments of all windows of a series: enough to fit a map from lookback to horizon, and to say how well any
//! such map would have done, without looking at a window.

use std::num::NonZeroUsize;
use std::ops::AddAssign;

use crate::dense::{Matrix, product};
use crate::gram::LagGram;
use crate::lag_products::LagProducts;
use crate::linear_map::LinearMap;

/// Sums of products over all windows of `lookback` samples and the `horizon` samples that follow.
///
/// Features are as in [`LinearMap`]: deviations from the newest sample of the lookback, the oldest first; the newest
/// sample; one. Targets are deviations from the newest sample too.
#[derive(Clone, Debug)]
pub struct WindowMoments {
    windows: usize,
    /// Features with features.
    features: Matrix,
    /// Features with targets.
    targets: Matrix,
    /// Targets with themselves.
    energy: Vec<f64>,
}

impl WindowMoments {
    /// Of every window of these samples; `None` if they are too few for one.
    ///
    /// In O(T·N + N²), `N = lookback + horizon`: a window is one row of a regression on N − 1 lags, so that the Gram by
    /// displacement is all of their products.
    pub fn new(samples: &[f64], lookback: NonZeroUsize, horizon: NonZeroUsize) -> Option<Self> {
        let (lookback, horizon) = (lookback.get(), horizon.get());
        let length = lookback + horizon;
        if samples.len() < length {
            return None;
        }
        let products = LagProducts::new(samples, length - 1);
        let (sums, windows) = (products.sums(), products.rows());
        let gram = LagGram::new(&products);
        // The Gram counts back from the last target: the newest sample of the lookback is its lag `horizon`.
        let newest = horizon;
        let feature = |row: usize| length - 1 - row;
        let target = |step: usize| horizon - 1 - step;
        let on_newest: Vec<f64> = (0..length).map(|lag| gram.product(lag, newest)).collect();
        let square = on_newest[newest];
        let deviations = |i: usize, j: usize| gram.product(i, j) - on_newest[i] - on_newest[j] + square;
        let mut features = Matrix::zeros(lookback + 1, lookback + 1);
        for i in 0..lookback - 1 {
            for j in 0..=i {
                features.row_mut(i)[j] = deviations(feature(i), feature(j));
            }
        }
        for j in 0..lookback - 1 {
            features.row_mut(lookback - 1)[j] = on_newest[feature(j)] - square;
            features.row_mut(lookback)[j] = sums[feature(j)] - sums[newest];
        }
        features.row_mut(lookback - 1)[lookback - 1] = square;
        features.row_mut(lookback)[lookback - 1] = sums[newest];
        features.row_mut(lookback)[lookback] = windows as f64;
        mirror(&mut features);
        let mut targets = Matrix::zeros(lookback + 1, horizon);
        for i in 0..lookback - 1 {
            for (step, entry) in targets.row_mut(i).iter_mut().enumerate() {
                *entry = deviations(feature(i), target(step));
            }
        }
        for (step, entry) in targets.row_mut(lookback - 1).iter_mut().enumerate() {
            *entry = on_newest[target(step)] - square;
        }
        for (step, entry) in targets.row_mut(lookback).iter_mut().enumerate() {
            *entry = sums[target(step)] - sums[newest];
        }
        let energy = (0..horizon)
            .map(|step| deviations(target(step), target(step)))
            .collect();
        Some(Self {
            windows,
            features,
            targets,
            energy,
        })
    }

    /// How many windows.
    pub fn windows(&self) -> usize {
        self.windows
    }

    /// Samples of a window that a forecast may see.
    pub fn lookback(&self) -> usize {
        self.features.rows() - 1
    }

    /// Samples of a window that are to be forecast.
    pub fn horizon(&self) -> usize {
        self.energy.len()
    }

    pub(crate) fn features(&self) -> &Matrix {
        &self.features
    }

    pub(crate) fn targets(&self) -> &Matrix {
        &self.targets
    }

    /// The squared error of a map at each step, summed over the windows.
    ///
    /// # Panics
    ///
    /// If the map has another lookback or horizon.
    pub fn squared_errors(&self, map: &LinearMap) -> Vec<f64> {
        let mut products = self.error_products(&[map]);
        products.pop().and_then(|mut row| row.pop()).expect("one map")
    }

    /// `Σ e_a·e_b` over the windows, at each step, for each pair of maps `b ≤ a`: the error of any combination of them
    /// is a quadratic form of these.
    pub(crate) fn error_products(&self, maps: &[&LinearMap]) -> Vec<Vec<Vec<f64>>> {
        let explained: Vec<Option<Matrix>> = maps
            .iter()
            .map(|map| (!map.is_random_walk()).then(|| product(&self.features, map.weights())))
            .collect();
        let with_targets: Vec<Vec<f64>> = maps
            .iter()
            .map(|map| column_products(map.weights(), &self.targets))
            .collect();
        let pair = |a: usize, b: usize| {
            let both = explained[b]
                .as_ref()
                .map(|explained| column_products(maps[a].weights(), explained));
            let step = |step: usize| {
                let both = both.as_ref().map_or(0.0, |both| both[step]);
                self.energy[step] - with_targets[a][step] - with_targets[b][step] + both
            };
            (0..self.horizon()).map(step).collect()
        };
        (0..maps.len()).map(|a| (0..=a).map(|b| pair(a, b)).collect()).collect()
    }
}

/// Windows of other samples are more windows.
impl AddAssign<&Self> for WindowMoments {
    fn add_assign(&mut self, other: &Self) {
        self.windows += other.windows;
        add(&mut self.features, &other.features);
        add(&mut self.targets, &other.targets);
        for (sum, energy) in self.energy.iter_mut().zip(&other.energy) {
            *sum += energy;
        }
    }
}

fn add(sum: &mut Matrix, other: &Matrix) {
    for row in 0..sum.rows() {
        for (sum, other) in sum.row_mut(row).iter_mut().zip(other.row(row)) {
            *sum += other;
        }
    }
}

/// The upper triangle from the lower.
fn mirror(matrix: &mut Matrix) {
    for i in 0..matrix.rows() {
        for j in 0..i {
            matrix.row_mut(j)[i] = matrix.at(i, j);
        }
    }
}

/// `Σ_i a[i][h]·b[i][h]` of each column `h`.
fn column_products(a: &Matrix, b: &Matrix) -> Vec<f64> {
    let mut sums = vec![0.0; a.columns()];
    for row in 0..a.rows() {
        for (sum, (a, b)) in sums.iter_mut().zip(a.row(row).iter().zip(b.row(row))) {
            *sum += a * b;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).expect("not zero")
    }

    fn rough(n: usize) -> Vec<f64> {
        (0..n)
            .map(|t| (t as f64 * t as f64 * 0.013).sin() + (t as f64 * 0.1).cos())
            .collect()
    }

    #[test]
    fn the_errors_of_any_maps_are_told_without_a_look_at_the_windows() {
        let samples = rough(90);
        let maps = [
            LinearMap::random_walk(size(6), size(4)),
            LinearMap::seasonal_naive(size(6), size(4), size(5)),
            LinearMap::auto_regression(&[0.5, -0.2, 0.1], 0.3, 0, size(6), size(4)),
            LinearMap::auto_regression(&[0.5, -0.2], -0.1, 1, size(6), size(4)),
        ];
        let moments = WindowMoments::new(&samples, size(6), size(4)).expect("long enough");
        assert_eq!(moments.windows(), 81);
        let errors = |map: &LinearMap, step: usize| -> Vec<f64> {
            (6..=86)
                .map(|t| map.forecast(&samples[..t])[step] - samples[t + step])
                .collect()
        };
        let found = moments.error_products(&maps.each_ref());
        for a in 0..4 {
            for b in 0..=a {
                for (step, found) in found[a][b].iter().enumerate() {
                    let pairs = errors(&maps[a], step).into_iter().zip(errors(&maps[b], step));
                    let literal: f64 = pairs.map(|(a, b)| a * b).sum();
                    assert!((found - literal).abs() < 1e-10, "{a} {b} {step}");
                }
            }
            assert_eq!(moments.squared_errors(&maps[a]), found[a][a]);
        }
    }

    #[test]
    fn windows_of_two_series_are_the_windows_of_both() {
        let (x, y) = (rough(40), rough(70).split_off(30));
        let map = LinearMap::auto_regression(&[0.4], 0.1, 1, size(3), size(2));
        let of = |samples: &[f64]| WindowMoments::new(samples, size(3), size(2)).expect("long enough");
        let mut both = of(&x);
        both += &of(&y);
        let apart = of(&x).squared_errors(&map)[1] + of(&y).squared_errors(&map)[1];
        assert_eq!(both.windows(), 2 * 36);
        assert!((both.squared_errors(&map)[1] - apart).abs() < 1e-12);
    }

    #[test]
    fn a_series_that_holds_no_window_has_no_moments() {
        assert!(WindowMoments::new(&rough(9), size(6), size(4)).is_none());
        assert_eq!(
            WindowMoments::new(&rough(10), size(6), size(4)).map(|m| m.windows()),
            Some(1)
        );
    }
}
