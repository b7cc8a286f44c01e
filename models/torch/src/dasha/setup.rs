//! All that a run stands on and that does not change: its job, data and device, checked before anything is trained.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use forecastd_models::dasha::artifact::has_two_strands;
use forecastd_models::dasha::card::Candidate;
use forecastd_models::dasha::frames::{batch_size, frames};
use forecastd_models::dasha::plan::StageTimes;
use forecastd_models::dasha::{
    Architecture, Augmentation, Backbone, DashaJob, Extras, HyperParameters, Metric, Random, SampleSet, Scaling, Split,
    Task, Variation,
};
use tch::{Device, Tensor};

use super::evaluate::Examiner;
use super::learner::Recipe;
use super::precision::Precision;
use crate::augment::Strands;
use crate::device::Placement;
use crate::nets::{LossOptions, check_space};
use crate::predictor::prediction_batch;
use crate::samples::{Loader, LoaderOptions, Samples};

/// A run's job and data.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) folder: PathBuf,
    pub(super) job: DashaJob,
    pub(super) samples: Arc<Samples>,
    pub(super) scaling: Scaling,
    pub(super) metric: Metric,
    pub(super) recipe: Rc<Recipe>,
    pub(super) frames: Vec<Backbone>,
    pub(super) times: Option<StageTimes>,
    pub(super) placement: Placement,
    /// Of job and data.
    pub(super) identity: String,
}

impl Setup {
    /// Reads and checks everything.
    pub(super) fn open(folder: &Path, placement: &Placement) -> anyhow::Result<Self> {
        let job_path = folder.join("job.json");
        let job_text = fs::read(&job_path).with_context(|| job_path.display().to_string())?;
        let job: DashaJob = serde_json::from_slice(&job_text).with_context(|| job_path.display().to_string())?;
        check_job(&job).with_context(|| job_path.display().to_string())?;
        let samples = Samples::open(folder)?;
        check_samples(&samples)?;
        let scaling = samples.scaling()?;
        let set = samples.set();
        let (task, input) = (set.task, &set.input);
        job.training.augmentation(input).check(input, &set.element, task)?;
        let frames = match &job.network {
            Some(network) => vec![network.backbone.clone()],
            None => frames(job.backbone, job.scale, placement.device.is_cuda(), input, task),
        };
        let loss = LossOptions {
            label_smoothing: job.training.smoothing(input, task),
            class_weights: job
                .training
                .class_weights
                .then(|| class_weights(&samples, placement))
                .flatten(),
            dice: job.training.dice,
        };
        let searches = searches(&job);
        let setup = Self {
            folder: folder.to_owned(),
            metric: Metric::of_task(task, set.labels.len()),
            times: StageTimes::of(&job.budget, searches, trial_count(&job, frames.len()) > 0),
            identity: identity(&job_text, folder)?,
            recipe: Rc::new(Recipe {
                task,
                device: placement.device,
                precision: Precision::of(placement.device, job.training.full_precision),
                loss,
                strands: both_strands(&job, set, placement.device),
                training: job.training.clone(),
            }),
            placement: placement.clone(),
            samples: Arc::new(samples),
            job,
            scaling,
            frames,
        };
        for network in setup.varied() {
            setup.architecture(&network).check()?;
        }
        Ok(setup)
    }

    /// Whether kernels are searched for.
    pub(super) fn searches(&self) -> bool {
        searches(&self.job)
    }

    /// Every frame in every variation, with its own kernels; or the network that is known.
    fn varied(&self) -> Vec<Candidate> {
        if let Some(network) = &self.job.network {
            return vec![network.clone()];
        }
        let frames = self.frames.iter().map(plain);
        let variations = &self.job.training.variations;
        frames
            .flat_map(|frame| {
                let varied = variations.iter().map(|variation| variation.of(&frame));
                std::iter::once(frame.clone()).chain(varied).collect::<Vec<_>>()
            })
            .collect()
    }

    pub(super) fn set(&self) -> &SampleSet {
        self.samples.set()
    }

    pub(super) fn axes(&self) -> usize {
        self.set().input.size.len()
    }

    /// Trials as asked for; at least one for each frame where there is a frame to choose.
    pub(super) fn trial_count(&self) -> u32 {
        trial_count(&self.job, self.frames.len())
    }

    /// A frame with its own kernels.
    pub(super) fn plain(&self, backbone: &Backbone) -> Architecture {
        self.architecture(&plain(backbone))
    }

    pub(super) fn architecture(&self, candidate: &Candidate) -> Architecture {
        let set = self.set();
        Architecture {
            backbone: candidate.backbone.clone(),
            pattern: candidate.pattern.clone(),
            input: set.input.clone(),
            task: set.task,
            outputs: set.labels.len() as u32,
            extras: candidate.extras,
            forecasts: set.series.is_some(),
        }
    }

    /// A stream of random numbers for a part of the run.
    pub(super) fn seed(&self, part: &str) -> u64 {
        Random::new(self.job.seed).derive(part).next_u64()
    }

    /// Training samples, so large a part of them in each epoch.
    pub(super) fn training(&self, seed: u64, part: f64) -> anyhow::Result<Loader> {
        let input = &self.set().input;
        let options = LoaderOptions {
            batch: self.job.batch.unwrap_or(batch_size(input)) as usize,
            training: true,
            part,
            seed,
            augmentation: self.job.training.augmentation(input),
            threads: if self.placement.device.is_cuda() { 4 } else { 1 },
        };
        self.loader(Split::Train, options)
    }

    /// Training samples for a network with these hyper-parameters, the same in its trial and its last training.
    pub(super) fn training_of(&self, hyper_parameters: &HyperParameters, part: f64) -> anyhow::Result<Loader> {
        self.training(self.seed(&format!("samples {}", hyper_parameters.seed)), part)
    }

    /// A split, to be predicted.
    pub(super) fn examiner(&self, split: Split) -> anyhow::Result<Examiner> {
        let (set, device) = (self.set(), self.placement.device);
        let loader = self.in_order(split)?;
        Ok(Examiner::new(loader, set.task, set.labels.len(), &self.scaling, device))
    }

    /// A split once, in its order, as it is. Of all networks the widest says how much at once.
    pub(super) fn in_order(&self, split: Split) -> anyhow::Result<Loader> {
        let networks = self.varied().into_iter();
        let batch = networks
            .map(|network| prediction_batch(&self.architecture(&network), self.placement.memory))
            .min();
        let options = LoaderOptions {
            batch: batch.unwrap_or(1),
            training: false,
            part: 1.0,
            seed: 0,
            augmentation: Augmentation::default(),
            threads: 1,
        };
        self.loader(split, options)
    }

    fn loader(&self, split: Split, options: LoaderOptions) -> anyhow::Result<Loader> {
        let (indices, device) = (self.samples.of(split), self.placement.device);
        Ok(Loader::new(&self.samples, indices, &self.scaling, options, device)?)
    }
}

fn plain(backbone: &Backbone) -> Candidate {
    Candidate {
        backbone: backbone.clone(),
        pattern: backbone.plain_pattern(),
        searched: false,
        extras: Extras::default(),
    }
}

/// What was trained on both strands is asked of both.
fn both_strands(job: &DashaJob, set: &SampleSet, device: Device) -> Option<Strands> {
    let is_read = job.training.augmentation(&set.input).reverse_complement > 0.0;
    let has_two = has_two_strands(&set.element, set.task);
    (is_read && has_two)
        .then(|| Strands::of(&set.element, device))
        .flatten()
}

fn searches(job: &DashaJob) -> bool {
    job.budget.search_epochs > 0 && job.network.is_none()
}

fn trial_count(job: &DashaJob, frames: usize) -> u32 {
    let to_choose = if frames > 1 { frames as u32 } else { 0 };
    job.budget.trials.max(to_choose)
}

fn check_job(job: &DashaJob) -> anyhow::Result<()> {
    let budget = &job.budget;
    ensure!(
        budget.search_part > 0.0 && budget.search_part <= 1.0,
        "budget.search_part is {}; it must lie in (0, 1]",
        budget.search_part
    );
    ensure!(
        budget.retrain_epochs > 0,
        "budget.retrain_epochs is 0; a network needs one at least"
    );
    ensure!(
        budget.max_epochs > 0 || budget.trials == 0,
        "budget.max_epochs is 0; a trial needs one at least"
    );
    if let Some(seconds) = budget.seconds {
        ensure!(
            seconds > 0.0 && seconds.is_finite(),
            "budget.seconds is {seconds}; it must be greater than 0"
        );
    }
    ensure!(job.batch != Some(0), "batch is 0; a step needs a sample at least");
    if searches(job) {
        check_space(&job.space).context("space")?;
    }
    if let Some(fault) = job.training.fault() {
        bail!(fault);
    }
    ensure!(
        job.network.is_none() || job.training.variations.iter().all(Variation::is_plain),
        "training.variations varies frames, and the job names its network"
    );
    ensure!(
        budget.trials > 0 || job.training.variations.iter().all(Variation::is_plain),
        "budget.trials is 0; it is trials that choose among training.variations"
    );
    Ok(())
}

/// Whether there is something to learn, and to choose by.
fn check_samples(samples: &Samples) -> anyhow::Result<()> {
    let set = samples.set();
    ensure!(samples.has_targets(), "there is no targets.bin: nothing to learn from");
    let train = samples.of(Split::Train).len();
    ensure!(train >= 2, "{train} samples are for training; two at least are needed");
    ensure!(
        !samples.of(Split::Validation).is_empty(),
        "no sample is for validation: kernels, hyper-parameters and epochs could not be chosen"
    );
    for split in [Split::Train, Split::Validation] {
        let counts = samples.class_counts(split);
        let present = counts.iter().filter(|count| **count > 0).count();
        let is_one = matches!(set.task, Task::Classify | Task::Segment) && present < 2;
        let where_ = match split {
            Split::Train => "training",
            _ => "validation",
        };
        if is_one {
            let only = counts
                .iter()
                .position(|count| *count > 0)
                .map(|class| &set.labels[class]);
            bail!(
                "all {where_} samples are of one class, {:?}: there is nothing to tell apart",
                only.map_or("none", String::as_str)
            );
        }
        ensure!(
            set.task != Task::Multilabel || present > 0,
            "no {where_} sample has a label: there is nothing to find"
        );
    }
    Ok(())
}

/// The inverse of each class's frequency in training, one on average over the samples; a class that does not occur
/// has none to weigh. None for regression.
fn class_weights(samples: &Samples, placement: &Placement) -> Option<Tensor> {
    let counts = samples.class_counts(Split::Train);
    let present = counts.iter().filter(|count| **count > 0).count() as f64;
    let total = counts.iter().sum::<u64>() as f64;
    let weight = |count: &u64| {
        (if *count == 0 {
            1.0
        } else {
            total / (present * *count as f64)
        }) as f32
    };
    let weights: Vec<f32> = counts.iter().map(weight).collect();
    (!weights.is_empty()).then(|| Tensor::from_slice(&weights).to_device(placement.device))
}

/// What tells a job and its data from others.
fn identity(job_text: &[u8], folder: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(job_text);
    for name in ["samples.json", "splits.bin"] {
        let path = folder.join(name);
        hasher.update(&fs::read(&path).with_context(|| path.display().to_string())?);
    }
    Ok(hasher.finalize().to_hex().to_string())
}
