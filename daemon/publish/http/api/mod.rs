//! What programs ask for that is neither metrics nor networks: forecasts as JSON, the versions of models, and, for
//! those who hold the token, what shall become of them.

mod forecasts;
mod models;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::ApiError;
use super::room::Room;
use crate::message::change_models::ChangeModels;
use crate::publish::exposition::Exposition;

/// Answers in the making at once.
const ANSWERS: usize = 8;

/// The page that programs read first.
const OPENAPI: &str = include_str!("openapi.json");

/// What answers need.
#[derive(Clone, Debug)]
pub(super) struct Api {
    exposition: Arc<Exposition>,
    changes: Arc<dyn ChangeModels>,
    token_file: Option<PathBuf>,
    answers: Arc<Semaphore>,
    room: Room,
}

impl Api {
    pub(super) fn new(
        exposition: Arc<Exposition>,
        changes: Arc<dyn ChangeModels>,
        token_file: Option<PathBuf>,
    ) -> Self {
        Self {
            exposition,
            changes,
            token_file,
            answers: Arc::new(Semaphore::new(ANSWERS)),
            room: Room::small(),
        }
    }

    fn admit(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.answers.try_acquire().map_err(|_| {
            let message = format!("{ANSWERS} answers are in the making already: try again later");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        })
    }
}

pub(super) fn routes(api: Api) -> Router {
    Router::new()
        .route(
            "/api/openapi.json",
            get(|| async { ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response() }),
        )
        .route("/api/v1/forecasts", get(forecasts::forecasts))
        .route("/api/v1/models", get(models::list))
        .route("/api/v1/models/{model}", get(models::show))
        .route("/api/v1/models/{model}/compare", get(models::compare))
        .route("/api/v1/models/{model}/promote", post(models::promote))
        .route("/api/v1/models/{model}/rollback", post(models::rollback))
        .route("/api/v1/models/{model}/remove", post(models::remove))
        .with_state(api)
}

/// Whether there are no others than these.
fn known_parameters(query: &HashMap<String, String>, known: &[&str]) -> Result<(), ApiError> {
    match query.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(ApiError::malformed(format!(
            "no parameter {key:?}: there are {}",
            known.join(", ")
        ))),
        None => Ok(()),
    }
}

fn required<'q>(query: &'q HashMap<String, String>, name: &str) -> Result<&'q str, ApiError> {
    let value = query.get(name).map(String::as_str).filter(|value| !value.is_empty());
    value.ok_or_else(|| ApiError::malformed(format!("the parameter {name} is missing")))
}
