//! The libtorch child, beside a daemon that links none of it.

use crate::support::network::executable;
use crate::support::{Environment, Page, child_of, wait_for, wide};

fn with_torch(executable: &str) -> Environment {
    let environment = Environment::with_series("{ time: time }");
    let dataset = Environment::dataset("d", "{ time: time }", "forecast: { horizon: 3 }");
    environment.write_config(&format!(
        "state_dir: ./state\nhttp: {{ listen: \"127.0.0.1:0\" }}\n\
         torch: {{ start: always, executable: {executable:?} }}\ndatasets:\n{dataset}"
    ));
    environment
}

#[test]
fn the_child_is_kept_up_and_a_killed_one_is_started_again() {
    let Some(executable) = executable() else { return };
    let environment = with_torch(&executable);
    let daemon = environment.start();
    let page = daemon.scrape_until("the child", |page| page.sum("forecastd_torch_up") == 1.0);
    assert!(
        page.samples("forecastd_torch_info")
            .any(|(labels, _)| labels.contains("2.11.0"))
    );
    let child = wait_for("the child's pid", || child_of(daemon.pid(), "forecastd-torch"));
    let pid = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    daemon.scrape_until("a restart", |page| {
        page.sum("forecastd_torch_restarts_total") == 1.0 && page.sum("forecastd_torch_up") == 1.0
    });
    let child = wait_for("the new child", || child_of(daemon.pid(), "forecastd-torch"));
    assert!(daemon.stop().success());
    wait_for("the child to go with the daemon", || (!alive(child)).then_some(()));
}

#[test]
fn a_child_goes_when_its_daemon_is_killed() {
    let Some(executable) = executable() else { return };
    let environment = with_torch(&executable);
    let daemon = environment.start();
    daemon.scrape_until("the child", |page| page.sum("forecastd_torch_up") == 1.0);
    let child = wait_for("the child's pid", || child_of(daemon.pid(), "forecastd-torch"));
    daemon.kill();
    wait_for("the child to go with the daemon", || (!alive(child)).then_some(()));
}

#[test]
fn without_the_executable_series_are_served_all_the_same() {
    let environment = with_torch("/nonexistent/forecastd-torch");
    let daemon = environment.start();
    wait_for("readiness", || (daemon.get("/-/ready").0 == 200).then_some(()));
    assert_eq!(daemon.scrape().sum("forecastd_torch_up"), 0.0);
}

/// The page of a daemon that has fitted six channels, the child as `torch` says.
fn page_of_fits(torch: &str) -> Page {
    let environment = Environment::with_series("{ time: time }");
    let dataset = Environment::dataset(
        "d",
        "{ time: time }",
        "forecast: { method: auto_ar, horizon: 24, steps: [1, 24] }",
    );
    environment.write_config(&format!(
        "state_dir: ./state\nhttp: {{ listen: \"127.0.0.1:0\" }}\ntorch: {{ {torch} }}\ndatasets:\n{dataset}"
    ));
    let daemon = environment.start();
    let daily = |t: i64| (t as f64 * 0.261_799).sin();
    let rough = |t: i64| (t * t * 7919 % 1013) as f64 / 1013.0;
    let step = |t: i64| (t / 100 % 3) as f64;
    let drop = wide(
        0..700,
        &[
            ("daily", &|t| daily(t) + 0.3 * rough(t)),
            ("lifted", &|t| 1e6 + 50.0 * rough(t)),
            ("trend", &|t| 0.01 * t as f64 + rough(t) + rough(t - 1)),
            ("steps", &|t| 4.0 * step(t) + 0.1 * rough(t)),
            ("wave", &daily), // its own continuation: nothing that a device is sure of
            ("zero", &|_| 0.0),
        ],
    );
    environment.drop_bytes("a.parquet", &drop);
    let page = daemon.scrape_until("12 forecasts", |page| page.count("forecastd_forecast") == 12);
    assert!(daemon.stop().success());
    page
}

#[test]
fn a_child_that_fits_and_threads_that_fit_give_the_same_page() {
    let Some(executable) = executable() else { return };
    let child = page_of_fits(&format!("executable: {executable:?}, fit: always"));
    let threads = page_of_fits("fit: never");
    let of_child = |page: &Page| {
        ["fits", "fits_unsure", "fit_failures"].map(|what| page.sum(&format!("forecastd_torch_{what}_total")))
    };
    let [fitted, unsure, failed] = of_child(&child);
    assert_eq!(of_child(&threads), [0.0; 3]);
    assert!(
        (fitted + unsure, failed) == (5.0, 0.0) && fitted >= 3.0,
        "{fitted} {unsure} {failed}"
    );
    for family in ["forecast", "forecast_lower", "forecast_upper", "model_order"] {
        let family = format!("forecastd_{family}");
        let by_threads: Vec<_> = threads.samples(&family).collect();
        assert!(!by_threads.is_empty(), "{family}");
        for ((labels, found), (expected_labels, expected)) in child.samples(&family).zip(&by_threads) {
            assert_eq!(labels, *expected_labels);
            assert!(
                (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
                "{family}{labels}: {found} instead of {expected}"
            );
        }
        assert_eq!(child.count(&family), by_threads.len());
    }
}

#[test]
fn a_child_that_cannot_be_started_costs_no_forecast() {
    let page = page_of_fits("executable: /nonexistent/forecastd-torch, fit: always");
    assert!(page.sum("forecastd_torch_fit_failures_total") >= 1.0);
}

#[test]
fn the_command_tells_device_and_version() {
    let Some(executable) = executable() else { return };
    let output = crate::support::forecastd(&["torch", "--executable", &executable]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        said.contains("2.11.0") && (said.contains("cpu") || said.contains("cuda")),
        "{said}"
    );
}

fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
