//! Runs that last.

use forecastd_models::dasha::{BackboneChoice, DashaEvent};

use crate::child::Run;
use crate::folder::{job, planted};

/// Steps of an epoch of the samples below.
const STEPS: u32 = 12;

/// How much more memory a training holds after so many steps than after the first sixty.
fn growth(steps: u32) -> usize {
    let mut job = job(&[3], 1);
    job.backbone = BackboneChoice::WideResnet;
    job.budget.search_epochs = 0;
    job.budget.trials = 0;
    job.budget.retrain_epochs = 1000;
    job.training.patience = 0;
    let folder = planted(600, 64, 1).folder(&job);
    let mut run = Run::start(folder.path());
    let mut warm = 0;
    while let Some(event) = run.next() {
        let DashaEvent::RetrainEpoch { epoch, .. } = event else {
            continue;
        };
        if epoch * STEPS == 60 {
            warm = run.resident();
        }
        if epoch * STEPS >= 60 + steps {
            return run.resident().saturating_sub(warm);
        }
    }
    panic!("it ended before");
}

#[test]
fn memory_stays_flat_over_a_hundred_steps() {
    let grown = growth(108);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
#[ignore = "a minute; `make endurance` runs it"]
fn memory_stays_flat_over_five_hundred_steps() {
    let grown = growth(504);
    assert!(grown < 16 << 20, "{grown} bytes more");
}
