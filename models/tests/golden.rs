//! Auto-AR against statsmodels and NumPy: `golden/auto_ar.json`, written by `tests/reference/auto_ar.py`.
//!
//! Only the series that stand in the file as a whole; ETTh1 itself is parquet, which this crate does not read.

use std::num::NonZeroUsize;

use forecastd_models::kpss::kpss_trend;
use forecastd_models::lag_products::LagProducts;
use forecastd_models::order::OrderPath;
use forecastd_models::{ChannelFit, FitSpec, Frequency, GapPolicy, Grid, Level, Series, Timestamp, fit};
use serde::Deserialize;

/// The 97.5 % point of the standard normal distribution, as published.
const HALF_WIDTH_95: f64 = 1.959_963_984_540_054;

#[derive(Deserialize)]
struct Golden {
    series: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    lookback: usize,
    values: Vec<f64>,
    kpss: Vec<KpssCase>,
    num_diff: usize,
    max_order: usize,
    order: usize,
    coefficients: Vec<f64>,
    intercept: f64,
    variance: f64,
    bic: Vec<f64>,
    forecast: ForecastCase,
}

#[derive(Deserialize)]
struct KpssCase {
    statistic: f64,
    lags: usize,
}

#[derive(Deserialize)]
struct ForecastCase {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

fn cases() -> Vec<Case> {
    let golden: Golden = serde_json::from_str(include_str!("golden/auto_ar.json")).expect("the golden file parses");
    golden.series
}

fn differenced(values: &[f64], num_diff: usize) -> Vec<f64> {
    (0..num_diff).fold(values.to_vec(), |x, _| {
        x.windows(2).map(|pair| pair[1] - pair[0]).collect()
    })
}

fn fitted(case: &Case, values: Vec<f64>) -> ChannelFit {
    let series = Series {
        channel: case.name.as_str().into(),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(1).expect("positive"),
        },
        first_slot: 0,
        values,
    };
    let spec = FitSpec {
        horizon: NonZeroUsize::new(case.forecast.mean.len()).expect("a forecast has steps"),
        levels: Level::new(0.95).into_iter().collect(),
        max_lookback: case.lookback,
        gaps: GapPolicy::Error,
    };
    fit(&series, &spec).expect("a finite series has a forecast")
}

#[track_caller]
fn assert_close(name: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let size = expected
        .iter()
        .fold(f64::MIN_POSITIVE, |size, value| size.max(value.abs()));
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= tolerance * size, "{name} [{step}]: {found} is not {expected}");
    }
}

#[test]
fn kpss_statistics_and_lags_are_those_of_statsmodels() {
    for case in cases() {
        for (num_diff, expected) in case.kpss.iter().enumerate() {
            let found = kpss_trend(&differenced(&case.values, num_diff));
            assert_eq!(found.lags, expected.lags, "{} {num_diff}", case.name);
            assert_close(&case.name, &[found.statistic], &[expected.statistic], 1e-9);
        }
    }
}

#[test]
fn the_bic_of_every_order_is_that_of_statsmodels() {
    for case in cases() {
        let y = differenced(&case.values, case.num_diff);
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        let centred: Vec<f64> = y.iter().map(|y| y - mean).collect();
        let path = OrderPath::new(&LagProducts::new(&centred, case.max_order), 0.0);
        let bic: Vec<f64> = (0..=path.highest()).map(|order| path.bic(order)).collect();
        assert_close(&case.name, &bic, &case.bic, 1e-10);
    }
}

#[test]
fn models_are_those_of_statsmodels() {
    for case in cases() {
        let model = fitted(&case, case.values.clone()).model;
        assert_eq!(model.fallback, None, "{}", case.name);
        let found = (model.num_diff, model.max_order, model.order);
        assert_eq!(found, (case.num_diff, case.max_order, case.order), "{}", case.name);
        assert_close(&case.name, &model.coefficients, &case.coefficients, 1e-8);
        assert_close(&case.name, &[model.intercept], &[case.intercept], 1e-6);
        assert_close(&case.name, model.variance.as_slice(), &[case.variance], 1e-8);
        assert_close(&case.name, model.bic.as_slice(), &[case.bic[case.order]], 1e-8);
    }
}

#[test]
fn forecasts_and_intervals_are_those_of_the_literal_recursion() {
    for case in cases() {
        let forecast = fitted(&case, case.values.clone()).forecast;
        assert_close(&case.name, &forecast.mean, &case.forecast.mean, 1e-8);
        let upper: Vec<f64> = forecast.intervals[0]
            .upper
            .iter()
            .zip(&forecast.mean)
            .map(|(u, m)| u - m)
            .collect();
        let lower: Vec<f64> = forecast.intervals[0]
            .lower
            .iter()
            .zip(&forecast.mean)
            .map(|(l, m)| m - l)
            .collect();
        let width: Vec<f64> = case
            .forecast
            .deviation
            .iter()
            .map(|deviation| HALF_WIDTH_95 * deviation)
            .collect();
        assert_close(&case.name, &upper, &width, 1e-7);
        assert_close(&case.name, &lower, &width, 1e-7);
    }
}

/// Where statsmodels has no number any more: beside a constant column of ones, lags of 1e-100 are zero to it, and
/// squares of 1e300 are infinite.
#[test]
fn the_unit_of_a_channel_changes_nothing_but_the_unit() {
    for case in cases() {
        let plain = fitted(&case, case.values.clone());
        for factor in [1e-300, 1e-100, 1e100, 1e300] {
            let fit = fitted(&case, case.values.iter().map(|value| value * factor).collect());
            let name = format!("{} times {factor:e}", case.name);
            assert_eq!(
                (fit.model.num_diff, fit.model.order),
                (case.num_diff, case.order),
                "{name}"
            );
            assert_close(&name, &fit.model.coefficients, &plain.model.coefficients, 1e-7);
            let mean: Vec<f64> = fit.forecast.mean.iter().map(|mean| mean / factor).collect();
            assert_close(&name, &mean, &plain.forecast.mean, 1e-8);
            let rows = (case.values.len() - case.num_diff - case.max_order) as f64;
            let bic = case.bic[case.order] + 2.0 * rows * factor.ln();
            assert_close(&name, fit.model.bic.as_slice(), &[bic], 1e-8);
        }
    }
}

/// statsmodels does not centre: here it has eight of its sixteen digits left, so its numbers are those without offset.
#[test]
fn an_offset_of_a_million_changes_nothing_but_the_level() {
    for case in cases() {
        let fit = fitted(&case, case.values.iter().map(|value| value + 1e6).collect());
        assert_eq!(
            (fit.model.num_diff, fit.model.order),
            (case.num_diff, case.order),
            "{}",
            case.name
        );
        assert_close(&case.name, &fit.model.coefficients, &case.coefficients, 1e-8);
        let mean: Vec<f64> = fit.forecast.mean.iter().map(|mean| mean - 1e6).collect();
        assert_close(&case.name, &mean, &case.forecast.mean, 1e-8);
        assert_close(&case.name, fit.model.bic.as_slice(), &[case.bic[case.order]], 1e-8);
    }
}
