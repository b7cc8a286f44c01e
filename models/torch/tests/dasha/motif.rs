//! Data whose class hangs on a motif of known extent.

use forecastd_models::dasha::{BackboneChoice, DashaEvent, KernelPattern};

use crate::child::events;
use crate::folder::{GAP, job, planted_pair};

/// The gap of the control: kernels of three taps see both bumps.
const NARROW: u64 = 2;

/// The kernels that are found for two bumps so far apart, of 3 and 11 taps, with nothing to prefer either.
fn found(gap: u64, seed: u64) -> KernelPattern {
    let mut job = job(&[3, 11], seed);
    job.backbone = BackboneChoice::WideResnet;
    job.batch = Some(64);
    job.budget.search_epochs = 12;
    job.budget.search_part = 1.0;
    job.budget.trials = 0;
    job.budget.retrain_epochs = 1;
    let folder = planted_pair(gap, 900, 64, seed).folder(&job);
    let found = events(folder.path()).into_iter().find_map(|event| match event {
        DashaEvent::Searched { pattern, .. } => Some(pattern),
        _ => None,
    });
    found.expect("kernels were chosen")
}

/// Convolutions, of nine, whose kernel sees two bumps [`GAP`] apart.
fn covering(pattern: &KernelPattern) -> usize {
    let covers = |extent: u32| u64::from(extent) > GAP;
    pattern.0.iter().filter(|kernel| covers(kernel.extent())).count()
}

/// Seeds of which most convolutions got a kernel that sees both bumps.
fn covered(seeds: impl Iterator<Item = u64>) -> usize {
    let covers = |seed: &u64| {
        let pattern = found(GAP, *seed);
        let narrow = found(NARROW, *seed);
        eprintln!(
            "seed {seed}: {pattern} {} narrow {narrow} {}",
            covering(&pattern),
            covering(&narrow)
        );
        covering(&pattern) >= 7 // half where nothing is preferred
    };
    seeds.filter(covers).count()
}

#[test]
fn kernels_that_are_found_cover_a_planted_motif() {
    assert_eq!(covered(1..=6), 2);
}
