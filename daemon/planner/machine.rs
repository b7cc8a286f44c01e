//! The state machine itself: one owner of all state, one function that changes it.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Config, DatasetName, ModelName, SampleDataset};
use forecastd_models::Timestamp;

use super::command::Command;
use super::dataset::{DatasetState, Recovery};
use super::event::Event;
use super::files::Files;
use super::registry::Registry;
use super::samples::SampleState;
use super::trainings::{Known, Trainings};
use crate::message::fit_job::{Epoch, FitWork};
use crate::message::ingest_report::{IngestReport, Outcome};
use crate::message::model::{ModelDone, ModelReport, ModelVersion};
use crate::message::prediction::PredictReport;
use crate::message::snapshot::Snapshot;

/// Channels in one batch at most: their windows are copied, so this bounds the memory in flight.
const BATCH_CHANNELS: usize = 64;

/// Drops that are predicted at a time, each of another dataset: while one is read, another is computed.
pub const PREDICTORS: usize = 2;

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
    /// Datasets of tiles and sequences, likewise.
    samples: Vec<SampleState>,
    models: Registry,
    trainings: Trainings,
    idle_fit_workers: usize,
    fit_workers: usize,
    idle_predictors: usize,
    /// The ingest thread has a job: a file, a recovery, predictions, or something about models.
    storing: bool,
    /// The writer has a batch.
    writing: bool,
    ingest_turn: Turn,
    fit_turn: Turn,
    write_turn: Turn,
    predict_turn: Turn,
    back_off: Option<BackOff>,
    epochs: u64,
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
            samples: Vec::new(),
            models: Registry::default(),
            trainings: Trainings::default(),
            idle_fit_workers: fit_workers.get(),
            fit_workers: fit_workers.get(),
            idle_predictors: PREDICTORS,
            storing: false,
            writing: false,
            ingest_turn: Turn::default(),
            fit_turn: Turn::default(),
            write_turn: Turn::default(),
            predict_turn: Turn::default(),
            back_off: None,
            epochs: 0,
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
                if let Some(files) = self.files(&listing.dataset) {
                    let before = files.waiting();
                    files.list(listing);
                    self.unpublished |= files.waiting() != before;
                }
            }
            Event::Unreadable(name) => {
                if let Some(files) = self.files(&name) {
                    files.unreadable();
                }
            }
            Event::Recovered(name, epoch, rows) => {
                if let Some(dataset) = self.dataset(&name).filter(|dataset| dataset.epoch() == epoch) {
                    dataset.extend(&rows, now);
                    self.unpublished = true;
                }
            }
            Event::SamplesRecovered(name, epoch, entries) => {
                if let Some(samples) = self.samples(&name).filter(|samples| samples.epoch() == epoch) {
                    samples.extend(entries);
                    self.unpublished = true;
                }
            }
            Event::PredictionsRecovered(name, epoch, kept) => {
                if let Some(samples) = self.samples(&name).filter(|samples| samples.epoch() == epoch) {
                    samples.recover_predictions(kept);
                    self.unpublished = true;
                }
            }
            Event::RecoveryFinished(name, epoch) => {
                self.storing = false;
                if let Some(samples) = self.samples(&name).filter(|samples| samples.epoch() == epoch) {
                    samples.recovery = Recovery::Done;
                    self.unpublished = true;
                }
                if let Some(dataset) = self.dataset(&name).filter(|dataset| dataset.epoch() == epoch) {
                    dataset.recovery = Recovery::Done;
                    self.unpublished = true;
                }
            }
            Event::Ingested(report) => self.ingested(report, now),
            Event::Fitted(report) => {
                self.idle_fit_workers += 1;
                if let Some(dataset) = self.dataset(&report.dataset) {
                    dataset.finish(report, now);
                    self.unpublished = true;
                }
            }
            Event::Pooled(report) => {
                self.idle_fit_workers += 1;
                if let Some(dataset) = self.dataset(&report.dataset) {
                    dataset.pooled(report);
                }
            }
            Event::Written => self.writing = false,
            Event::Predicted(report) => {
                self.idle_predictors += 1;
                let PredictReport {
                    dataset,
                    epoch,
                    outcome,
                } = report;
                if let Some(samples) = self.samples(&dataset).filter(|samples| samples.epoch() == epoch) {
                    samples.predictions.finish(outcome, now);
                    self.unpublished = true;
                }
            }
            Event::PredictionsKept(name, epoch, kept) => {
                self.storing = false;
                if let Some(samples) = self.samples(&name).filter(|samples| samples.epoch() == epoch) {
                    samples.predictions_kept(kept.as_ref().ok(), now);
                    self.unpublished = true;
                }
            }
            Event::ArtifactsListed(listing) => self.models.list(listing),
            Event::ArtifactsUnreadable(model) => self.models.unreadable(&model),
            Event::Asked(requests) => self.models.asked(requests),
            Event::Models(report) => {
                self.storing = false;
                self.trained(&report, now);
                self.models.done(report, now);
                self.name_networks(now);
                for samples in &mut self.samples {
                    if let Some(model) = &samples.config().model {
                        let versions = self.models.versions(model);
                        samples.predictions.versions_are(versions);
                    }
                }
                self.unpublished = true;
            }
            Event::Serving(report) => self.models.serving(report),
            Event::Trained(report) => self.trainings.done(report),
            Event::Reconfigured(config) => self.reconfigure(&config, now),
            Event::Woken => {}
            Event::Stopping => self.stopping = true,
        }
        self.plan(now, &mut commands);
        commands
    }

    /// When [`Event::Woken`] should come if nothing else happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let back_off = self.back_off.filter(|_| self.files_ready()).map(|rest| rest.until);
        let publish = if self.unpublished {
            self.published_at.map(|at| at.after(PUBLISH_INTERVAL))
        } else {
            None
        };
        let resting = if self.idle_fit_workers > 0 {
            self.datasets.iter().filter_map(DatasetState::next_ready).min()
        } else {
            None
        };
        // While something is out for the ingest thread, its return is what wakes; and who is stopping begins nothing.
        let may_begin = !self.storing && !self.stopping;
        let back_off = back_off.filter(|_| may_begin);
        let models = self.models.wake_at().filter(|_| may_begin);
        let trainings = self.trainings.wake_at().filter(|_| may_begin);
        let samples = self.samples.iter();
        let predictions = samples.filter_map(|samples| samples.predictions.wake_at()).min();
        [back_off, publish, resting, models, trainings, predictions]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether every dataset's durable rows are back, every model's versions are known, and every folder was looked at.
    pub fn is_ready(&self) -> bool {
        let mut datasets = self.datasets.iter();
        let mut samples = self.samples.iter();
        datasets.all(|dataset| dataset.recovery == Recovery::Done && dataset.files.listed())
            && samples.all(|samples| samples.recovery == Recovery::Done && samples.files.listed())
            && self.models.is_ready()
    }

    /// Whether no work is out.
    pub fn is_idle(&self) -> bool {
        let mut samples = self.samples.iter();
        let all_kept = !samples.any(|samples| samples.predictions.is_unkept());
        let all_back = self.idle_fit_workers == self.fit_workers && self.idle_predictors == PREDICTORS;
        !self.storing && !self.writing && all_back && all_kept
    }

    fn dataset(&mut self, name: &DatasetName) -> Option<&mut DatasetState> {
        self.datasets.iter_mut().find(|dataset| dataset.name() == name)
    }

    #[cfg(test)]
    pub(super) fn samples_of(&self, name: &str) -> &SampleState {
        let found = self.samples.iter().find(|samples| **samples.name() == *name);
        found.expect("a dataset of samples")
    }

    fn samples(&mut self, name: &DatasetName) -> Option<&mut SampleState> {
        self.samples.iter_mut().find(|samples| samples.name() == name)
    }

    /// The files of a dataset, whatever its kind.
    fn files(&mut self, name: &DatasetName) -> Option<&mut Files> {
        let series = self.datasets.iter_mut().find(|dataset| dataset.name() == name);
        let samples = self.samples.iter_mut().find(|samples| samples.name() == name);
        series
            .map(|dataset| &mut dataset.files)
            .or(samples.map(|samples| &mut samples.files))
    }

    fn files_ready(&self) -> bool {
        let series = self.datasets.iter().map(|dataset| &dataset.files);
        let mut all = series.chain(self.samples.iter().map(|samples| &samples.files));
        all.any(|files| files.ready() > 0)
    }

    fn ingested(&mut self, report: IngestReport, now: Timestamp) {
        self.storing = false;
        let IngestReport { file, outcome } = report;
        if let Outcome::Deferred { .. } = &outcome {
            let wait = self
                .back_off
                .map_or(FIRST_BACK_OFF, |rest| (rest.wait * 2).min(LONGEST_BACK_OFF));
            self.back_off = Some(BackOff {
                until: now.after(wait),
                wait,
            });
        } else {
            self.back_off = None;
        }
        // A dataset that is about to be read back gets these rows with the others, and in their order.
        match &outcome {
            Outcome::Committed { fresh, .. } => {
                let dataset = self.dataset(&file.dataset);
                if let Some(dataset) = dataset.filter(|dataset| dataset.recovery == Recovery::Done) {
                    dataset.extend(fresh, now);
                    self.unpublished = true;
                }
            }
            Outcome::Sampled { fresh, .. } => {
                let samples = self.samples(&file.dataset);
                if let Some(samples) = samples.filter(|samples| samples.recovery == Recovery::Done) {
                    samples.extend(fresh.iter().cloned());
                    self.unpublished = true;
                }
            }
            _ => {}
        }
        let Some(files) = self.files(&file.dataset) else {
            return;
        };
        match outcome {
            Outcome::Deferred { .. } => files.put_back(file),
            Outcome::Withdrawn => {}
            _ => files.settle(file),
        }
    }

    fn reconfigure(&mut self, config: &Config, now: Timestamp) {
        let mut before: HashMap<DatasetName, DatasetState> = self
            .datasets
            .drain(..)
            .map(|dataset| (DatasetName::clone(dataset.name()), dataset))
            .collect();
        for dataset in &config.datasets {
            let wanted = Arc::new(dataset.clone());
            self.epochs += 1;
            let epoch = Epoch(self.epochs);
            let mut state = before
                .remove(&dataset.name)
                .unwrap_or_else(|| DatasetState::new(Arc::clone(&wanted), epoch));
            state.reconfigure(wanted, epoch, now);
            self.datasets.push(state);
        }
        let mut before = std::mem::take(&mut self.samples);
        for dataset in &config.samples {
            self.epochs += 1;
            let known = before.iter().position(|state| *state.name() == dataset.name);
            let known = known.map(|place| before.swap_remove(place));
            let config = Arc::new(dataset.clone());
            self.samples
                .push(SampleState::reconfigured(known, config, Epoch(self.epochs)));
        }
        self.models.reconfigure(&config.models);
        self.name_networks(now);
        self.trainings.reconfigure(config);
        self.unpublished = true;
    }

    /// Tells datasets of series which version of their model is active.
    fn name_networks(&mut self, now: Timestamp) {
        for dataset in &mut self.datasets {
            let model = dataset.config().network.clone();
            let active = model.and_then(|model| self.models.active_and_shadow(&model)[0]);
            dataset.version_is(active, now);
        }
    }

    fn plan(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        self.samples
            .iter_mut()
            .for_each(|samples| samples.predictions.wake(now));
        self.plan_keeping(commands);
        if !self.stopping {
            self.plan_models(now, commands);
            self.plan_recovery(commands);
            self.plan_trainings(now, commands);
            self.plan_ingest(now, commands);
            self.plan_fits(now, commands);
            self.plan_predictions(commands);
        }
        self.plan_publication(now, commands);
        self.plan_files(now, commands);
    }

    /// Before all else: a file of predictions is in its place, and a crash now would have all of it done again.
    fn plan_keeping(&mut self, commands: &mut Vec<Command>) {
        if self.storing {
            return;
        }
        let unkept = self.samples.iter_mut().find_map(|samples| {
            let predictions = samples.predictions.take_unkept()?;
            Some((DatasetName::clone(samples.name()), samples.epoch(), predictions))
        });
        if let Some((name, epoch, predictions)) = unkept {
            commands.push(Command::KeepPredictions(name, epoch, predictions));
            self.storing = true;
        }
    }

    fn plan_predictions(&mut self, commands: &mut Vec<Command>) {
        for index in self.predict_turn.order(self.samples.len()) {
            if self.idle_predictors > 0
                && let Some(job) = self.samples[index].take_predict_job(&self.models)
            {
                commands.push(Command::Predict(Box::new(job)));
                self.idle_predictors -= 1;
                self.predict_turn = Turn(index);
            }
        }
    }

    /// Before drops: there is seldom anything to do, and somebody may be waiting for it.
    fn plan_models(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        let samples = &self.samples;
        let worth = |version: &ModelVersion| {
            let of_model = |state: &&SampleState| state.config().model.as_ref() == Some(&version.model);
            let known = samples.iter().filter(of_model);
            let known = known.filter_map(|state| state.predictions.worth(version));
            known.max_by_key(|(_, scored)| *scored)
        };
        if !self.storing
            && let Some(job) = self.models.take_job(&self.trainings.models(), worth, now)
        {
            commands.push(Command::Models(job));
            self.storing = true;
        }
    }

    /// Books before drops: there is seldom anything to enter. What the room does meanwhile keeps nobody waiting.
    fn plan_trainings(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        commands.extend(self.trainings.take_cancelled().map(Command::CancelTraining));
        let models = &self.models;
        let run = self.trainings.take_run(|model| models.versions(model));
        commands.extend(run.map(|run| Command::Train(Box::new(run))));
        if self.storing {
            return;
        }
        let samples = &self.samples;
        let known = |model: &ModelName, dataset: &SampleDataset| {
            let state = samples.iter().find(|state| *state.name() == dataset.name);
            let state = state.filter(|state| state.recovery == Recovery::Done && state.files.ready() == 0);
            let [active, _] = models.active_and_shadow(model);
            Known {
                index: state.map(SampleState::index),
                versions: models.versions(model),
                live: state.and_then(|state| state.predictions.worth(active?)),
            }
        };
        let before = self.trainings.view();
        if let Some(job) = self.trainings.take_job(known, now) {
            commands.push(Command::Models(job));
            self.storing = true;
        }
        self.unpublished |= self.trainings.view() != before;
    }

    fn trained(&mut self, report: &ModelReport, now: Timestamp) {
        self.trainings.told(report.trainings.clone());
        match &report.done {
            ModelDone::AskedToTrain(model) => self.trainings.asked(model),
            ModelDone::Training(note, result) => self.trainings.entered(note, result, now),
            _ => {}
        }
    }

    fn plan_recovery(&mut self, commands: &mut Vec<Command>) {
        if self.storing {
            return;
        }
        let mut series = self.datasets.iter_mut();
        let mut samples = self.samples.iter_mut();
        if let Some(dataset) = series.find(|dataset| dataset.recovery == Recovery::Wanted) {
            dataset.recovery = Recovery::Running;
            commands.push(Command::Recover(DatasetName::clone(dataset.name()), dataset.epoch()));
            self.storing = true;
        } else if let Some(samples) = samples.find(|samples| samples.recovery == Recovery::Wanted) {
            samples.recovery = Recovery::Running;
            let name = DatasetName::clone(samples.name());
            commands.push(Command::RecoverSamples(name, samples.epoch()));
            self.storing = true;
        }
    }

    fn plan_ingest(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if self.storing || self.back_off.is_some_and(|rest| now < rest.until) {
            return;
        }
        let series = self.datasets.len();
        for index in self.ingest_turn.order(series + self.samples.len()) {
            if index >= series {
                let samples = &mut self.samples[index - series];
                if samples.recovery == Recovery::Done
                    && let Some(file) = samples.files.take()
                {
                    commands.push(Command::IngestSamples(file, Arc::clone(samples.config())));
                    self.storing = true;
                    self.ingest_turn = Turn(index);
                    return;
                }
                continue;
            }
            let dataset = &mut self.datasets[index];
            if dataset.recovery == Recovery::Done
                && let Some(file) = dataset.files.take()
            {
                commands.push(Command::Ingest(file, Arc::clone(dataset.config()), dataset.reach()));
                self.storing = true;
                self.ingest_turn = Turn(index);
                return;
            }
        }
    }

    /// Every idle worker gets its share of what is due: under load the batches grow and no queue does.
    fn plan_fits(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        for index in self.fit_turn.order(self.datasets.len()) {
            let dataset = &mut self.datasets[index];
            if self.idle_fit_workers > 0
                && let Some(job) = dataset.take_pool_job()
            {
                commands.push(Command::Fit(FitWork::Pool(job)));
                self.idle_fit_workers -= 1;
            }
            while self.idle_fit_workers > 0 && dataset.ready(now) > 0 {
                let share = dataset.ready(now).div_ceil(self.idle_fit_workers);
                if let Some(job) = dataset.take_batch(share.min(BATCH_CHANNELS), now) {
                    commands.push(Command::Fit(FitWork::Fit(job)));
                    self.idle_fit_workers -= 1;
                    self.fit_turn = Turn(index);
                }
            }
        }
    }

    fn plan_files(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        for index in self.write_turn.order(self.datasets.len()) {
            let dataset = &mut self.datasets[index];
            if !self.writing
                && let Some(batch) = dataset.take_unwritten(now)
            {
                commands.push(Command::WriteForecasts(batch, Arc::clone(dataset.config())));
                self.writing = true;
                self.write_turn = Turn(index);
            }
        }
    }

    fn plan_publication(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        let rested = self.published_at.is_none_or(|at| now >= at.after(PUBLISH_INTERVAL));
        if !self.unpublished || !rested {
            return;
        }
        self.generation += 1;
        self.unpublished = false;
        self.published_at = Some(now);
        let datasets = self.datasets.iter().map(DatasetState::view).collect();
        commands.push(Command::Publish(Snapshot {
            generation: self.generation,
            datasets,
            samples: self.samples.iter().map(|samples| samples.view(&self.models)).collect(),
            models: self.models.view(),
            trainings: self.trainings.view(),
        }));
    }
}

/// Whose turn it is, so that no dataset starves another: the search begins behind the one that was served last.
#[derive(Clone, Copy, Debug, Default)]
struct Turn(usize);

impl Turn {
    fn order(self, datasets: usize) -> impl Iterator<Item = usize> {
        (self.0 + 1..self.0 + 1 + datasets).map(move |index| index % datasets)
    }
}
