//! The command line of a newcomer: what is wrong is named, and the exit code tells the kind.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Environment, data, forecastd, long, wait_for, wide};

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn check_tells_every_error_at_once_with_its_key() {
    let environment = Environment::with_series("{ time: time }");
    let good = environment.run(&["check"]);
    assert!(good.status.success(), "{}", stderr(&good));
    environment.write_config(
        "state_dir: ./state\nhttp: { listen: nowhere }\ndatasets:\n  - { name: Bad Name, kind: series, \
         incoming: ./in, series: { time: t }, forecast: { horizon: 12, steps: [13] } }\n",
    );
    let bad = environment.run(&["check"]);
    assert_eq!(bad.status.code(), Some(78), "EX_CONFIG");
    let text = stderr(&bad);
    for path in [
        "forecastd.yaml",
        "http.listen",
        "datasets[0].name",
        "datasets[0].forecast.steps",
    ] {
        assert!(text.contains(path), "{path} is not in:\n{text}");
    }
    let missing = forecastd(&["check", "--config", "no/such/file.yaml"]);
    assert!(stderr(&missing).contains("no/such/file.yaml"), "{}", stderr(&missing));
}

#[test]
fn fit_reads_a_file_and_prints_json() {
    let environment = Environment::with_series("{ time: time }");
    let file = environment.path("a.parquet");
    std::fs::write(&file, wide(0..400, &[("x", &|i| (i % 24) as f64), ("c", &|_| 3.0)])).unwrap();
    let out = environment.path("out");
    let arguments = [
        "fit",
        file.to_str().unwrap(),
        "--time",
        "time",
        "--horizon",
        "24",
        "--json",
        "--out",
    ];
    let output = forecastd(&[&arguments[..], &[out.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rows"]["seen"], 800);
    assert_eq!(report["channels"][1]["channel"], "c");
    assert_eq!(report["channels"][1]["model"]["fallback"], "constant");
    let x = &report["channels"][0];
    for step in 0..24 {
        let expected = f64::from((400 + step) % 24);
        let mean = x["forecast"]["mean"][step as usize].as_f64().unwrap();
        assert!(
            (mean - expected).abs() < 1e-6,
            "step {step}: {mean} instead of {expected}"
        );
    }
    assert_eq!(x["forecast"]["time"][0], "2026-01-17T16:00:00Z");
    assert_eq!(std::fs::read_dir(out).unwrap().count(), 1);
}

#[test]
fn fit_names_the_file_and_the_column_that_is_wrong() {
    let environment = Environment::with_series("{ time: time }");
    let file = environment.path("a.parquet");
    std::fs::write(&file, wide(0..40, &[("x", &|i| i as f64)])).unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 4] = [
        (
            &["fit", "missing.parquet", "--time", "t", "--horizon", "3"],
            &["missing.parquet"],
        ),
        (
            &["fit", file, "--time", "tme", "--horizon", "3"],
            &["a.parquet", "\"tme\"", "\"time\""],
        ),
        (
            &[
                "fit",
                file,
                "--time",
                "time",
                "--channel",
                "no",
                "--value",
                "x",
                "--horizon",
                "3",
            ],
            &["a.parquet", "\"no\""],
        ),
        (
            &["fit", file, "--time", "time", "--horizon", "3", "--levels", "1.5"],
            &["--levels", "1.5"],
        ),
    ];
    for (arguments, words) in cases {
        let output = forecastd(arguments);
        assert!(!output.status.success());
        for word in words {
            assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
        }
    }
    assert_eq!(
        forecastd(&["fit", file, "--time", "time", "--horizon", "0"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn fit_takes_real_files_of_either_layout() {
    let cases: [(&str, &[&str], usize); 3] = [
        ("timeseries/ETTh2.parquet", &["--time", "date"], 7),
        (
            "ops/nab_real.parquet",
            &[
                "--time",
                "timestamp",
                "--channel",
                "category",
                "--channel",
                "series",
                "--value",
                "value",
            ],
            25,
        ),
        ("timeseries/gefcom2012_load.parquet", &["--time", "date"], 20),
    ];
    for (file, columns, channels) in cases {
        let Some(file) = data(file) else { return };
        let arguments = [&["fit", file.to_str().unwrap(), "--horizon", "24", "--json"], columns].concat();
        let output = forecastd(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            report["channels"].as_array().unwrap().len(),
            channels,
            "{}",
            file.display()
        );
    }
}

const LONG: [&str; 6] = ["--time", "time", "--channel", "channel", "--value", "value"];

/// `forecastd fit` of each channel by itself with these arguments: what it printed, and its account.
fn fit_json(arguments: &[&str]) -> Value {
    let output = forecastd(&[&["fit", "--json", "--horizon", "5", "--method", "auto_ar"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn written(environment: &Environment, name: &str, bytes: &[u8]) -> String {
    let path = environment.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn files_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Rows of six meters, channel after channel. Among them an hour that comes twice, empty values, an infinity, a row
/// without a name; a meter of one row and one without any.
fn meters() -> Vec<(i64, &'static str, f64)> {
    let mut rows = Vec::new();
    for (number, name) in (0..).zip(["a", "b", "c", "d"]) {
        let value = |hour: i64| (hour * (number + 3) * 7919 % 101) as f64;
        rows.extend((0..200).map(|hour| (hour, name, value(hour))));
    }
    rows.extend([
        (7, "b", 1e3),
        (8, "c", f64::NAN),
        (9, "d", f64::INFINITY),
        (10, "", 1.0),
    ]);
    rows.extend([(0, "young", 1.0), (0, "empty", f64::NAN), (1, "empty", f64::NAN)]);
    rows
}

#[test]
fn fit_gives_the_same_whatever_the_order_of_rows_the_parts_the_budget_and_the_threads() {
    let environment = Environment::with_series("{ time: time }");
    let sorted = meters();
    let mut interleaved = sorted.clone();
    interleaved.sort_by_key(|row| row.0);
    let whole = written(&environment, "sorted.parquet", &long(&sorted));
    let by_time = written(&environment, "by_time.parquet", &long(&interleaved));
    let first = written(&environment, "parts/1.parquet", &long(&interleaved[..300]));
    written(&environment, "parts/2.parquet", &long(&interleaved[300..]));
    let second = environment.path("parts/2.parquet");
    let second = second.to_str().unwrap();
    let parts = environment.path("parts");
    let parts = parts.to_str().unwrap();

    let expected = fit_json(&[&[whole.as_str()], &LONG[..]].concat());
    let names = |report: &Value, list: &str| -> Vec<String> {
        let channels = report[list].as_array().unwrap().iter();
        channels
            .map(|channel| channel["channel"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&expected, "channels"), ["a", "b", "c", "d"]);
    assert_eq!(expected["failures"][0]["reason"], "no_grid");
    assert_eq!(expected["failures"][1]["reason"], "no_rows");
    let account = serde_json::json!({
        "seen": 804, "committed": 801, "duplicate": 1, "missing": 3, "rejected": { "bad_channel": 1, "not_finite": 1 },
    });
    assert_eq!(expected["rows"], account);

    let cases: [&[&str]; 6] = [
        &[&by_time],
        &[&first, second],
        &[parts],
        &[parts, "--memory", "1"],
        &[&by_time, "--memory", "7000", "--threads", "3"],
        &[&whole, "--memory", "1", "--threads", "1"],
    ];
    for case in cases {
        let report = fit_json(&[case, &LONG[..]].concat());
        assert_eq!(report["rows"], account, "{case:?}");
        let sorted = |report: &Value, list: &str| -> BTreeSet<String> {
            report[list].as_array().unwrap().iter().map(Value::to_string).collect()
        };
        for list in ["channels", "failures"] {
            assert_eq!(sorted(&report, list), sorted(&expected, list), "{case:?}");
        }
    }
}

#[test]
fn a_forecast_file_has_the_same_bytes_whatever_the_number_of_threads_and_the_budget() {
    let environment = Environment::with_series("{ time: time }");
    let mut rows = meters();
    rows.sort_by_key(|row| row.0);
    let file = written(&environment, "meters.parquet", &long(&rows));
    let bytes = |more: &[&str]| {
        let out = environment.path("out");
        let arguments = ["fit", &file, "--horizon", "24", "--out", out.to_str().unwrap()];
        let output = forecastd(&[&arguments[..], &LONG[..], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let failed = String::from_utf8_lossy(&output.stdout);
        assert!(
            failed.contains("young") && failed.contains("--frequency") && !failed.contains("interval"),
            "{failed}"
        );
        assert!(stderr(&output).contains("4 channels fitted, 2 without a forecast (1 no_grid, 1 no_rows); 804 rows"));
        fs::read(out.join("meters-forecasts.parquet")).unwrap()
    };
    let expected = bytes(&["--threads", "1"]);
    for more in [["--threads", "2"], ["--threads", "7"], ["--memory", "4KiB"]] {
        assert_eq!(bytes(&more), expected, "{more:?}");
    }
}

#[test]
fn shards_together_are_the_whole_and_none_has_a_channel_of_another() {
    let environment = Environment::with_series("{ time: time }");
    let file = written(&environment, "meters.parquet", &long(&meters()));
    let wide_file = {
        let value = |i: i64| (i * 7919 % 101) as f64;
        let names: Vec<String> = (0..12).map(|number| format!("w{number}")).collect();
        let channels: Vec<(&str, &dyn Fn(i64) -> f64)> =
            names.iter().map(|name| (name.as_str(), &value as _)).collect();
        written(&environment, "wide.parquet", &wide(0..100, &channels))
    };
    for (arguments, count) in [
        ([&[file.as_str()], &LONG[..]].concat(), 6),
        (vec![wide_file.as_str(), "--time", "time"], 12),
    ] {
        let whole = fit_json(&arguments);
        let out = environment.path(format!("out-{count}"));
        let out = out.to_str().unwrap();
        let (mut seen, mut missing, mut channels) = (0, 0, Vec::new());
        for shard in ["1/3", "2/3", "3/3"] {
            let report = forecastd(
                &[
                    &[
                        "fit",
                        "--json",
                        "--horizon",
                        "5",
                        "--method",
                        "auto_ar",
                        "--shard",
                        shard,
                        "--out",
                        out,
                    ],
                    &arguments[..],
                ]
                .concat(),
            );
            let report: Value = serde_json::from_slice(&report.stdout).unwrap();
            seen += report["rows"]["seen"].as_u64().unwrap();
            missing += report["rows"]["missing"].as_u64().unwrap();
            for list in ["channels", "failures"] {
                channels.extend(report[list].as_array().unwrap().iter().map(Value::to_string));
            }
        }
        assert_eq!(
            (seen, missing),
            (
                whole["rows"]["seen"].as_u64().unwrap(),
                whole["rows"]["missing"].as_u64().unwrap()
            )
        );
        assert_eq!(channels.len(), count);
        let lists = ["channels", "failures"].map(|list| whole[list].as_array().unwrap().iter());
        let expected: BTreeSet<String> = lists.into_iter().flatten().map(Value::to_string).collect();
        assert_eq!(channels.into_iter().collect::<BTreeSet<_>>(), expected);
        assert_eq!(files_in(out).len(), 3);
        assert!(files_in(out)[0].ends_with("-forecasts-1-of-3.parquet"));
    }
}

#[test]
fn a_wide_file_is_read_by_groups_of_columns() {
    let environment = Environment::with_series("{ time: time }");
    let value = |i: i64| (i * 7919 % 101) as f64;
    let names: Vec<String> = (0..300).map(|number| format!("w{number}")).collect();
    let channels: Vec<(&str, &dyn Fn(i64) -> f64)> = names.iter().map(|name| (name.as_str(), &value as _)).collect();
    let file = written(&environment, "wide.parquet", &wide(0..60, &channels));
    let whole = fit_json(&[&file, "--time", "time"]);
    assert_eq!(whole["channels"].as_array().unwrap().len(), 300);
    assert_eq!(fit_json(&[&file, "--time", "time", "--memory", "20KiB"]), whole);
}

#[test]
fn a_bad_part_is_named_with_its_row_group_and_no_forecast_file_is_left() {
    let environment = Environment::with_series("{ time: time }");
    written(&environment, "parts/1.parquet", &long(&meters()));
    let mut bad = wide(0..400, &[("value", &|i| (i * 7919 % 101) as f64)]);
    bad[4..64].fill(0xff); // a page header
    written(&environment, "parts/2.parquet", &bad);
    let good = wide(0..400, &[("value", &|i| i as f64)]);
    written(&environment, "wide/1.parquet", &good);
    written(&environment, "wide/2.parquet", &bad);
    written(&environment, "cut/1.parquet", &good[..good.len() / 2]);
    fs::create_dir(environment.path("none")).unwrap();
    let out = environment.path("out");
    let cases: [(&str, &[&str]); 4] = [
        ("parts", &["parts/2.parquet", "\"channel\""]),
        ("wide", &["wide/2.parquet: row group 0: "]),
        ("cut", &["cut/1.parquet: ", "no whole footer"]),
        ("none", &["none: no *.parquet file"]),
    ];
    for (folder, words) in cases {
        let input = environment.path(folder);
        let columns = if folder == "parts" { &LONG[..] } else { &LONG[..2] };
        let arguments = [
            "fit",
            input.to_str().unwrap(),
            "--horizon",
            "5",
            "--out",
            out.to_str().unwrap(),
        ];
        let output = forecastd(&[&arguments[..], columns].concat());
        assert!(!output.status.success());
        for word in words {
            assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
        }
        assert!(!out.exists() || files_in(out.to_str().unwrap()).is_empty(), "{folder}");
    }
}

#[test]
fn a_run_that_is_interrupted_or_killed_leaves_no_file() {
    let environment = Environment::with_series("{ time: time }");
    let names: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    let rows: Vec<(i64, &str, f64)> = names
        .iter()
        .flat_map(|name| (0..300).map(|hour| (hour, name.as_str(), (hour * 7919 % 101) as f64)))
        .collect();
    let file = written(&environment, "meters.parquet", &long(&rows));
    for signal in ["-INT", "-TERM", "-KILL"] {
        let out = environment.path(format!("out{signal}"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_forecastd"))
            .args(["fit", &file, "--horizon", "100000", "--out", out.to_str().unwrap()])
            .args(LONG)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The file in the making may have no name, but the process has it open.
        wait_for("a forecast file in the making", || {
            let open = fs::read_dir(format!("/proc/{}/fd", child.id())).ok()?;
            let mut targets = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
            targets.any(|target| target.starts_with(&out)).then_some(())
        });
        let told = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        assert!(!child.wait().unwrap().success(), "{signal}");
        let files = files_in(out.to_str().unwrap());
        assert!(files.is_empty(), "{signal}: {files:?}");
    }
}

#[test]
fn a_run_without_any_forecast_fails_and_says_why() {
    let environment = Environment::with_series("{ time: time }");
    let cases = [
        (
            long(&[(0, "a", 1.0), (5, "b", 2.0)]),
            "2 without a forecast (2 no_grid)",
        ),
        (
            long(&[(0, "a", f64::NAN), (0, "", 1.0)]),
            "a.parquet: not one row can be used (1 refused)",
        ),
    ];
    for (bytes, words) in cases {
        let file = written(&environment, "a.parquet", &bytes);
        let output = forecastd(&[&["fit", &file, "--horizon", "5"], &LONG[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}
