//! Direct forecasts: ridge regression from a lookback straight to every step of a horizon.
//!
//! No recursion, so no error of step 1 is fed into step 96, and each step weighs the lookback anew. The penalty is what
//! keeps hundreds of weights honest: Hoerl and Kennard, *Ridge regression* (1970).

use crate::dense::{Matrix, SpdFactor, product};
use crate::linear_map::LinearMap;
use crate::moments::WindowMoments;

/// What the weights are pulled towards, and what they may rest on.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// Deviations from the newest sample alone, pulled towards a random walk: where the channel stands plays no part.
    Deviations,
    /// The same, pulled towards the map of a pool.
    Around(&'a LinearMap),
    /// Also the level of the newest sample and a constant: a channel that has a mean may go back to it.
    WithLevel,
}

/// The penalty on the level, as a share of that on a deviation: few channels have none to go back to.
const ON_LEVEL: f64 = 0.1;
/// The same for the constant.
const ON_CONSTANT: f64 = 1e-3;

/// The map with the least squared error over the windows plus `penalty` times the squared weights, in units of the mean
/// square of a deviation.
///
/// `None` where nothing moves, or the windows are no numbers.
pub fn direct(moments: &WindowMoments, shape: Shape<'_>, penalty: f64) -> Option<LinearMap> {
    let lookback = moments.lookback();
    let deviations = lookback - 1;
    let size = match shape {
        Shape::Deviations | Shape::Around(_) => deviations,
        Shape::WithLevel => lookback + 1,
    };
    let features = moments.features();
    let mean_square = (0..deviations).map(|i| features.at(i, i)).sum::<f64>() / deviations as f64;
    if !(mean_square.is_finite() && mean_square > 0.0) {
        return None;
    }
    let penalty = |i: usize| {
        let share = match i.checked_sub(deviations) {
            None => 1.0,
            Some(0) => ON_LEVEL,
            Some(_) => ON_CONSTANT,
        };
        penalty * mean_square * share
    };
    let system = Matrix::from_fn(size, size, |i, j| {
        features.at(i, j) + if i == j { penalty(i) } else { 0.0 }
    });
    let prior = match shape {
        Shape::Around(map) => Some(map.weights()),
        Shape::Deviations | Shape::WithLevel => None,
    };
    // What the prior leaves unexplained.
    let explained = prior.map(|prior| product(features, prior));
    let targets = moments.targets();
    let left = Matrix::from_fn(size, moments.horizon(), |i, step| {
        targets.at(i, step) - explained.as_ref().map_or(0.0, |explained| explained.at(i, step))
    });
    let solution = SpdFactor::new(system)?.solve(left);
    let weights = Matrix::from_fn(lookback + 1, moments.horizon(), |i, step| {
        let own = if i < size { solution.at(i, step) } else { 0.0 };
        own + prior.map_or(0.0, |prior| prior.at(i, step))
    });
    let map = LinearMap::from_weights(weights);
    map.is_finite().then_some(map)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    const fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).expect("not zero")
    }

    /// An auto-regression of order two around 3, driven by a sequence that looks like noise.
    fn series(n: usize) -> Vec<f64> {
        let mut state = 0.372_f64;
        let mut values = vec![3.0, 3.2];
        while values.len() < n {
            state = 3.99 * state * (1.0 - state);
            let (last, before) = (values[values.len() - 1] - 3.0, values[values.len() - 2] - 3.0);
            values.push(3.0 + 0.6 * last - 0.3 * before + 0.2 * (state - 0.5));
        }
        values
    }

    fn moments(values: &[f64]) -> WindowMoments {
        WindowMoments::new(values, size(8), size(5)).expect("long enough")
    }

    #[test]
    fn no_map_near_it_has_a_smaller_penalised_error() {
        let moments = moments(&series(400));
        let around = LinearMap::seasonal_naive(size(8), size(5), size(3));
        for shape in [Shape::Deviations, Shape::Around(&around), Shape::WithLevel] {
            let penalty = 0.05;
            let map = direct(&moments, shape, penalty).expect("it moves");
            let mean_square = (0..7).map(|i| moments.features().at(i, i)).sum::<f64>() / 7.0;
            let objective = |map: &LinearMap, step: usize| {
                let prior = match shape {
                    Shape::Around(prior) => Some(prior.weights()),
                    _ => None,
                };
                let square = |i: usize| {
                    let share = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, ON_LEVEL, ON_CONSTANT][i];
                    share * (map.weights().at(i, step) - prior.map_or(0.0, |prior| prior.at(i, step))).powi(2)
                };
                let squares: f64 = (0..9).map(square).sum();
                moments.squared_errors(map)[step] + penalty * mean_square * squares
            };
            let free = if matches!(shape, Shape::WithLevel) { 9 } else { 7 };
            for step in 0..5 {
                let least = objective(&map, step);
                for i in 0..free {
                    for nudge in [-1e-3, 1e-3] {
                        let mut weights = map.weights().clone();
                        weights.row_mut(i)[step] += nudge;
                        assert!(
                            objective(&LinearMap::from_weights(weights), step) > least,
                            "{shape:?} {i}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_channel_around_a_mean_is_foreseen_better_with_its_level() {
        let moments = moments(&series(2_000));
        let error = |shape| {
            let map = direct(&moments, shape, 1e-6).expect("it moves");
            moments.squared_errors(&map)[4]
        };
        let walk = moments.squared_errors(&LinearMap::random_walk(size(8), size(5)))[4];
        assert!(error(Shape::Deviations) < walk);
        assert!(error(Shape::WithLevel) < error(Shape::Deviations));
    }

    #[test]
    fn a_channel_that_does_not_move_has_no_map() {
        assert!(direct(&moments(&[2.0; 60]), Shape::Deviations, 0.1).is_none());
    }
}
