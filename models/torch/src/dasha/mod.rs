//! `forecastd-torch --dasha FOLDER`: from labelled samples to a trained network, its scores and its history.
//!
//! | stage | does | on |
//! |---|---|---|
//! | `search` | DASH: kernels for each frame | training samples |
//! | `trials` | ASHA: which frame, whose kernels, which hyper-parameters | trained on training, scored on validation samples |
//! | `retrain` | the winner, from its initial weights, for longer; the best epoch is kept | the same |
//! | `finish` | all scores, the artifact | test samples, once |
//!
//! Nothing is ever chosen on test. The folder holds `job.json` and the samples; a `checkpoint` grows beside them, and
//! at the end the `artifact`. All state is on disk after every epoch, so that a killed run loses one at most. What is
//! random hangs on the job's seed, the stage and the epoch, never on what was drawn before, so that a run that was
//! killed ends as one that was not. Only with a time limit does the clock have a say in how much is done.

mod average;
pub mod bench;
mod evaluate;
mod finish;
mod journal;
mod learner;
mod optimizer;
mod precision;
mod retrain;
mod search;
mod setup;
mod state;
#[cfg(test)]
mod tests;
mod trials;

use std::path::Path;

use forecastd_models::dasha::DashaEvent;

pub use average::Average;
pub use optimizer::{Optimizer, Rule, clip_gradients};

use crate::device::Placement;
use crate::onednn;
use journal::Journal;
use setup::Setup;

/// Goes through all stages, or goes on with them, and tells how it goes. A failure is told too.
///
/// # Errors
///
/// The job or the samples cannot be used, nothing can be trained, or the folder cannot be written.
pub fn run(folder: &Path, placement: &Placement, tell: &mut dyn FnMut(&DashaEvent)) -> anyhow::Result<()> {
    let result = stages(folder, placement, tell);
    if let Err(error) = &result {
        let message = format!("{error:#}");
        tell(&DashaEvent::Failed { message });
    }
    result
}

fn stages(folder: &Path, placement: &Placement, tell: &mut dyn FnMut(&DashaEvent)) -> anyhow::Result<()> {
    let setup = Setup::open(folder, placement)?;
    let mut journal = Journal::open(&setup, tell)?;
    let started = DashaEvent::Started {
        device: placement.described.label().to_owned(),
        threads: tch::get_num_threads().unsigned_abs(),
        resumed: journal.state.has_begun(),
        advice: onednn::advice().map(str::to_owned),
    };
    journal.tell(&started);
    search::search(&setup, &mut journal)?;
    trials::trials(&setup, &mut journal)?;
    retrain::retrain(&setup, &mut journal)?;
    finish::finish(&setup, &mut journal)
}
