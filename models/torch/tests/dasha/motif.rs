//! Data whose class hangs on a motif of known extent.

use forecastd_models::dasha::{BackboneChoice, DashaEvent, KernelPattern};

use crate::child::events;
use crate::folder::{GAP, job, planted_pair};

/// The gap of the control: kernels of three taps see both bumps, and the farther ones of the other class.
const NARROW: u64 = 1;

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
fn covering(gap: u64, seed: u64) -> usize {
    let pattern = found(gap, seed);
    eprintln!("bumps {gap} apart, seed {seed}: {pattern}");
    let kernels = pattern.0.iter();
    kernels.filter(|kernel| u64::from(kernel.extent()) > GAP).count()
}

#[test]
fn tmp() {
    for seed in 1..=5 {
        covering(NARROW, seed);
    }
}
