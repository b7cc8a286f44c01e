//! What is asked of one run, `job.json` in its folder.

use serde::{Deserialize, Serialize};

use super::card::Candidate;
use super::kernel_pattern::SearchSpace;
use super::training::TrainingOptions;

/// Which frames may be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackboneChoice {
    /// Whichever has the better score on validation.
    #[default]
    Auto,
    /// A Wide ResNet for tiles, a ResNet for sequences.
    WideResnet,
    /// A U-Net.
    Unet,
}

/// How large the frames are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleChoice {
    /// As the paper has them.
    Paper,
    /// A quarter of the widths, for machines without a GPU.
    Small,
    /// The paper's on a GPU, small without one.
    #[default]
    Auto,
}

/// How much may be spent. The default is the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Epochs of the search for kernels; 0 keeps the plain kernels.
    pub search_epochs: u32,
    /// The part of the training data that one epoch of the search sees, in (0, 1].
    pub search_part: f64,
    /// Trials of hyper-parameters; 0 takes the defaults.
    pub trials: u32,
    /// Epochs of the longest trial.
    pub max_epochs: u32,
    /// Epochs of the last training.
    pub retrain_epochs: u32,
    /// Wall time of everything, in seconds. Each stage gets its part, and ends early when that is spent.
    pub seconds: Option<f64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            search_epochs: 100,
            search_part: 0.2,
            trials: 120,
            max_epochs: 20,
            retrain_epochs: 200,
            seconds: None,
        }
    }
}

/// One run: which data lie beside it, [`SampleSet`](super::SampleSet) says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DashaJob {
    /// The frames to choose from.
    pub backbone: BackboneChoice,
    /// How large they are.
    pub scale: ScaleChoice,
    /// The kernels to choose from.
    pub space: SearchSpace,
    /// What it may cost.
    pub budget: Budget,
    /// The network, where it is known already: no frame is chosen then, and no kernel searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Candidate>,
    /// Samples of one step of training; by default [`batch_size`](super::frames::batch_size).
    pub batch: Option<u32>,
    /// How networks are trained.
    #[serde(default)]
    pub training: TrainingOptions,
    /// Everything random follows from it.
    pub seed: u64,
}
