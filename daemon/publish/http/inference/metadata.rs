//! What is served, whether it is ready, and what has been counted, in the words of the protocol and of Triton.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Address, Service, tensor};
use crate::message::inference::{ModelCounts, ServedModel, VersionState};
use crate::publish::exposition::Readiness;
use crate::publish::http::error::{ApiError, json_response};
use crate::publish::http::path::Path;

/// What networks run on, as metadata have it.
const PLATFORM: &str = "forecastd_dasha";

pub(super) async fn server() -> Response {
    let server = json!({
        "name": "forecastd",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"],
    });
    json_response(StatusCode::OK, &server)
}

pub(super) async fn live() -> Response {
    json_response(StatusCode::OK, &json!({ "live": true }))
}

/// Ready once every model that has an active version answers; the daemon's own readiness does not wait for that.
pub(super) async fn ready(State(service): State<Service>) -> Response {
    let served = service.infer.served();
    let snapshot = service.exposition.snapshot();
    let mut due = snapshot.models.iter().filter(|view| view.active().is_some());
    let answers = |name: &str| served.iter().any(|model| *model.name == *name && is_ready(model));
    let is_ready = service.exposition.readiness() == Readiness::Ready && due.all(|view| answers(&view.model));
    told(is_ready, json!({ "ready": is_ready }))
}

pub(super) async fn model_ready(
    State(service): State<Service>,
    Path(address): Path<Address>,
) -> Result<Response, ApiError> {
    let found = service.find(&address)?;
    let is_stopping = service.exposition.readiness() == Readiness::Stopping;
    let ready = json!({ "name": address.model, "version": found.version, "ready": !is_stopping });
    Ok(told(!is_stopping, ready))
}

pub(super) async fn model(State(service): State<Service>, Path(address): Path<Address>) -> Result<Response, ApiError> {
    let (model, found) = (service.model(&address)?, service.find(&address)?);
    let versions: Vec<&str> = match &address.version {
        Some(_) => vec![&found.version],
        None => model.versions.iter().map(|version| &*version.version).collect(),
    };
    let outputs = tensor::outputs(&found.description);
    let metadata = json!({
        "name": model.name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": [tensor::input(&found.description).metadata()],
        "outputs": outputs.iter().map(tensor::TensorSpec::metadata).collect::<Vec<_>>(),
    });
    Ok(json_response(StatusCode::OK, &metadata))
}

/// As Triton has it: `max_batch_size` 0 says that shapes have the samples in them.
pub(super) async fn config(State(service): State<Service>, Path(address): Path<Address>) -> Result<Response, ApiError> {
    let found = service.find(&address)?;
    let tensor = |spec: &tensor::TensorSpec| json!({ "name": spec.name, "data_type": spec.datatype.config_name(), "dims": spec.shape() });
    let outputs = tensor::outputs(&found.description);
    let config = json!({
        "name": address.model,
        "platform": PLATFORM,
        "backend": "forecastd",
        "max_batch_size": 0,
        "input": [tensor(&tensor::input(&found.description))],
        "output": outputs.iter().map(tensor).collect::<Vec<_>>(),
    });
    Ok(json_response(StatusCode::OK, &config))
}

/// What may be asked of the index; more has no bearing on it.
#[derive(Debug, Default, Deserialize)]
struct IndexRequest {
    /// Leaves out what is not ready.
    #[serde(default)]
    ready: bool,
}

pub(super) async fn index(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let received = service.small_room.read(&headers, body).await?;
    let asked: IndexRequest = match received.bytes.as_slice() {
        [] => IndexRequest::default(),
        bytes => serde_json::from_slice(bytes).map_err(|error| ApiError::malformed(format!("the body: {error}")))?,
    };
    let mut entries = Vec::new();
    for model in service.infer.served() {
        for version in &model.versions {
            let (state, reason) = match &version.state {
                VersionState::Loading => ("LOADING", ""),
                VersionState::Ready => ("READY", ""),
                VersionState::Draining => ("UNLOADING", ""),
                VersionState::Refused { reason } => ("UNAVAILABLE", reason.as_str()),
            };
            if !asked.ready || version.state == VersionState::Ready {
                let version = &version.version;
                entries.push(json!({ "name": model.name, "version": version, "state": state, "reason": reason }));
            }
        }
    }
    Ok(json_response(StatusCode::OK, &Value::Array(entries)))
}

/// Counts are of a model: whatever its versions answered since the daemon started.
pub(super) async fn statistics(
    State(service): State<Service>,
    Path(address): Path<Address>,
) -> Result<Response, ApiError> {
    let found = service.find(&address)?;
    let counts = service.infer.counts().models.remove(&address.model).unwrap_or_default();
    let of_model = of_model(&address.model, &found.version, &counts);
    Ok(json_response(StatusCode::OK, &json!({ "model_stats": [of_model] })))
}

pub(super) async fn all_statistics(State(service): State<Service>) -> Response {
    let counts = service.infer.counts();
    let none = ModelCounts::default();
    let served = service.infer.served();
    let all = served.iter().map(|model| {
        let counts = counts.models.get(&model.name).unwrap_or(&none);
        of_model(&model.name, model.active.as_deref().unwrap_or_default(), counts)
    });
    json_response(StatusCode::OK, &json!({ "model_stats": all.collect::<Vec<_>>() }))
}

fn of_model(name: &str, version: &str, counts: &ModelCounts) -> Value {
    let failed: u64 = counts.failures.values().sum();
    let time = |count: u64, time: Duration| json!({ "count": count, "ns": time.as_nanos() as u64 });
    json!({
        "name": name,
        "version": version,
        "inference_count": counts.samples,
        "execution_count": counts.batches.count(),
        "inference_stats": {
            "success": { "count": counts.answered },
            "fail": { "count": failed },
            "cancel": { "count": counts.cancelled },
            "queue": time(counts.answered, counts.queue),
            "compute_infer": time(counts.batches.count(), counts.compute),
        },
    })
}

fn is_ready(model: &ServedModel) -> bool {
    let mut versions = model.versions.iter();
    versions.any(|version| version.state == VersionState::Ready && Some(&version.version) == model.active.as_ref())
}

fn told(is_ready: bool, value: Value) -> Response {
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_response(status, &value)
}
