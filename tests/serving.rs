//! Networks asked over HTTP, with the real child: what a client gets is what `forecastd predict` says; versions change
//! under their clients; and what cannot be served gives way.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::endpoint::{ASKED, Story, TOKEN, change, infer, probabilities};
use crate::support::http::ask;
use crate::support::network::{renamed, scaled};
use crate::support::{Daemon, child_of, forecastd, skip, tools, wait_for};

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

#[test]
fn a_large_request_is_answered_in_parts_and_an_operator_sees_and_compares_versions() {
    let Some(story) = Story::new("promotion: { margin: 0.25 }") else {
        return;
    };
    let two = story.environment.path("two");
    scaled(&story.one, &two, 1.25);
    let daemon = story.environment.start();
    let first = story.drop_artifact(&story.one);
    story.until_it_answers(&daemon, &first);

    let (few, expected) = story.predicted(&story.one);
    let many: Vec<String> = few.iter().cycle().take(1000).cloned().collect();
    let expected: Vec<Vec<f32>> = expected.iter().cycle().take(many.len()).cloned().collect();
    assert_close(&probabilities(&infer(&daemon, &many)), &expected);
    let more: Vec<String> = few.iter().cycle().take(1025).cloned().collect();
    let input = json!({ "name": "input", "datatype": "BYTES", "shape": [more.len()], "data": more });
    let body = json!({ "inputs": [input] }).to_string();
    let refused = ask(daemon.address(), "POST", "/v2/models/motif/infer", &[], body.as_bytes());
    assert_eq!(refused.status, 413);
    let told = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(
        told.contains("at most 1024 are taken (http.inference.max_samples)"),
        "{told}"
    );

    let second = story.drop_artifact(&two);
    let address = format!("/api/v1/models/motif/compare?version={}", &second[..8]);
    let over_http: Value = wait_for("the second version", || {
        let (status, body) = daemon.get(&address);
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    });
    let config = story.environment.path("forecastd.yaml");
    let arguments = ["models", "compare", "motif", &second[..8], "--json", "--config"];
    let output = forecastd(&[&arguments[..], &[config.to_str().unwrap()]].concat());
    let by_command: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["margin", "better", "comparable", "reason"] {
        assert_eq!(over_http[key], by_command[key], "{key}");
    }
    assert_eq!(
        (&over_http["margin"], &over_http["other"]["version"]),
        (&json!(0.25), &json!(first))
    );

    let page = daemon.scrape_until("what was asked", |page| {
        page.get("forecastd_inference_http_requests_total", &[("model", "motif")]) == Some(2.0)
    });
    let batches = page.get("forecastd_inference_batch_samples_count", &[("model", "motif")]);
    assert!(batches >= Some(16.0), "{batches:?}");
    let no_larger = [("model", "motif"), ("le", "64")];
    assert_eq!(
        page.get("forecastd_inference_batch_samples_bucket", &no_larger),
        batches
    );
    let too_large = [("model", "motif"), ("reason", "too_large")];
    let failures = "forecastd_inference_http_request_failures_total";
    assert_eq!(page.get(failures, &too_large), Some(1.0));
    let html = daemon.get("/").1;
    let row = html.split("<tr><td>motif<td").nth(1).expect("the model's line");
    assert!(row.contains(">yes</span>") && row.contains(&first[..12]), "{row}");
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
    // One a request, and one more with a single sample for each of the three versions that were loaded.
    assert_eq!(get("forecastd_inference_batch_samples_count"), Some(7.0));
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
        status == 200 && statistics.contains("\"execution_count\":7"),
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
    let crowded: Vec<Vec<f32>> = serde_json::from_value(told["crowded"].clone()).unwrap();
    let in_turn: Vec<Vec<f32>> = expected.iter().cycle().take(800).cloned().collect();
    assert_close(&crowded, &in_turn);
    println!(
        "{:.0} requests a second on 8 connections",
        told["requests_per_second"].as_f64().unwrap()
    );
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
