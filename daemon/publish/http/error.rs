//! What a client is told when there is no answer: a status, and a sentence as `{"error": "…"}`.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
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
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }

    /// The request is not what it should be.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
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
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &json!({ "error": self.message }));
        if matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let retry = HeaderValue::from_static(RETRY_SECONDS);
            response.headers_mut().insert(RETRY_AFTER, retry);
        }
        response
    }
}

/// An answer for programs.
pub(super) fn json_response(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
