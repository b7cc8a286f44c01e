//! The last training: the best trial's network, from its initial weights, on training samples for as long as was
//! asked. Of all epochs, and of the weights and their running average, the best on validation is kept.
//!
//! Where the time is limited, it goes on from the best weights of that trial instead: a trial is a large part of the
//! time then, and to train the same again would be paid for with epochs. Its rate goes down by half a wave then: the
//! paper's steps are for 200 epochs, and of 20 they would leave 6 that learn fast.

use std::time::Instant;

use anyhow::{Context, ensure};
use forecastd_models::dasha::card::{EpochRecord, RetrainRecord};
use forecastd_models::dasha::plan::EpochPlan;
use forecastd_models::dasha::{DashaEvent, Schedule, Split, schedule};

use super::evaluate::Examiner;
use super::journal::{Journal, Pace, Stage};
use super::learner::{Learner, rate_factor};
use super::setup::Setup;
use super::state::{Retrain, State, Tensors};
use super::trials;

/// Times that a training may begin anew, each time at a third of the learning rate, before it is given up.
const RESTARTS: u32 = 6;
const SLOWER: f64 = 1.0 / 3.0;

/// Trains until no epoch is left.
pub(super) fn retrain(setup: &Setup, journal: &mut Journal<'_>) -> anyhow::Result<()> {
    if journal.state.retrain.is_none() {
        let retrain = begin(setup, journal)?;
        journal.state.retrain = Some(retrain);
        journal.save(Stage::Retrain, None, None)?;
    }
    let retrain = journal.state.retrain.clone().context("it was just begun")?;
    if retrain.is_over {
        return Ok(());
    }
    let mut training = Training::new(setup, &retrain)?;
    match journal.under_way()? {
        Some(tensors) => training.learner.restore(&tensors)?,
        None => {
            if let Some(kept) = weights_so_far(journal)? {
                training.learner.begin_from(&kept);
            }
        }
    }
    let loader = setup.training_of(&retrain.chosen.hyper_parameters, retrain.record.plan.part)?;
    let mut pace = Pace::default();
    loop {
        let started = Instant::now();
        let (epoch, rate) = training.next_epoch(setup, journal)?;
        let Some(loss) = training.learner.train(&loader, epoch, rate)? else {
            training.begin_anew(setup, journal)?;
            continue;
        };
        let record = training.examine(setup, rate, loss)?;
        let kept = note(journal, record).then(|| training.learner.weights(record.better().1));
        let each = pace.add(started.elapsed().as_secs_f64());
        replan(setup, journal, each);
        if kept.is_some() {
            journal.state.kept_of = None;
        }
        let is_over = current(journal)?.is_over;
        let under_way = (!is_over).then(|| training.learner.state());
        journal.save(Stage::Retrain, under_way.as_ref(), kept.as_ref())?;
        tell(journal)?;
        if is_over {
            return Ok(());
        }
    }
}

fn begin(setup: &Setup, journal: &mut Journal<'_>) -> anyhow::Result<Retrain> {
    let chosen = trials::best(setup, &journal.state);
    let mut plan = EpochPlan {
        epochs: setup.job.budget.retrain_epochs,
        part: 1.0,
    };
    if let Some(seconds) = end_of_retrain(setup, journal) {
        let epoch = trials::epoch_seconds(setup, &chosen.candidate)?;
        let left = seconds - journal.note_time(Stage::Retrain);
        plan = EpochPlan::within(plan, epoch, left.max(0.0));
    }
    Ok(Retrain {
        chosen,
        record: RetrainRecord {
            plan,
            trials: journal.state.trial_plan,
            epochs: Vec::new(),
        },
        restarts: 0,
        is_over: false,
    })
}

/// What the stage's clock may show: what the others have left of all the time there is.
fn end_of_retrain(setup: &Setup, journal: &Journal<'_>) -> Option<f64> {
    let times = setup.times?;
    let seconds = &journal.state.seconds;
    Some(times.search + times.trials + times.retrain - seconds.search - seconds.trials)
}

/// A network under way and what says how good it is.
struct Training {
    learner: Learner,
    examiner: Examiner,
}

impl Training {
    fn new(setup: &Setup, retrain: &Retrain) -> anyhow::Result<Self> {
        let architecture = setup.architecture(&retrain.chosen.candidate);
        Ok(Self {
            learner: Learner::new(&setup.recipe, &architecture, &retrain.chosen.hyper_parameters, true)?,
            examiner: setup.examiner(Split::Validation)?,
        })
    }

    /// The epoch that comes, from 0, and its learning rate.
    fn next_epoch(&self, setup: &Setup, journal: &mut Journal<'_>) -> anyhow::Result<(u32, f64)> {
        let retrain = current(journal)?;
        let (epoch, plan) = (retrain.record.epochs.len() as u32, retrain.record.plan);
        let backbone = &retrain.chosen.candidate.backbone;
        let epochs = plan.epochs;
        let schedule = match setup.times {
            Some(_) => Schedule::Cosine { epochs },
            None => Schedule::paper(schedule::Stage::Retrain, backbone, setup.axes(), epochs),
        };
        let slower = SLOWER.powi(retrain.restarts as i32);
        let rate = retrain.chosen.hyper_parameters.learning_rate * rate_factor(&schedule, epoch) * slower;
        Ok((epoch, rate))
    }

    fn examine(&mut self, setup: &Setup, rate: f64, loss: f64) -> anyhow::Result<EpochRecord> {
        let examiner = &self.examiner;
        let score = |learner: &Learner| {
            let predictions = examiner.predictions(&|inputs| learner.forward(inputs))?;
            anyhow::Ok(predictions.score(setup.metric))
        };
        Ok(EpochRecord {
            rate,
            loss,
            score: score(&self.learner)?,
            averaged_score: self.learner.with_average(score).transpose()?,
        })
    }

    /// From the weights that were kept, or from the initial ones, and slower.
    fn begin_anew(&mut self, setup: &Setup, journal: &mut Journal<'_>) -> anyhow::Result<()> {
        let kept = weights_so_far(journal)?;
        let retrain = current(journal)?;
        retrain.restarts += 1;
        ensure!(
            retrain.restarts <= RESTARTS,
            "the last training diverges, even at a learning rate of {:.1e}",
            retrain.chosen.hyper_parameters.learning_rate * SLOWER.powi(RESTARTS as i32)
        );
        let architecture = setup.architecture(&retrain.chosen.candidate);
        self.learner = Learner::new(&setup.recipe, &architecture, &retrain.chosen.hyper_parameters, true)?;
        if let Some(kept) = kept {
            self.learner.begin_from(&kept);
        }
        journal.save(Stage::Retrain, Some(&self.learner.state()), None)
    }
}

/// Those that this training has kept, or before its first epoch those of its trial, if it goes on from them.
fn weights_so_far(journal: &mut Journal<'_>) -> anyhow::Result<Option<Tensors>> {
    let trial = current(journal)?.chosen.trial;
    match journal.state.kept_of {
        Some(kept_of) if Some(kept_of) != trial => Ok(None),
        _ => journal.kept(),
    }
}

fn current<'a>(journal: &'a mut Journal<'_>) -> anyhow::Result<&'a mut Retrain> {
    journal.state.retrain.as_mut().context("the last training has begun")
}

/// The score of the weights that it began from, where those are a trial's and none better have been kept since.
fn score_of_trial(state: &State) -> Option<f64> {
    let trial = state.retrain.as_ref()?.chosen.trial?;
    let is_kept = state.kept_of == Some(trial);
    state.trials.get(trial as usize).filter(|_| is_kept)?.best()
}

/// Takes down an epoch, and says whether it is the best so far.
fn note(journal: &mut Journal<'_>, record: EpochRecord) -> bool {
    let of_trial = score_of_trial(&journal.state);
    let Some(retrain) = &mut journal.state.retrain else {
        return false;
    };
    let (score, averaged) = record.better();
    let best = best_score(&retrain.record);
    retrain.record.epochs.push(record);
    let is_better = best.into_iter().chain(of_trial).all(|best| score > best);
    if is_better {
        retrain.chosen.epoch = retrain.record.epochs.len() as u32;
        retrain.chosen.averaged = averaged;
    }
    is_better
}

fn best_score(record: &RetrainRecord) -> Option<f64> {
    record
        .epochs
        .iter()
        .map(|epoch| epoch.better().0)
        .max_by(f64::total_cmp)
}

/// As many epochs as there is time for, and none when nothing has got better for long.
fn replan(setup: &Setup, journal: &mut Journal<'_>, each: f64) {
    let spent = journal.note_time(Stage::Retrain);
    let until = end_of_retrain(setup, journal);
    let Some(retrain) = &mut journal.state.retrain else {
        return;
    };
    let done = retrain.record.epochs.len() as u32;
    if let Some(until) = until {
        let asked = setup.job.budget.retrain_epochs;
        retrain.record.plan = retrain.record.plan.replanned(asked, done, each, until - spent);
    }
    let patience = setup.job.training.patience;
    let is_stale = patience > 0 && done - retrain.chosen.epoch >= patience;
    retrain.is_over = is_stale || done >= retrain.record.plan.epochs;
}

fn tell(journal: &mut Journal<'_>) -> anyhow::Result<()> {
    let record = &current(journal)?.record;
    let last = record.epochs.last().context("an epoch was just noted")?;
    let event = DashaEvent::RetrainEpoch {
        epoch: record.epochs.len() as u32,
        epochs: record.plan.epochs,
        loss: last.loss,
        score: last.better().0,
        best: best_score(record).unwrap_or(last.score),
    };
    journal.tell(&event);
    Ok(())
}
