//! `/api/v1/models`: what `forecastd models` says and does, over HTTP.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use forecastd_config::ModelName;
use forecastd_models::dasha::{Verdict, challenge};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, known_parameters, required, token};
use crate::message::change_models::ChangeError;
use crate::message::model::{Comparison, ModelAct, ModelChange, ModelVersion, named, rollback_target};
use crate::message::snapshot::ModelView;
use crate::publish::http::error::{ApiError, json_response};
use crate::publish::http::path::Path;

/// What is to be done, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    version: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    force: bool,
}

pub(super) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let _permit = api.admit()?;
    let snapshot = api.exposition.snapshot();
    let models: Vec<Value> = snapshot.models.iter().map(|view| of_model(view, summary)).collect();
    Ok(json_response(StatusCode::OK, &json!({ "models": models })))
}

pub(super) async fn show(State(api): State<Api>, Path(model): Path<ModelName>) -> Result<Response, ApiError> {
    let _permit = api.admit()?;
    let view = api.model(&model)?;
    Ok(json_response(StatusCode::OK, &of_model(&view, whole)))
}

/// One version against another, or the active one, by the margin of the configuration if no other is given.
pub(super) async fn compare(
    State(api): State<Api>,
    Path(model): Path<ModelName>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let _permit = api.admit()?;
    known_parameters(&query, &["version", "other", "margin"])?;
    let view = api.model(&model)?;
    let find = |name: &str| {
        let found = named(&view.versions, name);
        found.map_err(|wrong| ApiError::unknown(format!("model {model}: {wrong}")))
    };
    let version = find(required(&query, "version")?)?;
    let other = find(query.get("other").map_or("active", String::as_str))?;
    let margin = query.get("margin").map_or(Ok(view.margin), |asked| {
        let margin = asked.parse().ok().filter(|margin: &f64| margin.is_finite());
        margin.ok_or_else(|| ApiError::malformed(format!("margin {asked:?}: a number, in units of the score")))
    })?;
    let mut value = json!(Comparison::of(version, other, margin));
    value["version"] = summary(version);
    value["other"] = summary(other);
    Ok(json_response(StatusCode::OK, &value))
}

pub(super) async fn promote(
    State(api): State<Api>,
    Path(model): Path<ModelName>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (view, wish) = api.wish(&model, &headers, body).await?;
    let version = wanted(&view, &wish)?;
    let verdict = challenge(version.contender(), view.active().map(ModelVersion::contender), 0.0);
    if let Verdict::Incomparable(reason) = &verdict
        && !wish.force
    {
        let message = format!("model {model}: {reason}; \"force\": true promotes it all the same");
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    let reason = format!("{}; {}", by_hand(&wish), verdict.reason());
    api.carry_out(model, ModelAct::Promote(version.version), reason).await
}

pub(super) async fn rollback(
    State(api): State<Api>,
    Path(model): Path<ModelName>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (_, wish) = api.wish(&model, &headers, body).await?;
    let reason = format!("rolled back {}", by_hand(&wish));
    api.carry_out(model, ModelAct::Rollback, reason).await
}

pub(super) async fn remove(
    State(api): State<Api>,
    Path(model): Path<ModelName>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (view, wish) = api.wish(&model, &headers, body).await?;
    let act = ModelAct::Remove {
        version: wanted(&view, &wish)?.version,
        force: wish.force,
    };
    let reason = format!("removed {}", by_hand(&wish));
    api.carry_out(model, act, reason).await
}

impl Api {
    fn model(&self, model: &ModelName) -> Result<ModelView, ApiError> {
        let snapshot = self.exposition.snapshot();
        let found = snapshot.models.iter().find(|view| view.model == *model);
        found
            .cloned()
            .ok_or_else(|| ApiError::unknown(format!("no model {model:?}")))
    }

    /// What somebody who may wants of a model.
    async fn wish(&self, model: &ModelName, headers: &HeaderMap, body: Body) -> Result<(ModelView, Wish), ApiError> {
        token::check(self.token_file.as_deref(), headers)?;
        let view = self.model(model)?;
        let received = self.room.read(headers, body).await?;
        let wish = match received.bytes.as_slice() {
            [] => Ok(Wish::default()),
            bytes => serde_json::from_slice(bytes),
        };
        Ok((
            view,
            wish.map_err(|error| ApiError::malformed(format!("the body: {error}")))?,
        ))
    }

    async fn carry_out(&self, model: ModelName, act: ModelAct, reason: String) -> Result<Response, ApiError> {
        let change = ModelChange {
            model: ModelName::clone(&model),
            act,
            reason: reason.clone(),
        };
        match self.changes.change(change).await {
            Ok(()) => Ok(json_response(
                StatusCode::OK,
                &json!({ "model": model, "reason": reason }),
            )),
            Err(ChangeError::Refused(why)) => Err(ApiError::new(StatusCode::CONFLICT, why)),
            Err(ChangeError::Unanswered(why)) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why)),
        }
    }
}

fn wanted<'v>(view: &'v ModelView, wish: &Wish) -> Result<&'v ModelVersion, ApiError> {
    let model = &view.model;
    let version = wish.version.as_deref();
    let version = version.ok_or_else(|| ApiError::malformed("the body: which version? {\"version\": \"3f2a91\"}"))?;
    named(&view.versions, version).map_err(|wrong| ApiError::unknown(format!("model {model}: {wrong}")))
}

fn by_hand(wish: &Wish) -> String {
    match &wish.reason {
        Some(reason) => format!("by hand: {reason}"),
        None => "by hand".to_owned(),
    }
}

fn of_model(view: &ModelView, version: fn(&ModelVersion) -> Value) -> Value {
    let key = |version: Option<&ModelVersion>| version.map(|version| version.version.to_string());
    json!({
        "name": view.model,
        "active": key(view.active()),
        "shadow": key(view.shadow()),
        "rollback_takes": key(rollback_target(&view.versions)),
        "versions": view.versions.iter().map(version).collect::<Vec<_>>(),
    })
}

fn summary(version: &ModelVersion) -> Value {
    let facts = &version.facts;
    json!({
        "version": version.version,
        "state": version.state,
        "since": version.since.to_string(),
        "reason": version.reason,
        "imported": version.imported.to_string(),
        "metric": facts.metric.name(),
        "validation": facts.validation,
        "test": facts.test,
        "bytes": facts.bytes,
        "data": facts.data,
    })
}

fn whole(version: &ModelVersion) -> Value {
    let mut value = summary(version);
    value["description"] = json!(version.facts.description);
    value
}
