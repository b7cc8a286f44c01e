//! Every rule of predictions as a table or a short story.

use std::num::NonZeroUsize;
use std::path::Path;

use forecastd_config::Config;
use forecastd_models::dasha::{BandSums, LiveMetric, Metric, Split};

use super::*;
use crate::artifact_fixture::Artifact;
use crate::message::account::RowAccount;
use crate::message::ingest_report::{IngestReport, Outcome};
use crate::message::landed_file::{Fingerprint, LandedFile, Listing};
use crate::message::model::{ModelDone, ModelFacts, ModelReport, ModelState};
use crate::message::prediction::PredictReport;
use crate::message::sample::{ComparedMask, ComparedMasks, MaskLabel};
use crate::message::snapshot::Snapshot;
use crate::planner::{Command, Event, Planner};

const SECOND: Duration = Duration::from_secs(1);

fn key(number: u8) -> ContentKey {
    ContentKey([number; 32])
}

fn version(number: u8, state: ModelState) -> ModelVersion {
    ModelVersion {
        model: "m".into(),
        version: key(number),
        state,
        since: Timestamp(0),
        reason: String::new(),
        imported: Timestamp(0),
        promotion: None,
        folder: "/models".into(),
        facts: Arc::new(ModelFacts {
            bytes: 1,
            metric: Metric::Accuracy,
            validation: None,
            test: None,
            data: String::new(),
            description: Artifact::scoring(0.5).description,
        }),
    }
}

/// The same, chosen by its mean IoU.
fn by_mean_iou(version: ModelVersion) -> ModelVersion {
    let facts = ModelFacts {
        metric: Metric::MeanIou,
        ..(*version.facts).clone()
    };
    ModelVersion {
        facts: Arc::new(facts),
        ..version
    }
}

fn class(text: &str) -> Label {
    Label::Class(text.to_owned())
}

/// A sample of this drop: its id, its row, its label, whether its elements were there before.
fn entry(sequence: i64, (id, row, label, same_elements): (&str, u32, Option<&str>, bool)) -> SampleEntry {
    SampleEntry {
        id: id.into(),
        place: SamplePlace { sequence, row },
        split: Split::Train,
        label: label.map(class),
        taken: Default::default(),
        same_elements,
        compared: Vec::new(),
    }
}

/// A planner with the dataset `t`, whose samples are for the model `m`, and what it asked of the rooms.
struct Story {
    planner: Planner,
    now: Timestamp,
    asked: Vec<Command>,
    epoch: Epoch,
}

impl Story {
    fn new(versions: &[ModelVersion]) -> Self {
        Self::after_a_restart(versions, vec![], vec![])
    }

    fn after_a_restart(versions: &[ModelVersion], samples: Vec<SampleEntry>, kept: Vec<KeptPrediction>) -> Self {
        let text = "state_dir: /s
datasets: [{ name: t, kind: tiles, incoming: /in/t, model: m, samples: { id: i, image: x, label: y, shape: [1, 2, 2] } }]
models: [{ name: m, incoming: /in/m, promotion: { to: candidate } }]
";
        let mut story = Self {
            planner: Planner::new(NonZeroUsize::MIN),
            now: Timestamp(0),
            asked: Vec::new(),
            epoch: Epoch(0),
        };
        let config = Config::parse(text, Path::new("/")).expect("a good file");
        story.tell(Event::Reconfigured(Arc::new(config)));
        story.models(versions);
        story.epoch = story
            .asked
            .iter()
            .find_map(|command| match command {
                Command::RecoverSamples(_, epoch) => Some(*epoch),
                _ => None,
            })
            .expect("it is read back");
        let epoch = story.epoch;
        story.tell(Event::SamplesRecovered("t".into(), epoch, samples));
        assert!(story.jobs().is_empty(), "nothing is asked before all is known");
        story.tell(Event::PredictionsRecovered("t".into(), epoch, kept));
        story.tell(Event::RecoveryFinished("t".into(), epoch));
        story
    }

    fn tell(&mut self, event: Event) {
        self.asked.extend(self.planner.apply(event, self.now));
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.tell(Event::Woken);
    }

    fn models(&mut self, versions: &[ModelVersion]) {
        self.tell(Event::Models(ModelReport {
            done: ModelDone::Recovered,
            versions: versions.to_vec(),
            trainings: Vec::new(),
        }));
    }

    /// Samples of a drop were committed.
    fn commit(&mut self, sequence: i64, samples: &[(&str, u32, Option<&str>, bool)]) {
        let entries = samples.iter().map(|sample| entry(sequence, *sample));
        self.commit_entries(sequence, entries.collect());
    }

    fn commit_entries(&mut self, sequence: i64, fresh: Vec<SampleEntry>) {
        let file = LandedFile {
            dataset: "t".into(),
            path: "/in/t/a.parquet".into(),
            fingerprint: Fingerprint {
                device: 1,
                inode: sequence as u64,
                size: 1,
                modified: 0,
                changed: 0,
            },
        };
        let account = RowAccount::default();
        let outcome = Outcome::Sampled { account, fresh };
        self.tell(Event::Ingested(IngestReport { file, outcome }));
    }

    /// The jobs that were given out since the last look.
    fn jobs(&mut self) -> Vec<PredictJob> {
        let (jobs, others) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|command| matches!(command, Command::Predict(_)));
        self.asked = others;
        let jobs: Vec<Command> = jobs;
        jobs.into_iter()
            .filter_map(|command| match command {
                Command::Predict(job) => Some(*job),
                _ => None,
            })
            .collect()
    }

    /// The only one: its version, drop and rows.
    fn job(&mut self) -> PredictJob {
        let mut jobs = self.jobs();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.remove(0)
    }

    fn report(&mut self, outcome: PredictOutcome) {
        let dataset = "t".into();
        let epoch = self.epoch;
        self.tell(Event::Predicted(PredictReport {
            dataset,
            epoch,
            outcome,
        }));
    }

    fn fail(&mut self, job: &PredictJob, fault: PredictFault) {
        self.report(PredictOutcome::Failed {
            version: job.active.version,
            fault,
            detail: "because".to_owned(),
        });
    }

    /// The file of a job is written: of each row its id, and what active and shadow said.
    fn said(&mut self, job: &PredictJob, said: &[(&str, Option<&str>, Option<&str>)]) {
        let said = said.iter().zip(&job.rows).map(|((id, label, shadow), row)| Said {
            id: (*id).into(),
            row: *row,
            content: [0; 32],
            label: label.map(class),
            probability: None,
            shadow: shadow.map(class),
            agreement: label
                .zip(*shadow)
                .map(|(label, shadow)| f64::from(u8::from(label == shadow))),
            mask: None,
            shadow_mask: None,
        });
        self.report(PredictOutcome::Predicted(Arc::new(Predictions {
            version: job.active.version,
            shadow: job.shadow.as_ref().map(|shadow| shadow.version),
            said: said.collect(),
            refused: BTreeMap::new(),
            shadow_fault: None,
            bands: BandSums::default(),
        })));
    }

    /// How often the state was asked to keep something since the last look.
    fn keeps(&mut self) -> usize {
        let before = self.asked.len();
        self.asked
            .retain(|command| !matches!(command, Command::KeepPredictions(..)));
        before - self.asked.len()
    }

    fn keep(&mut self) {
        assert_eq!(self.keeps(), 1, "one thing to keep");
        let epoch = self.epoch;
        self.tell(Event::PredictionsKept("t".into(), epoch, Ok(ComparedMasks::new())));
    }

    fn view(&mut self) -> PredictionView {
        self.wait(SECOND);
        let published = self.asked.iter().rev().find_map(|command| match command {
            Command::Publish(snapshot) => Some(snapshot),
            _ => None,
        });
        let snapshot: &Snapshot = published.expect("published");
        snapshot.samples[0].predictions.clone().expect("it has a model")
    }

    fn accuracy(&mut self, number: u8) -> Option<(u64, f64)> {
        let view = self.view();
        let live = view.live.iter().find(|live| live.version == key(number))?;
        let (metric, value) = live.value?;
        assert_eq!(metric, LiveMetric::Accuracy);
        Some((live.scored, value))
    }
}

const NO_LABEL: Option<&str> = None;

#[test]
fn samples_without_a_label_wait_for_an_active_version_and_are_predicted_drop_by_drop() {
    let mut story = Story::new(&[version(1, ModelState::Candidate)]);
    story.commit(
        5,
        &[
            ("a", 0, NO_LABEL, false),
            ("b", 1, Some("x"), false),
            ("c", 2, NO_LABEL, false),
        ],
    );
    story.commit(6, &[("d", 0, NO_LABEL, false)]);
    assert!(story.jobs().is_empty());
    assert_eq!(story.view().waiting, 3);
    story.models(&[version(1, ModelState::Active)]);
    let job = story.job();
    assert_eq!((job.active.version, job.sequence, &*job.rows), (key(1), 5, &[0, 2][..]));
    story.wait(SECOND);
    assert!(story.jobs().is_empty(), "one drop at a time");
    story.said(&job, &[("a", Some("x"), None), ("c", Some("y"), None)]);
    assert!(story.jobs().is_empty(), "it is to be kept first");
    story.keep();
    let job = story.job();
    assert_eq!((job.sequence, &*job.rows), (6, &[0][..]));
    story.said(&job, &[("d", Some("x"), None)]);
    story.keep();
    assert!(story.jobs().is_empty());
    let view = story.view();
    assert_eq!(view.waiting, 0);
    assert_eq!(view.classes, BTreeMap::from([("x".into(), 2), ("y".into(), 1)]));
    assert!(story.planner.is_idle());
}

#[test]
fn what_a_version_said_stands_and_another_one_predicts_what_comes_after() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(1, &[("a", 0, NO_LABEL, false)]);
    let job = story.job();
    story.models(&[version(1, ModelState::Retired), version(2, ModelState::Active)]);
    story.said(&job, &[("a", Some("x"), None)]);
    story.keep();
    assert!(story.jobs().is_empty(), "not predicted again");
    story.commit(2, &[("b", 0, NO_LABEL, false)]);
    assert_eq!(story.job().active.version, key(2));
}

#[test]
fn a_mask_that_comes_later_is_worth_what_the_state_found_of_both_versions() {
    let [active, shadow] = [(1, ModelState::Active), (2, ModelState::Shadow)];
    let mut story = Story::new(&[active, shadow].map(|(number, state)| by_mean_iou(version(number, state))));
    story.commit(1, &[("a", 0, NO_LABEL, false), ("b", 1, NO_LABEL, false)]);
    let job = story.job();
    let names = ["land", "road"].map(str::to_owned);
    let mask = |mask: &[u8]| Label::Mask(MaskLabel::of(mask, &names).expect("it has no other class"));
    let said = ["a", "b"].iter().zip(&job.rows).map(|(id, row)| Said {
        id: (*id).into(),
        row: *row,
        content: [0; 32],
        label: Some(mask(&[0, 0, 0, 1])),
        probability: None,
        shadow: Some(mask(&[0, 0, 0, 0])),
        agreement: Some(0.75),
        mask: None,
        shadow_mask: None,
    });
    story.report(PredictOutcome::Predicted(Arc::new(Predictions {
        version: key(1),
        shadow: Some(key(2)),
        said: said.collect(),
        refused: BTreeMap::new(),
        shadow_fault: None,
        bands: BandSums::default(),
    })));
    story.keep();
    let view = story.view();
    assert_eq!(
        view.classes,
        BTreeMap::from([("land".into(), 2), ("road".into(), 2)]),
        "in samples"
    );
    assert_eq!(
        view.shares,
        [("land".into(), 0.75), ("road".into(), 0.25)],
        "of positions"
    );
    let agreement = view.agreement.expect("both have said something");
    assert_eq!((agreement.compared(), agreement.share()), (2, Some(0.75)));

    let names: Arc<[String]> = ["land", "road"].map(str::to_owned).into();
    let by = |version, pairs: &[(u8, u8, u32)]| ComparedMask {
        version: key(version),
        said: Arc::clone(&names),
        truth: Arc::clone(&names),
        pairs: pairs.into(),
    };
    let truth = SampleEntry {
        label: Some(mask(&[0, 0, 1, 1])),
        compared: vec![
            by(1, &[(0, 0, 2), (0, 1, 1), (1, 1, 1)]),
            by(2, &[(0, 0, 2), (0, 1, 2)]),
        ],
        ..entry(2, ("a", 0, NO_LABEL, true))
    };
    for _ in 0..2 {
        story.commit_entries(2, vec![truth.clone()]);
    }
    let live = story.view().live;
    let found: Vec<_> = live.iter().map(|live| (live.scored, live.value)).collect();
    let mean_iou = |value| (1, Some((LiveMetric::MeanIou, value)));
    // Of land 2 of 3 positions, of road 1 of 2; then of land 2 of 4, and nothing of road.
    let expected = [mean_iou((2.0 / 3.0 + 1.0 / 2.0) / 2.0), mean_iou(0.25)];
    for (found, expected) in found.iter().zip(expected) {
        let near = found
            .1
            .zip(expected.1)
            .map(|(found, expected)| (found.0 == expected.0, (found.1 - expected.1).abs() < 1e-9));
        assert_eq!(
            (found.0, near),
            (expected.0, Some((true, true))),
            "{found:?} {expected:?}"
        );
    }
    let predictions = &story.planner.samples_of("t").predictions;
    let worth = predictions.worth(&by_mean_iou(version(1, ModelState::Active)));
    assert!(
        worth.is_some_and(|(worth, scored)| (worth - 7.0 / 12.0).abs() < 1e-9 && scored == 1),
        "{worth:?}"
    );
}

#[test]
fn a_mask_that_overtakes_what_is_said_of_its_sample_is_worth_what_the_state_found() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(1, &[("a", 0, NO_LABEL, false), ("b", 1, NO_LABEL, false)]);
    let job = story.job();
    let names = ["land".to_owned()];
    let mask = MaskLabel::of(&[0, 0], &names).expect("it has no other class");
    let truth = SampleEntry {
        label: Some(Label::Mask(mask)),
        ..entry(2, ("a", 0, NO_LABEL, true))
    };
    story.commit_entries(2, vec![truth]);
    story.said(&job, &[("a", None, None), ("b", None, None)]);
    assert_eq!(story.keeps(), 1);
    let of_sample = ComparedMask {
        version: key(1),
        said: ["land".to_owned()].into(),
        truth: ["land".to_owned()].into(),
        pairs: Box::new([(0, 0, 2)]),
    };
    let compared = ComparedMasks::from([("a".into(), vec![of_sample])]);
    let epoch = story.epoch;
    story.tell(Event::PredictionsKept("t".into(), epoch, Ok(compared)));
    let live = story.view().live;
    assert_eq!((live[0].scored, live[0].value), (1, Some((LiveMetric::MeanIou, 1.0))));
}

#[test]
fn a_label_that_comes_later_is_held_against_what_was_said_by_both_versions() {
    let mut story = Story::new(&[version(1, ModelState::Active), version(2, ModelState::Shadow)]);
    story.commit(
        1,
        &[
            ("a", 0, NO_LABEL, false),
            ("b", 1, NO_LABEL, false),
            ("c", 2, NO_LABEL, false),
        ],
    );
    let job = story.job();
    assert_eq!(job.shadow.as_ref().map(|shadow| shadow.version), Some(key(2)));
    story.said(
        &job,
        &[
            ("a", Some("x"), Some("x")),
            ("b", Some("x"), Some("y")),
            ("c", Some("y"), None),
        ],
    );
    story.keep();
    let agreement = story.view().agreement.expect("both have said something");
    assert_eq!(agreement.compared(), 2);
    story.commit(2, &[("a", 0, Some("x"), true), ("b", 1, Some("y"), true)]);
    let [active, shadow] = [1, 2].map(|number| story.accuracy(number).expect("scored"));
    assert_eq!((active.0, shadow.0), (2, 2));
    assert!(
        (active.1 - 0.5).abs() < 1e-2 && shadow.1 == 1.0,
        "{active:?} {shadow:?}"
    );
    assert_eq!(
        story.view().classes,
        BTreeMap::from([("y".into(), 1)]),
        "of those without a label"
    );
    story.commit(3, &[("a", 0, Some("y"), true)]);
    assert_eq!(story.accuracy(1).map(|(scored, _)| scored), Some(2), "each once");
    let samples = &story.planner.samples_of("t").predictions;
    let (worth, scored) = samples.worth(&version(1, ModelState::Active)).expect("by accuracy");
    assert!((worth - 0.5).abs() < 1e-2 && scored == 2, "{worth}");
    story.commit(4, &[("c", 0, Some("y"), true)]);
    assert_eq!(
        story.accuracy(2).map(|(scored, _)| scored),
        Some(2),
        "the shadow had not spoken"
    );
    story.models(&[version(3, ModelState::Active)]);
    assert!(story.view().live.is_empty());
}

#[test]
fn other_elements_are_another_sample_and_their_label_scores_nothing() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(
        1,
        &[
            ("a", 0, NO_LABEL, false),
            ("b", 1, NO_LABEL, false),
            ("c", 2, NO_LABEL, false),
        ],
    );
    let job = story.job();
    story.said(
        &job,
        &[("a", Some("x"), None), ("b", Some("x"), None), ("c", Some("x"), None)],
    );
    story.keep();
    story.commit(
        2,
        &[
            ("a", 0, Some("x"), false),
            ("b", 1, NO_LABEL, false),
            ("c", 2, NO_LABEL, true),
        ],
    );
    assert_eq!(story.accuracy(1), None);
    let job = story.job();
    assert_eq!((job.sequence, &*job.rows), (2, &[1][..]), "of c only the split is new");
}

#[test]
fn what_comes_while_a_drop_is_predicted_is_not_mixed_up_with_it() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    let drop = ["a", "b", "c", "d"].map(|id| (id, u32::from(id.as_bytes()[0] - b'a'), NO_LABEL, false));
    story.commit(1, &drop);
    let job = story.job();
    // A label for the same elements, other elements, the same elements in another split, and a label for other elements.
    story.commit(
        2,
        &[
            ("a", 0, Some("x"), true),
            ("b", 1, NO_LABEL, false),
            ("c", 2, NO_LABEL, true),
            ("d", 3, Some("x"), false),
        ],
    );
    story.said(&job, &["a", "b", "c", "d"].map(|id| (id, Some("x"), None)));
    story.keep();
    assert_eq!(story.accuracy(1), Some((1, 1.0)));
    assert_eq!(story.view().classes, BTreeMap::from([("x".into(), 1)]), "c alone");
    let job = story.job();
    assert_eq!((job.sequence, &*job.rows), (2, &[1][..]));
}

#[test]
fn after_a_restart_only_what_was_not_kept_is_predicted_and_labels_still_find_what_was_said() {
    let samples = vec![
        entry(1, ("a", 0, NO_LABEL, false)),
        entry(1, ("b", 1, NO_LABEL, false)),
        entry(1, ("c", 2, Some("y"), false)),
        entry(2, ("d", 0, NO_LABEL, false)),
    ];
    let kept = |id: &str| KeptPrediction {
        id: id.into(),
        version: key(1),
        label: Some(class("x")),
        shadow: None,
    };
    let versions = [version(1, ModelState::Active)];
    let mut story = Story::after_a_restart(&versions, samples, vec![kept("a"), kept("c"), kept("gone")]);
    let job = story.job();
    assert_eq!((job.sequence, &*job.rows), (1, &[1][..]));
    assert_eq!(story.view().classes, BTreeMap::from([("x".into(), 1)]));
    story.commit(3, &[("a", 0, Some("x"), true)]);
    assert_eq!(story.accuracy(1), Some((1, 1.0)));
}

#[test]
fn a_drop_that_fails_again_and_again_lets_the_others_go_first() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    for sequence in [1, 2, 3] {
        story.commit(
            sequence,
            &[(["a", "b", "c"][sequence as usize - 1], 0, NO_LABEL, false)],
        );
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        let job = story.job();
        order.push(job.sequence);
        if job.sequence == 1 {
            story.fail(&job, PredictFault::Deadline);
            story.wait(SECOND * 60);
        } else {
            story.said(&job, &[("x", Some("x"), None)]);
            story.keep();
        }
    }
    assert_eq!(order, [1, 1, 1, 2, 3, 1], "and has its turn after them");
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(1, &[("a", 0, NO_LABEL, false)]);
    story.commit(2, &[("b", 0, NO_LABEL, false)]);
    for _ in 0..5 {
        let job = story.job();
        assert_eq!(job.sequence, 1, "overload says nothing of a drop");
        story.fail(&job, PredictFault::Overload);
        story.wait(SECOND * 60);
    }
}

#[test]
fn a_drop_that_fails_is_tried_again_after_a_growing_rest() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(1, &[("a", 0, NO_LABEL, false)]);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let job = story.job();
        story.fail(&job, PredictFault::Overload);
        story.wait(SECOND * seconds - Duration::from_millis(1));
        assert!(story.jobs().is_empty(), "{seconds} s");
        assert!(story.planner.wake_at().is_some_and(|at| at <= story.now.after(SECOND)));
        story.wait(Duration::from_millis(1));
    }
    let job = story.job();
    story.said(&job, &[("a", Some("x"), None)]);
    story.keep();
    story.commit(2, &[("b", 0, NO_LABEL, false)]);
    let job = story.job();
    story.fail(&job, PredictFault::Unavailable);
    story.wait(SECOND);
    story.job();
}

#[test]
fn a_version_that_takes_other_samples_is_not_asked_again_but_another_one_is() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(1, &[("a", 0, NO_LABEL, false)]);
    let job = story.job();
    story.fail(&job, PredictFault::Mismatch);
    story.wait(SECOND * 1000);
    assert!(story.jobs().is_empty());
    assert_eq!(story.planner.wake_at(), None);
    let view = story.view();
    assert_eq!((view.held.as_deref(), view.waiting), (Some("because"), 1));
    story.models(&[version(2, ModelState::Active)]);
    assert_eq!(story.job().active.version, key(2));
    assert_eq!(story.view().held, None);
}

#[test]
fn a_drop_whose_segment_is_damaged_does_not_hold_up_the_others() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(1, &[("a", 0, NO_LABEL, false)]);
    story.commit(2, &[("b", 0, NO_LABEL, false)]);
    let job = story.job();
    story.fail(&job, PredictFault::Damaged);
    assert_eq!(story.job().sequence, 2);
    assert_eq!(story.view().waiting, 1);
}

#[test]
fn what_was_said_is_kept_even_if_the_state_must_be_asked_twice_or_the_daemon_is_stopping() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(1, &[("a", 0, NO_LABEL, false)]);
    story.commit(2, &[("b", 0, NO_LABEL, false)]);
    let job = story.job();
    story.said(&job, &[("a", Some("x"), None)]);
    assert_eq!(story.keeps(), 1);
    story.tell(Event::Stopping);
    let full = || Err("no space left".to_owned());
    let epoch = story.epoch;
    story.tell(Event::PredictionsKept("t".into(), epoch, full()));
    assert_eq!(story.keeps(), 0);
    assert!(!story.planner.is_idle(), "it is still to be kept");
    story.wait(SECOND);
    story.keep();
    assert!(story.planner.is_idle());
    assert!(story.jobs().is_empty(), "no new work");
}

#[test]
fn what_is_kept_comes_before_drops_that_wait_and_what_is_of_an_earlier_life_is_dropped() {
    let mut story = Story::new(&[version(1, ModelState::Active)]);
    story.commit(1, &[("a", 0, NO_LABEL, false)]);
    let job = story.job();
    let mut landed = Vec::new();
    for inode in [1, 2] {
        landed.push(LandedFile {
            dataset: "t".into(),
            path: format!("/in/t/{inode}.parquet").into(),
            fingerprint: Fingerprint {
                device: 1,
                inode,
                size: 1,
                modified: 0,
                changed: 0,
            },
        });
    }
    let first = landed[0].clone();
    story.tell(Event::Listed(Listing {
        dataset: "t".into(),
        landed,
        waiting: 0,
        ignored: 0,
    }));
    story.said(&job, &[("a", Some("x"), None)]);
    assert_eq!(story.keeps(), 0, "the ingest thread is at work");
    let outcome = Outcome::Finished;
    story.tell(Event::Ingested(IngestReport { file: first, outcome }));
    let ingests = |story: &Story| {
        let ingests = story
            .asked
            .iter()
            .filter(|asked| matches!(asked, Command::IngestSamples(..)));
        ingests.count()
    };
    assert_eq!(ingests(&story), 1);
    story.tell(Event::PredictionsKept("t".into(), Epoch(99), Ok(ComparedMasks::new())));
    assert_eq!(story.keeps(), 1);
}
