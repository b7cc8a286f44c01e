//! `--bench-fit`: how many channels a second are fitted here, and whether they are fitted right.
//!
//! In the executable rather than beside it, since a machine with a GPU may have no toolchain. The samples are made
//! here; a few hundred different channels are repeated as often as is asked.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use forecastd_models::device_fit::{DeviceBatch, DeviceFit};
use forecastd_models::{FitSpec, Frequency, GapPolicy, Grid, Series, Timestamp};
use tch::{Device, Tensor};

use crate::device::Placement;
use crate::fit::fit;

/// Different channels; the others repeat them.
const DIFFERENT: usize = 256;

/// Each figure is the middle one of so many.
const RUNS: usize = 5;

/// Memory for work in the sweep.
const MEMORY: [usize; 4] = [256 << 20, 1 << 30, 4 << 30, 8 << 30];

/// Measures and prints.
///
/// # Errors
///
/// What libtorch says, or that a channel has another order than on the CPU.
#[expect(clippy::print_stdout, reason = "the result that was asked for")]
pub fn run(placement: &Placement, batch: &DeviceBatch) -> anyhow::Result<()> {
    let different: Vec<Vec<f64>> = (0..DIFFERENT.min(batch.channels))
        .map(|seed| channel(seed as u64, batch.length))
        .collect();
    let samples = repeated(&different, batch)?;
    let on_device = samples.f_to_device(placement.device)?;
    println!(
        "{:?}: {} channels of {} samples, looking back {}",
        placement.described, batch.channels, batch.length, batch.max_lookback
    );
    println!("{}", floor(batch));
    let found = fit(&on_device, batch, placement.memory)?;
    println!("{}", compare(&different, &found, batch)?);
    for memory in MEMORY.into_iter().filter(|memory| *memory <= placement.memory) {
        let resident = median(|| fit(&on_device, batch, memory).map(drop))?;
        let moved = median(|| fit(&samples.f_to_device(placement.device)?, batch, memory).map(drop))?;
        let rate = |time: Duration| batch.channels as f64 / time.as_secs_f64();
        println!(
            "{:5} MiB for work: {:8.0} channels/s on the device, {:8.0} with transfer",
            memory >> 20,
            rate(resident),
            rate(moved)
        );
    }
    Ok(())
}

/// What the search alone must do for a channel; see `fit`.
fn floor(batch: &DeviceBatch) -> String {
    let (length, order) = (batch.length as f64, batch.max_order(0) as f64);
    let flops = order.powi(3) / 3.0 + 6.0 * order * order + 25.0 * length * length.log2();
    let bytes = 8.0 * (11.0 * order * order + 30.0 * length);
    let transfer = 8.0 * length;
    format!(
        "floor a channel: {flops:.1e} flop, {:.1} MB of device memory's traffic, {:.0} kB to bring there",
        bytes / 1e6,
        transfer / 1e3
    )
}

fn median(mut work: impl FnMut() -> Result<(), tch::TchError>) -> Result<Duration, tch::TchError> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        work()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[RUNS / 2])
}

fn repeated(different: &[Vec<f64>], batch: &DeviceBatch) -> Result<Tensor, tch::TchError> {
    let rows = different.len() as i64;
    let base = Tensor::f_from_slice(&different.concat())?.f_reshape([rows, batch.length as i64])?;
    let places: Vec<i64> = (0..batch.channels as i64).map(|channel| channel % rows).collect();
    base.f_index_select(0, &Tensor::f_from_slice(&places)?.f_to_device(Device::Cpu)?)
}

/// A wave with a day's period and noise with a memory; every fourth a walk. No randomness from outside, so that two
/// runs compare. Near one, as the daemon sends them.
fn channel(seed: u64, length: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let (mut level, mut walk) = (0.0, 0.0);
    let memory = 0.3 + 0.6 * (seed % 7) as f64 / 7.0;
    let samples = (0..length).map(|t| {
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        level = memory * level + uniform() + uniform();
        walk += level;
        if seed % 4 == 3 {
            walk / 1024.0
        } else {
            level / 8.0 + 0.2 * (t as f64 * 0.261_8).sin()
        }
    });
    samples.collect()
}

/// How sure the device is, and that it finds what the CPU finds.
fn compare(different: &[Vec<f64>], found: &[Option<DeviceFit>], batch: &DeviceBatch) -> anyhow::Result<String> {
    let spec = FitSpec {
        horizon: NonZeroUsize::MIN,
        levels: Vec::new(),
        max_lookback: batch.max_lookback,
        gaps: GapPolicy::Error,
    };
    let frequency = Frequency::fixed(1).context("one is positive")?;
    let mut error = 0.0_f64;
    for (number, (values, found)) in different.iter().zip(found).enumerate() {
        let Some(found) = found else { continue };
        let series = Series {
            channel: "".into(),
            grid: Grid {
                origin: Timestamp(0),
                frequency,
            },
            first_slot: 0,
            values: values.clone(),
        };
        let model = forecastd_models::fit(&series, &spec)?.model;
        let here = (found.num_diff, found.coefficients.len());
        ensure!(
            here == (model.num_diff, model.order),
            "channel {number}: {here:?} here, {:?} on the CPU",
            (model.num_diff, model.order)
        );
        let errors = found
            .coefficients
            .iter()
            .zip(&model.coefficients)
            .map(|(here, there)| (here - there).abs());
        error = errors.fold(error, f64::max);
    }
    let sure = found.iter().flatten().count();
    let mut orders: Vec<usize> = found.iter().flatten().map(|fit| fit.coefficients.len()).collect();
    orders.sort_unstable();
    Ok(format!(
        "sure of {sure} of {}, orders up to {} (half up to {}); of {} compared with the CPU all orders are the same, coefficients within {error:.0e}",
        found.len(),
        orders.last().unwrap_or(&0),
        orders.get(orders.len() / 2).unwrap_or(&0),
        different.len()
    ))
}
