//! One dataset: its channels' histories and fits, what is due, which files wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Dataset, DatasetName};
use forecastd_models::{
    ChannelFit, ChannelMap, ChannelName, FitFailure, FitSpec, Frequency, RollingFit, Series, Timestamp,
};

use super::accuracy::{Arrived, ChannelAccuracy, DatasetAccuracy};
use super::due::DueChannels;
use super::files::Files;
use super::history::{ChannelHistory, HistoryRules};
use super::network::{self, DatasetNetwork};
use super::pool::{POOL_CHANNELS, PoolKeeper};
use crate::message::fit_job::{ChannelJob, Epoch, FitJob, FitOutcome, FitReport, JobWindow, PoolJob, PoolReport};
use crate::message::model::ModelVersion;
use crate::message::series_drop::SeriesDrop;
use crate::message::snapshot::{ChannelView, DatasetView, ForecastBatch};

/// A round of fits that goes on for longer, because rows come faster than fits, is written piece by piece.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// Everything the planner knows of one dataset.
#[derive(Clone, Debug)]
pub struct DatasetState {
    epoch: Epoch,
    config: Arc<Dataset>,
    spec: Arc<FitSpec>,
    channels: BTreeMap<ChannelName, Channel>,
    due: DueChannels,
    pool: PoolKeeper,
    accuracy: DatasetAccuracy,
    network: DatasetNetwork,
    fitting: usize,
    unwritten: BTreeMap<ChannelName, Arc<ChannelFit>>,
    /// When the oldest of them came.
    unwritten_since: Option<Timestamp>,
    newest: Option<Timestamp>,
    /// Which files wait.
    pub files: Files,
    /// Whether the rows that were durable before are back.
    pub recovery: Recovery,
}

/// How far the rows that were durable before this process started are back in the histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Still on disk.
    Wanted,
    /// On the way.
    Running,
    /// All here: files may be taken, fits may begin.
    Done,
}

#[derive(Clone, Debug)]
struct Channel {
    history: ChannelHistory,
    /// Grows with each change of the history.
    version: u64,
    in_flight: bool,
    last_fit: Option<Timestamp>,
    fit: Option<Arc<ChannelFit>>,
    failure: Option<FitFailure>,
    /// How often in a row the network could not be asked.
    owed: u32,
    /// What the last fit left for the next; of no use once the history did more than move on.
    rolling: Option<Box<RollingFit>>,
    /// Chosen at an earlier fit.
    map: Option<Arc<ChannelMap>>,
    accuracy: ChannelAccuracy,
}

impl DatasetState {
    /// A dataset whose history is still on disk.
    pub fn new(config: Arc<Dataset>, epoch: Epoch) -> Self {
        Self {
            epoch,
            spec: Arc::new(config.fit.clone()),
            accuracy: DatasetAccuracy::new(&config),
            network: DatasetNetwork::default(),
            config,
            channels: BTreeMap::new(),
            due: DueChannels::default(),
            pool: PoolKeeper::default(),
            fitting: 0,
            unwritten: BTreeMap::new(),
            unwritten_since: None,
            newest: None,
            files: Files::default(),
            recovery: Recovery::Wanted,
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &Arc<Dataset> {
        &self.config
    }

    /// Its name.
    pub fn name(&self) -> &DatasetName {
        &self.config.name
    }

    /// Which of its lives this is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes over a changed configuration. Histories of another shape are read back anew, in another epoch; another
    /// question to the fits makes every channel due.
    pub fn reconfigure(&mut self, config: Arc<Dataset>, epoch: Epoch, now: Timestamp) {
        let files = std::mem::take(&mut self.files);
        if HistoryRules::from(config.as_ref()) != HistoryRules::from(self.config.as_ref()) {
            *self = Self::new(config, epoch);
        } else {
            let asks_anew = config.fit != self.config.fit || config.method != self.config.method;
            self.spec = Arc::new(config.fit.clone());
            self.config = config;
            if !self.accuracy.is_of(&self.config) {
                self.accuracy = DatasetAccuracy::new(&self.config);
                self.channels
                    .values_mut()
                    .for_each(|channel| channel.accuracy.forget_forecasts());
            }
            if asks_anew {
                self.pool.forget();
                for (channel, state) in &mut self.channels {
                    state.version += 1;
                    state.last_fit = None; // whatever rests is asked at once
                    state.history.forget_moves(); // statistics that are out are of the old question
                    if !state.in_flight {
                        self.due.hurry(channel, now);
                    }
                }
            }
        }
        self.files = files;
    }

    /// Takes over which version of its model is active. Every channel is held against another one anew.
    pub fn version_is(&mut self, active: Option<&ModelVersion>, now: Timestamp) {
        if !self.network.becomes(active, &self.config.fit) {
            return;
        }
        for (name, channel) in &mut self.channels {
            channel.owed = 0;
            if channel.in_flight {
                channel.version += 1;
            } else if channel.fit.is_some() {
                self.due.hurry(name, now);
            }
        }
    }

    /// Takes rows into the histories; channels whose window changed become due.
    pub fn extend(&mut self, rows: &SeriesDrop, now: Timestamp) {
        let rules = HistoryRules::from(self.config.as_ref());
        for (name, rows) in rows.channels() {
            let known = self.channels.len();
            let channel = self
                .channels
                .entry(ChannelName::clone(name))
                .or_insert_with(|| Channel::new(rules));
            let after = channel.history.newest();
            if channel.history.extend(rows) {
                channel.version += 1;
                self.pool.took(rows.len() as u64);
                if let Some(fit) = &channel.fit {
                    let arrived = Arrived { rows, after, fit };
                    self.accuracy
                        .judge(&mut channel.accuracy, arrived, &channel.history, known);
                }
                self.newest = self.newest.max(channel.history.newest());
                if !channel.in_flight {
                    self.due.add(name, channel.ready_at(&self.config), now);
                }
            }
        }
        self.expire();
    }

    /// Channels ready for a fit.
    pub fn ready(&self, now: Timestamp) -> usize {
        if self.may_fit() { self.due.ready(now) } else { 0 }
    }

    /// When a channel that rests becomes ready.
    pub fn next_ready(&self) -> Option<Timestamp> {
        self.due.next_ready().filter(|_| self.may_fit())
    }

    /// Whether all rows are back, and what the channels have in common is known if that is asked for.
    fn may_fit(&self) -> bool {
        let awaits_pool = self.config.method.needs_pool() && self.pool.is_awaited(self.channels.len());
        self.recovery == Recovery::Done && !awaits_pool
    }

    /// Channels to pool, if it is time.
    pub fn take_pool_job(&mut self) -> Option<PoolJob> {
        let wanted = self.config.method.needs_pool() && self.recovery == Recovery::Done;
        if !wanted || !self.pool.is_due(self.channels.len(), self.config.history.window.get()) {
            return None;
        }
        self.pool.sent();
        let every = self.channels.len().div_ceil(POOL_CHANNELS);
        let some = self.channels.iter().step_by(every);
        let series: Vec<Series> = some
            .filter_map(|(name, channel)| channel.history.series(name))
            .collect();
        Some(PoolJob {
            dataset: DatasetName::clone(self.name()),
            epoch: self.epoch,
            spec: Arc::clone(&self.spec),
            method: self.config.method,
            series,
        })
    }

    /// Takes a pool over. One of another question only leaves the way free for the next.
    pub fn pooled(&mut self, report: PoolReport) {
        if report.epoch != self.epoch {
            return;
        }
        self.pool.came(report.pool);
        if *report.spec != *self.spec || report.method != self.config.method {
            self.pool.forget();
        }
    }

    /// Up to `limit` channels as one batch, longest due first.
    pub fn take_batch(&mut self, limit: usize, now: Timestamp) -> Option<FitJob> {
        let mut batch = Vec::new();
        for name in self.due.take(limit, now) {
            let Some(channel) = self.channels.get_mut(&name) else {
                continue;
            };
            // Without a second row there is no grid yet; the next row makes the channel due again.
            let Some(window) = channel.take_window(&name, &self.config) else {
                continue;
            };
            channel.in_flight = true;
            batch.push(ChannelJob {
                channel: name,
                version: channel.version,
                window,
            });
        }
        self.fitting += batch.len();
        (!batch.is_empty()).then(|| FitJob {
            dataset: DatasetName::clone(self.name()),
            epoch: self.epoch,
            spec: Arc::clone(&self.spec),
            method: self.config.method,
            pool: self.pool.pool().map(Arc::clone),
            network: self.network.version().map(Arc::clone),
            channels: batch,
        })
    }

    /// Takes results over. A channel that could not be rolled is due at once. One whose history went on meanwhile is due
    /// again. Results of another epoch are about histories that are no more.
    pub fn finish(&mut self, report: FitReport, now: Timestamp) {
        if report.epoch != self.epoch {
            return;
        }
        self.fitting -= report.outcomes.len() + report.declined.len();
        for (name, _) in report.declined {
            if let Some(channel) = self.channels.get_mut(&name) {
                channel.in_flight = false;
                self.due.hurry(&name, now);
            }
        }
        for FitOutcome {
            channel: name,
            version,
            result,
            way: _,
            rolling,
            map,
            owed,
        } in report.outcomes
        {
            let Some(channel) = self.channels.get_mut(&name) else {
                continue;
            };
            channel.in_flight = false;
            channel.last_fit = Some(now);
            // Statistics of Auto-AR would keep a channel from being chosen for, once that is possible.
            channel.keep(rolling.filter(|_| !self.config.method.is_mapped()));
            channel.map = map;
            let is_known = channel.owed > 0 && channel.fit.as_deref() == result.as_deref().ok();
            channel.owed = if owed { channel.owed.saturating_add(1) } else { 0 };
            if channel.version > version {
                self.due.add(&name, channel.ready_at(&self.config), now);
            } else if owed {
                self.due.add(&name, now.after(network::pause(channel.owed)), now);
            }
            match result {
                // Nothing came of asking the network again: no file is due for that.
                Ok(_) if is_known => {}
                Ok(fit) => {
                    self.unwritten.insert(name, Arc::clone(&fit));
                    self.unwritten_since.get_or_insert(now);
                    self.accuracy.remember(&mut channel.accuracy, &fit, &channel.history);
                    channel.fit = Some(fit);
                    channel.failure = None;
                }
                // The last good forecast stands; its cutoff tells its age.
                Err(failure) => channel.failure = Some(failure),
            }
        }
    }

    /// Forecasts that no file has yet: once no fit of this dataset is due or running, or they have waited long
    /// enough for that.
    pub fn take_unwritten(&mut self, now: Timestamp) -> Option<ForecastBatch> {
        let since = self.unwritten_since?;
        let round_is_over = self.fitting == 0 && self.ready(now) == 0;
        if !round_is_over && now < since.after(LONGEST_ROUND) {
            return None;
        }
        self.unwritten_since = None;
        let fits = std::mem::take(&mut self.unwritten).into_values().collect();
        Some(ForecastBatch {
            dataset: DatasetName::clone(self.name()),
            fits,
        })
    }

    /// What readers may see.
    pub fn view(&self) -> DatasetView {
        let view = |channel: &Channel| ChannelView {
            fit: channel.fit.clone(),
            failure: channel.failure.clone(),
            anomaly: channel.accuracy.anomaly(),
        };
        DatasetView {
            config: Arc::clone(&self.config),
            channels: self
                .channels
                .iter()
                .map(|(name, channel)| (ChannelName::clone(name), view(channel)))
                .collect(),
            newest: self.newest,
            due: self.due.len() + self.fitting,
            files_waiting: self.files.waiting(),
            gap_points: self
                .channels
                .values()
                .map(|channel| channel.history.gaps() as u64)
                .sum(),
            off_grid_rows: self
                .channels
                .values()
                .map(|channel| channel.history.off_grid_rows())
                .sum(),
            accuracy: self.accuracy.view(),
            anomalies: self.accuracy.anomalies(),
            network: self.network.view(&self.config),
        }
    }

    /// How far behind the newest row a fit of any channel reaches: what retention may not take.
    pub fn reach(&self) -> Duration {
        let frequencies = self.channels.values().filter_map(|channel| channel.history.frequency());
        let longest = frequencies.map(Frequency::longest_step).max().unwrap_or_default();
        longest.saturating_mul(u32::try_from(self.config.history.window.get()).unwrap_or(u32::MAX))
    }

    /// Forgets channels that fell behind the dataset's newest sample by more than `forecast.max_age`, or so far that
    /// their rows leave the disk.
    fn expire(&mut self) {
        let Some(newest) = self.newest else { return };
        let max_age = self
            .config
            .max_age
            .unwrap_or_else(|| self.config.history.retention.max(self.reach()));
        let oldest = newest.before(max_age);
        let due = &mut self.due;
        self.channels.retain(|name, channel| {
            let stays = channel.history.newest().is_some_and(|newest| newest >= oldest);
            if !stays {
                due.remove(name);
            }
            stays
        });
    }
}

impl Channel {
    fn new(rules: HistoryRules) -> Self {
        let history = ChannelHistory::new(rules);
        Self {
            history,
            version: 0,
            in_flight: false,
            last_fit: None,
            fit: None,
            failure: None,
            owed: 0,
            rolling: None,
            map: None,
            accuracy: ChannelAccuracy::default(),
        }
    }

    /// How the window moved since the last fit if that suffices, or all of it. The next fit may roll on from here.
    fn take_window(&mut self, name: &ChannelName, config: &Dataset) -> Option<JobWindow> {
        if let Some(map) = self.map.take().filter(|map| map.answers(&config.fit, config.method)) {
            let series = self.history.series(name)?;
            let is_stale = map.is_stale(&series);
            return Some(if is_stale {
                JobWindow::Whole(series)
            } else {
                JobWindow::Mapped(map, series)
            });
        }
        let rolled = self.rolling.take().and_then(|rolling| {
            let moves = self.history.moves(name, rolling.reach())?;
            Some(JobWindow::Moved(rolling, moves))
        });
        let window = rolled.or_else(|| self.history.series(name).map(JobWindow::Whole))?;
        self.history.record_moves();
        Some(window)
    }

    /// Takes statistics over. Without them, what leaves the window is of no interest.
    fn keep(&mut self, rolling: Option<Box<RollingFit>>) {
        self.rolling = rolling;
        if self.rolling.is_none() {
            self.history.forget_moves();
        }
    }

    fn ready_at(&self, config: &Dataset) -> Timestamp {
        self.last_fit
            .map_or(Timestamp(i64::MIN), |last| last.after(config.refit_interval))
    }
}
