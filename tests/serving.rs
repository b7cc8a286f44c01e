//! Networks asked over HTTP, with the real child: what a client gets is what `forecastd predict` says; versions change
//! under their clients; and what cannot be served gives way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::http::{Answer, ask};
use crate::support::network::{artifact, executable, renamed, scaled};
use crate::support::{Daemon, Environment, child_of, forecastd, skip, tools, wait_for};

const LANDING: &str = "landing: { scan_interval: 200ms, settle: 300ms, patience: 1s }";

const TOKEN: &str = "a-token-of-the-test";

/// Letters of a sequence.
const LENGTH: u64 = 40;

/// Sequences that are asked about.
const ASKED: usize = 9;

/// A daemon's folder, and artifacts beside it.
struct Story {
    environment: Environment,
    executable: String,
    one: PathBuf,
}

impl Story {
    fn new(promotion: &str) -> Option<Self> {
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
    fn drop_artifact(&self, artifact: &Path) -> String {
        let folder = self.environment.path("incoming/models");
        fs::create_dir_all(&folder).unwrap();
        let name = artifact.file_name().unwrap().to_str().unwrap();
        let hidden = folder.join(format!(".{name}.tmp"));
        fs::create_dir(&hidden).unwrap();
        for file in ["weights.safetensors", "model.json", "card.json", "BLAKE3SUMS"] {
            fs::copy(artifact.join(file), hidden.join(file)).unwrap();
        }
        let sums = fs::read(hidden.join("BLAKE3SUMS")).unwrap();
        fs::rename(hidden, folder.join(name)).unwrap();
        blake3::hash(&sums).to_string()
    }

    /// Sequences, and the probabilities of both classes that `forecastd predict` gives them.
    fn predicted(&self, artifact: &Path) -> (Vec<String>, Vec<Vec<f32>>) {
        let file = self.environment.path(format!("of-{LENGTH}.parquet"));
        let out = self.environment.path("predictions.parquet");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let arguments = [text(artifact), text(&file), "--out".to_owned(), text(&out)];
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["--executable", &self.executable, "--threads", "1"]);
        let output = forecastd(&[&["predict"], &arguments[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (samples, scores) = (rows(&file), rows(&out));
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

    fn until_it_answers(&self, daemon: &Daemon, version: &str) {
        wait_for(&format!("{version} to answer; the log:\n{}", daemon.log()), || {
            let (status, body) = daemon.get("/v2/models/motif/ready");
            (status == 200 && body.contains(version)).then_some(())
        });
    }
}

fn rows(file: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap()).unwrap();
    reader.build().unwrap().next().unwrap().unwrap()
}

fn infer(daemon: &Daemon, sequences: &[String]) -> Value {
    let input = json!({ "name": "input", "datatype": "BYTES", "shape": [sequences.len()], "data": sequences });
    let body = json!({ "inputs": [input] }).to_string();
    let answer = ask(daemon.address(), "POST", "/v2/models/motif/infer", &[], body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    answer.json()
}

fn probabilities(answer: &Value) -> Vec<Vec<f32>> {
    let output = &answer["outputs"][0];
    assert_eq!(output["name"], "probabilities");
    let numbers: Vec<f32> = serde_json::from_value(output["data"].clone()).unwrap();
    numbers.chunks(2).map(<[f32]>::to_vec).collect()
}

/// Scores differ by what sums differ in another order: batches are of another size here and there.
#[track_caller]
fn assert_close(found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

/// Asks in binary form, and for the probabilities alone.
fn infer_binary(daemon: &Daemon, sequences: &[String]) -> Vec<Vec<f32>> {
    let texts = sequences.iter().flat_map(|text| {
        let length = (text.len() as u32).to_le_bytes();
        [&length, text.as_bytes()].concat()
    });
    let texts: Vec<u8> = texts.collect();
    let header = json!({
        "parameters": { "binary_data_output": true },
        "inputs": [{ "name": "input", "datatype": "BYTES", "shape": [sequences.len()],
                     "parameters": { "binary_data_size": texts.len() } }],
        "outputs": [{ "name": "probabilities" }],
    })
    .to_string();
    let length = header.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let body = [header.as_bytes(), &texts].concat();
    let answer = ask(daemon.address(), "POST", "/v2/models/motif/infer", &headers, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let told: usize = answer.headers["inference-header-content-length"].parse().unwrap();
    let numbers = answer.body[told..]
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes));
    numbers.collect::<Vec<_>>().chunks(2).map(<[f32]>::to_vec).collect()
}

fn change(daemon: &Daemon, act: &str, token: &str, wish: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let path = format!("/api/v1/models/motif/{act}");
    let headers = [("Authorization", bearer.as_str())];
    ask(daemon.address(), "POST", &path, &headers, wish.to_string().as_bytes())
}

#[test]
fn clients_get_what_predict_says_and_versions_change_under_them() {
    let Some(story) = Story::new("promotion: { to: candidate }") else {
        return;
    };
    let two = story.environment.path("two");
    scaled(&story.one, &two, 1.25);
    let daemon = story.environment.start();
    wait_for("an answer from the registry", || {
        let (status, body) = daemon.get("/v2/models/motif");
        assert_eq!(status, 503, "never unknown: {body}");
        body.contains("no version is active").then_some(())
    });

    let first = story.drop_artifact(&story.one);
    let second = story.drop_artifact(&two);
    wait_for("both versions", || {
        let models: Value = serde_json::from_str(&daemon.get("/api/v1/models/motif").1).unwrap();
        (models["versions"].as_array()?.len() == 2).then_some(())
    });
    for (token, status) in [("", 401), ("a-token-of-the-tesT", 401), (TOKEN, 200)] {
        let answer = change(
            &daemon,
            "promote",
            token,
            &json!({ "version": first[..8], "reason": "the first" }),
        );
        assert_eq!(answer.status, status, "{answer:?}");
    }
    story.until_it_answers(&daemon, &first);
    let (sequences, expected) = story.predicted(&story.one);
    let answer = infer(&daemon, &sequences);
    assert_eq!(answer["model_version"], first);
    assert_close(&probabilities(&answer), &expected);
    assert_close(&infer_binary(&daemon, &sequences), &expected);
    for (row, scores) in expected.iter().enumerate() {
        let class = usize::from(scores[1] > scores[0]);
        assert_eq!(answer["outputs"][1]["data"][row], class);
        assert_eq!(answer["outputs"][2]["data"][row], class.to_string());
    }

    assert_eq!(
        change(&daemon, "promote", TOKEN, &json!({ "version": second[..8] })).status,
        200
    );
    story.until_it_answers(&daemon, &second);
    let (_, otherwise) = story.predicted(&two);
    assert!(
        (otherwise[0][0] - expected[0][0]).abs() > 1e-4,
        "{otherwise:?} {expected:?}"
    );
    assert_close(&probabilities(&infer(&daemon, &sequences)), &otherwise);
    assert_eq!(
        change(&daemon, "remove", TOKEN, &json!({ "version": second[..8] })).status,
        409
    );
    assert_eq!(change(&daemon, "rollback", TOKEN, &Value::Null).status, 400);
    assert_eq!(
        change(&daemon, "rollback", TOKEN, &json!({ "reason": "slow" })).status,
        200
    );
    story.until_it_answers(&daemon, &first);
    assert_close(&infer_binary(&daemon, &sequences), &expected);
    told_in_metrics(&daemon);
    bad_requests(&daemon);

    let child = child_of(daemon.pid(), "forecastd-torch").expect("it serves");
    assert!(daemon.stop().success());
    let child = rustix::process::Pid::from_raw(child).unwrap();
    assert!(
        rustix::process::test_kill_process(child).is_err(),
        "it ended with the daemon"
    );
}

fn told_in_metrics(daemon: &Daemon) {
    let model = [("model", "motif")];
    let page = daemon.scrape_until("the page to know what answers", |page| {
        page.get("forecastd_model_served", &model) == Some(1.0)
    });
    let get = |name: &str| page.get(name, &model);
    assert_eq!(get("forecastd_inference_requests_total"), Some(4.0));
    assert_eq!(get("forecastd_inference_samples_total"), Some(4.0 * ASKED as f64));
    assert_eq!(get("forecastd_inference_swaps_total"), Some(2.0));
    assert_eq!(get("forecastd_inference_batch_samples_count"), Some(4.0));
    assert!(get("forecastd_inference_compute_seconds_total").unwrap() > 0.0);
    assert_eq!(page.get("forecastd_inference_child_up", &[]), Some(1.0));
    let overload = [("model", "motif"), ("reason", "overload")];
    assert_eq!(
        page.get("forecastd_inference_request_failures_total", &overload),
        Some(0.0)
    );
    if let Some(said) = tools::promtool_check(&daemon.get("/metrics").1) {
        assert_eq!(said, "");
    }
    let (status, statistics) = daemon.get("/v2/models/motif/stats");
    assert!(
        status == 200 && statistics.contains("\"execution_count\":4"),
        "{statistics}"
    );
}

fn bad_requests(daemon: &Daemon) {
    let good = json!({ "name": "input", "datatype": "BYTES", "shape": [1], "data": ["ACGT"] });
    let table = [
        ("/v2/models/motif/infer", "{".to_owned(), 400),
        ("/v2/models/motif/infer", json!({ "inputs": [] }).to_string(), 400),
        (
            "/v2/models/motif/infer",
            json!({ "inputs": [good], "outputs": [{ "name": "x" }] }).to_string(),
            400,
        ),
        ("/v2/models/motif/infer", " ".repeat((1 << 20) - 1), 400),
        (
            "/v2/models/motif/versions/0000/infer",
            json!({ "inputs": [good] }).to_string(),
            404,
        ),
        ("/v2/models/nobody/infer", json!({ "inputs": [good] }).to_string(), 404),
        (
            "/v2/models/motif/infer",
            json!({ "inputs": [good], "parameters": { "timeout": 1 } }).to_string(),
            504,
        ),
    ];
    for (path, body, status) in table {
        let answer = ask(daemon.address(), "POST", path, &[], body.as_bytes());
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
}

#[test]
fn a_version_that_no_child_can_load_gives_way_and_is_told() {
    let Some(story) = Story::new("promotion: { to: candidate }") else {
        return;
    };
    let broken = story.environment.path("broken");
    renamed(&story.one, &broken);
    let daemon = story.environment.start();
    let first = story.drop_artifact(&story.one);
    let second = story.drop_artifact(&broken);
    for version in [&first, &second] {
        wait_for("the version", || {
            daemon.get("/api/v1/models").1.contains(version.as_str()).then_some(())
        });
    }
    assert_eq!(
        change(&daemon, "promote", TOKEN, &json!({ "version": first })).status,
        200
    );
    story.until_it_answers(&daemon, &first);
    let answer = change(&daemon, "promote", TOKEN, &json!({ "version": second, "force": true }));
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = daemon.scrape_until("the rollback", |page| {
        page.get(
            "forecastd_model_changes_total",
            &[("model", "motif"), ("act", "rollback")],
        ) == Some(1.0)
    });
    let refused = [("model", "motif"), ("reason", "refused")];
    assert_eq!(page.get("forecastd_model_load_failures_total", &refused), Some(1.0));
    wait_for("the first to be active again, and why", || {
        let shown: Value = serde_json::from_str(&daemon.get("/api/v1/models/motif").1).unwrap();
        let mut versions = shown["versions"].as_array().unwrap().iter();
        let told = versions.any(|version| version["reason"].as_str().unwrap().contains("it cannot be served"));
        (shown["active"] == first && told).then_some(())
    });
    let (sequences, expected) = story.predicted(&story.one);
    assert_close(&probabilities(&infer(&daemon, &sequences)), &expected);
    assert!(daemon.log().contains("a version cannot be served"), "{}", daemon.log());

    // A restart serves the same, and a child that is killed is replaced under its clients.
    daemon.kill();
    let daemon = story.environment.start();
    story.until_it_answers(&daemon, &first);
    let child = child_of(daemon.pid(), "forecastd-torch").unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
    assert_close(&probabilities(&infer(&daemon, &sequences)), &expected);
}

#[test]
fn the_client_of_triton_reads_metadata_and_infers_unmodified() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-clients/bin/python");
    if !python.exists() {
        return skip("tests/all.sh has not made .venv-clients, which has tritonclient").unwrap_or(());
    }
    let Some(story) = Story::new("promotion: { to: active }") else {
        return;
    };
    let daemon = story.environment.start();
    let version = story.drop_artifact(&story.one);
    story.until_it_answers(&daemon, &version);
    let (sequences, expected) = story.predicted(&story.one);
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/triton.py"))
        .args([
            daemon.address().to_string(),
            "motif".to_owned(),
            version.clone(),
            json!(sequences).to_string(),
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        daemon.log()
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    for way in ["binary", "json", "by_version", "everything"] {
        let found: Vec<Vec<f32>> = serde_json::from_value(told[way]["probabilities"].clone()).unwrap();
        assert_close(&found, &expected);
        let classes: Vec<usize> = serde_json::from_value(told[way]["class"].clone()).unwrap();
        let likeliest: Vec<usize> = expected
            .iter()
            .map(|scores| usize::from(scores[1] > scores[0]))
            .collect();
        assert_eq!(classes, likeliest);
        assert_eq!(told[way]["label"][0], likeliest[0].to_string());
    }
    assert_eq!(told["together"].as_array().unwrap().len(), 4);
    assert_eq!(told["metadata"]["versions"], json!([version]));
    assert_eq!(told["config"]["input"][0]["data_type"], "TYPE_STRING");
    assert_eq!(told["index"][0]["state"], "READY");
    let likeliest = told["likeliest"][0].as_str().unwrap().split(':').count();
    assert_eq!(likeliest, 3);
    assert!(
        told["refusal"]
            .as_str()
            .unwrap()
            .contains("no model \"nobody\" is served"),
        "{told}"
    );
    assert!(
        told["statistics"]["model_stats"][0]["inference_count"]
            .as_u64()
            .unwrap()
            > 0
    );
}
