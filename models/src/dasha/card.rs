//! What a run has done and found, `card.json` in its artifact: for people, for pictures, and for whoever asks later
//! how a network came to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Backbone, Extras};
use super::job::DashaJob;
use super::kernel_pattern::KernelPattern;
use super::metrics::{Confusion, Metric};
use super::plan::{EpochPlan, TrialPlan};
use super::trial::HyperParameters;

/// The format that is written.
pub const CARD_FORMAT: u32 = 1;

/// All that is known of a trained network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// [`CARD_FORMAT`].
    pub format: u32,
    /// What was asked for.
    pub job: DashaJob,
    /// What it was trained on.
    pub data: DataRecord,
    /// By what everything was chosen, on validation.
    pub metric: Metric,
    /// The network.
    pub architecture: Architecture,
    /// Its weights, one by one.
    pub parameters: u64,
    /// How it was trained.
    pub chosen: Chosen,
    /// Of the weights that were kept.
    pub validation: Evaluation,
    /// Of the same weights, looked at once, after everything was chosen; none without such samples.
    pub test: Option<Evaluation>,
    /// A search for each frame.
    pub searches: Vec<SearchRecord>,
    /// In the order in which they ran.
    pub trials: Vec<TrialRecord>,
    /// What trials had reached when they came to each rung, the nearest first.
    pub rungs: Vec<RungRecord>,
    /// The last training.
    pub retrain: RetrainRecord,
    /// Wall time.
    pub seconds: StageSeconds,
    /// Where it ran, and with what.
    pub environment: Environment,
}

/// The data, by what tells them from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecord {
    /// Of the content, as [`SampleSet`](super::SampleSet) has it.
    pub hash: String,
    /// Samples that weights were fitted to.
    pub train: u64,
    /// Samples that everything was chosen on.
    pub validation: u64,
    /// Samples that were looked at once.
    pub test: u64,
    /// Names of the outputs.
    pub labels: Vec<String>,
    /// How often each class occurs in training, pixels counted one by one; empty for regression.
    pub class_counts: Vec<u64>,
}

/// Where a run took place. Of one that was resumed, the last of its processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of forecastd.
    pub forecastd: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// `cpu`, or the GPU's name.
    pub device: String,
    /// CPU threads.
    pub threads: u32,
    /// Processes that it took.
    pub processes: u32,
}

/// A network that hyper-parameters are tried with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The frame.
    pub backbone: Backbone,
    /// Its kernels.
    pub pattern: KernelPattern,
    /// Whether the kernels were searched for; otherwise they are the frame's own.
    pub searched: bool,
    /// Beyond the frame's paper.
    #[serde(default)]
    pub extras: Extras,
}

/// What the last training was done with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// The trial whose hyper-parameters and initial weights these are; with a time limit the training went on from its
    /// best weights instead. None where nothing was tried.
    pub trial: Option<u32>,
    /// The network.
    pub candidate: Candidate,
    /// How it was trained.
    pub hyper_parameters: HyperParameters,
    /// The epoch whose weights were kept, from 1; 0 where none was better than the trial that the training went on from.
    pub epoch: u32,
    /// Whether they are the running average of weights rather than the last ones.
    pub averaged: bool,
}

/// What predictions for one split are worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Every score that the task has and that is defined; greater is better.
    pub scores: BTreeMap<Metric, f64>,
    /// One for each class or number to regress.
    pub outputs: Vec<OutputScores>,
    /// Of tasks with one class for each sample or pixel.
    pub confusion: Option<Confusion>,
}

/// What predictions of one output are worth. What is not defined is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputScores {
    /// The class, or the number's name.
    pub label: String,
    /// Samples or pixels that have it.
    pub count: u64,
    /// The part of them that was found.
    pub recall: Option<f64>,
    /// Harmonic mean of recall and precision.
    pub f1: Option<f64>,
    /// Intersection over union.
    pub iou: Option<f64>,
    /// Area under the ROC curve, this class against the rest.
    pub roc_auc: Option<f64>,
    /// Average precision.
    pub average_precision: Option<f64>,
    /// Root of the mean squared error, in the number's own units.
    pub rmse: Option<f64>,
}

/// The search for one frame's kernels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRecord {
    /// The frame.
    pub backbone: Backbone,
    /// The narrower frame that it was searched with.
    pub searched_as: Backbone,
    /// The kernels; none before the search is over.
    pub pattern: Option<KernelPattern>,
    /// Epochs as planned.
    pub plan: EpochPlan,
    /// Mean loss of each epoch that is over.
    pub losses: Vec<f64>,
}

/// One trial of hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// From 0.
    pub trial: u32,
    /// The network.
    pub candidate: Candidate,
    /// How it was trained.
    pub hyper_parameters: HyperParameters,
    /// The part of the training samples in each of its epochs.
    #[serde(default = "whole")]
    pub part: f64,
    /// On validation, after each epoch.
    pub scores: Vec<f64>,
    /// How it ended; none while it lasts.
    pub ended: Option<TrialEnd>,
}

fn whole() -> f64 {
    1.0
}

impl TrialRecord {
    /// The best score so far; none before the first epoch.
    pub fn best(&self) -> Option<f64> {
        self.scores.iter().copied().max_by(f64::total_cmp)
    }
}

/// Why a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialEnd {
    /// It had all its epochs.
    Complete,
    /// At a rung others were better.
    Stopped,
    /// A loss was not finite.
    Diverged,
    /// The time was over.
    OutOfTime,
}

/// One rung of successive halving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RungRecord {
    /// Epochs.
    pub milestone: f64,
    /// Trials and the scores that they came with.
    pub recorded: Vec<(u32, f64)>,
}

/// The last training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrainRecord {
    /// Epochs as planned.
    pub plan: EpochPlan,
    /// How the trials were planned; none where nothing was tried.
    pub trials: Option<TrialPlan>,
    /// Epochs that are over.
    pub epochs: Vec<EpochRecord>,
}

/// One epoch of the last training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// The learning rate.
    pub rate: f64,
    /// Mean loss.
    pub loss: f64,
    /// On validation.
    pub score: f64,
    /// On validation, of the running average of weights; none without one.
    pub averaged_score: Option<f64>,
}

impl EpochRecord {
    /// The better of both scores, and whether it is the average's.
    pub fn better(&self) -> (f64, bool) {
        match self.averaged_score {
            Some(averaged) if averaged > self.score => (averaged, true),
            _ => (self.score, false),
        }
    }
}

/// Wall time by stage, of all processes of a run together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSeconds {
    /// Search for kernels.
    pub search: f64,
    /// Trials.
    pub trials: f64,
    /// Last training.
    pub retrain: f64,
}

impl StageSeconds {
    /// All stages.
    pub fn total(&self) -> f64 {
        self.search + self.trials + self.retrain
    }
}
