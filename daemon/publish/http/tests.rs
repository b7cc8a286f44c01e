//! The endpoint over a real socket, as a story; and what hostile names do to the page for people.

use std::io::{Read, Write};
use std::net::TcpStream;

use forecastd_models::{Fallback, FitFailure};

use super::running::Running;
use super::*;
use crate::message::content_key::ContentKey;
use crate::message::inference::{ModelCounts, ServedModel, ServedVersion, VersionState};
use crate::message::model::{ModelFacts, ModelState, ModelVersion};
use crate::message::snapshot::{ChannelView, ModelView, Snapshot};
use crate::message::training::{
    TrainingFailure, TrainingFault, TrainingObstacle, TrainingProgress, TrainingStage, TrainingView, UnderWay,
};
use crate::publish::fixture::{NOW, Stage, dataset, fallback, fit, mapped, scored, version, view};

#[test]
fn an_endpoint_lives_from_start_to_shutdown() {
    let stage = Stage::new(1000);
    let running = Running::start(&stage);
    let text = |status, text: &str| (status, text.to_owned());

    assert_eq!(running.get("/-/healthy"), text(200, "healthy\n"));
    assert_eq!(running.get("/-/ready"), text(503, "starting: restoring the state\n"));
    assert_eq!(running.get("/metrics").0, 200);
    assert!(running.get("/").1.contains("No dataset yet"));

    stage.publish(vec![view(dataset("etth1"), vec![fit("OT", 1.0, &[0.8])])]);
    stage.readiness.send_replace(Readiness::Ready);
    assert_eq!(running.get("/-/ready"), text(200, "ready\n"));
    let page = running.get("/metrics").1;
    assert!(
        page.contains("forecastd_forecast{dataset=\"etth1\",channel=\"OT\",step=\"24\"} 4\n"),
        "{page}"
    );
    assert!(running.get("/").1.contains("<td class=name>OT"));
    assert_eq!(running.get("/metrics?dataset=etth1").0, 200);
    assert_eq!(
        running.get("/metrics?dataset=x%0Ay"),
        text(404, "no dataset \"x\\ny\"\n")
    );

    stage.readiness.send_replace(Readiness::Stopping);
    assert_eq!(running.get("/-/ready"), text(503, "stopping\n"));
    running.stop.send(()).expect("it still runs");
    running.server.join().expect("no panic").expect("no error");
    assert!(TcpStream::connect(running.address).is_err());
}

#[test]
fn a_scraper_gets_the_format_it_asks_for() {
    let stage = Stage::new(1000);
    let running = Running::start(&stage);
    for format in [Format::Text, Format::OpenMetrics] {
        let answer = running.ask("GET", "/metrics", &[("Accept", format.content_type())], &[]);
        assert_eq!(answer.headers["content-type"], format.content_type());
        assert_eq!(answer.headers["vary"], "Accept");
        assert_eq!(answer.text().ends_with("# EOF\n"), format == Format::OpenMetrics);
    }
}

#[test]
fn head_has_the_length_of_get_and_other_methods_and_pages_are_refused_in_plain_text() {
    let stage = Stage::new(1000);
    let running = Running::start(&stage);
    for path in ["/metrics", "/", "/-/healthy", "/-/ready"] {
        let (get, head) = (running.ask("GET", path, &[], &[]), running.ask("HEAD", path, &[], &[]));
        assert_eq!((head.status, head.text().as_str()), (get.status, ""), "{path}");
        assert!(head.headers.contains_key("content-length"), "{path}");
        let refused = running.post(path, "");
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (405, "only GET and HEAD\n"),
            "{path}"
        );
        assert_eq!(refused.headers["allow"], "GET,HEAD");
    }
    for path in ["/metrics/", "/favicon.ico", "/-/reload"] {
        assert_eq!(running.get(path), (404, "no such page; see /\n".to_owned()));
    }
}

#[test]
fn a_long_page_arrives_whole() {
    let stage = Stage::new(1_000_000);
    let channels = (0..2000)
        .map(|i| fit(&format!("channel {i}"), 1.0, &[0.8, 0.95]))
        .collect();
    stage.publish(vec![view(dataset("d"), channels)]);
    let answer = Running::start(&stage).ask(
        "GET",
        "/metrics",
        &[("Accept", Format::OpenMetrics.content_type())],
        &[],
    );
    assert_eq!(answer.headers["content-length"], answer.body.len().to_string());
    let page = answer.text();
    assert_eq!(page.matches("\nforecastd_forecast_lower{").count(), 2000 * 6);
    assert!(page.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_page_too_many_is_refused() {
    let stage = Stage::new(10);
    let endpoint = Endpoint {
        exposition: stage.exposition,
        infer: stage.networks,
        pages: Arc::new(Semaphore::new(0)),
        people: Arc::new(Semaphore::new(0)),
    };
    let query = Query(HashMap::new());
    let metrics = metrics(State(endpoint.clone()), query, HeaderMap::new()).await;
    assert_eq!(metrics.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(landing(State(endpoint)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// All connections that there are with the bounds of a [`Stage`].
const ALL: usize = 2 + OTHERS + SPARE;

#[test]
fn a_scrape_finds_room_among_clients_that_connect_and_say_nothing() {
    let stage = Stage::new(1000);
    let running = Running::start(&stage);
    let connect = || TcpStream::connect(running.address).expect("the endpoint listens");
    let mut idle: Vec<TcpStream> = (0..ALL).map(|_| connect()).collect();
    // One that sends its head byte by byte is idle, too.
    idle[1].write_all(b"GET /metrics HTTP/1.1\r\nHost").expect("it reads");
    for _ in 0..3 {
        assert_eq!(running.get("/metrics").0, 200);
    }
    idle[0].set_read_timeout(Some(GRACE)).expect("a socket");
    assert_eq!(
        idle[0].read(&mut [0]).expect("closed, not reset"),
        0,
        "the oldest had to go"
    );
    let mut last = idle.pop().expect("many");
    last.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("it is still there");
    let mut answer = String::new();
    last.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with("healthy\n"), "{answer}");
}

#[test]
fn a_scrape_finds_room_while_requests_and_idle_clients_take_all_that_they_may() {
    let stage = Stage::new(1000);
    let running = Running::start(&stage);
    let connect = || TcpStream::connect(running.address).expect("the endpoint listens");
    // Their bodies never come.
    let stalled = "POST /v2/repository/index HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let mut all: Vec<TcpStream> = Vec::new();
    let mut refused = running.ask("GET", "/v2", &[], &[]);
    while refused.status != 429 {
        assert!(all.len() < 10 * ALL, "nobody is refused");
        for _ in 0..16 {
            let mut client = connect();
            client.write_all(stalled.as_bytes()).expect("it reads");
            all.push(client);
        }
        refused = running.ask("GET", "/v2", &[], &[]);
    }
    assert_eq!(refused.headers["retry-after"], "1");
    all.extend((0..ALL).map(|_| connect()));
    assert_eq!(running.get("/metrics").0, 200);
    assert_eq!(running.get("/-/healthy").0, 200);
}

#[test]
fn the_page_for_people_is_the_one_that_was_reviewed() {
    let stage = Stage::new(1000);
    let mut first = view(
        dataset("etth1"),
        vec![
            mapped(fit("OT", 21.5, &[0.8, 0.95])),
            fallback("flat", Fallback::Constant),
        ],
    );
    let failure = Some(FitFailure::NotFinite);
    first.channels.insert(
        "broken".into(),
        ChannelView {
            fit: None,
            failure,
            anomaly: None,
        },
    );
    let mut first = scored(first);
    first.channels.get_mut("OT").expect("it is there").anomaly = Some(1.625);
    first.channels.get_mut("flat").expect("it is there").anomaly = Some(0.5);
    stage.publish(vec![first, view(dataset("empty"), Vec::new())]);
    stage.metrics.unreadable("empty", &"incoming/empty: permission denied");
    stage.readiness.send_replace(Readiness::Ready);
    let html = landing::page(
        &stage.exposition,
        &*stage.networks,
        NOW.saturating_add(90 * 60 * 1_000_000_000),
    );
    insta::assert_snapshot!(html.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

/// One model after the other: one that answers and is trained, one that is loaded for the first time, one that is refused,
/// and one of which nothing has come yet.
fn models(stage: &Stage) -> Vec<ModelView> {
    let hours = |hours: i64| Timestamp(NOW.0 - hours * 3_600_000_000_000);
    let version = |model: &str, number, state, validation, since| {
        let version = version(number, state);
        let facts = ModelFacts {
            validation: Some(validation),
            test: (state == ModelState::Active).then_some(validation - 0.0125),
            ..ModelFacts::clone(&version.facts)
        };
        ModelVersion {
            model: model.into(),
            since,
            facts: Arc::new(facts),
            ..version
        }
    };
    let view = |model: &str, versions: Vec<ModelVersion>| ModelView {
        model: model.into(),
        versions: versions.into(),
        margin: 0.0,
    };
    let served = |model: &str, number: u8, state| ServedModel {
        name: model.into(),
        active: (state == VersionState::Ready).then(|| ContentKey([number; 32]).to_string().into()),
        versions: vec![ServedVersion {
            version: ContentKey([number; 32]).to_string().into(),
            state,
            description: None,
        }],
    };
    let reason = "weights.safetensors: <torn>".to_owned();
    *stage.networks.served.lock().expect("no panic") = vec![
        served("scenes", 0x3f, VersionState::Ready),
        served("crops", 0x2a, VersionState::Loading),
        served("roofs", 0x1c, VersionState::Refused { reason }),
    ];
    let counts = ModelCounts {
        requests: 1240,
        answered: 1234,
        ..ModelCounts::default()
    };
    stage.networks.counts.lock().expect("no panic").models = [("scenes".into(), counts)].into();
    vec![
        view(
            "scenes",
            vec![
                version("scenes", 0x11, ModelState::Retired, 0.8125, hours(90)),
                version("scenes", 0x12, ModelState::Retired, 0.84, hours(50)),
                version("scenes", 0x3f, ModelState::Active, 0.875, hours(26)),
                version("scenes", 0x4e, ModelState::Shadow, 0.8875, hours(3)),
                version("scenes", 0x5d, ModelState::Candidate, 0.5, hours(1)),
            ],
        ),
        view("crops", vec![version("crops", 0x2a, ModelState::Active, 0.9, hours(0))]),
        view(
            "roofs",
            vec![version("roofs", 0x1c, ModelState::Active, 0.75, hours(5))],
        ),
        view("new", Vec::new()),
    ]
}

fn trainings(stage: &Stage) -> Vec<TrainingView> {
    let text = "state_dir: /s\ndatasets: [{ name: a, kind: tiles, incoming: /in, model: scenes, samples: { id: i, image: x, \
                label: y, shape: [1, 8, 8] } }]\nmodels: [{ name: scenes, incoming: /m, train: {} }]\n";
    let config = forecastd_config::Config::parse(text, std::path::Path::new("/")).expect("a good file");
    stage.metrics.models_configured(&config.models);
    stage.metrics.training(&TrainingProgress {
        model: "scenes".into(),
        stage: TrainingStage::Trials,
        done: 3,
        of: 12,
        best: Some(0.8625),
        trials: 4,
        seconds_left: 900.0,
    });
    let idle = |model: &str| TrainingView {
        model: model.into(),
        under_way: None,
        obstacle: None,
        succeeded: None,
        failed: None,
    };
    let minutes = |minutes: i64| Timestamp(NOW.0 - minutes * 60_000_000_000);
    let under_way = UnderWay {
        begun: minutes(12),
        words: "214 labels are new or revised since the last training".to_owned(),
    };
    let failure = TrainingFailure {
        fault: TrainingFault::NoChild,
        detail: "forecastd-torch not found".to_owned(),
    };
    vec![
        TrainingView {
            under_way: Some(under_way),
            ..idle("scenes")
        },
        TrainingView {
            failed: Some((minutes(30), failure)),
            succeeded: Some(minutes(3000)),
            ..idle("roofs")
        },
        TrainingView {
            obstacle: Some(TrainingObstacle::NoValidation),
            ..idle("new")
        },
    ]
}

#[test]
fn the_page_for_people_says_of_each_model_what_answers_and_what_is_trained() {
    let stage = Stage::new(1000);
    stage.publish_models(models(&stage));
    let snapshot = Snapshot::clone(&stage.snapshots.borrow());
    let trainings = trainings(&stage);
    stage
        .snapshots
        .send_replace(Arc::new(Snapshot { trainings, ..snapshot }));
    let html = landing::page(&stage.exposition, &*stage.networks, NOW);
    let table = html.split("<h2>Models</h2>").nth(1).expect("models");
    insta::assert_snapshot!(table.split("</table>").next().expect("a table"));
}

#[test]
fn a_service_that_only_serves_models_says_so_on_the_page_for_people() {
    let stage = Stage::new(1000);
    stage.publish_models(models(&stage));
    let page = || landing::page(&stage.exposition, &*stage.networks, NOW);
    assert!(page().contains("No dataset yet"), "they may still come");
    stage.readiness.send_replace(Readiness::Ready);
    let ready = page();
    assert!(
        ready.contains("answers requests for the models below") && !ready.contains("No dataset yet"),
        "{ready}"
    );
}

#[test]
fn networks_that_answer_without_onednn_are_told_on_the_page_for_people() {
    let stage = Stage::new(1000);
    stage.publish_models(models(&stage));
    let told = |onednn| {
        stage.networks.counts.lock().expect("no panic").child.onednn = onednn;
        landing::page(&stage.exposition, &*stage.networks, NOW).contains("without oneDNN")
    };
    assert_eq!([None, Some(true), Some(false)].map(told), [false, false, true]);
}

#[test]
fn a_hostile_channel_name_is_text_on_the_page_for_people() {
    let stage = Stage::new(1000);
    let name = "</table><script src=//evil>'\"\u{1b}";
    let mut odd = view(dataset("d"), vec![fit(name, 1.0, &[])]);
    odd.channels.get_mut(name).expect("it is there").anomaly = Some(2.0);
    stage.publish(vec![odd]);
    stage.metrics.unreadable("d", &name);
    let html = landing::page(&stage.exposition, &*stage.networks, NOW);
    assert!(!html.contains("<script") && !html.contains('\u{1b}'));
    assert_eq!(html.matches("&lt;script src=//evil&gt;&#39;&quot;").count(), 3);
}

#[test]
fn the_page_for_people_says_how_many_channels_it_does_not_show() {
    let stage = Stage::new(1000);
    let channels = (0..53).map(|i| fit(&format!("c{i:02}"), 1.0, &[])).collect();
    stage.publish(vec![view(dataset("d"), channels)]);
    let html = landing::page(&stage.exposition, &*stage.networks, NOW);
    assert_eq!(html.matches("<svg").count(), 50);
    assert!(html.contains("3 more channels are not shown"));
}
