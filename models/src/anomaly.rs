//! How odd a row is: its distance from what was expected of it, by the channel's own measure. Up to 1 is normal.
//!
//! The measure is a running bound that holds nineteen of twenty residuals; twice the bound is a score of 1. For normal
//! residuals that is 3.9 standard deviations, and heavier tails widen it by themselves. Each row moves the bound by a
//! fixed share at most, whatever its size, so an anomaly does not widen the yardstick that it is measured with.
//!
//! A forecast that has seen an anomaly carries it on into what it expects next, through every lag. So the forecast that
//! stood before the anomaly has a say until the model no longer looks back on it: a row is as normal as the better of
//! both finds it. A spike then ends with its last row, and a step to another level when the newest forecast has
//! followed it.

use std::sync::Arc;

use crate::fit::ChannelFit;
use crate::forecast::{Forecast, Interval};
use crate::normal::normal_half_width;
use crate::time::Slot;

/// The share of residuals that the running bound holds.
const SHARE: f64 = 0.95;

/// A score of 1, in bounds.
const BOUNDS_TO_ONE: f64 = 2.0;

/// How far a residual moves the bound: up by this share of it, times 0.95, or down, times 0.05. About 200 rows are
/// remembered.
const PACE: f64 = 0.02;

/// The bound is at least this share of what the model's own variance asks for. A channel that rested for long would
/// come to call any movement an anomaly.
const LEAST_SHARE: f64 = 0.25;

/// Residuals this much smaller than the value are rounding.
const ROUNDING: f64 = 1e-12;

/// The highest score: a channel that never moved has no measure for how odd a movement is.
pub const HIGHEST_SCORE: f64 = 100.0;

/// Scores the rows of one channel.
#[derive(Clone, Debug, Default)]
pub struct AnomalyScorer {
    /// Holds [`SHARE`] of the residuals of one step, in the channel's unit; zero before the first.
    bound: f64,
    anomaly: Option<Anomaly>,
}

/// An anomaly that forecasts may still look back on.
#[derive(Clone, Debug)]
struct Anomaly {
    /// The forecast that stood before it.
    before: Arc<ChannelFit>,
    /// Its newest row.
    slot: Slot,
}

/// A residual as if it were of the first step.
#[derive(Clone, Copy, Debug)]
struct Residual {
    size: f64,
    /// What the model's variance says of the size of such residuals: the bound of [`SHARE`] of them.
    of_model: f64,
    /// The size of rounding.
    rounding: f64,
}

impl AnomalyScorer {
    /// The score of a row, from the newest forecast that was made before the row was there. `None` where that does not
    /// reach the row, or has no intervals to tell how far off a step may be. Rows come in order of their slots.
    pub fn score(&mut self, newest: &Arc<ChannelFit>, slot: Slot, value: f64) -> Option<f64> {
        let seen = Residual::of(newest, slot, value)?;
        self.anomaly.take_if(|anomaly| anomaly.is_over(newest, slot));
        let before = self
            .anomaly
            .as_ref()
            .filter(|anomaly| anomaly.is_in_sight(newest, slot));
        let unseen = before.and_then(|anomaly| Residual::of(&anomaly.before, slot, value));
        let residual = unseen.filter(|unseen| unseen.size < seen.size).unwrap_or(seen);
        let score = self.measure(residual);
        if score > 1.0 {
            let before = self.anomaly.take().map(|anomaly| anomaly.before);
            let before = before.unwrap_or_else(|| Arc::clone(newest));
            self.anomaly = Some(Anomaly { before, slot });
        }
        Some(score)
    }

    fn measure(&mut self, residual: Residual) -> f64 {
        if self.bound == 0.0 {
            self.bound = residual.of_model;
        }
        let least = (LEAST_SHARE * residual.of_model).max(residual.rounding);
        let bound = self.bound.max(least);
        let beyond = f64::from(u8::from(residual.size > bound));
        self.bound = bound * (PACE * (beyond - (1.0 - SHARE))).exp();
        if residual.size == 0.0 {
            return 0.0;
        }
        (residual.size / (BOUNDS_TO_ONE * bound)).min(HIGHEST_SCORE)
    }
}

impl Anomaly {
    /// Whether the forecast before it reaches no further.
    fn is_over(&self, newest: &ChannelFit, slot: Slot) -> bool {
        let Forecast { grid, cutoff_slot, .. } = self.before.forecast;
        grid != newest.forecast.grid || slot.saturating_sub(cutoff_slot) > self.before.forecast.horizon() as Slot
    }

    /// Whether the newest forecast of a row looks back on it. One that does not may come before one that does: an
    /// anomaly in the window is what changes an order.
    fn is_in_sight(&self, newest: &ChannelFit, slot: Slot) -> bool {
        let lookback = newest.lookback();
        slot.saturating_sub(self.slot) <= lookback as Slot
    }
}

impl Residual {
    fn of(fit: &ChannelFit, slot: Slot, value: f64) -> Option<Self> {
        let forecast = &fit.forecast;
        let step = usize::try_from(slot.checked_sub(forecast.cutoff_slot)?).ok()?;
        let index = step.checked_sub(1)?;
        let mean = *forecast.mean.get(index)?;
        let by_level = |a: &&Interval, b: &&Interval| a.level.share().total_cmp(&b.level.share());
        let widest = forecast.intervals.iter().max_by(by_level)?;
        let half_width = |index: usize| (widest.upper[index] - widest.lower[index]) / 2.0;
        let (first, here) = (half_width(0), half_width(index));
        let widening = if first > 0.0 && here > 0.0 { here / first } else { 1.0 };
        Some(Self {
            size: (value - mean).abs() / widening,
            of_model: first * normal_half_width(SHARE) / normal_half_width(widest.level.share()),
            rounding: ROUNDING * value.abs().max(mean.abs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auto_ar::FittedAr;
    use crate::forecast::Level;
    use crate::time::{Frequency, Grid, Timestamp};

    /// Expects `mean` at each of three steps, give or take 1.96, 2·1.96 and 2·1.96 at a level of 0.95.
    fn fit(cutoff_slot: Slot, mean: [f64; 3], lookback: usize) -> Arc<ChannelFit> {
        let width = [1.0, 2.0, 2.0].map(|deviation| deviation * normal_half_width(0.95));
        let interval = |level: f64, share: f64| Interval {
            level: Level::new(level).expect("a share"),
            lower: (0..3).map(|i| mean[i] - share * width[i]).collect(),
            upper: (0..3).map(|i| mean[i] + share * width[i]).collect(),
        };
        Arc::new(ChannelFit {
            model: FittedAr {
                order: lookback,
                num_diff: 0,
                coefficients: vec![0.0; lookback],
                intercept: 0.0,
                variance: Some(1.0),
                bic: None,
                max_order: lookback,
                fallback: None,
            },
            choice: None,
            network: None,
            forecast: Forecast {
                channel: "c".into(),
                grid: Grid {
                    origin: Timestamp(0),
                    frequency: Frequency::fixed(1).expect("positive"),
                },
                cutoff_slot,
                mean: mean.to_vec(),
                intervals: vec![interval(0.95, 1.0), interval(0.5, 0.3)],
            },
            filled: 0,
        })
    }

    fn first_score(fit: &Arc<ChannelFit>, slot: Slot, value: f64) -> Option<f64> {
        AnomalyScorer::default().score(fit, slot, value)
    }

    fn without_width(mean: f64) -> Arc<ChannelFit> {
        let mut fit = ChannelFit::clone(&fit(0, [mean; 3], 0));
        for interval in &mut fit.forecast.intervals {
            (interval.lower, interval.upper) = (vec![mean; 3], vec![mean; 3]);
        }
        Arc::new(fit)
    }

    #[test]
    fn one_is_twice_the_bound_of_nineteen_in_twenty_whatever_the_step() {
        let fit = fit(10, [5.0, 5.0, 5.0], 0);
        // 2 · 1.96 deviations: 3.92 at the first step, 7.84 at the others.
        for (slot, value, score) in [
            (11, 5.0, 0.0),
            (11, 5.0 + 3.919_927_969_080_108, 1.0),
            (11, 5.0 - 3.919_927_969_080_108, 1.0),
            (12, 5.0 + 3.919_927_969_080_108, 0.5),
            (13, 5.0 + 2.0 * 7.839_855_938_160_216, 2.0),
            (11, 1e9, HIGHEST_SCORE),
        ] {
            let found = first_score(&fit, slot, value).expect("a score");
            assert!((found - score).abs() < 1e-9, "{slot} {value}: {found}");
        }
        for out_of_reach in [10, 9, 14, Slot::MAX, Slot::MIN] {
            assert_eq!(first_score(&fit, out_of_reach, 5.0), None);
        }
    }

    #[test]
    fn a_forecast_without_intervals_has_no_measure() {
        let mut fit = ChannelFit::clone(&fit(0, [0.0; 3], 0));
        fit.forecast.intervals.clear();
        assert_eq!(first_score(&Arc::new(fit), 1, 3.0), None);
    }

    #[test]
    fn a_channel_that_never_moved_is_normal_until_it_does() {
        for (mean, value, score) in [
            (7.0, 7.0, 0.0),
            (7.0, 7.0 + 1e-14, 0.0),
            (7.0, 8.0, HIGHEST_SCORE),
            (0.0, 0.0, 0.0),
            (0.0, -1e-9, HIGHEST_SCORE),
        ] {
            let found = first_score(&without_width(mean), 1, value).expect("a score");
            assert!((found - score).abs() < 1e-2, "{mean} {value}: {found}");
        }
    }

    /// About normal, of variance 1: the sum of twelve uniform numbers less six.
    fn normal(state: &mut u64) -> f64 {
        let mut uniform = || {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (*state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    #[test]
    fn the_bound_finds_the_residuals_that_there_are_whatever_the_model_says() {
        for deviation in [0.5, 1.0, 6.0] {
            let mut scorer = AnomalyScorer::default();
            let mut state = 7;
            let (mut bounds, mut odd) = (0.0, 0);
            for row in 0..6000 {
                let score = scorer.score(&fit(row, [0.0; 3], 0), row + 1, deviation * normal(&mut state));
                if row >= 2000 {
                    bounds += scorer.bound / 4000.0;
                    odd += u32::from(score.expect("a score") > 1.0);
                }
            }
            let expected = deviation * normal_half_width(SHARE);
            assert!((bounds / expected - 1.0).abs() < 0.05, "{bounds} {expected}");
            assert!(odd <= 4, "{odd} of 4000");
        }
    }

    #[test]
    fn a_row_moves_the_bound_by_a_fiftieth_at_most() {
        let mut scorer = AnomalyScorer::default();
        let quiet = fit(0, [0.0; 3], 0);
        scorer.score(&quiet, 1, 0.0);
        let before = scorer.bound;
        scorer.score(&quiet, 1, 1e12);
        assert!(scorer.bound / before < 1.02);
    }

    #[test]
    fn a_long_rest_does_not_make_every_movement_an_anomaly() {
        let mut scorer = AnomalyScorer::default();
        for row in 0..100_000 {
            scorer.score(&fit(row, [0.0; 3], 0), row + 1, 0.0);
        }
        let score = scorer.score(&fit(100_000, [0.0; 3], 0), 100_001, 0.9).expect("a score");
        assert!(score < 1.0, "{score}");
    }

    #[test]
    fn a_spike_ends_with_its_last_row_though_forecasts_carry_it_on() {
        let mut scorer = AnomalyScorer::default();
        let scores: Vec<bool> = [
            (fit(0, [0.0, 0.0, 0.0], 2), 1, 0.5),   // normal
            (fit(1, [0.0, 0.0, 0.0], 2), 2, 50.0),  // the spike
            (fit(2, [40.0, 30.0, 9.0], 2), 3, 0.1), // what the newest forecast makes of it
            (fit(3, [30.0, 20.0, 9.0], 2), 4, 0.2),
            // Two lags after the spike no forecast looks back on it: this one is simply wrong.
            (fit(4, [30.0, 20.0, 9.0], 2), 5, 0.2),
        ]
        .into_iter()
        .map(|(fit, slot, value)| scorer.score(&fit, slot, value).expect("a score") > 1.0)
        .collect();
        assert_eq!(scores, [false, true, false, false, true]);
    }

    #[test]
    fn another_level_is_normal_once_the_newest_forecast_has_followed() {
        let mut scorer = AnomalyScorer::default();
        let scores: Vec<bool> = [
            (fit(0, [0.0; 3], 5), 1, 50.0),
            (fit(1, [25.0; 3], 5), 2, 50.0),
            (fit(2, [49.0; 3], 5), 3, 50.0),
            (fit(3, [50.0; 3], 5), 4, 50.0),
        ]
        .into_iter()
        .map(|(fit, slot, value)| scorer.score(&fit, slot, value).expect("a score") > 1.0)
        .collect();
        assert_eq!(scores, [true, true, false, false]);
    }

    #[test]
    fn a_spike_within_one_drop_is_told_from_the_rows_around_it() {
        let mut scorer = AnomalyScorer::default();
        let fit = fit(0, [0.0; 3], 3);
        let scores = [1.0, 60.0, -1.0].map(|value| {
            let slot = if value == 1.0 {
                1
            } else if value == 60.0 {
                2
            } else {
                3
            };
            scorer.score(&fit, slot, value).expect("a score") > 1.0
        });
        assert_eq!(scores, [false, true, false]);
    }
}
