//! Refits of the service beside a training of its own: what a network in the making costs those who wait for forecasts,
//! and what they cost it.
//!
//! `FORECASTD_TORCH=… cargo bench --bench training`. Under `cargo test` it looks for a moment, so that it cannot rot.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports by printing and fails by panicking"
)]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the stories use more of it")]
mod support;

use std::fs;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use forecastd_models::dasha::Random;
use rustix::param::clock_ticks_per_second;
use support::network::executable;
use support::{Daemon, Environment, child_of, fixed_tiles, wait_idly_for, wide};

const LANDING: &str = "landing: { scan_interval: 200ms, settle: 300ms, patience: 1s }";

/// 2026-01-01T00:00:00Z in seconds, where `wide` has its hour 0; and an hour so long before that no row is from the future.
const START: i64 = 1_767_225_600;
const FIRST: i64 = -30_000;

/// Between two looks at the page.
const LOOK: Duration = Duration::from_millis(5);

struct Size {
    channels: usize,
    points: i64,
    /// Drops of one row for every channel.
    drops: i64,
    /// Drops after which every channel is chosen for anew.
    batches: i64,
    tiles: usize,
    /// Pixels of a side.
    side: usize,
    /// How long the training is left alone.
    alone: Duration,
}

fn main() {
    // Cargo tells a bench that it is to measure; of a test it says nothing.
    let size = match std::env::args().any(|argument| argument == "--bench") {
        true => Size {
            channels: 50,
            points: 8192,
            drops: 40,
            batches: 5,
            tiles: 1000,
            side: 32,
            alone: Duration::from_secs(30),
        },
        false => Size {
            channels: 3,
            points: 400,
            drops: 2,
            batches: 1,
            tiles: 100,
            side: 8,
            alone: Duration::from_secs(1),
        },
    };
    let Some(executable) = executable() else { return };
    let environment = environment(&executable, &size);
    let daemon = environment.start();
    let mut series = Series {
        environment: &environment,
        daemon: &daemon,
        channels: size.channels,
        hours: FIRST,
    };
    series.take(size.points);
    let processors = available_parallelism().map_or(1, usize::from);
    println!(
        "{} channels of {} points on {processors} processors, forecast by auto",
        size.channels, size.points
    );
    series.measure("alone", &size);

    drop_tiles(&environment, &size);
    let child = wait_idly_for("the child that trains", || child_of(daemon.pid(), "forecastd-torch"));
    wait_idly_for("its first epoch", || {
        let mut runs = fs::read_dir(environment.path("state/trainings")).ok()?.flatten();
        let begun = runs.any(|run| run.path().join("checkpoint/state.json").exists());
        begun.then_some(())
    });
    let cpu = Cpu::of(child);
    sleep(size.alone);
    println!("the training alone: {:.2} processors", cpu.used());
    let cpu = Cpu::of(child);
    series.measure("beside a training", &size);
    println!("the training meanwhile: {:.2} processors", cpu.used());
    let trains = child_of(daemon.pid(), "forecastd-torch") == Some(child);
    assert!(trains, "it was over before it was measured:\n{}", daemon.log());
}

/// A dataset `s` of series, and one of tiles whose network trains for as long as this takes.
fn environment(executable: &str, size: &Size) -> Environment {
    let environment = Environment::with_datasets("");
    let series = Environment::dataset("s", "{ time: time }", "forecast: { horizon: 96, steps: [1, 96] }");
    let (tiles, side) = (size.tiles, size.side);
    environment.write_config(&format!(
        "state_dir: ./state\nhttp: {{ listen: \"127.0.0.1:0\" }}\ntorch: {{ executable: {executable}, fit: never }}\n\
         datasets:\n{series}  - name: d\n    kind: tiles\n    incoming: ./incoming/d\n    model: noise\n    {LANDING}\n    \
         samples: {{ id: name, image: image, label: label, shape: [3, {side}, {side}] }}\n\
         models:\n  - name: noise\n    incoming: ./incoming/models\n    {LANDING}\n    \
         train: {{ first: {tiles}, time_budget: 30m, scale: small, backbone: wide_resnet }}\n"
    ));
    environment
}

/// Tiles of noise: what is learnt does not matter here.
fn drop_tiles(environment: &Environment, size: &Size) {
    let mut random = Random::new(2);
    let names: Vec<String> = (0..size.tiles).map(|tile| format!("tile-{tile}")).collect();
    let bytes = 3 * size.side * size.side;
    let mut noise = || (0..bytes).map(|_| random.below(256) as u8).collect::<Vec<u8>>();
    let label = |tile: usize| Some(["no", "yes"][tile % 2]);
    let tiles = names.iter().enumerate();
    let rows: Vec<_> = tiles
        .map(|(tile, name)| (name.as_str(), noise(), label(tile)))
        .collect();
    environment.drop_bytes("tiles.parquet", &fixed_tiles(&rows));
}

/// Channels that grow by the hour.
struct Series<'a> {
    environment: &'a Environment,
    daemon: &'a Daemon,
    channels: usize,
    hours: i64,
}

impl Series<'_> {
    /// From the rename of a drop of so many rows of each channel to the forecasts of all of them that know the last.
    fn take(&mut self, rows: i64) -> Duration {
        let names: Vec<String> = (0..self.channels)
            .map(|channel| format!("channel_{channel:03}"))
            .collect();
        let value = |channel: usize| {
            move |hour: i64| {
                let noise = (hour * hour + channel as i64).wrapping_mul(0x1E37_79B9_7F4A_7C15) >> 40;
                ((hour + channel as i64) % 24) as f64 + noise as f64 / 1e6
            }
        };
        let values: Vec<_> = (0..self.channels).map(value).collect();
        let columns: Vec<(&str, &dyn Fn(i64) -> f64)> = names
            .iter()
            .zip(&values)
            .map(|(name, value)| (name.as_str(), value as &dyn Fn(i64) -> f64))
            .collect();
        let drop = wide(self.hours..self.hours + rows, &columns);
        self.hours += rows;
        let last = (START + (self.hours - 1) * 3600) as f64;
        let started = Instant::now();
        self.environment
            .drop_into("s", &format!("{}.parquet", self.hours), &drop);
        loop {
            let page = self.daemon.scrape();
            let cutoffs = page.samples("forecastd_forecast_cutoff_timestamp_seconds");
            if cutoffs.filter(|(_, cutoff)| *cutoff == last).count() == self.channels {
                return started.elapsed();
            }
            assert!(started.elapsed() < Duration::from_secs(600), "{}", self.daemon.log());
            sleep(LOOK);
        }
    }

    fn measure(&mut self, how: &str, size: &Size) {
        let mut times: Vec<Duration> = (0..size.drops).map(|_| self.take(1)).collect();
        times.sort();
        println!(
            "{how}: a row more for every channel is in its forecast after {:.0?} (median of {}; slowest {:.0?})",
            times[times.len() / 2],
            times.len(),
            times[times.len() - 1]
        );
        // More than the sixteenth after which a channel's map is chosen anew.
        let started = Instant::now();
        for _ in 0..size.batches {
            self.take(size.points / 8);
        }
        let chosen = self.channels as f64 * size.batches as f64;
        let seconds = started.elapsed().as_secs_f64();
        println!("{how}: {:.1} channels a second are chosen for anew", chosen / seconds);
    }
}

/// What a process uses from one moment on.
struct Cpu {
    pid: i32,
    before: f64,
    since: Instant,
}

impl Cpu {
    fn of(pid: i32) -> Self {
        Self {
            pid,
            before: seconds(pid),
            since: Instant::now(),
        }
    }

    /// Processors, on average.
    fn used(&self) -> f64 {
        (seconds(self.pid) - self.before) / self.since.elapsed().as_secs_f64()
    }
}

/// CPU seconds that a process has used.
fn seconds(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / clock_ticks_per_second() as f64
}
