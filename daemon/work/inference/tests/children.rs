//! Children that end, hang, lie, or are not there.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_child_ended_over_is_answered_by_the_next() {
    let story = Story::doubling(Limits::default()).await;
    assert_eq!(score(&story.ask(fake::ABORT_ONCE).await), 198.0);
    let counts = story.counts();
    assert_eq!((counts.retried, story.restarts()), (1, 1));
    assert!(counts.failures.is_empty(), "{counts:?}");
    let child = story.inference.counts().child;
    assert!(child.up && child.last_error.is_none(), "{child:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_ends_children_is_found_among_others_and_fails_alone() {
    let story = Story::doubling(Limits::default()).await;
    let outcomes = story
        .ask_together(&[1.0, 2.0, 3.0, 4.0, 5.5, fake::ABORT, 7.5, 8.0])
        .await;
    for (place, expected) in [2.0, 4.0, 6.0, 8.0, 11.0, 0.0, 15.0, 16.0].into_iter().enumerate() {
        if place != 5 {
            assert_eq!(score(&outcomes[place]), expected);
        }
    }
    // Twice as eight, then as four, two and one.
    let poison = error(&outcomes[5]);
    assert!(
        matches!(&poison, InferenceError::Poison { deaths: 5, how } if how.contains("SIGABRT")),
        "{poison}"
    );
    assert_eq!(story.restarts(), 5);
    assert_eq!(score(&story.ask(9.0).await), 18.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_which_children_hang_is_given_up_and_others_are_served() {
    let limits = Limits {
        compute: Duration::from_millis(100),
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    let outcome = story.ask(fake::HANG).await;
    let told = error(&outcome).to_string();
    assert!(
        told.contains("ended 2 times over this request: did not end a batch within 100ms (signal: 9"),
        "{told}"
    );
    assert_eq!(score(&story.ask(1.0).await), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_do_not_add_up_are_nobodys_answer() {
    let story = Story::doubling(Limits::default()).await;
    for strange in [fake::MISCOUNT, fake::MISPLACE] {
        let told = error(&story.ask(strange).await).to_string();
        assert!(told.contains("answered what cannot be true"), "{told}");
        assert_eq!(score(&story.ask(1.0).await), 2.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_hangs_without_work_is_replaced_before_it_is_asked() {
    let brief = Duration::from_millis(50);
    for (manner, pace, expected) in [
        (
            "say nothing",
            Pace {
                hello: brief,
                ..quick()
            },
            "said nothing for 50ms",
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
                stop_within: brief,
                ..quick()
            },
            "left a ping unanswered for 50ms",
        ),
        ("crash at once", quick(), "ended (exit status: 3)"),
        ("speak another protocol", quick(), "speaks protocol 3, the daemon 2"),
    ] {
        let story = Story::new(manner, Limits::default(), pace);
        let inference = story.inference.clone();
        let folder = story.artifact("endless");
        let loading = tokio::spawn(async move { inference.load("m", "endless", folder).await });
        story
            .until(manner, |story| {
                let child = story.inference.counts().child;
                child.last_error.is_some_and(|error| error.contains(expected))
            })
            .await;
        loading.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_executable_everybody_is_told_at_once() {
    let torch = Torch {
        start: forecastd_config::TorchStart::OnDemand,
        executable: Some("/nowhere/forecastd-torch".into()),
        fit: forecastd_config::TorchFit::Never,
    };
    let inference = Inference::start(&torch, NonZeroUsize::MIN, Limits::default());
    for _ in 0..3 {
        let told = inference.activate("m", "1", "/nowhere/1".into()).await;
        let told = told.expect_err("there is no child").to_string();
        assert!(told.contains("/nowhere/forecastd-torch not found"), "{told}");
    }
    let asked = error(&inference.infer(request(&[1.0], LONG)).await);
    assert_eq!(asked, InferenceError::UnknownModel { model: "m".into() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_children_that_never_greet_is_told_why() {
    for (manner, expected) in [
        ("crash at once", "the libtorch child ended (exit status: 3)"),
        ("speak another protocol", "install both from one build"),
    ] {
        let story = Story::new(manner, Limits::default(), quick());
        for _ in 0..2 {
            let loading = story.inference.load("m", "endless", story.artifact("endless"));
            let told = tokio::time::timeout(LONG, loading).await.expect("it is told");
            let told = told.expect_err("there is no child").to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_children_that_end_under_load_cost_no_request() {
    let story = Arc::new(Story::doubling(Limits::default()).await);
    let mut clients = Vec::new();
    for client in 0..8 {
        let story = Arc::clone(&story);
        clients.push(tokio::spawn(async move {
            let mut asked = 0;
            while story.restarts() < 50 {
                let sample = (client * 10) as f32 + 0.5;
                assert_eq!(score(&story.ask(sample).await), 2.0 * sample);
                asked += 1;
            }
            asked
        }));
    }
    let pid = story.artifact("x2").join("pid");
    while story.restarts() < 50 {
        // One kill a batch at most, or the same few requests are killed twice, which is another story.
        let asked = story.counts().batches.count();
        story
            .until("some work", |story| story.counts().batches.count() > asked + 3)
            .await;
        let (before, child) = (story.restarts(), std::fs::read_to_string(&pid));
        if let Some(child) = child
            .ok()
            .and_then(|text| rustix::process::Pid::from_raw(text.parse().ok()?))
        {
            let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL); // it may have ended
        }
        story.until("the next child", |story| story.restarts() > before).await;
    }
    let mut asked = 0;
    for client in clients {
        asked += client.await.expect("every request is answered");
    }
    let counts = story.counts();
    assert_eq!((counts.requests, counts.answered), (asked, asked));
    assert!(counts.retried > 0 && counts.failures.is_empty(), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_ends_with_the_last_handle_and_callers_are_told() {
    let story = Story::doubling(Limits::default()).await;
    let pid = std::fs::read_to_string(story.artifact("x2").join("pid")).expect("the child wrote it");
    let Story { inference, folder } = story;
    drop(inference);
    let stat = format!("/proc/{pid}/stat");
    let patience = Instant::now() + LONG;
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < patience, "it lives on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(folder);
}
