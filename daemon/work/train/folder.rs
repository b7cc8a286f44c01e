//! Files of a run's folder: the job that the child finds there, and the time that it has spent.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use forecastd_models::dasha::card::StageSeconds;
use serde::{Deserialize, Serialize};

/// What is asked of the child.
pub const JOB: &str = "job.json";

/// The description of the samples; it is written last of what the child needs.
const SAMPLES: &str = "samples.json";

/// Writes a value under a name, at once and for good.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let (path, partial) = (folder.join(name), folder.join(format!("{name}.partial")));
    fs::write(&partial, serde_json::to_vec_pretty(value)?)?;
    File::open(&partial)?.sync_all()?;
    fs::rename(&partial, &path)
}

/// Whether the samples are there.
pub fn is_prepared(folder: &Path) -> bool {
    folder.join(SAMPLES).is_file()
}

/// Seconds that children have worked on this run, as the last checkpoint has it; 0 before the first one.
pub(super) fn spent(folder: &Path) -> f64 {
    #[derive(Deserialize)]
    struct State {
        seconds: StageSeconds,
    }
    let text = fs::read(folder.join("checkpoint/state.json")).unwrap_or_default();
    let state: Option<State> = serde_json::from_slice(&text).ok();
    state.map_or(0.0, |State { seconds }| {
        seconds.search + seconds.trials + seconds.retrain
    })
}
