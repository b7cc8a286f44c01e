//! What a run knows, on disk after every epoch: a killed process is gone on with where it stood.
//!
//! `state.json` says everything but tensors, and which files hold those. It is replaced at once, after they are on the
//! disk; so there is always one whole state.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use forecastd_models::dasha::asha::Stopping;
use forecastd_models::dasha::card::{Chosen, RetrainRecord, SearchRecord, StageSeconds, TrialRecord};
use forecastd_models::dasha::plan::TrialPlan;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::artifact::replace_file;
use crate::nets::{Correlation, Form};

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// A run, but for its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    /// Of the job and its data. Another job's state is of no use.
    identity: String,
    /// Tells files of tensors apart.
    saves: u64,
    /// Tensors of the training under way.
    under_way: Option<String>,
    /// Weights that were kept: the best of the last training, or before it of all trials if the time is limited.
    kept: Option<String>,
    /// The trial that they are of; none once the last training has kept any.
    #[serde(default)]
    pub(super) kept_of: Option<u32>,
    /// Wall time.
    pub(super) seconds: StageSeconds,
    /// That have worked on it.
    pub(super) processes: u32,
    /// Searches, of which the last may be under way.
    pub(super) searches: Vec<SearchRecord>,
    /// How the supernet under way computes its convolutions.
    pub(super) forms: Vec<(Correlation, Form)>,
    /// How trials are planned; none before the first.
    pub(super) trial_plan: Option<TrialPlan>,
    /// Seconds that an epoch of all training samples takes the first networks; empty where no time is limited.
    #[serde(default)]
    pub(super) epoch_seconds: Vec<f64>,
    /// The rule that stops trials.
    pub(super) asha: Option<Stopping>,
    /// Trials, of which the last may be under way.
    pub(super) trials: Vec<TrialRecord>,
    /// The last training, once it is known with what.
    pub(super) retrain: Option<Retrain>,
}

/// The last training.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retrain {
    pub(super) chosen: Chosen,
    pub(super) record: RetrainRecord,
    /// Times that it began anew, slower, because a loss was not finite.
    pub(super) restarts: u32,
    /// Whether no epoch is left.
    pub(super) is_over: bool,
}

impl State {
    fn new(identity: String) -> Self {
        Self {
            format: FORMAT,
            identity,
            saves: 0,
            under_way: None,
            kept: None,
            kept_of: None,
            seconds: StageSeconds::default(),
            processes: 0,
            searches: Vec::new(),
            forms: Vec::new(),
            trial_plan: None,
            epoch_seconds: Vec::new(),
            asha: None,
            trials: Vec::new(),
            retrain: None,
        }
    }

    /// Whether anything has been done.
    pub(super) fn has_begun(&self) -> bool {
        self.saves > 0
    }
}

/// Tensors by name.
pub(super) type Tensors = BTreeMap<String, Tensor>;

/// The folder with the state.
#[derive(Debug)]
pub(super) struct Checkpoint {
    folder: PathBuf,
}

impl Checkpoint {
    /// The state of a job in this folder, or a new one.
    pub(super) fn open(folder: &Path, identity: String) -> anyhow::Result<(Self, State)> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let checkpoint = Self {
            folder: folder.to_owned(),
        };
        let path = checkpoint.state_path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((checkpoint, State::new(identity))),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let state: State = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        ensure!(
            state.format == FORMAT && state.identity == identity,
            "{}: the state of another job or of other data; remove the folder to begin anew",
            path.display()
        );
        Ok((checkpoint, state))
    }

    /// Puts a state in place of the one before, with tensors of the training under way (none where none is), and, if
    /// there are new ones, weights to keep.
    pub(super) fn save(
        &self,
        state: &mut State,
        under_way: Option<&Tensors>,
        kept: Option<&Tensors>,
    ) -> anyhow::Result<()> {
        state.saves += 1;
        let saves = state.saves;
        let write = |kind: &str, tensors: &Tensors| self.write(&format!("{kind}-{saves}.safetensors"), tensors);
        state.under_way = under_way.map(|tensors| write("under-way", tensors)).transpose()?;
        if let Some(tensors) = kept {
            state.kept = Some(write("kept", tensors)?);
        }
        let path = self.state_path();
        let text = serde_json::to_vec(state)?;
        replace_file(&path, |file| file.write_all(&text)).with_context(|| path.display().to_string())?;
        self.remove_others(state);
        Ok(())
    }

    /// Tensors of the training under way.
    pub(super) fn under_way(&self, state: &State) -> anyhow::Result<Option<Tensors>> {
        state.under_way.as_deref().map(|name| self.read(name)).transpose()
    }

    /// Weights that were kept.
    pub(super) fn kept(&self, state: &State) -> anyhow::Result<Option<Tensors>> {
        state.kept.as_deref().map(|name| self.read(name)).transpose()
    }

    fn state_path(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// Under a name that no state says yet.
    fn write(&self, name: &str, tensors: &Tensors) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        let named: Vec<(&String, Tensor)> = tensors.iter().map(|(name, tensor)| (name, plain(tensor))).collect();
        Tensor::write_safetensors(&named, &path)?;
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.with_context(|| path.display().to_string())?;
        Ok(name.to_owned())
    }

    fn read(&self, name: &str) -> anyhow::Result<Tensors> {
        let path = self.folder.join(name);
        let named = Tensor::read_safetensors(&path).with_context(|| path.display().to_string())?;
        Ok(named.into_iter().collect())
    }

    /// Files that no state says any more. One that stays costs room only, and goes the next time.
    fn remove_others(&self, state: &State) {
        let said = [state.under_way.as_deref(), state.kept.as_deref()];
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".safetensors") && !said.contains(&Some(&*name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn plain(tensor: &Tensor) -> Tensor {
    tensor.detach().to_device(tch::Device::Cpu).contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(value: f32) -> Tensors {
        BTreeMap::from([("weight".to_owned(), Tensor::from_slice(&[value]))])
    }

    fn value(tensors: Option<Tensors>) -> Option<f64> {
        tensors.map(|tensors| tensors["weight"].double_value(&[0]))
    }

    #[test]
    fn the_last_whole_state_comes_back_with_its_tensors() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Checkpoint::open(folder.path(), "this job".to_owned()).expect("it opens");
        let (checkpoint, mut state) = open();
        assert!(!state.has_begun());
        checkpoint
            .save(&mut state, Some(&tensors(1.0)), Some(&tensors(2.0)))
            .expect("saved");
        checkpoint.save(&mut state, Some(&tensors(3.0)), None).expect("saved");
        fs::write(folder.path().join("under-way-3.safetensors"), b"half").expect("what a kill leaves");

        let (checkpoint, mut state) = open();
        assert!(state.has_begun());
        assert_eq!(value(checkpoint.under_way(&state).expect("it is whole")), Some(3.0));
        assert_eq!(value(checkpoint.kept(&state).expect("it is whole")), Some(2.0));
        checkpoint.save(&mut state, None, None).expect("saved");
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 2, "state.json and what is kept");
    }

    #[test]
    fn another_jobs_state_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (checkpoint, mut state) = Checkpoint::open(folder.path(), "this".to_owned()).expect("it opens");
        checkpoint.save(&mut state, None, None).expect("saved");
        let error = Checkpoint::open(folder.path(), "that".to_owned()).expect_err("it is another's");
        assert!(error.to_string().contains("another job"), "{error}");
    }
}
