//! What readers see of the server: what is served, and what has been counted. They never wait for its task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forecastd_models::dasha::ModelDescription;

use super::request::Outcome;
use crate::message::inference::{InferenceCounts, InferenceRequest, ModelCounts, ServedModel};
use crate::message::torch_status::TorchStatus;

/// Shared by the server, its handles and readers.
#[derive(Debug, Default)]
pub(super) struct Board {
    served: Mutex<Vec<ServedModel>>,
    counts: Mutex<InferenceCounts>,
}

impl Board {
    pub(super) fn served(&self) -> Vec<ServedModel> {
        lock(&self.served).clone()
    }

    pub(super) fn counts(&self) -> InferenceCounts {
        lock(&self.counts).clone()
    }

    /// What the network is that a request would reach now, once that is known.
    pub(super) fn description(&self, request: &InferenceRequest) -> Option<Arc<ModelDescription>> {
        let served = lock(&self.served);
        let model = served.iter().find(|model| model.name == request.model)?;
        let version = request.version.as_ref().or(model.active.as_ref())?;
        let mut versions = model.versions.iter();
        versions.find(|found| found.version == *version)?.description.clone()
    }

    pub(super) fn set_served(&self, served: Vec<ServedModel>) {
        let mut counts = lock(&self.counts);
        for model in &served {
            if !counts.models.contains_key(&model.name) {
                counts.models.insert(Arc::clone(&model.name), ModelCounts::default());
            }
        }
        *lock(&self.served) = served;
    }

    pub(super) fn set_child(&self, child: &TorchStatus) {
        lock(&self.counts).child.clone_from(child);
    }

    /// Counts something of a served name. Names that were never served have no counts: clients choose them.
    pub(super) fn count(&self, name: &Arc<str>, count: impl FnOnce(&mut ModelCounts)) {
        if let Some(counts) = lock(&self.counts).models.get_mut(name) {
            count(counts);
        }
    }
}

/// Sees to it that a request is counted once, whatever becomes of it.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    board: &'a Board,
    model: Arc<str>,
    samples: u64,
    has_ended: bool,
}

impl<'a> Tally<'a> {
    pub(super) fn new(board: &'a Board, request: &InferenceRequest) -> Self {
        Self {
            board,
            model: Arc::clone(&request.model),
            samples: u64::from(request.count),
            has_ended: false,
        }
    }

    pub(super) fn ended(&mut self, outcome: &Outcome) {
        self.has_ended = true;
        self.board.count(&self.model, |counts| {
            counts.requests += 1;
            match outcome {
                Ok(answer) => {
                    counts.answered += 1;
                    counts.samples += self.samples;
                    counts.queue += answer.queue;
                }
                Err(error) => *counts.failures.entry(error.label()).or_default() += 1,
            }
        });
    }
}

impl Drop for Tally<'_> {
    /// A request that is dropped before its end was cancelled.
    fn drop(&mut self) {
        if !self.has_ended {
            self.board.count(&self.model, |counts| {
                counts.requests += 1;
                counts.cancelled += 1;
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
