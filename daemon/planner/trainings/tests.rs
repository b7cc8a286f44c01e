//! Whose turn it is, and what a restart, a reload and a full disk do.

use std::path::Path;

use forecastd_models::dasha::Split;

use super::*;
use crate::message::content_key::ContentKey;
use crate::message::fit_job::Epoch;
use crate::message::sample::{Label, SampleEntry, SamplePlace};
use crate::message::training::{TrainingEnd, TrainingPlan, TrainingReason};
use crate::planner::samples::SampleState;

fn config(models: &[&str]) -> Config {
    let mut text = "state_dir: /s\ndatasets:\n".to_owned();
    for model in models {
        text += &format!(
            "  - {{ name: {model}, kind: tiles, incoming: /in/{model}, model: {model}, samples: {{ id: i, image: x, \
             label: y, shape: [1, 8, 8] }} }}\n"
        );
    }
    text += "models:\n";
    for model in models {
        text += &format!("  - {{ name: {model}, incoming: /m/{model}, train: {{ first: 10, threads: 3 }} }}\n");
    }
    Config::parse(&text, Path::new("/")).unwrap_or_else(|errors| panic!("{errors}"))
}

const NOW: Timestamp = Timestamp(1_000_000_000_000);

/// Trainings of these models, each with twenty labelled samples, and the books.
struct Story {
    trainings: Trainings,
    samples: Vec<SampleState>,
    books: Vec<Training>,
    now: Timestamp,
    /// Whether drops wait.
    busy: bool,
}

impl Story {
    fn new(models: &[&str]) -> Self {
        let config = config(models);
        let mut trainings = Trainings::default();
        trainings.reconfigure(&config);
        let samples = config.samples.iter().map(|dataset| {
            let mut state = SampleState::reconfigured(None, Arc::new(dataset.clone()), Epoch(1));
            state.extend((0..20).map(|row| SampleEntry {
                id: row.to_string().into(),
                place: SamplePlace { sequence: 4, row },
                split: if row < 14 { Split::Train } else { Split::Validation },
                label: Some(Label::Class((row % 2).to_string())),
                taken: Default::default(),
                same_elements: false,
                compared: Vec::new(),
            }));
            state
        });
        Self {
            samples: samples.collect(),
            trainings,
            books: Vec::new(),
            now: NOW,
            busy: false,
        }
    }

    fn job(&mut self) -> Option<ModelJob> {
        let (samples, busy) = (&self.samples, self.busy);
        let known = |_: &ModelName, dataset: &SampleDataset| {
            let state = samples.iter().find(|state| *state.name() == dataset.name);
            Known {
                index: state.filter(|_| !busy).map(SampleState::index),
                versions: &[],
                live: None,
            }
        };
        self.trainings.take_job(known, self.now)
    }

    /// Carries a job of the books out, as the one who writes them does, and tells what stands there.
    fn enter(&mut self, job: ModelJob) {
        let (training, result) = match job {
            ModelJob::BeginTraining(plan) => {
                self.books.push(Training {
                    id: self.books.len() as i64 + 1,
                    plan: plan.clone(),
                    begun: self.now,
                    end: None,
                });
                return self.tell(&TrainingNote::Begun(plan), &Ok(()));
            }
            ModelJob::ImportTrained(training, ..) => (training, Ok(ContentKey([1; 32]))),
            ModelJob::EndTraining(training, failure) => (training, Err(failure)),
            other => panic!("{other:?}"),
        };
        let entry = self
            .books
            .iter_mut()
            .find(|known| known.id == training.id)
            .expect("it was begun");
        entry.end = Some(TrainingEnd { time: self.now, result });
        let note = TrainingNote::Ended(entry.clone());
        self.tell(&note, &Ok(()));
    }

    fn tell(&mut self, note: &TrainingNote, result: &Result<(), String>) {
        self.trainings.told(self.books.clone());
        self.trainings.entered(note, result, self.now);
    }

    fn run(&mut self) -> Option<TrainJob> {
        self.trainings.take_run(|_| &[])
    }

    /// The model whose training is entered next.
    fn begin(&mut self) -> String {
        let job = self.job().expect("one is due");
        let ModelJob::BeginTraining(TrainingPlan { model, .. }) = &job else {
            panic!("{job:?}")
        };
        let model = model.to_string();
        self.enter(job);
        model
    }

    fn done(&mut self, id: i64, result: Result<&str, TrainingFault>) {
        let detail = "so it is".to_owned();
        let result = result
            .map(Into::into)
            .map_err(|fault| TrainingFailure { fault, detail });
        self.trainings.done(TrainReport { id, result });
    }
}

#[test]
fn one_trains_at_a_time_and_the_others_come_after_it() {
    let mut story = Story::new(&["a", "b"]);
    assert!(story.job().is_none(), "the books are not known yet");
    story.trainings.told(Vec::new());
    story.busy = true;
    assert!(story.job().is_none(), "drops wait that may bring more");
    story.busy = false;
    let first = story.begin();
    let run = story.run().expect("it is to be run");
    assert_eq!((run.id, &*run.model, run.through), (1, &*first, 4));
    assert_eq!(run.threads.map(std::num::NonZeroUsize::get), Some(3));
    assert_eq!(run.job.budget.seconds, Some(1800.0));
    assert!(story.run().is_none() && story.job().is_none(), "one at a time");
    assert!(
        story
            .trainings
            .view()
            .iter()
            .all(|view| view.under_way.is_some() == (*view.model == *first))
    );

    story.done(1, Ok("/run/artifact"));
    assert!(story.run().is_none(), "it is not in the books yet");
    let import = story.job().expect("it is to be imported");
    assert!(matches!(&import, ModelJob::ImportTrained(_, folder, _) if folder.ends_with("artifact")));
    story.enter(import);
    let second = story.begin();
    assert_ne!(first, second, "whoever was trained last comes last");
    let succeeded: Vec<bool> = story
        .trainings
        .view()
        .iter()
        .map(|view| view.succeeded.is_some())
        .collect();
    assert_eq!(succeeded.iter().filter(|succeeded| **succeeded).count(), 1);
}

#[test]
fn a_training_that_is_open_after_a_restart_goes_on() {
    let mut before = Story::new(&["a"]);
    before.trainings.told(Vec::new());
    before.begin();
    let mut after = Story::new(&["a"]);
    assert!(after.run().is_none());
    after.trainings.told(before.books.clone());
    assert!(after.job().is_none(), "it is begun already");
    assert_eq!(after.run().map(|run| run.id), Some(1));
}

#[test]
fn a_failure_is_entered_and_waited_off_and_what_cannot_be_entered_is_tried_again() {
    let mut story = Story::new(&["a"]);
    story.trainings.told(Vec::new());
    let begin = story.job().expect("due");
    let ModelJob::BeginTraining(plan) = begin else {
        panic!("{begin:?}")
    };
    story.tell(&TrainingNote::Begun(plan), &Err("the disk is full".to_owned()));
    assert!(story.job().is_none());
    let wake = story.trainings.wake_at().expect("later");
    assert_eq!(wake, NOW.after(REST));
    story.now = wake;
    story.busy = true;
    assert!(story.job().is_none());
    assert_eq!(story.trainings.wake_at(), None, "what has passed wakes nobody");
    story.busy = false;
    story.begin();
    story.run().expect("to be run");
    story.done(1, Err(TrainingFault::Died));
    let end = story.job().expect("its end");
    assert!(matches!(&end, ModelJob::EndTraining(_, failure) if failure.fault == TrainingFault::Died));
    story.enter(end);
    assert!(story.job().is_none());
    assert_eq!(story.trainings.wake_at(), Some(wake.after(Duration::from_secs(60))));
    story.trainings.asked(&"a".into());
    story.begin();
    assert_eq!(story.books[1].plan.reason, TrainingReason::Asked);
    story.run().expect("to be run");
    story.done(2, Ok("/run/artifact"));
    let import = story.job().expect("its import");
    story.enter(import);
    assert!(story.job().is_none(), "what was asked for once is done once");
}

#[test]
fn a_model_that_is_trained_no_more_has_its_training_given_up() {
    let mut story = Story::new(&["a", "b"]);
    story.trainings.told(Vec::new());
    let first = story.begin();
    story.run().expect("to be run");
    assert_eq!(story.trainings.take_cancelled(), None);
    let other = if first == "a" { "b" } else { "a" };
    story.trainings.reconfigure(&config(&[other]));
    assert_eq!(story.trainings.take_cancelled(), Some(1));
    assert_eq!(story.trainings.take_cancelled(), None, "it is told once");
    assert!(story.job().is_none(), "its child may still be at work");
    story.done(1, Err(TrainingFault::Cancelled));
    let end = story.job().expect("its end");
    assert!(matches!(&end, ModelJob::EndTraining(_, failure) if failure.fault == TrainingFault::Cancelled));
    story.enter(end);
    assert_eq!(story.begin(), other);
}

#[test]
fn what_keeps_a_training_from_being_is_shown_until_other_samples_come() {
    let mut story = Story::new(&["a"]);
    story.trainings.told(Vec::new());
    let relabel = |split, class: fn(u32) -> u32| {
        (0..20).map(move |row| SampleEntry {
            id: row.to_string().into(),
            place: SamplePlace { sequence: 5, row },
            split,
            label: Some(Label::Class(class(row).to_string())),
            taken: Default::default(),
            same_elements: false,
            compared: Vec::new(),
        })
    };
    story.samples[0].extend(relabel(Split::Train, |_| 0));
    assert!(story.job().is_none());
    let obstacle = story.trainings.view()[0].obstacle;
    assert_eq!(obstacle, Some(TrainingObstacle::OneClass));
    story.samples[0].extend(relabel(Split::Validation, |row| row % 2).take(4));
    story.samples[0].extend(relabel(Split::Train, |row| row % 2).skip(4));
    story.begin();
    assert_eq!(story.trainings.view()[0].obstacle, None);
}
