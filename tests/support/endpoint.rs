//! A daemon that serves networks which tell sequences with a motif from others, and what is asked of it over HTTP.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;
use serde_json::{Value, json};

use super::http::{Answer, ask};
use super::network::{artifact, executable};
use super::{Daemon, Environment, LANDING, forecastd, rows_of, wait_for};

pub const TOKEN: &str = "a-token-of-the-test";

/// Letters of a sequence.
const LENGTH: u64 = 40;

/// Sequences that are asked about.
pub const ASKED: usize = 9;

/// A daemon's folder, and artifacts beside it.
pub struct Story {
    pub environment: Environment,
    executable: String,
    pub one: PathBuf,
}

impl Story {
    pub fn new(promotion: &str) -> Option<Self> {
        let executable = executable()?;
        let environment = Environment::with_series("{ time: time }");
        let series = Environment::dataset("d", "{ time: time }", "forecast: { horizon: 12 }");
        environment.write_config(&format!(
            "state_dir: ./state\ncpu_threads: 1\nhttp: {{ listen: \"127.0.0.1:0\", admin_token_file: token, \
             inference: {{ max_body: 1MiB }} }}\ntorch: {{ executable: {executable}, fit: never }}\n\
             datasets:\n{series}models:\n  - {{ name: motif, incoming: ./incoming/models, {LANDING}, {promotion} }}\n"
        ));
        fs::write(environment.path("token"), format!("{TOKEN}\n")).unwrap();
        let one = artifact(&environment.path("."), &executable, LENGTH);
        Some(Self {
            environment,
            executable,
            one,
        })
    }

    /// Drops a copy of an artifact; its version.
    pub fn drop_artifact(&self, artifact: &Path) -> String {
        self.environment.drop_artifact(artifact)
    }

    /// Sequences, and the probabilities of both classes that `forecastd predict` gives them.
    pub fn predicted(&self, artifact: &Path) -> (Vec<String>, Vec<Vec<f32>>) {
        let file = self.environment.path(format!("of-{LENGTH}.parquet"));
        let out = self.environment.path("predictions.parquet");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let arguments = [text(artifact), text(&file), "--out".to_owned(), text(&out)];
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["--executable", &self.executable, "--threads", "1"]);
        let output = forecastd(&[&["predict"], &arguments[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (samples, scores) = (rows_of(&file).remove(0), rows_of(&out).remove(0));
        let texts = samples.column_by_name("sequence").unwrap();
        let texts = texts.as_string::<i32>().iter().map(|text| text.unwrap().to_owned());
        let column = |name: &str| {
            scores
                .column_by_name(name)
                .unwrap()
                .as_primitive::<Float32Type>()
                .clone()
        };
        let (no, yes) = (column("score_0"), column("score_1"));
        let both = (0..ASKED).map(|row| vec![no.value(row), yes.value(row)]);
        (texts.take(ASKED).collect(), both.collect())
    }

    pub fn until_it_answers(&self, daemon: &Daemon, version: &str) {
        wait_for(&format!("{version} to answer; the log:\n{}", daemon.log()), || {
            let (status, body) = daemon.get("/v2/models/motif/ready");
            (status == 200 && body.contains(version)).then_some(())
        });
    }
}

pub fn infer(daemon: &Daemon, sequences: &[String]) -> Value {
    let input = json!({ "name": "input", "datatype": "BYTES", "shape": [sequences.len()], "data": sequences });
    let body = json!({ "inputs": [input] }).to_string();
    let answer = ask(daemon.address(), "POST", "/v2/models/motif/infer", &[], body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    answer.json()
}

pub fn probabilities(answer: &Value) -> Vec<Vec<f32>> {
    let output = &answer["outputs"][0];
    assert_eq!(output["name"], "probabilities");
    let numbers: Vec<f32> = serde_json::from_value(output["data"].clone()).unwrap();
    numbers.chunks(2).map(<[f32]>::to_vec).collect()
}

/// Wishes a change of the model, with this token.
pub fn change(daemon: &Daemon, act: &str, token: &str, wish: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let path = format!("/api/v1/models/motif/{act}");
    let headers = [("Authorization", bearer.as_str())];
    ask(daemon.address(), "POST", &path, &headers, wish.to_string().as_bytes())
}
