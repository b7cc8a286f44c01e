//! The books of trainings, and the folders of their runs: a run's folder stays as long as its training is under way.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use forecastd_models::Timestamp;

use super::Store;
use super::error::StateError;
use super::recovery::entries;
use crate::message::training::{Training, TrainingEnd, TrainingPlan};

impl Store {
    /// Of every model the last training that made a version, and all later ones, in the order in which they began.
    pub fn trainings(&self) -> Result<Vec<Training>, StateError> {
        self.ledger.trainings()
    }

    /// Enters a training that is to begin; its number.
    pub fn begin_training(&mut self, plan: &TrainingPlan, now: Timestamp) -> Result<i64, StateError> {
        let id = self.ledger.add_training(plan, now)?;
        self.disk.step()?;
        Ok(id)
    }

    /// Enters how a training ended, and lets the folder of its run go.
    pub fn end_training(&mut self, id: i64, end: &TrainingEnd) -> Result<(), StateError> {
        self.ledger.end_training(id, end)?;
        self.disk.step()?;
        let folder = run_folder(&self.state_dir, id);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // Nobody goes on with it: the next start takes what is left.
                tracing::warn!(folder = %folder.display(), %error, "the folder of a training that is over stays for now");
            }
            _ => {}
        }
        self.disk.step()
    }

    /// Folders of runs whose training is over, or was never entered.
    pub(super) fn orphan_runs(&self) -> Result<Vec<PathBuf>, StateError> {
        let trainings = self.ledger.trainings()?.into_iter();
        let open = trainings.filter(|training| training.end.is_none());
        let live: HashSet<PathBuf> = open.map(|open| run_folder(&self.state_dir, open.id)).collect();
        let found = entries(&folders(&self.state_dir))?.into_iter();
        Ok(found.filter(|path| !live.contains(path)).collect())
    }
}

/// Where runs lie.
pub(super) fn folders(state_dir: &Path) -> PathBuf {
    state_dir.join("trainings")
}

/// Where the run of a training lies.
pub fn run_folder(state_dir: &Path, id: i64) -> PathBuf {
    folders(state_dir).join(id.to_string())
}
