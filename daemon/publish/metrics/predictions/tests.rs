//! What becomes of predictions in samples of the page, and what goes with a version.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use forecastd_config::Config;
use forecastd_models::dasha::{Agreement, BandSums, LiveMetric};

use super::*;
use crate::message::content_key::ContentKey;
use crate::message::fit_job::Epoch;
use crate::message::prediction::Said;
use crate::message::sample::Label;
use crate::message::snapshot::{LiveView, Snapshot};
use crate::publish::fixture::Stage;

fn said(row: u32, label: Option<&str>, shadow: Option<&str>) -> Said {
    let class = |text: &str| Label::Class(text.to_owned());
    Said {
        id: row.to_string().into(),
        row,
        content: [0; 32],
        label: label.map(class),
        probability: label.map(|_| 0.85),
        shadow: shadow.map(class),
        agreement: None,
        mask: None,
        shadow_mask: None,
    }
}

fn tell(stage: &Stage, outcome: PredictOutcome) {
    stage.metrics.predicted(&PredictReport {
        dataset: "d".into(),
        epoch: Epoch(1),
        outcome,
    });
}

fn view(predictions: PredictionView) -> SampleView {
    let text = "state_dir: s
datasets: [{ name: d, kind: tiles, incoming: i, model: m, samples: { id: i, image: x, shape: [1, 1, 1] } }]
models: [{ name: m, incoming: n }]";
    let mut config = Config::parse(text, Path::new("/")).expect("a good file");
    SampleView {
        config: Arc::new(config.samples.remove(0)),
        unlabelled: [0; 3],
        labelled: [0; 3],
        classes: BTreeMap::new(),
        newest: None,
        files_waiting: 0,
        predictions: Some(PredictionView {
            model: "m".into(),
            ..predictions
        }),
    }
}

fn publish(stage: &Stage, predictions: PredictionView) {
    stage.metrics.published(&Snapshot {
        samples: vec![view(predictions)],
        ..Snapshot::default()
    });
}

/// Names, without prefix, of what is on the page of predictions, with what they are.
fn page(stage: &Stage) -> BTreeMap<String, f64> {
    let samples = stage.samples().into_iter();
    let named = samples.filter_map(|(series, value)| {
        let name = series.strip_prefix("forecastd_")?.replace("dataset=\"d\"", "");
        let is_ours = ["prediction", "shadow"].iter().any(|prefix| name.starts_with(prefix));
        (is_ours && value != 0.0 && !name.contains("_bucket")).then_some((name, value))
    });
    named.collect()
}

#[test]
fn every_outcome_of_a_drop_moves_its_own_counters_and_no_other() {
    let stage = Stage::new(100);
    stage.metrics.samples_added(&"d".into());
    assert_eq!(page(&stage), BTreeMap::new());
    tell(
        &stage,
        PredictOutcome::Predicted(Arc::new(Predictions {
            version: ContentKey([1; 32]),
            shadow: Some(ContentKey([2; 32])),
            said: vec![
                said(0, Some("a"), Some("a")),
                said(1, Some("a"), None),
                said(2, None, None),
            ],
            refused: BTreeMap::from([(Refusal::Poison, 1)]),
            shadow_fault: Some(PredictFault::NotReady),
            bands: BandSums::default(),
        })),
    );
    for fault in [PredictFault::Overload, PredictFault::Stopping] {
        let detail = "busy".to_owned();
        let version = ContentKey([1; 32]);
        tell(&stage, PredictOutcome::Failed { version, fault, detail });
    }
    let expected = [
        ("prediction_confidence_count{}", 2.0),
        ("prediction_confidence_sum{}", 2.0 * f64::from(0.85_f32)),
        ("prediction_failures_total{,reason=\"not_ready\",state=\"shadow\"}", 1.0),
        ("prediction_failures_total{,reason=\"overload\",state=\"active\"}", 1.0),
        ("prediction_files_total{}", 1.0),
        ("predictions_refused_total{,reason=\"poison\"}", 1.0),
        ("predictions_total{,state=\"active\"}", 2.0),
        ("predictions_total{,state=\"shadow\"}", 1.0),
    ];
    assert_eq!(
        page(&stage),
        expected.map(|(name, value)| (name.to_owned(), value)).into()
    );
    assert!(
        stage
            .metrics
            .figures("d")
            .last_error
            .expect("told")
            .contains("overload: busy")
    );
    stage.metrics.dataset_removed("d");
    assert_eq!(page(&stage), BTreeMap::new());
    let detail = String::new();
    tell(
        &stage,
        PredictOutcome::Failed {
            version: ContentKey([1; 32]),
            fault: PredictFault::File,
            detail,
        },
    );
    assert_eq!(page(&stage), BTreeMap::new(), "what comes late brings nothing back");
}

#[test]
fn what_is_published_is_shown_and_goes_with_its_version() {
    let stage = Stage::new(100);
    let mut agreement = Agreement::default();
    agreement.add(1.0);
    let live = |number, state| LiveView {
        version: ContentKey([number; 32]),
        state,
        scored: 1,
        value: Some((LiveMetric::Accuracy, 1.0)),
    };
    publish(
        &stage,
        PredictionView {
            waiting: 3,
            held: Some("another shape".to_owned()),
            classes: BTreeMap::from([("a".into(), 5)]),
            shares: vec![("a".into(), 0.25)],
            live: vec![live(1, ModelState::Active)],
            agreement: Some(agreement),
            drift: Some(1.5),
            ..PredictionView::default()
        },
    );
    let version = |number: u8| ContentKey([number; 32]).to_string();
    let of_version = |name: &str, number: u8, more: &str| {
        format!(
            "prediction_{name}{{,{more}model=\"m\",state=\"active\",version=\"{}\"}}",
            version(number)
        )
    };
    let expected = [
        ("prediction_drift{,model=\"m\"}".to_owned(), 1.5),
        ("prediction_held{,model=\"m\"}".to_owned(), 1.0),
        ("prediction_samples{,label=\"a\",model=\"m\"}".to_owned(), 5.0),
        (of_version("score", 1, "measure=\"accuracy\","), 1.0),
        (of_version("scored_samples", 1, ""), 1.0),
        ("prediction_share{,label=\"a\",model=\"m\"}".to_owned(), 0.25),
        ("prediction_waiting_samples{,model=\"m\"}".to_owned(), 3.0),
        ("shadow_agreement{,model=\"m\"}".to_owned(), 1.0),
        ("shadow_compared_samples{,model=\"m\"}".to_owned(), 1.0),
    ];
    assert_eq!(page(&stage), expected.into());
    publish(
        &stage,
        PredictionView {
            live: vec![live(2, ModelState::Active)],
            ..PredictionView::default()
        },
    );
    let expected = [
        (of_version("score", 2, "measure=\"accuracy\","), 1.0),
        (of_version("scored_samples", 2, ""), 1.0),
    ];
    assert_eq!(page(&stage), expected.into());
}
