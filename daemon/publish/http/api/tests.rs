//! Forecasts and models as programs see them, who may change something, and a page that tells the truth about all of it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use forecastd_models::Timestamp;
use forecastd_models::dasha::Metric;
use serde_json::{Value, json};

use crate::artifact_fixture::Artifact;
use crate::message::content_key::ContentKey;
use crate::message::model::{ModelAct, ModelFacts, ModelState, ModelVersion};
use crate::message::snapshot::ModelView;
use crate::publish::fixture::{Stage, dataset, fit, view};
use crate::publish::http::running::{Answer, Running};

const TOKEN: &str = "0123456789abcdef";

/// The sources that name routes.
const SOURCES: [&str; 3] = [
    include_str!("../mod.rs"),
    include_str!("mod.rs"),
    include_str!("../inference/mod.rs"),
];

fn version(number: u8, state: ModelState, promotion: Option<i64>, labels: [&str; 2]) -> ModelVersion {
    ModelVersion {
        model: "m".into(),
        version: ContentKey([number; 32]),
        state,
        since: Timestamp(0),
        reason: "it is good".to_owned(),
        imported: Timestamp(0),
        promotion,
        folder: "/state/models".into(),
        facts: Arc::new(ModelFacts {
            bytes: 10,
            metric: Metric::Accuracy,
            validation: Some(0.5),
            test: None,
            data: "d".to_owned(),
            description: Artifact::scoring(0.5).with_labels(labels).description,
        }),
    }
}

/// A model of which `11…` was active before `22…`, and `33…` and `44…` are candidates, the last of other labels.
fn models() -> Vec<ModelView> {
    let same = ["no", "yes"];
    let versions = vec![
        version(0x11, ModelState::Retired, Some(1), same),
        version(0x22, ModelState::Active, Some(2), same),
        version(0x33, ModelState::Candidate, None, same),
        version(0x44, ModelState::Candidate, None, ["cat", "dog"]),
    ];
    vec![ModelView {
        model: "m".into(),
        versions: versions.into(),
        margin: 0.0,
    }]
}

#[test]
fn the_forecast_of_a_channel_comes_with_times_and_bounds() {
    let stage = Stage::new(1000);
    stage.publish(vec![view(dataset("d"), vec![fit("a/b c", 1.0, &[0.5])])]);
    let running = Running::start(&stage);
    let answer = running.ask("GET", "/api/v1/forecasts?dataset=d&channel=a%2Fb+c&horizon=2", &[], &[]);
    assert_eq!(answer.headers["content-type"], "application/json");
    let step = |step: u32, time: &str, mean: f64| {
        json!({ "step": step, "time": time, "mean": mean,
                "intervals": [{ "level": 0.5, "lower": mean - 0.5, "upper": mean + 0.5 }] })
    };
    assert_eq!(
        answer.json(),
        json!({
            "dataset": "d",
            "channel": "a/b c",
            "generation": 1,
            "cutoff": "2026-11-23T17:15:00Z",
            "method": "auto",
            "leading": "auto_ar",
            "fallback": null,
            "steps": [step(1, "2026-11-23T18:15:00Z", 1.125), step(2, "2026-11-23T19:15:00Z", 1.25)],
        })
    );
    let whole = running.ask("GET", "/api/v1/forecasts?dataset=d&channel=a%2Fb+c", &[], &[]);
    assert_eq!(whole.json()["steps"].as_array().map(Vec::len), Some(24));
    for (query, status, words) in [
        ("", 400, "the parameter dataset is missing"),
        ("?dataset=d", 400, "the parameter channel is missing"),
        ("?dataset=x&channel=c", 404, "no dataset of series"),
        ("?dataset=d&channel=c", 404, "has no channel"),
        ("?dataset=d&channel=a%2Fb+c&horizon=25", 400, "from 1 to 24"),
        ("?dataset=d&channel=a%2Fb+c&horizon=0", 400, "from 1 to 24"),
        ("?dataset=d&channel=a%2Fb+c&steps=3", 400, "no parameter"),
    ] {
        let answer = running.ask("GET", &format!("/api/v1/forecasts{query}"), &[], &[]);
        let told = answer.json()["error"].as_str().expect("a sentence").to_owned();
        assert!(
            answer.status == status && told.contains(words),
            "{query}: {} {told}",
            answer.status
        );
    }
}

#[test]
fn models_are_listed_and_one_is_shown_whole() {
    let stage = Stage::new(1000);
    stage.publish_models(models());
    let running = Running::start(&stage);
    let list = running.ask("GET", "/api/v1/models", &[], &[]).json();
    let model = &list["models"][0];
    assert_eq!(
        (model["name"].as_str(), &model["active"]),
        (Some("m"), &json!("22".repeat(32)))
    );
    assert_eq!(model["rollback_takes"], "11".repeat(32));
    assert_eq!(model["versions"][0]["since"], "1970-01-01T00:00:00Z");
    assert_eq!(model["versions"][0]["description"], Value::Null);
    let shown = running.ask("GET", "/api/v1/models/m", &[], &[]).json();
    assert_eq!(shown["versions"][3]["description"]["labels"], json!(["cat", "dog"]));
    assert!(
        !shown.to_string().contains("/state"),
        "nobody outside needs our folders"
    );
    assert_eq!(running.get("/api/v1/models/x").0, 404);
}

#[test]
fn two_versions_are_compared_by_the_rule_of_promotion() {
    let stage = Stage::new(1000);
    let mut views = models();
    let mut versions = views[0].versions.to_vec();
    let facts = ModelFacts {
        validation: Some(0.75),
        ..ModelFacts::clone(&versions[2].facts)
    };
    versions[2].facts = Arc::new(facts);
    views[0].versions = versions.into();
    views[0].margin = 0.5;
    stage.publish_models(views);
    let running = Running::start(&stage);
    let compare = |query: &str| running.ask("GET", &format!("/api/v1/models/m/compare{query}"), &[], &[]);
    let value = compare("?version=3333").json();
    assert_eq!(
        (&value["version"]["version"], &value["other"]["version"]),
        (&json!("33".repeat(32)), &json!("22".repeat(32)))
    );
    assert_eq!(
        (&value["margin"], &value["comparable"], &value["better"]),
        (&json!(0.5), &json!(true), &json!(false))
    );
    assert!(
        value["reason"]
            .as_str()
            .is_some_and(|why| why.contains("better by 0.2500 only")),
        "{value}"
    );
    assert!(
        !value.to_string().contains("/state"),
        "nobody outside needs our folders"
    );
    let value = compare("?version=3333&other=1111&margin=0.25").json();
    assert_eq!(
        (&value["other"]["state"], &value["better"]),
        (&json!("retired"), &json!(true))
    );
    let value = compare("?version=4444").json();
    assert_eq!((&value["comparable"], &value["better"]), (&json!(false), &json!(false)));
    for (query, status, words) in [
        ("", 400, "the parameter version is missing"),
        ("?version=5555", 404, "no version begins with 5555"),
        ("?version=3333&other=shadow", 404, "no version is shadow"),
        ("?version=3333&margin=NaN", 400, "margin \"NaN\": a number"),
        ("?version=3333&against=1111", 400, "no parameter \"against\""),
    ] {
        let answer = compare(query);
        let told = answer.json()["error"].as_str().expect("a sentence").to_owned();
        assert!(
            answer.status == status && told.contains(words),
            "{query}: {} {told}",
            answer.status
        );
    }
    assert_eq!(running.get("/api/v1/models/x/compare?version=3333").0, 404);
}

#[test]
fn an_address_that_cannot_be_read_is_refused_as_programs_are_told_it() {
    let stage = Stage::new(1000);
    let running = Running::start(&stage);
    for path in [
        "/api/v1/models/%FF",
        "/v2/models/%FF/ready",
        "/v2/models/m/versions/%FF",
    ] {
        let answer = running.ask("GET", path, &[], &[]);
        assert_eq!(answer.status, 400, "{path}");
        let told = answer.json()["error"].as_str().expect("a sentence").to_owned();
        assert!(told.contains("Invalid UTF-8"), "{path}: {told}");
    }
}

/// An endpoint over those models whose token lies in a file.
fn guarded(stage: &Stage, token: &str) -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, token).expect("written");
    stage.publish_models(models());
    let mut sources = stage.sources();
    sources.config.admin_token_file = Some(file);
    (Running::with(sources), folder)
}

fn ask(running: &Running, act: &str, token: &str, body: &str) -> Answer {
    let token = format!("Bearer {token}");
    let headers = [("Authorization", token.as_str())];
    running.ask("POST", &format!("/api/v1/models/m/{act}"), &headers, body.as_bytes())
}

#[test]
fn whoever_holds_the_token_changes_what_commands_change() {
    let stage = Stage::new(1000);
    let (running, _folder) = guarded(&stage, &format!("{TOKEN}\n"));
    let (third, fourth) = (ContentKey([0x33; 32]), ContentKey([0x44; 32]));
    let table = [
        (
            "promote",
            r#"{"version": "3333", "reason": "better"}"#,
            ModelAct::Promote(third),
            "by hand: better; ",
        ),
        (
            "promote",
            r#"{"version": "4444", "force": true}"#,
            ModelAct::Promote(fourth),
            "by hand; ",
        ),
        ("rollback", "", ModelAct::Rollback, "rolled back by hand"),
        (
            "rollback",
            r#"{"reason": "slow"}"#,
            ModelAct::Rollback,
            "rolled back by hand: slow",
        ),
        (
            "remove",
            r#"{"version": "3333"}"#,
            ModelAct::Remove {
                version: third,
                force: false,
            },
            "removed by hand",
        ),
    ];
    for (act, body, expected, reason) in table {
        let answer = ask(&running, act, TOKEN, body);
        assert_eq!(answer.status, 200, "{act} {body}: {}", answer.text());
        let asked = stage
            .changes
            .asked
            .lock()
            .expect("no panic")
            .pop()
            .expect("it was asked");
        assert_eq!((asked.act, &*asked.model), (expected, "m"));
        assert!(asked.reason.starts_with(reason), "{}", asked.reason);
    }
    for (act, body, status, words) in [
        ("promote", r#"{"version": "4444"}"#, 409, "\\\"force\\\": true"),
        ("promote", r#"{"version": "55"}"#, 404, "at least 4 digits"),
        ("promote", r#"{"version": "5555"}"#, 404, "no version begins with 5555"),
        ("promote", "", 400, "which version?"),
        ("remove", r#"{"versoin": "3333"}"#, 400, "unknown field"),
        ("rollback", "[", 400, "the body"),
    ] {
        let answer = ask(&running, act, TOKEN, body);
        assert_eq!(answer.status, status, "{act} {body}: {}", answer.text());
        assert!(answer.text().contains(words), "{act} {body}: {}", answer.text());
    }
    *stage.changes.refusal.lock().expect("no panic") = Some("it must not be".to_owned());
    let answer = ask(&running, "rollback", TOKEN, "");
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (409, Some("it must not be"))
    );
}

#[test]
fn nobody_else_changes_anything() {
    let stage = Stage::new(1000);
    let (running, folder) = guarded(&stage, TOKEN);
    for token in ["", "0", "0123456789abcdeF", "0123456789abcdef0"] {
        assert_eq!(ask(&running, "rollback", token, "").status, 401, "{token:?}");
    }
    let unnamed = running.post("/api/v1/models/m/rollback", "");
    assert_eq!(
        (unnamed.status, unnamed.headers["www-authenticate"].as_str()),
        (401, "Bearer")
    );
    fs::write(folder.path().join("token"), "short").expect("written");
    let answer = ask(&running, "rollback", "short", "");
    assert!(
        answer.status == 403 && answer.text().contains("fewer than 16"),
        "{}",
        answer.text()
    );
    fs::remove_file(folder.path().join("token")).expect("it is there");
    assert_eq!(ask(&running, "rollback", "", "").status, 403);
    assert_eq!(
        ask(&Running::start(&stage), "rollback", TOKEN, "").status,
        403,
        "no file is named"
    );
    assert!(stage.changes.asked.lock().expect("no panic").is_empty());
}

#[test]
fn the_page_for_programs_has_every_route_and_every_route_of_it_answers() {
    let stage = Stage::new(1000);
    stage.publish_models(models());
    let running = Running::start(&stage);
    let page = running.ask("GET", "/api/openapi.json", &[], &[]).json();
    let paths = page["paths"].as_object().expect("paths");
    let told: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let routes = SOURCES.iter().flat_map(|source| source.split(".route(").skip(1));
    let routes = routes.map(|rest| rest.split('"').nth(1).expect("an address in quotes"));
    assert_eq!(told, routes.collect());
    for (path, operations) in paths {
        let address = path.replace("{model}", "m").replace("{version}", "2222");
        for method in operations.as_object().expect("operations").keys() {
            let answer = running.ask(&method.to_uppercase(), &address, &[], &[]);
            let is_lost = answer.status == 405 || answer.text().contains("no such");
            assert!(!is_lost, "{method} {path}: {} {}", answer.status, answer.text());
            let codes = operations[method]["responses"].as_object().expect("responses");
            let is_bounded =
                !["/", "/metrics"].contains(&path.as_str()) && !path.contains("/health") && path != "/-/ready";
            let bounds: &[&str] = match method.as_str() {
                "post" => &["408", "413", "415", "429"],
                _ => &["429"],
            };
            assert!(
                !is_bounded || bounds.iter().all(|code| codes.contains_key(*code)),
                "{method} {path}"
            );
            assert!(
                codes.contains_key(&answer.status.to_string()),
                "{method} {path}: {}",
                answer.status
            );
        }
    }
}
