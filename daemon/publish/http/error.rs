//! What a client is told when there is no answer: a status, and a sentence as `{"error": "…"}`.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::message::inference::InferenceError;

/// Seconds after which a client that was turned away may ask again: a queue is worked off in less.
const RETRY_SECONDS: &str = "1";

/// Why a request of a program has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    /// One word for a metric's label.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let (reason, message) = (reason(status), message.into());
        Self {
            status,
            reason,
            message,
        }
    }

    /// The request is not what it should be.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// Others take all that there is: try again later.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
    }
}

/// What a status says of a request that was refused before any network was asked.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "unknown",
        StatusCode::REQUEST_TIMEOUT => "slow",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::TOO_MANY_REQUESTS => "busy",
        status if status.is_client_error() => "input",
        _ => "failed",
    }
}

impl From<InferenceError> for ApiError {
    fn from(error: InferenceError) -> Self {
        let status = match &error {
            InferenceError::UnknownModel { .. } | InferenceError::UnknownVersion { .. } => StatusCode::NOT_FOUND,
            InferenceError::Input { .. } => StatusCode::BAD_REQUEST,
            InferenceError::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
            InferenceError::Deadline { .. } => StatusCode::GATEWAY_TIMEOUT,
            InferenceError::NotReady { .. } | InferenceError::Unavailable { .. } | InferenceError::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            InferenceError::Poison { .. } | InferenceError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            reason: error.label(),
            message: error.to_string(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &json!({ "error": self.message }));
        let header = match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, RETRY_SECONDS)),
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// An answer for programs.
pub(super) fn json_response(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::metrics::inference::reasons;

    #[test]
    fn every_reason_that_a_client_can_be_refused_for_is_a_label() {
        for status in [400, 404, 408, 413, 415, 429, 500] {
            let status = StatusCode::from_u16(status).expect("a status");
            let reason = ApiError::new(status, "because").reason;
            assert_eq!(reasons().filter(|known| *known == reason).count(), 1, "{status}");
        }
    }
}
