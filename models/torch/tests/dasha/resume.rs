//! Runs that are killed.

use std::thread;
use std::time::{Duration, Instant};

use forecastd_models::dasha::card::StageSeconds;
use forecastd_models::dasha::{Card, DashaEvent, DashaJob, Random};

use crate::child::{Run, card, events};
use crate::folder::{Data, job, planted, variation};

fn prepared() -> (Data, DashaJob) {
    let mut job = job(&[3, 11], 7);
    job.budget.trials = 6; // four networks, and each variation once
    job.training.variations = ["plain", "silu+squeeze_excitation", "2x"].map(variation).to_vec();
    (planted(400, 40, 7), job)
}

/// All but what the clock says, and in how many pieces.
fn timeless(mut card: Card) -> Card {
    card.seconds = StageSeconds::default();
    card.environment.processes = 1;
    card
}

/// Kills a run so often, at instants spread over the time that it takes, and lets it end.
fn killed(kills: u32, seed: u64) {
    let (data, job) = prepared();
    let whole = data.folder(&job);
    let started = Instant::now();
    events(whole.path());
    let each = started.elapsed() / (kills + 1);

    let broken = data.folder(&job);
    let mut random = Random::new(seed);
    let mut lived = 0;
    for _ in 0..kills {
        let mut run = Run::start(broken.path());
        let _ = run.next(); // a process that only ever reads its data gets nowhere
        thread::sleep(each.mul_f64(random.uniform_in(0.2, 1.4)) + Duration::from_millis(1));
        if broken.path().join("artifact").exists() {
            break;
        }
        run.kill();
        lived += 1;
    }
    assert!(lived > 0, "it was never killed");
    let last = events(broken.path());
    assert!(matches!(last.last(), Some(DashaEvent::Finished { .. })), "{last:?}");
    assert_eq!(timeless(card(broken.path())), timeless(card(whole.path())));
}

#[test]
fn a_run_that_was_killed_three_times_ends_as_one_that_was_not() {
    killed(3, 1);
}

#[test]
#[ignore = "minutes; `make endurance` runs it"]
fn a_run_that_was_killed_ten_times_ends_as_one_that_was_not() {
    for seed in 1..=3 {
        killed(10, seed);
    }
}

#[test]
fn a_run_loses_one_epoch_at_most() {
    let (data, job) = prepared();
    let folder = data.folder(&job);
    let mut run = Run::start(folder.path());
    let is_third_epoch = |event: &DashaEvent| matches!(event, DashaEvent::SearchEpoch { epoch: 3, .. });
    while let Some(event) = run.next() {
        if is_third_epoch(&event) {
            break;
        }
    }
    run.kill();
    let later = events(folder.path());
    assert!(
        matches!(later[0], DashaEvent::Started { resumed: true, .. }),
        "{later:?}"
    );
    let is_of_the_first_frame = |event: &DashaEvent| matches!(event, DashaEvent::SearchEpoch { backbone, .. } if backbone.starts_with("resnet"));
    assert!(
        !later.iter().any(is_of_the_first_frame),
        "what was told is not done again: {later:?}"
    );
    assert_eq!(card(folder.path()).environment.processes, 2);
}

#[test]
fn a_finished_run_only_says_so_again() {
    let (data, job) = prepared();
    let folder = data.folder(&job);
    let first = events(folder.path());
    let again = events(folder.path());
    assert_eq!(again.len(), 2, "{again:?}");
    assert_eq!(first.last(), again.last());
}

#[test]
fn a_run_ends_when_its_parent_is_gone() {
    let (data, mut job) = prepared();
    job.budget.search_epochs = 100_000;
    let folder = data.folder(&job);
    let mut run = Run::start(folder.path());
    assert!(run.next().is_some());
    drop(run.stdin.take());
    let (events, is_good) = run.end();
    assert!(!is_good && !matches!(events.last(), Some(DashaEvent::Finished { .. })));
}
