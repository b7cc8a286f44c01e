//! From a series to a model and its forecast: the one entry that the daemon and the command line share.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::auto::{Choice, Member};
use crate::auto_ar::{Fallback, FittedAr};
use crate::estimate::{Estimate, Extent, Outlook};
use crate::forecast::{Forecast, Interval, Level};
use crate::gaps::GapPolicy;
use crate::network::NetworkTrial;
use crate::normal::normal_half_width;
use crate::series::{ChannelName, Series};
use crate::stationary::Stationary;
use crate::time::{Grid, Slot};
use crate::unit::Unit;

/// What is asked of a fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitSpec {
    /// Steps to forecast.
    pub horizon: NonZeroUsize,
    /// Intervals to give, at most a handful.
    pub levels: Vec<Level>,
    /// Samples a forecast may look back on, differences included: the order is at most this less `num_diff`.
    pub max_lookback: usize,
    /// What stands for a missing sample.
    pub gaps: GapPolicy,
}

/// One channel's model and what it expects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelFit {
    /// The model.
    pub model: FittedAr,
    /// How its map was chosen, where the forecast is by a combination of methods; `model` is then the channel's own
    /// auto-regression, which may or may not have a part in it.
    pub choice: Option<Arc<Choice>>,
    /// The network whose forecast this is, where one was found to be better than that choice.
    #[serde(default)]
    pub network: Option<Arc<NetworkTrial>>,
    /// Its forecast from the series' end.
    pub forecast: Forecast,
    /// Missing samples that the gap policy filled before the fit.
    pub filled: usize,
}

impl ChannelFit {
    /// The name of what has the largest part in the forecast.
    pub fn leading(&self) -> &'static str {
        if self.network.is_some() {
            return "dasha";
        }
        let member = match &self.choice {
            Some(choice) => choice
                .weights()
                .first()
                .map_or(Member::RandomWalk, |(member, _)| *member),
            None if self.model.fallback.is_some() => Member::RandomWalk,
            None => Member::AutoAr,
        };
        member.name()
    }

    /// Slots that the forecast looks back on.
    pub fn lookback(&self) -> usize {
        let own = self.model.order + self.model.num_diff;
        let chosen = self.choice.as_ref().map_or(own, |choice| choice.lookback);
        self.network.as_ref().map_or(chosen, |network| network.lookback)
    }
}

/// Why a channel has no forecast at all. Each is that channel's alone.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum FitFailure {
    /// Not one sample.
    #[error("no sample at all")]
    NoSamples,
    /// Missing samples where the policy is `gaps: error`.
    #[error("{missing} samples missing, and the policy is `gaps: error`")]
    Gaps {
        /// How many.
        missing: usize,
    },
    /// Numbers so large or so far apart that no finite forecast exists.
    #[error("no finite forecast exists for these values")]
    NotFinite,
    /// The fit itself broke: a defect of this program, contained.
    #[error("the fit panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
}

impl FitFailure {
    /// The label value of this failure in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSamples => "no_samples",
            Self::Gaps { .. } => "gaps",
            Self::NotFinite => "not_finite",
            Self::Panicked { .. } => "panic",
        }
    }
}

/// With fewer samples than this nothing can be tested and regressed: twice differenced, ten leave eight, and a
/// quarter of them is an order of two.
const MIN_SAMPLES: usize = 10;

/// Fits Auto-AR to a series and forecasts from its end.
///
/// The number of differences is the least at which KPSS does not reject stationarity around a trend at 5 %, at most
/// two. The order is that with the least BIC of all from 0 up to `max_lookback` less the differences, and to a quarter
/// of the differenced samples: at least three rows stand for each lag. The coefficients are then estimated from every
/// row that has the chosen lags.
///
/// A channel that Auto-AR cannot serve gets a named [`Fallback`]; only one for which nothing honest can be said is a
/// [`FitFailure`].
///
/// ```
/// use std::num::NonZeroUsize;
/// use forecastd_models::{FitSpec, Frequency, GapPolicy, Grid, Level, Series, Timestamp};
///
/// let hour = Frequency::fixed(3_600_000_000_000).expect("positive");
/// let series = Series {
///     channel: "power".into(),
///     grid: Grid { origin: Timestamp(0), frequency: hour },
///     first_slot: 0,
///     values: (0..240).map(|t| (f64::from(t % 24) - 12.0).abs() + f64::from(t % 7)).collect(),
/// };
/// let spec = FitSpec {
///     horizon: NonZeroUsize::new(24).expect("not zero"),
///     levels: Level::new(0.8).into_iter().collect(),
///     max_lookback: 48,
///     gaps: GapPolicy::Interpolate,
/// };
/// let fit = forecastd_models::fit(&series, &spec)?;
/// assert_eq!(fit.forecast.horizon(), 24);
/// assert_eq!(fit.model.fallback, None);
/// assert!(fit.forecast.intervals[0].lower[0] <= fit.forecast.mean[0]);
/// # Ok::<(), forecastd_models::FitFailure>(())
/// ```
pub fn fit(series: &Series, spec: &FitSpec) -> Result<ChannelFit, FitFailure> {
    let window = Window::new(series, spec.gaps)?;
    let estimate = match window.fallback() {
        Some(fallback) => window.stand_in(fallback),
        None => {
            let stationary = Stationary::new(&window.filled);
            let solution = stationary.solve(&stationary.products(spec.max_lookback));
            Estimate::auto_ar(stationary.form, solution)
        }
    };
    window.conclude(estimate, spec)
}

/// The samples of a series, made ready.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    series: &'a Series,
    /// The newest sample's place in the series.
    last: usize,
    /// What was taken off the samples.
    pub(crate) unit: Unit,
    /// From the first to the last sample; NaN for a gap.
    samples: Vec<f64>,
    /// The same without gaps.
    pub(crate) filled: Vec<f64>,
    missing: usize,
}

impl<'a> Window<'a> {
    pub(crate) fn new(series: &'a Series, gaps: GapPolicy) -> Result<Self, FitFailure> {
        let seen = |value: &f64| !value.is_nan();
        let first = series.values.iter().position(seen).ok_or(FitFailure::NoSamples)?;
        let last = series.values.iter().rposition(seen).ok_or(FitFailure::NoSamples)?;
        let samples = &series.values[first..=last];
        let missing = samples.iter().filter(|value| value.is_nan()).count();
        if samples.iter().any(|value| value.is_infinite()) {
            return Err(FitFailure::NotFinite);
        }
        if missing > 0 && gaps == GapPolicy::Error {
            return Err(FitFailure::Gaps { missing });
        }
        let unit = Unit::of(samples);
        let samples: Vec<f64> = samples.iter().map(|value| unit.strip(*value)).collect();
        let mut filled = samples.clone();
        gaps.fill(&mut filled);
        Ok(Self {
            series,
            last,
            unit,
            samples,
            filled,
            missing,
        })
    }

    /// What must stand in for a regression, if these samples do not bear one.
    pub(crate) fn fallback(&self) -> Option<Fallback> {
        let seen = self.samples.len() - self.missing;
        if seen < MIN_SAMPLES {
            Some(Fallback::Short)
        } else if self.missing > seen {
            Some(Fallback::Sparse)
        } else if self.filled.iter().all(|value| *value == self.filled[0]) {
            Some(Fallback::Constant)
        } else {
            None
        }
    }

    pub(crate) fn channel(&self) -> ChannelName {
        Arc::clone(&self.series.channel)
    }

    pub(crate) fn grid(&self) -> Grid {
        self.series.grid
    }

    /// Of the newest sample.
    pub(crate) fn cutoff_slot(&self) -> Slot {
        self.series.first_slot.saturating_add(self.last as Slot)
    }

    /// Missing samples that were filled.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    pub(crate) fn stand_in(&self, fallback: Fallback) -> Estimate {
        match fallback {
            Fallback::Constant => Estimate::constant(self.filled[0]),
            walk => Estimate::random_walk(&self.samples, walk),
        }
    }

    /// Forecasts; a regression that runs away gives way to a random walk.
    pub(crate) fn conclude(&self, mut estimate: Estimate, spec: &FitSpec) -> Result<ChannelFit, FitFailure> {
        let mut outlook = estimate.outlook(&self.filled, spec.horizon);
        if estimate.fallback.is_none() && !outlook.stays_near(Extent::of(&self.filled)) {
            estimate = self.stand_in(Fallback::Exploding);
            outlook = estimate.outlook(&self.filled, spec.horizon);
        }
        let cutoff = Cutoff {
            channel: &self.series.channel,
            grid: self.series.grid,
            slot: self.cutoff_slot(),
            unit: self.unit,
            filled: self.missing,
        };
        cutoff.channel_fit(estimate, &outlook, &spec.levels)
    }
}

/// Where a window ends and its forecast begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cutoff<'a> {
    pub(crate) channel: &'a ChannelName,
    pub(crate) grid: Grid,
    /// Of the newest sample.
    pub(crate) slot: Slot,
    /// What was taken off the samples.
    pub(crate) unit: Unit,
    /// Missing samples that were filled.
    pub(crate) filled: usize,
}

impl Cutoff<'_> {
    /// A model and its outlook in the channel's unit.
    pub(crate) fn channel_fit(
        self,
        estimate: Estimate,
        outlook: &Outlook,
        levels: &[Level],
    ) -> Result<ChannelFit, FitFailure> {
        let unit = self.unit;
        let intervals = levels.iter();
        let forecast = Forecast {
            channel: Arc::clone(self.channel),
            grid: self.grid,
            cutoff_slot: self.slot,
            mean: outlook.mean.iter().map(|mean| unit.restore(*mean)).collect(),
            intervals: intervals.filter_map(|level| interval(*level, outlook, unit)).collect(),
        };
        let fit = ChannelFit {
            model: fitted(estimate, unit),
            choice: None,
            network: None,
            forecast,
            filled: self.filled,
        };
        is_finite(&fit).then_some(fit).ok_or(FitFailure::NotFinite)
    }
}

fn interval(level: Level, outlook: &Outlook, unit: Unit) -> Option<Interval> {
    let half_width = normal_half_width(level.share());
    let deviation = outlook.deviation.as_ref()?;
    let bound = |side: f64| {
        let bounds = outlook.mean.iter().zip(deviation);
        bounds
            .map(|(mean, deviation)| unit.restore(mean + side * half_width * deviation))
            .collect()
    };
    Some(Interval {
        level,
        lower: bound(-1.0),
        upper: bound(1.0),
    })
}

/// The model in the channel's unit.
pub(crate) fn fitted(estimate: Estimate, unit: Unit) -> FittedAr {
    let search = estimate.order_search;
    FittedAr {
        order: estimate.coefficients.len(),
        num_diff: estimate.num_diff,
        intercept: unit.restore(estimate.plain_intercept()),
        variance: estimate
            .variance
            .map(|variance| unit.restore_square(variance))
            .filter(|v| v.is_finite()),
        bic: search.map(|search| search.bic + 2.0 * search.rows as f64 * unit.ln()),
        max_order: search.map_or(0, |search| search.max_order),
        fallback: estimate.fallback,
        coefficients: estimate.coefficients,
    }
}

fn is_finite(fit: &ChannelFit) -> bool {
    let ChannelFit { model, forecast, .. } = fit;
    let bounds = forecast
        .intervals
        .iter()
        .flat_map(|interval| interval.lower.iter().chain(&interval.upper));
    let numbers = model.coefficients.iter().chain(&forecast.mean).chain(bounds);
    let single = [Some(model.intercept), model.variance, model.bic];
    numbers.copied().chain(single.into_iter().flatten()).all(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Frequency, Timestamp};

    const GAP: f64 = f64::NAN;

    fn fit_values(values: &[f64], gaps: GapPolicy) -> Result<ChannelFit, FitFailure> {
        let series = Series {
            channel: "c".into(),
            grid: Grid {
                origin: Timestamp(0),
                frequency: Frequency::fixed(1).expect("positive"),
            },
            first_slot: 100,
            values: values.to_vec(),
        };
        let spec = FitSpec {
            horizon: NonZeroUsize::new(96).expect("not zero"),
            levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
            max_lookback: 32,
            gaps,
        };
        fit(&series, &spec)
    }

    fn interpolated(values: &[f64]) -> ChannelFit {
        fit_values(values, GapPolicy::Interpolate).expect("a forecast")
    }

    /// A sequence without a pattern that a short regression could find: the logistic map, in [-1, 1].
    fn rough(n: usize) -> Vec<f64> {
        let mut state = 0.372_f64;
        let next = |_| {
            state = 3.99 * state * (1.0 - state);
            2.0 * state - 1.0
        };
        (0..n).map(next).collect()
    }

    fn with_gaps(values: &[f64], is_gap: impl Fn(usize) -> bool) -> Vec<f64> {
        let ends = [0, values.len() - 1];
        let value = |(t, value): (usize, &f64)| if is_gap(t) && !ends.contains(&t) { GAP } else { *value };
        values.iter().enumerate().map(value).collect()
    }

    #[test]
    fn a_channel_that_auto_ar_cannot_serve_gets_a_named_fallback() {
        let exponential: Vec<f64> = (0..40).map(|t| 1.5_f64.powi(t)).collect();
        for (values, fallback) in [
            (rough(60), None),
            (vec![4.2; 30], Some(Fallback::Constant)),
            (with_gaps(&[4.2; 30], |t| t % 3 == 0), Some(Fallback::Constant)),
            (rough(9), Some(Fallback::Short)),
            (vec![7.0], Some(Fallback::Short)),
            (with_gaps(&rough(16), |t| t % 2 == 1), Some(Fallback::Short)),
            (with_gaps(&rough(90), |t| t % 3 != 0), Some(Fallback::Sparse)),
            (exponential, Some(Fallback::Exploding)),
        ] {
            assert_eq!(interpolated(&values).model.fallback, fallback, "{values:?}");
        }
    }

    #[test]
    fn fallbacks_hold_the_last_value() {
        for values in [
            vec![4.2; 30],
            vec![1.0, 3.0, 2.0, 5.0],
            (0..40).map(|t| 1.5_f64.powi(t)).collect(),
        ] {
            let forecast = interpolated(&values).forecast;
            assert!(forecast.mean.iter().all(|mean| *mean == values[values.len() - 1]));
        }
    }

    #[test]
    fn a_random_walk_widens_with_the_root_of_the_step() {
        let fit = interpolated(&[1.0, 3.0, 1.0, 3.0]);
        assert_eq!(fit.model.variance, Some(4.0));
        let upper = &fit.forecast.intervals[1].upper;
        for (step, root) in [(1, 1.0), (4, 2.0), (49, 7.0)] {
            let expected = 3.0 + 1.959_963_984_540_054 * 2.0 * root;
            assert!(
                (upper[step - 1] - expected).abs() < 1e-12,
                "{step}: {}",
                upper[step - 1]
            );
        }
    }

    #[test]
    fn too_few_moves_to_tell_a_variance_give_no_interval() {
        for values in [&[1.0][..], &[1.0, 2.0], &[1.0, 2.0, 4.0]] {
            let fit = interpolated(values);
            assert_eq!((fit.model.variance, fit.forecast.intervals.len()), (None, 0));
        }
        assert_eq!(interpolated(&[5.0; 20]).model.variance, Some(0.0));
    }

    #[test]
    fn gaps_are_counted_and_the_cutoff_is_the_newest_sample() {
        let fit = interpolated(&with_gaps(&rough(60), |t| t % 10 == 5));
        assert_eq!((fit.filled, fit.forecast.cutoff_slot), (6, 159));
        let mut trailing = rough(60);
        trailing.extend([GAP; 3]);
        let fit = interpolated(&trailing);
        assert_eq!((fit.filled, fit.forecast.cutoff_slot), (0, 159));
    }

    #[test]
    fn what_has_no_honest_forecast_is_a_failure_that_says_why() {
        let gappy = with_gaps(&rough(60), |t| t == 5 || t == 6);
        for (values, gaps, failure) in [
            (vec![], GapPolicy::Hold, FitFailure::NoSamples),
            (vec![GAP; 5], GapPolicy::Error, FitFailure::NoSamples),
            (gappy, GapPolicy::Error, FitFailure::Gaps { missing: 2 }),
            (vec![1.0, f64::INFINITY, 2.0], GapPolicy::Hold, FitFailure::NotFinite),
            (
                vec![f64::MAX, -f64::MAX, f64::MAX, -f64::MAX],
                GapPolicy::Hold,
                FitFailure::NotFinite,
            ),
        ] {
            assert_eq!(fit_values(&values, gaps), Err(failure));
        }
    }

    #[test]
    fn a_straight_line_and_a_wave_are_continued() {
        let line: Vec<f64> = (0..50).map(|t| 1e6 + 2.0 * f64::from(t)).collect();
        let wave: Vec<f64> = (0..200).map(|t| 1e6 + (f64::from(t) * 0.3).sin()).collect();
        let fit = interpolated(&line);
        assert!(
            (fit.forecast.mean[95] - (1e6 + 290.0)).abs() < 1e-3,
            "{}",
            fit.forecast.mean[95]
        );
        let fit = interpolated(&wave);
        assert!(
            (fit.forecast.mean[95] - (1e6 + (295.0_f64 * 0.3).sin())).abs() < 1e-3,
            "{:?}",
            fit.model
        );
    }

    #[test]
    fn squares_beyond_f64_cost_the_variance_and_nothing_else() {
        let values: Vec<f64> = rough(60).iter().map(|value| value * 1e300).collect();
        let fit = interpolated(&values);
        assert_eq!(
            (fit.model.fallback, fit.model.variance, fit.forecast.intervals.len()),
            (None, None, 2)
        );
    }
}
