//! Metrics of clients' requests for what networks say, those included that are refused before any network is asked:
//! all but those that find more requests under way than the endpoint takes, and those whose address cannot be read.
//!
//! What the serving process is asked, by clients and by the daemon itself, is counted where it is asked.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use forecastd_config::{Model, ModelName};
use prometheus::{IntCounter, IntCounterVec};

use super::families::Register;
use crate::message::inference::InferenceError;

/// Why a request has no answer though no network was asked: `cancelled` where its client did not wait for one.
const OWN_REASONS: [&str; 4] = ["busy", "cancelled", "slow", "too_large"];

/// Why a request has no answer; each starts at zero, so that the first one is seen to rise.
pub(in crate::publish) fn reasons() -> impl Iterator<Item = &'static str> {
    OWN_REASONS.into_iter().chain(InferenceError::LABELS)
}

/// From the head of a request to its answer. Models are those of the configuration: other names are clients' to choose.
#[derive(Debug)]
pub(super) struct InferenceFamilies {
    requests: IntCounterVec,
    failures: IntCounterVec,
    unknown: IntCounter,
    responses: IntCounterVec,
    configured: Mutex<BTreeSet<ModelName>>,
}

impl InferenceFamilies {
    pub(super) fn register(to: &Register) -> Self {
        Self {
            requests: to.counters(
                "forecastd_inference_http_requests_total",
                "Requests of clients for what a model says, once their address was read, whatever became of them.",
                &["model"],
            ),
            failures: to.counters(
                "forecastd_inference_http_request_failures_total",
                "Requests of clients that were not answered, by reason.",
                &["model", "reason"],
            ),
            unknown: to.counter(
                "forecastd_inference_unknown_requests_total",
                "Requests of clients for models that there are not.",
            ),
            responses: to.counters(
                "forecastd_inference_http_responses_total",
                "Answers to requests for what networks say, by HTTP status.",
                &["code"],
            ),
            configured: Mutex::default(),
        }
    }

    /// Starts and ends label sets.
    pub(super) fn configured(&self, models: &[Model]) {
        let mut known = self.known();
        let now: BTreeSet<ModelName> = models.iter().map(|model| ModelName::clone(&model.name)).collect();
        for gone in known.difference(&now) {
            // An error means that the label set is not there, which is what is wanted.
            let _ = self.requests.remove_label_values(&[gone]);
            for reason in reasons() {
                let _ = self.failures.remove_label_values(&[gone, reason]);
            }
        }
        for model in &now {
            self.requests.with_label_values(&[model]);
            for reason in reasons() {
                self.failures.with_label_values(&[&**model, reason]);
            }
        }
        *known = now;
    }

    /// A request has come.
    pub(super) fn asked(&self, model: &str) {
        let known = self.known(); // held, so that a label set that is being ended does not come back
        match known.contains(model) {
            true => self.requests.with_label_values(&[model]).inc(),
            false => self.unknown.inc(),
        }
    }

    /// It was not answered.
    pub(super) fn failed(&self, model: &str, reason: &'static str) {
        let known = self.known();
        if known.contains(model) {
            self.failures.with_label_values(&[model, reason]).inc();
        }
    }

    /// Something was said to it.
    pub(super) fn responded(&self, status: u16) {
        self.responses.with_label_values(&[&status.to_string()]).inc();
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<ModelName>> {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
