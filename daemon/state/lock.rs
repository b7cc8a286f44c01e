//! One daemon to a state folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::StateError;

/// A daemon that is killed while it starts a child leaves the lock to that child until the child has become another
/// program: a moment, but a restart may come within it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes the folder for as long as the returned file is open; the kernel lets go of it when the process dies,
/// however it dies.
pub(super) fn lock(path: &Path) -> Result<File, StateError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(StateError::io("open the lock", path))?;
    let give_up = Instant::now() + PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => sleep(PATIENCE / 50),
            Err(Errno::WOULDBLOCK) => return Err(locked(path, &mut file)),
            Err(error) => return Err(StateError::io("lock", path)(error.into())),
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(StateError::io("write the lock", path))?;
    Ok(file)
}

fn locked(path: &Path, file: &mut File) -> StateError {
    let mut pid = String::new();
    // The pid is a courtesy: a lock without one is held all the same.
    let _ = file.read_to_string(&mut pid);
    let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
    StateError::Locked {
        path: path.to_owned(),
        pid: pid.to_owned(),
    }
}
