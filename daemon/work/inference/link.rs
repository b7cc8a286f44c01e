//! The serving child's process and its socket: whole frames in both directions, and nothing about what they mean.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::process::Command;
use std::thread;

use forecastd_models::frame::{Frame, PREFIX, body_length};
use forecastd_models::inference::Reply;
use forecastd_models::torch_job::Hello;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::work::torch_process::child::is_end;
use crate::work::torch_process::process::ChildProcess;

/// Room to read into when it is not known how much comes.
const READ: usize = 64 << 10;

/// A buffer that has grown beyond this is given back once it is empty.
const KEPT: usize = 1 << 20;

/// A running child.
#[derive(Debug)]
pub(super) struct Link {
    process: ChildProcess,
    socket: UnixStream,
    incoming: Vec<u8>,
    /// Frames that the socket has not taken yet, and how much of the first it has.
    outgoing: VecDeque<Vec<u8>>,
    taken: usize,
    has_greeted: bool,
}

/// What a child says.
#[derive(Debug)]
pub(super) enum Words {
    /// Its first words.
    Hello(Hello),
    /// An answer.
    Reply(Frame<Reply>),
}

impl Link {
    /// Starts a child.
    pub(super) fn start(command: Command) -> io::Result<Self> {
        let (process, socket) = ChildProcess::spawn(command)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            process,
            socket: UnixStream::from_std(socket)?,
            incoming: Vec::new(),
            outgoing: VecDeque::new(),
            taken: 0,
            has_greeted: false,
        })
    }

    /// Sends a frame: what the socket takes now at once, and the rest while [`words`](Self::words) are waited for.
    /// That the child is gone is told there.
    pub(super) fn send(&mut self, frame: Vec<u8>) {
        self.outgoing.push_back(frame);
        let _ = self.write();
    }

    /// What the child says next; why there is nothing more to come otherwise. May be dropped and called again.
    pub(super) async fn words(&mut self) -> Result<Words, String> {
        loop {
            if let Some(words) = self.parse().map_err(|error| told(&error))? {
                return Ok(words);
            }
            let interest = match self.outgoing.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let moved = match self.socket.ready(interest).await {
                Ok(ready) => self.move_bytes(ready.is_readable(), ready.is_writable()),
                Err(error) => Err(error),
            };
            moved.map_err(|error| told(&error))?;
        }
    }

    fn move_bytes(&mut self, can_read: bool, can_write: bool) -> io::Result<()> {
        if can_read {
            self.read()?;
        }
        if can_write {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(frame) = self.outgoing.front() {
            match self.socket.try_write(&frame[self.taken..]) {
                Ok(bytes) => self.taken += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.taken == frame.len() {
                self.outgoing.pop_front();
                self.taken = 0;
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let wanted = self.frame_length()?.unwrap_or_default();
        self.incoming
            .reserve(wanted.saturating_sub(self.incoming.len()).max(READ));
        match self.socket.try_read_buf(&mut self.incoming) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Length of the frame that is being read, once it is known.
    fn frame_length(&self) -> io::Result<Option<usize>> {
        let prefix = self.incoming.first_chunk::<PREFIX>();
        let body = prefix.map(|prefix| body_length(*prefix)).transpose();
        Ok(body.map_err(io::Error::other)?.map(|body| PREFIX + body))
    }

    fn parse(&mut self) -> io::Result<Option<Words>> {
        let Some(length) = self.frame_length()?.filter(|length| *length <= self.incoming.len()) else {
            return Ok(None);
        };
        let body = &self.incoming[PREFIX..length];
        let words = match self.has_greeted {
            true => Words::Reply(Frame::decode(body).map_err(io::Error::other)?),
            false => Words::Hello(Frame::decode(body).map_err(io::Error::other)?.header),
        };
        self.has_greeted = true;
        self.incoming.drain(..length);
        if self.incoming.is_empty() && self.incoming.capacity() > KEPT {
            self.incoming = Vec::new();
        }
        Ok(Some(words))
    }

    /// Asks the process to end.
    pub(super) fn terminate(&self) {
        self.process.terminate();
    }

    /// Ends the process, on a thread of its own: the kernel may take its time. Tells in the end how it ended.
    pub(super) fn end(self, reason: String) -> oneshot::Receiver<String> {
        let (tell, told) = oneshot::channel();
        let reaper = thread::Builder::new().name("serving-end".to_owned());
        // Where no thread can be started, the process is killed as it is dropped, and the channel with it.
        let _ = reaper.spawn(move || {
            let how = format!("{reason} ({})", self.process.kill());
            drop(self.socket);
            let _ = tell.send(how); // fails only while stopping
        });
        told
    }
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        kind if is_end(kind) => "ended".to_owned(),
        _ => format!("broke off: {error}"),
    }
}
