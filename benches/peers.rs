//! Our side of the comparison with other people's software: the search for the order, the whole fit, and fits on all
//! cores. `peers.py` times theirs on the same file and prints both, side by side.
//!
//! `cargo bench --bench peers` leaves the channels (`peers.parquet`) and what was measured (`ours.json`) in
//! `target/bench`. Under `cargo test` it runs once on short channels, so that it cannot rot.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports by printing and fails by panicking"
)]

#[path = "../tests/support/drops.rs"]
#[allow(dead_code, unreachable_pub, reason = "the stories use more of it")]
mod drops;

use std::fs::{self, File};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forecastd::intake::decode::decode;
use forecastd::message::series_drop::SeriesDrop;
use forecastd::planner::history::{ChannelHistory, HistoryRules};
use forecastd_config::{Columns, Layout, Limits, OffGrid};
use forecastd_models::lag_products::LagProducts;
use forecastd_models::order::OrderPath;
use forecastd_models::{FitSpec, GapPolicy, Level, Series, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const HORIZON: NonZeroUsize = NonZeroUsize::new(96).expect("not zero");

struct Size {
    samples: &'static [usize],
    orders: &'static [usize],
    /// Each figure is the median of calls that last so long together.
    measured: Duration,
}

fn main() {
    // Cargo tells a bench that it is to measure; of a test it says nothing.
    let test = !std::env::args().any(|argument| argument == "--bench");
    let size = if test {
        Size {
            samples: &[300, 400],
            orders: &[8],
            measured: Duration::ZERO,
        }
    } else {
        Size {
            samples: &[2_000, 10_000],
            orders: &[32, 64, 128, 512],
            measured: Duration::from_millis(300),
        }
    };
    // Else a test would overwrite what was measured.
    let folder = target().join(if test { "bench-test" } else { "bench" });
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("peers.parquet");
    fs::write(&file, channels(*size.samples.iter().max().unwrap())).unwrap();
    let cases: Vec<Value> = size
        .samples
        .iter()
        .flat_map(|samples| cases(&file, *samples, &size))
        .collect();
    let ours = json!({ "horizon": HORIZON, "threads": threads(), "cases": cases });
    fs::write(folder.join("ours.json"), serde_json::to_vec(&ours).unwrap()).unwrap();
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// Three hourly channels that need different models. No randomness from outside, so that two runs compare.
fn channels(samples: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = || {
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        uniform() + uniform() + uniform() + uniform() - 2.0
    };
    let mut of_lags = Vec::new();
    let mut seasonal = Vec::new();
    let mut unit_root = Vec::new();
    let mut level = 0.0;
    for t in 0..samples {
        let lag = |lag: usize| if lag <= t { of_lags[t - lag] } else { 0.0 };
        of_lags.push(0.5 * lag(1) - 0.2 * lag(2) + 0.4 * lag(24) + noise());
        level = 0.8 * level + noise();
        seasonal.push(level + 5.0 * (t as f64 * std::f64::consts::TAU / 24.0).sin());
        unit_root.push(unit_root.last().unwrap_or(&0.0) + level);
    }
    let at = |values: &'_ [f64], t: i64| values[usize::try_from(t).unwrap()];
    drops::wide(
        0..i64::try_from(samples).unwrap(),
        &[
            ("lags 1, 2, 24", &|t| at(&of_lags, t)),
            ("seasonal", &|t| at(&seasonal, t)),
            ("unit root", &|t| at(&unit_root, t)),
        ],
    )
}

fn cases(file: &Path, samples: usize, size: &Size) -> Vec<Value> {
    let series = read(file, samples);
    let case = |order: &usize| case(&series, samples, *order, size.measured);
    size.orders.iter().map(case).collect()
}

/// Each channel's newest samples, on the way that the service has for them.
fn read(file: &Path, samples: usize) -> Vec<Series> {
    let columns = Columns {
        time: "time".to_owned(),
        layout: Layout::Wide { only: None },
    };
    let limits = Limits {
        file_bytes: u64::MAX,
        file_values: u64::MAX,
        channels: usize::MAX,
        decode_memory: u64::MAX,
    };
    let decoded = decode(File::open(file).unwrap(), &columns, &limits, Timestamp(i64::MAX)).unwrap();
    let (drop, _) = SeriesDrop::from_rows(decoded.rows);
    let rules = HistoryRules {
        window: samples,
        frequency: None,
        off_grid: OffGrid::Snap,
    };
    let series = drop.channels().map(|(channel, rows)| {
        let mut history = ChannelHistory::new(rules);
        history.extend(rows);
        history.series(channel).unwrap()
    });
    series.collect()
}

fn case(series: &[Series], samples: usize, order: usize, measured: Duration) -> Value {
    let spec = FitSpec {
        horizon: HORIZON,
        levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
        max_lookback: order,
        gaps: GapPolicy::Interpolate,
    };
    let channels: Vec<Value> = series.iter().map(|series| channel(series, &spec, measured)).collect();
    let rate = fits_a_second(series, &spec, measured);
    let figure = |name: &str| median(channels.iter().map(|channel| channel[name].as_f64().unwrap()).collect());
    let (search, fit) = (figure("search"), figure("fit"));
    println!(
        "T = {samples}, P = {order}: search {:.3} ms, whole fit {:.3} ms of CPU; {rate:.0} fits a second on {} threads",
        search * 1e3,
        fit * 1e3,
        threads()
    );
    json!({
        "samples": samples, "order": order, "search": search, "fit": fit, "fits_a_second": rate,
        "channels": channels,
    })
}

fn channel(series: &Series, spec: &FitSpec, measured: Duration) -> Value {
    let path = search(&series.values, spec.max_lookback);
    let bic: Vec<f64> = (0..=path.highest()).map(|order| path.bic(order)).collect();
    let fit = forecastd_models::fit(series, spec).unwrap();
    json!({
        "name": &*series.channel,
        "search": cpu(measured, || search(black_box(&series.values), spec.max_lookback).best()),
        "fit": cpu(measured, || forecastd_models::fit(black_box(series), spec)),
        "best": path.best(),
        "bic": bic,
        "num_diff": fit.model.num_diff,
        "max_order": fit.model.max_order,
    })
}

/// What `ar_select_order` does: every order on one common sample, and no test for differences.
fn search(values: &[f64], order: usize) -> OrderPath {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
    OrderPath::new(&LagProducts::new(&centred, order), 0.0)
}

/// CPU seconds of a call: the median of at least one.
fn cpu<T>(measured: Duration, call: impl Fn() -> T) -> f64 {
    let started = Instant::now();
    let mut seconds = Vec::new();
    while seconds.is_empty() || started.elapsed() < measured {
        let before = thread_seconds();
        black_box(call());
        seconds.push(thread_seconds() - before);
    }
    median(seconds)
}

/// Whole fits on every core together, as the service has its fit threads.
fn fits_a_second(series: &[Series], spec: &FitSpec, measured: Duration) -> f64 {
    let fits = AtomicUsize::new(0);
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                for series in series.iter().cycle() {
                    black_box(forecastd_models::fit(series, spec)).unwrap();
                    fits.fetch_add(1, Ordering::Relaxed);
                    if started.elapsed() >= measured * 3 {
                        break;
                    }
                }
            });
        }
    });
    fits.into_inner() as f64 / started.elapsed().as_secs_f64()
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
