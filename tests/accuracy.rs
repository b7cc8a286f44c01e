//! Forecasts held against what came: errors, coverage and anomalies on the page.

use crate::support::{Daemon, Environment, Page, long};

const SERIES: &str = "{ time: time, channel: channel, value: value, frequency: 1h }";
const MORE: &str =
    "history: { window: 400 }\n    forecast: { horizon: 12, steps: [1, 3], levels: [0.8], max_lookback: 8 }";

/// Rows before the first forecast.
const FIRST: i64 = 300;

/// A walk that likes to go on as it went. Each step is 1 up or down, so the mean change, in which errors are measured,
/// is 1 however it is weighted.
fn value(hour: i64) -> f64 {
    let (mut state, mut step, mut level) = (9_u64, 1.0, 0.0);
    for _ in 0..hour {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        if (state >> 33) % 5 == 0 {
            step = -step;
        }
        level += step;
    }
    level
}

/// One drop with these rows, and the page once they are fitted.
fn after(environment: &Environment, daemon: &Daemon, rows: &[(i64, f64)]) -> Page {
    let last = rows.last().unwrap().0;
    let rows: Vec<_> = rows.iter().map(|(hour, value)| (*hour, "a", *value)).collect();
    environment.drop_bytes(&format!("{last}.parquet"), &long(&rows));
    forecast_after(daemon, last)
}

/// Scrapes until the row of this hour has been fitted.
fn forecast_after(daemon: &Daemon, hour: i64) -> Page {
    let cutoff = (1_767_225_600 + 3600 * hour) as f64;
    daemon.scrape_until("the newest row to be fitted", |page| {
        page.sum("forecastd_forecast_cutoff_timestamp_seconds") == cutoff
    })
}

/// What a page says of a step of the only channel: mean, lower and upper bound.
fn said(page: &Page, step: i64) -> [f64; 3] {
    let step = step.to_string();
    let labels = [("dataset", "d"), ("channel", "a"), ("step", &*step)];
    let bound = |family| page.get(family, &[&labels[..], &[("level", "0.8")]].concat()).unwrap();
    [
        page.get("forecastd_forecast", &labels).unwrap(),
        bound("forecastd_forecast_lower"),
        bound("forecastd_forecast_upper"),
    ]
}

fn of_step(page: &Page, family: &str, step: i64, more: &[(&str, &str)]) -> Option<f64> {
    let step = step.to_string();
    page.get(family, &[&[("dataset", "d"), ("step", &*step)], more].concat())
}

fn anomaly(page: &Page) -> Option<f64> {
    page.get("forecastd_anomaly_score", &[("dataset", "d"), ("channel", "a")])
}

fn close(shown: Option<f64>, expected: f64) {
    let shown = shown.unwrap();
    assert!((shown - expected).abs() < 1e-9, "{shown}, not {expected}");
}

/// Scores of one step by hand, from what the pages said after each row: `said[i]` after row `FIRST - 1 + i`.
fn check_step(page: &Page, step: i64, said: &[[f64; 3]]) {
    let (mut weights, mut absolute, mut square, mut walk, mut held, mut count) = (0.0, 0.0, 0.0, 0.0, 0.0, 0);
    for (cutoff, [mean, lower, upper]) in (FIRST - 1..).zip(said) {
        let truth = cutoff + step;
        if truth >= FIRST - 1 + said.len() as i64 {
            break;
        }
        let fade = 0.5_f64.powf(1.0 / 256.0);
        let fading = [&mut weights, &mut absolute, &mut square, &mut walk, &mut held];
        fading.into_iter().for_each(|sum| *sum *= fade);
        let error = value(truth) - mean;
        weights += 1.0;
        absolute += error.abs();
        square += error * error;
        walk += (value(truth) - value(cutoff)).powi(2);
        held += f64::from(u8::from(*lower <= value(truth) && value(truth) <= *upper));
        count += 1;
    }
    let family = |name: &str, more: &[(&str, &str)]| of_step(page, name, step, more);
    close(family("forecastd_forecasts_scored_total", &[]), f64::from(count));
    close(
        family("forecastd_forecast_error", &[("measure", "mae")]),
        absolute / weights,
    );
    close(
        family("forecastd_forecast_error", &[("measure", "rmse")]),
        (square / weights).sqrt(),
    );
    close(family("forecastd_forecast_skill", &[]), 1.0 - square / walk);
    close(
        family("forecastd_forecast_coverage", &[("level", "0.8")]),
        held / weights,
    );
}

#[test]
fn errors_and_anomalies_are_told_when_the_truth_arrives_and_begin_anew_with_the_process() {
    let environment = Environment::with_datasets(&Environment::dataset("d", SERIES, MORE));
    let daemon = environment.start();
    let rows: Vec<_> = (0..FIRST).map(|hour| (hour, value(hour))).collect();
    let mut page = after(&environment, &daemon, &rows);
    // The rows were there before any forecast: nothing was foreseen.
    close(of_step(&page, "forecastd_forecasts_scored_total", 1, &[]), 0.0);
    assert_eq!((page.count("forecastd_forecast_error"), anomaly(&page)), (0, None));

    let (mut first, mut third) = (vec![said(&page, 1)], vec![said(&page, 3)]);
    for hour in FIRST..FIRST + 10 {
        page = after(&environment, &daemon, &[(hour, value(hour))]);
        let score = anomaly(&page).unwrap();
        assert!(score <= 1.0, "{hour}: {score}");
        if hour == FIRST {
            // Twice 1.96 deviations are a score of 1, and the bounds of 80 % are 1.2816 deviations away.
            let [mean, _, upper] = first[0];
            let deviation = (upper - mean) / 1.281_551_565_544_600_5;
            close(
                anomaly(&page),
                (value(hour) - mean).abs() / (2.0 * 1.959_963_984_540_054 * deviation),
            );
        }
        first.push(said(&page, 1));
        third.push(said(&page, 3));
        check_step(&page, 1, &first);
        if hour >= FIRST + 2 {
            check_step(&page, 3, &third);
        }
    }

    let spike = FIRST + 10;
    page = after(&environment, &daemon, &[(spike, value(spike) + 60.0)]);
    assert!(anomaly(&page).unwrap() > 1.0, "{:?}", anomaly(&page));
    for hour in spike + 1..spike + 6 {
        page = after(&environment, &daemon, &[(hour, value(hour))]);
        let score = anomaly(&page).unwrap();
        assert!(score <= 1.0, "{hour}: {score}");
    }
    close(page.get("forecastd_anomalies_total", &[("dataset", "d")]), 1.0);
    assert!(daemon.get("/").1.contains("step 1: skill"));
    assert!(daemon.stop().success());

    let daemon = environment.start();
    page = forecast_after(&daemon, spike + 5);
    close(of_step(&page, "forecastd_forecasts_scored_total", 1, &[]), 0.0);
    assert_eq!((page.count("forecastd_forecast_error"), anomaly(&page)), (0, None));
    // Three rows in one drop: the first and the third step are scored once, and the odd row in their middle is not lost.
    let hours = [6, 7, 8].map(|more| spike + more);
    let rows = hours.map(|hour| (hour, value(hour) + if hour == spike + 7 { 1000.0 } else { 0.0 }));
    page = after(&environment, &daemon, &rows);
    for step in [1, 3] {
        close(of_step(&page, "forecastd_forecasts_scored_total", step, &[]), 1.0);
    }
    assert!(anomaly(&page).unwrap() > 1.0);
    close(page.get("forecastd_anomalies_total", &[("dataset", "d")]), 1.0);
}
