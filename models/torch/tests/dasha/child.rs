//! The executable at work on a folder.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use forecastd_models::dasha::{Card, DashaEvent};

/// A run under way. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Run {
    child: Child,
    /// The run ends with it.
    pub(crate) stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Run {
    /// On one thread: two that wait for each other are slower where other tests compute too.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::prepared(folder, |command| command)
    }

    /// The same of a process that is prepared so.
    pub(crate) fn prepared(folder: &Path, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forecastd-torch"));
        let mut child = prepare(&mut command)
            .args(["--threads", "1", "--dasha"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the executable starts");
        let stdout = child.stdout.take().expect("it is piped");
        Self {
            stdin: child.stdin.take(),
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// What happens next; none when it has ended.
    pub(crate) fn next(&mut self) -> Option<DashaEvent> {
        let line = self.lines.next()?.expect("it is text");
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Everything up to its end, and whether that was a good one.
    pub(crate) fn end(mut self) -> (Vec<DashaEvent>, bool) {
        let events: Vec<DashaEvent> = std::iter::from_fn(|| self.next()).collect();
        let status = self.child.wait().expect("it can be waited for");
        (events, status.success())
    }

    /// At once, and without a word.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Bytes of memory that it holds.
    pub(crate) fn resident(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("it runs, on Linux");
        let pages = statm.split(' ').nth(1).expect("the second number");
        pages.parse::<usize>().expect("pages") * 4096
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A run from start to end, which must be a good one.
pub(crate) fn events(folder: &Path) -> Vec<DashaEvent> {
    let (events, is_good) = Run::start(folder).end();
    assert!(is_good, "{events:?}");
    events
}

/// What a run has written of itself.
pub(crate) fn card(folder: &Path) -> Card {
    let text = fs::read(folder.join("artifact/card.json")).expect("there is a card");
    serde_json::from_slice(&text).expect("it is one")
}
