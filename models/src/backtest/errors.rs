//! Errors of forecasts from many origins, by step.

use std::num::NonZeroUsize;
use std::ops::{AddAssign, Range};

use serde::Serialize;

use crate::conformal;
use crate::dense::Matrix;
use crate::forecast::Level;

/// Windows whose forecasts are held at a time.
const BLOCK: usize = 512;

/// Means over windows, and over channels once several are added up: each has the weight of one.
#[derive(Clone, Debug, PartialEq)]
pub struct StepErrors {
    /// How many were added up.
    channels: usize,
    squared: Vec<f64>,
    absolute: Vec<f64>,
    /// One a level; none where there are no intervals.
    intervals: Vec<StepIntervals>,
}

/// How an interval did, by step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepIntervals {
    /// Share of the targets that lay within it.
    coverage: Vec<f64>,
    /// From its lower to its upper bound.
    width: Vec<f64>,
}

/// A mean over steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Mean squared error.
    pub mse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// One a level: the share of targets within the interval, and its mean width.
    pub intervals: Vec<(f64, f64)>,
}

impl StepErrors {
    /// Of forecasts from each of these origins, all of whose targets are in `samples`.
    ///
    /// `forecasts` gives one row an origin, one column a step; `half_widths` are by level and step.
    ///
    /// # Panics
    ///
    /// If there is no origin, or one has not all its targets.
    pub fn new(
        samples: &[f64],
        origins: Range<usize>,
        half_widths: &[Vec<f64>],
        forecasts: impl Fn(Range<usize>) -> Matrix,
    ) -> Self {
        assert!(!origins.is_empty(), "an error is one of a forecast");
        let windows = origins.len() as f64;
        let mut sums: Option<Self> = None;
        for first in origins.clone().step_by(BLOCK) {
            let block = first..origins.end.min(first + BLOCK);
            let forecasts = forecasts(block.clone());
            let sums = sums.get_or_insert_with(|| Self::zero(forecasts.columns(), half_widths));
            for (row, origin) in block.enumerate() {
                sums.add_window(forecasts.row(row), &samples[origin..], half_widths);
            }
        }
        let mut means = sums.expect("there is an origin");
        let counted = means.intervals.iter_mut().map(|interval| &mut interval.coverage);
        for sums in [&mut means.squared, &mut means.absolute].into_iter().chain(counted) {
            sums.iter_mut().for_each(|sum| *sum /= windows);
        }
        means
    }

    fn zero(horizon: usize, half_widths: &[Vec<f64>]) -> Self {
        let interval = |half: &Vec<f64>| StepIntervals {
            coverage: vec![0.0; horizon],
            width: half.iter().map(|half| 2.0 * half).collect(),
        };
        Self {
            channels: 1,
            squared: vec![0.0; horizon],
            absolute: vec![0.0; horizon],
            intervals: half_widths.iter().map(interval).collect(),
        }
    }

    fn add_window(&mut self, forecast: &[f64], truth: &[f64], half_widths: &[Vec<f64>]) {
        let truth = &truth[..forecast.len()];
        for (step, (forecast, truth)) in forecast.iter().zip(truth).enumerate() {
            let error = (forecast - truth).abs();
            self.squared[step] += error * error;
            self.absolute[step] += error;
            for (interval, half) in self.intervals.iter_mut().zip(half_widths) {
                interval.coverage[step] += f64::from(u8::from(error <= half[step]));
            }
        }
    }

    /// Number of steps.
    pub fn horizon(&self) -> usize {
        self.squared.len()
    }

    /// The mean squared error of each step.
    pub fn mse_by_step(&self) -> Vec<f64> {
        let channels = self.channels as f64;
        self.squared.iter().map(|sum| sum / channels).collect()
    }

    /// The mean over some steps, from 0.
    ///
    /// # Panics
    ///
    /// If there is none of them.
    pub fn over(&self, steps: Range<usize>) -> Score {
        let terms = (steps.len() * self.channels) as f64;
        let mean = |by_step: &[f64]| by_step[steps.clone()].iter().sum::<f64>() / terms;
        let mse = mean(&self.squared);
        let interval = |interval: &StepIntervals| (mean(&interval.coverage), mean(&interval.width));
        Score {
            mse,
            mae: mean(&self.absolute),
            rmse: mse.sqrt(),
            intervals: self.intervals.iter().map(interval).collect(),
        }
    }

    /// The mean over all steps.
    pub fn score(&self) -> Score {
        self.over(0..self.horizon())
    }
}

/// Another channel's. Intervals are of all or of none.
impl AddAssign<&Self> for StepErrors {
    fn add_assign(&mut self, other: &Self) {
        let add = |sums: &mut [f64], more: &[f64]| {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
        };
        self.channels += other.channels;
        add(&mut self.squared, &other.squared);
        add(&mut self.absolute, &other.absolute);
        for (interval, other) in self.intervals.iter_mut().zip(&other.intervals) {
            add(&mut interval.coverage, &other.coverage);
            add(&mut interval.width, &other.width);
        }
    }
}

/// Half the width of an interval at each level and step, from errors of forecasts from these origins: split conformal
/// prediction. `forecasts` is asked for every so manieth origin.
///
/// # Panics
///
/// If there is no origin, or one has not all its targets.
pub fn half_widths(
    samples: &[f64],
    origins: Range<usize>,
    levels: &[Level],
    forecasts: impl Fn(Range<usize>, NonZeroUsize) -> Matrix,
) -> Vec<Vec<f64>> {
    let errors = conformal::magnitudes(samples, origins, forecasts);
    conformal::half_widths(&errors, levels, |_| 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always forecasts zero.
    fn zeros(origins: Range<usize>) -> Matrix {
        Matrix::zeros(origins.len(), 2)
    }

    #[test]
    fn errors_are_means_over_windows_step_by_step() {
        let samples = [9.0, 1.0, -2.0, 3.0];
        let errors = StepErrors::new(&samples, 1..3, &[vec![1.5, 2.5]], zeros);
        assert_eq!(errors.mse_by_step(), [2.5, 6.5]);
        let score = errors.score();
        assert_eq!((score.mse, score.mae, score.rmse), (4.5, 2.0, 4.5_f64.sqrt()));
        assert_eq!(score.intervals, [(0.5, 4.0)]);
        assert_eq!(errors.over(0..1).intervals, [(0.5, 3.0)]);
        assert_eq!(errors.over(1..2).mae, 2.5);
    }

    #[test]
    fn channels_have_equal_weights() {
        let mut sum = StepErrors::new(&[0.0, 2.0, 2.0], 1..2, &[vec![3.0, 3.0]], zeros);
        sum += &StepErrors::new(&[0.0, 4.0, 4.0, 4.0], 1..3, &[vec![1.0, 1.0]], zeros);
        assert_eq!(sum.score().mse, 10.0);
        assert_eq!(sum.score().intervals, [(0.5, 4.0)]);
    }

    #[test]
    fn many_windows_are_the_same_as_few_at_a_time() {
        let samples: Vec<f64> = (0..2_000).map(|t| f64::from(t % 7)).collect();
        let errors = StepErrors::new(&samples, 0..1_400, &[], zeros);
        assert!((errors.score().mae - 3.0).abs() < 1e-12); // two hundred weeks of 0, …, 6
    }
}
