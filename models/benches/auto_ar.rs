//! The stages of a fit at the size that the daemon meets: 8192 samples, order up to 512.

use std::num::NonZeroUsize;

use divan::Bencher;
use forecastd_models::cholesky::Cholesky;
use forecastd_models::gram::LagGram;
use forecastd_models::kpss::kpss_trend;
use forecastd_models::lag_products::LagProducts;
use forecastd_models::{FitSpec, ForecastMap, Frequency, GapPolicy, Grid, Level, Series, Timestamp};

const SAMPLES: usize = 8192;
const ORDER: usize = 512;
const HORIZON: NonZeroUsize = NonZeroUsize::new(96).expect("not zero");

fn main() {
    divan::main();
}

/// A daily and a weekly wave under noise that has a memory: what an hourly channel looks like. No randomness from
/// outside, so that two runs compare.
fn hourly() -> Vec<f64> {
    let mut state = 1_u64;
    let mut level = 0.0;
    (0..SAMPLES)
        .map(|t| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            level = 0.8 * level + (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
            level + (t as f64 * 0.261_8).sin() + 0.5 * (t as f64 * 0.037_4).cos()
        })
        .collect()
}

#[divan::bench]
fn kpss(bencher: Bencher<'_, '_>) {
    let y = hourly();
    bencher.bench(|| kpss_trend(divan::black_box(&y)));
}

#[divan::bench]
fn gram(bencher: Bencher<'_, '_>) {
    let y = hourly();
    bencher.bench(|| LagProducts::new(divan::black_box(&y), ORDER));
}

#[divan::bench]
fn factor(bencher: Bencher<'_, '_>) {
    let equations = LagGram::new(&LagProducts::new(&hourly(), ORDER)).without_constant();
    bencher
        .with_inputs(|| equations.lags.clone())
        .bench_values(|lags| Cholesky::new(lags, equations.floor));
}

#[divan::bench]
fn forecast_map(bencher: Bencher<'_, '_>) {
    let coefficients = [1.0 / ORDER as f64; ORDER];
    bencher.bench(|| ForecastMap::new(divan::black_box(&coefficients), 1, HORIZON));
}

#[divan::bench]
fn fit(bencher: Bencher<'_, '_>) {
    let series = Series {
        channel: "hourly".into(),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(3_600_000_000_000).expect("positive"),
        },
        first_slot: 0,
        values: hourly(),
    };
    let spec = FitSpec {
        horizon: HORIZON,
        levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
        max_lookback: ORDER,
        gaps: GapPolicy::Interpolate,
    };
    bencher.bench(|| forecastd_models::fit(divan::black_box(&series), &spec));
}
