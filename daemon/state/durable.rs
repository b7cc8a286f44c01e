//! Writing so that a power cut cannot take it back: flush the file, rename, flush the folder.
//!
//! A failed flush is never tried again: the kernel may have marked the lost pages clean, and a second fsync would
//! then succeed over a hole (Rebello et al., *Can Applications Recover from fsync Failures?*, USENIX ATC 2020).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::error::StateError;

/// The disk under the state folder.
#[derive(Debug)]
pub(super) struct Disk {
    /// Off only in tests, where thousands of commits would wait for the disk.
    sync: bool,
    #[cfg(test)]
    steps_to_crash: std::cell::Cell<Option<u32>>,
}

impl Disk {
    /// The disk as it is.
    pub(super) fn new() -> Self {
        Self {
            sync: true,
            #[cfg(test)]
            steps_to_crash: std::cell::Cell::default(),
        }
    }

    /// Whether flushes are carried out.
    pub(super) fn syncs(&self) -> bool {
        self.sync
    }

    /// Makes a folder that stays, unless it is there.
    pub(super) fn make_folder(&self, path: &Path) -> Result<(), StateError> {
        match fs::create_dir(path) {
            Ok(()) => self.flush_folder(path.parent().unwrap_or(Path::new("."))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(StateError::io("make the folder", path)(error)),
        }
    }

    /// Flushes a file's content.
    pub(super) fn flush(&self, file: &File, path: &Path) -> Result<(), StateError> {
        if !self.sync {
            return Ok(());
        }
        file.sync_all().map_err(|source| StateError::Fsync {
            path: path.to_owned(),
            source,
        })
    }

    /// Flushes the names in a folder.
    pub(super) fn flush_folder(&self, path: &Path) -> Result<(), StateError> {
        let folder = File::open(path).map_err(StateError::io("open the folder", path))?;
        self.flush(&folder, path)
    }

    /// Gives a flushed file its name for good; `to` lies in the same folder.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), StateError> {
        fs::rename(from, to).map_err(StateError::io("rename into place", to))?;
        self.step()?;
        self.flush_folder(to.parent().unwrap_or(Path::new(".")))
    }

    /// A point at which the process may die; tests let it.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests count the calls")]
    pub(super) fn step(&self) -> Result<(), StateError> {
        Ok(())
    }
}

#[cfg(test)]
impl Disk {
    /// A disk that does not wait for the platter: process crashes are survived as before, power cuts are not.
    pub(super) fn unsynced() -> Self {
        Self {
            sync: false,
            ..Self::new()
        }
    }

    /// Fails every step from the one after the next `steps` on.
    pub(super) fn crash_after(&self, steps: u32) {
        self.steps_to_crash.set(Some(steps));
    }

    pub(super) fn step(&self) -> Result<(), StateError> {
        match self.steps_to_crash.get() {
            Some(0) => Err(StateError::Crashed),
            Some(left) => {
                self.steps_to_crash.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
