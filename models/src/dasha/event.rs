//! What a run says while it lasts: one line of JSON each, on the child's standard output.

use serde::{Deserialize, Serialize};

use super::kernel_pattern::KernelPattern;

/// What has just happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DashaEvent {
    /// The data are read, work begins.
    Started {
        /// `cpu` or `cuda`.
        device: String,
        /// CPU threads.
        threads: u32,
        /// Whether it goes on where an earlier process stood.
        resumed: bool,
        /// Why it takes longer than it could, and what to do about that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        advice: Option<String>,
    },
    /// An epoch of the search for kernels is over.
    SearchEpoch {
        /// The backbone's name.
        backbone: String,
        /// From 1.
        epoch: u32,
        /// So many in all.
        epochs: u32,
        /// Mean loss over the epoch.
        loss: f64,
    },
    /// There is no time for the search of a backbone.
    NotSearched {
        /// The backbone's name; it keeps its own kernels.
        backbone: String,
    },
    /// The kernels of a backbone are chosen.
    Searched {
        /// The backbone's name.
        backbone: String,
        /// One for each convolution.
        pattern: KernelPattern,
    },
    /// An epoch of a trial is over.
    TrialEpoch {
        /// From 0.
        trial: u32,
        /// So many in all.
        trials: u32,
        /// From 1.
        epoch: u32,
        /// The most epochs a trial gets.
        epochs: u32,
        /// On validation; greater is better.
        score: f64,
        /// The best of any trial so far.
        best: f64,
        /// Whether it ends here.
        stopped: bool,
    },
    /// An epoch of the last training is over.
    RetrainEpoch {
        /// From 1.
        epoch: u32,
        /// So many in all.
        epochs: u32,
        /// Mean loss over the epoch.
        loss: f64,
        /// On validation; greater is better.
        score: f64,
        /// The best epoch's so far.
        best: f64,
    },
    /// The artifact is written.
    Finished {
        /// The metric's name.
        metric: String,
        /// On validation, of the epoch that was kept.
        validation: f64,
        /// On test, of the same weights; none where no sample is for test.
        test: Option<f64>,
    },
    /// Nothing came of it.
    Failed {
        /// Why.
        message: String,
    },
}

/// What a prediction says while it lasts: one line of JSON each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PredictEvent {
    /// Some samples are done.
    Progress {
        /// So many.
        done: u64,
        /// So many in all.
        count: u64,
    },
    /// The file with the results is in its place.
    Finished {
        /// Samples.
        count: u64,
        /// The file's name in the run's folder.
        file: String,
        /// Wall time.
        seconds: f64,
    },
}
