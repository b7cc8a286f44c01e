//! The Open Inference Protocol, version 2, over HTTP: what clients of Triton and KServe speak.
//!
//! Tensors as JSON or by the binary extension; metadata, readiness, and what else `tritonclient` asks for: the index of
//! the repository, configuration and statistics of a model. Which tensors there are is `tensor`'s; how they come and go,
//! `header`, `samples` and `answer`. Answers come from [`Infer`] alone. A client that goes away drops its request.
//!
//! Bounds of their own (`super::room`, [`InferenceHttp`](forecastd_config::InferenceHttp)), and a thread of their own for
//! what is long (`desk`): requests here never take the place of a scrape.

mod answer;
mod desk;
mod header;
mod infer;
mod metadata;
mod samples;
mod tensor;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use forecastd_config::InferenceHttp;
use forecastd_models::dasha::ModelDescription;
use tokio::sync::Semaphore;

use self::desk::Desk;
use super::error::ApiError;
use super::room::Room;
use crate::message::inference::{Infer, InferenceError, ServedModel, ServedVersion, VersionState};
use crate::message::model::FEWEST_DIGITS;
use crate::publish::exposition::Exposition;

/// Bodies of all requests under way and their answers together, at most, unless one body alone may be longer.
const ALL_BODIES: usize = 256 << 20;

/// What answers need.
#[derive(Clone, Debug)]
pub(super) struct Service {
    exposition: Arc<Exposition>,
    infer: Arc<dyn Infer>,
    limits: InferenceHttp,
    requests: Arc<Semaphore>,
    room: Room,
    small_room: Room,
    desk: Desk,
}

impl Service {
    pub(super) fn new(exposition: Arc<Exposition>, infer: Arc<dyn Infer>, limits: InferenceHttp) -> io::Result<Self> {
        let (most, whence) = (limits.body_bytes, "http.inference.max_body");
        Ok(Self {
            desk: Desk::open(Arc::clone(&exposition))?,
            exposition,
            infer,
            requests: Arc::new(Semaphore::new(limits.requests)),
            room: Room::new(most, whence, ALL_BODIES, limits.max_timeout),
            small_room: Room::small(),
            limits,
        })
    }
}

/// What probes ask, whatever else is asked.
pub(super) fn health(service: Service) -> Router {
    Router::new()
        .route("/v2/health/live", get(metadata::live))
        .route("/v2/health/ready", get(metadata::ready))
        .with_state(service)
}

pub(super) fn routes(service: Service) -> Router {
    Router::new()
        .route("/v2", get(metadata::server))
        .route("/v2/repository/index", post(metadata::index))
        .route("/v2/models/stats", get(metadata::all_statistics))
        .route("/v2/models/{model}", get(metadata::model))
        .route("/v2/models/{model}/ready", get(metadata::model_ready))
        .route("/v2/models/{model}/config", get(metadata::config))
        .route("/v2/models/{model}/stats", get(metadata::statistics))
        .route("/v2/models/{model}/infer", post(infer::infer))
        .route("/v2/models/{model}/versions/{version}", get(metadata::model))
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(metadata::model_ready),
        )
        .route("/v2/models/{model}/versions/{version}/config", get(metadata::config))
        .route("/v2/models/{model}/versions/{version}/stats", get(metadata::statistics))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer::infer))
        .with_state(service)
}

/// Which version of which model an address names.
#[derive(Clone, Debug, serde::Deserialize)]
struct Address {
    model: Arc<str>,
    version: Option<Arc<str>>,
}

/// A version that can be asked.
struct Found {
    version: Arc<str>,
    description: Arc<ModelDescription>,
}

impl Service {
    /// The model of an address.
    fn model(&self, address: &Address) -> Result<ServedModel, ApiError> {
        let mut served = self.infer.served().into_iter();
        if let Some(model) = served.find(|model| model.name == address.model) {
            return Ok(model);
        }
        let model = Arc::clone(&address.model);
        let snapshot = self.exposition.snapshot();
        let Some(view) = snapshot.models.iter().find(|view| view.model == model) else {
            if snapshot.generation == 0 {
                let reason = "the registry is still being read".to_owned();
                let version = "unknown".into();
                return Err(InferenceError::NotReady { model, version, reason }.into());
            }
            return Err(InferenceError::UnknownModel { model }.into());
        };
        let reason = match view.active() {
            Some(_) => "its active version is not loaded".to_owned(),
            None => "no version is active".to_owned(),
        };
        let version = view
            .active()
            .map_or("none".into(), |active| active.version.to_string().into());
        Err(InferenceError::NotReady { model, version, reason }.into())
    }

    /// The version that an address names, by its first digits, or the active one.
    fn find(&self, address: &Address) -> Result<Found, ApiError> {
        let model = self.model(address)?;
        let version = match &address.version {
            Some(digits) => named(&model, digits)?,
            None => active(&model)?,
        };
        match (&version.state, &version.description) {
            (VersionState::Refused { reason }, _) => Err(not_ready(&model, version, reason)),
            (VersionState::Draining, _) => Err(not_ready(&model, version, "it is being unloaded")),
            (VersionState::Ready | VersionState::Loading, Some(description)) => Ok(Found {
                version: Arc::clone(&version.version),
                description: Arc::clone(description),
            }),
            (_, None) => Err(not_ready(&model, version, "it is being loaded")),
        }
    }
}

fn named<'a>(model: &'a ServedModel, digits: &Arc<str>) -> Result<&'a ServedVersion, ApiError> {
    let lower = digits.to_ascii_lowercase();
    let mut found: Vec<&ServedVersion> = model
        .versions
        .iter()
        .filter(|version| digits.len() >= FEWEST_DIGITS && version.version.starts_with(&lower))
        .collect();
    // One that goes may have come back under the same name: the last counts.
    found.sort_by(|a, b| a.version.cmp(&b.version));
    let several = found.windows(2).any(|pair| pair[0].version != pair[1].version);
    if several {
        let message = format!("model {:?}: several versions begin with {digits:?}", model.name);
        return Err(ApiError::malformed(message));
    }
    found.pop().ok_or_else(|| {
        let (model, version) = (Arc::clone(&model.name), Arc::clone(digits));
        InferenceError::UnknownVersion { model, version }.into()
    })
}

fn active(model: &ServedModel) -> Result<&ServedVersion, ApiError> {
    let active = model.active.as_ref();
    let mut versions = model.versions.iter().rev();
    let found = versions.find(|version| Some(&version.version) == active);
    found.ok_or_else(|| match model.versions.first() {
        Some(first) => not_ready(model, first, "no version is active yet"),
        None => ApiError::unknown(format!("model {:?} has no version", model.name)),
    })
}

fn not_ready(model: &ServedModel, version: &ServedVersion, reason: &str) -> ApiError {
    InferenceError::NotReady {
        model: Arc::clone(&model.name),
        version: Arc::clone(&version.version),
        reason: reason.to_owned(),
    }
    .into()
}
