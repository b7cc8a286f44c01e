//! The supervisor against children of all manners. No manner may hang a caller or be left behind.

use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use forecastd_models::frame::MAX_BODY;

use forecastd_config::TorchFit;

use super::*;

/// Longer than anything here takes; only a test that fails waits for it.
const LONG: Duration = Duration::from_secs(60);

/// A patience fit for tests.
pub(super) fn quick() -> Pace {
    Pace {
        hello: Duration::from_secs(20), // a loaded machine takes its time to start a process
        ping_every: Duration::from_millis(10),
        ping_within: Duration::from_secs(20),
        first_wait: Duration::from_millis(10),
        longest_wait: Duration::from_millis(100),
        healthy_after: LONG,
        stop_within: LONG,
    }
}

/// A supervised fake child, and what is said of it.
fn start(manner: &'static str, always: bool, pace: Pace) -> (TorchProcess, Receiver<TorchStatus>) {
    let (report, statuses) = channel();
    let launch = Box::new(move || fake::command(manner));
    let torch = TorchProcess::supervise(launch, always, pace, move |status| drop(report.send(status)));
    (torch.expect("a thread"), statuses)
}

/// A fake child that starts with the first job, for the rooms that ask one.
pub(in crate::work) fn fake_child(manner: &'static str) -> TorchProcess {
    start(manner, false, quick()).0
}

fn until(statuses: &Receiver<TorchStatus>, wanted: impl Fn(&TorchStatus) -> bool) -> TorchStatus {
    loop {
        let status = statuses.recv_timeout(LONG).expect("the wanted status comes");
        if wanted(&status) {
            return status;
        }
    }
}

fn last_error(status: &TorchStatus) -> &str {
    status.last_error.as_deref().unwrap_or_default()
}

#[test]
fn a_child_starts_with_the_first_call_and_ends_with_its_supervisor() {
    let (torch, statuses) = start("well", false, quick());
    torch.smoke(LONG).expect("the fake can solve it");
    torch.smoke(LONG).expect("and again");
    drop(torch);
    let said: Vec<TorchStatus> = statuses.iter().collect();
    let up = TorchStatus {
        up: true,
        restarts: 0,
        version: Some("2.11.0".to_owned()),
        device: Some("cpu".to_owned()),
        onednn: Some(false),
        last_error: None,
    };
    let down = TorchStatus {
        up: false,
        ..up.clone()
    };
    assert_eq!(said, [up, down]);
}

#[test]
fn a_child_that_is_always_wanted_is_there_without_a_call() {
    let (_torch, statuses) = start("well", true, quick());
    until(&statuses, |status| status.up);
}

#[test]
fn a_call_learns_how_its_child_came_to_its_end() {
    let cases = [
        (
            "crash at once",
            "libtorch gave no answer within 300ms: there is no child, the last one ended (exit status: 3)",
        ),
        (
            "speak another protocol",
            "there is no child, the last one speaks protocol 4, the daemon 3",
        ),
        (
            "babble",
            "there is no child, the last one broke off: a frame of 4294967295 bytes",
        ),
        ("crash in a job", "the libtorch child ended (signal: 6 (SIGABRT)"),
        (
            "answer another question",
            "the libtorch child answered what nobody asked",
        ),
        ("fail", "libtorch: out of memory"),
        ("miscalculate", "do not trust this machine's numbers"),
    ];
    for (manner, expected) in cases {
        let dies_first = expected.contains("there is no child");
        let (torch, statuses) = start(manner, dies_first, quick());
        if dies_first {
            until(&statuses, |status| status.restarts > 1); // it has died often enough by now
        }
        let error = torch
            .smoke(if dies_first { Duration::from_millis(300) } else { LONG })
            .expect_err(manner)
            .to_string();
        assert!(error.contains(expected), "{manner}: {error}");
    }
}

#[test]
fn a_child_that_hangs_is_killed_and_another_one_started() {
    let brief = Duration::from_millis(50);
    let cases = [
        (
            "say nothing",
            Pace {
                hello: brief,
                ..quick()
            },
            "said nothing for 50ms (signal: 9 (SIGKILL))",
        ),
        (
            "forget pings",
            Pace {
                ping_within: brief,
                ..quick()
            },
            "left a ping unanswered for 50ms",
        ),
        (
            "stop still",
            Pace {
                ping_within: brief,
                ..quick()
            },
            "left a ping unanswered for 50ms",
        ),
    ];
    for (manner, pace, expected) in cases {
        let stop_within = brief; // one that stands still when the test ends hears no SIGTERM
        let (_torch, statuses) = start(manner, true, Pace { stop_within, ..pace });
        let status = until(&statuses, |status| status.last_error.is_some());
        assert!(
            last_error(&status).contains(expected) && !status.up,
            "{manner}: {status:?}"
        );
        until(&statuses, |status| status.restarts > 1);
    }
}

#[test]
fn a_job_that_never_ends_costs_its_caller_the_deadline_and_the_child_its_life() {
    let (torch, statuses) = start("sit on jobs", true, quick());
    until(&statuses, |status| status.up);
    let within = Duration::from_millis(50);
    assert_eq!(torch.smoke(within), Err(TorchError::Deadline { within, reason: None }));
    let status = until(&statuses, |status| !status.up);
    assert!(
        last_error(&status).starts_with("did not end its job within 50ms"),
        "{status:?}"
    );
    assert_eq!(until(&statuses, |status| status.up).restarts, 1);
}

#[test]
fn a_child_that_ignores_a_polite_end_is_killed() {
    let stop_within = Duration::from_millis(20);
    let (torch, statuses) = start("stop still", true, Pace { stop_within, ..quick() });
    until(&statuses, |status| status.up);
    drop(torch); // hangs if the child is not killed
}

#[test]
fn callers_who_wait_when_the_daemon_stops_are_told_so() {
    let (torch, statuses) = start("sit on jobs", true, quick());
    until(&statuses, |status| status.up);
    let (answer, answered) = sync_channel(1);
    let call = Call {
        request: RequestBody::Smoke { size: 1 }.into(),
        within: LONG,
        deadline: Instant::now() + LONG,
        answer,
    };
    torch.events.send(Event::Call(call)).expect("the supervisor lives");
    drop(torch);
    assert_eq!(answered.recv(), Ok(Err(TorchError::Stopping)));
}

#[test]
fn a_job_too_large_for_a_frame_is_refused_and_the_child_lives_on() {
    let (torch, statuses) = start("well", false, quick());
    let request = Frame {
        header: RequestBody::Smoke { size: 1 },
        slices: vec![vec![0; MAX_BODY]],
    };
    let refused = torch.call(request, LONG).expect_err("it is too long").to_string();
    assert!(refused.contains("at most 268435456 are taken"), "{refused}");
    torch.smoke(LONG).expect("the same child serves on");
    drop(torch);
    assert!(
        statuses
            .iter()
            .all(|status| status.restarts == 0 && status.last_error.is_none())
    );
}

#[test]
fn an_absent_executable_is_said_once_and_answered_at_once() {
    let (report, statuses) = channel();
    let torch = Torch {
        start: TorchStart::OnDemand,
        executable: Some("/nowhere/forecastd-torch".into()),
        fit: TorchFit::Never,
    };
    let torch = TorchProcess::start(&torch, NonZeroUsize::MIN, move |status| drop(report.send(status)));
    let torch = torch.expect("a thread");
    for _ in 0..3 {
        let error = torch.smoke(LONG).expect_err("nothing to start").to_string();
        assert!(error.contains("/nowhere/forecastd-torch not found"), "{error}");
    }
    drop(torch);
    let said: Vec<TorchStatus> = statuses.iter().collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(last_error(&said[0]).contains("/nowhere/forecastd-torch not found") && !said[0].up);
}

/// The child inherits the daemon's standard error, so that ends only when both are gone.
#[test]
fn a_child_never_outlives_a_daemon_that_was_killed() {
    let mut command = fake::command("be the daemon").expect("it is this executable");
    let mut daemon = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(daemon.stderr.take().expect("it is piped")).lines();
    let first = said.next().expect("it speaks").expect("it speaks UTF-8");
    assert_eq!(first, "the child is up");
    daemon.kill().expect("it lives");
    daemon.wait().expect("it ended");
    assert_eq!(said.count(), 0); // hangs if the child lives on
}

#[test]
fn the_real_child_computes_what_plain_rust_confirms() {
    let Some(torch) = fake::real() else {
        eprintln!("skipped: FORECASTD_TORCH names no executable of libtorch's side");
        return;
    };
    let (report, statuses) = channel();
    let torch = TorchProcess::start(&torch, NonZeroUsize::MIN, move |status| drop(report.send(status)));
    let torch = torch.expect("a thread");
    torch.smoke(LONG).expect("a sound libtorch");
    let too_much = torch
        .call(RequestBody::Smoke { size: u32::MAX }, LONG)
        .expect_err("it is refused");
    assert!(matches!(too_much, TorchError::Failed { .. }), "{too_much}");
    torch.smoke(LONG).expect("the child has survived that");
    drop(torch);
    let said: Vec<TorchStatus> = statuses.iter().collect();
    assert_eq!((said[0].up, said[0].version.as_deref()), (true, Some("2.11.0")));
    assert_eq!(said.iter().map(|status| status.restarts).max(), Some(0));
}
