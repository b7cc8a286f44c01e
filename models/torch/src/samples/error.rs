//! Why samples cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use forecastd_models::dasha::AugmentationError;
use thiserror::Error;

/// What is wrong with the files of a run's folder, or with what is asked of them.
#[derive(Debug, Error)]
pub enum SamplesError {
    /// The system did not give it.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no description, or one of samples that cannot be.
    #[error("{}: {reason}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Not as many records as are described.
    #[error("{}: {found} bytes, where {count} samples need {expected}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// Samples by the description.
        count: u64,
        /// Bytes that they need.
        expected: u64,
    },
    /// One record is wrong.
    #[error("{}: sample {sample}: {reason}", path.display())]
    Sample {
        /// The file.
        path: PathBuf,
        /// The record, from 0.
        sample: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to learn from.
    #[error("{}: no sample is for training", .0.display())]
    NoTraining(PathBuf),
    /// They cannot be varied so.
    #[error(transparent)]
    Augmentation(#[from] AugmentationError),
    /// No thread to read them ahead.
    #[error("a thread that decodes samples does not start: {0}")]
    Thread(io::Error),
}

impl SamplesError {
    pub(super) fn missing(path: &Path) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        }
    }
}
