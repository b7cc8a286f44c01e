//! The choice itself: the part of each member in each band of steps, from its errors on the validation stretch.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::family::Candidate;
use super::member::Member;
use super::training::AutoSpec;
use crate::linear_map::LinearMap;
use crate::moments::WindowMoments;
use crate::selection::{bands, weights};

/// How a map was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Samples a forecast looks back on.
    pub lookback: usize,
    /// Windows of the validation stretch.
    pub windows: usize,
    /// By steps.
    pub bands: Vec<Band>,
    /// Of the channel's own auto-regression, if it was among the candidates.
    pub order: Option<usize>,
    /// The same.
    pub num_diff: Option<usize>,
}

/// What was chosen for some steps. Errors are mean squares over the validation stretch, in the unit of the training
/// samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// The first step, from 1.
    pub first: usize,
    /// The last step.
    pub last: usize,
    /// Those that have a part, the largest first.
    pub weights: Vec<(Member, f64)>,
    /// Of the combination.
    pub mse: f64,
    /// The best member by itself.
    pub best: Member,
    /// Of the best member by itself.
    pub best_mse: f64,
    /// Of the random walk.
    pub random_walk_mse: f64,
}

impl Choice {
    /// The members with their mean weight over all steps, the largest first.
    pub fn weights(&self) -> Vec<(Member, f64)> {
        let mut sums = BTreeMap::<Member, f64>::new();
        let horizon = self.bands.last().map_or(1, |band| band.last) as f64;
        for band in &self.bands {
            for (member, weight) in &band.weights {
                *sums.entry(*member).or_default() += weight * (band.last + 1 - band.first) as f64 / horizon;
            }
        }
        largest_first(sums)
    }
}

fn largest_first(weights: impl IntoIterator<Item = (Member, f64)>) -> Vec<(Member, f64)> {
    let mut weights: Vec<(Member, f64)> = weights.into_iter().filter(|(_, weight)| *weight > 0.0).collect();
    weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    weights
}

/// The weights of each band of steps.
pub(super) fn chosen(
    candidates: &[Candidate],
    stretch: &WindowMoments,
    lookback: NonZeroUsize,
    spec: &AutoSpec,
) -> Vec<Band> {
    let walk = LinearMap::random_walk(lookback, spec.horizon);
    let walk_errors = stretch.squared_errors(&walk);
    let maps: Vec<&LinearMap> = candidates.iter().map(|(_, map)| map).collect();
    let prior: Vec<f64> = candidates.iter().map(|(member, _)| member.prior()).collect();
    let products = stretch.error_products(&maps);
    let bands = bands(spec.horizon.get()).into_iter().map(|steps| {
        let cells = (steps.len() * stretch.windows()) as f64;
        let mean = |by_step: &Vec<f64>| by_step[steps.clone()].iter().sum::<f64>() / cells;
        let means: Vec<Vec<f64>> = products.iter().map(|row| row.iter().map(mean).collect()).collect();
        let random_walk_mse = mean(&walk_errors);
        let band = |weights, best, mse, best_mse| Band {
            first: steps.start + 1,
            last: steps.end,
            weights,
            mse,
            best,
            best_mse,
            random_walk_mse,
        };
        if means.is_empty() {
            let walk = vec![(Member::RandomWalk, 1.0)];
            return band(walk, Member::RandomWalk, random_walk_mse, random_walk_mse);
        }
        let weights = weights(&means, &prior, stretch.windows() as f64 / steps.end as f64);
        let terms = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
        let mse = terms.clone().map(|(a, x)| {
            let with = |(b, y): (usize, &f64)| x * y * means[a.max(b)][a.min(b)];
            terms.clone().map(with).sum::<f64>()
        });
        let mse = mse.sum();
        let errors = candidates
            .iter()
            .enumerate()
            .map(|(place, (member, _))| (*member, means[place][place]));
        let (best, best_mse) = errors
            .filter(|(_, error)| error.is_finite())
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((candidates[0].0, f64::MAX));
        let members = candidates.iter().map(|(member, _)| *member).zip(weights);
        band(largest_first(members), best, mse, best_mse)
    });
    bands.collect()
}

/// The maps in their parts. A member that could not be fitted leaves its part to the others; with none it is a random
/// walk.
pub(super) fn combined(
    candidates: &[Candidate],
    bands: &[Band],
    lookback: NonZeroUsize,
    horizon: NonZeroUsize,
) -> LinearMap {
    let mut by_step: Vec<Vec<f64>> = candidates.iter().map(|_| vec![0.0; horizon.get()]).collect();
    for band in bands {
        let weight = |member: Member| {
            let weights = band.weights.iter();
            weights
                .filter(|(other, _)| *other == member)
                .map(|(_, weight)| weight)
                .sum::<f64>()
        };
        let there: f64 = candidates.iter().map(|(member, _)| weight(*member)).sum();
        for (by_step, (member, _)) in by_step.iter_mut().zip(candidates) {
            let share = if there > 0.0 { weight(*member) / there } else { 0.0 };
            by_step[band.first - 1..band.last].fill(share);
        }
    }
    let maps: Vec<&LinearMap> = candidates.iter().map(|(_, map)| map).collect();
    if maps.is_empty() {
        LinearMap::random_walk(lookback, horizon)
    } else {
        LinearMap::combined(&maps, &by_step)
    }
}
