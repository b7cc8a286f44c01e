//! The child's life: says hello, answers pings at once, runs one job at a time, and ends with its socket.
//!
//! Two threads. The reading one never computes, so a ping is answered during an hour of training, and the daemon's
//! death is noticed then too. Jobs all run on the main thread: libtorch keeps a pool of workers for each thread that
//! computes.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use forecastd_models::frame::Frame;
use forecastd_models::torch_job::{Hello, PROTOCOL, Reply, ReplyBody, Request, RequestBody};
use serde::Serialize;

use crate::device::{self, Placement};
use crate::job;
use crate::onednn;
use crate::parent::{self, LAST_WORDS};
use crate::wire::{self, WireError};

/// The writing half of the socket, one frame at a time.
type Mouth = Arc<Mutex<UnixStream>>;

/// Serves the daemon at the other end of `socket` until that end closes.
pub fn run(socket: UnixStream, placement: &Placement) -> Result<(), WireError> {
    let mouth: Mouth = Arc::new(Mutex::new(socket.try_clone()?));
    say(&mouth, &Frame::from(hello(placement)))?;
    let (give, jobs) = sync_channel(1);
    let ear = Arc::clone(&mouth);
    thread::Builder::new()
        .name("socket".to_owned())
        .spawn(move || listen(socket, &ear, give))?;
    work(&jobs, &mouth, placement)
}

/// Who this is.
pub fn hello(placement: &Placement) -> Hello {
    Hello {
        protocol: PROTOCOL,
        libtorch: device::libtorch_version(),
        device: placement.described.clone(),
        threads: tch::get_num_threads().unsigned_abs(),
        onednn: onednn::advice().is_none(),
    }
}

/// Runs jobs until the listener goes away.
fn work(jobs: &Receiver<Frame<Request>>, mouth: &Mouth, placement: &Placement) -> Result<(), WireError> {
    jobs.iter()
        .try_for_each(|request| say(mouth, &job::run(request, placement)))
}

/// Reads until the daemon is gone, then sees to it that this process goes too.
fn listen(mut socket: UnixStream, mouth: &Mouth, jobs: SyncSender<Frame<Request>>) {
    if let Err(error) = hand_out(&mut socket, mouth, &jobs) {
        eprintln!("{error}");
    }
    drop(jobs); // an idle main thread returns now, and the process ends
    thread::sleep(LAST_WORDS);
    parent::end() // a job still runs
}

fn hand_out(socket: &mut UnixStream, mouth: &Mouth, jobs: &SyncSender<Frame<Request>>) -> Result<(), WireError> {
    while let Some(request) = wire::read::<Request>(socket)? {
        if request.header.body == RequestBody::Ping {
            let id = request.header.id;
            let body = ReplyBody::Pong;
            say(mouth, &Frame::from(Reply { id, body }))?;
        } else if let Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) = jobs.try_send(request) {
            let Frame { header: body, slices } = job::failed("busy with another job".to_owned());
            let header = Reply {
                id: request.header.id,
                body,
            };
            say(mouth, &Frame { header, slices })?;
        }
    }
    Ok(())
}

fn say<T: Serialize>(mouth: &Mouth, frame: &Frame<T>) -> Result<(), WireError> {
    wire::write(&mut *mouth.lock().unwrap_or_else(PoisonError::into_inner), frame)
}

/// The socket that the daemon left as this process's standard input.
pub fn inherited_socket() -> io::Result<UnixStream> {
    use std::os::fd::AsFd;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?; // fails for anything but a connected socket
    Ok(socket)
}
