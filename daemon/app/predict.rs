//! The way of one prediction job: read the samples of a drop from their segment, ask the networks, write the file.
//!
//! Runs on the threads for predictions. Nothing of a drop is seen before its file is whole, and the file of a drop that is
//! done again takes the place of the one before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use forecastd_config::DatasetName;
use forecastd_models::dasha::BandSums;
use forecastd_models::dasha::mask::pack;
use tracing::{info, warn};

use crate::message::inference::Outputs;
use crate::message::model::ModelVersion;
use crate::message::prediction::{PredictFault, PredictJob, PredictOutcome, PredictReport, Predictions, Refusal, Said};
use crate::message::sample::Taken;
use crate::publish::prediction_file::{PredictionFile, PredictionFileError, PredictionLayout, Rows};
use crate::publish::prediction_folder::PredictionFolder;
use crate::state::{KeptSample, SampleReader, StateError};
use crate::work::predict::{Answer, AskError, Predictor, agreement, mismatch, said, samples_at_once};

/// Bytes of the masks of one drop that are kept, packed. Those beyond are in its file, and never held against the truth.
const MASK_BYTES: usize = 64 << 20;

/// Predicts drops, one at a time.
#[derive(Clone, Debug)]
pub(super) struct Predict {
    state_dir: PathBuf,
    predictor: Predictor,
}

impl Predict {
    pub(super) fn new(state_dir: PathBuf, predictor: Predictor) -> Self {
        Self { state_dir, predictor }
    }

    /// Does a job and tells what came of it.
    pub(super) fn work(&self, job: &PredictJob) -> PredictReport {
        let (dataset, drop) = (&job.dataset.name, job.sequence);
        let version = job.active.version;
        let outcome = match self.predict(job) {
            Ok(predictions) => {
                let refused: u64 = predictions.refused.values().sum();
                info!(%dataset, drop, version = %version.short(), samples = predictions.said.len(), refused, "drop predicted");
                PredictOutcome::Predicted(Arc::new(predictions))
            }
            Err(Fault(fault, detail)) => {
                if fault != PredictFault::Stopping {
                    let reason = fault.label();
                    warn!(%dataset, drop, version = %version.short(), reason, detail, "drop not predicted");
                }
                PredictOutcome::Failed { version, fault, detail }
            }
        };
        PredictReport {
            dataset: DatasetName::clone(dataset),
            epoch: job.epoch,
            outcome,
        }
    }

    fn predict(&self, job: &PredictJob) -> Result<Predictions, Fault> {
        let description = &job.active.facts.description;
        if let Some(detail) = mismatch(&job.dataset.form, description) {
            return Err(Fault(PredictFault::Mismatch, detail));
        }
        let reader = SampleReader::open(&self.state_dir)?;
        let folder = PredictionFolder::of(&job.dataset);
        let drop = reader.drop_path(job.sequence)?;
        let form = &job.dataset.form;
        let layout = PredictionLayout {
            task: form.task,
            labels: description.labels.clone(),
            positions: form.shape.positions() as usize,
            id: Some(form.columns.id.clone()),
            time: form.columns.time.clone(),
            place: form
                .columns
                .place
                .as_ref()
                .map(|place| [place.latitude.clone(), place.longitude.clone()]),
            scores: job.dataset.predictions.scores,
            version: Some(job.active.version.to_string()),
        };
        let mut drop = Drop {
            predictor: &self.predictor,
            active: &job.active,
            shadow: job.shadow.as_ref(),
            record: description.input_bytes(),
            file: folder.begin(job.sequence, &drop, layout)?,
            piece: Piece::default(),
            mask_bytes: 0,
            predictions: Predictions {
                version: job.active.version,
                shadow: job.shadow.as_ref().map(|shadow| shadow.version),
                said: Vec::with_capacity(job.rows.len()),
                refused: BTreeMap::new(),
                shadow_fault: None,
                bands: BandSums::default(),
            },
        };
        if let Some(shadow) = drop.shadow
            && let Some(detail) = mismatch(form, &shadow.facts.description)
        {
            drop.leave_shadow(PredictFault::Mismatch, &detail);
        }
        reader.read(&job.dataset.name, job.sequence, &job.rows, |sample| drop.take(sample))?;
        let predictions = drop.finish()?;
        // The file is in its place: an older one that stays beside it is no failure of this drop.
        if let Err(error) = folder.prune() {
            warn!(dataset = %job.dataset.name, %error, "old files of predictions stay");
        }
        Ok(predictions)
    }
}

/// A drop in the middle of its prediction.
struct Drop<'a> {
    predictor: &'a Predictor,
    active: &'a ModelVersion,
    shadow: Option<&'a ModelVersion>,
    record: usize,
    file: PredictionFile,
    piece: Piece,
    /// Of the masks that are kept so far.
    mask_bytes: usize,
    predictions: Predictions,
}

/// Samples of the next request.
#[derive(Default)]
struct Piece {
    said: Vec<Said>,
    taken: Vec<Taken>,
    inputs: Vec<u8>,
}

impl Drop<'_> {
    fn take(&mut self, sample: KeptSample<'_>) -> Result<(), Fault> {
        let said = Said {
            id: sample.id.into(),
            row: sample.row,
            content: *sample.content,
            label: None,
            probability: None,
            shadow: None,
            agreement: None,
            mask: None,
            shadow_mask: None,
        };
        // Committed when the configuration stated another shape.
        if sample.elements.len() != self.record {
            self.refused(sample.id, Refusal::Input);
            self.predictions.said.push(said);
            return Ok(());
        }
        self.predictions
            .bands
            .add(&self.active.facts.description, sample.elements);
        self.piece.inputs.extend_from_slice(sample.elements);
        self.piece.said.push(said);
        self.piece.taken.push(sample.taken);
        if self.piece.said.len() >= samples_at_once(self.record) {
            self.ask()?;
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<(), Fault> {
        let Piece {
            mut said,
            taken,
            inputs,
        } = std::mem::take(&mut self.piece);
        if said.is_empty() {
            return Ok(());
        }
        let answers = self.predictor.ask(self.active, &inputs)?;
        let mut rows = Rows::default();
        for ((said, taken), answer) in said.iter_mut().zip(taken).zip(&answers) {
            match self.heard(said, answer) {
                Ok(outputs) => rows.push(&said.id, taken, outputs),
                Err(refusal) => self.refused(&said.id, refusal),
            }
        }
        self.file.append(&rows)?;
        self.ask_shadow(&mut said, &answers, &inputs);
        self.predictions.said.extend(said);
        Ok(())
    }

    fn heard<'o>(&mut self, said: &mut Said, answer: &'o Answer) -> Result<&'o Outputs, Refusal> {
        let outputs = answer.as_ref().map_err(|refusal| *refusal)?;
        let heard = self::said(&self.active.facts.description, outputs).ok_or(Refusal::Failed)?;
        (said.label, said.probability) = (Some(heard.0), heard.1);
        said.mask = self.kept_mask(outputs);
        Ok(outputs)
    }

    /// A mask in runs, as long as there is room.
    fn kept_mask(&mut self, outputs: &Outputs) -> Option<Vec<u8>> {
        let Outputs::Classes(mask) = outputs else { return None };
        if self.mask_bytes >= MASK_BYTES {
            return None;
        }
        let packed = pack(mask);
        self.mask_bytes += packed.len();
        Some(packed)
    }

    /// Nobody waits for the shadow: it is asked once, and what it fails at is left out.
    fn ask_shadow(&mut self, said: &mut [Said], heard: &[Answer], inputs: &[u8]) {
        let Some(shadow) = self.shadow else { return };
        match self.predictor.without_patience().ask(shadow, inputs) {
            Ok(answers) => {
                for ((said, heard), answer) in said.iter_mut().zip(heard).zip(answers) {
                    let Ok(outputs) = answer else { continue };
                    said.shadow = self::said(&shadow.facts.description, &outputs).map(|(label, _)| label);
                    said.shadow_mask = said.shadow.as_ref().and_then(|_| self.kept_mask(&outputs));
                    if let (Ok(heard), Some(label), Some(other)) = (heard, &said.label, &said.shadow) {
                        said.agreement = Some(agreement(heard, &outputs, label == other));
                    }
                }
            }
            Err(AskError { fault, detail }) => self.leave_shadow(fault, &detail),
        }
    }

    fn leave_shadow(&mut self, fault: PredictFault, detail: &str) {
        if let Some(shadow) = self.shadow.take() {
            warn!(model = %shadow.model, version = %shadow.version.short(), detail, "the shadow is not heard on this drop");
            self.predictions.shadow_fault = Some(fault);
        }
    }

    fn refused(&mut self, id: &str, refusal: Refusal) {
        if self.predictions.refused.is_empty() {
            warn!(model = %self.active.model, id, reason = refusal.label(), "the model has nothing to say of a sample; the first of its drop");
        }
        *self.predictions.refused.entry(refusal).or_default() += 1;
    }

    fn finish(mut self) -> Result<Predictions, Fault> {
        self.ask()?;
        self.file.finish()?;
        Ok(self.predictions)
    }
}

/// Why a drop was not predicted, in a word and for people.
#[derive(Debug)]
struct Fault(PredictFault, String);

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        let fault = match error {
            StateError::Damaged { .. } => PredictFault::Damaged,
            _ => PredictFault::Samples,
        };
        Self(fault, error.to_string())
    }
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Self {
        Self(error.fault, error.detail)
    }
}

impl From<PredictionFileError> for Fault {
    fn from(error: PredictionFileError) -> Self {
        Self(PredictFault::File, error.to_string())
    }
}
