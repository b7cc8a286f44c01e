//! One child: the process, its socket, and the thread that reads from it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use forecastd_models::frame::{Frame, PREFIX, body_length};
use forecastd_models::torch_job::{Hello, Reply};
use serde::de::DeserializeOwned;

use super::process::ChildProcess;
use super::supervisor::{Event, Said};

/// A running child.
#[derive(Debug)]
pub(super) struct TorchChild {
    process: ChildProcess,
    socket: UnixStream,
}

impl TorchChild {
    /// Starts a child. What it says goes to `events` under `number`.
    pub(super) fn spawn(
        command: Command,
        number: u64,
        take_within: Duration,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let (process, socket) = ChildProcess::spawn(command)?;
        socket.set_write_timeout(Some(take_within))?; // a child that hangs must not hang us
        let ear = socket.try_clone()?;
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
        self.process.terminate();
    }

    /// Ends the process, if it has not ended by itself, and says how it ended.
    pub(super) fn kill(self) -> String {
        let how = self.process.kill();
        let _ = self.socket.shutdown(Shutdown::Both); // one that does not end is listened to no longer
        how
    }
}

/// Whether an error of the socket says no more than that the other side is gone. It reads as a reset if a frame was
/// still on its way to it.
pub(in crate::work) fn is_end(kind: ErrorKind) -> bool {
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
