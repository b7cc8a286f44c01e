//! Every row goes to exactly one place.

use std::fs;

use rustix::process::Signal;

use crate::support::{Environment, long, wide};

const LONG: &str = "{ time: time, channel: channel, value: value }";

fn hours(range: std::ops::Range<i64>, value: fn(i64) -> f64) -> Vec<u8> {
    long(&range.map(|hour| (hour, "a", value(hour))).collect::<Vec<_>>())
}

#[test]
fn the_same_drop_twice_adds_no_row() {
    let environment = Environment::with_series(LONG);
    let daemon = environment.start();
    let bytes = hours(0..50, |i| i as f64);
    environment.drop_bytes("first.parquet", &bytes);
    daemon.after_drops(1);
    environment.drop_bytes("again.parquet", &bytes);
    let page = daemon.after_drops(2);
    assert_eq!(page.rows(), (100, 50, 50, 0));
    assert_eq!(page.sum("forecastd_drops_duplicate_total"), 1.0);
    assert!(environment.path("incoming/d/done/again.parquet").exists());
    drop(daemon);
    environment.fsck();
}

#[test]
fn a_file_without_rows_is_a_drop_like_any_other() {
    let environment = Environment::with_series(LONG);
    let daemon = environment.start();
    environment.drop_bytes("none.parquet", &long(&[]));
    let page = daemon.after_drops(1);
    assert_eq!(page.rows(), (0, 0, 0, 0));
    assert_eq!(page.sum("forecastd_drops_total"), 1.0);
    for family in ["drops_rejected_total", "drops_duplicate_total", "channels"] {
        assert_eq!(page.sum(&format!("forecastd_{family}")), 0.0, "{family}");
    }
    assert!(environment.path("incoming/d/done/none.parquet").exists());
    assert_eq!(environment.quarantined(), []);
    // The next one is taken as if it were the first.
    environment.drop_bytes("some.parquet", &hours(0..50, |i| i as f64));
    assert_eq!(daemon.after_drops(2).rows(), (50, 50, 0, 0));
    drop(daemon);
    environment.fsck();
}

#[test]
fn the_same_rows_in_another_file_are_duplicates() {
    let environment = Environment::with_series(LONG);
    let daemon = environment.start();
    environment.drop_bytes("a.parquet", &hours(0..50, |i| i as f64));
    daemon.after_drops(1);
    let mut rows: Vec<_> = (0..50).map(|hour| (hour, "a", hour as f64)).collect();
    rows.reverse();
    environment.drop_bytes("b.parquet", &long(&rows));
    assert_eq!(daemon.after_drops(2).rows(), (100, 50, 50, 0));
    drop(daemon);
    environment.fsck();
}

#[test]
fn an_overlap_with_changed_values_revises_them_and_survives_a_restart() {
    let environment = Environment::with_series(LONG);
    let daemon = environment.start();
    environment.drop_bytes("a.parquet", &hours(0..60, |_| 1.0));
    daemon.after_drops(1);
    // 40 to 49 as they were, 50 to 59 revised, 60 to 69 new.
    environment.drop_bytes("b.parquet", &hours(40..70, |i| if i < 50 { 1.0 } else { 2.0 }));
    assert_eq!(daemon.after_drops(2).rows(), (90, 80, 10, 0));
    environment.drop_bytes("c.parquet", &hours(0..50, |_| 2.0));
    assert_eq!(daemon.after_drops(3).rows(), (140, 130, 10, 0));
    // All rows say 2 now: the channel is constant, whatever order the segments are read in.
    let is_two = |page: &crate::support::Page| page.samples("forecastd_forecast").any(|(_, value)| value == 2.0);
    daemon.scrape_until("the revision to be fitted", is_two);
    daemon.kill();
    environment.fsck();
    let daemon = environment.start();
    let page = daemon.scrape_until("the same forecast", is_two);
    assert_eq!(page.rows(), (140, 130, 10, 0));
    assert_eq!(page.sum("forecastd_drops_total"), 3.0);
}

#[test]
fn a_late_file_fills_its_gap() {
    let environment = Environment::with_series(LONG);
    let daemon = environment.start();
    environment.drop_bytes("old.parquet", &hours(0..100, |i| (i % 5) as f64));
    daemon.after_drops(1);
    environment.drop_bytes("new.parquet", &hours(120..200, |i| (i % 5) as f64));
    daemon.after_drops(2);
    daemon.scrape_until("20 gaps to be filled by the policy", |page| {
        page.sum("forecastd_points_filled_total") >= 20.0
    });
    environment.drop_bytes("late.parquet", &hours(100..120, |i| (i % 5) as f64));
    let page = daemon.after_drops(3);
    assert_eq!(page.rows(), (200, 200, 0, 0));
    let before = daemon.at_rest().sum("forecastd_points_filled_total");
    environment.drop_bytes("next.parquet", &hours(200..201, |i| (i % 5) as f64));
    daemon.after_drops(4);
    assert_eq!(
        daemon.at_rest().sum("forecastd_points_filled_total"),
        before,
        "no gap is left"
    );
}

#[test]
fn rows_from_the_future_and_from_before_the_retention_are_refused_one_by_one() {
    let more = "history: { window: 1000, retention: 30d, max_future: 1d }\n    forecast: { horizon: 3 }";
    let environment = Environment::with_datasets(&Environment::dataset("d", LONG, more));
    let daemon = environment.start();
    // 2026-01-01 is in the past of this test and the year 2096 is not yet here.
    environment.drop_bytes("a.parquet", &long(&[(24 * 60, "a", 1.0), (24 * 365 * 70, "a", 2.0)]));
    assert_eq!(daemon.after_drops(1).rows(), (2, 1, 0, 1));
    environment.drop_bytes(
        "b.parquet",
        &long(&[(0, "a", 1.0), (24 * 59, "a", 2.0), (24 * 59, "", 2.0)]),
    );
    let page = daemon.after_drops(2);
    assert_eq!(page.rows(), (5, 2, 0, 3));
    for reason in ["future", "too_old", "bad_channel"] {
        let labels = [("dataset", "d"), ("reason", reason)];
        assert_eq!(
            page.get("forecastd_rows_rejected_total", &labels),
            Some(1.0),
            "{reason}"
        );
    }
    drop(daemon);
    environment.fsck();
}

#[test]
fn what_happens_to_a_drop_afterwards_is_as_configured() {
    for (after, left_in_place) in [("delete", false), ("keep", true)] {
        let more = format!("after: {after}\n    forecast: {{ horizon: 3 }}");
        let environment = Environment::with_datasets(&Environment::dataset("d", "{ time: time }", &more));
        let daemon = environment.start();
        environment.drop_bytes("a.parquet", &wide(0..30, &[("x", &|i| i as f64)]));
        daemon.after_drops(1);
        daemon.at_rest();
        assert_eq!(environment.incoming("a.parquet").exists(), left_in_place);
        assert!(!environment.path("incoming/d/done/a.parquet").exists());
        assert!(daemon.stop().success());
        // A kept drop is not seen again after a restart.
        let daemon = environment.start();
        environment.drop_bytes("b.parquet", &wide(30..31, &[("x", &|i| i as f64)]));
        assert_eq!(daemon.after_drops(2).rows(), (31, 31, 0, 0));
        daemon.signal(Signal::KILL);
        assert_eq!(
            fs::read_dir(environment.path("state/spool")).unwrap().count(),
            0,
            "nothing is left in the spool"
        );
    }
}

#[test]
fn forecasts_are_back_after_a_kill_with_no_drop_seen_again() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    environment.drop_bytes(
        "a.parquet",
        &wide(0..500, &[("x", &|i| (i % 24) as f64 + (i * 31 % 7) as f64)]),
    );
    let before = daemon.scrape_until("forecasts", |page| page.count("forecastd_forecast") == 2);
    daemon.kill();
    let daemon = environment.start();
    let after = daemon.scrape_until("forecasts", |page| page.count("forecastd_forecast") == 2);
    let of = |page: &crate::support::Page| page.samples("forecastd_forecast").map(|(_, v)| v).collect::<Vec<_>>();
    assert_eq!(of(&before), of(&after));
    assert_eq!(after.rows(), before.rows());
}
