//! What a run says becomes figures: how far it is, how good, how long it may still take.

use std::time::Instant;

use forecastd_config::ModelName;
use forecastd_models::dasha::DashaEvent;
use tracing::{debug, info, warn};

use crate::message::training::{TrainingProgress, TrainingStage};

/// Follows one run.
#[derive(Debug)]
pub(super) struct Progress {
    state: TrainingProgress,
    /// The frame whose kernels are searched for.
    frame: String,
    /// Seconds of the budget that earlier children have spent.
    spent: f64,
    budget: f64,
    since: Instant,
}

impl Progress {
    pub(super) fn new(model: &ModelName, spent: f64, budget: f64) -> Self {
        Self {
            state: TrainingProgress {
                model: ModelName::clone(model),
                stage: TrainingStage::Samples,
                done: 0,
                of: 0,
                best: None,
                trials: 0,
                seconds_left: (budget - spent).max(0.0),
            },
            frame: String::new(),
            spent,
            budget,
            since: Instant::now(),
        }
    }

    /// How far it is.
    pub(super) fn state(&self) -> TrainingProgress {
        let seconds_left = self.budget - self.spent - self.since.elapsed().as_secs_f64();
        TrainingProgress {
            seconds_left: seconds_left.max(0.0),
            ..self.state.clone()
        }
    }

    /// Takes an event in; whether a stage began with it.
    pub(super) fn take(&mut self, event: &DashaEvent) -> bool {
        let model = &*self.state.model;
        match event {
            DashaEvent::Started {
                device,
                threads,
                resumed,
                advice,
            } => {
                info!(model, device, threads, resumed, "training");
                if let Some(advice) = advice {
                    warn!(model, advice, "training takes longer than it could");
                }
                false
            }
            DashaEvent::SearchEpoch {
                backbone,
                epoch,
                epochs,
                loss,
            } => {
                debug!(model, backbone, epoch, epochs, loss, "search");
                let is_new = self.frame != *backbone;
                self.frame.clone_from(backbone);
                self.enter(TrainingStage::Search, *epoch, *epochs) || is_new
            }
            DashaEvent::NotSearched { backbone } => {
                info!(
                    model,
                    backbone, "no time to search for kernels: the frame keeps its own"
                );
                false
            }
            DashaEvent::Searched { backbone, pattern } => {
                info!(model, backbone, %pattern, "kernels (size/dilation) found");
                false
            }
            DashaEvent::TrialEpoch {
                trial,
                trials,
                epoch,
                epochs,
                score,
                best,
                stopped,
            } => {
                debug!(model, trial, epoch, epochs, score, best, stopped, "trial");
                self.state.best = Some(*best);
                self.state.trials = trial + 1;
                let done = trial + u32::from(*stopped || epoch == epochs);
                self.enter(TrainingStage::Trials, done, *trials)
            }
            DashaEvent::RetrainEpoch {
                epoch,
                epochs,
                loss,
                score,
                best,
            } => {
                debug!(model, epoch, epochs, loss, score, best, "last training");
                self.state.best = Some(*best);
                self.enter(TrainingStage::Retrain, *epoch, *epochs)
            }
            DashaEvent::Finished {
                metric,
                validation,
                test,
            } => {
                info!(model, metric, validation, test, "trained");
                false
            }
            DashaEvent::Failed { .. } => false, // told at the end
        }
    }

    fn enter(&mut self, stage: TrainingStage, done: u32, of: u32) -> bool {
        let is_new = self.state.stage != stage;
        (self.state.stage, self.state.done, self.state.of) = (stage, done, of);
        if is_new {
            info!(
                model = &*self.state.model,
                stage = stage.label(),
                of,
                best = self.state.best,
                seconds_left = self.state().seconds_left,
                "a stage of the training begins"
            );
        }
        is_new
    }
}

/// Whether another child would begin behind where this one was: everything up to here is in a checkpoint.
pub(super) fn is_kept(event: &DashaEvent) -> bool {
    use DashaEvent::{RetrainEpoch, SearchEpoch, TrialEpoch};
    matches!(event, SearchEpoch { .. } | TrialEpoch { .. } | RetrainEpoch { .. })
}
