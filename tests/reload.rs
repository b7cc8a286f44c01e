//! SIGHUP: a good file takes over, a bad one changes nothing.

use rustix::process::Signal;

use crate::support::{Daemon, Environment, wait_for, wide};

const FORECAST: &str = "forecast: { horizon: 12, steps: [1] }";

fn reload(daemon: &Daemon) {
    let before = daemon.log().matches("configuration").count();
    daemon.signal(Signal::HUP);
    wait_for("the reload", || {
        (daemon.log().matches("configuration").count() > before).then_some(())
    });
}

#[test]
fn a_bad_file_leaves_the_old_configuration_in_force_and_says_so() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    assert_eq!(daemon.scrape().sum("forecastd_config_last_reload_successful"), 1.0);
    environment.write_config("state_dir: ./state\ndatasets: [{ name: d, kind: series, horizont: 3 }]\n");
    reload(&daemon);
    assert_eq!(daemon.scrape().sum("forecastd_config_last_reload_successful"), 0.0);
    assert!(daemon.log().contains("horizont"), "{}", daemon.log());
    environment.drop_bytes("a.parquet", &wide(0..50, &[("x", &|i| i as f64)]));
    daemon.after_drops(1);

    environment.write_config(
        "state_dir: ./elsewhere\ndatasets:\n  - { name: d, kind: series, incoming: ./incoming/d, \
         series: { time: time }, forecast: { horizon: 3 } }\n",
    );
    reload(&daemon);
    assert!(
        daemon.log().contains("state_dir cannot change") || daemon.log().contains("state_dir, "),
        "{}",
        daemon.log()
    );
    assert_eq!(daemon.scrape().sum("forecastd_config_last_reload_successful"), 0.0);

    environment.configure(&Environment::dataset("d", "{ time: time }", FORECAST));
    reload(&daemon);
    assert_eq!(daemon.scrape().sum("forecastd_config_last_reload_successful"), 1.0);
}

#[test]
fn datasets_come_and_go_and_their_series_with_them() {
    let one = Environment::dataset("one", "{ time: time }", FORECAST);
    let two = Environment::dataset("two", "{ time: time }", FORECAST);
    let environment = Environment::with_datasets(&one);
    let daemon = environment.start();
    let bytes = wide(0..100, &[("x", &|i| (i % 9) as f64)]);
    environment.drop_into("one", "a.parquet", &bytes);
    environment.drop_into("two", "a.parquet", &bytes);
    daemon.scrape_until("one forecast", |page| page.count("forecastd_forecast") == 1);

    environment.configure(&format!("{one}{two}"));
    reload(&daemon);
    daemon.scrape_until("both", |page| page.count("forecastd_forecast") == 2);

    environment.configure(&two);
    reload(&daemon);
    let page = daemon.scrape_until("one gone", |page| page.count("forecastd_forecast") == 1);
    assert!(
        page.samples("forecastd_forecast")
            .all(|(labels, _)| labels.contains("two"))
    );
    assert_eq!(
        page.samples("forecastd_rows_seen_total")
            .filter(|(labels, _)| labels.contains("one"))
            .count(),
        0
    );

    environment.configure(&format!("{one}{two}"));
    reload(&daemon);
    daemon.scrape_until("one back from its segments", |page| {
        page.count("forecastd_forecast") == 2
    });
}

#[test]
fn a_changed_frequency_reads_the_history_anew() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    environment.drop_bytes("a.parquet", &wide(0..200, &[("x", &|i| (i % 9) as f64)]));
    daemon.scrape_until("forecasts", |page| page.count("forecastd_forecast") == 2);
    let cutoff = |page: &crate::support::Page| page.sum("forecastd_forecast_cutoff_timestamp_seconds");
    let hourly = cutoff(&daemon.at_rest());
    environment.configure(&Environment::dataset("d", "{ time: time, frequency: 1d }", FORECAST));
    reload(&daemon);
    let page = daemon.scrape_until("daily forecasts", |page| {
        page.count("forecastd_forecast") == 1 && cutoff(page) != hourly
    });
    assert_eq!(page.rows(), (200, 200, 0, 0));
}
