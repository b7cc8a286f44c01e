//! A small language for the stories: a folder with a configuration, a daemon in it, drops, scrapes.

pub mod artifact;
mod daemon;
mod drops;
pub mod endpoint;
mod environment;
pub mod http;
pub mod network;
mod page;
mod samples;
pub mod tools;

pub use daemon::{Daemon, try_get};
pub use drops::{listed, long, rows_of, wide};
pub use environment::{Environment, LANDING, forecastd};
pub use page::Page;
pub use samples::{fixed_tiles, sequences, tiles};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A child of this name of a process.
pub fn child_of(parent: u32, name: &str) -> Option<i32> {
    let output = std::process::Command::new("ps")
        .args(["-o", "pid=,comm=", "--ppid", &parent.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.contains(name) && !line.contains("<defunct>"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many times as long a process of the lowest priority takes here, now, as on a machine of its own: trainings have a
/// budget of wall time, and what a network has learnt by then should not hang on who else computes. To be asked before each
/// training, and stories that train come one at a time (`.config/nextest.toml`), for no budget can be mended later.
pub fn crowding() -> f64 {
    let counts = "i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done; times";
    let started = Instant::now();
    let output = std::process::Command::new("nice")
        .args(["-n", "19", "sh", "-c", counts])
        .output()
        .unwrap();
    let wall = started.elapsed().as_secs_f64();
    let told = String::from_utf8(output.stdout).unwrap(); // 0m0.131s 0m0.002s
    let seconds = |time: &str| -> f64 {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
        60.0 * minutes.parse::<f64>().unwrap() + seconds.parse::<f64>().unwrap()
    };
    let own: f64 = told.lines().next().unwrap().split_whitespace().map(seconds).sum();
    (wall / own).clamp(1.0, 10.0)
}

/// Resident memory of a process in MiB.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10
}

/// Waits until `condition` yields something; panics with `what` after a minute, which no healthy run needs.
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_within(Duration::from_secs(60), what, condition)
}

/// The same for what is done at the lowest priority: where every processor has other work, it takes as long as that.
pub fn wait_idly_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_within(Duration::from_secs(1200), what, condition)
}

/// The same for what takes as long as somebody has said.
pub fn wait_within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < patience, "waited {patience:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A file of the public data sets, if `FORECASTD_DATA` names their folder. In CI it must.
pub fn data(file: &str) -> Option<PathBuf> {
    match std::env::var_os("FORECASTD_DATA") {
        Some(folder) => Some(PathBuf::from(folder).join(file)),
        None => skip(&format!("FORECASTD_DATA does not name the folder with {file}")),
    }
}

/// Says that a test did not run, and why. In CI nothing may be skipped.
pub fn skip<T>(reason: &str) -> Option<T> {
    assert!(
        std::env::var_os("CI").is_none(),
        "nothing may be skipped in CI: {reason}"
    );
    println!("skipped: {reason}");
    None
}
