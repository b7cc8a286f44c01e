//! One network and everything that trains it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use forecastd_models::dasha::{Architecture, Backbone, HyperParameters, Random, Schedule, Task, TrainingOptions};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::average::Average;
use super::optimizer::{Optimizer, Rule, clip_gradients};
use super::precision::Precision;
use super::state::Tensors;
use crate::augment::Strands;
use crate::nets::{LossOptions, Network, loss};
use crate::samples::{Batch, Loader};

/// Steps that are measured to plan with, after one that is not.
const MEASURED: usize = 3;

/// Once measuring has taken so long, the steps so far must do.
const PATIENCE: Duration = Duration::from_secs(2);

/// What all networks of a run are trained with.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) task: Task,
    pub(super) device: Device,
    pub(super) precision: Precision,
    pub(super) loss: LossOptions,
    pub(super) training: TrainingOptions,
    /// Where predictions are means over both.
    pub(super) strands: Option<Strands>,
}

/// A network under way.
#[derive(Debug)]
pub(super) struct Learner {
    recipe: Rc<Recipe>,
    network: Network,
    variables: BTreeMap<String, Tensor>,
    optimizer: Optimizer,
    average: Option<Average>,
    seed: u64,
}

impl Learner {
    /// With initial weights that hang on the hyper-parameters' seed alone. `is_averaged` keeps a running average.
    pub(super) fn new(
        recipe: &Rc<Recipe>,
        architecture: &Architecture,
        hyper_parameters: &HyperParameters,
        is_averaged: bool,
    ) -> anyhow::Result<Self> {
        let seed = hyper_parameters.seed;
        seed_libtorch(seed, "weights");
        let store = VarStore::new(recipe.device);
        let network = Network::new(&store.root(), architecture, hyper_parameters.dropout)?;
        let variables: BTreeMap<String, Tensor> = store.variables().into_iter().collect();
        let optimizer = Optimizer::new(rule(architecture, hyper_parameters), sorted_parameters(&store));
        let decay = recipe.training.ema;
        let average = (is_averaged && decay > 0.0).then(|| Average::new(decay, &variables));
        Ok(Self {
            recipe: Rc::clone(recipe),
            network,
            variables,
            optimizer,
            average,
            seed,
        })
    }

    /// One epoch, from 0. The mean loss; none if a batch's was not finite.
    pub(super) fn train(&mut self, loader: &Loader, epoch: u32, rate: f64) -> anyhow::Result<Option<f64>> {
        seed_libtorch(self.seed, &format!("epoch {epoch}"));
        let mut total = MeanLoss::new(self.recipe.device);
        for batch in loader.epoch(u64::from(epoch))? {
            let loss = self.step(&batch, rate);
            total.add(&loss, batch.inputs.size()[0]);
        }
        Ok(total.mean())
    }

    pub(super) fn step(&mut self, batch: &Batch, rate: f64) -> Tensor {
        let recipe = Rc::clone(&self.recipe);
        let outputs = recipe.precision.forward(&self.network, &batch.inputs, true);
        let loss = loss(recipe.task, &outputs, &batch.targets, &recipe.loss);
        self.optimizer.zero_grad();
        loss.backward();
        if recipe.training.clip > 0.0 {
            clip_gradients(self.optimizer.parameters().iter(), recipe.training.clip);
        }
        self.optimizer.step(rate);
        if let Some(average) = &mut self.average {
            average.update(&self.variables);
        }
        loss
    }

    /// Seconds of a step. What it does to the weights is of no use afterwards.
    pub(super) fn measure(&mut self, loader: &Loader) -> anyhow::Result<f64> {
        measure_step(loader, |batch| self.step(batch, 0.0))
    }

    /// What the network says now.
    pub(super) fn forward(&self, inputs: &Tensor) -> Tensor {
        let forward = |inputs: &Tensor| self.recipe.precision.forward(&self.network, inputs, false);
        match &self.recipe.strands {
            Some(strands) => strands.mean(inputs, forward),
            None => forward(inputs),
        }
    }

    /// Does something with the averaged weights in the network's place; nothing without an average.
    pub(super) fn with_average<T>(&mut self, act: impl FnOnce(&Self) -> T) -> Option<T> {
        let averages = copied(self.average.as_ref()?.variables());
        let own = copied(&self.variables);
        self.set_weights(&averages);
        let result = act(self);
        self.set_weights(&own);
        Some(result)
    }

    /// A copy of the weights, or of their average.
    pub(super) fn weights(&self, averaged: bool) -> Tensors {
        match &self.average {
            Some(average) if averaged => copied(average.variables()),
            _ => copied(&self.variables),
        }
    }

    /// Takes weights of a network like this one.
    pub(super) fn set_weights(&mut self, weights: &Tensors) {
        tch::no_grad(|| {
            for (name, variable) in &mut self.variables {
                if let Some(weight) = weights.get(name) {
                    variable.copy_(weight);
                }
            }
        });
    }

    /// Takes such weights to train on from, with nothing averaged yet.
    pub(super) fn begin_from(&mut self, weights: &Tensors) {
        self.set_weights(weights);
        let decay = self.recipe.training.ema;
        self.average = self.average.take().map(|_| Average::new(decay, &self.variables));
    }

    /// Numbers that are trained.
    pub(super) fn parameters(&self) -> u64 {
        let parameters = self.optimizer.parameters().iter();
        parameters.map(|parameter| parameter.numel() as u64).sum()
    }

    /// All that a later process needs to go on.
    pub(super) fn state(&self) -> Tensors {
        let mut state = prefixed("weights", &self.variables);
        let optimizer = self.optimizer.state();
        state.extend(
            optimizer
                .into_iter()
                .map(|(name, tensor)| (format!("optimizer.{name}"), tensor)),
        );
        if let Some(average) = &self.average {
            state.extend(prefixed("average", average.variables()));
            state.insert("steps".to_owned(), Tensor::from_slice(&[average.steps()]));
        }
        state
    }

    /// Goes on where another process stood.
    pub(super) fn restore(&mut self, state: &Tensors) -> anyhow::Result<()> {
        let missing = |name: String| anyhow::anyhow!("the checkpoint has no tensor {name:?} of this network");
        take(&mut self.variables, "weights", state).map_err(missing)?;
        let of_optimizer = |name: &str| state.get(&format!("optimizer.{name}")).map(Tensor::shallow_clone);
        self.optimizer.restore(&of_optimizer).map_err(missing)?;
        if let Some(average) = &mut self.average {
            let steps = state.get("steps").ok_or_else(|| missing("steps".to_owned()))?;
            let steps = steps.int64_value(&[0]);
            let of_average = |name: &str| state.get(&format!("average/{name}")).map(Tensor::shallow_clone);
            average.restore(steps, &of_average).map_err(missing)?;
        }
        Ok(())
    }
}

/// Seconds of a step that gives its loss, after a first one that is not counted.
pub(super) fn measure_step(loader: &Loader, mut step: impl FnMut(&Batch) -> Tensor) -> anyhow::Result<f64> {
    let mut batches = loader.epoch(0)?;
    if let Some(batch) = batches.next() {
        let _ = step(&batch).double_value(&[]); // until the device is done
    }
    let started = Instant::now();
    let mut steps = 0;
    for batch in batches.take(MEASURED) {
        let _ = step(&batch).double_value(&[]);
        steps += 1;
        if started.elapsed() >= PATIENCE {
            break;
        }
    }
    Ok(started.elapsed().as_secs_f64() / f64::from(steps.max(1)))
}

/// By AdamW a U-Net of tiles, by stochastic gradient descent all others, as the paper has it.
pub(super) fn is_adam(architecture: &Architecture) -> bool {
    matches!(architecture.backbone, Backbone::UNet { .. }) && !architecture.input.is_sequence()
}

/// A schedule's factor in an epoch, from 0. The paper's warm-up begins with an epoch at rate 0, in which a trial would
/// learn nothing and lose its first rung to every other frame: here it begins with its second.
pub(super) fn rate_factor(schedule: &Schedule, epoch: u32) -> f64 {
    match schedule {
        Schedule::WarmUpLinear { .. } => schedule.factor(epoch + 1),
        _ => schedule.factor(epoch),
    }
}

fn rule(architecture: &Architecture, hyper_parameters: &HyperParameters) -> Rule {
    let HyperParameters {
        weight_decay, momentum, ..
    } = *hyper_parameters;
    if is_adam(architecture) {
        Rule::AdamW { weight_decay }
    } else {
        Rule::Sgd { momentum, weight_decay }
    }
}

/// libtorch's generator, from here on, for one part of the work.
pub(super) fn seed_libtorch(seed: u64, part: &str) {
    let word = Random::new(seed).derive(part).next_u64();
    tch::manual_seed(word as i64);
}

/// What is trained, in the order of its names, which is the same in every process.
pub(super) fn sorted_parameters(store: &VarStore) -> Vec<Tensor> {
    let variables: BTreeMap<String, Tensor> = store.variables().into_iter().collect();
    variables.into_values().filter(Tensor::requires_grad).collect()
}

/// The same tensors under longer names.
pub(super) fn prefixed(prefix: &str, variables: &BTreeMap<String, Tensor>) -> Tensors {
    let named = variables.iter();
    named
        .map(|(name, variable)| (format!("{prefix}/{name}"), variable.shallow_clone()))
        .collect()
}

/// Fills variables from a state; the name of the first that is not there.
pub(super) fn take(variables: &mut BTreeMap<String, Tensor>, prefix: &str, state: &Tensors) -> Result<(), String> {
    let _guard = tch::no_grad_guard();
    for (name, variable) in variables {
        let name = format!("{prefix}/{name}");
        let saved = state.get(&name).filter(|saved| saved.size() == variable.size());
        variable.copy_(saved.ok_or(name)?);
    }
    Ok(())
}

fn copied(variables: &BTreeMap<String, Tensor>) -> Tensors {
    let copy = |(name, variable): (&String, &Tensor)| (name.clone(), variable.detach().copy());
    tch::no_grad(|| variables.iter().map(copy).collect())
}

/// A mean over an epoch that is asked for at its end only, so that no step waits for the device.
#[derive(Debug)]
pub(super) struct MeanLoss {
    sum: Tensor,
    count: i64,
}

impl MeanLoss {
    pub(super) fn new(device: Device) -> Self {
        let sum = Tensor::zeros([], (Kind::Double, device));
        Self { sum, count: 0 }
    }

    pub(super) fn add(&mut self, loss: &Tensor, samples: i64) {
        let _guard = tch::no_grad_guard();
        let _ = self.sum.g_add_(&(loss.detach().to_kind(Kind::Double) * samples as f64));
        self.count += samples;
    }

    /// None of nothing, and where a loss was not finite.
    pub(super) fn mean(&self) -> Option<f64> {
        let mean = self.sum.double_value(&[]) / self.count as f64;
        mean.is_finite().then_some(mean)
    }
}
