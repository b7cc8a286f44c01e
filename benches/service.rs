//! The service as its machine feels it: idle cost with many channels, time from drop to endpoint, drops a second.
//!
//! `cargo bench --bench service`. Under `cargo test` each part runs once on a small input, so that it cannot rot.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports by printing and fails by panicking"
)]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the stories use more of it")]
mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::{Environment, long, wide};

/// Clock ticks a second in `/proc/PID/stat`, fixed by the kernel's interface to programs.
const TICKS: f64 = 100.0;

struct Size {
    channels: usize,
    points: i64,
    watched: Duration,
    repeats: usize,
    drops: usize,
}

fn main() {
    // Cargo tells a bench that it is to measure; of a test it says nothing.
    let test = !std::env::args().any(|argument| argument == "--bench");
    let size = if test {
        Size {
            channels: 20,
            points: 600,
            watched: Duration::from_secs(1),
            repeats: 1,
            drops: 10,
        }
    } else {
        Size {
            channels: 1000,
            points: 8192,
            watched: Duration::from_secs(60),
            repeats: 5,
            drops: 500,
        }
    };
    idle(&size);
    drop_to_endpoint(&size);
    small_drops(&size);
}

/// Resident memory and CPU of the daemon with all channels loaded, fitted, and nothing to do.
fn idle(size: &Size) {
    let environment = Environment::with_series("{ time: time, channel: channel, value: value }");
    let daemon = environment.start();
    let started = Instant::now();
    for (part, first) in (0..size.channels).step_by(100).enumerate() {
        let mut rows = Vec::new();
        let names: Vec<String> = (first..(first + 100).min(size.channels))
            .map(|i| format!("channel_{i:04}"))
            .collect();
        for (number, name) in names.iter().enumerate() {
            // A day, and what no regression can foresee: such channels keep statistics for their next fit.
            let noise = |i: i64| (i * i + first as i64).wrapping_mul(0x1E37_79B9_7F4A_7C15) >> 40;
            let value = |i: i64| ((i + number as i64) % 24) as f64 + noise(i) as f64 / 1e6;
            rows.extend((0..size.points).map(|i| (i, name.as_str(), value(i))));
        }
        environment.drop_bytes(&format!("{part}.parquet"), &long(&rows));
    }
    let forecasts = size.channels * 2;
    loop {
        let page = daemon.scrape();
        if page.count("forecastd_forecast") == forecasts && page.sum("forecastd_channels_due") == 0.0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let loaded = started.elapsed();
    // Without anything to do it must give back what the fits needed.
    std::thread::sleep(Duration::from_secs(2));
    let before = cpu_seconds(daemon.pid());
    std::thread::sleep(size.watched);
    let cpu = (cpu_seconds(daemon.pid()) - before) / size.watched.as_secs_f64();
    println!(
        "idle, {} channels of {} points: resident {:.1} MB (peak {:.1} MB), CPU {:.3} % over {:.0} s; \
         loaded and fitted in {:.1} s",
        size.channels,
        size.points,
        memory(daemon.pid(), "VmRSS:"),
        memory(daemon.pid(), "VmHWM:"),
        cpu * 100.0,
        size.watched.as_secs_f64(),
        loaded.as_secs_f64(),
    );
}

/// From the rename of a drop of seven channels to their forecasts on the page, median of fresh starts.
fn drop_to_endpoint(size: &Size) {
    let mut times: Vec<f64> = (0..size.repeats).map(|_| one_drop(size.points * 2)).collect();
    times.sort_by(f64::total_cmp);
    println!(
        "drop to endpoint, 7 channels of {} rows: median {:.3} s of {} (min {:.3}, max {:.3})",
        size.points * 2,
        times[times.len() / 2],
        times.len(),
        times[0],
        times[times.len() - 1],
    );
}

fn one_drop(rows: i64) -> f64 {
    let environment = Environment::with_series("{ time: time }");
    let value = |i: i64| (i % 24) as f64 + (i * 7919 % 101) as f64 / 50.0;
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let channels: Vec<(&str, &dyn Fn(i64) -> f64)> = names.map(|name| (name, &value as &dyn Fn(i64) -> f64)).to_vec();
    let bytes = wide(0..rows, &channels);
    let daemon = environment.start();
    let started = Instant::now();
    environment.drop_bytes("a.parquet", &bytes);
    daemon.scrape_until("forecasts", |page| page.count("forecastd_forecast") == 14);
    started.elapsed().as_secs_f64()
}

/// Small drops that already wait, until all are durable and gone from the folder.
fn small_drops(size: &Size) {
    let environment = Environment::with_series("{ time: time }");
    for drop in 0..size.drops as i64 {
        let hours = drop * 10..(drop + 1) * 10;
        environment.drop_bytes(
            &format!("{drop:06}.parquet"),
            &wide(hours, &[("x", &|i| (i % 24) as f64)]),
        );
    }
    let daemon = environment.start();
    let started = Instant::now();
    daemon.after_drops(size.drops as u64);
    let elapsed = started.elapsed().as_secs_f64();
    println!(
        "small drops: {} of 10 rows in {elapsed:.2} s, {:.0} a second",
        size.drops,
        size.drops as f64 / elapsed
    );
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

/// A line of `/proc/PID/status`, in megabytes.
fn memory(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}
