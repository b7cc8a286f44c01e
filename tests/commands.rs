//! The command line of a newcomer: what is wrong is named, and the exit code tells the kind.

use crate::support::{Environment, data, forecastd, wide};

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
    assert_eq!(report["channels"][0]["channel"], "c");
    assert_eq!(report["channels"][0]["model"]["fallback"], "constant");
    let x = &report["channels"][1];
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
