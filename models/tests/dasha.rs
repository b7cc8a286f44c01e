//! The rules of DASHA against other people's software: `golden/asha.json` is Ray Tune's, written by
//! `tests/reference/asha.py`; `golden/classification_scores.json` scikit-learn's, by
//! `tests/reference/classification_scores.py`.

use std::collections::BTreeMap;

use forecastd_models::dasha::asha::{Decision, Mode, Rung, Settings, Stopping};
use forecastd_models::dasha::metrics::{Confusion, ranking};
use forecastd_models::dasha::{Metric, Outcomes, Task};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Stream {
    stream: String,
    reduction_factor: f64,
    grace_period: u32,
    max_t: u32,
    mode: Mode,
    rungs: Vec<f64>,
    reports: Vec<(u32, u32, Option<Score>)>,
    decisions: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Score {
    Finite(f64),
    Infinite(String),
}

fn score(told: Option<Score>) -> f64 {
    match told {
        None => f64::NAN,
        Some(Score::Finite(score)) => score,
        Some(Score::Infinite(sign)) => sign.parse().expect("inf or -inf"),
    }
}

#[test]
fn every_report_gets_the_decision_of_ray_tune_with_a_checkpoint_after_each() {
    let streams: Vec<Stream> = serde_json::from_str(include_str!("golden/asha.json")).expect("the golden file parses");
    assert!(streams.len() > 50, "many rules are tested");
    for stream in streams {
        let name = format!("{} by {} to {}", stream.stream, stream.reduction_factor, stream.max_t);
        let mut asha = Stopping::new(Settings {
            grace_period: stream.grace_period,
            max_t: stream.max_t,
            reduction_factor: stream.reduction_factor,
            mode: stream.mode,
        })
        .expect("Ray took them");
        let milestones: Vec<f64> = asha.rungs().iter().map(Rung::milestone).collect();
        assert_eq!(milestones, stream.rungs, "{name}");
        for ((trial, iteration, told), theirs) in stream.reports.into_iter().zip(stream.decisions.chars()) {
            let ours = match asha.report(trial, iteration, score(told)) {
                Decision::Continue => 'C',
                Decision::Stop => 'S',
                Decision::Pause => panic!("{name}: nothing pauses"),
            };
            assert_eq!(ours, theirs, "{name}: trial {trial} at {iteration}");
            let checkpoint = serde_json::to_string(&asha).expect("plain data");
            asha = serde_json::from_str(&checkpoint).expect("what was written");
        }
    }
}

#[derive(Deserialize)]
struct Golden {
    classify: Vec<Classify>,
    multilabel: Vec<Multilabel>,
    regress: Vec<Regress>,
}

type Expected = BTreeMap<Metric, f64>;

#[derive(Deserialize)]
struct Classify {
    classes: usize,
    labels: Vec<u32>,
    scores: Vec<f32>,
    expected: Expected,
    iou: Vec<f64>,
    confusion: Vec<u64>,
}

#[derive(Deserialize)]
struct Multilabel {
    classes: usize,
    targets: Vec<u8>,
    scores: Vec<f32>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Regress {
    outputs: usize,
    targets: Vec<f32>,
    predictions: Vec<f32>,
    expected: Expected,
}

#[track_caller]
fn close(ours: Option<f64>, theirs: f64) {
    let ours = ours.expect("it is defined");
    assert!((ours - theirs).abs() <= 1e-12, "{ours} instead of {theirs}");
}

#[track_caller]
fn all_close(expected: &Expected, task: Task, outcomes: Outcomes<'_>) {
    for (metric, theirs) in expected {
        assert!(metric.suits(task));
        close(metric.score(outcomes), *theirs);
    }
}

#[test]
fn scores_are_those_of_scikit_learn() {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/classification_scores.json")).expect("the golden file parses");
    for case in &golden.classify {
        let (scores, labels, classes) = (&case.scores, &case.labels, case.classes);
        let outcomes = Outcomes::Classify {
            scores,
            labels,
            classes,
        };
        all_close(&case.expected, Task::Classify, outcomes);
        let confusion = Confusion::of_scores(scores, labels, classes).expect("numbers");
        for (cell, theirs) in case.confusion.iter().enumerate() {
            assert_eq!(confusion.count(cell / classes, cell % classes), *theirs);
        }
        for (class, theirs) in case.iou.iter().enumerate() {
            close(confusion.iou(class), *theirs);
        }
        close(
            Metric::MeanIou.score(Outcomes::Segment(&confusion)),
            case.expected[&Metric::MeanIou],
        );
    }
    for case in &golden.multilabel {
        let outcomes = Outcomes::Multilabel {
            scores: &case.scores,
            targets: &case.targets,
            classes: case.classes,
        };
        all_close(&case.expected, Task::Multilabel, outcomes);
    }
    for case in &golden.regress {
        let outcomes = Outcomes::Regress {
            predictions: &case.predictions,
            targets: &case.targets,
            outputs: case.outputs,
        };
        all_close(&case.expected, Task::Regress, outcomes);
    }
}

#[test]
fn what_is_not_defined_is_none() {
    let one_class = Outcomes::Classify {
        scores: &[1.0, 0.0, 0.0, 1.0],
        labels: &[0, 0],
        classes: 2,
    };
    assert_eq!(Metric::Mcc.score(one_class), None);
    assert_eq!(Metric::RocAuc.score(one_class), None);
    assert_eq!(Metric::Accuracy.score(one_class), Some(0.5));
    assert_eq!(Metric::MacroAp.score(one_class), None);
    let one_prediction = Outcomes::Classify {
        scores: &[1.0, 0.0, 1.0, 0.0],
        labels: &[0, 1],
        classes: 2,
    };
    assert_eq!(Metric::Mcc.score(one_prediction), Some(0.0));
    let broken = Outcomes::Classify {
        scores: &[f32::NAN, 0.0],
        labels: &[0],
        classes: 2,
    };
    assert_eq!(Metric::Accuracy.score(broken), None);
    assert_eq!(Metric::Accuracy.score(Outcomes::Segment(&Confusion::new(3))), None);
    let constant = Outcomes::Regress {
        predictions: &[0.1, 0.2, 0.3],
        targets: &[0.1; 3],
        outputs: 1,
    };
    assert_eq!(Metric::R2.score(constant), None);
    let no_positive = Outcomes::Multilabel {
        scores: &[0.5, 0.1],
        targets: &[0, 0],
        classes: 1,
    };
    assert_eq!(Metric::MacroAp.score(no_positive), None);
    assert_eq!(Metric::MicroAp.score(no_positive), None);
}

#[test]
fn every_task_is_chosen_by_a_metric_that_suits_it() {
    for task in [Task::Classify, Task::Multilabel, Task::Segment, Task::Regress] {
        for outputs in [1, 2, 7] {
            assert!(Metric::of_task(task, outputs).suits(task));
        }
    }
    assert_eq!(
        serde_json::to_string(&Metric::MeanIou).expect("a name"),
        format!("{:?}", Metric::MeanIou.name())
    );
}

proptest! {
    #[test]
    fn roc_auc_is_the_share_of_ordered_pairs(rows in vec((0u8..6, any::<bool>()), 0..40)) {
        let scores: Vec<f32> = rows.iter().map(|(score, _)| f32::from(*score)).collect();
        let positive: Vec<bool> = rows.iter().map(|(_, positive)| *positive).collect();
        let of = |wanted: bool| rows.iter().filter(move |(_, positive)| *positive == wanted).map(|(score, _)| *score);
        let pairs: Vec<f64> = of(true)
            .flat_map(|up| of(false).map(move |down| (f64::from((up > down) as u8) * 2.0 + f64::from((up == down) as u8)) / 2.0))
            .collect();
        let expected = (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64);
        prop_assert_eq!(ranking::roc_auc(&scores, &positive), expected);
    }

    #[test]
    fn scores_of_counts_stay_in_their_bounds(counts in vec((0usize..4, 0usize..4), 1..60)) {
        let mut confusion = Confusion::new(4);
        counts.iter().for_each(|(truth, predicted)| confusion.add(*truth, *predicted));
        for score in [confusion.accuracy(), confusion.balanced_accuracy(), confusion.macro_f1(), confusion.mean_iou()] {
            prop_assert!(score.is_some_and(|score| (0.0..=1.0).contains(&score)));
        }
        prop_assert!(confusion.mcc().is_none_or(|mcc| (-1.0 - 1e-12..=1.0 + 1e-12).contains(&mcc)));
    }
}
