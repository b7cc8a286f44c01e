//! A child that is sent once, for hours perhaps: it says lines, and ends by itself.
//!
//! Unlike the supervised child it has no socket; what it needs lies in a folder. It ends when its standard input
//! closes, so it does not outlive this process, however this process ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use forecastd_config::{Torch, TorchFit, TorchStart};

use super::{TorchError, executable};

/// Lines that wait to be taken; then the child waits.
const QUEUE: usize = 256;

/// Bytes of a line, at most: a line without an end is no line of ours.
const MAX_LINE: u64 = 4 << 20;

/// Bytes of the standard error stream that are kept, the last ones.
const KEPT: usize = 8 << 10;

/// What has come from an errand.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line of its standard output.
    Line(String),
    /// Nothing for as long as one was ready to wait.
    Nothing,
    /// It says no more.
    End,
}

/// A child at work. Dropping it ends it.
#[derive(Debug)]
pub struct Errand {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    complaint: Option<JoinHandle<String>>,
}

impl Errand {
    /// Starts the executable, which lies where `named` says, or beside this one, or on the PATH.
    pub fn start<A: AsRef<OsStr>>(
        named: Option<&Path>,
        threads: NonZeroUsize,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, TorchError> {
        let settings = Torch {
            start: TorchStart::OnDemand,
            executable: named.map(Path::to_owned),
            fit: TorchFit::Never,
        };
        let mut command = executable::command(&settings, threads)?;
        let failed = |path: &OsStr, error: &dyn std::fmt::Display| TorchError::Start {
            path: path.into(),
            error: error.to_string(),
        };
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(command.get_program(), &error))?;
        let input = child.stdin.take();
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (tell, lines) = sync_channel(QUEUE);
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        let started = thread("torch-lines").spawn(move || {
            let mut output = BufReader::new(output.expect("its standard output is a pipe"));
            while let Some(line) = next_line(&mut output) {
                if tell.send(line).is_err() {
                    return; // nobody listens any more
                }
            }
        });
        let complaint = started
            .and_then(|_| thread("torch-errors").spawn(move || last_of(errors.expect("its standard error is a pipe"))));
        let complaint = complaint.map_err(|error| failed(command.get_program(), &error))?;
        Ok(Self {
            child,
            input,
            lines,
            complaint: Some(complaint),
        })
    }

    /// Waits for the next line, at most so long.
    pub fn hear(&self, patience: Duration) -> Heard {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// How it ended, and what it complained of, once it says no more.
    pub fn end(mut self) -> Result<(ExitStatus, String), TorchError> {
        let status = self.child.wait().map_err(|error| TorchError::Died {
            how: format!("cannot be waited for: {error}"),
        })?;
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok());
        Ok((status, complaint.unwrap_or_default()))
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill(); // it may be over, which is as well
        let _ = self.child.wait();
    }
}

fn next_line(output: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let read = output.take(MAX_LINE).read_until(b'\n', &mut line);
    read.ok().filter(|bytes| *bytes > 0)?;
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn last_of(mut errors: impl Read) -> String {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(bytes @ 1..) = errors.read(&mut piece) {
        kept.extend_from_slice(&piece[..bytes]);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell in the place of the executable, which is called with `--threads 1` first.
    fn shell(script: &str) -> Errand {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("child");
        std::fs::write(&path, script).expect("written");
        let arguments = [path.as_os_str()];
        // `sh --threads` would be refused, so the script is the argument of an env that ignores what comes first.
        let wrapper = dir.path().join("wrapper");
        std::fs::write(&wrapper, "#!/bin/sh\nshift 2\nexec /bin/sh \"$1\"\n").expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&wrapper, mode).expect("permitted");
        let errand = Errand::start(Some(&wrapper), NonZeroUsize::MIN, arguments).expect("started");
        // The shell has read its script once it has said something.
        std::mem::drop(dir.keep());
        errand
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn lines_status_and_complaint_come_back() {
        let errand = shell("echo one; echo two; echo 'no memory' >&2; exit 3");
        assert_eq!(errand.hear(LONG), Heard::Line("one".to_owned()));
        assert_eq!(errand.hear(LONG), Heard::Line("two".to_owned()));
        assert_eq!(errand.hear(LONG), Heard::End);
        let (status, complaint) = errand.end().expect("it ended");
        assert_eq!((status.code(), complaint.as_str()), (Some(3), "no memory"));
    }

    #[test]
    fn a_dropped_errand_is_over() {
        let errand = shell("echo $$; exec sleep 100");
        let Heard::Line(pid) = errand.hear(LONG) else {
            panic!("it says its id")
        };
        assert_eq!(errand.hear(Duration::from_millis(10)), Heard::Nothing);
        drop(errand);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        assert!(stat.map_or(true, |stat| stat.contains(") Z ")));
    }
}
