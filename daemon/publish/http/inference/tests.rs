//! What clients send and get, over a real socket, with networks that say what a test wants.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecastd_models::dasha::{ElementType, InputShape, ModelDescription, Normalisation, Scaling, Task};
use serde_json::{Value, json};

use crate::artifact_fixture::Artifact;
use crate::message::inference::{
    InferenceAnswer, InferenceError, Outputs, ServedModel, ServedVersion, Stage as At, VersionState,
};
use crate::publish::fixture::{Stage, model};
use crate::publish::http::running::{Answer, Running};
use crate::publish::http::{OTHERS, SPARE};

const KEY: &str = "3f2a91aa";

/// A network of two classes for tiles of two bands, one high and three wide, of bytes.
fn tiles() -> ModelDescription {
    let mut description = Artifact::scoring(0.5).description;
    description.architecture.input = InputShape {
        bands: 2,
        size: vec![1, 3],
    };
    description.element = ElementType::U8;
    description.scaling.inputs = Normalisation::identity(2);
    description
}

/// The same for sequences of at most four letters.
fn letters() -> ModelDescription {
    let mut description = Artifact::scoring(0.5).description;
    description.architecture.input = InputShape {
        bands: 4,
        size: vec![4],
    };
    description.element = ElementType::Symbol {
        alphabet: "ACGT".to_owned(),
    };
    description
}

fn numbers() -> ModelDescription {
    let mut description = Artifact::scoring(0.5).description;
    description.architecture.input.size = vec![2];
    description.architecture.task = Task::Regress;
    description.architecture.outputs = 1;
    description.labels = vec!["depth".to_owned()];
    description.scaling = Scaling {
        inputs: Normalisation::identity(1),
        targets: Some(Normalisation::identity(1)),
    };
    description
}

fn serving(description: ModelDescription, state: VersionState, scores: &[f32]) -> (Stage, Running) {
    let stage = Stage::new(1000);
    let version: Arc<str> = KEY.into();
    *stage.networks.served.lock().expect("no panic") = vec![ServedModel {
        name: "m".into(),
        active: Some(Arc::clone(&version)),
        versions: vec![ServedVersion {
            version: Arc::clone(&version),
            state,
            description: Some(Arc::new(description.clone())),
        }],
    }];
    say(&stage, Ok(answer(KEY, description, scores)));
    let running = Running::start(&stage);
    (stage, running)
}

fn say(stage: &Stage, outcome: Result<InferenceAnswer, InferenceError>) {
    *stage.networks.outcome.lock().expect("no panic") = Some(outcome);
}

fn answer(version: &str, description: ModelDescription, scores: &[f32]) -> InferenceAnswer {
    InferenceAnswer {
        version: version.into(),
        description: Arc::new(description),
        outputs: Outputs::Scores(scores.to_vec()),
        queue: Duration::ZERO,
        compute: Duration::ZERO,
        batch: 1,
    }
}

fn input(datatype: &str, shape: &[u64], data: Value) -> Value {
    json!({ "name": "input", "datatype": datatype, "shape": shape, "data": data })
}

fn ask(running: &Running, input: Value) -> Answer {
    let body = json!({ "inputs": [input] });
    running.post("/v2/models/m/infer", &body.to_string())
}

fn binary(header: &Value, tail: &[u8]) -> (String, Vec<u8>) {
    let header = header.to_string();
    let body = [header.as_bytes(), tail].concat();
    (header.len().to_string(), body)
}

#[test]
fn tiles_come_as_json_and_all_outputs_go_back() {
    let (stage, running) = serving(tiles(), VersionState::Ready, &[0.25, 0.75, 0.5, 0.5]);
    let tile = json!([[[[1, 2, 3]], [[4, 5, 6]]], [[[7, 8, 9]], [[10, 11, 255]]]]);
    let answer = ask(&running, input("UINT8", &[2, 2, 1, 3], tile));
    assert_eq!(
        answer.json(),
        json!({
            "model_name": "m",
            "model_version": KEY,
            "outputs": [
                { "name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": [0.25, 0.75, 0.5, 0.5] },
                { "name": "class", "datatype": "INT64", "shape": [2], "data": [1, 0] },
                { "name": "label", "datatype": "BYTES", "shape": [2], "data": ["yes", "no"] },
            ],
        })
    );
    assert_eq!(answer.status, 200);
    let asked = stage
        .networks
        .asked
        .lock()
        .expect("no panic")
        .pop()
        .expect("it was asked");
    assert_eq!((asked.count, asked.version), (2, None));
    assert_eq!(asked.inputs, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255]);
}

#[test]
fn binary_tensors_come_and_go_behind_the_json() {
    let (stage, running) = serving(tiles(), VersionState::Ready, &[0.25, 0.75]);
    let header = json!({
        "id": "seven",
        "inputs": [{ "name": "input", "datatype": "UINT8", "shape": [1, 2, 1, 3], "parameters": { "binary_data_size": 6 } }],
        "outputs": [
            { "name": "label", "parameters": { "binary_data": true } },
            { "name": "probabilities", "parameters": { "binary_data": true } },
            { "name": "class" },
        ],
    });
    let (length, body) = binary(&header, &[9, 8, 7, 6, 5, 4]);
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let path = format!("/v2/models/m/versions/{}/infer", &KEY[..4]);
    let answer = running.ask("POST", &path, &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told: usize = answer.headers["inference-header-content-length"]
        .parse()
        .expect("a length");
    let (json, tail) = answer.body.split_at(told);
    let json: Value = serde_json::from_slice(json).expect("JSON");
    assert_eq!(
        (json["id"].as_str(), &json["outputs"][0]["parameters"]),
        (Some("seven"), &json!({ "binary_data_size": 7 }))
    );
    assert_eq!(json["outputs"][2]["data"], json!([1]));
    let expected = [&b"\x03\0\0\0yes"[..], &0.25_f32.to_le_bytes(), &0.75_f32.to_le_bytes()].concat();
    assert_eq!(tail, expected);
    let asked = stage
        .networks
        .asked
        .lock()
        .expect("no panic")
        .pop()
        .expect("it was asked");
    assert_eq!(
        (asked.version.as_deref(), asked.inputs),
        (Some(KEY), vec![9, 8, 7, 6, 5, 4])
    );
}

#[test]
fn the_likeliest_classes_come_as_texts() {
    let (_stage, running) = serving(tiles(), VersionState::Ready, &[0.25, 0.75]);
    let body = json!({
        "inputs": [input("UINT8", &[1, 2, 1, 3], json!([1, 2, 3, 4, 5, 6]))],
        "outputs": [{ "name": "probabilities", "parameters": { "classification": 1 } }],
    });
    let answer = running.post("/v2/models/m/infer", &body.to_string()).json();
    assert_eq!(
        answer["outputs"],
        json!([{ "name": "probabilities", "datatype": "BYTES", "shape": [1, 1], "data": ["0.750000:1:yes"] }])
    );
}

#[test]
fn long_json_is_read_and_written_as_short_json_is() {
    let mut description = tiles();
    description.architecture.input.size = vec![100, 100];
    let scores: Vec<f32> = (0..16u8).map(|place| f32::from(place) / 16.0).collect();
    let (stage, running) = serving(description, VersionState::Ready, &scores);
    let tile: Vec<u8> = (0..160_000u32).map(|place| place as u8).collect();
    let answer = ask(&running, input("UINT8", &[8, 2, 100, 100], json!(tile)));
    assert_eq!(answer.json()["outputs"][0]["data"], json!(scores));
    let asked = stage
        .networks
        .asked
        .lock()
        .expect("no panic")
        .pop()
        .expect("it was asked");
    assert_eq!((asked.count, asked.inputs == tile), (8, true));
    assert!(
        running
            .get("/metrics")
            .1
            .contains("forecastd_worker_busy_seconds_total{worker=\"tensors\"}")
    );
}

#[test]
fn a_version_that_answers_and_is_replaced_at_once_has_its_answer_read_by_its_own_description() {
    let (stage, running) = serving(tiles(), VersionState::Ready, &[0.25, 0.75]);
    let mut gone = tiles();
    gone.labels = vec!["bare".to_owned(), "grown".to_owned()];
    say(&stage, Ok(answer("0badcafe", gone, &[0.25, 0.75])));
    let answer = ask(&running, input("UINT8", &[1, 2, 1, 3], json!([1, 2, 3, 4, 5, 6])));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(
        (&answer["model_version"], &answer["outputs"][2]["data"][0]),
        (&json!("0badcafe"), &json!("grown"))
    );
}

#[test]
fn letters_come_as_texts_or_as_places_in_the_alphabet() {
    let (stage, running) = serving(letters(), VersionState::Ready, &[0.25, 0.75]);
    let asked = || {
        stage
            .networks
            .asked
            .lock()
            .expect("no panic")
            .pop()
            .expect("it was asked")
            .inputs
    };
    assert_eq!(ask(&running, input("BYTES", &[1], json!(["acG"]))).status, 200);
    assert_eq!(asked(), [0, 1, 2, 255]);
    assert_eq!(ask(&running, input("UINT8", &[1, 4], json!([3, 2, 1, 0]))).status, 200);
    assert_eq!(asked(), [3, 2, 1, 0]);
    let header = json!({ "inputs": [{ "name": "input", "datatype": "BYTES", "shape": [1, 1], "parameters": { "binary_data_size": 8 } }] });
    let (length, body) = binary(&header, b"\x04\0\0\0TGCA");
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let answer = running.ask("POST", "/v2/models/m/infer", &headers, &body);
    assert_eq!((answer.status, asked()), (200, vec![3, 2, 1, 0]));
}

#[test]
fn what_is_malformed_is_told_by_tensor_and_sample() {
    let (stage, running) = serving(tiles(), VersionState::Ready, &[0.25, 0.75]);
    let tile = |data: Value| input("UINT8", &[1, 2, 1, 3], data);
    let six = || json!([1, 2, 3, 4, 5, 6]);
    let body = |input: Value| json!({ "inputs": [input] }).to_string();
    let mut both = tile(six());
    both["parameters"] = json!({ "binary_data_size": 6 });
    let mut shared = tile(six());
    shared["parameters"] = json!({ "shared_memory_region": "r" });
    let mut other = tile(six());
    other["name"] = json!("image");
    let with_output = |output: Value| json!({ "inputs": [tile(six())], "outputs": [output] }).to_string();
    for (body, words) in [
        ("{".to_owned(), "the request's JSON: EOF"),
        ("{}".to_owned(), "missing field `inputs`"),
        (
            json!({ "inputs": [] }).to_string(),
            "inputs []; the model takes one, \"input\"",
        ),
        (body(other), "inputs [\"image\"]"),
        (
            body(input("FP32", &[1, 2, 1, 3], six())),
            "datatype \"FP32\"; the model takes UINT8",
        ),
        (
            body(input("UINT8", &[1, 3, 1, 3], six())),
            "shape [1, 3, 1, 3]; the model takes [-1, 2, 1, 3]",
        ),
        (body(input("UINT8", &[], six())), "shape []"),
        (body(input("UINT8", &[0, 2, 1, 3], json!([]))), "no sample"),
        (body(tile(json!([1, 2, 3]))), "3 numbers, where its shape has 6"),
        (
            body(input(
                "UINT8",
                &[2, 2, 1, 3],
                json!([0, 0, 0, 0, 0, 0, 0, 256, 0, 0, 0, 0]),
            )),
            "sample 1, element 1: 256 is no UINT8",
        ),
        (
            body(tile(json!([1, 2, 3, 4, 5, 0.5]))),
            "sample 0, element 5: 0.5 is no UINT8",
        ),
        (
            body(tile(json!(["a", "b", "c", "d", "e", "f"]))),
            "texts, where UINT8 are numbers",
        ),
        (body(tile(Value::Null)), "neither data nor binary_data_size"),
        (body(both), "both data and binary_data_size"),
        (body(shared), "shared memory"),
        (
            json!({ "inputs": [tile(six())], "outputs": [{ "name": "class" }, { "name": "label" }, { "name": "class" }] })
                .to_string(),
            "output \"class\": it is named twice",
        ),
        (
            body(input("UINT8", &[1, 2, 1, 3], json!([1, 2, 3, 4, 5, 1e18]))),
            "sample 0, element 5: 1000000000000000000 is no UINT8",
        ),
        (
            body(json!({ "name": "input", "datatype": "UINT8", "shape": [1e18], "data": six() })),
            "the request's JSON: invalid type: floating point",
        ),
        (
            with_output(json!({ "name": "scores" })),
            "output \"scores\": the model gives [\"probabilities\", \"class\", \"label\"]",
        ),
        (
            with_output(json!({ "name": "class", "parameters": { "classification": 1 } })),
            "of probabilities only",
        ),
    ] {
        let answer = running.post("/v2/models/m/infer", &body);
        let told = answer.json()["error"].as_str().expect("a sentence").to_owned();
        assert_eq!(answer.status, 400, "{body}: {told}");
        assert!(told.contains(words), "{body}: {told}");
    }
    assert!(
        stage.networks.asked.lock().expect("no panic").is_empty(),
        "none of them is asked"
    );
}

#[test]
fn bad_letters_and_torn_texts_are_told() {
    let (_stage, running) = serving(letters(), VersionState::Ready, &[0.25, 0.75]);
    for (data, words) in [
        (json!(["ACGTA"]), "sample 0: 5 letters; 1 to 4 are taken"),
        (json!([""]), "0 letters"),
        (json!(["AXGT"]), "sample 0: letter 'X' is not in the alphabet ACGT"),
        (json!([1]), "numbers, where BYTES are texts"),
        (json!(["A", "C"]), "2 texts, where its shape has 1"),
    ] {
        let answer = ask(&running, input("BYTES", &[1], data));
        let told = answer.json()["error"].to_string();
        assert!(answer.status == 400 && told.contains(words), "{told}");
    }
    let header = json!({ "inputs": [{ "name": "input", "datatype": "BYTES", "shape": [1], "parameters": { "binary_data_size": 6 } }] });
    let (length, body) = binary(&header, b"\x09\0\0\0AC");
    for (length, words) in [
        (length.as_str(), "text 0 is torn"),
        ("1000000", "in a body of"),
        ("x", "in a body of"),
    ] {
        let headers = [("Inference-Header-Content-Length", length)];
        let answer = running.ask("POST", "/v2/models/m/infer", &headers, &body);
        assert!(
            answer.status == 400 && answer.text().contains(words),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn more_samples_than_a_request_may_have_are_refused_before_any_is_looked_at() {
    let (stage, running) = serving(letters(), VersionState::Ready, &[0.25, 0.75]);
    for count in [9, 1 << 32, 10_u64.pow(18), u64::MAX] {
        let answer = ask(&running, input("BYTES", &[count], json!(["A"])));
        let told = answer.json()["error"].to_string();
        assert_eq!(answer.status, 413, "{told}");
        let words = format!("{count} samples in one request; at most 8 are taken (http.inference.max_samples)");
        assert!(told.contains(&words), "{told}");
    }
    assert_eq!(
        ask(
            &running,
            input("BYTES", &[8], json!(["A", "C", "G", "T", "A", "C", "G", "T"]))
        )
        .status,
        200
    );
    stage.networks.asked.lock().expect("no panic").clear();
    // A hundred thousand texts of no letter in four bytes each.
    let zeros = vec![0; 400_000];
    for (shape, status, words) in [(100_000, 413, "at most 8"), (8, 400, "sample 0: 0 letters")] {
        let parameters = json!({ "binary_data_size": zeros.len() });
        let header =
            json!({ "inputs": [{ "name": "input", "datatype": "BYTES", "shape": [shape], "parameters": parameters }] });
        let (length, body) = binary(&header, &zeros);
        let headers = [("Inference-Header-Content-Length", length.as_str())];
        let answer = running.ask("POST", "/v2/models/m/infer", &headers, &body);
        assert!(
            answer.status == status && answer.text().contains(words),
            "{}",
            answer.text()
        );
    }
    assert!(stage.networks.asked.lock().expect("no panic").is_empty());
}

#[test]
fn what_is_refused_is_counted_by_reason_and_names_that_clients_choose_are_no_labels() {
    let (stage, running) = serving(numbers(), VersionState::Ready, &[2.5]);
    stage.metrics.models_configured(&[model("m")]);
    let body = |shape: &[u64]| json!({ "inputs": [input("FP32", shape, json!([0.5, -1]))] }).to_string();
    let post = |path: &str, body: &str| running.post(path, body).status;
    assert_eq!(post("/v2/models/m/infer", &body(&[1, 2])), 200);
    assert_eq!(post("/v2/models/m/infer", "{"), 400);
    assert_eq!(post("/v2/models/m/infer", &body(&[9, 2])), 413);
    assert_eq!(post("/v2/models/m/versions/ffff/infer", &body(&[1, 2])), 404);
    let unavailable = InferenceError::Unavailable {
        reason: "because".to_owned(),
    };
    say(&stage, Err(unavailable));
    assert_eq!(post("/v2/models/m/infer", &body(&[1, 2])), 503);
    stage.publish_models(Vec::new());
    assert_eq!(post("/v2/models/evil/infer", &body(&[1, 2])), 404);
    let counted = stage.samples();
    for (reason, count) in [
        ("input", 1.0),
        ("too_large", 1.0),
        ("unknown", 1.0),
        ("unavailable", 1.0),
        ("busy", 0.0),
    ] {
        let name = format!("forecastd_inference_http_request_failures_total{{model=\"m\",reason=\"{reason}\"}}");
        assert_eq!(counted.get(&name), Some(&count), "{name}");
    }
    assert_eq!(counted["forecastd_inference_http_requests_total{model=\"m\"}"], 5.0);
    assert_eq!(counted["forecastd_inference_unknown_requests_total"], 1.0);
    assert!(counted.keys().all(|name| !name.contains("evil")));
    stage.metrics.models_configured(&[]);
    assert!(
        stage.samples().keys().all(|name| !name.contains("model=\"m\"")),
        "it goes with its model"
    );
}

#[test]
fn every_failure_has_its_status() {
    let (stage, running) = serving(numbers(), VersionState::Ready, &[2.5]);
    let one = || input("FP32", &[1, 2], json!([0.5, -1]));
    let answer = ask(&running, one()).json();
    assert_eq!(
        answer["outputs"],
        json!([{ "name": "values", "datatype": "FP32", "shape": [1, 1], "data": [2.5] }])
    );
    let reason = || "because".to_owned();
    for (error, status) in [
        (InferenceError::Input { reason: reason() }, 400),
        (
            InferenceError::Overloaded {
                model: "m".into(),
                waiting: 9,
            },
            429,
        ),
        (InferenceError::Deadline { stage: At::Waiting }, 504),
        (
            InferenceError::NotReady {
                model: "m".into(),
                version: "v".into(),
                reason: reason(),
            },
            503,
        ),
        (InferenceError::Unavailable { reason: reason() }, 503),
        (InferenceError::Stopping, 503),
        (
            InferenceError::Poison {
                deaths: 2,
                how: reason(),
            },
            500,
        ),
        (InferenceError::Failed { reason: reason() }, 500),
    ] {
        say(&stage, Err(error.clone()));
        let answer = ask(&running, one());
        assert_eq!(
            (answer.status, answer.json()),
            (status, json!({ "error": error.to_string() }))
        );
        assert_eq!(answer.headers.contains_key("retry-after"), [429, 503].contains(&status));
        let page = running.get("/metrics").1;
        assert!(
            page.contains(&format!(
                "forecastd_inference_http_responses_total{{code=\"{status}\"}}"
            )),
            "{page}"
        );
    }
    let early = running.post("/v2/models/x/infer", &json!({ "inputs": [one()] }).to_string());
    assert_eq!(early.status, 503, "nobody knows yet which models there are");
    stage.publish_models(Vec::new());
    for (path, status) in [
        ("/v2/models/x/infer", 404),
        ("/v2/models/m/versions/ffff/infer", 404),
        ("/v2/models/m/versions/3f/infer", 404),
    ] {
        let answer = running.post(path, &json!({ "inputs": [one()] }).to_string());
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let long = vec![b' '; (1 << 20) + 1];
    let answer = running.ask("POST", "/v2/models/m/infer", &[], &long);
    assert_eq!(answer.status, 413);
    let answer = running.ask("POST", "/v2/models/m/infer", &[("Content-Encoding", "gzip")], b"x");
    assert_eq!(answer.status, 415);
    assert_eq!(running.ask("GET", "/v2/models/m/infer", &[], &[]).status, 405);
    assert_eq!(
        running.ask("GET", "/v2/nothing", &[], &[]).json()["error"],
        "no such address; see /api/openapi.json"
    );
}

#[test]
fn a_client_says_how_long_it_waits_up_to_a_bound() {
    let (stage, running) = serving(numbers(), VersionState::Ready, &[2.5]);
    let waits = |timeout: Value| {
        let body = json!({ "inputs": [input("FP32", &[1, 2], json!([0, 0]))], "parameters": { "timeout": timeout } });
        assert_eq!(running.post("/v2/models/m/infer", &body.to_string()).status, 200);
        let asked = stage
            .networks
            .asked
            .lock()
            .expect("no panic")
            .pop()
            .expect("it was asked");
        asked
            .deadline
            .saturating_duration_since(Instant::now())
            .as_secs_f64()
            .ceil() as u64
    };
    assert_eq!(
        [
            waits(Value::Null),
            waits(json!(0)),
            waits(json!(3_000_000)),
            waits(json!(900_000_000_u64)),
            waits(json!(u64::MAX))
        ],
        [10, 10, 3, 20, 20]
    );
}

#[test]
fn a_client_that_goes_away_cancels_and_too_many_at_once_are_turned_away_while_scrapes_are_answered() {
    let (stage, running) = serving(numbers(), VersionState::Ready, &[]);
    *stage.networks.outcome.lock().expect("no panic") = None;
    let body = json!({ "inputs": [input("FP32", &[1, 2], json!([0, 0]))] }).to_string();
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let patience = Instant::now() + Duration::from_secs(30);
        while !is_so() {
            assert!(Instant::now() < patience, "waited for {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let waiting: Vec<_> = (0..2)
        .map(|_| running.send("POST", "/v2/models/m/infer", &[], body.as_bytes()))
        .collect();
    until("two requests", &|| {
        stage.networks.asked.lock().expect("no panic").len() == 2
    });
    let answer = running.post("/v2/models/m/infer", &body);
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (429, "1"));
    assert_eq!(running.get("/metrics").0, 200);
    drop(waiting);
    until("both to be cancelled", &|| {
        *stage.networks.cancelled.lock().expect("no panic") == 2
    });
}

#[test]
fn a_client_that_hangs_up_is_counted_as_one_without_an_answer() {
    let (stage, running) = serving(numbers(), VersionState::Ready, &[]);
    stage.metrics.models_configured(&[model("m")]);
    *stage.networks.outcome.lock().expect("no panic") = None;
    let body = json!({ "inputs": [input("FP32", &[1, 2], json!([0, 0]))] }).to_string();
    let client = running.send("POST", "/v2/models/m/infer", &[], body.as_bytes());
    let patience = Instant::now() + Duration::from_secs(30);
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(Instant::now() < patience, "waited for {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    until("the request", &|| {
        stage.networks.asked.lock().expect("no panic").len() == 1
    });
    drop(client);
    let name = "forecastd_inference_http_request_failures_total{model=\"m\",reason=\"cancelled\"}";
    until("its end", &|| stage.samples().get(name) == Some(&1.0));
}

#[test]
fn an_answer_that_nobody_takes_holds_its_place_and_one_that_is_taken_late_comes_whole() {
    // More than the buffers of both ends of a socket take.
    let scores = vec![0.5; 8 << 20];
    let (_stage, running) = serving(numbers(), VersionState::Ready, &scores);
    let body = json!({ "inputs": [input("FP32", &[1, 2], json!([0, 0]))] }).to_string();
    let mut slow: Vec<_> = (0..2)
        .map(|_| running.send("POST", "/v2/models/m/infer", &[], body.as_bytes()))
        .collect();
    for client in &slow {
        client.peek(&mut [0]).expect("its answer has begun");
    }
    assert_eq!(running.post("/v2/models/m/infer", &body).status, 429);
    let idle = |_| TcpStream::connect(running.address).expect("it listens");
    let _idle: Vec<TcpStream> = (0..2 * (OTHERS + SPARE)).map(idle).collect();
    assert_eq!(running.get("/metrics").0, 200);
    let mut answer = Vec::new();
    slow[0].read_to_end(&mut answer).expect("it is not cut off");
    let json = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let length = format!("content-length: {}\r\n", answer.len() - json);
    assert!(String::from_utf8_lossy(&answer[..json]).contains(&length));
    drop(slow);
    let patience = Instant::now() + Duration::from_secs(30);
    while running.post("/v2/models/m/infer", &body).status != 200 {
        assert!(Instant::now() < patience, "their places are not free again");
    }
}

#[test]
fn metadata_say_what_a_network_takes_and_gives() {
    let (stage, running) = serving(letters(), VersionState::Ready, &[]);
    let get = |path: &str| running.ask("GET", path, &[], &[]);
    assert_eq!(get("/v2").json()["name"], "forecastd");
    assert_eq!(
        (get("/v2/health/live").status, get("/v2/health/ready").status),
        (200, 503),
        "still starting"
    );
    stage.readiness.send_replace(crate::publish::Readiness::Ready);
    assert_eq!(get("/v2/health/ready").status, 200);
    let metadata = get("/v2/models/m").json();
    assert_eq!(
        metadata,
        json!({
            "name": "m",
            "versions": [KEY],
            "platform": "forecastd_dasha",
            "inputs": [{ "name": "input", "datatype": "BYTES", "shape": [-1] }],
            "outputs": [
                { "name": "probabilities", "datatype": "FP32", "shape": [-1, 2] },
                { "name": "class", "datatype": "INT64", "shape": [-1] },
                { "name": "label", "datatype": "BYTES", "shape": [-1] },
            ],
        })
    );
    assert_eq!(get("/v2/models/m/versions/3f2a").json(), metadata);
    assert_eq!(get("/v2/models/m/ready").status, 200);
    let config = get("/v2/models/m/config").json();
    assert_eq!(
        config["input"],
        json!([{ "name": "input", "data_type": "TYPE_STRING", "dims": [-1] }])
    );
    assert_eq!(get("/v2/models/m/stats").json()["model_stats"][0]["version"], KEY);
    assert_eq!(get("/v2/models/stats").json()["model_stats"][0]["name"], "m");
    let index = running.post("/v2/repository/index", "").json();
    assert_eq!(
        index,
        json!([{ "name": "m", "version": KEY, "state": "READY", "reason": "" }])
    );
    let long = format!("{{\"ready\": true{}}}", " ".repeat(64 << 10));
    assert_eq!(running.post("/v2/repository/index", &long).status, 413);
}

#[test]
fn a_version_that_cannot_be_used_says_why() {
    let refused = VersionState::Refused {
        reason: "weights.safetensors: torn".to_owned(),
    };
    let (_stage, running) = serving(letters(), refused, &[]);
    for path in [
        "/v2/models/m",
        "/v2/models/m/ready",
        "/v2/models/m/versions/3f2a91/ready",
    ] {
        let answer = running.ask("GET", path, &[], &[]);
        assert!(
            answer.status == 503 && answer.text().contains("torn"),
            "{path}: {}",
            answer.text()
        );
    }
    let index = running.post("/v2/repository/index", r#"{"ready": true}"#).json();
    assert_eq!(index, json!([]));
}
