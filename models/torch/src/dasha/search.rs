//! DASH (arXiv 2204.07554): one network that holds every candidate kernel of every convolution, trained once, tells
//! which of them each convolution should have.
//!
//! Weights and choices move on the same batches, each with an optimiser of its own, on training samples only.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use forecastd_models::dasha::card::SearchRecord;
use forecastd_models::dasha::plan::EpochPlan;
use forecastd_models::dasha::{Backbone, DashaEvent, Schedule, schedule};
use tch::Tensor;
use tch::nn::VarStore;

use super::journal::{Journal, Pace, Stage};
use super::learner::{MeanLoss, is_adam, measure_step, prefixed, seed_libtorch, sorted_parameters, take};
use super::optimizer::{Optimizer, Rule, clip_gradients};
use super::setup::Setup;
use super::state::Tensors;
use crate::nets::{Form, Supernet, loss, search_backbone};
use crate::samples::{Batch, Loader};

/// The longest gradient of a step, weights and choices together.
const CLIP: f64 = 1.0;

/// A search of fewer steps has learnt nothing that it could choose by.
const FEWEST_STEPS: f64 = 100.0;

/// Samples that tell how long a step of all of a batch takes at most.
const FEW_SAMPLES: i64 = 2;

/// The part of the time that a step may take to be measured as a whole.
const WORTH_MEASURING: f64 = 0.1;

/// Kernels of sequences and of tiles from this extent on are computed by Fourier transforms where no time may be
/// measured. Every measurement on two cores had sequences' at 71 so, and none of tiles' below 9.
const WIDE: [u32; 2] = [40, 15];

/// Finds kernels for every frame that has none yet.
pub(super) fn search(setup: &Setup, journal: &mut Journal<'_>) -> anyhow::Result<()> {
    if !setup.searches() {
        return Ok(());
    }
    for (index, backbone) in setup.frames.iter().enumerate() {
        let record = journal.state.searches.get(index);
        if record.is_none_or(|record| record.pattern.is_none()) {
            search_frame(setup, journal, index, backbone)?;
        }
    }
    Ok(())
}

fn search_frame(setup: &Setup, journal: &mut Journal<'_>, index: usize, backbone: &Backbone) -> anyhow::Result<()> {
    let until = end_of_search(setup, index);
    if journal.state.searches.len() <= index {
        journal.state.forms.clear();
        let record = begin(setup, journal, backbone, until)?;
        journal.state.searches.push(record);
    }
    let plan = journal.state.searches[index].plan;
    if plan.epochs == 0 {
        journal.state.searches[index].pattern = Some(backbone.plain_pattern());
        journal.save(Stage::Search, None, None)?;
        let backbone = backbone.name();
        journal.tell(&DashaEvent::NotSearched { backbone });
        return Ok(());
    }
    let mut searcher = Searcher::new(setup, backbone)?;
    searcher.supernet.set_forms(journal.state.forms.iter().cloned());
    if let Some(tensors) = journal.under_way()? {
        searcher.restore(&tensors)?;
    }
    let loader = setup.training(searcher.seed, plan.part)?;
    let mut pace = Pace::default();
    while let Some((epoch, epochs)) = next_epoch(&journal.state.searches[index]) {
        let started = Instant::now();
        let deadline = until.map(|until| started + seconds(until - journal.note_time(Stage::Search)));
        let mean = searcher.train(&loader, epoch, epochs, deadline)?;
        let mean = mean.with_context(|| format!("the search with {} has diverged", backbone.name()))?;
        let each = pace.add(started.elapsed().as_secs_f64());
        let spent = journal.note_time(Stage::Search);
        let record = &mut journal.state.searches[index];
        record.losses.push(mean);
        if let Some(until) = until {
            let asked = setup.job.budget.search_epochs;
            record.plan = record.plan.replanned(asked, epoch + 1, each, until - spent);
        }
        let epochs = record.plan.epochs;
        journal.state.forms = searcher.supernet.forms();
        journal.save(Stage::Search, Some(&searcher.state()), None)?;
        journal.tell(&DashaEvent::SearchEpoch {
            backbone: backbone.name(),
            epoch: epoch + 1,
            epochs,
            loss: mean,
        });
    }
    let pattern = searcher.supernet.pattern();
    journal.state.searches[index].pattern = Some(pattern.clone());
    journal.save(Stage::Search, None, None)?;
    let backbone = backbone.name();
    journal.tell(&DashaEvent::Searched { backbone, pattern });
    Ok(())
}

/// The epoch that comes, from 0, and how many there are; none after the last.
fn next_epoch(record: &SearchRecord) -> Option<(u32, u32)> {
    let (done, epochs) = (record.losses.len() as u32, record.plan.epochs);
    (done < epochs).then_some((done, epochs))
}

/// What the stage's clock may show when this frame is done: those after it get as much each.
fn end_of_search(setup: &Setup, index: usize) -> Option<f64> {
    let whole = setup.times.as_ref()?.search;
    let share = (index + 1) as f64 / setup.frames.len() as f64;
    Some(whole * share)
}

/// Plans the search of a frame, by measurement where time is short.
fn begin(
    setup: &Setup,
    journal: &mut Journal<'_>,
    backbone: &Backbone,
    until: Option<f64>,
) -> anyhow::Result<SearchRecord> {
    let budget = &setup.job.budget;
    let mut plan = EpochPlan {
        epochs: budget.search_epochs,
        part: budget.search_part,
    };
    if let Some(until) = until {
        let mut searcher = Searcher::new(setup, backbone)?;
        let loader = setup.training(searcher.seed, 1.0)?;
        let left = until - journal.note_time(Stage::Search);
        let step = searcher.measure_within(&loader, left)?;
        journal.state.forms = searcher.supernet.forms();
        let left = until - journal.note_time(Stage::Search);
        plan = match step {
            Some(step) => EpochPlan::within(plan, step * loader.batches() as f64, left.max(0.0)),
            None => EpochPlan { epochs: 0, ..plan },
        };
    }
    Ok(SearchRecord {
        backbone: backbone.clone(),
        searched_as: search_backbone(backbone, setup.axes()),
        pattern: None,
        plan,
        losses: Vec::new(),
    })
}

/// A supernet and what moves it.
pub(super) struct Searcher<'a> {
    setup: &'a Setup,
    backbone: Backbone,
    seed: u64,
    supernet: Supernet,
    weights: BTreeMap<String, Tensor>,
    choices: BTreeMap<String, Tensor>,
    /// Of weights and of choices, each with its own learning rate.
    optimizers: [(Optimizer, f64); 2],
}

impl<'a> Searcher<'a> {
    pub(super) fn new(setup: &'a Setup, backbone: &Backbone) -> anyhow::Result<Self> {
        let seed = setup.seed(&format!("search {}", backbone.name()));
        seed_libtorch(seed, "weights");
        let architecture = setup.plain(&search_backbone(backbone, setup.axes()));
        let device = setup.placement.device;
        let (weights, choices) = (VarStore::new(device), VarStore::new(device));
        let space = &setup.job.space;
        let supernet = Supernet::new(&weights.root(), &choices.root(), &architecture, space, true)?;
        if setup.times.is_none() {
            supernet.force_form(Some(unmeasured_form(setup))); // no clock decides where none was asked for
        }
        let by_adam = is_adam(&architecture);
        let optimizer = |store: &VarStore, rates: (f64, f64)| {
            let (rule, rate) = if by_adam {
                (Rule::AdamW { weight_decay: 0.05 }, rates.1)
            } else {
                let (momentum, weight_decay) = (0.9, 5e-4);
                (Rule::Sgd { momentum, weight_decay }, rates.0)
            };
            (Optimizer::new(rule, sorted_parameters(store)), rate)
        };
        let optimizers = [optimizer(&weights, (0.1, 2e-4)), optimizer(&choices, (0.05, 1e-4))];
        Ok(Self {
            setup,
            backbone: backbone.clone(),
            seed,
            supernet,
            weights: weights.variables().into_iter().collect(),
            choices: choices.variables().into_iter().collect(),
            optimizers,
        })
    }

    /// One epoch, from 0, and its mean loss; none if one was not finite. After the deadline no further step begins.
    fn train(
        &mut self,
        loader: &Loader,
        epoch: u32,
        epochs: u32,
        deadline: Option<Instant>,
    ) -> anyhow::Result<Option<f64>> {
        seed_libtorch(self.seed, &format!("epoch {epoch}"));
        let factor = Schedule::paper(schedule::Stage::Search, &self.backbone, self.setup.axes(), epochs).factor(epoch);
        let mut total = MeanLoss::new(self.setup.placement.device);
        for batch in loader.epoch(u64::from(epoch))? {
            let loss = self.step(&batch, factor);
            total.add(&loss, batch.inputs.size()[0]);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Ok(total.mean())
    }

    pub(super) fn step(&mut self, batch: &Batch, factor: f64) -> Tensor {
        let recipe = &self.setup.recipe;
        let precision = recipe.precision.of_search();
        let outputs = precision.forward(&self.supernet, &batch.inputs, true);
        let loss = loss(recipe.task, &outputs, &batch.targets, &recipe.loss);
        for (optimizer, _) in &mut self.optimizers {
            optimizer.zero_grad();
        }
        loss.backward();
        self.supernet.gradient_rule(grad_scale(self.setup.axes()));
        let all = self.optimizers.iter().flat_map(|(optimizer, _)| optimizer.parameters());
        clip_gradients(all, CLIP);
        for (optimizer, rate) in &mut self.optimizers {
            optimizer.step(*rate * factor);
        }
        loss
    }

    /// Seconds of a step; none where so many seconds are not enough for a search. A supernet's step can take longer
    /// than all the time there is, so a few samples are asked first. What steps do to the weights is of no use
    /// afterwards.
    fn measure_within(&mut self, loader: &Loader, left: f64) -> anyhow::Result<Option<f64>> {
        let mut batches = loader.epoch(0)?;
        let batch = batches.next().context("there are no training samples")?;
        drop(batches);
        let size = batch.inputs.size()[0];
        let few = FEW_SAMPLES.min(size);
        let batch = Batch {
            inputs: batch.inputs.narrow(0, 0, few),
            targets: batch.targets.narrow(0, 0, few),
        };
        let _ = self.step(&batch, 0.0).double_value(&[]); // forms are chosen
        let started = Instant::now();
        let _ = self.step(&batch, 0.0).double_value(&[]);
        let most = started.elapsed().as_secs_f64() * size as f64 / few as f64;
        if most > WORTH_MEASURING * left {
            return Ok(None);
        }
        let step = measure_step(loader, |batch| self.step(batch, 0.0))?;
        Ok((step * FEWEST_STEPS <= left).then_some(step))
    }

    fn state(&self) -> Tensors {
        let mut state = prefixed("weights", &self.weights);
        state.extend(prefixed("choices", &self.choices));
        for (index, (optimizer, _)) in self.optimizers.iter().enumerate() {
            let named = optimizer.state().into_iter();
            state.extend(named.map(|(name, tensor)| (format!("optimizer{index}.{name}"), tensor)));
        }
        state
    }

    fn restore(&mut self, state: &Tensors) -> anyhow::Result<()> {
        let missing = |name: String| anyhow!("the checkpoint has no tensor {name:?} of this search");
        take(&mut self.weights, "weights", state).map_err(missing)?;
        take(&mut self.choices, "choices", state).map_err(missing)?;
        for (index, (optimizer, _)) in self.optimizers.iter_mut().enumerate() {
            let saved = |name: &str| {
                state
                    .get(&format!("optimizer{index}.{name}"))
                    .map(Tensor::shallow_clone)
            };
            optimizer.restore(&saved).map_err(missing)?;
        }
        Ok(())
    }
}

/// Of a time that may be over.
fn seconds(left: f64) -> Duration {
    Duration::try_from_secs_f64(left).unwrap_or_default()
}

/// The paper's: what the length of a choice's gradient is divided by. Of tiles it differs by task there, from 100 to
/// 1000.
fn grad_scale(axes: usize) -> f64 {
    if axes == 1 { 100.0 } else { 500.0 }
}

fn unmeasured_form(setup: &Setup) -> Form {
    if setup.job.space.extent() >= WIDE[setup.axes() - 1] {
        Form::Fourier
    } else {
        Form::Direct
    }
}
