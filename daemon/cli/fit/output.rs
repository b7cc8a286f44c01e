//! Forecasts as they come: a table or JSON on the standard output, a forecast file. Only what has no forecast is kept,
//! to be told at the end.

use std::collections::BTreeMap;
use std::io::{BufWriter, Stdout, Write, stdout};
use std::path::PathBuf;

use anyhow::Context;
use forecastd_models::{ChannelFit, ChannelName, Forecast};
use serde::Serialize;

use super::crew::{NoForecast, Outcome};
use crate::message::account::RowAccount;
use crate::publish::forecast_writer::ForecastFile;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Print {
    /// A line a channel.
    Table,
    /// A line a channel without a forecast: the others are in the file.
    Failures,
    /// One object, a line a channel.
    Json,
}

/// Takes outcomes one by one.
pub(super) struct Output {
    print: Print,
    stdout: BufWriter<Stdout>,
    file: Option<ForecastFile>,
    fitted: usize,
    failures: Vec<(ChannelName, NoForecast)>,
}

impl Output {
    pub(super) fn begin(print: Print, files: &[PathBuf], file: Option<ForecastFile>) -> anyhow::Result<Self> {
        let mut output = Self {
            print,
            stdout: BufWriter::new(stdout()),
            file,
            fitted: 0,
            failures: Vec::new(),
        };
        match print {
            Print::Table => output.line(&format!(
                "{:<32} {:>2} {:>5}  {:<26} {:>14} {:>29}",
                "channel", "d", "order", "method", "next", "interval"
            ))?,
            Print::Json => output.line(&format!("{{\"files\": {},\n\"channels\": [", json(&files)?))?,
            Print::Failures => {}
        }
        Ok(output)
    }

    pub(super) fn take(&mut self, (channel, result): Outcome) -> anyhow::Result<()> {
        match result {
            Ok(fit) => self.forecast(&channel, &fit),
            Err(failure) => self.failure(channel, failure),
        }
    }

    /// Channels with a forecast.
    pub(super) fn fitted(&self) -> usize {
        self.fitted
    }

    /// Channels without one, by reason.
    pub(super) fn failed(&self) -> BTreeMap<&'static str, usize> {
        let mut failed = BTreeMap::new();
        for (_, failure) in &self.failures {
            *failed.entry(failure.reason()).or_default() += 1;
        }
        failed
    }

    /// Tells the rest, and puts the forecast file in its place.
    pub(super) fn end(mut self, account: &RowAccount) -> anyhow::Result<()> {
        if self.print == Print::Json {
            let failures = self.failures.iter().map(|(channel, failure)| FailedChannel {
                channel,
                reason: failure.reason(),
                detail: failure.to_string(),
            });
            let failures: Result<Vec<String>, _> = failures.map(|failure| json(&failure)).collect();
            let (failures, rows) = (failures?.join(",\n"), json(account)?);
            self.line(&format!("\n],\n\"failures\": [\n{failures}\n],\n\"rows\": {rows}}}"))?;
        }
        self.stdout.flush().context(PRINT)?;
        if let Some(file) = self.file {
            eprintln!("forecasts written to {}", file.finish()?.display());
        }
        Ok(())
    }

    fn forecast(&mut self, channel: &str, fit: &ChannelFit) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.append(&fit.forecast)?;
        }
        self.fitted += 1;
        match self.print {
            Print::Table => self.line(&table_row(channel, fit)),
            Print::Json => {
                let comma = if self.fitted > 1 { ",\n" } else { "" };
                let channel = json(&FittedChannel::new(channel, fit))?;
                write!(self.stdout, "{comma}{channel}").context(PRINT)
            }
            Print::Failures => Ok(()),
        }
    }

    fn failure(&mut self, channel: ChannelName, failure: NoForecast) -> anyhow::Result<()> {
        if self.print != Print::Json {
            self.line(&format!("{channel:<32} no forecast: {failure}"))?;
        }
        self.failures.push((channel, failure));
        Ok(())
    }

    fn line(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.stdout, "{text}").context(PRINT)
    }
}

const PRINT: &str = "print to the standard output";

fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value)?)
}

fn table_row(channel: &str, fit: &ChannelFit) -> String {
    let ChannelFit { model, forecast, .. } = fit;
    let method = match (&fit.choice, model.fallback) {
        (Some(choice), _) => format!(
            "{} {:.0} %",
            fit.leading(),
            100.0 * choice.weights().first().map_or(0.0, |part| part.1)
        ),
        (None, Some(fallback)) => format!("fallback: {fallback}"),
        (None, None) => fit.leading().to_owned(),
    };
    let widest = forecast.intervals.last();
    let interval = widest.map(|i| format!("[{:.5}, {:.5}] {}%", i.lower[0], i.upper[0], i.level.percent()));
    let interval = interval.unwrap_or_default();
    let (d, order, next) = (model.num_diff, model.order, forecast.mean[0]);
    format!("{channel:<32} {d:>2} {order:>5}  {method:<26} {next:>14.6} {interval:>29}")
}

#[derive(Debug, Serialize)]
struct FittedChannel<'a> {
    channel: &'a str,
    cutoff: String,
    filled: usize,
    /// What has the largest part in the forecast.
    leading: &'static str,
    model: &'a forecastd_models::FittedAr,
    /// How the map was chosen, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<&'a forecastd_models::Choice>,
    forecast: ForecastColumns<'a>,
}

/// Columns of equal length, one entry a step; bounds by their name in forecast files.
#[derive(Debug, Serialize)]
struct ForecastColumns<'a> {
    time: Vec<String>,
    mean: &'a [f64],
    #[serde(flatten)]
    bounds: BTreeMap<String, &'a [f64]>,
}

#[derive(Debug, Serialize)]
struct FailedChannel<'a> {
    channel: &'a str,
    reason: &'a str,
    detail: String,
}

impl<'a> FittedChannel<'a> {
    fn new(channel: &'a str, fit: &'a ChannelFit) -> Self {
        let ChannelFit {
            model,
            choice,
            network: _, // a daemon has them
            forecast,
            filled,
        } = fit;
        Self {
            channel,
            cutoff: forecast.cutoff().to_string(),
            filled: *filled,
            leading: fit.leading(),
            model,
            choice: choice.as_deref(),
            forecast: columns(forecast),
        }
    }
}

fn columns(forecast: &Forecast) -> ForecastColumns<'_> {
    let mut bounds = BTreeMap::new();
    for interval in &forecast.intervals {
        bounds.insert(format!("lower_{}", interval.level.percent()), interval.lower.as_slice());
        bounds.insert(format!("upper_{}", interval.level.percent()), interval.upper.as_slice());
    }
    let time = (1..=forecast.horizon())
        .map(|step| forecast.time(step).to_string())
        .collect();
    ForecastColumns {
        time,
        mean: &forecast.mean,
        bounds,
    }
}
