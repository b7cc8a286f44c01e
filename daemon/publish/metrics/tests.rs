//! Events in, samples out: what each event moves, and what comes and goes with a dataset.

use super::*;
use crate::message::account::RowReason;
use crate::message::fit_job::{FitOutcome, FitWay};
use crate::message::landed_file::{Fingerprint, LandedFile};
use crate::message::rejected::{RejectReason, Rejected};
use crate::publish::fixture::{NOW, Stage, fallback, fit};
use forecastd_models::{Decline, Fallback};

fn file() -> LandedFile {
    LandedFile {
        dataset: "a".into(),
        path: "incoming/a.parquet".into(),
        fingerprint: Fingerprint {
            device: 1,
            inode: 2,
            size: 3,
            modified: 4,
            changed: 5,
        },
    }
}

fn account() -> RowAccount {
    let mut account = RowAccount {
        seen: 10,
        committed: 8,
        duplicate: 2,
        missing: 4,
        ..RowAccount::default()
    };
    account.reject(RowReason::Future, 5);
    account
}

/// A service with dataset `a`, told of `outcomes`.
fn told(outcomes: Vec<Outcome>) -> Stage {
    let stage = Stage::new(100);
    stage.metrics.dataset_added(&"a".into());
    for outcome in outcomes {
        let file = file();
        stage.metrics.ingested(&IngestReport { file, outcome });
    }
    stage
}

/// Compares samples, named without prefix and dataset, with what they should be.
fn expect(stage: &Stage, expected: &[(&str, f64)]) {
    let samples = stage.samples();
    for (name, value) in expected {
        let series = match name.split_once(' ') {
            Some((name, reason)) => format!("forecastd_{name}{{dataset=\"a\",reason=\"{reason}\"}}"),
            None => format!("forecastd_{name}{{dataset=\"a\"}}"),
        };
        assert_eq!(samples.get(&series), Some(value), "{series}");
    }
}

#[test]
fn every_outcome_of_a_file_moves_its_own_counters_and_no_other() {
    let fresh = Default::default();
    let outcomes = vec![
        Outcome::Committed {
            account: account(),
            fresh,
        },
        Outcome::Duplicate { account: account() },
        Outcome::Rejected(Rejected::new(RejectReason::Schema, "no column `time`")),
        Outcome::Finished,
        Outcome::Withdrawn,
        Outcome::Deferred {
            error: "no space left".into(),
        },
    ];
    expect(
        &told(outcomes),
        &[
            ("drops_total", 3.0),
            ("drops_duplicate_total", 1.0),
            ("drops_rejected_total schema", 1.0),
            ("drops_rejected_total empty", 0.0),
            ("drops_deferred_total", 1.0),
            ("rows_seen_total", 30.0),
            ("rows_committed_total", 16.0),
            ("rows_duplicate_total", 4.0),
            ("rows_rejected_total future", 10.0),
            ("rows_rejected_total too_old", 0.0),
            ("cells_missing_total", 8.0),
        ],
    );
}

#[test]
fn counters_go_on_from_the_ledger_after_a_restart() {
    let stage = told(Vec::new());
    let totals = DropTotals {
        drops_committed: 100,
        drops_duplicate: 7,
        drops_rejected: BTreeMap::from([(RejectReason::Truncated, 3)]),
        rows: account(),
        ..DropTotals::default()
    };
    stage.metrics.seed("a", &totals);
    let outcome = Outcome::Duplicate { account: account() };
    stage.metrics.ingested(&IngestReport { file: file(), outcome });
    expect(
        &stage,
        &[
            ("drops_total", 111.0),
            ("drops_duplicate_total", 8.0),
            ("drops_rejected_total truncated", 3.0),
            ("rows_seen_total", 30.0),
            ("rows_rejected_total future", 10.0),
        ],
    );
}

#[test]
fn a_removed_dataset_takes_its_label_sets_along_and_a_late_report_does_not_bring_them_back() {
    let stage = told(vec![Outcome::Rejected(Rejected::new(RejectReason::Empty, ""))]);
    let listing = Listing {
        dataset: "a".into(),
        landed: vec![file()],
        waiting: 1,
        ignored: 4,
    };
    stage.metrics.listed(&listing, NOW);
    let of_a = |stage: &Stage| stage.samples().keys().filter(|series| series.contains("\"a\"")).count();
    assert!(of_a(&stage) > 30);
    stage.metrics.dataset_removed("a");
    assert_eq!(of_a(&stage), 0);
    stage.metrics.listed(&listing, NOW);
    stage.metrics.unreadable("a", &"late");
    assert_eq!(of_a(&stage), 0);
    stage.metrics.dataset_added(&"a".into());
    expect(&stage, &[("drops_total", 0.0), ("drops_rejected_total empty", 0.0)]);
}

#[test]
fn a_look_at_a_folder_counts_whether_it_succeeds_or_not() {
    let stage = told(Vec::new());
    let listing = Listing {
        dataset: "a".into(),
        landed: vec![file(), file()],
        waiting: 1,
        ignored: 4,
    };
    stage.metrics.listed(&listing, NOW);
    stage.metrics.unreadable("a", &"incoming/a: permission denied");
    stage.metrics.watch_hints_lost();
    expect(
        &stage,
        &[
            ("files_ignored", 4.0),
            ("scans_total", 2.0),
            ("scan_failures_total", 1.0),
            ("last_scan_timestamp_seconds", NOW.as_seconds()),
        ],
    );
    assert_eq!(stage.samples()["forecastd_watch_hints_lost_total"], 1.0);
    let figures = stage.metrics.figures("a");
    assert_eq!(figures.last_error.as_deref(), Some("incoming/a: permission denied"));
}

#[test]
fn a_batch_counts_each_channel_once_and_its_time_once() {
    let stage = told(Vec::new());
    let outcome = |way, result| FitOutcome {
        channel: "c".into(),
        version: 1,
        result,
        way,
        rolling: None,
        map: None,
        owed: false,
    };
    let outcomes = vec![
        outcome(FitWay::Rolled, Ok(Arc::new(fit("c", 1.0, &[])))),
        outcome(FitWay::Applied, Ok(Arc::new(fallback("c", Fallback::Short)))),
        outcome(FitWay::Whole, Err(FitFailure::NotFinite)),
    ];
    stage.metrics.fitted(&FitReport {
        dataset: "a".into(),
        epoch: crate::message::fit_job::Epoch::default(),
        outcomes,
        declined: vec![("d".into(), Decline::Old), ("e".into(), Decline::Old)],
        elapsed: Duration::from_millis(20),
    });
    stage.metrics.worker_busy("fit-0", Duration::from_millis(20));
    expect(
        &stage,
        &[
            ("fits_total", 3.0),
            ("fits_rolled_total", 1.0),
            ("fits_applied_total", 1.0),
            ("fit_rolls_declined_total old", 2.0),
            ("fit_rolls_declined_total far", 0.0),
            ("fit_failures_total not_finite", 1.0),
            ("fit_failures_total panic", 0.0),
            ("fit_fallbacks_total short", 1.0),
            ("fit_fallbacks_total constant", 0.0),
            ("points_filled_total", 4.0),
        ],
    );
    let samples = stage.samples();
    assert_eq!(samples["forecastd_fit_duration_seconds_count"], 1.0);
    assert_eq!(samples["forecastd_fit_duration_seconds_bucket{le=\"0.01\"}"], 0.0);
    assert_eq!(samples["forecastd_fit_duration_seconds_bucket{le=\"0.025\"}"], 1.0);
    assert_eq!(samples["forecastd_worker_busy_seconds_total{worker=\"fit-0\"}"], 0.02);
}

#[test]
fn a_bad_reload_keeps_the_time_of_the_last_good_one() {
    let stage = Stage::new(100);
    let state = |stage: &Stage| {
        let samples = stage.samples();
        let time = samples["forecastd_config_last_reload_success_timestamp_seconds"];
        (samples["forecastd_config_last_reload_successful"], time)
    };
    assert_eq!(state(&stage), (1.0, NOW.as_seconds()));
    let later = NOW.saturating_add(2_000_000_000);
    stage.metrics.reloaded(false, later);
    assert_eq!(state(&stage), (0.0, NOW.as_seconds()));
    stage.metrics.reloaded(true, later);
    assert_eq!(state(&stage), (1.0, NOW.as_seconds() + 2.0));
}

#[test]
fn the_libtorch_child_has_one_info_and_its_restarts_never_fall() {
    let stage = Stage::new(100);
    let status = |restarts, device: Option<&str>| TorchStatus {
        up: device.is_some(),
        restarts,
        version: Some("2.11.0".into()),
        device: device.map(str::to_owned),
        onednn: device.map(|device| device == "cuda"),
        last_error: None,
    };
    for (told, up, restarts, device) in [
        (status(1, Some("cuda")), 1.0, 1.0, Some("cuda")),
        (status(3, Some("cpu")), 1.0, 3.0, Some("cpu")),
        (status(3, None), 0.0, 3.0, None),
        (status(0, None), 0.0, 3.0, None),
    ] {
        stage.metrics.torch(&told);
        let samples = stage.samples();
        assert_eq!(samples["forecastd_torch_up"], up);
        assert_eq!(samples["forecastd_torch_restarts_total"], restarts);
        let info: Vec<&String> = samples.keys().filter(|series| series.contains("torch_info")).collect();
        let expected = device.map(|device| {
            let onednn = device == "cuda";
            format!("forecastd_torch_info{{device=\"{device}\",onednn=\"{onednn}\",version=\"2.11.0\"}}")
        });
        assert_eq!(info, expected.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_forecast_file_that_fails_is_counted_among_all_and_named() {
    let stage = told(Vec::new());
    stage.metrics.forecast_file("a", &Ok::<_, String>("out.parquet"));
    stage
        .metrics
        .forecast_file::<(), _>("a", &Err("forecast folder out: read-only"));
    expect(
        &stage,
        &[("forecast_files_total", 2.0), ("forecast_file_failures_total", 1.0)],
    );
    let last_error = stage.metrics.figures("a").last_error;
    assert_eq!(last_error.as_deref(), Some("forecast folder out: read-only"));
}
