//! How good forecasts turned out to be: rolling scores of one step, from forecasts that were made before their truth.
//!
//! Sums forget by halves, counted in scored points, so a score takes the same few numbers of memory for ever. Errors
//! of different channels meet in one score only in units of each channel's own [mean change](MeanChange), as MASE has
//! them (Hyndman & Koehler, *Another look at measures of forecast accuracy*, 2006).

use crate::forecast::Forecast;
use crate::time::Slot;

/// What a forecast said of one step, and what is needed to judge it later.
#[derive(Clone, Debug, PartialEq)]
pub struct StepForecast {
    /// The slot that it speaks of.
    pub slot: Slot,
    /// The expected value.
    pub mean: f64,
    /// The sample at its cutoff: what a random walk expects.
    pub last: f64,
    /// Lower and upper bound of each level, or nothing where the forecast has no intervals.
    pub bounds: Box<[[f64; 2]]>,
}

impl StepForecast {
    /// What `forecast` says of a step (1, 2, …) that it reaches; `last` is the sample at its cutoff.
    pub fn of(forecast: &Forecast, step: usize, last: f64) -> Option<Self> {
        let index = step.checked_sub(1)?;
        let intervals = forecast.intervals.iter();
        Some(Self {
            slot: forecast.cutoff_slot.saturating_add(step as Slot),
            mean: *forecast.mean.get(index)?,
            last,
            bounds: intervals.map(|of| [of.lower[index], of.upper[index]]).collect(),
        })
    }
}

/// The rolling score of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollingScore {
    scored: u64,
    absolute: Mean,
    square: Mean,
    /// The squared error of a random walk from the same cutoff.
    walk_square: Mean,
    /// By level: the share of truths within the bounds.
    held: Vec<Mean>,
}

impl RollingScore {
    /// Scores one forecast. `scale` is what errors are measured in: where it is zero, the channel has never changed and
    /// an error has no measure, but an interval still holds or does not. What was scored `half_life` points ago counts
    /// half.
    pub fn add(&mut self, forecast: &StepForecast, truth: f64, scale: f64, half_life: f64) {
        self.scored += 1;
        let error = (truth - forecast.mean).abs() / scale;
        let walk_error = (truth - forecast.last).abs() / scale;
        let (square, walk_square) = (error * error, walk_error * walk_error);
        // One error beyond all measure would stand in the sums for ever.
        if square.is_finite() && walk_square.is_finite() {
            self.absolute.add(error, half_life);
            self.square.add(square, half_life);
            self.walk_square.add(walk_square, half_life);
        }
        if self.held.len() < forecast.bounds.len() {
            self.held.resize(forecast.bounds.len(), Mean::default());
        }
        for (held, [lower, upper]) in self.held.iter_mut().zip(&forecast.bounds) {
            let holds = (*lower..=*upper).contains(&truth);
            held.add(f64::from(u8::from(holds)), half_life);
        }
    }

    /// Forecasts scored, from the first on.
    pub fn scored(&self) -> u64 {
        self.scored
    }

    /// Mean absolute error, in scales.
    pub fn mae(&self) -> Option<f64> {
        self.absolute.value()
    }

    /// Root of the mean squared error, in scales.
    pub fn rmse(&self) -> Option<f64> {
        self.square.value().map(f64::sqrt)
    }

    /// `1 − MSE / MSE of the random walk`: 1 is perfect, 0 no better than the last value. `None` while that was perfect.
    pub fn skill(&self) -> Option<f64> {
        let walk = self.walk_square.value().filter(|walk| *walk > 0.0)?;
        Some(1.0 - self.square.value()? / walk)
    }

    /// The share of truths that the interval of a level held, by the level's place.
    pub fn coverage(&self, level: usize) -> Option<f64> {
        self.held.get(level)?.value()
    }
}

/// The scale of a channel: the mean absolute change from one sample to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanChange(Mean);

impl MeanChange {
    /// Changes until one counts half.
    pub const HALF_LIFE: f64 = 1024.0;

    /// That of samples in order, gaps as `NaN`.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut change = Self::default();
        let mut before = f64::NAN;
        for sample in samples {
            change.add(before, sample);
            before = sample;
        }
        change
    }

    /// Goes on by one sample; nothing where it or the one before is missing.
    pub fn add(&mut self, before: f64, sample: f64) {
        let change = (sample - before).abs();
        if change.is_finite() {
            self.0.add(change, Self::HALF_LIFE);
        }
    }

    /// The scale; zero where nothing has changed yet.
    pub fn value(&self) -> f64 {
        self.0.value().unwrap_or(0.0)
    }
}

/// A mean that forgets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64, half_life: f64) {
        let keep = (-1.0 / half_life).exp2();
        self.sum = self.sum * keep + value;
        self.weight = self.weight * keep + 1.0;
    }

    pub(crate) fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::{Interval, Level};
    use crate::time::{Frequency, Grid, Timestamp};

    /// Long enough that all points count the same.
    const FOR_EVER: f64 = 1e18;

    fn forecast(mean: f64, last: f64, bounds: &[[f64; 2]]) -> StepForecast {
        StepForecast {
            slot: 0,
            mean,
            last,
            bounds: bounds.into(),
        }
    }

    fn close(found: Option<f64>, expected: f64) {
        let found = found.expect("a score");
        assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
    }

    #[test]
    fn errors_are_measured_in_the_channels_scale_and_against_the_random_walk() {
        let mut score = RollingScore::default();
        // Errors 2, -1 and 4 in scales of 2: 1, 0.5, 2. The walk's: 3, 1, 4 in the same: 1.5, 0.5, 2.
        for (mean, last, truth) in [(8.0, 7.0, 10.0), (5.0, 3.0, 4.0), (-4.0, -4.0, 0.0)] {
            score.add(&forecast(mean, last, &[]), truth, 2.0, FOR_EVER);
        }
        assert_eq!(score.scored(), 3);
        close(score.mae(), 3.5 / 3.0);
        close(score.rmse(), (5.25_f64 / 3.0).sqrt());
        close(score.skill(), 1.0 - 5.25 / 6.5);
        assert_eq!(score.coverage(0), None);
    }

    #[test]
    fn a_point_one_half_life_old_counts_half() {
        let mut score = RollingScore::default();
        for error in [4.0, 1.0] {
            score.add(&forecast(0.0, 1.0, &[[-2.0, 2.0]]), error, 1.0, 1.0);
        }
        close(score.mae(), (4.0 / 2.0 + 1.0) / 1.5);
        close(score.coverage(0), (0.0 / 2.0 + 1.0) / 1.5);
        for _ in 0..2000 {
            score.add(&forecast(0.0, 1.0, &[[-2.0, 2.0]]), 3.0, 1.0, 1.0);
        }
        close(score.mae(), 3.0);
        close(score.coverage(0), 0.0);
    }

    #[test]
    fn bounds_are_within_and_each_level_counts_by_itself() {
        let mut score = RollingScore::default();
        let bounds = [[-1.0, 1.0], [-2.0, 2.0]];
        for truth in [1.0, -1.5, 2.0, 2.5] {
            score.add(&forecast(0.0, 0.0, &bounds), truth, 1.0, FOR_EVER);
        }
        score.add(&forecast(0.0, 0.0, &[]), 9.0, 1.0, FOR_EVER); // no interval, no promise
        close(score.coverage(0), 0.25);
        close(score.coverage(1), 0.75);
        assert_eq!((score.scored(), score.coverage(2)), (5, None));
    }

    #[test]
    fn what_has_no_measure_is_left_out_of_the_errors_only() {
        let mut score = RollingScore::default();
        for (mean, truth, scale) in [(7.0, 7.0, 0.0), (7.0, 8.0, 0.0), (1e300, -1e300, 1e-10)] {
            score.add(&forecast(mean, mean, &[[7.0, 7.0]]), truth, scale, FOR_EVER);
        }
        assert_eq!((score.mae(), score.rmse(), score.skill()), (None, None, None));
        assert_eq!(score.scored(), 3);
        close(score.coverage(0), 1.0 / 3.0);
        // A perfect walk leaves nothing to be better than.
        score.add(&forecast(6.0, 7.0, &[]), 7.0, 1.0, FOR_EVER);
        assert_eq!(score.skill(), None);
        close(score.mae(), 1.0);
    }

    #[test]
    fn the_scale_is_the_mean_change_between_samples_that_are_both_there() {
        for (samples, scale) in [
            (vec![], 0.0),
            (vec![3.0], 0.0),
            (vec![3.0, 3.0], 0.0),
            (vec![1.0, -1.0, 1.0, -1.0], 2.0),
            (vec![1.0, 3.0, f64::NAN, 100.0, 98.0], 2.0),
        ] {
            assert!((MeanChange::of(samples).value() - scale).abs() < 1e-12);
        }
        // The changes of long ago are forgotten.
        let calm = std::iter::repeat_n([0.0, 1.0], 10_000).flatten();
        let scale = MeanChange::of([1e6, 0.0].into_iter().chain(calm)).value();
        assert!((scale - 1.0).abs() < 0.01, "{scale}");
    }

    #[test]
    fn a_step_is_taken_out_of_a_forecast_that_reaches_it() {
        let forecast = Forecast {
            channel: "c".into(),
            grid: Grid {
                origin: Timestamp(0),
                frequency: Frequency::fixed(1).expect("positive"),
            },
            cutoff_slot: 10,
            mean: vec![1.0, 2.0],
            intervals: vec![Interval {
                level: Level::new(0.8).expect("a share"),
                lower: vec![0.5, 1.0],
                upper: vec![1.5, 3.0],
            }],
        };
        let second = StepForecast {
            slot: 12,
            mean: 2.0,
            last: 0.25,
            bounds: [[1.0, 3.0]].into(),
        };
        assert_eq!(StepForecast::of(&forecast, 2, 0.25), Some(second));
        assert_eq!(StepForecast::of(&forecast, 0, 0.25), None);
        assert_eq!(StepForecast::of(&forecast, 3, 0.25), None);
    }
}
