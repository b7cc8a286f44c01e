//! Metrics of models: what was dropped, what became of it, and which version answers.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use forecastd_config::{Model, ModelName};
use prometheus::{IntCounterVec, IntGaugeVec};

use super::families::Register;
use super::set;
use crate::message::model::{ImportOutcome, ModelAct, ModelDone, ModelState};
use crate::message::rejected::ArtifactFault;
use crate::message::snapshot::ModelView;

const MODEL: &[&str] = &["model"];

/// Why a version could not be loaded.
const LOAD_FAILURES: [&str; 2] = ["refused", "unavailable"];

/// What a change is called in the label `act`.
const ACTS: [&str; 5] = ["promote", "shadow", "refuse", "rollback", "remove"];

/// From the dropped artifact to the active version. Counters begin with the process.
#[derive(Debug)]
pub(super) struct ModelFamilies {
    drops: IntCounterVec,
    duplicates: IntCounterVec,
    rejected: IntCounterVec,
    deferred: IntCounterVec,
    changes: IntCounterVec,
    load_failures: IntCounterVec,
    versions: IntGaugeVec,
    info: IntGaugeVec,
    configured: Mutex<Vec<ModelName>>,
    /// Label sets of `info` that are there: a page must not miss one that stays.
    shown: Mutex<BTreeSet<[String; 3]>>,
}

impl ModelFamilies {
    pub(super) fn register(to: &Register) -> Self {
        Self {
            drops: to.counters(
                "forecastd_model_drops_total",
                "Artifacts dealt with: imported, there already or rejected.",
                MODEL,
            ),
            duplicates: to.counters(
                "forecastd_model_drops_duplicate_total",
                "Artifacts that were a version of the model already.",
                MODEL,
            ),
            rejected: to.counters(
                "forecastd_model_drops_rejected_total",
                "Artifacts refused as a whole and put into quarantine.",
                &["model", "reason"],
            ),
            deferred: to.counters(
                "forecastd_model_drops_deferred_total",
                "Times an artifact was put off because the machine failed, not the artifact.",
                MODEL,
            ),
            changes: to.counters(
                "forecastd_model_changes_total",
                "Changes of a version's state by the rule of promotion and by retention; those that people ask for are not in it.",
                &["model", "act"],
            ),
            load_failures: to.counters(
                "forecastd_model_load_failures_total",
                "Times a version could not be loaded: it was refused, or no serving process could be started.",
                &["model", "reason"],
            ),
            versions: to.gauges(
                "forecastd_model_versions",
                "Versions of the model that have their files.",
                &["model", "state"],
            ),
            info: to.gauges(
                "forecastd_model_version_info",
                "The version that is active, and the one in its shadow.",
                &["model", "version", "state"],
            ),
            configured: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    /// Starts and ends label sets.
    pub(super) fn configured(&self, models: &[Model]) {
        let mut known = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known
            .iter()
            .filter(|name| models.iter().all(|model| model.name != **name))
        {
            self.remove(gone);
        }
        *known = models.iter().map(|model| ModelName::clone(&model.name)).collect();
        for model in known.iter() {
            for family in [&self.drops, &self.duplicates, &self.deferred] {
                family.with_label_values(&[&**model]);
            }
            for fault in ArtifactFault::ALL {
                self.rejected.with_label_values(&[&**model, fault.label()]);
            }
            for act in ACTS {
                self.changes.with_label_values(&[&**model, act]);
            }
            for reason in LOAD_FAILURES {
                self.load_failures.with_label_values(&[&**model, reason]);
            }
        }
    }

    /// An error means that the label set is not there, which is what is wanted.
    fn remove(&self, model: &str) {
        for family in [&self.drops, &self.duplicates, &self.deferred] {
            let _ = family.remove_label_values(&[model]);
        }
        for fault in ArtifactFault::ALL {
            let _ = self.rejected.remove_label_values(&[model, fault.label()]);
        }
        for act in ACTS {
            let _ = self.changes.remove_label_values(&[model, act]);
        }
        for reason in LOAD_FAILURES {
            let _ = self.load_failures.remove_label_values(&[model, reason]);
        }
        for state in ModelState::ALL {
            let _ = self.versions.remove_label_values(&[model, state.label()]);
        }
    }

    /// Something was done, perhaps for a model that has left the configuration meanwhile: that is not counted.
    pub(super) fn done(&self, done: &ModelDone) {
        let known = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            ModelDone::Imported(file, outcome) if known.contains(&file.dataset) => {
                let model = [&*file.dataset];
                match outcome {
                    ImportOutcome::Imported(_) => self.drops.with_label_values(&model).inc(),
                    ImportOutcome::Duplicate(_) => {
                        self.drops.with_label_values(&model).inc();
                        self.duplicates.with_label_values(&model).inc();
                    }
                    ImportOutcome::Rejected(verdict) => {
                        self.drops.with_label_values(&model).inc();
                        let labels = [model[0], verdict.reason.label()];
                        self.rejected.with_label_values(&labels).inc();
                    }
                    ImportOutcome::Deferred { .. } => self.deferred.with_label_values(&model).inc(),
                    ImportOutcome::Withdrawn => {}
                }
            }
            ModelDone::Changed(change, Ok(())) if known.contains(&change.model) => {
                let labels = [&*change.model, act(change.act)];
                self.changes.with_label_values(&labels).inc();
            }
            _ => {}
        }
    }

    /// A version could not be loaded, perhaps of a model that has left the configuration meanwhile.
    pub(super) fn load_failed(&self, model: &str, reason: &'static str) {
        let known = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().any(|name| **name == *model) {
            self.load_failures.with_label_values(&[model, reason]).inc();
        }
    }

    /// Shows what readers see: two versions of a model by name at most, the others by count.
    pub(super) fn published(&self, models: &[ModelView]) {
        let mut info = BTreeSet::new();
        for view in models {
            let model = &*view.model;
            for state in ModelState::ALL
                .into_iter()
                .filter(|state| *state != ModelState::Removed)
            {
                let count = view.versions.iter().filter(|version| version.state == state).count();
                let versions = self.versions.with_label_values(&[model, state.label()]);
                set(&versions, count as u64);
            }
            for version in view.active().into_iter().chain(view.shadow()) {
                let (key, state) = (version.version.to_string(), version.state.label());
                info.insert([model.to_owned(), key, state.to_owned()]);
            }
        }
        for labels in &info {
            self.info.with_label_values(labels).set(1);
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for labels in shown.difference(&info) {
            let _ = self.info.remove_label_values(labels);
        }
        *shown = info;
    }
}

fn act(act: ModelAct) -> &'static str {
    match act {
        ModelAct::Promote(_) => ACTS[0],
        ModelAct::Shadow(_) => ACTS[1],
        ModelAct::Refuse(_) => ACTS[2],
        ModelAct::Rollback => ACTS[3],
        ModelAct::Remove { .. } => ACTS[4],
    }
}

#[cfg(test)]
mod tests;
