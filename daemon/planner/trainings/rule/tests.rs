//! When a network is due: each rule as a line of a table.

use std::path::Path;
use std::sync::Arc;

use forecastd_config::Config as File;
use forecastd_models::dasha::{SPLIT_SEED, Split, is_cut};

use super::*;
use crate::artifact_fixture::Artifact;
use crate::message::content_key::ContentKey;
use crate::message::fit_job::Epoch;
use crate::message::model::ModelFacts;
use crate::message::sample::{Label, MaskLabel, SampleEntry, SamplePlace};
use crate::message::training::{TrainingEnd, TrainingFailure};
use crate::planner::samples::SampleState;

const SECOND: Duration = Duration::from_secs(1);
const DAY: u32 = 86_400;

/// So many seconds after the epoch.
fn at(seconds: u32) -> Timestamp {
    Timestamp(0).after(SECOND * seconds)
}

fn entry(sequence: i64, row: u32, split: Split, label: Label) -> SampleEntry {
    SampleEntry {
        id: format!("{sequence}-{row}").into(),
        place: SamplePlace { sequence, row },
        split,
        label: Some(label),
        taken: Default::default(),
        same_elements: false,
        compared: Vec::new(),
    }
}

/// A model with this policy, its samples and what was done with them.
struct Scene {
    file: File,
    state: SampleState,
    versions: Vec<ModelVersion>,
    books: Vec<Training>,
    live: Option<(f64, u64)>,
    asked: bool,
}

impl Scene {
    fn new(train: &str) -> Self {
        let text = format!(
            "state_dir: /s\ndatasets: [{{ name: a, kind: sequences, incoming: /in, model: m, samples: {{ id: i, \
             sequence: x, label: y, shape: [16], dtype: f32 }} }}]\nmodels: [{{ name: m, incoming: /m, train: {train} }}]\n"
        );
        let file = File::parse(&text, Path::new("/")).unwrap_or_else(|errors| panic!("{errors}"));
        let config = Arc::new(file.samples[0].clone());
        Self {
            state: SampleState::reconfigured(None, config, Epoch(1)),
            file,
            versions: Vec::new(),
            books: Vec::new(),
            live: None,
            asked: false,
        }
    }

    /// So many samples of two classes come with a drop: of five three are for training, one each for the others.
    fn drop(mut self, sequence: i64, samples: u32) -> Self {
        for row in 0..samples {
            let split = [Split::Train, Split::Train, Split::Train, Split::Validation, Split::Test][row as usize % 5];
            self.sample(sequence, row, split, ["no", "yes"][row as usize / 5 % 2]);
        }
        self
    }

    fn sample(&mut self, sequence: i64, row: u32, split: Split, class: &str) {
        let entry = entry(sequence, row, split, Label::Class(class.to_owned()));
        self.state.extend([entry]);
    }

    /// A training on the drops up to this one, which ended so many seconds after the epoch.
    fn trained(
        mut self,
        through: i64,
        labelled: u64,
        searched: u64,
        seconds: u32,
        fault: Option<TrainingFault>,
    ) -> Self {
        let result = match fault {
            None => Ok(ContentKey([1; 32])),
            Some(fault) => Err(TrainingFailure {
                fault,
                detail: String::new(),
            }),
        };
        self.books.push(Training {
            id: self.books.len() as i64 + 1,
            plan: TrainingPlan {
                model: "m".into(),
                dataset: "a".into(),
                reason: TrainingReason::First,
                words: String::new(),
                through,
                labelled,
                searches: true,
                searched,
            },
            begun: at(0),
            end: Some(TrainingEnd {
                time: at(seconds),
                result,
            }),
        });
        self
    }

    /// An active version with this score on validation.
    fn active(mut self, score: f64) -> Self {
        let description = Artifact::scoring(score).description;
        self.versions.push(ModelVersion {
            model: "m".into(),
            version: ContentKey([1; 32]),
            state: ModelState::Active,
            since: at(0),
            reason: String::new(),
            imported: at(0),
            promotion: Some(1),
            folder: "/models".into(),
            facts: Arc::new(ModelFacts {
                bytes: 1,
                metric: forecastd_models::dasha::Metric::Accuracy,
                validation: Some(score),
                test: None,
                data: String::new(),
                description,
            }),
        });
        self
    }

    fn lives(mut self, score: f64, samples: u64) -> Self {
        self.live = Some((score, samples));
        self
    }

    fn due(&self, seconds: u32) -> Due {
        let training = self.state.index().training_set(&self.file.samples[0].form);
        Facts {
            model: &"m".into(),
            config: self.file.models[0].training.as_ref().expect("it is trained"),
            dataset: &self.file.samples[0],
            index: self.state.index(),
            training: &training,
            versions: &self.versions,
            books: &self.books,
            live: self.live,
            asked: self.asked,
        }
        .due(at(seconds))
    }

    /// Why it is due.
    fn reason(&self, seconds: u32) -> Option<TrainingReason> {
        match self.due(seconds) {
            Due::Now(plan) => Some(plan.reason),
            _ => None,
        }
    }

    fn plan(&self) -> TrainingPlan {
        match self.due(10 * DAY) {
            Due::Now(plan) => plan,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_first_training_waits_for_enough_labels() {
    for (samples, reason) in [(0, None), (49, None), (50, Some(TrainingReason::First))] {
        assert_eq!(
            Scene::new("{ first: 50 }").drop(1, samples).reason(0),
            reason,
            "{samples}"
        );
    }
    let plan = Scene::new("{ first: 50 }").drop(3, 60).plan();
    assert_eq!(
        (plan.through, plan.labelled, plan.searched, plan.searches),
        (3, 60, 60, true)
    );
    assert_eq!(plan.words, "60 samples have a label to learn from, 50 were waited for");
}

#[test]
fn later_ones_wait_for_new_labels_a_schedule_or_a_fall() {
    let after = |train: &str, fresh: u32| {
        Scene::new(train)
            .drop(1, 60)
            .drop(2, fresh)
            .active(0.9)
            .trained(1, 60, 60, 5, None)
    };
    let labels = Some(TrainingReason::Labels);
    for (train, fresh, seconds, reason) in [
        ("{ again: 20 }", 0, 9 * DAY, None),
        ("{ again: 20 }", 19, 9 * DAY, None),
        ("{ again: 20 }", 20, 5, labels),
        ("{ again: never }", 500, 9 * DAY, None),
        ("{ again: never, every: 7d }", 0, 9 * DAY, None),
        ("{ again: never, every: 7d }", 1, 7 * DAY + 4, None),
        (
            "{ again: never, every: 7d }",
            1,
            7 * DAY + 5,
            Some(TrainingReason::Schedule),
        ),
    ] {
        assert_eq!(
            after(train, fresh).reason(seconds),
            reason,
            "{train}, {fresh} fresh, {seconds} s"
        );
    }
    let scheduled = after("{ again: never, every: 7d }", 1).due(10);
    assert_eq!(scheduled, Due::Later(at(7 * DAY + 5)));

    let accuracy = Some(TrainingReason::Accuracy);
    for (score, samples, fresh, reason) in [
        (0.84, 50, 1, accuracy),
        (0.86, 50, 1, None),
        (0.84, 49, 1, None),
        (0.10, 500, 0, None),
    ] {
        let scene = after("{ again: never }", fresh).lives(score, samples);
        assert_eq!(scene.reason(10), reason, "{score} of {samples}, {fresh} fresh");
    }
    let never = after("{ again: never, accuracy_drop: never }", 1).lives(0.1, 500);
    assert_eq!(never.reason(10), None);
}

#[test]
fn a_fall_that_a_training_did_not_mend_waits_for_more_than_a_few_labels() {
    let scene = |train: &str, fresh: u32, promoted: bool, reason: TrainingReason| {
        let mut scene = Scene::new(train)
            .drop(1, 60)
            .drop(2, fresh)
            .active(0.9)
            .trained(1, 60, 60, 5, None)
            .lives(0.5, 500);
        scene.books[0].plan.reason = reason;
        if !promoted {
            scene.versions[0].version = ContentKey([2; 32]);
        }
        scene
    };
    let accuracy = Some(TrainingReason::Accuracy);
    for (train, fresh, promoted, last, reason) in [
        ("{ again: never }", 1, true, TrainingReason::Accuracy, accuracy),
        ("{ again: never }", 1, false, TrainingReason::Labels, accuracy),
        ("{ again: never }", 49, false, TrainingReason::Accuracy, None),
        ("{ again: never }", 50, false, TrainingReason::Accuracy, accuracy),
        ("{ again: 100 }", 49, false, TrainingReason::Accuracy, None),
        ("{ again: 100 }", 50, false, TrainingReason::Accuracy, accuracy),
        ("{ again: 501 }", 100, false, TrainingReason::Accuracy, None),
        ("{ again: 501 }", 101, false, TrainingReason::Accuracy, accuracy),
        (
            "{ again: 20 }",
            20,
            false,
            TrainingReason::Accuracy,
            Some(TrainingReason::Labels),
        ),
    ] {
        let due = scene(train, fresh, promoted, last).reason(10);
        assert_eq!(
            due, reason,
            "{train}, {fresh} fresh, promoted {promoted}, last {last:?}"
        );
    }
}

#[test]
fn a_failure_is_waited_off_twice_as_long_each_time_and_an_end_by_wish_is_not() {
    let failed = |faults: &[TrainingFault]| {
        let scene = Scene::new("{ first: 50 }").drop(1, 50);
        faults
            .iter()
            .fold(scene, |scene, fault| scene.trained(1, 50, 50, 100, Some(*fault)))
    };
    let died = TrainingFault::Died;
    for (faults, seconds) in [(1, 60), (2, 120), (3, 240), (11, 61_440), (12, DAY), (400, DAY)] {
        let scene = failed(&vec![died; faults]);
        assert_eq!(scene.due(100), Due::Later(at(100 + seconds)), "{faults} failures");
        assert_eq!(scene.reason(100 + seconds), Some(TrainingReason::First));
    }
    assert_eq!(
        failed(&[TrainingFault::Cancelled]).reason(100),
        Some(TrainingReason::First)
    );
    let asked = Scene {
        asked: true,
        ..failed(&[died; 5])
    };
    assert_eq!(asked.reason(100), Some(TrainingReason::Asked));
}

#[test]
fn data_that_nothing_can_be_learnt_from_are_told_apart() {
    use Split::{Test, Train, Validation};
    let told = |samples: &[(Split, &str)], labels: &str| {
        let mut scene = Scene::new("{}");
        scene.asked = true;
        if !labels.is_empty() {
            scene.file.samples[0].form.labels = Some(labels.split(", ").map(str::to_owned).collect());
        }
        for (row, (split, class)) in (0..).zip(samples) {
            scene.sample(1, row, *split, class);
        }
        match scene.due(0) {
            Due::Cannot(obstacle) => Some(obstacle),
            Due::Now(_) => None,
            other => panic!("{other:?}"),
        }
    };
    let sound = [(Train, "a"), (Train, "b"), (Validation, "a"), (Validation, "b")];
    assert_eq!(told(&sound, ""), None);
    assert_eq!(told(&sound, "a, b, c"), None);
    for (samples, labels, obstacle) in [
        (&[][..], "", TrainingObstacle::NoTraining),
        (&[(Validation, "a"), (Test, "b")], "", TrainingObstacle::NoTraining),
        (
            &[(Train, "a"), (Train, "b"), (Test, "b")],
            "",
            TrainingObstacle::NoValidation,
        ),
        (
            &[(Train, "a"), (Train, "b"), (Validation, "c")],
            "",
            TrainingObstacle::NoValidation,
        ),
        (
            &[(Train, "a"), (Train, "a"), (Validation, "a")],
            "",
            TrainingObstacle::OneClass,
        ),
        (
            &[(Train, "a"), (Train, "b"), (Validation, "a")],
            "",
            TrainingObstacle::OneClass,
        ),
        (&sound, "a, c", TrainingObstacle::Labels),
        (&sound[..3], "a, c", TrainingObstacle::NoTraining), // nor would all labels do
    ] {
        assert_eq!(told(samples, labels), Some(obstacle), "{samples:?} {labels}");
    }
}

/// These are the only labels that the configuration allows from now on.
fn narrowed(mut scene: Scene, labels: &[&str]) -> Scene {
    scene.file.samples[0].form.labels = Some(labels.iter().map(|label| (*label).to_owned()).collect());
    scene
}

#[test]
fn only_labels_that_the_configuration_allows_are_counted() {
    let of_half = narrowed(Scene::new("{ first: 50 }").drop(1, 60), &["no", "maybe"]);
    assert_eq!(
        of_half.due(0),
        Due::Cannot(TrainingObstacle::Labels),
        "30 are left of 60"
    );
    assert_eq!(
        narrowed(Scene::new("{ first: 50 }").drop(1, 40), &["no"]).due(0),
        Due::Not
    );
    let enough = narrowed(Scene::new("{ first: 50 }").drop(1, 60), &["no", "yes", "maybe"]);
    assert_eq!(enough.plan().labelled, 60);

    let after = |fresh: &str, labels: &[&str]| {
        let mut scene = Scene::new("{ again: 20, search_growth: 2 }").drop(1, 60);
        (0..20).for_each(|row| scene.sample(2, row, Split::Train, fresh));
        narrowed(scene, labels).active(0.9).trained(1, 60, 60, 5, None).due(10)
    };
    assert!(matches!(after("no", &["no", "yes"]), Due::Now(plan) if plan.labelled == 80));
    assert_eq!(
        after("maybe", &["no", "yes"]),
        Due::Not,
        "a deliberate choice is no obstacle"
    );
    assert!(matches!(after("maybe", &["no", "yes", "maybe"]), Due::Now(_)));
}

#[test]
fn a_mask_counts_as_long_as_its_numbers_are_called_what_they_were() {
    let due = |labels: &[&str]| {
        let mut scene = Scene::new("{ first: 12 }");
        scene.file.samples[0].form.task = Task::Segment;
        let names = ["land", "road"].map(str::to_owned);
        for row in 0..12 {
            let mask = MaskLabel::of(&[row % 2, 1], &names).expect("it has no other class");
            let split = [Split::Train, Split::Validation][usize::from(row) / 6];
            scene.state.extend([entry(1, row.into(), split, Label::Mask(mask))]);
        }
        narrowed(scene, labels).due(0)
    };
    for labels in [&["land", "road"][..], &["land", "road", "water"]] {
        assert!(matches!(due(labels), Due::Now(_)), "{labels:?}");
    }
    for labels in [&["land", "street"][..], &["road", "land"], &["water", "land", "road"]] {
        assert_eq!(due(labels), Due::Cannot(TrainingObstacle::Labels), "{labels:?}");
    }
}

#[test]
fn validation_is_a_part_of_training_where_a_column_names_none() {
    let class = |row: u32| ["no", "yes"][row as usize % 2];
    let mut scene = Scene::new("{ first: 50 }");
    for row in 0..60 {
        let split = if row % 4 == 0 { Split::Test } else { Split::Train };
        scene.sample(1, row, split, class(row));
    }
    assert_eq!(scene.plan().labelled, 60);
    let mut few = Scene::new("{ first: 10 }");
    let stays = |row: &u32| !is_cut(SPLIT_SEED, format!("1-{row}").as_bytes());
    (0..60)
        .filter(stays)
        .for_each(|row| few.sample(1, row, Split::Train, class(row)));
    let due = few.due(0);
    assert_eq!(
        due,
        Due::Cannot(TrainingObstacle::NoValidation),
        "none of these is taken for it"
    );
}

#[test]
fn kernels_are_kept_until_the_data_have_grown() {
    let grown = |train: &str, fresh: u32| {
        let scene = Scene::new(train).drop(1, 60).drop(2, fresh).active(0.9);
        scene.trained(1, 60, 60, 5, None).plan()
    };
    let kept = grown("{ again: 20 }", 100);
    assert_eq!((kept.labelled, kept.searched, kept.searches), (160, 60, false));
    let anew = grown("{ again: 20 }", 180);
    assert_eq!((anew.labelled, anew.searched, anew.searches), (240, 240, true));
    assert!(grown("{ again: 20, search_growth: 1 }", 20).searches);
    assert!(
        grown("{ again: 20, backbone: unet }", 20).searches,
        "the active version has another frame"
    );
    assert!(!grown("{ again: 20, backbone: wide_resnet }", 20).searches);
    let without = Scene::new("{ again: 20 }")
        .drop(1, 60)
        .drop(2, 20)
        .trained(1, 60, 60, 5, None);
    assert!(without.plan().searches, "no version is active");
    let mut other = Scene::new("{ again: 20 }")
        .drop(1, 60)
        .drop(2, 20)
        .active(0.9)
        .trained(1, 60, 60, 5, None);
    other.file.samples[0].form.shape.bands = 2;
    assert!(other.plan().searches, "the active version is for other samples");
}
