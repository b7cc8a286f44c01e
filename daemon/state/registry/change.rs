//! What may become of a version: the few things that must never be, held in one place for everyone who asks.

use std::fs;
use std::io;

use forecastd_models::Timestamp;

use super::folders;
use crate::message::content_key::ContentKey;
use crate::message::model::{ModelAct, ModelChange, ModelState, ModelVersion, rollback_target};
use crate::state::Store;
use crate::state::error::StateError;
use crate::state::ledger::{Move, Place};

impl Store {
    /// Does what was asked for, or says why it cannot be: then nothing has happened.
    pub fn change_model(&mut self, change: &ModelChange, now: Timestamp) -> Result<(), StateError> {
        let mut versions = self.models()?;
        versions.retain(|version| version.model == change.model);
        let moves = moves(change, &versions).map_err(|detail| StateError::Model {
            model: change.model.to_string(),
            detail,
        })?;
        self.ledger.move_model_versions(&change.model, &moves, now)?;
        self.disk.step()?;
        match change.act {
            ModelAct::Remove { version, .. } => self.remove_files(&version),
            _ => Ok(()),
        }
    }

    /// Removes the files of a version that went, unless another model has the same.
    fn remove_files(&self, key: &ContentKey) -> Result<(), StateError> {
        if self.ledger.has_model_files(key)? {
            return Ok(());
        }
        let folder = folders(&self.state_dir).join(key.to_string());
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // The ledger says already that they are gone: the next start takes what is left.
                tracing::warn!(folder = %folder.display(), %error, "files of a removed version stay for now");
            }
            _ => {}
        }
        self.disk.step()
    }
}

/// What a change does to which versions of its model, in this order: at no time are two active.
fn moves(change: &ModelChange, versions: &[ModelVersion]) -> Result<Vec<Move>, String> {
    let in_state = |state| versions.iter().find(move |version| version.state == state);
    let step = |version: &ModelVersion, to, place, reason: &str| Move {
        version: version.version,
        to,
        place,
        reason: reason.to_owned(),
    };
    let (reason, nowhere) = (change.reason.as_str(), Place::At(None));
    Ok(match change.act {
        ModelAct::Promote(key) => {
            let version = find(versions, &key)?;
            refuse_in(version, &[ModelState::Active])?;
            let displaced = format!("version {} takes its place", key.short());
            let before = in_state(ModelState::Active)
                .map(|before| step(before, ModelState::Retired, Place::At(before.promotion), &displaced));
            let after = step(version, ModelState::Active, Place::Last, reason);
            before.into_iter().chain([after]).collect()
        }
        ModelAct::Shadow(key) => {
            let version = find(versions, &key)?;
            refuse_in(version, &[ModelState::Active, ModelState::Shadow])?;
            let displaced = format!("version {} takes its place in the shadow", key.short());
            let before =
                in_state(ModelState::Shadow).map(|before| step(before, ModelState::Retired, nowhere, &displaced));
            let after = step(version, ModelState::Shadow, nowhere, reason);
            before.into_iter().chain([after]).collect()
        }
        ModelAct::Refuse(key) => {
            let version = find(versions, &key)?;
            refuse_in(version, &[ModelState::Active, ModelState::Retired, ModelState::Refused])?;
            vec![step(version, ModelState::Refused, nowhere, reason)]
        }
        ModelAct::Rollback => {
            let active = in_state(ModelState::Active).ok_or("no version is active")?;
            let before = rollback_target(versions).ok_or("no version was active before, or its files are gone")?;
            vec![
                step(active, ModelState::Retired, nowhere, reason),
                step(before, ModelState::Active, Place::At(before.promotion), reason),
            ]
        }
        ModelAct::Remove { version: key, force } => {
            let version = find(versions, &key)?;
            let short = key.short();
            if version.state == ModelState::Active {
                return Err(format!("version {short} is active: promote another one first"));
            }
            if !force && rollback_target(versions).is_some_and(|target| target.version == key) {
                return Err(format!(
                    "version {short} is what a rollback would take: it goes by force only"
                ));
            }
            vec![step(version, ModelState::Removed, nowhere, reason)]
        }
    })
}

/// A version that has its files.
fn find<'a>(versions: &'a [ModelVersion], key: &ContentKey) -> Result<&'a ModelVersion, String> {
    let found = versions.iter().find(|version| version.version == *key);
    let version = found.ok_or_else(|| format!("there is no version {}", key.short()))?;
    match version.state {
        ModelState::Removed => Err(format!("version {} is removed: drop it again", key.short())),
        _ => Ok(version),
    }
}

fn refuse_in(version: &ModelVersion, states: &[ModelState]) -> Result<(), String> {
    if states.contains(&version.state) {
        let (short, state) = (version.version.short(), version.state.label());
        return Err(format!("version {short} is {state} already"));
    }
    Ok(())
}
