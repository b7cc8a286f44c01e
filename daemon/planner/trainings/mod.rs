//! Trainings by the daemon itself: which model has its turn, what its room is told, what goes into the books.
//!
//! One at a time in the whole daemon, for each takes what the machine has to spare. What decides is in `rule`. The books
//! of the state know every training from before it begins until after it has ended, and nothing else is remembered: one
//! that is open after a restart goes on from its folder. A version that comes of it is a candidate like any other.

mod job;
mod rule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Config, Model, ModelName, SampleDataset};
use forecastd_models::Timestamp;

use self::job::job;
use self::rule::{Due, Facts, known_network};
use super::command::ModelJob;
use super::samples::SampleIndex;
use crate::message::model::{ModelState, ModelVersion};
use crate::message::training::{
    TrainJob, TrainReport, Training, TrainingFailure, TrainingFault, TrainingNote, TrainingObstacle, TrainingView,
    UnderWay,
};

/// Wait after something could not be entered into the books.
const REST: Duration = Duration::from_secs(30);

/// The models that are trained here.
#[derive(Clone, Debug, Default)]
pub struct Trainings {
    entries: Vec<Entry>,
    /// As they were last told: see [`ModelReport`](crate::message::model::ModelReport).
    books: Vec<Training>,
    /// Whether they were told at all.
    known: bool,
    /// The training that its room has.
    out: Option<i64>,
    /// Whether the room was told to give it up.
    cancelled: bool,
    /// What came of it, not in the books yet.
    report: Option<TrainReport>,
    /// Whether something is on its way into the books.
    entering: bool,
    rest: Option<Timestamp>,
    /// When the rule may say something else though nothing happens.
    later: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Entry {
    model: Arc<Model>,
    dataset: Arc<SampleDataset>,
    asked: bool,
    obstacle: Option<TrainingObstacle>,
}

/// What others know of the samples and versions of a model.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Of its dataset; `None` before all of them were told, and while drops wait that may bring more.
    pub index: Option<&'a SampleIndex>,
    /// Of the model.
    pub versions: &'a [ModelVersion],
    /// What predictions of the active version were worth whose labels came later, by the metric that it was chosen by,
    /// and how many these are.
    pub live: Option<(f64, u64)>,
}

impl Trainings {
    /// Takes over a new configuration.
    pub fn reconfigure(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.entries);
        for model in config.models.iter().filter(|model| model.training.is_some()) {
            let mut datasets = config.samples.iter();
            let Some(dataset) = datasets.find(|dataset| dataset.model.as_ref() == Some(&model.name)) else {
                continue;
            };
            let known = before.iter().position(|entry| entry.model.name == model.name);
            let known = known.map(|place| before.swap_remove(place));
            let asked = known.is_some_and(|entry| entry.asked);
            self.entries.push(Entry {
                model: Arc::new(model.clone()),
                dataset: Arc::new(dataset.clone()),
                asked,
                obstacle: None,
            });
        }
    }

    /// The models that are trained here.
    pub fn models(&self) -> Vec<ModelName> {
        let names = self.entries.iter().map(|entry| ModelName::clone(&entry.model.name));
        names.collect()
    }

    /// Somebody wants a training of this model.
    pub fn asked(&mut self, model: &ModelName) {
        if let Some(entry) = self.entry_mut(model) {
            entry.asked = true;
        }
    }

    /// The books as they stand.
    pub fn told(&mut self, books: Vec<Training>) {
        self.books = books;
        self.known = true;
    }

    /// Something was entered, or could not be.
    pub fn entered(&mut self, note: &TrainingNote, result: &Result<(), String>, now: Timestamp) {
        self.entering = false;
        self.rest = result.is_err().then(|| now.after(REST));
        if result.is_ok() && matches!(note, TrainingNote::Ended(_)) {
            self.report = None;
        }
    }

    /// The room has done what it had.
    pub fn done(&mut self, report: TrainReport) {
        if self.out == Some(report.id) {
            self.out = None;
            self.cancelled = false;
            self.report = Some(report);
        }
    }

    /// The training that the room is to give up, once.
    pub fn take_cancelled(&mut self) -> Option<i64> {
        let open = self.open().filter(|open| self.out == Some(open.id))?;
        if self.cancelled || self.entry(&open.plan.model).is_some() {
            return None;
        }
        self.cancelled = true;
        self.out
    }

    /// The training that the room is to begin with, or to go on with.
    pub fn take_run<'a>(&mut self, versions: impl Fn(&ModelName) -> &'a [ModelVersion]) -> Option<TrainJob> {
        if self.out.is_some() || self.report.is_some() {
            return None;
        }
        let open = self.open()?;
        let entry = self.entry(&open.plan.model)?;
        let config = entry.model.training.as_ref()?;
        let form = &entry.dataset.form;
        let versions = versions(&entry.model.name).iter();
        let active = versions.into_iter().find(|version| version.state == ModelState::Active);
        let network = active
            .filter(|_| !open.plan.searches)
            .and_then(|active| known_network(config, form, active));
        let run = TrainJob {
            id: open.id,
            model: ModelName::clone(&entry.model.name),
            dataset: Arc::clone(&entry.dataset),
            through: open.plan.through,
            job: job(config, form, network),
            threads: config.threads,
        };
        self.out = Some(run.id);
        Some(run)
    }

    /// What is to be entered into the books, if anything is.
    pub fn take_job<'a>(
        &mut self,
        known: impl Fn(&ModelName, &SampleDataset) -> Known<'a>,
        now: Timestamp,
    ) -> Option<ModelJob> {
        self.later = None;
        self.rest = self.rest.filter(|until| now < *until);
        if !self.known || self.entering || self.rest.is_some() {
            return None;
        }
        let job = match self.open().cloned() {
            Some(open) => self.ending(open)?,
            None => self.beginning(known, now)?,
        };
        self.entering = true;
        Some(job)
    }

    /// When [`take_job`](Self::take_job) may have something though nothing happens.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.rest.into_iter().chain(self.later).min()
    }

    /// For readers.
    pub fn view(&self) -> Vec<TrainingView> {
        let view = |entry: &Entry| {
            let model = &entry.model.name;
            let books = self.books.iter().filter(|training| training.plan.model == *model);
            let ends = books.clone().filter_map(|training| training.end.as_ref());
            let last = books
                .filter(|training| training.end.is_some())
                .max_by_key(|training| training.id);
            let last = last.and_then(|training| training.end.as_ref());
            let open = self.open().filter(|open| open.plan.model == *model);
            TrainingView {
                model: ModelName::clone(model),
                under_way: open.map(|open| UnderWay {
                    begun: open.begun,
                    words: open.plan.words.clone(),
                }),
                obstacle: entry.obstacle,
                succeeded: ends.filter(|end| end.result.is_ok()).map(|end| end.time).max(),
                failed: last.and_then(|end| Some((end.time, end.result.as_ref().err()?.clone()))),
            }
        };
        self.entries.iter().map(view).collect()
    }

    /// The end of the training that is under way, if it has come.
    fn ending(&self, open: Training) -> Option<ModelJob> {
        let entry = self.entry(&open.plan.model);
        match (&self.report, entry) {
            (Some(report), Some(entry)) if report.id == open.id => Some(match &report.result {
                Ok(folder) => ModelJob::ImportTrained(open, folder.clone(), Arc::clone(&entry.model)),
                Err(failure) => ModelJob::EndTraining(open, failure.clone()),
            }),
            (_, None) if self.out.is_none() => Some(ModelJob::EndTraining(
                open,
                TrainingFailure {
                    fault: TrainingFault::Cancelled,
                    detail: "the configuration does not train this model any more".to_owned(),
                },
            )),
            _ => None,
        }
    }

    /// The first model that is due; those behind the one that was trained last come before it.
    fn beginning<'a>(
        &mut self,
        known: impl Fn(&ModelName, &SampleDataset) -> Known<'a>,
        now: Timestamp,
    ) -> Option<ModelJob> {
        let newest = self.books.iter().max_by_key(|training| training.id);
        let last = newest.and_then(|last| self.place(&last.plan.model)).unwrap_or(0);
        let count = self.entries.len();
        for place in (last + 1..last + 1 + count).map(|place| place % count) {
            let entry = &mut self.entries[place];
            let (model, Some(config)) = (&entry.model.name, &entry.model.training) else {
                continue;
            };
            let Known { index, versions, live } = known(model, &entry.dataset);
            let Some(index) = index else { continue };
            let books: Vec<Training> = self
                .books
                .iter()
                .filter(|training| training.plan.model == *model)
                .cloned()
                .collect();
            let due = Facts {
                model,
                config,
                dataset: &entry.dataset,
                index,
                training: &index.training_set(&entry.dataset.form),
                versions,
                books: &books,
                live,
                asked: entry.asked,
            }
            .due(now);
            entry.obstacle = match due {
                Due::Cannot(obstacle) => Some(obstacle),
                _ => None,
            };
            match due {
                Due::Now(plan) => {
                    entry.asked = false;
                    return Some(ModelJob::BeginTraining(plan));
                }
                Due::Later(at) => self.later = Some(self.later.map_or(at, |before| before.min(at))),
                Due::Cannot(_) | Due::Not => {}
            }
        }
        None
    }

    fn open(&self) -> Option<&Training> {
        self.books.iter().find(|training| training.end.is_none())
    }

    fn place(&self, model: &ModelName) -> Option<usize> {
        self.entries.iter().position(|entry| entry.model.name == *model)
    }

    fn entry(&self, model: &ModelName) -> Option<&Entry> {
        self.place(model).map(|place| &self.entries[place])
    }

    fn entry_mut(&mut self, model: &ModelName) -> Option<&mut Entry> {
        self.place(model).map(|place| &mut self.entries[place])
    }
}
