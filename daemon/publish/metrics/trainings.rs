//! Metrics of trainings: why there were any, what came of them, and how far the one under way is.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use forecastd_config::{Model, ModelName};
use prometheus::{GaugeVec, Histogram, IntCounterVec, IntGaugeVec};

use super::families::Register;
use crate::message::model::ModelDone;
use crate::message::training::{
    TrainingFault, TrainingNote, TrainingObstacle, TrainingProgress, TrainingReason, TrainingStage, TrainingView,
};

const MODEL: &[&str] = &["model"];
const REASON: &[&str] = &["model", "reason"];

/// Seconds from a decision to its version: minutes to days.
const BUCKETS: &[f64] = &[
    10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0,
];

/// From the decision to the version. Counters begin with the process.
#[derive(Debug)]
pub(super) struct TrainingFamilies {
    begun: IntCounterVec,
    failures: IntCounterVec,
    running: IntGaugeVec,
    blocked: IntGaugeVec,
    stage: IntGaugeVec,
    progress: GaugeVec,
    best: GaugeVec,
    trials: IntGaugeVec,
    remaining: GaugeVec,
    duration: Histogram,
    succeeded: GaugeVec,
    /// The models that are trained here.
    configured: Mutex<BTreeSet<ModelName>>,
    /// How far the training under way is, for people.
    latest: Mutex<Option<TrainingProgress>>,
}

impl TrainingFamilies {
    pub(super) fn register(to: &Register) -> Self {
        Self {
            begun: to.counters(
                "forecastd_trainings_total",
                "Trainings begun; one that goes on after a restart is not counted again.",
                REASON,
            ),
            failures: to.counters(
                "forecastd_training_failures_total",
                "Trainings that nothing came of.",
                REASON,
            ),
            running: to.gauges("forecastd_training_running", "Whether a training is under way.", MODEL),
            blocked: to.gauges(
                "forecastd_training_blocked",
                "Whether a training is due that only other samples make possible.",
                REASON,
            ),
            stage: to.gauges(
                "forecastd_training_stage",
                "What the training under way does: laying samples out, search, trials, last training.",
                &["model", "stage"],
            ),
            progress: to.float_gauges(
                "forecastd_training_stage_progress_ratio",
                "The part of the stage's epochs, or trials, that is done.",
                MODEL,
            ),
            best: to.float_gauges(
                "forecastd_training_best_score",
                "The best score on validation of the training under way.",
                MODEL,
            ),
            trials: to.gauges(
                "forecastd_training_trials",
                "Trials of the training under way that have begun.",
                MODEL,
            ),
            remaining: to.float_gauges(
                "forecastd_training_remaining_seconds",
                "What the training under way has left of its time budget.",
                MODEL,
            ),
            duration: to.histogram(
                "forecastd_training_duration_seconds",
                "Time from the decision to the end of a training, restarts in between included.",
                BUCKETS,
            ),
            succeeded: to.float_gauges(
                "forecastd_training_last_success_timestamp_seconds",
                "When the last training ended that made a version.",
                MODEL,
            ),
            configured: Mutex::default(),
            latest: Mutex::default(),
        }
    }

    /// Starts and ends label sets.
    pub(super) fn configured(&self, models: &[Model]) {
        let mut known = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        let trained = models.iter().filter(|model| model.training.is_some());
        let trained: BTreeSet<ModelName> = trained.map(|model| ModelName::clone(&model.name)).collect();
        for gone in known.difference(&trained) {
            self.remove(gone);
        }
        for model in &trained {
            for reason in TrainingReason::ALL {
                self.begun.with_label_values(&[model, reason.label()]);
            }
            for fault in TrainingFault::ALL {
                self.failures.with_label_values(&[model, fault.label()]);
            }
            self.running.with_label_values(&[model]);
        }
        *known = trained;
    }

    /// An error means that the label set is not there, which is what is wanted.
    fn remove(&self, model: &str) {
        for reason in TrainingReason::ALL {
            let _ = self.begun.remove_label_values(&[model, reason.label()]);
        }
        for fault in TrainingFault::ALL {
            let _ = self.failures.remove_label_values(&[model, fault.label()]);
        }
        for obstacle in TrainingObstacle::ALL {
            let _ = self.blocked.remove_label_values(&[model, obstacle.label()]);
        }
        let _ = self.running.remove_label_values(&[model]);
        let _ = self.succeeded.remove_label_values(&[model]);
        self.remove_progress(model);
    }

    fn remove_progress(&self, model: &str) {
        self.latest().take_if(|latest| *latest.model == *model);
        for stage in TrainingStage::ALL {
            let _ = self.stage.remove_label_values(&[model, stage.label()]);
        }
        let _ = self.trials.remove_label_values(&[model]);
        for family in [&self.progress, &self.best, &self.remaining] {
            let _ = family.remove_label_values(&[model]);
        }
    }

    /// Something was entered into the books, perhaps for a model that has left the configuration meanwhile.
    pub(super) fn done(&self, done: &ModelDone) {
        let ModelDone::Training(note, Ok(())) = done else {
            return;
        };
        let known = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            TrainingNote::Begun(plan) if known.contains(&plan.model) => {
                let labels = [&*plan.model, plan.reason.label()];
                self.begun.with_label_values(&labels).inc();
            }
            TrainingNote::Ended(training) if known.contains(&training.plan.model) => {
                let Some(end) = &training.end else { return };
                let seconds = end.time.as_seconds() - training.begun.as_seconds();
                self.duration.observe(seconds.max(0.0));
                if let Err(failure) = &end.result {
                    let labels = [&*training.plan.model, failure.fault.label()];
                    self.failures.with_label_values(&labels).inc();
                }
            }
            TrainingNote::Begun(_) | TrainingNote::Ended(_) => {}
        }
    }

    /// How far a training is.
    pub(super) fn progress(&self, progress: &TrainingProgress) {
        let known = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        let model = &*progress.model;
        if !known.contains(model) {
            return;
        }
        for stage in TrainingStage::ALL {
            let family = self.stage.with_label_values(&[model, stage.label()]);
            family.set(i64::from(stage == progress.stage));
        }
        let part = f64::from(progress.done) / f64::from(progress.of.max(1));
        self.progress.with_label_values(&[model]).set(part);
        self.trials.with_label_values(&[model]).set(progress.trials.into());
        self.remaining.with_label_values(&[model]).set(progress.seconds_left);
        if let Some(best) = progress.best {
            self.best.with_label_values(&[model]).set(best);
        }
        *self.latest() = Some(progress.clone());
    }

    /// How far the training of a model is, as it was last told.
    pub(super) fn progress_of(&self, model: &str) -> Option<TrainingProgress> {
        self.latest().clone().filter(|latest| *latest.model == *model)
    }

    fn latest(&self) -> MutexGuard<'_, Option<TrainingProgress>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what readers see.
    pub(super) fn published(&self, views: &[TrainingView]) {
        let known = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        for view in views.iter().filter(|view| known.contains(&view.model)) {
            let model = &*view.model;
            let running = self.running.with_label_values(&[model]);
            running.set(view.under_way.is_some().into());
            for obstacle in TrainingObstacle::ALL {
                let family = self.blocked.with_label_values(&[model, obstacle.label()]);
                family.set((view.obstacle == Some(obstacle)).into());
            }
            if let Some(time) = view.succeeded {
                self.succeeded.with_label_values(&[model]).set(time.as_seconds());
            }
            if view.under_way.is_none() {
                self.remove_progress(model);
            }
        }
    }
}

#[cfg(test)]
mod tests;
