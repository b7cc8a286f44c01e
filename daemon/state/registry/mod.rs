//! Versions of models: immutable folders under their content's hash, and what each is to its model.
//!
//! ```text
//! state_dir/models/<version>/weights.safetensors, model.json, card.json, BLAKE3SUMS
//! ```
//!
//! A version is the BLAKE3 of its `BLAKE3SUMS`, which has the sums of the others: `b3sum` can check all of it. Its
//! files are flushed and in their place before the one transaction that makes them count, and go after the one that
//! says so. States pass from `candidate` by way of `shadow` to `active` and `retired`; every change has its reason.
//! Which version deserves what, the planner says; here only stands what must never be.

mod change;
mod files;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use forecastd_models::Timestamp;
use forecastd_models::dasha::artifact::ARTIFACT_FILES;

use super::Store;
use super::durable::Disk;
use super::error::StateError;
use super::ledger::Ledger;
use crate::message::content_key::ContentKey;
use crate::message::model::{ModelFacts, ModelState, ModelTransition, ModelVersion};

pub(super) use files::{orphans, verify};

/// An artifact whose files lie on the state's filesystem, checked, and in nobody else's reach.
#[derive(Debug)]
pub struct StagedModel<'a> {
    /// The folder that they lie in, which becomes the version's own.
    pub folder: &'a Path,
    /// Its content.
    pub key: ContentKey,
    /// What it says of itself.
    pub facts: ModelFacts,
}

impl Store {
    /// Takes an artifact as a candidate version of a model; says whether it is new to the model. The files of a
    /// version that was removed, or is damaged, are put in their place again.
    pub fn import_model(
        &mut self,
        model: &str,
        staged: StagedModel<'_>,
        now: Timestamp,
        reason: &str,
    ) -> Result<bool, StateError> {
        let StagedModel { folder, key, facts } = staged;
        let place = folders(&self.state_dir).join(key.to_string());
        if verify(&place, &key).is_err() {
            self.put_in_place(folder, &place)?;
        }
        let known = self
            .models()?
            .into_iter()
            .any(|version| *version.model == *model && version.version == key && version.state != ModelState::Removed);
        if !known {
            self.ledger.add_model_version(model, &key, &facts, now, reason)?;
            self.disk.step()?;
        }
        Ok(!known)
    }

    /// Every version of every model, those that were removed included, in the order in which they first came.
    pub fn models(&self) -> Result<Vec<ModelVersion>, StateError> {
        self.ledger.model_versions(&folders(&self.state_dir))
    }

    /// Flushes what was staged, and gives it the version's name.
    fn put_in_place(&self, staged: &Path, place: &Path) -> Result<(), StateError> {
        for name in ARTIFACT_FILES {
            let path = staged.join(name);
            let file = File::open(&path).map_err(StateError::io("open", &path))?;
            self.disk.flush(&file, &path)?;
        }
        self.disk.flush_folder(staged)?;
        self.disk.step()?;
        if place.exists() {
            // Damaged, or what a transaction that failed left behind.
            fs::remove_dir_all(place).map_err(StateError::io("remove", place))?;
            self.disk.step()?;
        }
        self.disk.rename(staged, place)?;
        self.disk.step()
    }
}

/// A look at the registry, beside a daemon or without one.
#[derive(Debug)]
pub struct RegistryView {
    ledger: Ledger,
    state_dir: PathBuf,
}

impl RegistryView {
    /// Opens the ledger to look at it. A state folder that nobody has used yet has no versions.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        Ok(Self {
            ledger: Ledger::open_read_only(&state_dir.join("ledger.sqlite"))?,
            state_dir: state_dir.to_owned(),
        })
    }

    /// Every version of every model, those that were removed included, in the order in which they first came.
    pub fn models(&self) -> Result<Vec<ModelVersion>, StateError> {
        self.ledger.model_versions(&folders(&self.state_dir))
    }

    /// What became of the versions of a model, the earliest first.
    pub fn transitions(&self, model: &str) -> Result<Vec<ModelTransition>, StateError> {
        self.ledger.model_transitions(model)
    }
}

/// Where the files of versions lie.
pub(super) fn folders(state_dir: &Path) -> PathBuf {
    state_dir.join("models")
}

/// Makes the folder of versions.
pub(super) fn make_folder(state_dir: &Path, disk: &Disk) -> Result<(), StateError> {
    disk.make_folder(&folders(state_dir))
}
