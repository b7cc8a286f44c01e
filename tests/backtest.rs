//! `forecastd backtest`: the protocols of the literature against other people's numbers (`tests/reference/`), and what
//! is said of files that cannot be judged.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Environment, data, forecastd, listed, wait_for, wide};

fn golden(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/tests/golden")
        .join(name);
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn backtest(arguments: &[&str]) -> Output {
    forecastd(&[&["backtest"], arguments].concat())
}

/// The JSON object of a run that must succeed.
fn told(arguments: &[&str]) -> Value {
    let output = backtest(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn close(ours: &Value, theirs: &Value, what: &str) {
    let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
    assert!(
        (ours - theirs).abs() <= 1e-9 * theirs.abs(),
        "{what}: {ours} instead of {theirs}"
    );
}

/// `written` under this name; `series` of hours from `time`.
fn file(environment: &Environment, name: &str, bytes: &[u8]) -> String {
    let path = environment.path(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn rough(i: i64) -> f64 {
    (i * 7919 % 101) as f64
}

#[test]
fn naive_forecasts_of_public_panels_are_what_numpy_reckons() {
    for (name, theirs) in golden("long_horizon.json").as_object().unwrap() {
        let Some(file) = data(&format!("timeseries/{name}.parquet")) else {
            return;
        };
        let horizons: Vec<&str> = theirs["horizons"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let asked = horizons.join(",");
        let ours = told(&[file.to_str().unwrap(), "--method", "random_walk", "--horizons", &asked]);
        assert_eq!(ours["season"], theirs["season"], "{name}");
        for horizon in horizons {
            let (ours, theirs) = (&ours[horizon], &theirs["horizons"][horizon]);
            assert_eq!(ours["windows"], theirs["windows"], "{name} {horizon}");
            for (ours, method) in [
                (ours, "random_walk"),
                (&ours["random_walk"], "random_walk"),
                (&ours["seasonal_naive"], "seasonal_naive"),
            ] {
                let (theirs, what) = (&theirs[method], format!("{name} {horizon} {method}"));
                close(&ours["mse"], &theirs["mse"], &what);
                close(&ours["mae"], &theirs["mae"], &what);
                for (step, theirs) in theirs["steps"].as_object().unwrap() {
                    close(
                        &ours["steps"][step]["mse"],
                        &theirs["mse"],
                        &format!("{what} at {step}"),
                    );
                }
            }
        }
    }
}

#[test]
fn scores_of_competitions_are_those_of_other_peoples_software() {
    for (name, groups) in golden("scores.json")["files"].as_object().unwrap() {
        let Some(file) = data(&format!("timeseries/{name}.parquet")) else {
            return;
        };
        let arguments = ["--protocol", "competition", "--method", "random_walk"];
        let ours = told(&[&[file.to_str().unwrap()], &arguments[..]].concat());
        assert_eq!(
            ours["groups"].as_object().unwrap().len(),
            groups.as_object().unwrap().len()
        );
        for (period, theirs) in groups.as_object().unwrap() {
            let ours = &ours["groups"][period];
            assert_eq!(ours["series"], theirs["series"], "{name} {period}");
            assert_eq!(ours["season"], theirs["season"], "{name} {period}");
            for score in ["mase", "smape", "owa"] {
                let what = format!("{name} {period} {score}");
                close(&ours[score], &theirs["random_walk"][score], &what);
                for method in ["random_walk", "seasonal_naive", "naive2"] {
                    close(
                        &ours[method][score],
                        &theirs[method][score],
                        &format!("{what} {method}"),
                    );
                }
            }
        }
    }
}

#[test]
fn the_numbers_are_the_same_whatever_the_number_of_threads() {
    let environment = Environment::with_series("{ time: time }");
    let noise = |seed: i64| move |i: i64| rough(i * (seed + 2) + i * i % (17 + seed)) + (i % 24) as f64;
    let (a, b, c) = (noise(1), noise(2), noise(3));
    let panel = wide(0..600, &[("a", &a), ("b", &b), ("c", &c)]);
    let panel = file(&environment, "panel.parquet", &panel);
    let series = |seed: i64| ((0..60).map(noise(seed)).collect(), (60..66).map(noise(seed)).collect());
    let names: Vec<String> = (0..7).map(|seed| format!("s{seed}")).collect();
    let series: Vec<_> = (0..)
        .zip(&names)
        .map(|(seed, name)| {
            let (train, test) = series(seed);
            (name.as_str(), "quarterly", train, test)
        })
        .collect();
    let series = file(&environment, "series.parquet", &listed(&series));
    for arguments in [
        vec![panel.as_str(), "--horizons", "24,6", "--lookback", "32"],
        vec![
            panel.as_str(),
            "--horizons",
            "24",
            "--lookback",
            "32",
            "--method",
            "reference",
        ],
        vec![series.as_str(), "--protocol", "competition"],
    ] {
        let told = |threads: &str| {
            let mut told = told(&[&arguments[..], &["--threads", threads]].concat());
            told.as_object_mut().unwrap().remove("seconds");
            told
        };
        let alone = told("1");
        assert_eq!(told("3"), alone, "{arguments:?}");
        if arguments.contains(&"24,6") {
            assert!(alone["6"]["steps"]["1"]["coverage_95"].is_number(), "{alone}");
            assert!(alone["24"]["channels"]["b"]["choice"]["bands"].is_array(), "{alone}");
            assert!(alone["24"]["choice"]["bands"][0]["weights"].is_object(), "{alone}");
        }
    }
}

#[test]
fn what_cannot_be_judged_is_left_out_by_name_and_costs_the_others_nothing() {
    let environment = Environment::with_series("{ time: time }");
    let columns: [(&str, &dyn Fn(i64) -> f64); 5] = [
        ("good", &rough),
        ("flat", &|i| if i < 210 { 3.0 } else { rough(i) }),
        ("late", &|i| if i < 240 { rough(i) } else { f64::NAN }),
        ("early", &|i| if i < 210 { f64::NAN } else { rough(i) }),
        ("wild", &|i| if i == 5 { f64::INFINITY } else { rough(i) }),
    ];
    let arguments = ["--horizons", "6", "--lookback", "12"];
    let panel = file(&environment, "panel.parquet", &wide(0..300, &columns));
    let told = told(&[&[panel.as_str()], &arguments[..]].concat());
    let names: Vec<&String> = told["6"]["channels"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["good"]);
    let reasons: Vec<(&str, &str)> = told["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| {
            (
                skipped["channel"].as_str().unwrap(),
                skipped["reason"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("flat", "constant"),
        ("late", "test_missing"),
        ("early", "train_missing"),
        ("wild", "infinite"),
    ];
    assert_eq!(reasons, expected);

    let none = file(&environment, "none.parquet", &wide(0..300, &[("flat", &|_| 3.0)]));
    let report = environment.path("report");
    let output = backtest(&[&[none.as_str(), "--report", report.to_str().unwrap()], &arguments[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("skipped \"flat\": constant"));
    assert!(fs::read_to_string(report.join("index.html")).unwrap().contains("flat"));
}

#[test]
fn a_series_of_a_competition_that_cannot_be_scored_is_left_out_and_a_short_one_is_told() {
    let environment = Environment::with_series("{ time: time }");
    let train = |n: i64| (0..n).map(rough).collect::<Vec<f64>>();
    let bytes = listed(&[
        ("good", "Monthly", train(80), vec![1.0, f64::NAN, 3.0]),
        ("empty", "monthly", train(80), vec![]),
        ("unknown", "monthly", train(80), vec![f64::NAN, f64::NAN]),
        ("flat", "monthly", vec![2.0; 80], vec![1.0]),
        ("nothing", "monthly", vec![], vec![1.0]),
        (
            "periodic",
            "monthly",
            (0..80).map(|i| f64::from(i % 12)).collect(),
            vec![1.0],
        ),
        ("young", "yearly", train(3), vec![1.0, 2.0, 3.0]),
    ]);
    let series = file(&environment, "series.parquet", &bytes);
    let told = told(&[&series, "--protocol", "competition"]);
    let reasons: Vec<(&str, &str)> = told["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| {
            (
                skipped["channel"].as_str().unwrap(),
                skipped["reason"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("empty", "test_empty"),
        ("unknown", "test_missing"),
        ("flat", "constant"),
        ("nothing", "train_missing"),
        ("periodic", "no_scale"),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(told["overall"]["series"], 2);
    assert_eq!(told["overall"]["fallback"]["random_walk"], serde_json::json!(["young"]));
    for score in ["mase", "smape", "owa"] {
        assert!(
            told["overall"][score].is_number() && told["groups"]["monthly"][score].is_number(),
            "{told}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_file_or_a_flag_is_named() {
    let environment = Environment::with_series("{ time: time }");
    let good = file(&environment, "good.parquet", &wide(0..300, &[("x", &rough)]));
    let text = file(&environment, "text.parquet", &wide(0..300, &[]));
    let csv = file(&environment, "a.parquet", b"time,value\n1,2\n");
    let odd = file(
        &environment,
        "odd.parquet",
        &listed(&[("s", "lunar", vec![1.0, 2.0, 4.0], vec![1.0])]),
    );
    let absent = environment.path("absent.parquet");
    let competition = ["--protocol", "competition"];
    let small = ["--horizons", "6", "--lookback", "12"];
    let cases: [(&str, Vec<&str>, &[&str]); 17] = [
        (absent.to_str().unwrap(), vec![], &["absent.parquet"]),
        (&csv, vec![], &["a.parquet", "PAR1"]),
        (&text, vec![], &["text.parquet", "no numeric column", "\"time\""]),
        (&good, vec!["--time", "tme"], &["good.parquet", "\"tme\"", "\"time\""]),
        (
            &good,
            vec![],
            &["good.parquet", "300 rows", "needs 7200", "--split 0.7/0.1/0.2", "720"],
        ),
        (
            &good,
            vec!["--split", "ett_hour"],
            &["good.parquet", "300 rows", "needs 14400"],
        ),
        (
            &good,
            vec!["--split", "ett_hour", "--horizons", "3000"],
            &["no number of rows", "3000"],
        ),
        (&good, vec!["--split", "0.7/0.7/0.2"], &["--split", "0.7/0.1/0.2"]),
        (&good, vec!["--horizons", "96,0"], &["--horizons", "0"]),
        (&good, vec!["--horizons", "6,6"], &["--horizons", "once"]),
        (&good, vec!["--lookback", "0"], &["--lookback", "0"]),
        (&good, [&small[..], &["--levels", "1.5"]].concat(), &["--levels", "1.5"]),
        (&good, [&small[..], &["--season", "999"]].concat(), &["--season 999"]),
        (
            &good,
            vec!["--method", "prophet"],
            &["--method", "prophet", "pooled_direct", "reference"],
        ),
        (
            &good,
            competition.to_vec(),
            &["good.parquet", "no column \"id\"", "\"x\""],
        ),
        (&odd, competition.to_vec(), &["\"s\"", "\"lunar\"", "--season"]),
        (
            &odd,
            [&competition[..], &["--horizons", "6"]].concat(),
            &["--horizons", "competition"],
        ),
    ];
    for (file, flags, words) in cases {
        let output = backtest(&[&[file], &flags[..]].concat());
        assert!(!output.status.success() && output.stdout.is_empty(), "{file} {flags:?}");
        for word in words {
            let said = stderr(&output);
            assert!(said.contains(word), "{file} {flags:?}: {word:?} is not in {said}");
        }
    }
}

#[test]
fn a_page_shows_everything_and_loads_nothing() {
    let environment = Environment::with_series("{ time: time }");
    let hostile = "<script>alert(1)</script>";
    let panel = wide(
        0..400,
        &[
            (hostile, &rough),
            ("b", &|i| rough(3 * i)),
            ("c", &|i| rough(i * i % 97)),
        ],
    );
    let panel = file(&environment, "panel.parquet", &panel);
    let report = environment.path("deep/report");
    let output = backtest(&[
        &panel,
        "--horizons",
        "6,12",
        "--lookback",
        "16",
        "--report",
        report.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    for words in [
        "split 0.7/0.1/0.2: 280 rows to fit",
        "horizon",
        "seasonal_naive",
        "in 95 %",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let page = fs::read_to_string(report.join("index.html")).unwrap();
    for part in [
        "Summary",
        "Error by step",
        "Best: ",
        "Median: ",
        "Worst: ",
        "beyond 5.",
        "mean weights",
        "<polygon",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for foreign in ["<script", "http:", "https:", "src=", "@import", "url(", "NaN"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(fs::read_dir(&report).unwrap().count(), 1);
}

#[test]
fn a_signal_ends_a_backtest_without_a_result() {
    let environment = Environment::with_series("{ time: time }");
    let names: Vec<String> = (0..60).map(|number| format!("c{number}")).collect();
    let columns: Vec<(&str, &dyn Fn(i64) -> f64)> = names.iter().map(|name| (name.as_str(), &rough as _)).collect();
    let panel = file(&environment, "panel.parquet", &wide(0..8_000, &columns));
    let child = Command::new(env!("CARGO_BIN_EXE_forecastd"))
        .args(["backtest", &panel, "--threads", "1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("a thread that fits", || {
        let threads = fs::read_dir(format!("/proc/{}/task", child.id())).ok()?;
        let mut names = threads
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        names.any(|name| name.trim() == "fit-0").then_some(())
    });
    let told = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(told.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stdout.is_empty() && stderr(&output).contains("interrupted"),
        "{}",
        stderr(&output)
    );
}
