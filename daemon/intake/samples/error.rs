//! Why a file does not become samples: always the file, and the row and column where there are such.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why there are no samples.
#[derive(Debug, Error)]
pub enum SamplesError {
    /// The file is not there or cannot be read.
    #[error("open {}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file as a whole is not what it should be.
    #[error("{}: {detail}", path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// One cell is not what it should be.
    #[error("{}: row {row}, column {column:?}: {detail}", path.display())]
    Cell {
        /// Of which file.
        path: PathBuf,
        /// From 0, counted through the whole file.
        row: u64,
        /// The column's name.
        column: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A file of the run's folder cannot be written.
    #[error("write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The watch did not want to go on.
    #[error("interrupted")]
    Interrupted,
}

impl SamplesError {
    pub(super) fn refused(path: &Path, detail: impl Display) -> Self {
        Self::Refused {
            path: path.to_owned(),
            detail: detail.to_string(),
        }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Write { path, source }
    }
}
