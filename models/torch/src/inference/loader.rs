//! The thread that makes networks of artifacts, one after the other.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use super::crew::Crew;
use crate::artifact::Artifact;
use crate::device::Placement;
use crate::job::guarded;

/// Makes networks. Dropping it waits for the one that is being made.
#[derive(Debug)]
pub(super) struct Loader {
    wanted: Option<Sender<(u64, PathBuf)>>,
    made: Receiver<Made>,
    /// Readable once something has been made.
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// What became of an artifact, under its network's key.
pub(super) type Made = (u64, Result<Crew, String>);

impl Loader {
    pub(super) fn start(placement: &Placement, threads: i32) -> io::Result<Self> {
        let (wanted, orders) = channel();
        let (give, made) = channel();
        let (bell, rope) = UnixStream::pair()?;
        let placement = placement.clone();
        let thread = thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || make_all(&orders, &give, rope, &placement, threads))?;
        Ok(Self {
            wanted: Some(wanted),
            made,
            bell,
            thread: Some(thread),
        })
    }

    /// Has a network made.
    pub(super) fn order(&self, key: u64, folder: PathBuf) {
        if let Some(wanted) = &self.wanted {
            let _ = wanted.send((key, folder)); // fails only if the thread has panicked, which `taken` tells
        }
    }

    /// Becomes readable when there is something to [take](Self::taken).
    pub(super) fn bell(&self) -> &UnixStream {
        &self.bell
    }

    /// The next network that was made. Comes after the bell has been heard.
    pub(super) fn taken(&self) -> io::Result<Made> {
        use std::io::Read;
        let mut rung = [0];
        let heard = (&self.bell).read(&mut rung)?;
        match self.made.try_recv() {
            Ok(made) => Ok(made),
            Err(TryRecvError::Empty) if heard > 0 => Err(io::Error::other("the bell rang for nothing")),
            Err(_) => Err(io::Error::other("the loader has ended")),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn make_all(
    orders: &Receiver<(u64, PathBuf)>,
    give: &Sender<Made>,
    mut rope: UnixStream,
    placement: &Placement,
    threads: i32,
) {
    for (key, folder) in orders {
        let made = guarded(|| make(&folder, placement, threads));
        if give.send((key, made)).is_err() || rope.write_all(&[1]).is_err() {
            return; // nobody wants it any more
        }
    }
}

/// A network that has computed once, so that what libtorch compiles and allocates for it is there.
fn make(folder: &Path, placement: &Placement, threads: i32) -> anyhow::Result<Crew> {
    let crew = Crew::gather(&Artifact::open(folder)?, placement, threads)?;
    crew.warm()?;
    Ok(crew)
}
