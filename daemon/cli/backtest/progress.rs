//! A bar on a terminal.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;

use crate::cli::bar::{bar, style};

/// Shows how far a backtest is; knows whether it must stop.
pub(super) struct Progress<'a> {
    pub(super) stop: &'a AtomicBool,
    bar: ProgressBar,
}

impl<'a> Progress<'a> {
    pub(super) fn new(stop: &'a AtomicBool) -> Self {
        Self {
            stop,
            bar: bar("{spinner} {human_pos} rows read"),
        }
    }

    /// Rows that were read; says whether to go on.
    pub(super) fn rows(&self, rows: u64) -> ControlFlow<()> {
        if self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        self.bar.inc(rows);
        ControlFlow::Continue(())
    }

    /// Reading is over; so many forecasts are to be judged.
    pub(super) fn begin(&self, jobs: usize) {
        self.bar
            .set_style(style("{bar:40} {human_pos}/{human_len} judged  {msg}  {eta} left"));
        self.bar.set_position(0);
        self.bar.set_length(jobs as u64);
    }

    /// What is being done.
    pub(super) fn doing(&self, what: String) {
        self.bar.set_message(what);
    }

    /// One more is judged.
    pub(super) fn judged(&self) {
        self.bar.inc(1);
    }

    /// Leaves the terminal as it was.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
