//! What becomes of trainings in samples, and what comes and goes with a model and with a training.

use forecastd_models::Timestamp;

use super::*;
use crate::message::content_key::ContentKey;
use crate::message::model::ModelReport;
use crate::message::snapshot::Snapshot;
use crate::message::training::{Training, TrainingEnd, TrainingFailure, TrainingPlan, UnderWay};
use crate::publish::fixture::Stage;

fn configure(stage: &Stage, train: &str) {
    let text = format!(
        "state_dir: /s\ndatasets: [{{ name: a, kind: tiles, incoming: /in, model: m, samples: {{ id: i, image: x, \
         label: y, shape: [1, 8, 8] }} }}]\nmodels: [{{ name: m, incoming: /m, {train} }}]\n"
    );
    let config = forecastd_config::Config::parse(&text, std::path::Path::new("/")).expect("a good file");
    stage.metrics.models_configured(&config.models);
}

fn tell(stage: &Stage, note: TrainingNote, result: Result<(), String>) {
    stage.metrics.models(&ModelReport {
        done: ModelDone::Training(note, result),
        versions: Vec::new(),
        trainings: Vec::new(),
    });
}

fn plan() -> TrainingPlan {
    TrainingPlan {
        model: "m".into(),
        dataset: "a".into(),
        reason: TrainingReason::Labels,
        words: String::new(),
        through: 1,
        labelled: 10,
        searches: true,
        searched: 10,
    }
}

fn ended(fault: Option<TrainingFault>) -> TrainingNote {
    let failure = |fault| TrainingFailure {
        fault,
        detail: String::new(),
    };
    TrainingNote::Ended(Training {
        id: 1,
        plan: plan(),
        begun: Timestamp(0),
        end: Some(TrainingEnd {
            time: Timestamp(40_000_000_000),
            result: fault.map_or(Ok(ContentKey([1; 32])), |fault| Err(failure(fault))),
        }),
    })
}

fn publish(stage: &Stage, running: bool, obstacle: Option<TrainingObstacle>) {
    stage.metrics.published(&Snapshot {
        trainings: vec![TrainingView {
            model: "m".into(),
            under_way: running.then(|| UnderWay {
                begun: Timestamp(0),
                words: String::new(),
            }),
            obstacle,
            succeeded: Some(Timestamp(7_000_000_000)),
            failed: None,
        }],
        ..Snapshot::default()
    });
}

#[test]
fn beginnings_and_ends_are_counted_by_reason_once_they_are_in_the_books() {
    let stage = Stage::new(100);
    configure(&stage, "train: {}");
    let at = |name: &str, reason: &str| stage.samples()[&format!("{name}{{model=\"m\",reason=\"{reason}\"}}")];
    assert_eq!(at("forecastd_trainings_total", "first"), 0.0);
    assert_eq!(at("forecastd_training_failures_total", "no_child"), 0.0);
    tell(&stage, TrainingNote::Begun(plan()), Err("a full disk".to_owned()));
    tell(&stage, TrainingNote::Begun(plan()), Ok(()));
    tell(&stage, ended(Some(TrainingFault::Died)), Ok(()));
    tell(&stage, ended(None), Ok(()));
    assert_eq!(at("forecastd_trainings_total", "labels"), 1.0);
    assert_eq!(at("forecastd_training_failures_total", "died"), 1.0);
    let samples = stage.samples();
    assert_eq!(samples["forecastd_training_duration_seconds_sum"], 80.0);
    assert_eq!(samples["forecastd_training_duration_seconds_count"], 2.0);
}

#[test]
fn progress_is_shown_while_a_training_is_under_way() {
    let stage = Stage::new(100);
    configure(&stage, "train: {}");
    publish(&stage, true, None);
    stage.metrics.training(&TrainingProgress {
        model: "m".into(),
        stage: TrainingStage::Trials,
        done: 3,
        of: 12,
        best: Some(0.75),
        trials: 4,
        seconds_left: 90.0,
    });
    let shown = |name: &str| stage.samples().get(&format!("forecastd_training_{name}")).copied();
    let expected = [
        ("running{model=\"m\"}", 1.0),
        ("stage{model=\"m\",stage=\"trials\"}", 1.0),
        ("stage{model=\"m\",stage=\"search\"}", 0.0),
        ("stage_progress_ratio{model=\"m\"}", 0.25),
        ("best_score{model=\"m\"}", 0.75),
        ("trials{model=\"m\"}", 4.0),
        ("remaining_seconds{model=\"m\"}", 90.0),
        ("last_success_timestamp_seconds{model=\"m\"}", 7.0),
    ];
    for (name, value) in expected {
        assert_eq!(shown(name), Some(value), "{name}");
    }
    publish(&stage, false, Some(TrainingObstacle::OneClass));
    assert_eq!(shown("running{model=\"m\"}"), Some(0.0));
    assert_eq!(shown("blocked{model=\"m\",reason=\"one_class\"}"), Some(1.0));
    assert_eq!(shown("blocked{model=\"m\",reason=\"no_validation\"}"), Some(0.0));
    assert_eq!(shown("best_score{model=\"m\"}"), None);
}

#[test]
fn a_model_that_is_trained_no_more_takes_its_samples_with_it() {
    let stage = Stage::new(100);
    configure(&stage, "train: {}");
    publish(&stage, true, Some(TrainingObstacle::OneClass));
    configure(&stage, "promotion: { margin: 0 }");
    tell(&stage, TrainingNote::Begun(plan()), Ok(()));
    publish(&stage, true, None);
    let left: Vec<String> = stage
        .samples()
        .into_keys()
        .filter(|name| name.contains("training") && name.contains("model="))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
