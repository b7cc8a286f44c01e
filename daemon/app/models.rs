//! What the ingest thread does about models: it claims what was dropped, changes what the planner or somebody else
//! decided, and tells what there is then.

use std::io;
use std::path::{Path, PathBuf};

use forecastd_config::{AfterIngest, Model, ModelName};
use forecastd_models::Timestamp;
use tracing::{info, warn};

use super::ingest::{Fault, Ingest};
use crate::intake::artifact::claim::{ArtifactError, ClaimedArtifact, claim};
use crate::intake::finish::finish;
use crate::intake::quarantine::quarantine;
use crate::intake::request::{self, Answer};
use crate::message::content_key::ContentKey;
use crate::message::landed_file::LandedFile;
use crate::message::model::{ImportOutcome, ModelChange, ModelDone, ModelReport, ModelState, ModelWish, TrainWish};
use crate::message::rejected::{ArtifactFault, Rejected};
use crate::planner::ModelJob;
use crate::state::{StagedModel, StateError};

impl Ingest {
    /// Does something about models.
    ///
    /// # Errors
    /// Only where going on would risk data.
    pub(super) fn models(&mut self, job: ModelJob, now: Timestamp) -> Result<ModelReport, StateError> {
        let done = match job {
            ModelJob::Recover => ModelDone::Recovered,
            ModelJob::Import(file, model) => {
                let outcome = self.import(&file, &model, now)?;
                ModelDone::Imported(file, outcome)
            }
            ModelJob::Change(change) => {
                let outcome = self.change(&change, now)?;
                ModelDone::Changed(change, outcome)
            }
            ModelJob::Answer(request, trained) => self.answer(request, &trained, now)?,
            ModelJob::BeginTraining(plan) => self.begin_training(plan, now)?,
            ModelJob::ImportTrained(training, folder, model) => self.import_trained(training, &folder, &model, now)?,
            ModelJob::EndTraining(training, failure) => self.end_training(training, Err(failure), now)?,
        };
        let mut versions = self.store.models()?;
        versions.retain(|version| version.state != ModelState::Removed);
        let trainings = self.store.trainings()?;
        Ok(ModelReport {
            done,
            versions,
            trainings,
        })
    }

    fn import(&mut self, file: &LandedFile, model: &Model, now: Timestamp) -> Result<ImportOutcome, StateError> {
        match self.try_import(file, model, now) {
            Ok(outcome) => Ok(outcome),
            Err(Fault::Fatal(error)) => Err(error),
            Err(Fault::Machine(error)) => {
                warn!(model = %model.name, folder = ?file.path, %error, "artifact deferred");
                Ok(ImportOutcome::Deferred { error })
            }
        }
    }

    fn try_import(&mut self, file: &LandedFile, model: &Model, now: Timestamp) -> Result<ImportOutcome, Fault> {
        let ClaimedArtifact { folder, key, facts, .. } = match claim(file, &self.spool) {
            Ok(claimed) => claimed,
            Err(ArtifactError::Withdrawn) => return Ok(ImportOutcome::Withdrawn),
            Err(ArtifactError::Rejected(verdict)) => return Ok(reject(file, model, verdict, now)),
            Err(error @ ArtifactError::Io { .. }) => return Err(Fault::Machine(error.to_string())),
        };
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let staged = StagedModel {
            folder: folder.path(),
            key,
            facts,
        };
        let is_new = self
            .store
            .import_model(&model.name, staged, now, &format!("dropped as {name:?}"))?;
        // Its files are durable: an artifact that cannot be moved is a nuisance and no loss.
        if let Err(error) = finish(file, &AfterIngest::Move(model.done.clone())) {
            warn!(model = %model.name, folder = ?file.path, %error, "the artifact stays where it is");
        }
        info!(model = %model.name, folder = ?file.path, version = %key, is_new, "artifact imported");
        Ok(if is_new {
            ImportOutcome::Imported(key)
        } else {
            ImportOutcome::Duplicate(key)
        })
    }

    /// The inner error says why it was not done.
    fn change(&mut self, change: &ModelChange, now: Timestamp) -> Result<Result<(), String>, StateError> {
        let ModelChange { model, act, reason } = change;
        match self.store.change_model(change, now) {
            Ok(()) => {
                info!(%model, ?act, reason, "model changed");
                Ok(Ok(()))
            }
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                warn!(%model, ?act, reason, %error, "model not changed");
                Ok(Err(error.to_string()))
            }
        }
    }

    fn answer(&mut self, request: PathBuf, trained: &[ModelName], now: Timestamp) -> Result<ModelDone, StateError> {
        let taken = match request::take::<ModelWish>(&request) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(ModelDone::Answered(request)), // withdrawn
            Err(error) => {
                warn!(request = ?request, %error, "a request cannot be taken");
                return Ok(ModelDone::Answered(request));
            }
        };
        let mut training = None;
        let outcome = match &taken.wish {
            Ok(ModelWish::Change(change)) => self.change(change, now)?,
            Ok(ModelWish::Train(TrainWish { train })) if trained.contains(train) => {
                training = Some(ModelName::clone(train));
                Ok(())
            }
            Ok(ModelWish::Train(TrainWish { train })) => Err(format!(
                "model {train}: the configuration has no model of this name with `train`"
            )),
            Err(wrong) => Err(wrong.clone()),
        };
        let answer = Answer {
            done: outcome.is_ok(),
            detail: outcome.err().unwrap_or_default(),
        };
        if let Err(error) = taken.answer(&answer) {
            warn!(request = ?request, %error, "a request cannot be answered");
        }
        Ok(training.map_or(ModelDone::Answered(request), ModelDone::AskedToTrain))
    }
}

/// Puts a refused artifact away. One that cannot be moved must not hold up the good ones.
fn reject(file: &LandedFile, model: &Model, verdict: Rejected<ArtifactFault>, now: Timestamp) -> ImportOutcome {
    let told = |place: &Path| {
        warn!(
            model = %model.name, folder = ?file.path, reason = verdict.reason.label(),
            detail = %verdict.detail, place = %place.display(), "artifact rejected"
        );
    };
    match quarantine(file, None::<ContentKey>, &verdict, &model.quarantine, now) {
        Ok(place) => told(&place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return ImportOutcome::Withdrawn,
        Err(error) => {
            told(&file.path);
            warn!(model = %model.name, folder = ?file.path, %error, "the bad artifact stays where it is");
        }
    }
    ImportOutcome::Rejected(verdict)
}
