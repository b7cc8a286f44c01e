//! The child that does the heavy work of a command, and what it says until it is over or somebody interrupts.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::threads;
use crate::work::torch_process::{Errand, Heard};

/// How the child is started.
#[derive(Debug, clap::Args)]
pub(super) struct ErrandArgs {
    /// CPU threads [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// The executable forecastd-torch, if it lies neither beside this one nor on the PATH.
    #[arg(long, value_name = "FILE")]
    executable: Option<PathBuf>,
}

/// From one look at the signals to the next.
const GLANCE: Duration = Duration::from_millis(100);

impl ErrandArgs {
    /// Starts the child.
    pub(super) fn start(&self, arguments: &[&OsStr]) -> anyhow::Result<Errand> {
        let executable = self.executable.as_deref();
        Ok(Errand::start(executable, threads(self.threads), arguments)?)
    }

    /// Starts the child and hands on every line that it says. How it ended, and what it complained of; `None` where
    /// `stop` came first, which ends it.
    pub(super) fn run(
        &self,
        arguments: &[&OsStr],
        stop: &AtomicBool,
        mut take: impl FnMut(&str),
    ) -> anyhow::Result<Option<(ExitStatus, String)>> {
        let errand = self.start(arguments)?;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match errand.hear(GLANCE) {
                Heard::Nothing => {}
                Heard::Line(line) => take(&line),
                Heard::End => return Ok(Some(errand.end()?)),
            }
        }
    }
}
