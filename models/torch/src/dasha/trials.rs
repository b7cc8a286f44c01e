//! Which network, and which hyper-parameters: trials on training samples, scored on validation after every epoch, and
//! cut short by ASHA (arXiv 1810.05934) as the paper does.
//!
//! Beyond the paper, a trial tries a network too: each frame, with the kernels that were found and with its own plain
//! ones, so that what was searched is only taken where validation prefers it. The first trial of each network has
//! hyper-parameters that are known to train; with few trials those drawn at random may all be hopeless. Where the job
//! varies frames, the first trial of each variation has them too, beside the plain networks; later ones draw from both.
//!
//! Where the time is limited, the best weights of all trials are kept for the last training to go on from.

use std::time::Instant;

use forecastd_models::dasha::asha::{Decision, Settings, Stopping};
use forecastd_models::dasha::card::{Candidate, Chosen, TrialEnd, TrialRecord};
use forecastd_models::dasha::plan::{EpochPlan, TrialPlan};
use forecastd_models::dasha::training::default_hyper_parameters;
use forecastd_models::dasha::variation::first_networks;
use forecastd_models::dasha::{DashaEvent, Extras, HyperParameters, Random, Schedule, Split, Variation, schedule};

use super::evaluate::Examiner;
use super::journal::{Journal, Stage};
use super::learner::{Learner, is_adam, rate_factor};
use super::setup::Setup;
use super::state::State;

/// The part of an epoch's time that validation and the checkpoint take, on top.
const OVERHEAD: f64 = 1.15;

/// Runs all trials that there is time for.
pub(super) fn trials(setup: &Setup, journal: &mut Journal<'_>) -> anyhow::Result<()> {
    if setup.trial_count() == 0 || journal.state.retrain.is_some() {
        return Ok(());
    }
    let networks = Networks::new(setup, &journal.state);
    let plan = match journal.state.trial_plan {
        Some(plan) => plan,
        None => plan(setup, journal, &networks.first)?,
    };
    journal.state.trial_plan = Some(plan);
    if journal.state.asha.is_none() {
        journal.state.asha = Some(Stopping::new(Settings {
            grace_period: plan.grace(setup.times.is_some()),
            max_t: plan.each.epochs,
            ..Settings::default()
        })?);
    }
    let examiner = setup.examiner(Split::Validation)?;
    while let Some(trial) = next_trial(setup, journal, plan) {
        if journal.state.trials.len() as u32 <= trial {
            let record = begin(setup, &networks, plan, &journal.state.epoch_seconds, trial);
            journal.state.trials.push(record);
        }
        run_trial(setup, journal, &examiner, plan)?;
    }
    Ok(())
}

/// The trial under way, or the one after the last; none when there is none left, or no time.
fn next_trial(setup: &Setup, journal: &mut Journal<'_>, plan: TrialPlan) -> Option<u32> {
    let spent = journal.note_time(Stage::Trials);
    let trials = &journal.state.trials;
    if let Some(last) = trials.last().filter(|last| last.ended.is_none()) {
        return Some(last.trial);
    }
    let is_over = setup
        .times
        .is_some_and(|times| spent >= end_of_trials(setup, journal, times.trials));
    let next = trials.len() as u32;
    (next < plan.trials && !(is_over && next > 0)).then_some(next)
}

/// What the stage's clock may show: its own time, and what the search has left of its.
fn end_of_trials(setup: &Setup, journal: &Journal<'_>, own: f64) -> f64 {
    let left = setup
        .times
        .map_or(0.0, |times| times.search - journal.state.seconds.search);
    own + left.min(own)
}

/// The network that is known; else each frame with its searched kernels, then each with its plain ones, unless they are
/// the same.
pub(super) fn candidates(setup: &Setup, state: &State) -> Vec<Candidate> {
    if let Some(network) = &setup.job.network {
        return vec![network.clone()];
    }
    let searched = state.searches.iter().filter(|record| !record.losses.is_empty());
    let searched = searched.filter_map(|record| {
        let pattern = record.pattern.clone()?;
        Some(Candidate {
            backbone: record.backbone.clone(),
            pattern,
            searched: true,
            extras: Extras::default(),
        })
    });
    let mut candidates: Vec<Candidate> = searched.collect();
    for backbone in &setup.frames {
        let pattern = backbone.plain_pattern();
        let is_there = candidates
            .iter()
            .any(|other| other.backbone == *backbone && other.pattern == pattern);
        if !is_there {
            candidates.push(Candidate {
                backbone: backbone.clone(),
                pattern,
                searched: false,
                extras: Extras::default(),
            });
        }
    }
    candidates
}

/// What trials try.
struct Networks {
    /// Frames and kernels, nothing varied.
    candidates: Vec<Candidate>,
    /// Those of the first trials.
    first: Vec<Candidate>,
}

impl Networks {
    fn new(setup: &Setup, state: &State) -> Self {
        let candidates = candidates(setup, state);
        let first = match &setup.job.network {
            Some(known) => vec![known.clone()],
            None => first_networks(&candidates, &setup.job.training.variations),
        };
        Self { candidates, first }
    }
}

/// How many trials there is time for. The first networks stand for those that are drawn later.
fn plan(setup: &Setup, journal: &mut Journal<'_>, networks: &[Candidate]) -> anyhow::Result<TrialPlan> {
    let budget = &setup.job.budget;
    let asked = TrialPlan {
        trials: setup.trial_count(),
        each: EpochPlan {
            epochs: budget.max_epochs.max(1),
            part: 1.0,
        },
    };
    let Some(times) = setup.times else { return Ok(asked) };
    let seconds = networks.iter().map(|network| epoch_seconds(setup, network));
    let seconds = seconds.collect::<anyhow::Result<Vec<f64>>>()?;
    let mean = mean(&seconds);
    journal.state.epoch_seconds = seconds;
    let left = end_of_trials(setup, journal, times.trials) - journal.note_time(Stage::Trials);
    Ok(TrialPlan::within(asked, networks.len() as u32, mean, left.max(0.0)))
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// Of an epoch of all training samples.
pub(super) fn epoch_seconds(setup: &Setup, candidate: &Candidate) -> anyhow::Result<f64> {
    let architecture = setup.architecture(candidate);
    let hyper_parameters = HyperParameters::default();
    let loader = setup.training_of(&hyper_parameters, 1.0)?;
    let mut learner = Learner::new(&setup.recipe, &architecture, &hyper_parameters, false)?;
    Ok(learner.measure(&loader)? * loader.batches() as f64 * OVERHEAD)
}

/// What a trial tries, which hangs on the job's seed and its number alone.
fn begin(setup: &Setup, networks: &Networks, plan: TrialPlan, seconds: &[f64], trial: u32) -> TrialRecord {
    let part = match seconds.get(trial as usize) {
        Some(own) => plan.part(*own, mean(seconds)),
        None => plan.each.part,
    };
    let (candidate, hyper_parameters) = match networks.first.get(trial as usize) {
        Some(first) => (first.clone(), known_to_train(setup, first)),
        None => {
            let candidates = &networks.candidates;
            let candidate = varied(setup, &candidates[trial as usize % candidates.len()], trial);
            let adam = is_adam(&setup.architecture(&candidate));
            let space = setup.job.training.trial_space(plan.trials, adam);
            (candidate, space.sample(setup.job.seed, trial))
        }
    };
    TrialRecord {
        trial,
        candidate,
        hyper_parameters,
        part,
        scores: Vec::new(),
        ended: None,
    }
}

fn known_to_train(setup: &Setup, candidate: &Candidate) -> HyperParameters {
    let architecture = setup.architecture(candidate);
    HyperParameters {
        seed: setup.job.seed % 500,
        ..default_hyper_parameters(is_adam(&architecture), architecture.task)
    }
}

fn varied(setup: &Setup, candidate: &Candidate, trial: u32) -> Candidate {
    if setup.job.network.is_some() {
        return candidate.clone();
    }
    let mut random = Random::new(setup.job.seed).derive(&format!("variation {trial}"));
    let variations = &setup.job.training.variations;
    let variation = random.choice(variations).copied().unwrap_or_else(Variation::default);
    variation.of(candidate)
}

/// From where it stands to its end.
fn run_trial(setup: &Setup, journal: &mut Journal<'_>, examiner: &Examiner, plan: TrialPlan) -> anyhow::Result<()> {
    let index = journal.state.trials.len() - 1;
    let record = journal.state.trials[index].clone();
    let architecture = setup.architecture(&record.candidate);
    let mut learner = Learner::new(&setup.recipe, &architecture, &record.hyper_parameters, false)?;
    if let Some(tensors) = journal.under_way()? {
        learner.restore(&tensors)?;
    }
    let loader = setup.training_of(&record.hyper_parameters, record.part)?;
    let epochs = plan.each.epochs;
    let axes = setup.axes();
    let schedule = Schedule::paper(schedule::Stage::Trial, &record.candidate.backbone, axes, epochs);
    for epoch in record.scores.len() as u32.. {
        let started = Instant::now();
        let rate = record.hyper_parameters.learning_rate * rate_factor(&schedule, epoch);
        let is_finite = learner.train(&loader, epoch, rate)?.is_some();
        let score = examiner
            .predictions(&|inputs| learner.forward(inputs))?
            .score(setup.metric);
        let spent = journal.note_time(Stage::Trials) + started.elapsed().as_secs_f64();
        let is_late = setup
            .times
            .is_some_and(|times| spent >= end_of_trials(setup, journal, times.trials));
        let ended = note(&mut journal.state, index, score, is_finite, is_late);
        let under_way = ended.is_none().then(|| learner.state());
        let is_best = setup.times.is_some() && leads(&journal.state.trials, index);
        let kept = is_best.then(|| learner.weights(false));
        if is_best {
            journal.state.kept_of = Some(record.trial);
        }
        journal.save(Stage::Trials, under_way.as_ref(), kept.as_ref())?;
        tell(journal, plan, index, score);
        if ended.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

/// Takes down a score, and says whether the trial is over.
fn note(state: &mut State, index: usize, score: f64, is_finite: bool, is_late: bool) -> Option<TrialEnd> {
    let record = &mut state.trials[index];
    record.scores.push(score);
    let epoch = record.scores.len() as u32;
    let best = record.best().unwrap_or(score);
    let max_epochs = state.trial_plan.map_or(epoch, |plan| plan.each.epochs);
    let decision = state.asha.as_mut().map(|asha| asha.report(record.trial, epoch, best));
    record.ended = if !is_finite {
        Some(TrialEnd::Diverged)
    } else if epoch >= max_epochs {
        Some(TrialEnd::Complete)
    } else if decision == Some(Decision::Stop) {
        Some(TrialEnd::Stopped)
    } else {
        is_late.then_some(TrialEnd::OutOfTime)
    };
    record.ended
}

/// Whether the last score of this trial, which must not have diverged, is better than all others of all trials.
fn leads(trials: &[TrialRecord], index: usize) -> bool {
    let record = &trials[index];
    let Some((last, earlier)) = record.scores.split_last() else {
        return false;
    };
    let others = trials
        .iter()
        .filter(|other| other.trial != record.trial && other.ended != Some(TrialEnd::Diverged));
    record.ended != Some(TrialEnd::Diverged)
        && earlier.iter().all(|score| last > score)
        && others.filter_map(TrialRecord::best).all(|best| *last > best)
}

fn tell(journal: &mut Journal<'_>, plan: TrialPlan, index: usize, score: f64) {
    let record = &journal.state.trials[index];
    let best = journal.state.trials.iter().filter_map(TrialRecord::best);
    let event = DashaEvent::TrialEpoch {
        trial: record.trial,
        trials: plan.trials,
        epoch: record.scores.len() as u32,
        epochs: plan.each.epochs,
        score,
        best: best.max_by(f64::total_cmp).unwrap_or(score),
        stopped: record.ended.is_some(),
    };
    journal.tell(&event);
}

/// The trial with the best score of all, the first of equals; without trials, the first candidate.
pub(super) fn best(setup: &Setup, state: &State) -> Chosen {
    let mut best: Option<(&TrialRecord, f64)> = None;
    for record in state
        .trials
        .iter()
        .filter(|record| record.ended != Some(TrialEnd::Diverged))
    {
        let Some(score) = record.best() else { continue };
        if best.is_none_or(|(_, other)| score > other) {
            best = Some((record, score));
        }
    }
    let (trial, candidate, hyper_parameters) = match best {
        Some((record, _)) => (Some(record.trial), record.candidate.clone(), record.hyper_parameters),
        None => {
            let first = candidates(setup, state).swap_remove(0);
            let known = known_to_train(setup, &first);
            (None, first, known)
        }
    };
    Chosen {
        trial,
        candidate,
        hyper_parameters,
        epoch: 0,
        averaged: false,
    }
}
