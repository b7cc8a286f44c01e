//! `POST …/infer`: samples in, what a network says of them out, by the deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use forecastd_models::dasha::ModelDescription;
use tokio::time::timeout_at;

use super::answer::{self, HEADER_LENGTH, Wanted};
use super::header::{Header, MOST_JSON};
use super::samples::{Samples, samples};
use super::{Address, Service};
use crate::message::inference::{InferenceError, InferenceRequest, Outputs, Stage};
use crate::publish::http::body::guarded;
use crate::publish::http::error::ApiError;
use crate::publish::http::path::Path;

/// Bytes of JSON that an element of an answer takes, about.
const ELEMENT: usize = 12;

pub(super) async fn infer(
    State(service): State<Service>,
    Path(address): Path<Address>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let metrics = service.exposition.metrics();
    metrics.inference_asked(&address.model);
    let mut tally = Tally {
        service: &service,
        model: &address.model,
        failure: Some("cancelled"),
    };
    let answered = answered(&service, &address, &headers, body).await;
    tally.failure = answered.as_ref().err().map(|error| error.reason);
    let response = answered.unwrap_or_else(ApiError::into_response);
    metrics.inference_responded(response.status().as_u16());
    response
}

/// Sees to it that a request that is not answered is counted so, whatever becomes of it: it is dropped when its client
/// hangs up.
struct Tally<'a> {
    service: &'a Service,
    model: &'a str,
    failure: Option<&'static str>,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        if let Some(reason) = self.failure {
            self.service.exposition.metrics().inference_failed(self.model, reason);
        }
    }
}

async fn answered(service: &Service, address: &Address, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    // Held until the client has taken the answer, as is room for that.
    let permit = Arc::clone(&service.requests).try_acquire_owned().map_err(|_| {
        let most = service.limits.requests;
        ApiError::busy(format!("{most} requests are under way already: try again later"))
    })?;
    let arrived = Instant::now();
    let found = service.find(address)?;
    let received = service.room.read(headers, body).await?;
    let length = received.bytes.len();
    let json = json_length(headers, length)?;
    let (description, most) = (found.description, service.limits.samples);
    // The room goes with the samples, even if nobody waits for them any more.
    let asked = move || (Asked::read(&description, received.bytes, json, most), received.permit);
    // How long a client waits is known once its request is read.
    let latest = arrived + service.limits.max_timeout;
    let read = by(latest, Stage::Waiting, service.desk.run(length, asked)).await?;
    // Held until the answer is made: so long the samples are in memory.
    let (asked, _room) = read;
    let asked = asked?;
    let deadline = arrived + service.patience(asked.timeout);
    let _grown = service.room.take(asked.samples.inputs.len().saturating_sub(length))?;
    let request = InferenceRequest {
        model: Arc::clone(&address.model),
        // Whoever names none gets the active one, even if that changes meanwhile.
        version: address.version.as_ref().map(|_| Arc::clone(&found.version)),
        count: asked.samples.count,
        inputs: asked.samples.inputs,
        deadline,
    };
    let answer = service.infer.infer(request).await?;
    let elements = match &answer.outputs {
        Outputs::Scores(scores) => scores.len(),
        Outputs::Classes(classes) => classes.len(),
    };
    let (model, id, wanted) = (Arc::clone(&address.model), asked.id, asked.wanted);
    let write = move || answer::write(&model, id.as_deref(), &wanted, &answer);
    let written = service.desk.run(elements * ELEMENT, write);
    let written = by(deadline, Stage::Computing, written).await??;
    let room = service.room.take(written.len())?;
    Ok(guarded(written.into_response(), (permit, room)))
}

/// What the desk makes of a request, if it is done in time.
async fn by<T>(
    deadline: Instant,
    stage: Stage,
    done: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let done = timeout_at(deadline.into(), done).await;
    done.unwrap_or_else(|_| Err(InferenceError::Deadline { stage }.into()))
}

impl Service {
    /// How long a client waits, who may have told it in microseconds.
    fn patience(&self, timeout: Option<u64>) -> Duration {
        let asked = timeout
            .filter(|microseconds| *microseconds > 0)
            .map(Duration::from_micros);
        asked.unwrap_or(self.limits.timeout).min(self.limits.max_timeout)
    }
}

/// What a client asks.
struct Asked {
    id: Option<String>,
    timeout: Option<u64>,
    wanted: Vec<Wanted>,
    samples: Samples,
}

impl Asked {
    /// From a body that begins with so many bytes of JSON, for at most so many samples.
    fn read(description: &ModelDescription, mut body: Vec<u8>, json: usize, most: usize) -> Result<Self, ApiError> {
        let binary = body.split_off(json);
        let header = Header::read(&body)?;
        Ok(Self {
            wanted: answer::wanted(description, header.outputs, &header.parameters)?,
            samples: samples(description, header.inputs, binary, most)?,
            id: header.id.map(|id| id.0),
            timeout: header.parameters.timeout,
        })
    }
}

/// How much of a body is JSON.
fn json_length(headers: &HeaderMap, body: usize) -> Result<usize, ApiError> {
    let length = match headers.get(HEADER_LENGTH) {
        None => body,
        Some(length) => {
            let told = length.to_str().ok().and_then(|length| length.parse().ok());
            told.filter(|told| *told <= body).ok_or_else(|| {
                ApiError::malformed(format!(
                    "Inference-Header-Content-Length {length:?}, in a body of {body} bytes"
                ))
            })?
        }
    };
    if length > MOST_JSON {
        return Err(ApiError::too_large(format!(
            "{length} bytes of JSON; at most {MOST_JSON} are taken: send binary tensors"
        )));
    }
    Ok(length)
}
