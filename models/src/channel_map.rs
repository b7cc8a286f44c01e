//! A channel's chosen map as it is kept and applied: from a series to a map, and from new samples to a forecast.
//!
//! Choosing and fitting takes some milliseconds; applying a map takes some microseconds. So a map is kept while the
//! window moves by no more than a small part of itself, and every new sample has a new forecast all the same.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::auto::{
    AutoSpec, ChannelModel, Choice, Member, Pool, PoolBuilder, StretchErrors, Training, VALIDATION_SHARE,
};
use crate::auto_ar::FittedAr;
use crate::backtest::Standard;
use crate::estimate::Estimate;
use crate::estimate::Extent;
use crate::fit::{ChannelFit, FitFailure, FitSpec, Window, fitted};
use crate::forecast::{Forecast, Interval, Level};
use crate::gaps::GapPolicy;
use crate::linear_map::LinearMap;
use crate::network::NetworkTrial;
use crate::season::{natural_seasons, season_of};
use crate::series::Series;
use crate::stationary::Stationary;
use crate::time::{Grid, Slot};

/// A map is of its samples until so many parts of them have been added.
const STALE_AFTER: usize = 16;

/// How a channel is forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// A combination of the whole family, chosen by validation.
    #[default]
    Auto,
    /// One member of the family.
    Only(Member),
}

impl Method {
    /// What it chooses from.
    pub fn members(self) -> Vec<Member> {
        match self {
            Self::Auto => Member::AUTO.to_vec(),
            Self::Only(member) => vec![member],
        }
    }

    /// Whether it is served by a [`ChannelMap`]; Auto-AR by itself has a way of its own, [`fit`](crate::fit::fit).
    pub fn is_mapped(self) -> bool {
        self != Self::Only(Member::AutoAr)
    }

    /// Whether a part of it is fitted to all channels together.
    pub fn needs_pool(self) -> bool {
        self.members().into_iter().any(Member::needs_pool)
    }

    /// Every method.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Auto).chain(Member::ALL.map(Self::Only))
    }

    /// The name in configuration, metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(member) => member.name(),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let method = Self::all().find(|method| method.name() == name);
        method.ok_or_else(|| format!("there is no method {name}"))
    }
}

/// A channel's map, in the channel's unit.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelMap {
    /// On the newest samples, `lookback × horizon`, the oldest first; then the constants. Single precision: a weight
    /// is never known to seven digits, and a thousand channels are kept.
    weights: Vec<f32>,
    horizon: usize,
    standard: Standard,
    /// By level, by step, in the unit of the standard samples.
    half_widths: Vec<(Level, Vec<f32>)>,
    model: FittedAr,
    choice: Arc<Choice>,
    asked: (FitSpec, Method),
    grid: Grid,
    /// The newest sample that it was fitted to.
    cutoff_slot: Slot,
    /// How many it was fitted to.
    samples: usize,
    /// On the validation stretch; `errors_from` is the slot of its first origin.
    errors: StretchErrors,
    errors_from: Slot,
    /// The network that was held against it last.
    trial: Option<Arc<NetworkTrial>>,
}

impl ChannelMap {
    /// Chooses a map for a series and forecasts from its end.
    ///
    /// `None` where there is nothing to choose: the samples are too few to hold some back for validation, or do not move;
    /// a window would be longer than what is chosen for; or what was chosen runs away.
    /// [`fit`](crate::fit::fit) has an answer for these.
    ///
    /// # Errors
    /// As [`fit`](crate::fit::fit).
    pub fn fit(
        series: &Series,
        spec: &FitSpec,
        method: Method,
        pool: Option<&Pool>,
    ) -> Result<Option<(ChannelFit, Self)>, FitFailure> {
        let window = Window::new(series, spec.gaps)?;
        let Some(ready) = Ready::new(&window, series, spec, method) else {
            return Ok(None);
        };
        let Some(training) = Training::with_last_fifth(&ready.values, &ready.spec) else {
            return Ok(None);
        };
        let model = ChannelModel::fit(&training, pool, &ready.spec);
        let half_widths = spec.levels.iter().zip(&model.half_widths);
        let map = Self {
            weights: single(&model.map),
            horizon: spec.horizon.get(),
            standard: ready.standard,
            half_widths: half_widths
                .map(|(level, widths)| (*level, widths.iter().map(|width| *width as f32).collect()))
                .collect(),
            model: auto_regression(&window, spec),
            choice: Arc::new(model.choice),
            asked: (spec.clone(), method),
            grid: window.grid(),
            cutoff_slot: window.cutoff_slot(),
            samples: ready.values.len(),
            errors_from: window.cutoff_slot() + 1 - (ready.values.len() - model.errors.first) as Slot,
            errors: model.errors,
            trial: None,
        };
        Ok(map.forecast_window(&window).ok().map(|forecast| (forecast, map)))
    }

    /// The forecast after newer samples of the same channel.
    ///
    /// # Errors
    /// As [`fit`](crate::fit::fit); [`FitFailure::NotFinite`] also where the series is shorter than the lookback, or the
    /// forecast runs away.
    pub fn forecast(&self, series: &Series, gaps: GapPolicy) -> Result<ChannelFit, FitFailure> {
        self.forecast_window(&Window::new(series, gaps)?)
    }

    /// Whether this is what was asked for.
    pub fn answers(&self, spec: &FitSpec, method: Method) -> bool {
        (&self.asked.0, self.asked.1) == (spec, method)
    }

    /// Whether so much has been added to the series, at either end, that it had better be fitted again; always on another
    /// grid. Samples that were revised do not count.
    pub fn is_stale(&self, series: &Series) -> bool {
        let most = (self.samples / STALE_AFTER).max(1);
        let newest = series.first_slot.saturating_add(series.values.len() as Slot - 1);
        let added = newest.saturating_sub(self.cutoff_slot);
        let at_the_end = !(0..most as Slot).contains(&added);
        series.grid != self.grid || at_the_end || series.values.len() >= self.samples + most
    }

    /// Slots that a forecast looks back on.
    pub fn lookback(&self) -> usize {
        self.choice.lookback
    }

    /// Origins of the validation stretch, by the slot of their first target, with the mean squared error over the horizon
    /// of what was fitted before the stretch; in the unit of [`deviation`](Self::deviation).
    pub(crate) fn errors(&self) -> impl Iterator<Item = (Slot, f64)> {
        let (from, stride) = (self.errors_from, self.errors.stride);
        let errors = self.errors.mse.iter().enumerate();
        errors.map(move |(place, mse)| (from + (place * stride) as Slot, f64::from(*mse)))
    }

    /// What makes the training samples comparable with those of other channels.
    pub(crate) fn deviation(&self) -> f64 {
        self.standard.deviation
    }

    /// The network that was held against it last.
    pub fn trial(&self) -> Option<&Arc<NetworkTrial>> {
        self.trial.as_ref()
    }

    /// Remembers how a network did beside it.
    pub fn set_trial(&mut self, trial: Arc<NetworkTrial>) {
        self.trial = Some(trial);
    }

    fn forecast_window(&self, window: &Window<'_>) -> Result<ChannelFit, FitFailure> {
        let lookback = self.lookback();
        // Another unit would be another power of two: only ratios to the scale count, and both are plain numbers here.
        let newest = window.filled.len().checked_sub(lookback).ok_or(FitFailure::NotFinite)?;
        let standard = |sample: &f64| self.standard.standardised(window.unit.restore(*sample));
        let samples: Vec<f64> = window.filled[newest..].iter().map(standard).collect();
        let ahead = self.apply(&samples);
        let extent = Extent::of(&window.filled);
        let restore = |value: f64| self.standard.restored(value);
        let mean: Vec<f64> = ahead.iter().map(|value| restore(*value)).collect();
        let stripped: Vec<f64> = mean.iter().map(|mean| window.unit.strip(*mean)).collect();
        if !extent.holds(&stripped) {
            return Err(FitFailure::NotFinite);
        }
        let bounds = |widths: &[f32], side: f64| -> Vec<f64> {
            let steps = ahead.iter().zip(widths);
            steps
                .map(|(value, width)| restore(value + side * f64::from(*width)))
                .collect()
        };
        let intervals = self.half_widths.iter().map(|(level, widths)| Interval {
            level: *level,
            lower: bounds(widths, -1.0),
            upper: bounds(widths, 1.0),
        });
        let forecast = Forecast {
            channel: window.channel(),
            grid: window.grid(),
            cutoff_slot: window.cutoff_slot(),
            mean,
            intervals: intervals.collect(),
        };
        let finite = |bounds: &[f64]| bounds.iter().all(|bound| bound.is_finite());
        let is_finite = |interval: &Interval| finite(&interval.lower) && finite(&interval.upper);
        if !finite(&forecast.mean) || !forecast.intervals.iter().all(is_finite) {
            return Err(FitFailure::NotFinite);
        }
        Ok(ChannelFit {
            model: self.model.clone(),
            choice: Some(Arc::clone(&self.choice)),
            network: None,
            forecast,
            filled: window.missing(),
        })
    }

    /// The standard value of each step after these standard samples.
    fn apply(&self, samples: &[f64]) -> Vec<f64> {
        let (rows, constant) = self.weights.split_at(samples.len() * self.horizon);
        let mut steps: Vec<f64> = constant.iter().map(|constant| f64::from(*constant)).collect();
        // From the newest sample, so that single precision costs digits of the deviations alone.
        let newest = samples[samples.len() - 1];
        for (row, sample) in rows.chunks_exact(self.horizon).zip(samples) {
            for (step, weight) in steps.iter_mut().zip(row) {
                *step += (sample - newest) * f64::from(*weight);
            }
        }
        let level = rows
            .chunks_exact(self.horizon)
            .last()
            .expect("a lookback is at least two");
        steps
            .iter()
            .zip(level)
            .map(|(step, level)| newest + step + newest * f64::from(*level))
            .collect()
    }
}

/// Samples of a window as the family wants them.
struct Ready {
    values: Vec<f64>,
    standard: Standard,
    spec: AutoSpec,
}

impl Ready {
    fn new(window: &Window<'_>, series: &Series, spec: &FitSpec, method: Method) -> Option<Self> {
        if window.fallback().is_some() {
            return None;
        }
        let samples: Vec<f64> = window
            .filled
            .iter()
            .map(|sample| window.unit.restore(*sample))
            .collect();
        let standard = Standard::of(&samples)?;
        let values: Vec<f64> = samples.iter().map(|sample| standard.standardised(*sample)).collect();
        let seasons: Vec<NonZeroUsize> = natural_seasons(series.grid.frequency)
            .into_iter()
            .filter(|season| season.get() <= spec.max_lookback)
            .collect();
        // The validation stretch has no say in what is tried on it.
        let before = &values[..values.len() - values.len() / VALIDATION_SHARE];
        Some(Self {
            spec: AutoSpec {
                horizon: spec.horizon,
                lookback: NonZeroUsize::new(spec.max_lookback)?,
                season: season_of(before, &seasons),
                members: method.members(),
                levels: spec.levels.clone(),
            },
            values,
            standard,
        })
    }
}

/// Pools the channels of a dataset, or a fair part of them: those that can be chosen for.
#[derive(Debug)]
pub struct SeriesPool {
    builder: PoolBuilder,
    spec: FitSpec,
    method: Method,
}

impl SeriesPool {
    /// No channel yet.
    pub fn new(spec: &FitSpec, method: Method) -> Option<Self> {
        let lookback = NonZeroUsize::new(spec.max_lookback)?;
        let asked = AutoSpec {
            horizon: spec.horizon,
            lookback,
            season: None,
            members: method.members(),
            levels: Vec::new(),
        };
        Some(Self {
            builder: PoolBuilder::new(&asked),
            spec: spec.clone(),
            method,
        })
    }

    /// Takes a channel in, if it is one that can be chosen for.
    pub fn add(&mut self, series: &Series) {
        let Ok(window) = Window::new(series, self.spec.gaps) else {
            return;
        };
        let ready = Ready::new(&window, series, &self.spec, self.method);
        if let Some(ready) = ready
            && let Some(training) = Training::with_last_fifth(&ready.values, &ready.spec)
        {
            self.builder.add(&training);
        }
    }

    /// What the channels have in common.
    pub fn finish(self) -> Pool {
        self.builder.finish()
    }
}

/// The channel's own auto-regression, for people to see.
fn auto_regression(window: &Window<'_>, spec: &FitSpec) -> FittedAr {
    let stationary = Stationary::new(&window.filled);
    let solution = stationary.solve(&stationary.products(spec.max_lookback));
    fitted(Estimate::auto_ar(stationary.form, solution), window.unit)
}

/// Rows of weights on deviations from the newest sample; in the newest one's row that on its level; the constants.
fn single(map: &LinearMap) -> Vec<f32> {
    let weights = map.weights();
    (0..weights.rows())
        .flat_map(|row| weights.row(row).iter().map(|weight| *weight as f32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Frequency, Timestamp};

    fn series(values: Vec<f64>) -> Series {
        Series {
            channel: "c".into(),
            grid: Grid {
                origin: Timestamp(0),
                frequency: Frequency::fixed(3_600_000_000_000).expect("positive"),
            },
            first_slot: 50,
            values,
        }
    }

    fn spec() -> FitSpec {
        FitSpec {
            horizon: NonZeroUsize::new(6).expect("six"),
            levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
            max_lookback: 48,
            gaps: GapPolicy::Interpolate,
        }
    }

    fn wave(n: usize, size: f64, offset: f64) -> Vec<f64> {
        let noise = |t: f64| ((t * t * 0.37).sin() + (t * 1.7).cos()) * 0.3;
        let value = |t: f64| offset + size * ((t * 0.261_8).sin() + noise(t));
        (0..n).map(|t| value(t as f64)).collect()
    }

    fn chosen(values: Vec<f64>, method: Method) -> Option<(ChannelFit, ChannelMap)> {
        ChannelMap::fit(&series(values), &spec(), method, None).expect("no failure")
    }

    #[test]
    fn neither_size_nor_offset_changes_what_is_expected() {
        let plain = chosen(wave(400, 1.0, 0.0), Method::Auto).expect("a map").0.forecast;
        for (size, offset) in [(1e-9, 0.0), (1e9, 0.0), (1.0, 1e6), (1e-120, 0.0), (1e120, 0.0)] {
            let other = chosen(wave(400, size, offset), Method::Auto).expect("a map").0.forecast;
            let pairs = plain
                .mean
                .iter()
                .chain(&plain.intervals[1].upper)
                .zip(other.mean.iter().chain(&other.intervals[1].upper));
            for (plain, other) in pairs {
                assert!(
                    ((other - offset) / size - plain).abs() < 1e-5,
                    "{size} {offset}: {plain} {other}"
                );
            }
        }
    }

    #[test]
    fn a_kept_map_forecasts_from_newer_samples() {
        let values = wave(410, 3.0, 20.0);
        let (_, map) = chosen(values[..400].to_vec(), Method::Only(Member::SeasonalNaive)).expect("a map");
        let later = map
            .forecast(&series(values.clone()), GapPolicy::Interpolate)
            .expect("a forecast");
        assert_eq!((later.forecast.cutoff_slot, later.lookback()), (459, 48));
        // A day before.
        for (step, mean) in later.forecast.mean.iter().enumerate() {
            assert!((mean - values[410 - 24 + step]).abs() < 1e-5, "{step}");
        }
    }

    #[test]
    fn a_map_is_stale_after_a_sixteenth_of_its_samples_on_another_grid_and_for_another_question() {
        let (_, map) = chosen(wave(400, 1.0, 0.0), Method::Auto).expect("a map");
        let of = |samples: usize, first_slot: Slot| Series {
            first_slot,
            ..series(wave(samples, 1.0, 0.0))
        };
        // Moved on, grown at the new end, set back, grown at the old end.
        for (samples, first_slot, stale) in [
            (400, 50, false),
            (400, 50 + 24, false),
            (400, 50 + 25, true),
            (424, 50, false),
            (425, 50, true),
            (399, 50, true),
            (424, 50 - 24, false),
            (425, 50 - 25, true),
        ] {
            assert_eq!(map.is_stale(&of(samples, first_slot)), stale, "{samples} {first_slot}");
        }
        let mut other = of(400, 50);
        other.grid.origin = Timestamp(1);
        assert!(map.is_stale(&other));
        assert!(map.answers(&spec(), Method::Auto) && !map.answers(&spec(), Method::Only(Member::Direct)));
        let longer = FitSpec {
            horizon: NonZeroUsize::new(7).expect("seven"),
            ..spec()
        };
        assert!(!map.answers(&longer, Method::Auto));
    }

    #[test]
    fn what_leaves_nothing_to_choose_is_left_to_auto_ar() {
        for values in [vec![4.0; 300], wave(12, 1.0, 0.0)] {
            assert!(chosen(values, Method::Auto).is_none());
        }
    }

    #[test]
    fn every_method_has_a_name_that_is_read_back() {
        for method in Method::all() {
            assert_eq!(method.name().parse(), Ok(method));
        }
        assert!("autoar".parse::<Method>().is_err());
    }
}
