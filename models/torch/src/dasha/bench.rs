//! `--bench-networks FOLDER`: what the steps of a run cost here.
//!
//! In the executable rather than beside it, since a machine with a GPU may have no toolchain, and since what is
//! measured must be what runs: the folder is a run's, with its job and its samples. Questions come in and answers go
//! out line by line, so that whoever asks can let a peer have its turn in between (`benches/network_peers.py`).

use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use forecastd_models::dasha::{Architecture, HyperParameters, Split};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::learner::Learner;
use super::precision::Precision;
use super::search::Searcher;
use super::setup::Setup;
use crate::device::{Placement, libtorch_version, wait};
use crate::nets::{Layer, WayTime, time_ways};
use crate::samples::{Batch, Loader};

/// What can be asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "measure", rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    /// So many steps of training on one batch that lies on the device.
    Train { steps: usize },
    /// So many steps of the search on it.
    Search { steps: usize },
    /// So many passes of a batch of predictions.
    Predict { steps: usize },
    /// An epoch of training as it is: samples loaded and varied, weights averaged.
    Epoch,
    /// A searched convolution in all ways.
    Ways { layer: Layer, runs: usize },
}

/// What is said, one line each.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// At first: all that a peer needs to do the same.
    Ready(Box<Ready>),
    /// How long so many samples took.
    Took {
        /// Wall time.
        seconds: f64,
        /// In all steps together.
        samples: i64,
    },
    /// How long the ways of a layer took.
    Ways(Vec<WayTime>),
}

/// What is measured.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// For people.
    pub device: String,
    /// Of the CPU, as libtorch was told.
    pub threads: i32,
    /// Of libtorch.
    pub libtorch: String,
    /// The network, with the kernels of its frame.
    pub architecture: Architecture,
    /// Its numbers that are trained.
    pub parameters: u64,
    /// Samples of a step.
    pub batch: i64,
    /// Samples that are predicted at once.
    pub prediction_batch: i64,
    /// Whether products are in bfloat16, and tiles have their bands last.
    pub mixed_precision: bool,
    /// The same of predictions.
    pub mixed_predictions: bool,
    /// The part of a target that goes to the other classes.
    pub label_smoothing: f64,
    /// The longest gradient of a step.
    pub clip: f64,
    /// What a step of training moves weights with.
    pub hyper_parameters: HyperParameters,
}

/// Answers questions until there are no more.
///
/// # Errors
///
/// The folder is not a run's, or a question is none.
pub fn run(
    folder: &Path,
    placement: &Placement,
    questions: impl BufRead,
    answer: &mut dyn FnMut(&Answer),
) -> anyhow::Result<()> {
    let setup = Setup::open(folder, placement)?;
    let mut bench = Bench::new(&setup)?;
    answer(&Answer::Ready(Box::new(bench.ready())));
    for question in questions.lines() {
        let question = question?;
        let question = serde_json::from_str(&question).with_context(|| format!("the question {question}"))?;
        answer(&bench.answer(question)?);
    }
    Ok(())
}

/// A run's first frame, in training and in search.
struct Bench<'a> {
    setup: &'a Setup,
    architecture: Architecture,
    learner: Learner,
    /// Keeps a running average, as the last training does.
    averaging: Learner,
    searcher: Searcher<'a>,
    loader: Loader,
    batch: Batch,
    /// To be predicted.
    inputs: Tensor,
}

/// Steps at this rate cost what others cost, and the weights stay good.
const RATE: f64 = 0.0;

impl<'a> Bench<'a> {
    fn new(setup: &'a Setup) -> anyhow::Result<Self> {
        let frame = setup.frames.first().context("a run without a frame")?;
        let architecture = setup.plain(frame);
        let hyper_parameters = HyperParameters::default();
        let learner = |is_averaged| Learner::new(&setup.recipe, &architecture, &hyper_parameters, is_averaged);
        let loader = setup.training_of(&hyper_parameters, 1.0)?;
        let first = |loader: &Loader| loader.epoch(0)?.next().context("no batch to train on");
        Ok(Self {
            setup,
            learner: learner(false)?,
            averaging: learner(true)?,
            searcher: Searcher::new(setup, frame)?,
            batch: first(&loader)?,
            inputs: first(&setup.in_order(Split::Train)?)?.inputs,
            loader,
            architecture,
        })
    }

    fn ready(&self) -> Ready {
        let recipe = &self.setup.recipe;
        Ready {
            device: self.setup.placement.described.label().to_owned(),
            threads: tch::get_num_threads(),
            libtorch: libtorch_version(),
            architecture: self.architecture.clone(),
            parameters: self.learner.parameters(),
            batch: self.batch.inputs.size()[0],
            prediction_batch: self.inputs.size()[0],
            mixed_precision: recipe.precision.is_mixed(),
            mixed_predictions: recipe.precision == Precision::Mixed,
            label_smoothing: recipe.loss.label_smoothing,
            clip: recipe.training.clip,
            hyper_parameters: HyperParameters::default(),
        }
    }

    fn answer(&mut self, question: Question) -> anyhow::Result<Answer> {
        let in_batch = self.batch.inputs.size()[0];
        match question {
            Question::Train { steps } => self.time(steps, in_batch, |bench| {
                let _ = bench.learner.step(&bench.batch, RATE);
            }),
            Question::Search { steps } => self.time(steps, in_batch, |bench| {
                let _ = bench.searcher.step(&bench.batch, RATE);
            }),
            Question::Predict { steps } => self.time(steps, self.inputs.size()[0], |bench| {
                let _ = tch::no_grad(|| bench.learner.forward(&bench.inputs));
            }),
            Question::Epoch => self.epoch(),
            Question::Ways { layer, runs } => {
                let numbers = [layer.inputs, layer.outputs, layer.samples].into_iter();
                let is_sound = numbers.chain(layer.size.iter().copied()).all(|number| number > 0);
                ensure!(is_sound && matches!(layer.size.len(), 1 | 2), "{layer:?} is no layer");
                let space = &self.setup.job.space;
                Ok(Answer::Ways(time_ways(
                    &layer,
                    space,
                    runs,
                    self.setup.placement.device,
                )))
            }
        }
    }

    fn time(&mut self, steps: usize, in_batch: i64, step: impl Fn(&mut Self)) -> anyhow::Result<Answer> {
        let device = self.setup.placement.device;
        wait(device);
        let started = Instant::now();
        (0..steps).for_each(|_| step(self));
        wait(device);
        Ok(Answer::Took {
            seconds: started.elapsed().as_secs_f64(),
            samples: in_batch * steps as i64,
        })
    }

    fn epoch(&mut self) -> anyhow::Result<Answer> {
        let started = Instant::now();
        let loss = self.averaging.train(&self.loader, 0, RATE)?;
        loss.context("a loss is not finite")?;
        Ok(Answer::Took {
            seconds: started.elapsed().as_secs_f64(),
            samples: self.setup.samples.of(Split::Train).len() as i64,
        })
    }
}
