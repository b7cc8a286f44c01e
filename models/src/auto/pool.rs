//! What channels have in common: members that are fitted to all of them together.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::training::{AutoSpec, Training};
use crate::cholesky::Cholesky;
use crate::direct::{Shape, direct};
use crate::dot::dot;
use crate::gram::LagGram;
use crate::lag_products::LagProducts;
use crate::linear_map::LinearMap;
use crate::moments::WindowMoments;
use crate::stationary::differences;

/// That of a pool, which has more windows to tell from.
const POOL_PENALTY: f64 = 0.1;

/// Gathers the channels of pools. Sums are the same in whatever order of channels but for rounding; those of the same
/// parts in the same order are the same bits.
#[derive(Clone, Debug)]
pub struct PoolBuilder {
    spec: AutoSpec,
    sums: BTreeMap<NonZeroUsize, PoolSums>,
}

#[derive(Clone, Debug)]
struct PoolSums {
    channels: usize,
    before: PartSums,
    all: PartSums,
}

/// What is known of a pool's samples before the validation stretch, or of all.
#[derive(Clone, Debug)]
struct PartSums {
    windows: WindowMoments,
    /// Of first differences.
    lags: Option<LagGram>,
}

impl PoolBuilder {
    /// No channel yet.
    pub fn new(spec: &AutoSpec) -> Self {
        Self {
            spec: spec.clone(),
            sums: BTreeMap::new(),
        }
    }

    /// Takes a channel in.
    pub fn add(&mut self, training: &Training<'_>) {
        if !self.spec.members.iter().any(|member| member.needs_pool()) {
            return;
        }
        let part = |values: &[f64]| PartSums {
            windows: training.moments(values, self.spec.horizon),
            lags: difference_gram(values, training.lookback.get() - 1),
        };
        let sums = PoolSums {
            channels: 1,
            before: part(training.before()),
            all: part(training.values),
        };
        self.add_sums(training.lookback, sums);
    }

    /// Takes the channels of another builder in.
    pub fn merge(&mut self, other: Self) {
        for (lookback, sums) in other.sums {
            self.add_sums(lookback, sums);
        }
    }

    fn add_sums(&mut self, lookback: NonZeroUsize, sums: PoolSums) {
        match self.sums.entry(lookback) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(sums);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                let pool = place.get_mut();
                pool.channels += sums.channels;
                pool.before.add(&sums.before);
                pool.all.add(&sums.all);
            }
        }
    }

    /// Fits what is common. A pool of one channel is none.
    pub fn finish(self) -> Pool {
        let Self { spec, sums } = self;
        let several = sums.into_iter().filter(|(_, sums)| sums.channels > 1);
        let pools = several.map(|(lookback, sums)| {
            let maps = SharedMaps {
                before: sums.before.maps(lookback, &spec),
                all: sums.all.maps(lookback, &spec),
            };
            (lookback, maps)
        });
        Pool { maps: pools.collect() }
    }
}

impl PartSums {
    fn add(&mut self, other: &Self) {
        self.windows += &other.windows;
        match (&mut self.lags, &other.lags) {
            (Some(lags), Some(other)) => *lags += other,
            (lags @ None, Some(other)) => *lags = Some(other.clone()),
            (_, None) => {}
        }
    }

    fn maps(self, lookback: NonZeroUsize, spec: &AutoSpec) -> CommonMaps {
        let auto_ar = self.lags.and_then(|lags| {
            let (coefficients, intercept) = pooled_regression(lags);
            let map = LinearMap::auto_regression(&coefficients, intercept, 1, lookback, spec.horizon);
            map.is_finite().then_some(map)
        });
        CommonMaps {
            direct: direct(&self.windows, Shape::Deviations, POOL_PENALTY),
            direct_level: direct(&self.windows, Shape::WithLevel, POOL_PENALTY),
            auto_ar,
        }
    }
}

/// The Gram of a channel's first differences; `None` if they are too few for one row.
fn difference_gram(values: &[f64], order: usize) -> Option<LagGram> {
    let differences = differences(values);
    (order < differences.len()).then(|| LagGram::new(&LagProducts::new(&differences, order)))
}

/// Least squares of all channels' targets on their lags, with one constant.
pub(crate) fn pooled_regression(lags: LagGram) -> (Vec<f64>, f64) {
    let equations = lags.without_constant();
    let factor = Cholesky::new(equations.lags, equations.floor);
    let coefficients = factor.solve_upper(&factor.solve_lower(&equations.target));
    let intercept = equations.means[0] - dot(&coefficients, &equations.means[1..]);
    (coefficients, intercept)
}

/// What channels have in common, by lookback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    pub(super) maps: BTreeMap<NonZeroUsize, SharedMaps>,
}

/// Fitted before the validation stretch, and on everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SharedMaps {
    pub(super) before: CommonMaps,
    pub(super) all: CommonMaps,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CommonMaps {
    pub(super) direct: Option<LinearMap>,
    pub(super) direct_level: Option<LinearMap>,
    pub(super) auto_ar: Option<LinearMap>,
}
