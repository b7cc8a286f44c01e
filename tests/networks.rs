//! Series forecast by a network, by the real child: it takes the place of the linear methods where it is better on samples
//! that neither has seen, and only there; whatever becomes of it, a forecast stands.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, TimestampSecondArray};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::http::ask;
use crate::support::network::{executable, write};
use crate::support::{Daemon, Environment, LANDING, Page, child_of, forecastd};

const ROWS: usize = 1_600;
const HOUR: i64 = 3_600;
const LOOKBACK: usize = 64;

/// The tent map: what follows is certain, and no linear method sees any of it.
fn tent(rows: usize) -> Vec<f64> {
    let mut state = 0.372_f64;
    let mut next = || {
        state = 0.999_9 * if state < 0.5 { 2.0 * state } else { 2.0 - 2.0 * state };
        50.0 + 10.0 * state
    };
    (0..rows).map(|_| next()).collect()
}

/// A wave that a linear method has by heart.
fn wave(rows: usize) -> Vec<f64> {
    (0..rows).map(|row| (row as f64 * 0.37).sin()).collect()
}

fn columns(rows: std::ops::Range<usize>) -> Vec<(&'static str, ArrayRef)> {
    let part = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values[rows.clone()].to_vec())) };
    let times = TimestampSecondArray::from_iter_values(rows.clone().map(|row| row as i64 * HOUR));
    vec![
        ("time", Arc::new(times)),
        ("tent", part(tent(ROWS))),
        ("wave", part(wave(ROWS))),
    ]
}

/// A network that has learnt from all but the last fifth of the rows, in as little time as it takes.
fn artifact(folder: &Path, executable: &str) -> PathBuf {
    let (data, out) = (folder.join("train.parquet"), folder.join("learnt"));
    write(&data, columns(0..ROWS));
    let words = "--task regress --input series --lookback 64 --horizon 1 --backbone wide_resnet --scale small \
                 --search-epochs 1 --trials 2 --max-epochs 2 --retrain-epochs 12 --threads 1 --batch 32";
    let mut arguments = vec!["dasha", text(&data), "--out", text(&out), "--executable", executable];
    arguments.extend(words.split_whitespace());
    let output = forecastd(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn environment(executable: &str, horizon: usize) -> Environment {
    let environment = Environment::with_datasets("");
    environment.write_config(&format!(
        "state_dir: ./state
http: {{ listen: \"127.0.0.1:0\" }}
torch: {{ executable: {executable} }}
datasets:
  - name: d
    kind: series
    incoming: ./incoming/d
    {LANDING}
    series: {{ time: time }}
    forecast: {{ horizon: {horizon}, method: dasha, model: net, max_lookback: 64 }}
models:
  - {{ name: net, incoming: ./incoming/models, {LANDING} }}
"
    ));
    environment
}

fn drop_rows(environment: &Environment, name: &str, rows: std::ops::Range<usize>) {
    environment.drop_columns(name, columns(rows));
}

/// What leads in the forecast of a channel.
fn leading(page: &Page, channel: &str) -> Option<String> {
    let wanted = [format!("channel=\"{channel}\""), "method=\"dasha\"".to_owned()];
    let mut found = page.samples("forecastd_model_info");
    let (labels, _) = found.find(|(labels, _)| wanted.iter().all(|wanted| labels.contains(wanted)))?;
    let (_, after) = labels.split_once("leading=\"")?;
    Some(after.split('"').next()?.to_owned())
}

fn leads(page: &Page, channel: &str) -> bool {
    leading(page, channel).as_deref() == Some("dasha")
}

fn of_channel(page: &Page, name: &str, channel: &str) -> Option<f64> {
    let labels = [("dataset", "d"), ("channel", channel), ("step", "1")];
    let labels = if name.ends_with("seconds") {
        &labels[..2]
    } else {
        &labels[..]
    };
    page.get(name, labels)
}

/// What the network says of the window that ends with this row, asked as any client asks.
fn asked(daemon: &Daemon, values: &[f64]) -> f64 {
    let window = &values[values.len() - LOOKBACK..];
    let mean = window.iter().sum::<f64>() / LOOKBACK as f64;
    let variance = window.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / LOOKBACK as f64;
    let scaled: Vec<f64> = window.iter().map(|value| (value - mean) / variance.sqrt()).collect();
    let body = serde_json::json!({
        "inputs": [{ "name": "input", "datatype": "FP32", "shape": [1, 1, LOOKBACK], "data": scaled }],
    });
    let body = serde_json::to_vec(&body).unwrap();
    let answer = ask(daemon.address(), "POST", "/v2/models/net/infer", &[], &body).json();
    let said = answer["outputs"][0]["data"][0].as_f64();
    mean + variance.sqrt() * said.unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn a_network_forecasts_the_channel_that_it_is_better_at_and_no_other() {
    let Some(executable) = executable() else { return };
    let environment = environment(&executable, 1);
    let artifact = artifact(&environment.path("."), &executable);
    let daemon = environment.start();
    drop_rows(&environment, "first.parquet", 0..ROWS - 1);
    let before = daemon.scrape_until("linear forecasts", |page| {
        ["tent", "wave"].iter().all(|channel| leading(page, channel).is_some())
    });
    assert!(!leads(&before, "tent") && !leads(&before, "wave"));
    let networks = [("dataset", "d"), ("model", "net")];
    assert_eq!(before.get("forecastd_network_channels", &networks), Some(0.0));

    environment.drop_artifact(&artifact);
    let page = daemon.scrape_until("a forecast by the network", |page| leads(page, "tent"));
    assert!(!leads(&page, "wave"), "{:?}", leading(&page, "wave"));
    assert_eq!(page.get("forecastd_network_channels", &networks), Some(1.0));
    assert_eq!(page.get("forecastd_network_held", &networks), Some(0.0));
    let published = of_channel(&page, "forecastd_forecast", "tent").unwrap();
    let expected = asked(&daemon, &tent(ROWS - 1));
    assert!((published - expected).abs() < 1e-3, "{published} {expected}");

    // A child that ends costs no forecast, and the next one is asked again.
    let child = child_of(daemon.pid(), "forecastd-torch").unwrap();
    kill_process(Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
    drop_rows(&environment, "second.parquet", ROWS - 1..ROWS);
    let moved = (ROWS as i64 - 1) * HOUR;
    let page = daemon.scrape_until("a later forecast by the network", |page| {
        let cutoff = of_channel(page, "forecastd_forecast_cutoff_timestamp_seconds", "tent");
        leads(page, "tent") && cutoff == Some(moved as f64)
    });
    let published = of_channel(&page, "forecastd_forecast", "tent").unwrap();
    let expected = asked(&daemon, &tent(ROWS));
    assert!((published - expected).abs() < 1e-3, "{published} {expected}");
    assert!(daemon.stop().success());

    let daemon = environment.start();
    let page = daemon.scrape_until("the network after a restart", |page| leads(page, "tent"));
    assert_eq!(of_channel(&page, "forecastd_forecast", "tent"), Some(published));
    assert!(daemon.stop().success());

    // The dataset wants more steps than the network has: it is told, and linear methods forecast.
    let text = fs::read_to_string(environment.config()).unwrap();
    environment.write_config(&text.replace("horizon: 1,", "horizon: 2,"));
    let daemon = environment.start();
    let page = daemon.scrape_until("a network that does not fit", |page| {
        page.get("forecastd_network_held", &networks) == Some(1.0) && leading(page, "tent").is_some()
    });
    assert!(!leads(&page, "tent") && !leads(&page, "wave"));
    let (_, told) = daemon.get("/");
    assert!(
        told.contains("it forecasts 1 steps, and forecast.horizon is 2"),
        "{told}"
    );
}
