//! What can go wrong with the state, and what the caller owes each: stop, wait, or tell the operator.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ffi;
use thiserror::Error;

/// Why the state cannot do what was asked.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another process holds the folder.
    #[error("{}: another forecastd (pid {pid}) uses this state folder", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it.
        pid: String,
    },
    /// A later release wrote this ledger.
    #[error("{}: the ledger has schema version {found}, this program knows up to {known}: use the newer forecastd", path.display())]
    NewerSchema {
        /// The ledger.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest that this program knows.
        known: i64,
    },
    /// There are segments, or versions of models, but no ledger to say what they are. Starting afresh would delete them.
    #[error("{}: segments or models but no ledger.sqlite: restore it, or move the folder away to start afresh", path.display())]
    LedgerMissing {
        /// The state folder.
        path: PathBuf,
    },
    /// Somebody wants to look at a state that is not there.
    #[error("{}: there is no such file, so no state of forecastd: the service makes it when it first starts, in its `state_dir`", path.display())]
    NoLedger {
        /// The ledger.
        path: PathBuf,
    },
    /// The machine could not read or write just now: nothing was changed, try again later.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A flush to disk failed: what was written may be lost though it reads back. Stop the process at once and
    /// recover from disk; after a failed fsync the kernel may call the same pages clean.
    #[error("{}: fsync failed, the disk cannot be trusted: {source}", path.display())]
    Fsync {
        /// What was flushed.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A name has been used for another kind of dataset.
    #[error(
        "dataset {dataset}: the state holds samples under this name where series are asked for, or series where samples are: choose another name"
    )]
    OtherKind {
        /// The name.
        dataset: String,
    },
    /// Samples of another shape than the configuration states now were committed before.
    #[error(
        "dataset {dataset}: a sample of {found} bytes was committed, where `samples` now states {expected}: give the samples of another shape another dataset"
    )]
    OtherShape {
        /// Whose samples.
        dataset: String,
        /// Bytes of one of them.
        found: usize,
        /// Bytes of a sample as the configuration has it.
        expected: usize,
    },
    /// SQLite refused.
    #[error("ledger.sqlite: {0}")]
    Ledger(#[source] rusqlite::Error),
    /// The ledger holds something that this program never wrote.
    #[error("ledger.sqlite: {detail}")]
    BadLedger {
        /// What, and where.
        detail: String,
    },
    /// A segment, or the files of a model's version, are gone or not what was written. They are lost unless a backup
    /// has them.
    #[error("{}: {detail}", file.display())]
    Damaged {
        /// The segment, or the version's folder.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// What was asked of a model cannot be: nothing has happened.
    #[error("model {model}: {detail}")]
    Model {
        /// Which.
        model: String,
        /// Why not.
        detail: String,
    },
    /// Whoever asked for it wants it no more.
    #[error("it was given up before it was done")]
    GivenUp,
    /// Rows went missing in the books: a defect of this program, stopped before it could be written.
    #[error("{}: the books do not balance: {detail}", path.display())]
    Unbalanced {
        /// The drop.
        path: PathBuf,
        /// The account.
        detail: String,
    },
    /// A test ended the process here, so to speak.
    #[cfg(test)]
    #[error("crash point")]
    Crashed,
}

impl StateError {
    /// Whether going on would risk data: the process must stop and recover from disk. A segment that is damaged
    /// costs its rows, and holds back drops that overlap it, but not the service.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Io { .. } | Self::NoLedger { .. } | Self::Damaged { .. } | Self::Model { .. } | Self::GivenUp
        )
    }

    /// For `map_err`: a failed read or write.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// A segment that cannot be read as one, or a version's folder that is not what was imported.
    pub(super) fn damaged(file: &Path, detail: impl ToString) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            detail: detail.to_string(),
        }
    }
}

impl From<rusqlite::Error> for StateError {
    /// SQLite reports the disk's troubles too; they are told apart because the caller waits for a full disk, but
    /// must not survive a failed fsync.
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error().map(|cause| cause.extended_code) else {
            return Self::Ledger(error);
        };
        let path = PathBuf::from("ledger.sqlite");
        let primary = code & 0xff;
        match code {
            ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => Self::Fsync {
                path,
                source: io::Error::other(error),
            },
            _ if [ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_BUSY].contains(&primary) => Self::Io {
                action: "read or write",
                path,
                source: io::Error::other(error),
            },
            _ => Self::Ledger(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(code: i32) -> StateError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn a_failed_fsync_inside_sqlite_is_fatal_and_a_full_disk_is_not() {
        assert!(matches!(sqlite(ffi::SQLITE_IOERR_FSYNC), StateError::Fsync { .. }));
        assert!(matches!(sqlite(ffi::SQLITE_IOERR_DIR_FSYNC), StateError::Fsync { .. }));
        assert!(matches!(sqlite(ffi::SQLITE_FULL), StateError::Io { .. }));
        assert!(matches!(sqlite(ffi::SQLITE_IOERR_WRITE), StateError::Io { .. }));
        assert!(matches!(sqlite(ffi::SQLITE_CORRUPT), StateError::Ledger(_)));
    }
}
