//! What a newcomer types first.

use std::process::Command;

use crate::support::{Environment, data};

#[test]
fn the_demo_forecasts_this_machine_and_ends_by_itself() {
    let environment = Environment::with_series("{ time: time }");
    let output = Command::new(env!("CARGO_BIN_EXE_forecastd"))
        .args(["demo", "--seconds", "20", "--dir"])
        .arg(environment.path("demo"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("/metrics") && said.contains("stopped cleanly"), "{said}");
}

#[test]
fn the_demo_takes_a_file_of_the_users() {
    for file in ["timeseries/ETTh1.parquet", "ops/nab_real.parquet"] {
        let Some(file) = data(file) else { return };
        let environment = Environment::with_series("{ time: time }");
        let output = Command::new(env!("CARGO_BIN_EXE_forecastd"))
            .args(["demo", "--seconds", "25", "--data"])
            .arg(&file)
            .arg("--dir")
            .arg(environment.path("demo"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}: {said}\n{}",
            file.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_folder_that_is_somebody_elses_is_not_emptied() {
    let environment = Environment::with_series("{ time: time }");
    let precious = environment.path("precious");
    std::fs::write(&precious, "keep me").unwrap();
    let folder = precious.parent().unwrap().to_str().unwrap();
    let output = crate::support::forecastd(&["demo", "--seconds", "1", "--dir", folder]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
    assert!(precious.exists());
}
