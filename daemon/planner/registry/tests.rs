//! Every rule of the registry as a table or a short story.

use std::path::Path;

use forecastd_config::{Landing, Promotion};
use forecastd_models::dasha::{
    Architecture, Backbone, CellFormat, ElementType, Extras, InputShape, Metric, ModelDescription, Normalisation,
    Scaling, Task,
};

use super::*;
use crate::message::content_key::ContentKey;
use crate::message::landed_file::{Fingerprint, LandedFile};
use crate::message::model::ModelFacts;

const DAY: Duration = Duration::from_secs(86_400);

fn model(to: PromoteTo, margin: f64) -> Model {
    Model {
        name: "m".into(),
        incoming: "/in".into(),
        done: "/in/done".into(),
        quarantine: "/in/quarantine".into(),
        landing: Landing {
            scan_interval: DAY,
            settle: DAY,
            patience: DAY,
        },
        promotion: Promotion { to, margin },
        retention: Retention {
            versions: 10,
            age: None,
        },
        training: None,
    }
}

fn facts(score: f64) -> ModelFacts {
    let backbone = Backbone::ResNet { width: 2 };
    ModelFacts {
        bytes: 10,
        metric: Metric::Accuracy,
        validation: Some(score),
        test: None,
        data: "d".to_owned(),
        description: ModelDescription {
            format: 1,
            architecture: Architecture {
                pattern: backbone.plain_pattern(),
                backbone,
                input: InputShape {
                    bands: 1,
                    size: vec![16],
                },
                task: Task::Classify,
                outputs: 2,
                extras: Extras::default(),
                forecasts: false,
            },
            element: ElementType::F32,
            cells: CellFormat::default(),
            both_strands: false,
            scaling: Scaling {
                inputs: Normalisation::identity(1),
                targets: None,
            },
            labels: vec!["no".to_owned(), "yes".to_owned()],
            weights_hash: String::new(),
            series: None,
        },
    }
}

/// The version with this number, in a state since so many days after the epoch.
fn version(number: u8, state: ModelState, day: u32, promotion: Option<i64>, score: f64) -> ModelVersion {
    let since = Timestamp(0).after(DAY * day);
    ModelVersion {
        model: "m".into(),
        version: ContentKey([number; 32]),
        state,
        since,
        reason: String::new(),
        imported: since,
        promotion,
        folder: "/models".into(),
        facts: Arc::new(facts(score)),
    }
}

fn report(done: ModelDone, versions: &[ModelVersion]) -> ModelReport {
    ModelReport {
        done,
        versions: versions.to_vec(),
        trainings: Vec::new(),
    }
}

/// A registry of this model whose versions are known.
fn registry(model: Model, versions: &[ModelVersion]) -> Registry {
    let mut registry = Registry::default();
    registry.reconfigure(&[model]);
    assert!(matches!(
        registry.take_job(&[], |_| None, Timestamp(0)),
        Some(ModelJob::Recover)
    ));
    assert!(
        registry.take_job(&[], |_| None, Timestamp(0)).is_none(),
        "one look at a time"
    );
    registry.done(report(ModelDone::Recovered, versions), Timestamp(0));
    registry
}

fn change(registry: &mut Registry, day: u32) -> Option<ModelChange> {
    match registry.take_job(&[], |_| None, Timestamp(0).after(DAY * day))? {
        ModelJob::Change(change) => Some(change),
        other => panic!("a change was expected: {other:?}"),
    }
}

fn file(name: &str) -> LandedFile {
    LandedFile {
        dataset: "m".into(),
        path: Path::new("/in").join(name),
        fingerprint: Fingerprint {
            device: 1,
            inode: 2,
            size: 3,
            modified: 4,
            changed: 5,
        },
    }
}

fn list(registry: &mut Registry, names: &[&str]) {
    registry.list(Listing {
        dataset: "m".into(),
        landed: names.iter().map(|name| file(name)).collect(),
        waiting: 0,
        ignored: 0,
    });
}

#[test]
fn a_candidate_is_judged_by_the_margin_and_goes_where_the_configuration_says() {
    use ModelState::{Active, Candidate};
    let key = ContentKey([2; 32]);
    let table = [
        (PromoteTo::Active, 0.0, Some(0.8), 0.9, Some(ModelAct::Promote(key))),
        (PromoteTo::Active, 0.2, Some(0.8), 0.9, Some(ModelAct::Refuse(key))),
        (PromoteTo::Active, 0.0, Some(0.9), 0.9, Some(ModelAct::Refuse(key))),
        (PromoteTo::Active, 0.5, None, 0.1, Some(ModelAct::Promote(key))),
        (PromoteTo::Shadow, 0.0, Some(0.8), 0.9, Some(ModelAct::Shadow(key))),
        (PromoteTo::Shadow, 0.0, Some(0.8), 0.7, Some(ModelAct::Refuse(key))),
        (PromoteTo::Shadow, 0.0, None, 0.1, Some(ModelAct::Promote(key))),
        (PromoteTo::Candidate, 0.0, Some(0.8), 0.9, None),
    ];
    for (to, margin, active, score, expected) in table {
        let active = active.map(|score| version(1, Active, 0, Some(1), score));
        let versions: Vec<_> = active
            .into_iter()
            .chain([version(2, Candidate, 1, None, score)])
            .collect();
        let mut registry = registry(model(to, margin), &versions);
        let change = change(&mut registry, 2);
        assert_eq!(
            change.as_ref().map(|change| change.act),
            expected,
            "{to:?} {margin} {score}"
        );
        let told = change.is_none_or(|change| change.reason.contains(&format!("accuracy {score:.4}")));
        assert!(told, "the reason has its figures");
    }
}

#[test]
fn a_candidate_is_held_against_what_the_active_version_proved_to_be_worth() {
    use ModelState::{Active, Candidate};
    let key = ContentKey([2; 32]);
    let (promote, refuse) = (ModelAct::Promote(key), ModelAct::Refuse(key));
    for (live, expected) in [
        (None, refuse),
        (Some((0.75, 49)), refuse),
        (Some((0.75, 50)), promote),
        (Some((0.88, 500)), refuse),
    ] {
        let versions = [
            version(1, Active, 0, Some(1), 0.9),
            version(2, Candidate, 1, None, 0.87),
        ];
        let mut registry = registry(model(PromoteTo::Active, 0.0), &versions);
        let worth = |version: &ModelVersion| live.filter(|_| version.state == Active);
        let job = registry.take_job(&[], worth, Timestamp(0).after(DAY * 2));
        let Some(ModelJob::Change(change)) = job else {
            panic!("a verdict was expected: {job:?}")
        };
        assert_eq!(change.act, expected, "{live:?}: {}", change.reason);
    }
}

#[test]
fn versions_go_by_age_and_by_count_but_never_those_that_somebody_needs() {
    use ModelState::{Active, Candidate, Refused, Retired, Shadow};
    let versions = [
        version(1, Retired, 1, None, 0.1),
        version(2, Refused, 2, None, 0.1),
        version(3, Retired, 3, Some(1), 0.1),
        version(4, Shadow, 0, None, 0.1),
        version(5, Active, 0, Some(2), 0.1),
        version(6, Candidate, 4, None, 0.1),
    ];
    let removed = |retention: Retention, day: u32| {
        let mut left = versions.to_vec();
        let mut gone = Vec::new();
        let now = Timestamp(0).after(DAY * day);
        while let Some((version, _)) = expired(&left, &retention, |_| false, now) {
            let key = version.version;
            gone.push(key.0[0]);
            left.retain(|version| version.version != key);
        }
        gone
    };
    let keep = |versions, days: Option<u32>| Retention {
        versions,
        age: days.map(|days| DAY * days),
    };
    let table = [
        (keep(10, None), 1000, vec![]),
        (keep(3, None), 10, vec![]),
        (keep(1, None), 10, vec![1, 2]),
        (keep(0, None), 10, vec![1, 2, 6]),
        (keep(10, Some(2)), 2, vec![]),
        (keep(10, Some(2)), 4, vec![1, 2]),
        (keep(10, Some(1)), 1000, vec![1, 2, 6]),
    ];
    for (retention, day, expected) in table {
        assert_eq!(removed(retention, day), expected, "{retention:?} on day {day}");
    }
}

#[test]
fn a_rollback_goes_back_along_the_promotions_that_stand() {
    use ModelState::{Active, Removed, Retired};
    let number = |versions: &[ModelVersion]| rollback_target(versions).map(|version| version.version.0[0]);
    let active = version(9, Active, 0, Some(4), 0.1);
    let table = [
        (vec![], None),
        (vec![version(1, Retired, 0, Some(1), 0.1)], Some(1)),
        (
            vec![
                version(1, Retired, 0, Some(1), 0.1),
                version(2, Retired, 0, Some(3), 0.1),
            ],
            Some(2),
        ),
        (
            vec![version(1, Retired, 0, Some(1), 0.1), version(2, Removed, 0, None, 0.1)],
            Some(1),
        ),
        (
            vec![version(1, Retired, 0, Some(1), 0.1), version(2, Retired, 9, None, 0.1)],
            Some(1),
        ),
    ];
    for (mut versions, expected) in table {
        assert_eq!(number(&versions), None, "nothing is active");
        versions.push(active.clone());
        assert_eq!(number(&versions), expected);
    }
}

#[test]
fn what_was_asked_for_comes_first_then_verdicts_then_what_was_dropped() {
    let candidate = version(1, ModelState::Candidate, 0, None, 0.5);
    let mut registry = registry(model(PromoteTo::Active, 0.0), &[candidate]);
    list(&mut registry, &["a"]);
    registry.asked(vec!["/requests/x".into()]);
    let request = registry.take_job(&[], |_| None, Timestamp(0));
    assert!(
        matches!(&request, Some(ModelJob::Answer(path, _)) if path.ends_with("x")),
        "{request:?}"
    );
    let promoted = change(&mut registry, 0).expect("a verdict");
    let active = version(1, ModelState::Active, 0, Some(1), 0.5);
    registry.done(report(ModelDone::Changed(promoted, Ok(())), &[active]), Timestamp(0));
    let import = registry.take_job(&[], |_| None, Timestamp(0));
    assert!(
        matches!(&import, Some(ModelJob::Import(file, _)) if file.path.ends_with("a")),
        "{import:?}"
    );
    assert!(registry.take_job(&[], |_| None, Timestamp(0)).is_none());
}

#[test]
fn an_artifact_that_was_dealt_with_is_not_taken_again_and_one_put_off_is_after_a_rest() {
    let mut registry = registry(model(PromoteTo::Active, 0.0), &[]);
    list(&mut registry, &["a"]);
    let take = |registry: &mut Registry, second: u64| match registry.take_job(
        &[],
        |_| None,
        Timestamp(0).after(Duration::from_secs(second)),
    ) {
        Some(ModelJob::Import(file, _)) => Some(file),
        _ => None,
    };
    let deferred = || ImportOutcome::Deferred {
        error: "the disk is full".to_owned(),
    };
    for (second, rest) in [(0, 1), (10, 2), (20, 4)] {
        let file = take(&mut registry, second).expect("it is taken");
        let now = Timestamp(0).after(Duration::from_secs(second));
        registry.done(report(ModelDone::Imported(file, deferred()), &[]), now);
        assert_eq!(take(&mut registry, second + rest - 1), None);
        assert_eq!(registry.wake_at(), Some(now.after(Duration::from_secs(rest))));
    }
    let file = take(&mut registry, 30).expect("again");
    let imported = ImportOutcome::Duplicate(ContentKey([1; 32]));
    registry.done(report(ModelDone::Imported(file, imported), &[]), Timestamp(0));
    list(&mut registry, &["a"]);
    assert_eq!(
        (take(&mut registry, 40), registry.wake_at()),
        (None, None),
        "it is only still shown"
    );
}

#[test]
fn a_rest_that_is_over_wakes_nobody_and_still_doubles_the_next() {
    let mut registry = registry(model(PromoteTo::Active, 0.0), &[]);
    let at = |second| Timestamp(0).after(Duration::from_secs(second));
    let put_off = |registry: &mut Registry, second| {
        list(registry, &["a"]);
        let Some(ModelJob::Import(file, _)) = registry.take_job(&[], |_| None, at(second)) else {
            panic!("it is taken")
        };
        let error = "the disk is full".to_owned();
        registry.done(
            report(ModelDone::Imported(file, ImportOutcome::Deferred { error }), &[]),
            at(second),
        );
        list(registry, &[]);
    };
    put_off(&mut registry, 0);
    assert_eq!(registry.wake_at(), Some(at(1)));
    assert!(registry.take_job(&[], |_| None, at(1)).is_none(), "it was withdrawn");
    assert_eq!(registry.wake_at(), None);
    put_off(&mut registry, 9);
    assert_eq!(registry.wake_at(), Some(at(11)));
}

#[test]
fn a_reload_keeps_what_is_known_of_a_model_and_looks_again() {
    let active = version(1, ModelState::Active, 0, Some(1), 0.5);
    let mut registry = registry(model(PromoteTo::Active, 0.0), std::slice::from_ref(&active));
    assert!(!registry.is_ready(), "its folder was not looked at");
    list(&mut registry, &[]);
    assert!(registry.is_ready());
    registry.reconfigure(&[model(PromoteTo::Candidate, 0.5)]);
    let view = registry.view();
    assert_eq!(view[0].active(), Some(&active), "readers see no gap");
    assert!(matches!(
        registry.take_job(&[], |_| None, Timestamp(0)),
        Some(ModelJob::Recover)
    ));
    registry.reconfigure(&[]);
    assert!(
        registry.is_ready() && registry.view().is_empty() && registry.take_job(&[], |_| None, Timestamp(0)).is_none()
    );
}

/// How it stands when these versions are held, and those cannot be served.
fn stands(held: &[u8], refused: &[u8]) -> ServingReport {
    let name = |number: &u8| ("m".into(), ContentKey([*number; 32]));
    ServingReport {
        held: held.iter().map(name).collect(),
        refused: refused.iter().map(|number| (name(number), "torn".to_owned())).collect(),
    }
}

#[test]
fn an_active_version_that_cannot_be_served_gives_way_to_the_one_before_it() {
    let versions = [
        version(1, ModelState::Retired, 0, Some(1), 0.8),
        version(2, ModelState::Active, 1, Some(2), 0.9),
    ];
    let mut registry = registry(model(PromoteTo::Active, 0.0), &versions);
    assert_eq!(change(&mut registry, 2), None);
    registry.serving(stands(&[1, 2], &[2]));
    let change = change(&mut registry, 2).expect("a rollback");
    assert_eq!(
        (change.act, change.reason.as_str()),
        (ModelAct::Rollback, "it cannot be served: torn")
    );
}

#[test]
fn a_shadow_that_cannot_be_served_is_refused_and_an_active_version_with_none_before_it_stays() {
    let versions = [
        version(1, ModelState::Active, 0, Some(1), 0.8),
        version(2, ModelState::Shadow, 1, None, 0.9),
    ];
    let mut registry = registry(model(PromoteTo::Shadow, 0.0), &versions);
    registry.serving(stands(&[], &[1, 2]));
    let act = change(&mut registry, 2).expect("the shadow goes").act;
    assert_eq!(act, ModelAct::Refuse(ContentKey([2; 32])));
    registry.done(report(ModelDone::Recovered, &versions[..1]), Timestamp(0));
    assert_eq!(change(&mut registry, 2), None);
}

#[test]
fn an_active_version_that_cannot_be_served_is_no_rival_of_a_candidate() {
    let versions = [
        version(1, ModelState::Active, 0, Some(1), 0.9),
        version(2, ModelState::Candidate, 1, None, 0.8),
    ];
    let mut registry = registry(model(PromoteTo::Active, 0.0), &versions);
    registry.serving(stands(&[], &[1]));
    let act = change(&mut registry, 2).expect("a verdict").act;
    assert_eq!(act, ModelAct::Promote(ContentKey([2; 32])));
}

#[test]
fn retention_waits_for_what_is_still_served() {
    let versions = [
        version(1, ModelState::Refused, 0, None, 0.7),
        version(2, ModelState::Active, 1, Some(2), 0.9),
    ];
    let mut model = model(PromoteTo::Active, 0.0);
    model.retention.versions = 0;
    let mut registry = registry(model, &versions);
    registry.serving(stands(&[1, 2], &[]));
    assert_eq!(change(&mut registry, 2), None);
    registry.serving(stands(&[2], &[]));
    let act = change(&mut registry, 2).expect("nobody reads it any more").act;
    let version = ContentKey([1; 32]);
    assert_eq!(act, ModelAct::Remove { version, force: false });
}
