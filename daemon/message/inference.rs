//! Questions to a served network, their answers, and what is known of what is served.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecastd_models::dasha::ModelDescription;
use thiserror::Error;

use super::torch_status::TorchStatus;

/// What can answer inference requests, for the rooms that know only messages.
pub trait Infer: fmt::Debug + Send + Sync {
    /// Has one request answered. Completes at the request's deadline at the latest; dropping the future cancels the
    /// request, and what has not been sent to the child by then is never computed.
    fn infer(&self, request: InferenceRequest) -> InferenceFuture<'_>;

    /// Everything that is served or about to be, by name. Costs no more than copying it.
    fn served(&self) -> Vec<ServedModel>;

    /// What has been counted since the process started.
    fn counts(&self) -> InferenceCounts;
}

/// An answer that is still to come.
pub type InferenceFuture<'a> = Pin<Box<dyn Future<Output = Result<InferenceAnswer, InferenceError>> + Send + 'a>>;

/// Samples to be put to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceRequest {
    /// The served name.
    pub model: Arc<str>,
    /// Which of its versions; `None` for the active one.
    pub version: Option<Arc<str>>,
    /// How many samples, at least one.
    pub count: u32,
    /// Their records, end to end, as `inputs.bin` has them (see `forecastd_models::dasha::samples`):
    /// [`ModelDescription::input_bytes`] each.
    pub inputs: Vec<u8>,
    /// When the answer is of no more use.
    pub deadline: Instant,
}

/// What a network says of the samples of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceAnswer {
    /// Which version said it.
    pub version: Arc<str>,
    /// What the network is that said it: it may be gone by the time that its words are read.
    pub description: Arc<ModelDescription>,
    /// One record a sample, in their order.
    pub outputs: Outputs,
    /// From the request to the sending of its batch, the first if it had a part in several.
    pub queue: Duration,
    /// What the child took for its batch, or for all of them.
    pub compute: Duration,
    /// Samples of the batch, the last one.
    pub batch: u32,
}

/// Records of a request's samples, end to end.
#[derive(Clone, Debug, PartialEq)]
pub enum Outputs {
    /// For each sample as many as the network has labels: probabilities of classes, or regressed numbers in their own
    /// units.
    Scores(Vec<f32>),
    /// Where each position has a class: for each sample as many as it has positions, 255 at those that only fill a shorter
    /// sequence up.
    Classes(Vec<u8>),
}

/// Why a request has no answer. Each speaks to the client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InferenceError {
    /// Nothing of this name is served.
    #[error("no model {model:?} is served")]
    UnknownModel {
        /// What was asked for.
        model: Arc<str>,
    },
    /// The name is served, but not in this version, or none is active yet.
    #[error("model {model:?} has no version {version:?} that is served")]
    UnknownVersion {
        /// What was asked for.
        model: Arc<str>,
        /// What was asked for.
        version: Arc<str>,
    },
    /// The version cannot be used: it is still loading for the first time, or was refused.
    #[error("model {model:?} version {version:?} is not ready: {reason}")]
    NotReady {
        /// What was asked for.
        model: Arc<str>,
        /// The version.
        version: Arc<str>,
        /// What it waits for, or what is wrong with it.
        reason: String,
    },
    /// The samples are not what the network takes.
    #[error("{reason}")]
    Input {
        /// The sample and the place in it, or the lengths.
        reason: String,
    },
    /// More waits already than is allowed to: try again later.
    #[error("too much is waiting already, {waiting} samples for model {model:?}: try again later")]
    Overloaded {
        /// What was asked for.
        model: Arc<str>,
        /// Samples that wait.
        waiting: usize,
    },
    /// There was no answer in time.
    #[error("no answer by the deadline: {stage}")]
    Deadline {
        /// Where the request was by then.
        stage: Stage,
    },
    /// The child ended each time that it was given this request, alone at last.
    #[error("the serving process ended {deaths} times over this request: {how}")]
    Poison {
        /// So often.
        deaths: u32,
        /// How it ended the last time.
        how: String,
    },
    /// A score is not a finite number, or libtorch refuses the samples.
    #[error("{reason}")]
    Failed {
        /// The sample, and what came of it; or what libtorch said.
        reason: String,
    },
    /// There is no child, and none can be started.
    #[error("nothing can be computed: {reason}")]
    Unavailable {
        /// Why not.
        reason: String,
    },
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Where a request was when its deadline came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not sent yet.
    Waiting,
    /// With the child.
    Computing,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "the request was still waiting for its turn",
            Self::Computing => "it was being computed",
        })
    }
}

impl InferenceError {
    /// What [`label`](Self::label) may be.
    pub const LABELS: [&'static str; 9] = [
        "deadline",
        "failed",
        "input",
        "not_ready",
        "overload",
        "poison",
        "stopping",
        "unavailable",
        "unknown",
    ];

    /// One word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } | Self::UnknownVersion { .. } => "unknown",
            Self::NotReady { .. } => "not_ready",
            Self::Input { .. } => "input",
            Self::Overloaded { .. } => "overload",
            Self::Deadline { .. } => "deadline",
            Self::Poison { .. } => "poison",
            Self::Failed { .. } => "failed",
            Self::Unavailable { .. } => "unavailable",
            Self::Stopping => "stopping",
        }
    }
}

/// A served name.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedModel {
    /// What requests call it.
    pub name: Arc<str>,
    /// The version that answers those who name none.
    pub active: Option<Arc<str>>,
    /// All versions that are served or about to be, in the order in which they came.
    pub versions: Vec<ServedVersion>,
}

/// A version of a served name.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedVersion {
    /// What requests call it.
    pub version: Arc<str>,
    /// How far it is.
    pub state: VersionState,
    /// All but its weights, once it has been loaded.
    pub description: Option<Arc<ModelDescription>>,
}

/// How far a version is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Being read, checked and warmed up, for the first time or by a child that has just started.
    Loading,
    /// In the child, warm.
    Ready,
    /// Takes no more requests, and goes when those that it has are answered.
    Draining,
    /// Of no use.
    Refused {
        /// The file, and what is wrong with it.
        reason: String,
    },
}

/// What has been counted since the process started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferenceCounts {
    /// By served name.
    pub models: BTreeMap<Arc<str>, ModelCounts>,
    /// The serving child, how often it had to be started again included.
    pub child: TorchStatus,
}

/// What has been counted of one served name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCounts {
    /// Requests that came, whatever became of them.
    pub requests: u64,
    /// Samples of requests that were answered.
    pub samples: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that failed, by [`InferenceError::label`].
    pub failures: BTreeMap<&'static str, u64>,
    /// Requests whose callers went away first.
    pub cancelled: u64,
    /// Requests that were sent again, since a child had ended over them.
    pub retried: u64,
    /// Time that answered requests waited, all together.
    pub queue: Duration,
    /// Time that the child took for batches that it answered.
    pub compute: Duration,
    /// How large the batches were that it was sent.
    pub batches: BatchSizes,
    /// Versions that took the place of another.
    pub swaps: u64,
    /// Samples that wait now.
    pub waiting: usize,
}

/// A histogram of samples in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSizes {
    /// Batches of at most [`BatchSizes::BOUNDS`] samples that fit no smaller bound; the last of any more.
    pub buckets: [u64; Self::BOUNDS.len() + 1],
    /// Samples of all batches.
    pub samples: u64,
}

impl BatchSizes {
    /// The most samples of each bucket but the last.
    pub const BOUNDS: [u32; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

    /// Counts a batch.
    pub fn add(&mut self, samples: u32) {
        let bucket = Self::BOUNDS.iter().position(|bound| samples <= *bound);
        self.buckets[bucket.unwrap_or(Self::BOUNDS.len())] += 1;
        self.samples += u64::from(samples);
    }

    /// Batches of all sizes.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_counted_in_the_smallest_bucket_that_holds_it() {
        let mut sizes = BatchSizes::default();
        for samples in [1, 2, 3, 4, 512, 513] {
            sizes.add(samples);
        }
        assert_eq!(sizes.buckets, [1, 1, 2, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((sizes.count(), sizes.samples), (6, 1035));
    }
}
