//! What forecasts said, until the truth arrives; how good they were; how odd the newest rows are.
//!
//! A forecast is scored at the steps that its dataset publishes, each (cutoff, step) once, and only if it spoke of the
//! future: when it was made, no sample of that slot or a later one was there. The truth is the sample that a row
//! became, so nothing that was filled, refused or left off the grid counts. A late row is scored while its forecasts
//! are remembered; a revision finds them gone.
//!
//! All of this is derived. A restart begins anew, for nobody knows which forecasts stood when.

use std::collections::VecDeque;
use std::sync::Arc;

use forecastd_config::Dataset;
use forecastd_models::{
    AnomalyScorer, ChannelFit, Grid, Level, MeanChange, RollingScore, Slot, StepForecast, Timestamp,
};

use super::history::{ChannelHistory, Samples};
use crate::message::series_drop::ChannelRows;
use crate::message::snapshot::StepAccuracy;

/// Forecasts of a channel that wait for their truth, at most: all of the steps 1 and 96 after every row. Where more
/// would be due, every second, third, … cutoff is remembered at the far steps; one a step always is.
const PENDING: usize = 128;

/// Forecasts a step that may wait beside these although newer rows are there: for late ones.
const LATE: usize = 8;

/// Scored points after which one counts half, for each channel of the dataset.
const HALF_LIFE: f64 = 256.0;

/// The scores of a dataset's forecasts, all channels together.
#[derive(Clone, Debug)]
pub struct DatasetAccuracy {
    steps: Vec<usize>,
    levels: Vec<Level>,
    /// Forecasts of one step that look ahead at once.
    share: usize,
    /// One a step.
    scores: Vec<RollingScore>,
    anomalies: u64,
}

/// One channel's forecasts that wait, and what its rows are measured with.
#[derive(Clone, Debug, Default)]
pub struct ChannelAccuracy {
    /// The grid that the slots below are of.
    grid: Option<Grid>,
    /// One queue a step, by slot.
    pending: Vec<VecDeque<StepForecast>>,
    scale: MeanChange,
    scorer: AnomalyScorer,
    /// The highest score among the rows that came last.
    anomaly: Option<f64>,
}

/// Rows that have just entered a history.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'r> {
    /// As they came.
    pub rows: &'r ChannelRows,
    /// The newest sample before them.
    pub after: Option<Timestamp>,
    /// The newest forecast that was made without them.
    pub fit: &'r Arc<ChannelFit>,
}

impl DatasetAccuracy {
    /// Nothing scored yet.
    pub fn new(config: &Dataset) -> Self {
        Self {
            steps: config.steps.clone(),
            levels: config.fit.levels.clone(),
            share: share(&config.steps),
            scores: vec![RollingScore::default(); config.steps.len()],
            anomalies: 0,
        }
    }

    /// Whether scores under this configuration are scores under another.
    pub fn is_of(&self, config: &Dataset) -> bool {
        self.steps == config.steps && self.levels == config.fit.levels
    }

    /// Remembers what a forecast says of steps that are still ahead.
    pub fn remember(&self, channel: &mut ChannelAccuracy, fit: &ChannelFit, history: &ChannelHistory) {
        let forecast = &fit.forecast;
        let Some(samples) = history.samples(&forecast.grid) else {
            return;
        };
        channel.settle_on(forecast.grid, &samples);
        channel.pending.resize(self.steps.len(), VecDeque::new());
        let Some(last) = samples.at(forecast.cutoff_slot) else {
            return;
        };
        let levels = forecast.intervals.iter().map(|interval| interval.level);
        let other_levels = !levels.eq(self.levels.iter().copied()); // asked for before a reload
        for (step, queue) in self.steps.iter().zip(&mut channel.pending) {
            let Some(mut said) = StepForecast::of(forecast, *step, last).filter(|said| said.slot > samples.newest())
            else {
                continue;
            };
            if other_levels {
                said.bounds = Box::default();
            }
            remember(queue, said, *step, self.share);
        }
    }

    /// Holds rows against what was said of them. `channels` is how many share these scores.
    pub fn judge(
        &mut self,
        channel: &mut ChannelAccuracy,
        arrived: Arrived<'_>,
        history: &ChannelHistory,
        channels: usize,
    ) {
        let grid = arrived.fit.forecast.grid;
        let Some(samples) = history.samples(&grid) else { return };
        let newest = arrived.after.map_or(Slot::MIN, |after| grid.nearest(after));
        let waiting = channel.pending.iter().filter_map(VecDeque::front);
        let first = waiting.map(|said| said.slot).fold(newest.saturating_add(1), Slot::min);
        let times = arrived.rows.times();
        let known = times.partition_point(|time| grid.nearest(*time) < first);
        let mut slots: Vec<Slot> = times[known..].iter().map(|time| grid.nearest(*time)).collect();
        slots.dedup();
        let half_life = HALF_LIFE * channels as f64;
        let (mut went_on, mut highest) = (false, None);
        for slot in slots {
            let Some(truth) = samples.at(slot) else { continue };
            let scale = channel.scale.value();
            for (queue, score) in channel.pending.iter_mut().zip(&mut self.scores) {
                if let Some(said) = take(queue, slot) {
                    score.add(&said, truth, scale, half_life);
                }
            }
            if slot > newest {
                let score = channel.scorer.score(arrived.fit, slot, truth);
                self.anomalies += u64::from(score.is_some_and(|score| score > 1.0));
                went_on = true;
                highest = score.into_iter().chain(highest).reduce(f64::max);
                channel.scale.add(samples.at(slot - 1).unwrap_or(f64::NAN), truth);
            }
        }
        // Where none has a score, that of earlier rows would pass for theirs.
        if went_on {
            channel.anomaly = highest;
        }
    }

    /// Rows that scored more than 1, since the start.
    pub fn anomalies(&self) -> u64 {
        self.anomalies
    }

    /// What readers may see.
    pub fn view(&self) -> Vec<StepAccuracy> {
        let coverage = |score: &RollingScore| {
            let levels = self.levels.iter().enumerate();
            let held = levels.filter_map(|(place, level)| Some((*level, score.coverage(place)?)));
            held.collect()
        };
        let steps = self.steps.iter().zip(&self.scores);
        let view = steps.map(|(step, score)| StepAccuracy {
            step: *step,
            scored: score.scored(),
            mae: score.mae(),
            rmse: score.rmse(),
            skill: score.skill(),
            coverage: coverage(score),
        });
        view.collect()
    }
}

impl ChannelAccuracy {
    /// The highest score among the rows that came last.
    pub fn anomaly(&self) -> Option<f64> {
        self.anomaly
    }

    /// What is remembered was asked for otherwise.
    pub fn forget_forecasts(&mut self) {
        self.pending.clear();
    }

    /// Slots of a grid that a young channel has given up mean nothing. The scale is then that of the window.
    fn settle_on(&mut self, grid: Grid, samples: &Samples<'_>) {
        if self.grid != Some(grid) {
            self.grid = Some(grid);
            self.pending.clear();
            self.scale = MeanChange::of(samples.values());
        }
    }
}

/// The largest number of forecasts one step may have ahead of it, so that all steps together have [`PENDING`].
fn share(steps: &[usize]) -> usize {
    let ahead = |share: usize| -> usize { steps.iter().map(|step| share.min(*step)).sum() };
    (1..=PENDING).rev().find(|share| ahead(*share) <= PENDING).unwrap_or(1)
}

fn remember(queue: &mut VecDeque<StepForecast>, said: StepForecast, step: usize, share: usize) {
    // The same cutoff again, after a late row: what was said last stands.
    if queue.back().is_some_and(|newest| newest.slot == said.slot) {
        queue.pop_back();
    }
    let apart = step.div_ceil(share) as Slot;
    if queue.back().is_some_and(|newest| said.slot < newest.slot + apart) {
        return;
    }
    if queue.len() >= share.min(step) + LATE {
        queue.pop_front();
    }
    queue.push_back(said);
}

fn take(queue: &mut VecDeque<StepForecast>, slot: Slot) -> Option<StepForecast> {
    let place = queue.binary_search_by_key(&slot, |said| said.slot).ok()?;
    queue.remove(place)
}

#[cfg(test)]
mod tests;
