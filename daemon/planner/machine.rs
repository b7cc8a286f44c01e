//! The state machine itself: one owner of all state, one function that changes it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Config, DatasetName};
use forecastd_models::Timestamp;

use super::command::Command;
use super::dataset::{DatasetState, Recovery};
use super::event::Event;
use crate::message::ingest_report::{IngestReport, Outcome};
use crate::message::snapshot::Snapshot;

/// Channels in one batch at most: their windows are copied, so this bounds the memory in flight.
const BATCH_CHANNELS: usize = 64;

/// Least time between two snapshots while fits go on: building one touches every channel.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// First wait after a fault of the machine, doubled with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Decides what to do. Owns the histories and everything derived from them.
#[derive(Clone, Debug)]
pub struct Planner {
    /// In the order of the configuration.
    datasets: Vec<DatasetState>,
    idle_fit_workers: usize,
    fit_workers: usize,
    /// The ingest thread has a job: a file or a recovery.
    storing: bool,
    /// The writer has a batch.
    writing: bool,
    /// Where the search for the next file or batch begins, so that no dataset starves another.
    turn: usize,
    back_off: Option<BackOff>,
    generation: u64,
    unpublished: bool,
    published_at: Option<Timestamp>,
    stopping: bool,
}

/// Intake rests after a fault of the machine: a full disk is full for every file.
#[derive(Clone, Copy, Debug)]
struct BackOff {
    until: Timestamp,
    wait: Duration,
}

impl Planner {
    /// Nothing known yet; give it [`Event::Reconfigured`] first.
    pub fn new(fit_workers: NonZeroUsize) -> Self {
        Self {
            datasets: Vec::new(),
            idle_fit_workers: fit_workers.get(),
            fit_workers: fit_workers.get(),
            storing: false,
            writing: false,
            turn: 0,
            back_off: None,
            generation: 0,
            unpublished: false,
            published_at: None,
            stopping: false,
        }
    }

    /// Takes in what happened and says what to do about it.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Listed(listing) => {
                if let Some(dataset) = self.dataset(&listing.dataset) {
                    dataset.files.list(listing);
                }
            }
            Event::Unreadable(name) => {
                if let Some(dataset) = self.dataset(&name) {
                    dataset.files.unreadable();
                }
            }
            Event::Recovered(name, rows) => {
                if let Some(dataset) = self.dataset(&name) {
                    dataset.extend(&rows, now);
                    self.unpublished = true;
                }
            }
            Event::RecoveryFinished(name) => {
                self.storing = false;
                if let Some(dataset) = self.dataset(&name) {
                    dataset.recovery = Recovery::Done;
                    self.unpublished = true;
                }
            }
            Event::Ingested(report) => self.ingested(report, now),
            Event::Fitted(report) => {
                self.idle_fit_workers = (self.idle_fit_workers + 1).min(self.fit_workers);
                if let Some(dataset) = self.dataset(&report.dataset) {
                    dataset.finish(report, now);
                    self.unpublished = true;
                }
            }
            Event::Written => self.writing = false,
            Event::Reconfigured(config) => self.reconfigure(&config, now),
            Event::Woken => {}
            Event::Stopping => self.stopping = true,
        }
        self.plan(now, &mut commands);
        commands
    }

    /// When [`Event::Woken`] should come if nothing else happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let back_off = self.back_off.filter(|_| self.files_wait()).map(|rest| rest.until);
        let publish = if self.unpublished { self.published_at.map(|at| after(at, PUBLISH_INTERVAL)) } else { None };
        let resting = if self.idle_fit_workers > 0 {
            self.datasets.iter().filter_map(DatasetState::next_ready).min()
        } else {
            None
        };
        [back_off, publish, resting].into_iter().flatten().min()
    }

    /// Whether every dataset's durable rows are back and every folder was looked at.
    pub fn is_ready(&self) -> bool {
        self.datasets.iter().all(|dataset| dataset.recovery == Recovery::Done && dataset.files.listed())
    }

    /// Whether no work is out.
    pub fn is_idle(&self) -> bool {
        !self.storing && !self.writing && self.idle_fit_workers == self.fit_workers
    }

    fn dataset(&mut self, name: &DatasetName) -> Option<&mut DatasetState> {
        self.datasets.iter_mut().find(|dataset| dataset.name() == name)
    }

    fn files_wait(&self) -> bool {
        self.datasets.iter().any(|dataset| dataset.files.waiting() > 0)
    }

    fn ingested(&mut self, report: IngestReport, now: Timestamp) {
        self.storing = false;
        let IngestReport { file, outcome } = report;
        if let Outcome::Deferred { .. } = &outcome {
            let wait = self.back_off.map_or(FIRST_BACK_OFF, |rest| (rest.wait * 2).min(LONGEST_BACK_OFF));
            self.back_off = Some(BackOff { until: after(now, wait), wait });
        } else {
            self.back_off = None;
        }
        let Some(dataset) = self.dataset(&file.dataset) else { return };
        match outcome {
            Outcome::Committed { fresh, .. } => {
                dataset.files.settle(file);
                dataset.extend(&fresh, now);
                self.unpublished = true;
            }
            Outcome::Duplicate { .. } | Outcome::Finished | Outcome::Rejected(_) => dataset.files.settle(file),
            Outcome::Deferred { .. } => dataset.files.put_back(file),
            Outcome::Withdrawn => {}
        }
    }

    fn reconfigure(&mut self, config: &Config, now: Timestamp) {
        let mut before: HashMap<DatasetName, DatasetState> =
            self.datasets.drain(..).map(|dataset| (DatasetName::clone(dataset.name()), dataset)).collect();
        for dataset in &config.datasets {
            let wanted = Arc::new(dataset.clone());
            let mut state = before.remove(&dataset.name).unwrap_or_else(|| DatasetState::new(Arc::clone(&wanted)));
            state.reconfigure(wanted, now);
            self.datasets.push(state);
        }
        self.unpublished = true;
    }

    fn plan(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if !self.stopping {
            self.plan_recovery(commands);
            self.plan_ingest(now, commands);
            self.plan_fits(now, commands);
        }
        self.plan_publication(now, commands);
        self.plan_files(now, commands);
    }

    fn plan_recovery(&mut self, commands: &mut Vec<Command>) {
        let Some(dataset) = self.datasets.iter_mut().find(|dataset| dataset.recovery == Recovery::Wanted) else { return };
        if !self.storing {
            self.storing = true;
            dataset.recovery = Recovery::Running;
            commands.push(Command::Recover(DatasetName::clone(dataset.name())));
        }
    }

    fn plan_ingest(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if self.storing || self.back_off.is_some_and(|rest| now < rest.until) {
            return;
        }
        for dataset in in_turn(&mut self.datasets, &mut self.turn) {
            if dataset.recovery == Recovery::Done
                && let Some(file) = dataset.files.take()
            {
                self.storing = true;
                commands.push(Command::Ingest(file, Arc::clone(dataset.config())));
                return;
            }
        }
    }

    /// Every idle worker gets its share of what is due: under load the batches grow and no queue does.
    fn plan_fits(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        for dataset in in_turn(&mut self.datasets, &mut self.turn) {
            while self.idle_fit_workers > 0 && dataset.ready(now) > 0 {
                let share = dataset.ready(now).div_ceil(self.idle_fit_workers);
                if let Some(job) = dataset.take_batch(share.min(BATCH_CHANNELS), now) {
                    self.idle_fit_workers -= 1;
                    commands.push(Command::Fit(job));
                }
            }
        }
    }

    fn plan_files(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        for dataset in in_turn(&mut self.datasets, &mut self.turn) {
            if !self.writing
                && let Some(batch) = dataset.take_unwritten(now)
            {
                self.writing = true;
                commands.push(Command::WriteForecasts(batch, Arc::clone(dataset.config())));
            }
        }
    }

    fn plan_publication(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        let rested = self.published_at.is_none_or(|at| now >= after(at, PUBLISH_INTERVAL));
        if !self.unpublished || !rested {
            return;
        }
        self.generation += 1;
        self.unpublished = false;
        self.published_at = Some(now);
        let datasets = self.datasets.iter().map(DatasetState::view).collect();
        commands.push(Command::Publish(Snapshot { generation: self.generation, datasets }));
    }
}

fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX))
}

/// All datasets, beginning with another one each time.
fn in_turn<'a>(datasets: &'a mut [DatasetState], turn: &mut usize) -> impl Iterator<Item = &'a mut DatasetState> {
    *turn = turn.wrapping_add(1);
    let start = turn.checked_rem(datasets.len()).unwrap_or(0);
    let (head, tail) = datasets.split_at_mut(start);
    tail.iter_mut().chain(head)
}
