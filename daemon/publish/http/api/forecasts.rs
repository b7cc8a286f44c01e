//! `GET /api/v1/forecasts`: the forecast of one channel, with its times.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use forecastd_models::{ChannelFit, Forecast};
use serde_json::{Value, json};

use super::{Api, known_parameters, required};
use crate::message::snapshot::ChannelView;
use crate::publish::http::error::{ApiError, json_response};

pub(super) async fn forecasts(
    State(api): State<Api>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let _permit = api.admit()?;
    known_parameters(&query, &["dataset", "channel", "horizon"])?;
    let (dataset, channel) = (required(&query, "dataset")?, required(&query, "channel")?);
    let snapshot = api.exposition.snapshot();
    let view = snapshot.datasets.iter().find(|view| *view.config.name == *dataset);
    let view = view.ok_or_else(|| ApiError::unknown(format!("no dataset of series {dataset:?}")))?;
    let found = view.channels.get(channel);
    let found = found.ok_or_else(|| ApiError::unknown(format!("dataset {dataset:?} has no channel {channel:?}")))?;
    let fit = forecast(dataset, channel, found)?;
    let steps = horizon(&query, &fit.forecast)?;
    let body = json!({
        "dataset": dataset,
        "channel": channel,
        "generation": snapshot.generation,
        "cutoff": fit.forecast.cutoff().to_string(),
        "method": view.config.method_name(),
        "leading": fit.leading(),
        "fallback": fit.model.fallback.map(|fallback| fallback.to_string()),
        "steps": (1..=steps).map(|one| step(&fit.forecast, one)).collect::<Vec<_>>(),
    });
    Ok(json_response(StatusCode::OK, &body))
}

fn forecast<'s>(dataset: &str, channel: &str, view: &'s ChannelView) -> Result<&'s ChannelFit, ApiError> {
    view.fit.as_deref().ok_or_else(|| {
        let why = view
            .failure
            .as_ref()
            .map_or("it has not been fitted yet".to_owned(), ToString::to_string);
        ApiError::unknown(format!(
            "channel {channel:?} of dataset {dataset:?} has no forecast: {why}"
        ))
    })
}

/// How many steps are wanted; all, if nobody says.
fn horizon(query: &HashMap<String, String>, forecast: &Forecast) -> Result<usize, ApiError> {
    let most = forecast.horizon();
    let Some(asked) = query.get("horizon") else {
        return Ok(most);
    };
    let steps = asked.parse().ok().filter(|steps| (1..=most).contains(steps));
    steps.ok_or_else(|| ApiError::malformed(format!("horizon {asked:?}: a whole number from 1 to {most}")))
}

fn step(forecast: &Forecast, step: usize) -> Value {
    let intervals = forecast.intervals.iter().map(|interval| {
        let (lower, upper) = (interval.lower[step - 1], interval.upper[step - 1]);
        json!({ "level": interval.level.share(), "lower": lower, "upper": upper })
    });
    json!({
        "step": step,
        "time": forecast.time(step).to_string(),
        "mean": forecast.mean[step - 1],
        "intervals": intervals.collect::<Vec<_>>(),
    })
}
