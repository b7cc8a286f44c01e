//! MASE, sMAPE, OWA and Naive2 against utilsforecast, StatsForecast and statsmodels: `golden/scores.json`, written by
//! `tests/reference/scores.py`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use forecastd_models::backtest::seasonal_naive;
use forecastd_models::scores::{mase, mase_scale, naive2, owa, smape};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    series: Vec<Case>,
    files: BTreeMap<String, BTreeMap<String, BTreeMap<String, serde_json::Value>>>,
}

#[derive(Deserialize)]
struct Case {
    season: NonZeroUsize,
    seasonal: bool,
    train: Vec<f64>,
    test: Vec<f64>,
    naive2: Vec<f64>,
    scores: BTreeMap<String, Scores>,
}

#[derive(Deserialize)]
struct Scores {
    mase: f64,
    smape: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/scores.json")).expect("the golden file parses")
}

#[track_caller]
fn close(ours: f64, theirs: f64) {
    assert!(
        (ours - theirs).abs() <= 1e-9 * theirs.abs(),
        "{ours} instead of {theirs}"
    );
}

#[test]
fn naive2_and_all_scores_are_those_of_other_peoples_software() {
    let cases = golden().series;
    let (seasonal, plain): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| case.seasonal);
    assert!(seasonal.len() > 5 && plain.len() > 5, "both are tested");
    for case in seasonal.iter().chain(&plain) {
        let Case { train, test, .. } = case;
        let ours = naive2(train, case.season, test.len());
        for (ours, theirs) in ours.iter().zip(&case.naive2) {
            close(*ours, *theirs);
        }
        let horizon = NonZeroUsize::new(test.len()).expect("there are steps");
        let naive = |season| {
            let rows = seasonal_naive(train, train.len()..train.len() + 1, NonZeroUsize::MIN, horizon, season);
            rows.row(0).to_vec()
        };
        let scale = mase_scale(train, case.season).expect("it moves");
        for (method, forecast) in [
            ("naive2", ours),
            ("random_walk", naive(NonZeroUsize::MIN)),
            ("seasonal_naive", naive(case.season)),
        ] {
            let theirs = &case.scores[method];
            close(mase(test, &forecast, scale).expect("known"), theirs.mase);
            close(smape(test, &forecast).expect("known"), theirs.smape);
        }
    }
}

#[test]
fn owa_is_the_mean_of_both_shares() {
    for group in golden().files.values().flat_map(BTreeMap::values) {
        let score = |method: &str, score: &str| group[method][score].as_f64().expect("a number");
        let pair = |method| (score(method, "mase"), score(method, "smape"));
        for method in ["naive2", "random_walk", "seasonal_naive"] {
            close(
                owa(pair(method), pair("naive2")).expect("a number"),
                score(method, "owa"),
            );
        }
    }
}
