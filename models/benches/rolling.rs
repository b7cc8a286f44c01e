//! A refit after 60 new rows, from rolling statistics and from the whole window, at lengths from 10³ to 10⁶.
//!
//! The order goes up to 512, but at 10³ samples to 250: the highest order is a quarter of the samples.

use std::num::NonZeroUsize;

use divan::Bencher;
use forecastd_models::{FitSpec, Frequency, GapPolicy, Grid, Level, RollingFit, Series, Timestamp, WindowMove};

const LENGTHS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const ROWS: usize = 60;

fn main() {
    divan::main();
}

/// A daily and a weekly wave under noise that has a memory, as a walk or around zero.
fn hourly(n: usize, is_walk: bool) -> Vec<f64> {
    let mut state = 1_u64;
    let mut level = 0.0;
    let memory = if is_walk { 1.0 } else { 0.8 };
    (0..n)
        .map(|t| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            level = memory * level + (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
            level + (t as f64 * 0.261_8).sin() + 0.5 * (t as f64 * 0.037_4).cos()
        })
        .collect()
}

fn spec() -> FitSpec {
    FitSpec {
        horizon: NonZeroUsize::new(96).expect("not zero"),
        levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
        max_lookback: 513,
        gaps: GapPolicy::Interpolate,
    }
}

fn series(values: &[f64]) -> Series {
    Series {
        channel: "hourly".into(),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(3_600_000_000_000).expect("positive"),
        },
        first_slot: 0,
        values: values.to_vec(),
    }
}

/// Statistics of the first `n` samples, and the move by `ROWS`.
fn moved(x: &[f64], n: usize) -> (Box<RollingFit>, WindowMove) {
    let series = series(&x[..n]);
    let (_, rolling) = RollingFit::anchor(&series, &spec()).expect("a forecast");
    let rolling = rolling.expect("it rolls");
    let reach = rolling.reach();
    let window = x[ROWS..].iter().copied();
    let moved = WindowMove {
        channel: series.channel,
        grid: series.grid,
        cutoff_slot: x.len() as i64 - 1,
        oldest: x[..ROWS + reach].to_vec(),
        left: ROWS,
        newest: x[n - reach..].to_vec(),
        entered: ROWS,
        missing: 0,
        lowest: window.clone().fold(f64::INFINITY, f64::min),
        highest: window.fold(f64::NEG_INFINITY, f64::max),
    };
    (rolling, moved)
}

#[divan::bench(args = LENGTHS)]
fn stationary_rolled(bencher: Bencher<'_, '_>, n: usize) {
    roll(bencher, n, false);
}

#[divan::bench(args = LENGTHS)]
fn walk_rolled(bencher: Bencher<'_, '_>, n: usize) {
    roll(bencher, n, true);
}

#[divan::bench(args = LENGTHS)]
fn stationary_whole(bencher: Bencher<'_, '_>, n: usize) {
    fit_whole(bencher, n, false);
}

#[divan::bench(args = LENGTHS)]
fn walk_whole(bencher: Bencher<'_, '_>, n: usize) {
    fit_whole(bencher, n, true);
}

/// The whole fit and the statistics for the next: what this costs more than the whole fit is the price of rolling.
#[divan::bench(args = LENGTHS)]
fn walk_anchored(bencher: Bencher<'_, '_>, n: usize) {
    let (series, spec) = (series(&hourly(n, true)), spec());
    bencher.bench(|| RollingFit::anchor(divan::black_box(&series), &spec));
}

fn roll(bencher: Bencher<'_, '_>, n: usize, is_walk: bool) {
    let (rolling, moved) = moved(&hourly(n + ROWS, is_walk), n);
    let spec = spec();
    let roll = |rolling: Box<RollingFit>| rolling.roll(divan::black_box(&moved), &spec).expect("it rolls");
    bencher.with_inputs(|| rolling.clone()).bench_values(roll);
}

fn fit_whole(bencher: Bencher<'_, '_>, n: usize, is_walk: bool) {
    let (series, spec) = (series(&hourly(n, is_walk)), spec());
    bencher.bench(|| forecastd_models::fit(divan::black_box(&series), &spec));
}
