//! Why an artifact is refused, or not written.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Names the file.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The system did not read or write it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What it says is not to be used.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl ArtifactError {
    pub(super) fn in_file(path: &Path, reason: String) -> Self {
        let path = path.to_owned();
        Self::Content { path, reason }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }
}
