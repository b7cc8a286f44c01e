//! Drops in, forecasts out.

use std::fs;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{Environment, data, long, try_get, wait_for, wide};

const ETTH1: &str = "forecast: { horizon: 96, steps: [1, 24, 96], levels: [0.8, 0.95] }";

#[test]
fn seven_channels_of_etth1_are_forecast_at_three_steps() {
    let Some(file) = data("timeseries/ETTh1.parquet") else {
        return;
    };
    let environment = Environment::with_datasets(&Environment::dataset("d", "{ time: date }", ETTH1));
    let daemon = environment.start();
    let started = Instant::now();
    environment.drop_bytes("ETTh1.parquet", &fs::read(file).unwrap());
    let page = daemon.scrape_until("21 forecasts", |page| page.count("forecastd_forecast") == 21);
    println!("drop to endpoint: {:.2} s", started.elapsed().as_secs_f64());
    for channel in ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"] {
        for step in ["1", "24", "96"] {
            let labels = [("dataset", "d"), ("channel", channel), ("step", step)];
            let mean = page.get("forecastd_forecast", &labels).unwrap();
            for level in ["0.8", "0.95"] {
                let labels = [&labels[..], &[("level", level)]].concat();
                assert!(page.get("forecastd_forecast_lower", &labels).unwrap() < mean);
                assert!(page.get("forecastd_forecast_upper", &labels).unwrap() > mean);
            }
        }
    }
    assert_eq!(page.rows(), (17420 * 7, 17420 * 7, 0, 0));
    // The last row of the file: 2018-06-26T19:00:00Z.
    let cutoff = page.get(
        "forecastd_forecast_cutoff_timestamp_seconds",
        &[("dataset", "d"), ("channel", "OT")],
    );
    assert_eq!(cutoff, Some(1_530_039_600.0));
    assert!(environment.path("incoming/d/done/ETTh1.parquet").exists());
    assert!(daemon.stop().success());
}

#[test]
fn forecasts_are_written_as_parquet_and_agree_with_the_endpoint() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    environment.drop_bytes(
        "a.parquet",
        &wide(0..200, &[("x", &|i| (i % 24) as f64), ("y", &|i| i as f64)]),
    );
    let page = daemon.scrape_until("4 forecasts", |page| page.count("forecastd_forecast") == 4);
    let batch = wait_for("a forecast file", || {
        let file = fs::read_dir(environment.path("outgoing/d"))
            .ok()?
            .flatten()
            .next()?
            .path();
        file.extension()
            .is_some_and(|ending| ending == "parquet")
            .then(|| read(&file))
    });
    assert_eq!(batch.num_rows(), 24);
    let schema = batch.schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let expected = [
        "channel", "cutoff", "step", "time", "mean", "lower_80", "upper_80", "lower_95", "upper_95",
    ];
    assert_eq!(names, expected);
    assert_eq!(batch["step"].as_primitive::<Int32Type>().value(11), 12);
    let mean = batch["mean"].as_primitive::<Float64Type>();
    for (row, channel, step) in [(0, "x", "1"), (11, "x", "12"), (12, "y", "1"), (23, "y", "12")] {
        let shown = page.get(
            "forecastd_forecast",
            &[("dataset", "d"), ("channel", channel), ("step", step)],
        );
        assert_eq!(shown, Some(mean.value(row)), "{channel} {step}");
    }
}

fn read(file: &std::path::Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap())
        .unwrap()
        .build()
        .unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[test]
fn a_long_file_makes_a_channel_of_each_combination_of_names() {
    let Some(file) = data("ops/nab_real.parquet") else {
        return;
    };
    let series = "{ time: timestamp, channel: [category, series], value: value }";
    let environment = Environment::with_datasets(&Environment::dataset(
        "d",
        series,
        "forecast: { horizon: 24, steps: [1] }",
    ));
    let daemon = environment.start();
    environment.drop_bytes("nab.parquet", &fs::read(file).unwrap());
    let page = daemon.scrape_until("25 channels", |page| page.count("forecastd_forecast") == 25);
    assert!(
        page.samples("forecastd_forecast")
            .all(|(labels, value)| labels.contains('/') && value.is_finite())
    );
    daemon.at_rest();
}

#[test]
fn channels_that_cannot_be_fitted_have_a_named_fallback_and_cost_the_others_nothing() {
    let environment = Environment::with_series("{ time: time, channel: channel, value: value, frequency: 1h }");
    let daemon = environment.start();
    let mut rows: Vec<(i64, &str, f64)> = Vec::new();
    for hour in 0..300 {
        rows.push((
            hour,
            "good",
            (hour as f64 / 4.0).sin() + (hour * 7919 % 13) as f64 / 10.0,
        ));
        rows.push((hour, "constant", 7.0));
        rows.push((hour, "missing", f64::NAN));
        if hour < 4 {
            rows.push((hour, "short", hour as f64));
        }
        if hour % 20 == 0 || hour == 1 {
            rows.push((hour, "sparse", hour as f64));
        }
    }
    environment.drop_bytes("a.parquet", &long(&rows));
    daemon.after_drops(1);
    let page = daemon.scrape_until("8 forecasts", |page| page.count("forecastd_forecast") == 8);
    assert!(
        page.get("forecastd_model_order", &[("dataset", "d"), ("channel", "good")])
            .unwrap()
            > 0.0
    );
    for fallback in ["constant", "short", "sparse"] {
        let counted = page.get(
            "forecastd_fit_fallbacks_total",
            &[("dataset", "d"), ("reason", fallback)],
        );
        assert_eq!(counted, Some(1.0), "{fallback}");
    }
    let constant = [("dataset", "d"), ("channel", "constant"), ("step", "12")];
    assert_eq!(page.get("forecastd_forecast", &constant), Some(7.0));
    assert_eq!(
        page.get("forecastd_cells_missing_total", &[("dataset", "d")]),
        Some(300.0)
    );
    assert!(page.samples("forecastd_forecast").all(|(_, value)| value.is_finite()));
}

#[test]
fn gaps_follow_the_declared_policy() {
    for (policy, forecasts, failures) in [("interpolate", 1, 0.0), ("hold", 1, 0.0), ("error", 0, 1.0)] {
        let series = format!("{{ time: time, channel: channel, value: value, gaps: {policy} }}");
        let more = "forecast: { horizon: 12, steps: [1] }";
        let environment = Environment::with_datasets(&Environment::dataset("d", &series, more));
        let daemon = environment.start();
        let hours = (0..200).filter(|hour| hour % 50 != 17);
        let rows: Vec<_> = hours.map(|hour| (hour, "a", (hour % 7) as f64)).collect();
        environment.drop_bytes("a.parquet", &long(&rows));
        let page = daemon.scrape_until("a fit", |page| {
            page.count("forecastd_forecast") == forecasts && page.sum("forecastd_fit_failures_total") == failures
        });
        let filled = page.sum("forecastd_points_filled_total");
        assert_eq!(filled, if policy == "error" { 0.0 } else { 4.0 }, "{policy}");
    }
}

#[test]
fn a_scrape_during_refits_never_fails_and_generations_only_grow() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    let mut last = 0.0;
    for drop in 0..5 {
        let value = |i: i64| (i * 7919 % 101) as f64;
        environment.drop_bytes(
            &format!("{drop}.parquet"),
            &wide(drop * 400..(drop + 1) * 400, &[("a", &value)]),
        );
        for _ in 0..20 {
            let (status, body) = try_get(daemon.address(), "/metrics").unwrap();
            assert_eq!(status, 200);
            let generation = crate::support::Page::parse(&body).sum("forecastd_snapshot_generation");
            assert!(generation >= last);
            last = generation;
        }
    }
    let page = daemon.after_drops(5);
    assert_eq!(page.rows(), (2000, 2000, 0, 0));
}
