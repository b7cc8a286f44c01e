//! `POST …/infer`: samples in, what a network says of them out, by the deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::answer::{self, HEADER_LENGTH};
use super::header::{Header, MOST_JSON};
use super::samples::samples;
use super::{Address, Service};
use crate::message::inference::InferenceRequest;
use crate::publish::http::error::ApiError;

pub(super) async fn infer(
    State(service): State<Service>,
    Path(address): Path<Address>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answered = answered(&service, &address, &headers, body).await;
    let response = answered.unwrap_or_else(ApiError::into_response);
    let status = response.status().as_u16();
    service.exposition.metrics().inference_answered(status);
    response
}

async fn answered(service: &Service, address: &Address, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    let _permit = service.requests.try_acquire().map_err(|_| {
        let most = service.limits.requests;
        let message = format!("{most} requests are under way already: try again later");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
    })?;
    let arrived = Instant::now();
    let found = service.find(address)?;
    let received = service.room.read(headers, body).await?;
    // Held until the answer is made: so long the samples are in memory.
    let _room = received.permit;
    let (header, binary) = split(headers, received.bytes)?;
    let description = &found.description;
    let wanted = answer::wanted(description, header.outputs, &header.parameters)?;
    let samples = samples(description, header.inputs, binary)?;
    let request = InferenceRequest {
        model: Arc::clone(&address.model),
        // Whoever names none gets the active one, even if that changes meanwhile.
        version: address.version.as_ref().map(|_| Arc::clone(&found.version)),
        count: samples.count,
        inputs: samples.inputs,
        deadline: arrived + service.patience(header.parameters.timeout),
    };
    let answer = service.infer.infer(request).await?;
    answer::response(&address.model, header.id.as_deref(), &wanted, &answer)
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

/// The JSON, and what stands behind it.
fn split(headers: &HeaderMap, mut bytes: Vec<u8>) -> Result<(Header, Vec<u8>), ApiError> {
    let length = match headers.get(HEADER_LENGTH) {
        None => bytes.len(),
        Some(length) => {
            let told = length.to_str().ok().and_then(|length| length.parse().ok());
            told.filter(|told| *told <= bytes.len()).ok_or_else(|| {
                let found = bytes.len();
                ApiError::malformed(format!(
                    "Inference-Header-Content-Length {length:?}, in a body of {found} bytes"
                ))
            })?
        }
    };
    if length > MOST_JSON {
        let message = format!("{length} bytes of JSON; at most {MOST_JSON} are taken: send binary tensors");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let binary = bytes.split_off(length);
    Ok((Header::read(&bytes)?, binary))
}
