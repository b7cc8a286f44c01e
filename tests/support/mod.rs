//! A small language for the stories: a folder with a configuration, a daemon in it, drops, scrapes.

pub mod artifact;
mod daemon;
mod drops;
mod environment;
mod page;
mod samples;
pub mod tools;

pub use daemon::{Daemon, try_get};
pub use drops::{listed, long, wide};
pub use environment::{Environment, forecastd};
pub use page::Page;
pub use samples::{fixed_tiles, sequences, tiles};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Waits until `condition` yields something; panics with `what` after a minute, which no healthy run needs.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "waited a minute for {what}"
        );
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
