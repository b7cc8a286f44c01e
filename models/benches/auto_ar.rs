//! The stages of a fit at two sizes: a channel with a long history and all the orders one may ask for, and one of a
//! million short ones.

use std::num::NonZeroUsize;

use divan::{Bencher, black_box};
use forecastd_models::cholesky::Cholesky;
use forecastd_models::gram::LagGram;
use forecastd_models::kpss::kpss_trend;
use forecastd_models::lag_products::LagProducts;
use forecastd_models::order::OrderPath;
use forecastd_models::regression::Regression;
use forecastd_models::{FitSpec, ForecastMap, Frequency, GapPolicy, Grid, Level, Series, Timestamp};

const LONG: Size = Size {
    samples: 10_000,
    order: 512,
};
const SHORT: Size = Size {
    samples: 1_000,
    order: 128,
};
const HORIZON: NonZeroUsize = NonZeroUsize::new(96).expect("not zero");

/// Channels of which each finds the caches full of another.
const CHANNELS: u64 = 8;

#[derive(Clone, Copy, Debug)]
struct Size {
    samples: usize,
    order: usize,
}

fn main() {
    divan::main();
}

/// A daily and a weekly wave under noise that has a memory: what an hourly channel looks like. No randomness from
/// outside, so that two runs compare.
fn hourly(samples: usize, channel: u64) -> Vec<f64> {
    let mut state = channel;
    let mut level = 0.0;
    (0..samples)
        .map(|t| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            level = 0.8 * level + (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
            level + waves(t)
        })
        .collect()
}

fn waves(t: usize) -> f64 {
    (t as f64 * 0.261_8).sin() + 0.5 * (t as f64 * 0.037_4).cos()
}

fn products(size: Size) -> LagProducts {
    LagProducts::new(&hourly(size.samples, 1), size.order)
}

fn series(size: Size, channel: u64) -> Series {
    Series {
        channel: "hourly".into(),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(3_600_000_000_000).expect("positive"),
        },
        first_slot: 0,
        values: hourly(size.samples, channel),
    }
}

fn spec(size: Size) -> FitSpec {
    FitSpec {
        horizon: HORIZON,
        levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
        max_lookback: size.order,
        gaps: GapPolicy::Interpolate,
    }
}

#[divan::bench(args = [LONG, SHORT])]
fn kpss(bencher: Bencher<'_, '_>, size: Size) {
    let y = hourly(size.samples, 1);
    bencher.bench(|| kpss_trend(black_box(&y)));
}

#[divan::bench(args = [LONG, SHORT])]
fn lag_products(bencher: Bencher<'_, '_>, size: Size) {
    let y = hourly(size.samples, 1);
    bencher.bench(|| LagProducts::new(black_box(&y), size.order));
}

/// All orders by the Schur algorithm, as far as the series bears it; the next three do the same by Cholesky's.
#[divan::bench(args = [LONG, SHORT])]
fn order_path(bencher: Bencher<'_, '_>, size: Size) {
    let products = products(size);
    bencher.bench(|| OrderPath::new(black_box(&products), 0.0));
}

#[divan::bench(args = [LONG, SHORT])]
fn gram(bencher: Bencher<'_, '_>, size: Size) {
    let products = products(size);
    bencher.bench(|| LagGram::new(black_box(&products)).without_constant());
}

#[divan::bench(args = [LONG, SHORT])]
fn factor(bencher: Bencher<'_, '_>, size: Size) {
    let equations = LagGram::new(&products(size)).without_constant();
    bencher
        .with_inputs(|| equations.lags.clone())
        .bench_values(|lags| Cholesky::new(lags, equations.floor));
}

#[divan::bench(args = [LONG, SHORT])]
fn solve(bencher: Bencher<'_, '_>, size: Size) {
    let equations = LagGram::new(&products(size)).without_constant();
    let factor = Cholesky::new(equations.lags, equations.floor);
    bencher.bench(|| factor.solve_upper(&factor.solve_lower(black_box(&equations.target))));
}

/// The own sample of the highest order: the dearest that a chosen order can be.
#[divan::bench(args = [LONG, SHORT])]
fn regression(bencher: Bencher<'_, '_>, size: Size) {
    let products = products(size);
    bencher.bench(|| Regression::new(black_box(&products)));
}

#[divan::bench(args = [LONG, SHORT])]
fn forecast_map(bencher: Bencher<'_, '_>, size: Size) {
    let coefficients = vec![1.0 / size.order as f64; size.order];
    bencher.bench(|| ForecastMap::new(black_box(&coefficients), 1, HORIZON));
}

#[divan::bench(args = [LONG, SHORT])]
fn fit(bencher: Bencher<'_, '_>, size: Size) {
    let (series, spec) = (series(size, 1), spec(size));
    bencher.bench(|| forecastd_models::fit(black_box(&series), &spec));
}

/// The waves with a thousandth of the noise: too near to singular for the Schur algorithm.
#[divan::bench(args = [LONG, SHORT])]
fn fit_of_a_smooth_channel(bencher: Bencher<'_, '_>, size: Size) {
    let (mut series, spec) = (series(size, 1), spec(size));
    for (t, value) in series.values.iter_mut().enumerate() {
        *value = waves(t) + 1e-3 * (*value - waves(t));
    }
    bencher.bench(|| forecastd_models::fit(black_box(&series), &spec));
}

#[divan::bench(args = [LONG, SHORT])]
fn fit_of_eight_channels(bencher: Bencher<'_, '_>, size: Size) {
    let spec = spec(size);
    let channels: Vec<Series> = (1..=CHANNELS).map(|channel| series(size, channel)).collect();
    bencher.counter(CHANNELS).bench(|| {
        channels
            .iter()
            .map(|series| forecastd_models::fit(black_box(series), &spec))
            .collect::<Vec<_>>()
    });
}
