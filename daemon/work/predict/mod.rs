//! Samples of a drop put to served networks, a few at a time: whoever asks from outside comes between.
//!
//! A request that nobody can answer just now is asked again, with a growing pause and for a while; then the whole drop is
//! put off. One that cannot be answered because of a sample in it is halved until that sample is alone, and the others are
//! answered. Where samples come from and where answers go is left to the caller.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use forecastd_config::SampleForm;
use forecastd_models::dasha::live::{THERE, likeliest};
use forecastd_models::dasha::{ModelDescription, Task, mask};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::message::inference::{Infer, InferenceError, InferenceRequest, Outputs, Stage};
use crate::message::model::ModelVersion;
use crate::message::prediction::{PredictFault, Refusal};
use crate::message::sample::{Label, MaskLabel};

/// Samples of one request: half of what the child computes at once, so that others find room.
const SAMPLES: usize = 32;

/// Bytes of one request, about.
const BYTES: usize = 8 << 20;

/// Time for one request.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long one request is asked again before its drop is put off.
const PATIENCE: Duration = Duration::from_secs(20);

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks, on a thread that may wait.
#[derive(Clone, Debug)]
pub struct Predictor {
    infer: Arc<dyn Infer>,
    runtime: Handle,
    /// True once the daemon is stopping.
    stopping: watch::Receiver<bool>,
    patience: Duration,
}

/// What a network says of one sample: a score for each label, or a class for each position.
pub type Answer = Result<Outputs, Refusal>;

/// Why nothing is said of any.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct AskError {
    /// In a word.
    pub fault: PredictFault,
    /// For people.
    pub detail: String,
}

/// Why a request has no answer.
enum Unanswered {
    /// Because of a sample in it.
    Sample(Refusal),
    /// It took too long to compute.
    Slow(AskError),
    /// The time is not right.
    Later(AskError),
}

impl Predictor {
    /// Asks `infer`, whose tasks run on this runtime, until `stopping` is true.
    pub fn new(infer: Arc<dyn Infer>, runtime: Handle, stopping: watch::Receiver<bool>) -> Self {
        Self {
            infer,
            runtime,
            stopping,
            patience: PATIENCE,
        }
    }

    /// One that asks each request once: for answers that nobody waits for.
    #[must_use]
    pub fn without_patience(&self) -> Self {
        Self {
            patience: Duration::ZERO,
            ..self.clone()
        }
    }

    /// What a version says of samples whose records lie end to end: one answer each, in their order.
    ///
    /// # Errors
    /// When not all of them can be answered just now.
    pub fn ask(&self, version: &ModelVersion, inputs: &[u8]) -> Result<Vec<Answer>, AskError> {
        let record = version.facts.description.input_bytes().max(1);
        let mut answers = Vec::with_capacity(inputs.len() / record);
        // Halves that are still to be asked, the next one last.
        let mut pieces = vec![inputs];
        while let Some(piece) = pieces.pop() {
            let count = piece.len() / record;
            match self.ask_patiently(version, piece, count) {
                Ok(outputs) => answers.extend(each(&outputs, count).into_iter().map(Ok)),
                Err(Unanswered::Sample(_) | Unanswered::Slow(_)) if count > 1 => {
                    let (first, second) = piece.split_at(count / 2 * record);
                    pieces.extend([second, first]);
                }
                Err(Unanswered::Sample(refusal)) => answers.push(Err(refusal)),
                Err(Unanswered::Slow(error) | Unanswered::Later(error)) => return Err(error),
            }
        }
        Ok(answers)
    }

    fn ask_patiently(&self, version: &ModelVersion, inputs: &[u8], count: usize) -> Result<Outputs, Unanswered> {
        let until = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.ask_once(version, inputs, count) {
                Err(Unanswered::Later(error)) => {
                    if error.fault == PredictFault::Stopping || Instant::now() + pause > until {
                        return Err(Unanswered::Later(error));
                    }
                }
                answered => return answered,
            }
            self.wait(sleep_for(pause));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn ask_once(&self, version: &ModelVersion, inputs: &[u8], count: usize) -> Result<Outputs, Unanswered> {
        let asked = self.infer.infer(InferenceRequest {
            model: Arc::clone(&version.model),
            version: Some(version.version.to_string().into()),
            count: count as u32,
            inputs: inputs.to_vec(),
            deadline: Instant::now() + DEADLINE,
        });
        match self.wait(asked) {
            None => Err(unanswered(&InferenceError::Stopping)),
            Some(Err(error)) => Err(unanswered(&error)),
            Some(Ok(answer)) => Ok(answer.outputs),
        }
    }

    /// Waits for something, but not once the daemon stops.
    fn wait<T>(&self, something: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.clone();
        self.runtime.block_on(async {
            tokio::select! {
                done = something => Some(done),
                _ = stopping.wait_for(|stopping| *stopping) => None,
            }
        })
    }
}

/// The outputs of a request's samples, one after the other.
fn each(outputs: &Outputs, count: usize) -> Vec<Outputs> {
    fn of_samples<T: Clone>(values: &[T], count: usize, outputs: impl Fn(Vec<T>) -> Outputs) -> Vec<Outputs> {
        let of_sample = values.len() / count.max(1);
        values
            .chunks_exact(of_sample.max(1))
            .map(|values| outputs(values.to_vec()))
            .collect()
    }
    match outputs {
        Outputs::Scores(scores) => of_samples(scores, count, Outputs::Scores),
        Outputs::Classes(classes) => of_samples(classes, count, Outputs::Classes),
    }
}

/// Made where the runtime is entered: a timer belongs to one.
async fn sleep_for(pause: Duration) {
    sleep(pause).await;
}

fn unanswered(error: &InferenceError) -> Unanswered {
    let because = |fault| AskError {
        fault,
        detail: error.to_string(),
    };
    let later = |fault| Unanswered::Later(because(fault));
    match error {
        InferenceError::Input { .. } => Unanswered::Sample(Refusal::Input),
        InferenceError::Poison { .. } => Unanswered::Sample(Refusal::Poison),
        InferenceError::Failed { .. } => Unanswered::Sample(Refusal::Failed),
        InferenceError::Deadline {
            stage: Stage::Computing,
        } => Unanswered::Slow(because(PredictFault::Deadline)),
        InferenceError::Deadline { stage: Stage::Waiting } => later(PredictFault::Deadline),
        InferenceError::UnknownModel { .. }
        | InferenceError::UnknownVersion { .. }
        | InferenceError::NotReady { .. } => later(PredictFault::NotReady),
        InferenceError::Overloaded { .. } => later(PredictFault::Overload),
        InferenceError::Unavailable { .. } => later(PredictFault::Unavailable),
        InferenceError::Stopping => later(PredictFault::Stopping),
    }
}

/// Samples of one request, where each has a record of so many bytes.
pub fn samples_at_once(record: usize) -> usize {
    (BYTES / record.max(1)).clamp(1, SAMPLES)
}

/// What outputs say: the likeliest class and its probability, the classes that are there, the numbers themselves, or what is
/// in the mask; nothing where that has a class without a name.
pub fn said(description: &ModelDescription, outputs: &Outputs) -> Option<(Label, Option<f32>)> {
    let labels = &description.labels;
    let scores = match outputs {
        Outputs::Classes(mask) => return Some((Label::Mask(MaskLabel::of(mask, labels)?), None)),
        Outputs::Scores(scores) => scores,
    };
    Some(match description.architecture.task {
        Task::Classify => {
            let class = likeliest(scores);
            (Label::Class(labels[class].clone()), Some(scores[class]))
        }
        Task::Multilabel => {
            let there = scores.iter().zip(labels).filter(|(score, _)| **score >= THERE);
            let mut classes: Vec<String> = there.map(|(_, label)| label.clone()).collect();
            classes.sort_unstable();
            (Label::Classes(classes), None)
        }
        Task::Regress | Task::Segment => (Label::Numbers(scores.clone()), None),
    })
}

/// How much of what two versions say of a sample is the same: all or nothing, of masks the share of their positions.
pub fn agreement(one: &Outputs, other: &Outputs, same_label: bool) -> f64 {
    match (one, other) {
        (Outputs::Classes(one), Outputs::Classes(other)) => mask::agreement(one, other),
        _ => f64::from(u8::from(same_label)),
    }
}

/// Why a network cannot predict samples of this form, if it cannot.
pub fn mismatch(form: &SampleForm, description: &ModelDescription) -> Option<String> {
    let architecture = &description.architecture;
    if form.task != architecture.task {
        let (asked, learnt) = (form.task, architecture.task);
        return Some(format!("the dataset is for {asked:?}, the model for {learnt:?}"));
    }
    if form.shape != architecture.input {
        let (has, takes) = (&form.shape, &architecture.input);
        return Some(format!(
            "the dataset's samples have the shape {has:?}, the model takes {takes:?}"
        ));
    }
    // A class of a mask is its number, whatever it is called here or there.
    if let (Task::Segment, Some(ours)) = (form.task, &form.labels)
        && !ours.starts_with(&description.labels)
    {
        let theirs = &description.labels;
        return Some(format!(
            "the dataset's masks have the classes {ours:?}, the model's {theirs:?}"
        ));
    }
    if form.element != description.element {
        let (has, takes) = (&form.element, &description.element);
        return Some(format!("the dataset's samples are {has:?}, the model takes {takes:?}"));
    }
    None
}
