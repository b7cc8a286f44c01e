//! From a series to a model and its forecast: the one entry that the daemon and the command line share.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::auto_ar::{Fallback, FittedAr};
use crate::estimate::{Estimate, Outlook};
use crate::forecast::{Forecast, Interval, Level};
use crate::gaps::GapPolicy;
use crate::normal::normal_half_width;
use crate::series::Series;
use crate::time::Slot;
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
    /// Its forecast from the series' end.
    pub forecast: Forecast,
    /// Missing samples that the gap policy filled before the fit.
    pub filled: usize,
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
    let seen = |value: &f64| !value.is_nan();
    let first = series.values.iter().position(seen).ok_or(FitFailure::NoSamples)?;
    let last = series.values.iter().rposition(seen).ok_or(FitFailure::NoSamples)?;
    let samples = &series.values[first..=last];
    let missing = samples.iter().filter(|value| value.is_nan()).count();
    if samples.iter().any(|value| value.is_infinite()) {
        return Err(FitFailure::NotFinite);
    }
    if missing > 0 && spec.gaps == GapPolicy::Error {
        return Err(FitFailure::Gaps { missing });
    }

    let unit = Unit::of(samples);
    let scaled: Vec<f64> = samples.iter().map(|value| unit.strip(*value)).collect();
    let (estimate, outlook) = choose(&scaled, missing, spec);
    let forecast = Forecast {
        channel: Arc::clone(&series.channel),
        grid: series.grid,
        cutoff_slot: series.first_slot.saturating_add(last as Slot),
        mean: outlook.mean.iter().map(|mean| unit.restore(*mean)).collect(),
        intervals: spec
            .levels
            .iter()
            .filter_map(|level| interval(*level, &outlook, unit))
            .collect(),
    };
    let fit = ChannelFit {
        model: fitted(estimate, unit),
        forecast,
        filled: missing,
    };
    is_finite(&fit).then_some(fit).ok_or(FitFailure::NotFinite)
}

/// Auto-AR, or the fallback that these samples call for.
fn choose(samples: &[f64], missing: usize, spec: &FitSpec) -> (Estimate, Outlook) {
    let walk = |fallback| {
        let walk = Estimate::random_walk(samples, fallback);
        let outlook = walk.outlook(samples, spec.horizon);
        (walk, outlook)
    };
    let seen = samples.len() - missing;
    if seen < MIN_SAMPLES {
        return walk(Fallback::Short);
    }
    if missing > seen {
        return walk(Fallback::Sparse);
    }
    let mut values = samples.to_vec();
    spec.gaps.fill(&mut values);
    if values.iter().all(|value| *value == values[0]) {
        let constant = Estimate::constant(values[0]);
        let outlook = constant.outlook(&values, spec.horizon);
        return (constant, outlook);
    }
    let estimate = Estimate::auto_ar(&values, spec.max_lookback);
    let outlook = estimate.outlook(&values, spec.horizon);
    if outlook.stays_near(&values) {
        (estimate, outlook)
    } else {
        walk(Fallback::Exploding)
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
fn fitted(estimate: Estimate, unit: Unit) -> FittedAr {
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
