//! One child: the process, its socket, and the thread that reads from it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use forecastd_models::frame::{Frame, PREFIX, body_length};
use forecastd_models::torch_job::{Hello, Reply};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;

use super::supervisor::{Event, Said};

/// Time that the kernel may take to end a killed process. One that hangs inside a GPU driver takes for ever.
const REAP_WITHIN: Duration = Duration::from_secs(1);

/// Rest between two looks whether a killed process has ended.
const REAP_EVERY: Duration = Duration::from_millis(5);

/// A running child.
#[derive(Debug)]
pub(super) struct TorchChild {
    process: Child,
    socket: UnixStream,
}

impl TorchChild {
    /// Starts a child with one end of a socket pair as its standard input. That socket is its lifeline: our end is
    /// closed by the kernel however this process ends, and the child ends with it. What the child says goes to
    /// `events` under `number`.
    pub(super) fn spawn(
        mut command: Command,
        number: u64,
        take_within: Duration,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_write_timeout(Some(take_within))?; // a child that hangs must not hang us
        let ear = socket.try_clone()?;
        let process = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn()?;
        drop(command); // it holds their end, which would keep the socket open after the child's death
        let child = Self { process, socket };
        thread::Builder::new()
            .name("torch-socket".to_owned())
            .spawn(move || listen(ear, number, &events))?;
        Ok(child)
    }

    /// Sends a whole frame.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        self.socket.write_all(frame).map_err(|error| match error.kind() {
            kind if is_end(kind) => "ended".to_owned(),
            _ => format!("does not take a frame: {error}"),
        })
    }

    /// Asks the process to end.
    pub(super) fn terminate(&self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM); // fails only if it has ended
        }
    }

    /// Ends the process, if it has not ended by itself, and says how it ended.
    pub(super) fn kill(mut self) -> String {
        let _ = self.process.kill(); // fails only if it has ended
        let patience = Instant::now() + REAP_WITHIN;
        while Instant::now() < patience {
            match self.process.try_wait() {
                Ok(None) => thread::sleep(REAP_EVERY),
                Ok(Some(status)) => return status.to_string(),
                Err(error) => return error.to_string(),
            }
        }
        let _ = thread::Builder::new()
            .name("torch-reaper".to_owned())
            .spawn(move || self.process.wait());
        "the kernel does not let it end".to_owned()
    }
}

impl Drop for TorchChild {
    /// No child is left behind, whichever way this value goes; after [`kill`](Self::kill) this does nothing.
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.process.kill();
    }
}

/// Whether an error of the socket says no more than that the other side is gone. It reads as a reset if a frame was
/// still on its way to it.
fn is_end(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// Hands on what the child says, until it closes the socket or says what cannot be understood.
fn listen(mut socket: UnixStream, number: u64, events: &Sender<Event>) {
    let heard = hear(&mut socket, number, events);
    let reason = heard.err().filter(|error| !is_end(error.kind()));
    let _ = events.send(Event::Said(number, Said::Closed(reason.map(|error| error.to_string())))); // fails only while stopping
}

fn hear(socket: &mut UnixStream, number: u64, events: &Sender<Event>) -> io::Result<()> {
    let gone = |_| io::Error::from(ErrorKind::UnexpectedEof);
    let hello = read::<Hello>(socket)?;
    events
        .send(Event::Said(number, Said::Hello(hello.header)))
        .map_err(gone)?;
    loop {
        let reply = read::<Reply>(socket)?;
        events.send(Event::Said(number, Said::Reply(reply))).map_err(gone)?;
    }
}

fn read<T: DeserializeOwned>(socket: &mut impl Read) -> io::Result<Frame<T>> {
    let mut prefix = [0; PREFIX];
    socket.read_exact(&mut prefix)?;
    let mut body = vec![0; body_length(prefix).map_err(io::Error::other)?];
    socket.read_exact(&mut body)?;
    Frame::decode(&body).map_err(io::Error::other)
}
