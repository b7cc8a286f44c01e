//! A network beside a channel's map: which windows can tell the two apart, and which of them forecasts.
//!
//! The map was fitted to what precedes the validation stretch; a network has seen all up to an instant that it names. So
//! windows of the stretch whose targets come after that instant are new to both, and both are asked about the same ones.
//! A network that was never held against the map, or did worse, forecasts nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::channel_map::ChannelMap;
use crate::conformal::half_widths;
use crate::dasha::{ModelDescription, ScaledWindow};
use crate::dense::Matrix;
use crate::estimate::Extent;
use crate::fit::{ChannelFit, FitSpec, Window};
use crate::forecast::{Forecast, Interval};
use crate::series::Series;
use crate::time::{Slot, Timestamp};

/// Windows of one trial at most: what a child answers in a moment.
pub const TRIAL_WINDOWS: usize = 32;

/// Windows of one trial at least; with fewer it is luck.
const FEWEST_WINDOWS: usize = 8;

/// What a network is worth on one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkTrial {
    /// Which network: whatever the caller calls it.
    pub version: Arc<str>,
    /// Samples that it looks back on.
    pub lookback: usize,
    /// Windows that were new to both.
    pub windows: usize,
    /// Mean square of the network's errors over these windows, in the unit of the map's training samples.
    pub mse: f64,
    /// The same of the map.
    pub map_mse: f64,
    /// Half the width of the intervals by level and step, in the same unit, from these errors.
    half_widths: Vec<Vec<f32>>,
}

impl NetworkTrial {
    /// Whether the network forecasts the channel.
    pub fn leads(&self) -> bool {
        self.mse < self.map_mse
    }
}

/// Why a network cannot forecast what is asked, if it cannot.
pub fn unfit(description: &ModelDescription, spec: &FitSpec) -> Option<String> {
    let (steps, asked) = (description.labels.len(), spec.horizon.get());
    if description.series.is_none() {
        return Some("it was not made of series (forecastd dasha --input series)".to_owned());
    }
    (steps != asked).then(|| format!("it forecasts {steps} steps, and forecast.horizon is {asked}"))
}

/// Windows that neither the map nor the network has seen the targets of.
#[derive(Clone, Debug)]
pub struct TrialWindows {
    windows: Vec<ScaledWindow>,
    /// In the channel's unit.
    truths: Vec<Vec<f64>>,
    map_mse: f64,
    /// Of the map's training samples.
    deviation: f64,
    lookback: usize,
}

impl TrialWindows {
    /// At most [`TRIAL_WINDOWS`] of a series; `None` if there are too few yet, or they span less than a horizon.
    pub fn of(
        map: &ChannelMap,
        series: &Series,
        spec: &FitSpec,
        lookback: usize,
        seen_until: Timestamp,
    ) -> Option<Self> {
        let samples = Samples::of(series, spec)?;
        let horizon = spec.horizon.get();
        let is_new = |slot: Slot| series.grid.time(slot) > seen_until;
        let in_reach = map.errors().filter_map(|(slot, mse)| {
            let origin = usize::try_from(slot.checked_sub(samples.first_slot)?).ok()?;
            let fits = origin >= lookback && origin + horizon <= samples.values.len() && is_new(slot);
            fits.then_some((origin, mse))
        });
        let origins: Vec<(usize, f64)> = in_reach.collect();
        let span = origins.last()?.0 - origins.first()?.0;
        if origins.len() < FEWEST_WINDOWS || span < horizon {
            return None;
        }
        let mut trial = Self {
            windows: Vec::new(),
            truths: Vec::new(),
            map_mse: 0.0,
            deviation: map.deviation(),
            lookback,
        };
        let every = origins.len().div_ceil(TRIAL_WINDOWS);
        for (origin, mse) in origins.into_iter().step_by(every) {
            // A window that does not move has no units of its own; there the map would have to forecast anyway.
            if let Some(window) = ScaledWindow::of(&samples.values[origin - lookback..origin]) {
                trial.windows.push(window);
                trial.truths.push(samples.values[origin..origin + horizon].to_vec());
                trial.map_mse += mse;
            }
        }
        let count = trial.windows.len();
        trial.map_mse /= count.max(1) as f64;
        (count >= FEWEST_WINDOWS).then_some(trial)
    }

    /// What the network is to be asked about.
    pub fn windows(&self) -> &[ScaledWindow] {
        &self.windows
    }

    /// Holds the network's answers, one a window and each a number a step, against what came.
    pub fn judge(&self, version: Arc<str>, answers: &[Vec<f32>], spec: &FitSpec) -> NetworkTrial {
        let horizon = spec.horizon.get();
        let error = |row: usize, step: usize| {
            let expected = self.windows[row].standard.restored(f64::from(answers[row][step]));
            (expected - self.truths[row][step]).abs() / self.deviation
        };
        let errors = Matrix::from_fn(self.windows.len(), horizon, error);
        let count = self.windows.len() as f64;
        let mean_square = |step: usize| (0..errors.rows()).map(|row| errors.at(row, step).powi(2)).sum::<f64>() / count;
        let by_step: Vec<f64> = (0..horizon).map(mean_square).collect();
        let widths = half_widths(&errors, &spec.levels, |step| by_step[step].sqrt());
        NetworkTrial {
            version,
            lookback: self.lookback,
            windows: self.windows.len(),
            mse: by_step.iter().sum::<f64>() / horizon as f64,
            map_mse: self.map_mse,
            half_widths: widths
                .into_iter()
                .map(|widths| widths.into_iter().map(|width| width as f32).collect())
                .collect(),
        }
    }
}

/// The newest window of a series; `None` if it is too short or does not move.
pub fn newest_window(series: &Series, spec: &FitSpec, lookback: usize) -> Option<ScaledWindow> {
    let samples = Samples::of(series, spec)?;
    let start = samples.values.len().checked_sub(lookback)?;
    ScaledWindow::of(&samples.values[start..])
}

/// The forecast that a network answers the newest window with, in the place of the map's; `None` if it is not finite or
/// leads out of all proportion.
pub fn forecast_by(
    trial: &Arc<NetworkTrial>,
    map: &ChannelMap,
    fit: &ChannelFit,
    series: &Series,
    spec: &FitSpec,
    answer: (&ScaledWindow, &[f32]),
) -> Option<ChannelFit> {
    let (window, steps) = answer;
    let mean: Vec<f64> = steps
        .iter()
        .map(|step| window.standard.restored(f64::from(*step)))
        .collect();
    let samples = Samples::of(series, spec)?;
    if mean.len() != spec.horizon.get() || !Extent::of(&samples.values).holds(&mean) {
        return None;
    }
    let bounds = |widths: &[f32], side: f64| -> Vec<f64> {
        let steps = mean.iter().zip(widths);
        steps
            .map(|(mean, width)| mean + side * f64::from(*width) * map.deviation())
            .collect()
    };
    let intervals: Vec<Interval> = spec
        .levels
        .iter()
        .zip(&trial.half_widths)
        .map(|(level, widths)| Interval {
            level: *level,
            lower: bounds(widths, -1.0),
            upper: bounds(widths, 1.0),
        })
        .collect();
    let finite = |bounds: &[f64]| bounds.iter().all(|bound| bound.is_finite());
    if !intervals
        .iter()
        .all(|interval| finite(&interval.lower) && finite(&interval.upper))
    {
        return None;
    }
    Some(ChannelFit {
        network: Some(Arc::clone(trial)),
        forecast: Forecast {
            mean,
            intervals,
            ..fit.forecast.clone()
        },
        ..fit.clone()
    })
}

/// The samples of a series without gaps, in the channel's unit.
struct Samples {
    first_slot: Slot,
    values: Vec<f64>,
}

impl Samples {
    fn of(series: &Series, spec: &FitSpec) -> Option<Self> {
        let window = Window::new(series, spec.gaps).ok()?;
        let values: Vec<f64> = window
            .filled
            .iter()
            .map(|sample| window.unit.restore(*sample))
            .collect();
        Some(Self {
            first_slot: window.cutoff_slot() + 1 - values.len() as Slot,
            values,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::channel_map::Method;
    use crate::dasha::SeriesWindows;
    use crate::dasha::artifact::tests::sound;
    use crate::forecast::Level;
    use crate::gaps::GapPolicy;
    use crate::time::{Frequency, Grid};

    const LOOKBACK: usize = 16;
    const HORIZON: usize = 3;
    const SAMPLES: usize = 300;

    fn spec() -> FitSpec {
        FitSpec {
            horizon: NonZeroUsize::new(HORIZON).expect("three"),
            levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
            max_lookback: 32,
            gaps: GapPolicy::Interpolate,
        }
    }

    /// The logistic map, which no linear method foresees, in some unit.
    fn rough(n: usize) -> Vec<f64> {
        let mut state = 0.372_f64;
        let next = |_| {
            state = 3.99 * state * (1.0 - state);
            500.0 + 80.0 * state
        };
        (0..n).map(next).collect()
    }

    /// One second from sample to sample; the first is that of slot 50.
    fn series(values: &[f64]) -> Series {
        Series {
            channel: "c".into(),
            grid: Grid {
                origin: Timestamp(0),
                frequency: Frequency::fixed(1_000_000_000).expect("positive"),
            },
            first_slot: 50,
            values: values.to_vec(),
        }
    }

    fn mapped(values: &[f64]) -> (ChannelFit, ChannelMap) {
        let fitted = ChannelMap::fit(&series(values), &spec(), Method::Auto, None).expect("no failure");
        fitted.expect("a map")
    }

    fn trial(values: &[f64], seen_until: i64) -> Option<TrialWindows> {
        let (_, map) = mapped(values);
        let seen_until = Timestamp(seen_until * 1_000_000_000);
        TrialWindows::of(&map, &series(values), &spec(), LOOKBACK, seen_until)
    }

    /// What a network answers that is off by so much, in the channel's unit.
    fn answers(trial: &TrialWindows, off: f64) -> Vec<Vec<f32>> {
        let pairs = trial.windows.iter().zip(&trial.truths);
        pairs
            .map(|(window, truths)| {
                let off: Vec<f64> = truths.iter().map(|truth| truth + off).collect();
                window.targets(&off).expect("near")
            })
            .collect()
    }

    #[test]
    fn the_better_one_on_windows_that_are_new_to_both_forecasts() {
        let values = rough(SAMPLES);
        let windows = trial(&values, 0).expect("windows");
        let deviation = windows.deviation;
        for (off, leads) in [(0.0, true), (0.5 * deviation, true), (2.0 * deviation, false)] {
            let judged = windows.judge("v".into(), &answers(&windows, off), &spec());
            assert!((judged.mse - (off / deviation).powi(2)).abs() < 1e-4, "{judged:?}");
            assert!(
                judged.map_mse > 0.7 && judged.map_mse < 1.5,
                "nothing is foreseen: {judged:?}"
            );
            assert_eq!(judged.leads(), leads, "{off}");
        }
    }

    #[test]
    fn only_windows_after_what_the_network_has_seen_are_taken() {
        let values = rough(SAMPLES);
        // The stretch is the last 60 samples: 58 origins, from slot 50 + 240 on.
        let all = trial(&values, 0).expect("windows");
        assert_eq!(all.windows.len(), 29, "every second of 58");
        assert_eq!(all.truths[0], values[240..243]);
        let later = trial(&values, 50 + 260).expect("windows");
        assert_eq!(later.truths[0], values[261..264]);
        for (seen_until, some) in [(50 + 289, true), (50 + 290, false), (10_000, false)] {
            assert_eq!(trial(&values, seen_until).is_some(), some, "{seen_until}");
        }
    }

    #[test]
    fn a_window_that_moved_on_is_judged_by_the_same_instants() {
        let values = rough(SAMPLES + 10);
        let (_, map) = mapped(&values[..SAMPLES]);
        let later = Series {
            first_slot: 60,
            ..series(&values[10..])
        };
        let windows = TrialWindows::of(&map, &later, &spec(), LOOKBACK, Timestamp(0)).expect("windows");
        assert_eq!(windows.truths[0], values[240..243]);
    }

    #[test]
    fn a_forecast_comes_back_in_the_unit_of_the_channel_with_intervals_from_the_errors() {
        let values = rough(SAMPLES);
        let (fit, map) = mapped(&values);
        let windows = trial(&values, 0).expect("windows");
        let judged = Arc::new(windows.judge("v".into(), &answers(&windows, 4.0), &spec()));
        let window = newest_window(&series(&values), &spec(), LOOKBACK).expect("it moves");
        let said = |truths: &[f64]| window.targets(truths).expect("near");
        let by = |answer: &[f32]| forecast_by(&judged, &map, &fit, &series(&values), &spec(), (&window, answer));
        let forecast = by(&said(&[510.0, 520.0, 530.0])).expect("a forecast");
        assert_eq!(forecast.leading(), "dasha");
        assert_eq!(forecast.lookback(), LOOKBACK);
        assert_eq!(forecast.forecast.cutoff_slot, 50 + 299);
        for (found, expected) in forecast.forecast.mean.iter().zip([510.0, 520.0, 530.0]) {
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
        for interval in &forecast.forecast.intervals {
            let width = interval.upper[0] - forecast.forecast.mean[0];
            assert!((3.99..8.0).contains(&width), "every error was 4: {width}");
        }
        assert!(by(&said(&[510.0, 1e9, 530.0])).is_none(), "out of all proportion");
        assert!(by(&[f32::NAN; HORIZON]).is_none());
        assert!(by(&[0.0; 2]).is_none());
    }

    #[test]
    fn a_network_of_something_else_is_told_apart() {
        let mut description = sound();
        assert!(
            unfit(&description, &spec())
                .expect("unfit")
                .contains("not made of series")
        );
        description.series = Some(SeriesWindows {
            seen_until: Timestamp(0),
        });
        let told = unfit(&description, &spec()).expect("unfit");
        assert_eq!(told, "it forecasts 2 steps, and forecast.horizon is 3");
        description.labels.push("step_3".to_owned());
        assert_eq!(unfit(&description, &spec()), None);
    }
}
