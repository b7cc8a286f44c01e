//! What becomes of models in samples, and what comes and goes with a model.

use super::*;
use crate::message::content_key::ContentKey;
use crate::message::landed_file::{Fingerprint, LandedFile};
use crate::message::model::{ModelChange, ModelReport, ModelVersion};
use crate::message::rejected::Rejected;
use crate::message::snapshot::Snapshot;
use crate::publish::fixture::{Stage, model, version};

fn tell(stage: &Stage, done: ModelDone) {
    let versions = Vec::new();
    let trainings = Vec::new();
    stage.metrics.models(&ModelReport {
        done,
        versions,
        trainings,
    });
}

fn imported(model: &str, outcome: ImportOutcome) -> ModelDone {
    let fingerprint = Fingerprint {
        device: 1,
        inode: 2,
        size: 3,
        modified: 4,
        changed: 5,
    };
    let file = LandedFile {
        dataset: model.into(),
        path: "in/net".into(),
        fingerprint,
    };
    ModelDone::Imported(file, outcome)
}

fn publish(stage: &Stage, versions: &[ModelVersion]) {
    let view = ModelView {
        model: "m".into(),
        versions: versions.into(),
        margin: 0.0,
    };
    stage.metrics.published(&Snapshot {
        models: vec![view],
        ..Snapshot::default()
    });
}

#[test]
fn every_outcome_of_an_artifact_moves_its_own_counters_and_no_other() {
    let stage = Stage::new(100);
    stage.metrics.models_configured(&[model("m")]);
    let key = ContentKey([1; 32]);
    let rejected = Rejected::new(ArtifactFault::Sums, "flipped");
    let error = "no space left".to_owned();
    for outcome in [
        ImportOutcome::Imported(key),
        ImportOutcome::Duplicate(key),
        ImportOutcome::Rejected(rejected),
        ImportOutcome::Deferred { error },
        ImportOutcome::Withdrawn,
    ] {
        tell(&stage, imported("m", outcome));
    }
    tell(&stage, imported("gone", ImportOutcome::Imported(key)));
    let change = |act| ModelChange {
        model: "m".into(),
        act,
        reason: String::new(),
    };
    tell(&stage, ModelDone::Changed(change(ModelAct::Promote(key)), Ok(())));
    tell(
        &stage,
        ModelDone::Changed(change(ModelAct::Refuse(key)), Err("no".to_owned())),
    );
    let samples = stage.samples();
    for (name, value) in [
        ("drops_total{model=\"m\"}", 3.0),
        ("drops_duplicate_total{model=\"m\"}", 1.0),
        ("drops_rejected_total{model=\"m\",reason=\"sums\"}", 1.0),
        ("drops_rejected_total{model=\"m\",reason=\"weights\"}", 0.0),
        ("drops_deferred_total{model=\"m\"}", 1.0),
        ("changes_total{act=\"promote\",model=\"m\"}", 1.0),
        ("changes_total{act=\"refuse\",model=\"m\"}", 0.0),
    ] {
        assert_eq!(samples.get(&format!("forecastd_model_{name}")), Some(&value), "{name}");
    }
    assert!(
        samples.keys().all(|series| !series.contains("gone")),
        "it is no model of the configuration"
    );
}

#[test]
fn the_active_version_and_the_shadow_are_named_and_the_others_counted() {
    use ModelState::{Active, Refused, Retired, Shadow};
    let stage = Stage::new(100);
    stage.metrics.models_configured(&[model("m")]);
    let info = |stage: &Stage| -> Vec<String> {
        let samples = stage.samples().into_keys();
        samples.filter(|series| series.contains("version_info")).collect()
    };
    let named = |number: u8, state: &str| {
        let key = ContentKey([number; 32]);
        format!("forecastd_model_version_info{{model=\"m\",state=\"{state}\",version=\"{key}\"}}")
    };
    publish(&stage, &[version(1, Active), version(2, Shadow), version(3, Refused)]);
    assert_eq!(info(&stage), [named(1, "active"), named(2, "shadow")]);
    publish(&stage, &[version(1, Retired), version(2, Active), version(3, Refused)]);
    assert_eq!(info(&stage), [named(2, "active")]);
    let samples = stage.samples();
    assert_eq!(samples["forecastd_model_versions{model=\"m\",state=\"retired\"}"], 1.0);
    assert_eq!(samples["forecastd_model_versions{model=\"m\",state=\"shadow\"}"], 0.0);
    stage.metrics.models_configured(&[]);
    stage.metrics.published(&Snapshot::default());
    assert!(
        stage.samples().keys().all(|series| !series.contains("model=\"m\"")),
        "nothing stays"
    );
}
