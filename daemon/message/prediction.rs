//! Predictions of samples that lie in segments: what is to be predicted, what was said, and what is kept of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecastd_config::{DatasetName, SampleDataset};
use forecastd_models::dasha::BandSums;

use super::content_key::ContentKey;
use super::fit_job::Epoch;
use super::model::ModelVersion;
use super::sample::Label;

/// Samples of one drop that wait for a prediction.
#[derive(Clone, Debug)]
pub struct PredictJob {
    /// Whose samples.
    pub dataset: Arc<SampleDataset>,
    /// Which life of the dataset this is of; comes back in the report.
    pub epoch: Epoch,
    /// The drop: the segment that they lie in.
    pub sequence: i64,
    /// Its rows that wait, in order.
    pub rows: Vec<u32>,
    /// The version that is heard.
    pub active: ModelVersion,
    /// The version in its shadow.
    pub shadow: Option<ModelVersion>,
}

/// What became of a [`PredictJob`].
#[derive(Clone, Debug)]
pub struct PredictReport {
    /// Whose samples.
    pub dataset: DatasetName,
    /// As in the job.
    pub epoch: Epoch,
    /// What became of it.
    pub outcome: PredictOutcome,
}

/// What became of the samples of a drop that waited.
#[derive(Clone, Debug)]
pub enum PredictOutcome {
    /// All were put to the network, and their file is in its place.
    Predicted(Arc<Predictions>),
    /// Nothing was said that anybody may see: they wait on.
    Failed {
        /// The version that was asked.
        version: ContentKey,
        /// Why, in a word.
        fault: PredictFault,
        /// Why, for people.
        detail: String,
    },
}

/// Why the samples of a drop were not predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PredictFault {
    /// The network takes other samples than the dataset has: nothing helps but another version.
    Mismatch,
    /// The version is not served, or not yet.
    NotReady,
    /// Whoever else asks left no room.
    Overload,
    /// There was no answer in time.
    Deadline,
    /// There is no child that could compute.
    Unavailable,
    /// The samples cannot be read just now.
    Samples,
    /// Their segment is not what was written, or gone.
    Damaged,
    /// The file of predictions cannot be written.
    File,
    /// The daemon is stopping.
    Stopping,
}

impl PredictFault {
    /// Every fault.
    pub const ALL: [Self; 9] = [
        Self::Mismatch,
        Self::NotReady,
        Self::Overload,
        Self::Deadline,
        Self::Unavailable,
        Self::Samples,
        Self::Damaged,
        Self::File,
        Self::Stopping,
    ];

    /// One word for a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mismatch => "mismatch",
            Self::NotReady => "not_ready",
            Self::Overload => "overload",
            Self::Deadline => "deadline",
            Self::Unavailable => "unavailable",
            Self::Samples => "samples",
            Self::Damaged => "damaged",
            Self::File => "file",
            Self::Stopping => "stopping",
        }
    }
}

/// What was said of the samples of one drop.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The version that was heard.
    pub version: ContentKey,
    /// The version in its shadow, if it was asked.
    pub shadow: Option<ContentKey>,
    /// One for each sample of the job.
    pub said: Vec<Said>,
    /// Samples that the network cannot be asked about, by why.
    pub refused: BTreeMap<Refusal, u64>,
    /// Why the shadow was not heard to the end, if it was not.
    pub shadow_fault: Option<PredictFault>,
    /// Where their values lie, in the scale of the version.
    pub bands: BandSums,
}

/// Why a network has nothing to say of a sample. It is not asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is not what the network takes.
    Input,
    /// The child ends over it, whenever it is asked.
    Poison,
    /// What comes out is no finite number, or libtorch refuses it.
    Failed,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Input, Self::Poison, Self::Failed];

    /// One word for a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Poison => "poison",
            Self::Failed => "failed",
        }
    }
}

/// What was said of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Of which.
    pub id: Arc<str>,
    /// Its row in the drop.
    pub row: u32,
    /// BLAKE3 of the elements that were looked at.
    pub content: [u8; 32],
    /// By the version that is heard; `None` where it has nothing to say.
    pub label: Option<Label>,
    /// Where one class is said: its probability.
    pub probability: Option<f32>,
    /// By the version in its shadow.
    pub shadow: Option<Label>,
    /// Where both spoke, how much of what they say is the same: all or nothing, of a mask the share of its positions.
    pub agreement: Option<f64>,
    /// The mask that is heard, in runs (`forecastd_models::dasha::mask`), to be held against the true one.
    pub mask: Option<Vec<u8>>,
    /// The one of the shadow.
    pub shadow_mask: Option<Vec<u8>>,
}

/// A prediction that was durable before this process started, of the elements that count for its sample.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptPrediction {
    /// Of which sample.
    pub id: Arc<str>,
    /// The version that was heard.
    pub version: ContentKey,
    /// What it said.
    pub label: Option<Label>,
    /// The version in its shadow, and what that said.
    pub shadow: Option<(ContentKey, Label)>,
}
