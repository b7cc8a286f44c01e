//! Trainings: why a network is trained and on what, how far it is, and what came of it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use forecastd_config::{DatasetName, ModelName, SampleDataset};
use forecastd_models::Timestamp;
use forecastd_models::dasha::DashaJob;

use super::content_key::ContentKey;

/// Why a network is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrainingReason {
    /// There are enough labelled samples for the first time.
    First,
    /// Enough labels are new or revised since the last time.
    Labels,
    /// The last time is long ago.
    Schedule,
    /// The active version does worse on new samples than on those it was chosen by.
    Accuracy,
    /// Somebody asked for it.
    Asked,
}

impl TrainingReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::First, Self::Labels, Self::Schedule, Self::Accuracy, Self::Asked];

    /// Its name in metrics and in the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Labels => "labels",
            Self::Schedule => "schedule",
            Self::Accuracy => "accuracy",
            Self::Asked => "asked",
        }
    }
}

/// Why nothing came of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrainingFault {
    /// There is no child to train with, or it does not start.
    NoChild,
    /// The samples could not be read, or the folder of the run not be written.
    Disk,
    /// The samples that are there are not those that the configuration states: another shape, or none of its labels.
    Configuration,
    /// The child says that it cannot be done.
    Failed,
    /// The child kept ending before it was done.
    Died,
    /// What it made is no sound artifact.
    Refused,
    /// The configuration asks for it no more.
    Cancelled,
}

impl TrainingFault {
    /// Every fault.
    pub const ALL: [Self; 7] = [
        Self::NoChild,
        Self::Disk,
        Self::Configuration,
        Self::Failed,
        Self::Died,
        Self::Refused,
        Self::Cancelled,
    ];

    /// Its name in metrics and in the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoChild => "no_child",
            Self::Disk => "disk",
            Self::Configuration => "configuration",
            Self::Failed => "failed",
            Self::Died => "died",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a network cannot be trained, though it is due. Only other data help, or another configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrainingObstacle {
    /// No labelled sample is for validation: nothing could be chosen by.
    NoValidation,
    /// Fewer than two classes have samples for training, or for validation.
    OneClass,
    /// No labelled sample is for training.
    NoTraining,
    /// There would be enough samples, but the configuration does not allow their labels.
    Labels,
}

impl TrainingObstacle {
    /// Every obstacle.
    pub const ALL: [Self; 4] = [Self::NoValidation, Self::OneClass, Self::NoTraining, Self::Labels];

    /// In words.
    fn words(self) -> &'static str {
        match self {
            Self::NoValidation => "no labelled sample is for validation: nothing could be chosen by",
            Self::OneClass => "the labelled samples for training, or those for validation, have fewer than two classes",
            Self::NoTraining => "fewer than two labelled samples are for training",
            Self::Labels => {
                "too few samples have a label that the configuration allows: `task`, `labels` or `mask_threshold` said \
                 otherwise when they came: mend it, or bring them again"
            }
        }
    }

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoValidation => "no_validation",
            Self::OneClass => "one_class",
            Self::NoTraining => "no_training",
            Self::Labels => "labels",
        }
    }
}

impl fmt::Display for TrainingObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// What a training is to be, and what it is to be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPlan {
    /// Of this model.
    pub model: ModelName,
    /// On the labelled samples of this dataset.
    pub dataset: DatasetName,
    /// Why.
    pub reason: TrainingReason,
    /// The same in words, with figures.
    pub words: String,
    /// On what its drops brought up to this one.
    pub through: i64,
    /// How many samples it takes.
    pub labelled: u64,
    /// Whether kernels are searched for; otherwise those of the active version are kept.
    pub searches: bool,
    /// How many were taken when kernels were last searched for, this training included.
    pub searched: u64,
}

/// A training as it stands in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Training {
    /// Its number.
    pub id: i64,
    /// What it is.
    pub plan: TrainingPlan,
    /// When it was decided on.
    pub begun: Timestamp,
    /// How it ended; `None` while it is under way.
    pub end: Option<TrainingEnd>,
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingEnd {
    /// When.
    pub time: Timestamp,
    /// The version that came of it, or why none did.
    pub result: Result<ContentKey, TrainingFailure>,
}

/// Why nothing came of a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingFailure {
    /// What is at fault.
    pub fault: TrainingFault,
    /// In words.
    pub detail: String,
}

/// A training for the room that carries it out.
#[derive(Clone, Debug)]
pub struct TrainJob {
    /// Its number in the books, and its folder.
    pub id: i64,
    /// Whose it is.
    pub model: ModelName,
    /// The samples, and how they are read.
    pub dataset: Arc<SampleDataset>,
    /// The last drop whose samples are its.
    pub through: i64,
    /// What the child is asked for. A run that was interrupted goes on with what it was asked for then.
    pub job: DashaJob,
    /// CPU threads, if not as many as usual.
    pub threads: Option<NonZeroUsize>,
}

/// What came of a training in its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainReport {
    /// Its number.
    pub id: i64,
    /// The folder of the artifact, or why there is none.
    pub result: Result<PathBuf, TrainingFailure>,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrainingStage {
    /// Samples are laid out for it.
    Samples,
    /// Kernels are searched for.
    Search,
    /// Hyper-parameters are tried.
    Trials,
    /// The network is trained with what was chosen.
    Retrain,
}

impl TrainingStage {
    /// Every stage.
    pub const ALL: [Self; 4] = [Self::Samples, Self::Search, Self::Trials, Self::Retrain];

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Search => "search",
            Self::Trials => "trials",
            Self::Retrain => "retrain",
        }
    }
}

/// How far a training is.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingProgress {
    /// Whose.
    pub model: ModelName,
    /// What it is doing.
    pub stage: TrainingStage,
    /// Epochs of the stage that are done, and all of them; of trials, trials.
    pub done: u32,
    /// So many in all, as far as is known.
    pub of: u32,
    /// The best score on validation so far.
    pub best: Option<f64>,
    /// Trials that have ended or are under way.
    pub trials: u32,
    /// Of its time budget.
    pub seconds_left: f64,
}

/// How a model's training stands, for readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingView {
    /// Which model.
    pub model: ModelName,
    /// The one that is under way.
    pub under_way: Option<UnderWay>,
    /// Why one that is due cannot be.
    pub obstacle: Option<TrainingObstacle>,
    /// When the last one ended that made a version.
    pub succeeded: Option<Timestamp>,
    /// When the last one of all ended, and why, if nothing came of it.
    pub failed: Option<(Timestamp, TrainingFailure)>,
}

/// A training that has begun, for readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// When it was decided on.
    pub begun: Timestamp,
    /// Why, in words.
    pub words: String,
}

/// Something that was entered into the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainingNote {
    /// A training is to be.
    Begun(TrainingPlan),
    /// One is over.
    Ended(Training),
}
