//! A dataset of tiles or sequences as the program needs it: one folder, one shape of sample, one task.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use forecastd_models::dasha::{ElementType, InputShape, PixelLayout, Task};
use serde::{Deserialize, Serialize};

use crate::{AfterIngest, DatasetName, Landing, ModelName};

/// One dataset of kind `tiles` or `sequences`.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleDataset {
    /// Label in metrics and key in the state; no dataset of another kind has it.
    pub name: DatasetName,
    /// The folder that drops land in.
    pub incoming: PathBuf,
    /// Where files that cannot be read go, with the reason beside them.
    pub quarantine: PathBuf,
    /// The folder that files of predictions are written into.
    pub outgoing: PathBuf,
    /// What happens to a drop once its samples are durable.
    pub after: AfterIngest,
    /// When a file counts as complete.
    pub landing: Landing,
    /// How a file is read, and what every sample is.
    pub form: SampleForm,
    /// The model that these samples are for.
    pub model: Option<ModelName>,
    /// What is told of what the model says of them.
    pub predictions: PredictionRules,
    /// What a single drop may ask of us.
    pub limits: SampleLimits,
}

/// What is told of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictionRules {
    /// Files of predictions that are kept, newest first.
    pub keep_files: NonZeroUsize,
    /// Whether a file has a column for the score of each class.
    pub scores: bool,
}

/// What samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SampleKind {
    /// Bands, rows, columns.
    Tiles,
    /// Letters or numbers, one after the other.
    Sequences,
}

/// How a file of samples is read, and what every one of them is: what a decoder has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleForm {
    /// What samples are.
    pub kind: SampleKind,
    /// Which columns mean what.
    pub columns: SampleColumns,
    /// What labels are for.
    pub task: Task,
    /// The shape of every sample; `bands` is the length of the alphabet where elements are letters.
    pub shape: InputShape,
    /// What the elements of every sample are.
    pub element: ElementType,
    /// Of raw pixels, and of lists of them.
    pub layout: PixelLayout,
    /// The labels that there may be, or the names of the numbers to regress; `None`: any, or one number. Of masks the
    /// names of their classes, in the order of their numbers: always there where masks are read.
    pub labels: Option<Vec<String>>,
    /// Of masks that are grey pictures: greys above it are class 1, others 0.
    pub mask_threshold: Option<u8>,
}

impl SampleForm {
    /// Names of the outputs of a network for these samples, where they are stated. Otherwise they are the classes that
    /// samples for training have.
    pub fn outputs(&self) -> Option<Vec<String>> {
        let of_one_number = || (self.task == Task::Regress).then(|| self.columns.label.iter().cloned().collect());
        self.labels.clone().or_else(of_one_number)
    }
}

/// Which columns mean what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleColumns {
    /// Of what identifies a sample.
    pub id: String,
    /// Of the tiles or sequences.
    pub input: String,
    /// Of the labels, or of the masks; a row without one is a sample without a label.
    pub label: Option<String>,
    /// Of the splits; without one, a hash of the id tells.
    pub split: Option<String>,
    /// Of when a sample was taken; a row without one is of no known time.
    pub time: Option<String>,
    /// Of where, in degrees north and east; likewise.
    pub place: Option<PlaceColumns>,
}

/// Which columns tell a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceColumns {
    /// From -90 to 90.
    pub latitude: String,
    /// From -180 to 180.
    pub longitude: String,
}

/// What a single drop may ask of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleLimits {
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Samples in a file.
    pub file_samples: u64,
    /// Memory that decoding a file may take, in bytes.
    pub decode_memory: u64,
}
