//! Data whose class hangs on a motif of known extent.

use forecastd_models::dasha::{BackboneChoice, DashaEvent, KernelPattern};

use crate::child::events;
use crate::folder::{GAP, job, planted};

/// The kernels that are found for two bumps [`GAP`] apart, of 3 and 11 taps, with nothing to prefer either.
fn found(seed: u64) -> KernelPattern {
    let mut job = job(&[3, 11], seed);
    job.backbone = BackboneChoice::WideResnet;
    job.batch = Some(64);
    job.budget.search_epochs = 12;
    job.budget.search_part = 1.0;
    job.budget.trials = 0;
    job.budget.retrain_epochs = 1;
    let folder = planted(900, 64, seed).folder(&job);
    let found = events(folder.path()).into_iter().find_map(|event| match event {
        DashaEvent::Searched { pattern, .. } => Some(pattern),
        _ => None,
    });
    found.expect("kernels were chosen")
}

/// Seeds of which most convolutions got a kernel that sees both bumps.
fn covered(seeds: impl Iterator<Item = u64>) -> usize {
    let covers = |seed: &u64| {
        let pattern = found(*seed);
        let covering = pattern.0.iter().filter(|kernel| u64::from(kernel.extent()) > GAP);
        let is_most = covering.count() >= 7; // of nine; half where nothing is preferred
        if !is_most {
            eprintln!("seed {seed}: {pattern}");
        }
        is_most
    };
    seeds.filter(covers).count()
}

#[test]
fn kernels_that_are_found_cover_a_planted_motif() {
    assert_eq!(covered(1..=2), 2);
}

#[test]
#[ignore = "minutes; `make endurance` runs it"]
fn kernels_that_are_found_cover_a_planted_motif_for_nine_of_ten_seeds() {
    let covered = covered(1..=10);
    assert!(covered >= 9, "{covered} of 10");
}
