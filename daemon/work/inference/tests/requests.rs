//! Requests: batched by pull, bounded, cancelled, answered by their deadline.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use forecastd_models::dasha::samples::{NO_CLASS, NO_SYMBOL};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_by_the_active_version_and_counted() {
    let story = Story::doubling(Limits::default()).await;
    assert_eq!(score(&story.ask(1.0).await), 2.0);
    let outcome = story.inference.infer(request(&[1.5, -2.0], LONG)).await;
    let answer = outcome.expect("it is answered");
    assert_eq!(answer.outputs, Outputs::Scores(vec![3.0, -4.0]));
    assert_eq!((&*answer.version, answer.batch), ("x2", 2));
    let counts = story.counts();
    assert_eq!((counts.requests, counts.answered, counts.samples), (2, 2, 3));
    assert_eq!(
        (counts.batches.count(), counts.batches.samples, counts.waiting),
        (2, 3, 0)
    );
    assert_eq!(counts.compute, Duration::from_micros(200));
    assert!(counts.failures.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_fill_of_a_shorter_sequence_nothing_is_said() {
    let story = Story::new("well", Limits::default(), quick());
    story.activate("m", "letters").await.expect("it is loaded");
    let request = InferenceRequest {
        count: 2,
        inputs: vec![0, 1, 1, 0, NO_SYMBOL, NO_SYMBOL],
        ..request(&[], LONG)
    };
    let answer = story.inference.infer(request).await.expect("it is answered");
    let expected = vec![1, 1, 1, 1, NO_CLASS, NO_CLASS];
    assert_eq!(
        answer.outputs,
        Outputs::Classes(expected),
        "its first batch has one of the two"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_batch_of_a_version_is_one_sample_because_nobody_knows_how_long_it_takes() {
    let limits = Limits {
        turn: Duration::from_millis(125),
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    let answer = story.inference.infer(request(&[fake::SLEEP + 50.0; 4], LONG)).await;
    // Of two samples each, after the one that told how long they take, and one that is left.
    assert!(answer.is_ok());
    assert_eq!(story.counts().batches.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_queues_up_while_the_child_works_is_one_batch_up_to_a_bound() {
    for (bound, expected) in [(64, vec![5; 5]), (3, vec![3, 3, 3, 2, 2])] {
        let limits = Limits {
            batch: bound,
            ..Limits::default()
        };
        let story = Story::doubling(limits).await;
        let outcomes = story.ask_together(&[1.0, 2.0, 3.0, 4.0, 5.5]).await;
        let batches: Vec<u32> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map_or(0, |answer| answer.batch))
            .collect();
        assert_eq!(batches, expected);
        let scores: Vec<f32> = outcomes.iter().map(score).collect();
        assert_eq!(scores, [2.0, 4.0, 6.0, 8.0, 11.0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_ask_again_at_once_come_to_share_a_batch_though_they_began_apart() {
    let story = Story::doubling(Limits::default()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let caller = || {
        let (inference, is_over) = (story.inference.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let patience = Instant::now() + LONG;
            while !is_over.load(Relaxed) {
                assert!(Instant::now() < patience, "each is computed alone for ever");
                let answer = inference.infer(request(&[fake::SLEEP + 10.0], LONG)).await;
                if answer.expect("it is answered").batch == 2 {
                    is_over.store(true, Relaxed);
                }
            }
        })
    };
    for caller in [caller(), caller()] {
        caller.await.expect("it shares a batch in the end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_is_computed_in_parts_and_keeps_nobody_waiting_for_all_of_it() {
    const PART: f32 = 100.0; // milliseconds
    let limits = Limits {
        batch: 1,
        compute: Duration::from_millis(700), // less than all parts take
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    let large: Vec<f32> = (0..10u8)
        .map(|place| fake::SLEEP + PART + f32::from(place) / 8.0)
        .collect();
    let before = story.counts().batches.count();
    let asked = story.begin(request(&large, LONG)).await;
    story
        .until("the first part", |story| story.counts().batches.count() > before)
        .await;
    assert_eq!(score(&story.ask(1.0).await), 2.0);
    assert!(!asked.is_finished(), "it came between");
    let answer = ended(asked).await.expect("it is answered");
    let doubled = large.iter().map(|sample| 2.0 * sample).collect();
    assert_eq!(answer.outputs, Outputs::Scores(doubled));
    assert!(answer.compute >= Duration::from_millis(1000), "{:?}", answer.compute);
    let counts = story.counts();
    assert_eq!((counts.requests, counts.samples, story.restarts()), (2, 11, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_another_version_waits_for_a_part_of_a_large_request_only() {
    let limits = Limits {
        batch: 1,
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    story.load("m", "x3").await.expect("it is loaded");
    let before = story.counts().batches.count();
    let large = story.begin(request(&[fake::SLEEP + 100.0; 10], LONG)).await;
    story
        .until("the first part", |story| story.counts().batches.count() > before)
        .await;
    let mut other = request(&[1.0], LONG);
    other.version = Some("x3".into());
    assert_eq!(score(&story.inference.infer(other).await), 3.0);
    assert!(!large.is_finished(), "it came between");
    assert!(ended(large).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_in_a_later_part_is_told_by_its_place_in_the_request() {
    let limits = Limits {
        batch: 2,
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    let samples = [1.0, 2.0, 3.0, fake::NOT_FINITE, 4.0];
    let told = error(&story.inference.infer(request(&samples, LONG)).await);
    assert_eq!(told.to_string(), "sample 3: output 0 is NaN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_whose_deadline_comes_is_computed_no_further() {
    let limits = Limits {
        batch: 1,
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    let large = request(&[fake::SLEEP + 100.0; 50], Duration::from_millis(150));
    let told = error(&story.inference.infer(large).await);
    let stage = Stage::Computing;
    assert_eq!(told, InferenceError::Deadline { stage });
    assert_eq!(score(&story.ask(1.0).await), 2.0);
    let batches = story.counts().batches.count();
    assert!(batches <= 4, "{batches} batches, of 50 parts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_no_larger_than_their_time_allows() {
    let limits = Limits {
        turn: Duration::from_millis(125),
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    // The one before them takes 50 ms.
    let outcomes = story.ask_together(&[1.0, 2.0, 3.0, 4.0]).await;
    let batches: Vec<u32> = outcomes.iter().flatten().map(|answer| answer.batch).collect();
    assert_eq!(batches, [2; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_answered_at_once_and_those_who_wait_are_served() {
    let limits = Limits {
        waiting: 2,
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    let busy = story.occupy(Duration::from_millis(300)).await;
    let waiting = [
        story.begin(request(&[1.0], LONG)).await,
        story.begin(request(&[2.0], LONG)).await,
    ];
    let refused = error(&story.ask(3.0).await);
    assert!(!busy.is_finished(), "it waited for its turn");
    assert_eq!(
        refused,
        InferenceError::Overloaded {
            model: "m".into(),
            waiting: 2
        }
    );
    for (task, expected) in waiting.into_iter().zip([2.0, 4.0]) {
        assert_eq!(score(&ended(task).await), expected);
    }
    assert_eq!(story.counts().failures.get("overload"), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_request_in_parts_waits_while_one_of_them_is_computed() {
    for limits in [
        Limits {
            waiting: 2,
            ..Limits::default()
        },
        Limits {
            waiting_bytes: 8,
            ..Limits::default()
        },
    ] {
        let story = Story::doubling(Limits { batch: 1, ..limits }).await;
        let before = story.counts().batches.count();
        let large = story.begin(request(&[fake::SLEEP + 300.0, 1.0, 2.0], LONG)).await;
        story
            .until("the first part", |story| story.counts().batches.count() > before)
            .await;
        assert_eq!(error(&story.ask(3.0).await).label(), "overload");
        assert!(ended(large).await.is_ok());
        assert_eq!(score(&story.ask(3.0).await), 6.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_over_a_later_part_costs_its_request_nothing_that_it_has() {
    let story = Story::doubling(Limits {
        batch: 2,
        ..Limits::default()
    })
    .await;
    let samples = [1.0, 2.0, 3.0, fake::ABORT_ONCE, 4.0];
    let answer = story.inference.infer(request(&samples, LONG)).await;
    let outputs = answer.expect("the next child computes it").outputs;
    assert_eq!(outputs, Outputs::Scores(samples.map(|sample| 2.0 * sample).to_vec()));
    assert_eq!((story.restarts(), story.counts().retried), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_parts_is_answered_by_one_version_though_another_takes_its_place_between_them() {
    let story = Story::doubling(Limits {
        batch: 1,
        ..Limits::default()
    })
    .await;
    let before = story.counts().batches.count();
    let samples = [fake::SLEEP + 200.0, 1.0, 2.0];
    let large = story.begin(request(&samples, LONG)).await;
    story
        .until("the first part", |story| story.counts().batches.count() > before)
        .await;
    story.activate("m", "x3").await.expect("it is loaded");
    assert_eq!(score(&story.ask(1.0).await), 3.0);
    let answer = ended(large).await.expect("it is answered");
    assert_eq!(&*answer.version, "x2");
    assert_eq!(
        answer.outputs,
        Outputs::Scores(samples.map(|sample| 2.0 * sample).to_vec())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_wait_are_bounded_over_all_versions() {
    let limits = Limits {
        waiting_bytes: 8,
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    story.load("m", "x3").await.expect("it is loaded");
    let _busy = story.occupy(Duration::from_millis(100)).await;
    let waiting = story.begin(request(&[1.0, 2.0], LONG)).await;
    let mut other = request(&[1.0], LONG);
    other.version = Some("x3".into());
    let refused = error(&story.inference.infer(other).await);
    assert_eq!(refused.label(), "overload");
    assert!(ended(waiting).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_deadline_comes_first_is_told_so_and_never_computed() {
    let story = Story::doubling(Limits::default()).await;
    let busy = story.occupy(Duration::from_millis(300)).await;
    let late = story.ask_within(1.0, Duration::from_millis(10)).await;
    assert_eq!(error(&late), InferenceError::Deadline { stage: Stage::Waiting });
    assert!(!busy.is_finished());
    assert!(ended(busy).await.is_ok());
    assert_eq!(score(&story.ask(2.0).await), 4.0);
    assert_eq!(story.counts().batches.samples, 2);
    assert_eq!(story.counts().waiting, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_hangs_costs_its_callers_no_more_than_their_deadline() {
    let story = Story::doubling(Limits::default()).await;
    let outcome = story.ask_within(fake::HANG, Duration::from_millis(50)).await;
    assert_eq!(
        error(&outcome),
        InferenceError::Deadline {
            stage: Stage::Computing
        }
    );
    assert_eq!(story.counts().failures.get("deadline"), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_waited_for_any_more_is_not_computed() {
    let story = Story::doubling(Limits::default()).await;
    let busy = story.occupy(Duration::from_millis(100)).await;
    let cancelled = story.begin(request(&[1.0], LONG)).await;
    cancelled.abort();
    assert!(cancelled.await.is_err());
    let asked = story.begin(request(&[2.0], LONG)).await;
    assert!(ended(busy).await.is_ok());
    assert_eq!(ended(asked).await.expect("it is answered").batch, 1);
    let counts = story.counts();
    assert_eq!((counts.requests, counts.answered, counts.cancelled), (3, 2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_no_network_takes_is_refused_in_words() {
    let story = Story::doubling(Limits::default()).await;
    let told = |request: InferenceRequest| {
        let inference = story.inference.clone();
        async move { error(&inference.infer(request).await) }
    };
    let mut cut = request(&[1.0], LONG);
    cut.inputs.pop();
    let cut = told(cut).await;
    assert_eq!(
        (cut.label(), cut.to_string()),
        ("input", "3 bytes for 1 samples; the model takes 4 each".to_owned())
    );
    let none = told(request(&[], LONG)).await;
    assert!(none.to_string().contains("without samples"), "{none}");
    let strange = told(request(&[1.0, f32::NAN], LONG)).await;
    assert!(
        strange.to_string().contains("sample 1: band 0, position 0: NaN"),
        "{strange}"
    );
    let mut unknown = request(&[1.0], LONG);
    unknown.model = "n".into();
    assert_eq!(told(unknown).await, InferenceError::UnknownModel { model: "n".into() });
    let mut version = request(&[1.0], LONG);
    version.version = Some("x9".into());
    assert!(matches!(told(version).await, InferenceError::UnknownVersion { .. }));
    assert_eq!(story.inference.counts().models.len(), 1, "clients name no metrics");
    assert_eq!(story.counts().failures.get("input"), Some(&3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_a_batch_is_found_and_fails_alone() {
    let story = Story::doubling(Limits::default()).await;
    let outcomes = story
        .ask_together(&[1.0, 2.0, fake::BREAK_BATCH, 4.0, fake::NOT_FINITE, 6.0])
        .await;
    for place in [0, 1, 3, 5] {
        assert_eq!(score(&outcomes[place]), 2.0 * (place + 1) as f32);
    }
    assert_eq!(error(&outcomes[2]).to_string(), "libtorch: out of memory");
    assert_eq!(error(&outcomes[4]).to_string(), "sample 0: output 0 is NaN");
    assert_eq!(story.counts().failures.get("failed"), Some(&2));
    assert_eq!(story.restarts(), 0);
}
