//! The daemon under load, over HTTP and with the real child: a hundred requests a second and scrapes, while versions are
//! promoted and rolled back, and while children are killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::endpoint::{Story, TOKEN, change, probabilities};
use crate::support::http::{Answer, ask};
use crate::support::network::scaled;
use crate::support::{Daemon, Page, child_of, resident, try_get, wait_for};

/// Clients at once, and how many requests they send in a second, all together.
const CLIENTS: usize = 4;
const RATE: u32 = 100;

/// From one request of a client to its next.
const PERIOD: Duration = Duration::from_millis(1000 * CLIENTS as u64 / RATE as u64);

/// What a client gives a request, longer than two restarts take on a machine that does much else.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What an answer may take beyond it, to be made and sent.
const GRACE: Duration = Duration::from_secs(5);

/// Time between two scrapes.
const SCRAPE: Duration = Duration::from_millis(100);

/// What a version says of each sequence: its name, and the probabilities of both classes.
type Said = (String, Vec<Vec<f32>>);

/// Clients and a scraper, until they are told to stop.
struct Load {
    go_on: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Seen>>,
    scraper: JoinHandle<u64>,
    since: Instant,
}

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    /// What was said instead of an answer, and with which status.
    failures: Vec<(u16, String)>,
    slowest: Duration,
}

impl Load {
    /// Each client asks about a sequence of its own, and fails if the answer is not what one of these versions says.
    fn start(daemon: &Daemon, sequences: &[String], said: Vec<Said>) -> Self {
        let (go_on, answered) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (address, said) = (daemon.address(), Arc::new(said));
        let client = |client: usize| {
            let (go_on, answered, said) = (Arc::clone(&go_on), Arc::clone(&answered), Arc::clone(&said));
            let body = question(&sequences[client]);
            let one = move || {
                let answer = ask(address, "POST", "/v2/models/motif/infer", &[], body.as_bytes());
                if answer.status != 200 {
                    return Err(refusal(&answer));
                }
                check(&answer.json(), client, &said);
                answered.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            spawn(move || keep_asking(one, &go_on))
        };
        let clients = (0..CLIENTS).map(client).collect();
        let going_on = Arc::clone(&go_on);
        let scraper = spawn(move || keep_scraping(address, &going_on));
        Self {
            go_on,
            answered,
            clients,
            scraper,
            since: Instant::now(),
        }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// What all of them saw, how many answers they had in a second, and what they did in words.
    fn end(self) -> (Seen, f64, String) {
        self.go_on.store(false, Ordering::Relaxed);
        let (lasted, answered) = (self.since.elapsed(), Arc::clone(&self.answered));
        let mut all = Seen::default();
        for client in self.clients {
            let seen = client.join().unwrap();
            all.failures.extend(seen.failures);
            all.slowest = all.slowest.max(seen.slowest);
        }
        let scrapes = self.scraper.join().unwrap();
        let answered = answered.load(Ordering::Relaxed);
        let rate = answered as f64 / lasted.as_secs_f64();
        let words = format!(
            "{answered} answers in {lasted:.1?}, {rate:.0} a second, the slowest after {:.1?}; {scrapes} scrapes; {} failures",
            all.slowest,
            all.failures.len()
        );
        assert!(answered > 0 && scrapes > 0, "{words}");
        (all, rate, words)
    }
}

fn question(sequence: &str) -> String {
    let input = json!({ "name": "input", "datatype": "BYTES", "shape": [1], "data": [sequence] });
    json!({ "parameters": { "timeout": TIMEOUT.as_micros() as u64 }, "inputs": [input] }).to_string()
}

fn refusal(answer: &Answer) -> (u16, String) {
    let error = answer.json()["error"].as_str().map(str::to_owned);
    (answer.status, error.unwrap_or_else(|| panic!("{answer:?}")))
}

/// An answer is that of the version that it names, and of no other.
fn check(answer: &Value, client: usize, said: &[Said]) {
    let version = answer["model_version"].as_str().unwrap();
    let (_, expected) = said.iter().find(|(known, _)| known == version).unwrap();
    let found = &probabilities(answer)[0];
    let mut pairs = found.iter().zip(&expected[client]);
    assert!(
        pairs.all(|(found, expected)| (found - expected).abs() < 1e-5),
        "{version}: {found:?} {:?}",
        expected[client]
    );
}

/// A client: asks at its times, or as soon as the last answer has come where that is later; what is late is made up for.
fn keep_asking(ask: impl Fn() -> Result<(), (u16, String)>, go_on: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut next = Instant::now();
    while go_on.load(Ordering::Relaxed) {
        sleep(next.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        next += PERIOD;
        if let Err(failure) = ask() {
            seen.failures.push(failure);
        }
        let took = asked.elapsed();
        assert!(took < TIMEOUT + GRACE, "an answer after {took:?}");
        seen.slowest = seen.slowest.max(took);
    }
    seen
}

/// Scrapes; how often.
fn keep_scraping(address: SocketAddr, go_on: &AtomicBool) -> u64 {
    let mut scrapes = 0;
    while go_on.load(Ordering::Relaxed) {
        let (status, page) = try_get(address, "/metrics").unwrap();
        assert_eq!(status, 200, "{page}");
        let page = Page::parse(&page);
        assert_eq!(
            page.get("forecastd_model_versions", &[("model", "motif"), ("state", "active")]),
            Some(1.0)
        );
        scrapes += 1;
        sleep(SCRAPE);
    }
    scrapes
}

fn restarts(daemon: &Daemon) -> f64 {
    daemon
        .scrape()
        .get("forecastd_inference_child_restarts_total", &[])
        .unwrap()
}

/// Nobody but the clients of this load asks, so what the daemon counts is what they saw.
fn assert_counted(daemon: &Daemon, answered: u64, failures: usize) {
    let page = daemon.scrape();
    let model = [("model", "motif")];
    let requests = page.get("forecastd_inference_requests_total", &model);
    assert_eq!(requests, Some(answered as f64 + failures as f64));
    assert_eq!(page.sum("forecastd_inference_request_failures_total"), failures as f64);
}

/// Lets two versions answer in turn, so often, while clients ask. Answers a second, and memory of daemon and child in MiB,
/// after a tenth of the swaps and in the end.
fn swap_under_load(story: &Story, swaps: u64) -> (f64, [[u64; 2]; 2]) {
    let two = story.environment.path("two");
    scaled(&story.one, &two, 1.25);
    let daemon = story.environment.start();
    let artifacts = [story.one.clone(), two];
    let [first, second] = [0, 1].map(|number: usize| story.drop_artifact(&artifacts[number]));
    wait_for("both versions", || {
        let shown: Value = serde_json::from_str(&daemon.get("/api/v1/models/motif").1).unwrap();
        (shown["versions"].as_array()?.len() == 2).then_some(())
    });
    let wish = |act: &str, wish: &Value| {
        let answer = change(&daemon, act, TOKEN, wish);
        assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    };
    wish("promote", &json!({ "version": first }));
    story.until_it_answers(&daemon, &first);
    let (sequences, one) = story.predicted(&artifacts[0]);
    let (_, other) = story.predicted(&artifacts[1]);
    for (one, other) in one.iter().zip(&other).take(CLIENTS) {
        assert!(
            (one[0] - other[0]).abs() > 1e-4,
            "nobody could tell who answered: {one:?} {other:?}"
        );
    }

    let load = Load::start(&daemon, &sequences, vec![(first.clone(), one), (second.clone(), other)]);
    let child = child_of(daemon.pid(), "forecastd-torch").unwrap() as u32;
    let memory = || [daemon.pid(), child].map(resident);
    let mut early = memory();
    for swap in 1..=swaps {
        if swap % 2 == 1 {
            wish("promote", &json!({ "version": second, "reason": "its turn" }));
            story.until_it_answers(&daemon, &second);
        } else {
            wish("rollback", &json!({ "reason": "its turn" }));
            story.until_it_answers(&daemon, &first);
        }
        if swap == swaps.div_ceil(10) {
            early = memory();
        }
    }
    let late = memory();
    let answered = Arc::clone(&load.answered);
    let (seen, rate, words) = load.end();
    println!("{swaps} swaps, {words}; MiB of daemon and child {early:?} then {late:?}");
    assert!(seen.failures.is_empty(), "{:?}\n{}", seen.failures, daemon.log());
    assert_counted(&daemon, answered.load(Ordering::Relaxed), 0);
    let swapped = daemon
        .scrape()
        .get("forecastd_inference_swaps_total", &[("model", "motif")]);
    assert_eq!((swapped, restarts(&daemon)), (Some(swaps as f64), 0.0));
    assert!(daemon.stop().success());
    story.environment.fsck();
    (rate, [early, late])
}

#[test]
fn promotions_and_rollbacks_under_load_fail_no_request() {
    let Some(story) = Story::new("promotion: { to: candidate }") else {
        return;
    };
    swap_under_load(&story, 20);
}

#[test]
#[ignore = "minutes; `make endurance` runs it"]
fn a_thousand_promotions_and_rollbacks_under_load_fail_no_request_and_memory_stays_flat() {
    let Some(story) = Story::new("promotion: { to: candidate }") else {
        return;
    };
    let (rate, [early, late]) = swap_under_load(&story, 1000);
    assert!(
        rate > 0.9 * f64::from(RATE),
        "{rate:.0} answers a second, where {RATE} were asked for: that was no load"
    );
    for (early, late) in early.into_iter().zip(late) {
        assert!(late < early + 32, "{early} MiB became {late}");
    }
}

/// Kills the serving child so often while clients ask, every other time with all their requests in its hands. Each is
/// answered in time, or told that children ended over its request: who kills blindly may well hit the same one twice.
/// Nothing is said of a rate: while there is no child, all clients wait for the next.
fn kill_under_load(story: &Story, kills: u64) {
    let daemon = story.environment.start();
    let version = story.drop_artifact(&story.one);
    story.until_it_answers(&daemon, &version);
    let (sequences, said) = story.predicted(&story.one);
    let load = Load::start(&daemon, &sequences, vec![(version, said)]);
    for kill in 1..=kills {
        let before = load.answered();
        wait_for("answers", || (load.answered() > before + 20).then_some(()));
        let child = child_of(daemon.pid(), "forecastd-torch")
            .and_then(Pid::from_raw)
            .unwrap();
        if kill % 2 == 1 {
            kill_process(child, Signal::STOP).unwrap();
            wait_for("every client to wait for it", || {
                let before = load.answered();
                sleep(5 * PERIOD);
                (load.answered() == before).then_some(())
            });
        }
        kill_process(child, Signal::KILL).unwrap();
        wait_for("the next child", || (restarts(&daemon) >= kill as f64).then_some(()));
    }
    let before = load.answered();
    wait_for("answers after all", || (load.answered() > before + 20).then_some(()));
    let answered = Arc::clone(&load.answered);
    let (seen, _, words) = load.end();
    println!("{kills} kills, {words}: {:?}", seen.failures);
    for (status, error) in &seen.failures {
        let poison = *status == 500 && error.contains("the serving process ended");
        let late = *status == 504 && error.contains("no answer by the deadline");
        assert!(poison || late, "{status}: {error}");
    }
    assert_counted(&daemon, answered.load(Ordering::Relaxed), seen.failures.len());
    assert_eq!(restarts(&daemon), kills as f64);
    assert!(daemon.stop().success(), "it is the daemon that was started");
    story.environment.fsck();
}

#[test]
fn every_request_is_answered_or_fails_in_time_while_children_are_killed() {
    let Some(story) = Story::new("promotion: { to: active }") else {
        return;
    };
    kill_under_load(&story, 3);
}

#[test]
#[ignore = "minutes; `make endurance` runs it"]
fn every_request_is_answered_or_fails_in_time_while_fifty_children_are_killed() {
    let Some(story) = Story::new("promotion: { to: active }") else {
        return;
    };
    kill_under_load(&story, 50);
}
