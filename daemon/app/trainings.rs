//! What the ingest thread does about trainings: the books are kept by the one writer, and what was trained comes in by
//! the door of what is dropped. Laying samples out is left to the thread that trains.

use std::path::Path;

use forecastd_config::{DatasetName, Model};
use forecastd_models::Timestamp;
use tracing::{info, warn};

use super::ingest::{Fault, Ingest};
use crate::intake::artifact::claim::{ArtifactError, ClaimedArtifact, claim, landed_here};
use crate::message::content_key::ContentKey;
use crate::message::model::ModelDone;
use crate::message::training::{
    TrainJob, Training, TrainingEnd, TrainingFailure, TrainingFault, TrainingNote, TrainingPlan,
};
use crate::state::{Exported, SampleExport, StagedModel, StateError};

impl Ingest {
    pub(super) fn begin_training(&mut self, plan: TrainingPlan, now: Timestamp) -> Result<ModelDone, StateError> {
        let result = match self.store.begin_training(&plan, now) {
            Ok(id) => {
                info!(
                    model = %plan.model, id, reason = plan.reason.label(), why = plan.words, samples = plan.labelled,
                    searches = plan.searches, "training begun"
                );
                Ok(())
            }
            Err(error) => Err(put_off(error)?),
        };
        Ok(ModelDone::Training(TrainingNote::Begun(plan), result))
    }

    pub(super) fn import_trained(
        &mut self,
        training: Training,
        folder: &Path,
        model: &Model,
        now: Timestamp,
    ) -> Result<ModelDone, StateError> {
        match self.try_import_trained(&training, folder, model, now) {
            Ok(result) => self.end_training(training, result, now),
            Err(Fault::Fatal(error)) => Err(error),
            Err(Fault::Machine(error)) => {
                warn!(model = %model.name, folder = ?folder, %error, "what was trained is not imported for now");
                Ok(ModelDone::Training(TrainingNote::Ended(training), Err(error)))
            }
        }
    }

    fn try_import_trained(
        &mut self,
        training: &Training,
        folder: &Path,
        model: &Model,
        now: Timestamp,
    ) -> Result<Result<ContentKey, TrainingFailure>, Fault> {
        let refused = |detail: String| {
            let fault = TrainingFault::Refused;
            Ok(Err(TrainingFailure { fault, detail }))
        };
        let file = match landed_here(&model.name, folder) {
            Ok(file) => file,
            Err(error) => return refused(format!("{}: {error}", folder.display())),
        };
        let claimed = match claim(&file, &self.spool) {
            Ok(claimed) => claimed,
            Err(error @ (ArtifactError::Rejected(_) | ArtifactError::Withdrawn)) => return refused(error.to_string()),
            Err(error @ ArtifactError::Io { .. }) => return Err(Fault::Machine(error.to_string())),
        };
        let ClaimedArtifact {
            folder,
            key,
            facts,
            samples,
        } = claimed;
        let staged = StagedModel {
            folder: folder.path(),
            key,
            facts,
        };
        let reason = provenance(&training.plan, samples);
        let is_new = self.store.import_model(&model.name, staged, now, &reason)?;
        info!(model = %model.name, version = %key, is_new, "what was trained is imported");
        Ok(Ok(key))
    }

    pub(super) fn end_training(
        &mut self,
        training: Training,
        result: Result<ContentKey, TrainingFailure>,
        now: Timestamp,
    ) -> Result<ModelDone, StateError> {
        let end = TrainingEnd { time: now, result };
        let entered = match self.store.end_training(training.id, &end) {
            Ok(()) => Ok(()),
            Err(error) => Err(put_off(error)?),
        };
        let training = Training {
            end: Some(end),
            ..training
        };
        Ok(ModelDone::Training(TrainingNote::Ended(training), entered))
    }
}

/// Lays out the samples of a training, on the thread that trains: the ledger is looked at beside its writer.
pub(super) fn lay_out(
    state_dir: &Path,
    job: &TrainJob,
    folder: &Path,
    goes_on: &dyn Fn() -> bool,
) -> Result<(), TrainingFailure> {
    let dataset = &job.dataset;
    let export = SampleExport::open(state_dir)
        .and_then(|export| export.write(&dataset.name, &dataset.form, job.through, folder, goes_on));
    let exported = export.map_err(|error| TrainingFailure {
        fault: match error {
            StateError::OtherShape { .. } => TrainingFault::Configuration,
            _ => TrainingFault::Disk,
        },
        detail: error.to_string(),
    })?;
    let Exported { set, left_out, cuts } = &exported;
    info!(model = %job.model, dataset = %dataset.name, samples = set.count, "samples laid out");
    if *cuts {
        info!(
            model = %job.model, dataset = %dataset.name,
            "no sample is for validation: 15 % of those for training, by a hash of the id, are taken for it"
        );
    }
    if *left_out > 0 {
        warn!(
            model = %job.model, dataset = %dataset.name, left_out, samples = set.count,
            "samples are left out of a training: their labels are none that it learns, or their masks came when `labels` \
             or `mask_threshold` said otherwise: bring those again"
        );
    }
    not_empty(&dataset.name, &exported)
}

/// A training begins where the index has samples for it, but another configuration may be in force by now.
fn not_empty(dataset: &DatasetName, exported: &Exported) -> Result<(), TrainingFailure> {
    if exported.set.count > 0 {
        return Ok(());
    }
    Err(TrainingFailure {
        fault: TrainingFault::Configuration,
        detail: format!(
            "dataset {dataset}: none of its {} labelled samples has a label that can be learnt: `task`, `labels` or \
             `mask_threshold` said otherwise when they came: mend it, or bring them again",
            exported.left_out
        ),
    })
}

/// Where a version comes from, for whoever asks later. Not every sample with a label is one of `samples`: a class that the
/// configuration does not know any more, or that no training sample has, is no output.
fn provenance(plan: &TrainingPlan, [train, validation, test]: [u64; 3]) -> String {
    let kernels = match plan.searches {
        true => "kernels searched for",
        false => "kernels of the active version",
    };
    format!(
        "trained by the daemon on {train} samples of {}, chosen on {validation}, tested on {test}, {kernels}; {}: {}",
        plan.dataset,
        plan.reason.label(),
        plan.words
    )
}

/// What can be tried again is no reason to stop.
fn put_off(error: StateError) -> Result<String, StateError> {
    match error.is_fatal() {
        true => Err(error),
        false => {
            warn!(%error, "the books of trainings cannot be written for now");
            Ok(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use forecastd_models::dasha::{CellFormat, ElementType, InputShape, SampleSet, Task};

    use super::*;

    #[test]
    fn a_training_whose_labels_are_all_left_out_is_told_by_the_name_of_its_dataset() {
        let exported = |count, left_out| Exported {
            set: SampleSet {
                count,
                input: InputShape {
                    bands: 1,
                    size: vec![1, 2],
                },
                element: ElementType::U8,
                task: Task::Segment,
                labels: Vec::new(),
                hash: String::new(),
                cells: CellFormat::default(),
                series: None,
            },
            left_out,
            cuts: false,
        };
        assert_eq!(not_empty(&"roads".into(), &exported(1, 8)), Ok(()));
        let told = not_empty(&"roads".into(), &exported(0, 9)).expect_err("nothing is left");
        assert_eq!(told.fault, TrainingFault::Configuration);
        assert!(
            told.detail.starts_with("dataset roads: none of its 9 labelled samples"),
            "{told:?}"
        );
    }
}
