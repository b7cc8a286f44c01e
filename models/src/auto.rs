//! The default method: a convex combination of a small family, chosen by validation, channel by channel.
//!
//! A map for all channels wins where channels are alike, one for each where they are not, a random walk where nothing
//! can be foreseen; which it is shows on a stretch that precedes the cutoff. Every member is fitted on what comes before
//! that stretch, weights are told from its errors on it (`selection`), and the members are fitted again on everything.
//! Nothing after the cutoff has a part in it. Channels of a pool are each cut at their own stretch: where these lie at
//! different times, a common map has seen the time of another's.
//!
//! All of it follows from second moments of windows (`moments`) but the intervals, for which the residuals themselves
//! are needed.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cholesky::Cholesky;
use crate::conformal::{half_widths, magnitudes};
use crate::direct::{Shape, direct};
use crate::dot::dot;
use crate::estimate::{Estimate, Extent};
use crate::forecast::Level;
use crate::gram::LagGram;
use crate::lag_products::LagProducts;
use crate::linear_map::LinearMap;
use crate::moments::WindowMoments;
use crate::selection::{bands, weights};
use crate::stationary::{Stationary, differences};

/// Penalty of a channel's own direct map, in units of its mean square deviation.
const PENALTY: f64 = 0.3;
/// That of a pool, which has more windows to tell from.
const POOL_PENALTY: f64 = 0.1;
/// Independent errors that it takes to believe half of what a stretch says about how much can be foreseen.
const WORTH_OF_NOTHING: f64 = 4.0;
/// The lookback of a channel is a power of two below the one that is asked for, so that channels share pools.
const SHORTEST_LOOKBACK: usize = 2;
/// The moments of windows grow with the square of their length: 26 MB each for this one.
const LONGEST_WINDOW: usize = 2_560;
/// A validation stretch is this share of the samples, if nobody says where it begins.
pub(crate) const VALIDATION_SHARE: usize = 5;

/// A method of the family: each is fitted to samples and becomes a [`LinearMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Member {
    /// The channel's own auto-regression, its order by BIC.
    AutoAr,
    /// One auto-regression of first differences for all channels, with all lags.
    PooledAutoAr,
    /// The channel's own ridge from its lookback to every step.
    Direct,
    /// The same with the channel's level, so that it may go back to a mean.
    DirectLevel,
    /// One ridge for all channels.
    PooledDirect,
    /// The same with the level of each channel: what one channel seldom shows, many do.
    PooledDirectLevel,
    /// The channel's own ridge, pulled towards that of all channels.
    ShrunkDirect,
    /// The newest sample.
    RandomWalk,
    /// The sample of a season before.
    SeasonalNaive,
}

impl Member {
    /// Every member.
    pub const ALL: [Self; 9] = [
        Self::AutoAr,
        Self::PooledAutoAr,
        Self::Direct,
        Self::DirectLevel,
        Self::PooledDirect,
        Self::PooledDirectLevel,
        Self::ShrunkDirect,
        Self::RandomWalk,
        Self::SeasonalNaive,
    ];

    /// Those that `auto` chooses from. A ridge that is shrunk towards the pool's is a combination of the two already.
    pub const AUTO: [Self; 8] = [
        Self::AutoAr,
        Self::PooledAutoAr,
        Self::Direct,
        Self::DirectLevel,
        Self::PooledDirect,
        Self::PooledDirectLevel,
        Self::RandomWalk,
        Self::SeasonalNaive,
    ];

    /// The name in configuration, metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::AutoAr => "auto_ar",
            Self::PooledAutoAr => "pooled_auto_ar",
            Self::Direct => "direct",
            Self::DirectLevel => "direct_level",
            Self::PooledDirect => "pooled_direct",
            Self::PooledDirectLevel => "pooled_direct_level",
            Self::ShrunkDirect => "shrunk_direct",
            Self::RandomWalk => "random_walk",
            Self::SeasonalNaive => "seasonal_naive",
        }
    }

    /// Whether it is fitted to all channels together.
    pub fn needs_pool(self) -> bool {
        matches!(
            self,
            Self::PooledAutoAr | Self::PooledDirect | Self::PooledDirectLevel | Self::ShrunkDirect
        )
    }
}

impl Member {
    /// The part that it has before any error was seen, up to a common factor. Long lookbacks have been found to win,
    /// and what many channels say of the way back to a level; what looks back little has to show that it does.
    fn prior(self) -> f64 {
        match self {
            Self::PooledDirectLevel => 2.0,
            Self::Direct | Self::DirectLevel | Self::ShrunkDirect => 1.0,
            Self::PooledDirect | Self::PooledAutoAr => 1.0,
            Self::AutoAr => 0.2,
            Self::SeasonalNaive | Self::RandomWalk => 0.1,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let member = Self::ALL.into_iter().find(|member| member.name() == name);
        member.ok_or_else(|| format!("{name} is no method of the family"))
    }
}

/// What is asked of a combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoSpec {
    /// Steps to forecast.
    pub horizon: NonZeroUsize,
    /// Samples a forecast may look back on; a short channel looks back less.
    pub lookback: NonZeroUsize,
    /// Samples of a season, if the channel has one.
    pub season: Option<NonZeroUsize>,
    /// What to choose from, each once. With one there is no choice.
    pub members: Vec<Member>,
    /// Intervals to give.
    pub levels: Vec<Level>,
}

/// A channel as it is fitted: samples without gaps, of about unit variance around zero.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    values: &'a [f64],
    validation: usize,
    lookback: NonZeroUsize,
}

impl<'a> Training<'a> {
    /// Samples up to the cutoff, oldest first, with the place where the validation stretch begins. `None` if they are
    /// too few on either side of it, for this horizon.
    pub fn new(values: &'a [f64], validation: usize, spec: &AutoSpec) -> Option<Self> {
        let horizon = spec.horizon.get();
        let windows = (validation + 1).checked_sub(horizon)?;
        let asked = spec.lookback.get().min(LONGEST_WINDOW.checked_sub(horizon)?);
        if values.len() < validation + horizon {
            return None;
        }
        let season = spec.season.map(NonZeroUsize::get);
        let season = season.filter(|season| *season < windows && *season <= asked);
        // At least half as many windows as weights: the penalty does the rest.
        let told = lookback_for(windows * 2 / 3, asked).max(season.unwrap_or(0));
        let lookback = NonZeroUsize::new(told).filter(|lookback| lookback.get() >= SHORTEST_LOOKBACK)?;
        (validation >= lookback.get() + horizon).then_some(Self {
            values,
            validation,
            lookback,
        })
    }

    /// The same, with the last fifth for validation, or a horizon if that is longer.
    pub fn with_last_fifth(values: &'a [f64], spec: &AutoSpec) -> Option<Self> {
        let stretch = (values.len() / VALIDATION_SHARE).max(spec.horizon.get());
        Self::new(values, values.len().checked_sub(stretch)?, spec)
    }

    /// Samples a forecast looks back on.
    pub fn lookback(&self) -> NonZeroUsize {
        self.lookback
    }

    /// What precedes the validation stretch.
    fn before(&self) -> &'a [f64] {
        &self.values[..self.validation]
    }

    /// The validation stretch, and the lookback of its first forecast.
    fn stretch(&self) -> &'a [f64] {
        &self.values[self.validation - self.lookback.get()..]
    }

    fn moments(&self, values: &[f64], horizon: NonZeroUsize) -> WindowMoments {
        WindowMoments::new(values, self.lookback, horizon).expect("the constructor has seen that a window fits")
    }
}

/// The longest lookback up to `most` that is `asked` or a power of two below it; 0 if there is none.
fn lookback_for(most: usize, asked: usize) -> usize {
    if most >= asked {
        asked
    } else {
        most.checked_ilog2().map_or(0, |exponent| 1 << exponent)
    }
}

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
    maps: BTreeMap<NonZeroUsize, SharedMaps>,
}

/// Fitted before the validation stretch, and on everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SharedMaps {
    before: CommonMaps,
    all: CommonMaps,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CommonMaps {
    direct: Option<LinearMap>,
    direct_level: Option<LinearMap>,
    auto_ar: Option<LinearMap>,
}

/// A channel's map, how sure it is, and how it was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelModel {
    /// In the unit of the training samples.
    pub map: LinearMap,
    /// Half the width of the interval, by level and step, in the unit of the training samples: split conformal, from
    /// the errors on the validation stretch of the combination fitted before it.
    pub half_widths: Vec<Vec<f64>>,
    /// How it was chosen.
    pub choice: Choice,
}

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

impl ChannelModel {
    /// Chooses by the validation stretch, and fits what was chosen to all samples.
    pub fn fit(training: &Training<'_>, pool: Option<&Pool>, spec: &AutoSpec) -> Self {
        let shared = pool.and_then(|pool| pool.maps.get(&training.lookback));
        let family = |values, common| Family {
            values,
            moments: training.moments(values, spec.horizon),
            common,
            lookback: training.lookback,
            spec,
        };
        let before = family(training.before(), shared.map(|shared| &shared.before));
        let candidates = before.candidates();
        let stretch = training.moments(training.stretch(), spec.horizon);
        let chosen = chosen(&candidates, &stretch, training.lookback, spec);
        let tried = combined(&candidates, &chosen, training.lookback, spec.horizon);
        let half_widths = widths(training, &tried, &chosen, &spec.levels);
        let all = family(training.values, shared.map(|shared| &shared.all));
        let own = all.own_auto_regression();
        let members = chosen
            .iter()
            .flat_map(|band| band.weights.iter().map(|(member, _)| *member));
        let mut wanted: Vec<Member> = members.collect();
        wanted.sort_unstable();
        wanted.dedup();
        let fitted = all.fitted(&wanted, own.as_ref());
        Self {
            map: reined(
                combined(&fitted, &chosen, training.lookback, spec.horizon),
                training.values,
            ),
            half_widths,
            choice: Choice {
                lookback: training.lookback.get(),
                windows: stretch.windows(),
                bands: chosen,
                order: own.as_ref().map(|own| own.coefficients.len()),
                num_diff: own.as_ref().map(|own| own.num_diff),
            },
        }
    }
}

/// Samples to which members are fitted.
struct Family<'a> {
    values: &'a [f64],
    moments: WindowMoments,
    common: Option<&'a CommonMaps>,
    lookback: NonZeroUsize,
    spec: &'a AutoSpec,
}

type Candidate = (Member, LinearMap);

impl Family<'_> {
    fn candidates(&self) -> Vec<Candidate> {
        let wants_own = self.spec.members.contains(&Member::AutoAr);
        let own = wants_own.then(|| self.own_auto_regression()).flatten();
        self.fitted(&self.spec.members, own.as_ref())
    }

    /// Those of the members that these samples bear.
    fn fitted(&self, members: &[Member], own: Option<&Estimate>) -> Vec<Candidate> {
        let maps = members
            .iter()
            .filter_map(|member| Some((*member, self.map(*member, own)?)));
        maps.filter(|(_, map)| map.is_finite()).collect()
    }

    fn map(&self, member: Member, own: Option<&Estimate>) -> Option<LinearMap> {
        let (lookback, horizon) = (self.lookback, self.spec.horizon);
        let common = self.common;
        let pooled = common.and_then(|common| common.direct.as_ref());
        match member {
            Member::AutoAr => own.map(|own| {
                let intercept = own.plain_intercept();
                LinearMap::auto_regression(&own.coefficients, intercept, own.num_diff, lookback, horizon)
            }),
            Member::PooledAutoAr => common?.auto_ar.clone(),
            Member::Direct => direct(&self.moments, Shape::Deviations, PENALTY),
            Member::DirectLevel => direct(&self.moments, Shape::WithLevel, PENALTY),
            Member::PooledDirect => pooled.cloned(),
            Member::PooledDirectLevel => common?.direct_level.clone(),
            Member::ShrunkDirect => direct(&self.moments, Shape::Around(pooled?), PENALTY),
            Member::RandomWalk => Some(LinearMap::random_walk(lookback, horizon)),
            Member::SeasonalNaive => {
                let season = self.spec.season.filter(|season| *season <= lookback)?;
                Some(LinearMap::seasonal_naive(lookback, horizon, season))
            }
        }
    }

    fn own_auto_regression(&self) -> Option<Estimate> {
        let moves = self.values.windows(2).any(|pair| pair[0] != pair[1]);
        moves.then(|| {
            let stationary = Stationary::new(self.values);
            let solution = stationary.solve(&stationary.products(self.lookback.get()));
            Estimate::auto_ar(stationary.form, solution)
        })
    }
}

/// The weights of each band of steps.
fn chosen(candidates: &[Candidate], stretch: &WindowMoments, lookback: NonZeroUsize, spec: &AutoSpec) -> Vec<Band> {
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
        let weights = weights(&means, &prior);
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
fn combined(candidates: &[Candidate], bands: &[Band], lookback: NonZeroUsize, horizon: NonZeroUsize) -> LinearMap {
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

/// Half widths of the intervals from the errors of a map on the validation stretch.
fn widths(training: &Training<'_>, map: &LinearMap, chosen: &[Band], levels: &[Level]) -> Vec<Vec<f64>> {
    let horizon = map.horizon();
    let values = training.values;
    let origins = training.validation..values.len() - horizon + 1;
    let residuals = magnitudes(values, origins.clone(), |origins, stride| {
        map.forecasts(values, origins, stride)
    });
    // What the channel has ever moved in so many steps, less what the combination foresees of it, as far as the stretch
    // is long enough to tell.
    let spare = |step: usize| {
        let moves = values
            .windows(step + 2)
            .map(|window| (window[step + 1] - window[0]).powi(2));
        let mean_square = moves.sum::<f64>() / (values.len() - step - 1) as f64;
        let band = chosen.iter().find(|band| band.last > step);
        let left = band.map_or(1.0, |band| band.mse / band.random_walk_mse);
        let left = if left < 1.0 { left } else { 1.0 };
        let worth = origins.len() as f64 / (step + 1) as f64;
        (mean_square * (left * worth + WORTH_OF_NOTHING) / (worth + WORTH_OF_NOTHING)).sqrt()
    };
    half_widths(&residuals, levels, spare)
}

/// Reins a map in that leads farther away from the newest sample than the channel has ever ranged, and as many times
/// farther as the horizon is longer than the samples: all its steps alike, towards a random walk. Few samples can tell
/// of a growth that they do not bear out.
fn reined(map: LinearMap, values: &[f64]) -> LinearMap {
    let Extent { lowest, highest, count } = Extent::of(values);
    let bound = (highest - lowest) * (1.0 + map.horizon() as f64 / count as f64);
    let newest = values[count - 1];
    let farthest = map
        .forecast(values)
        .iter()
        .map(|forecast| (forecast - newest).abs())
        .fold(0.0, f64::max);
    if farthest <= bound {
        return map;
    }
    let share = vec![bound / farthest; map.horizon()];
    LinearMap::combined(&[&map], &[share])
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).expect("not zero")
    }

    fn spec(members: &[Member]) -> AutoSpec {
        AutoSpec {
            horizon: size(8),
            lookback: size(32),
            season: Some(size(12)),
            members: members.to_vec(),
            levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
        }
    }

    /// Uniform in [-0.5, 0.5).
    fn noise(mut seed: u64) -> impl Iterator<Item = f64> {
        std::iter::repeat_with(move || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        })
    }

    fn walk(n: usize, seed: u64) -> Vec<f64> {
        let steps = noise(seed).take(n);
        steps
            .scan(0.0, |level, step| {
                Some(*{
                    *level += step;
                    level
                })
            })
            .collect()
    }

    fn wave(n: usize, seed: u64) -> Vec<f64> {
        let noise = noise(seed).take(n).enumerate();
        noise
            .map(|(t, noise)| (t as f64 * std::f64::consts::TAU / 12.0).sin() + noise)
            .collect()
    }

    fn fitted(values: &[f64], pool: Option<&Pool>, spec: &AutoSpec) -> ChannelModel {
        let training = Training::with_last_fifth(values, spec).expect("long enough");
        ChannelModel::fit(&training, pool, spec)
    }

    /// Of windows after the cutoff.
    fn error(model: &ChannelModel, values: &[f64], cutoff: usize) -> f64 {
        let seen = &values[cutoff - model.map.lookback()..];
        let moments = WindowMoments::new(seen, size(model.map.lookback()), size(8)).expect("long enough");
        moments.squared_errors(&model.map).iter().sum::<f64>() / (8 * moments.windows()) as f64
    }

    #[test]
    fn the_same_samples_give_the_same_bits() {
        let values = wave(900, 1);
        let spec = spec(&Member::AUTO);
        assert_eq!(fitted(&values[..600], None, &spec), fitted(&values[..600], None, &spec));
    }

    #[test]
    fn a_combination_is_about_as_good_as_its_best_member_on_samples_it_has_not_seen() {
        for values in [wave(3_000, 2), walk(3_000, 3)] {
            let alone = |member| error(&fitted(&values[..1_000], None, &spec(&[member])), &values, 1_000);
            let own = [
                Member::AutoAr,
                Member::Direct,
                Member::DirectLevel,
                Member::RandomWalk,
                Member::SeasonalNaive,
            ];
            let best = own.into_iter().map(alone).fold(f64::INFINITY, f64::min);
            let together = error(&fitted(&values[..1_000], None, &spec(&Member::AUTO)), &values, 1_000);
            assert!(together < best * 1.1, "{together} {best}");
        }
    }

    #[test]
    fn one_member_has_all_of_it_and_one_that_cannot_be_fitted_leaves_a_random_walk() {
        let values = wave(300, 4);
        let only = fitted(&values, None, &spec(&[Member::SeasonalNaive]));
        assert_eq!(only.map, LinearMap::seasonal_naive(size(32), size(8), size(12)));
        assert!(
            only.choice
                .bands
                .iter()
                .all(|band| band.weights == [(Member::SeasonalNaive, 1.0)])
        );
        let none = fitted(&values, None, &spec(&[Member::PooledDirect]));
        assert_eq!(none.map, LinearMap::random_walk(size(32), size(8)));
    }

    #[test]
    fn a_pool_tells_a_channel_more_than_its_own_few_samples() {
        let channels: Vec<Vec<f64>> = (0..40).map(|seed| wave(1_000, 100 + seed)).collect();
        let spec = spec(&[Member::PooledDirect]);
        let mut pool = PoolBuilder::new(&spec);
        let trainings = channels
            .iter()
            .map(|values| Training::with_last_fifth(&values[..120], &spec).expect("enough"));
        trainings.for_each(|training| pool.add(&training));
        let pool = pool.finish();
        let own = AutoSpec {
            members: vec![Member::Direct],
            ..spec.clone()
        };
        let sum = |pool: Option<&Pool>, spec: &AutoSpec| -> f64 {
            channels
                .iter()
                .map(|values| error(&fitted(&values[..120], pool, spec), values, 120))
                .sum()
        };
        assert!(sum(Some(&pool), &spec) < sum(None, &own));
    }

    #[test]
    fn parts_of_a_pool_put_together_are_the_pool() {
        let spec = spec(&Member::AUTO);
        let channels: Vec<Vec<f64>> = (0..4).map(|seed| wave(300, seed)).collect();
        let builder = |channels: &[Vec<f64>]| {
            let mut builder = PoolBuilder::new(&spec);
            for values in channels {
                builder.add(&Training::with_last_fifth(values, &spec).expect("enough"));
            }
            builder
        };
        let mut parts = builder(&channels[..1]);
        parts.merge(builder(&channels[1..2]));
        parts.merge(builder(&channels[2..3]));
        parts.merge(builder(&channels[3..]));
        assert_eq!(parts.finish(), builder(&channels).finish());
        assert_eq!(
            builder(&channels[..1]).finish(),
            Pool::default(),
            "one channel has nothing in common"
        );
    }

    #[test]
    fn intervals_hold_what_they_promise() {
        let values = wave(6_000, 7);
        let model = fitted(&values[..2_000], None, &spec(&Member::AUTO));
        for (widths, level) in model.half_widths.iter().zip([0.8, 0.95]) {
            let forecasts = model.map.forecasts(&values, 2_000..5_990, size(1));
            for (step, width) in widths.iter().enumerate() {
                let held = (0..forecasts.rows())
                    .filter(|row| (forecasts.at(*row, step) - values[2_000 + row + step]).abs() <= *width)
                    .count();
                let share = held as f64 / forecasts.rows() as f64;
                assert!((share - level).abs() < 0.04, "{level} {step}: {share}");
            }
        }
    }

    #[test]
    fn too_few_samples_leave_nothing_to_choose_by() {
        let spec = spec(&Member::AUTO);
        for (samples, enough) in [(0, false), (8, false), (17, false), (18, true), (400, true)] {
            assert_eq!(
                Training::with_last_fifth(&wave(samples, 1), &spec).is_some(),
                enough,
                "{samples}"
            );
        }
        let far = AutoSpec {
            horizon: size(2_559),
            ..spec
        };
        assert!(
            Training::with_last_fifth(&wave(20_000, 1), &far).is_none(),
            "no window of 2,560 has two samples before"
        );
    }

    #[test]
    fn a_growth_that_leads_nowhere_is_reined_in() {
        let grown: Vec<f64> = (0..60).map(|t| 1.2_f64.powi(t)).collect();
        let spec = AutoSpec {
            members: vec![Member::AutoAr],
            horizon: size(12),
            season: None,
            ..spec(&[])
        };
        let model = fitted(&grown, None, &spec);
        let newest = grown[59];
        let farthest = model.map.forecast(&grown)[11];
        assert!(
            farthest > newest && farthest - newest <= newest * 1.2 + 1e-6 * newest,
            "{farthest} {newest}"
        );
    }
}
