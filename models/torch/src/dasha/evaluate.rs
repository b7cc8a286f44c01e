//! What a network says of a whole split, and what that is worth.

use anyhow::Context;
use forecastd_models::dasha::card::{Evaluation, OutputScores};
use forecastd_models::dasha::metrics::{Confusion, ranking, regression};
use forecastd_models::dasha::samples::NO_CLASS;
use forecastd_models::dasha::{Metric, Outcomes, Scaling, Task};
use tch::{Device, Kind, Tensor};

use crate::samples::{Batch, Loader, Scales};

/// One split, to be predicted again and again.
#[derive(Debug)]
pub(super) struct Examiner {
    loader: Loader,
    task: Task,
    outputs: usize,
    /// Back to the units of what is regressed.
    targets: Option<Scales>,
}

/// Predictions for a split beside what is true.
#[derive(Debug)]
pub(super) struct Predictions {
    task: Task,
    outputs: usize,
    scores: Vec<f32>,
    classes: Vec<u32>,
    flags: Vec<u8>,
    numbers: Vec<f32>,
    confusion: Confusion,
}

impl Examiner {
    /// Of a loader that goes through a split once, in order.
    pub(super) fn new(loader: Loader, task: Task, outputs: usize, scaling: &Scaling, device: Device) -> Self {
        let targets = scaling.targets.as_ref().map(|targets| Scales::new(targets, 0, device));
        Self {
            loader,
            task,
            outputs,
            targets,
        }
    }

    /// What `forward` says of every sample.
    pub(super) fn predictions(&self, forward: &dyn Fn(&Tensor) -> Tensor) -> anyhow::Result<Predictions> {
        let mut predictions = Predictions::none(self.task, self.outputs);
        let _guard = tch::no_grad_guard();
        for batch in self.loader.epoch(0)? {
            let outputs = forward(&batch.inputs).to_kind(Kind::Float);
            self.add(&mut predictions, &outputs, &batch)
                .context("predictions of a batch")?;
        }
        Ok(predictions)
    }

    fn add(&self, predictions: &mut Predictions, outputs: &Tensor, batch: &Batch) -> anyhow::Result<()> {
        let flat = |values: &Tensor| Vec::<f32>::try_from(values.flatten(0, -1).to_kind(Kind::Float));
        match self.task {
            Task::Classify => {
                predictions.scores.extend(flat(&outputs.softmax(1, Kind::Float))?);
                let classes: Vec<i64> = Vec::try_from(&batch.targets)?;
                predictions
                    .classes
                    .extend(classes.into_iter().map(|class| class as u32));
            }
            Task::Multilabel => {
                predictions.scores.extend(flat(&outputs.sigmoid())?);
                predictions
                    .flags
                    .extend(flat(&batch.targets)?.into_iter().map(|flag| flag as u8));
            }
            Task::Segment => predictions.count_pixels(outputs, &batch.targets)?,
            Task::Regress => {
                let undone = |values: &Tensor| match &self.targets {
                    Some(scales) => scales.undo(values),
                    None => values.shallow_clone(),
                };
                predictions.scores.extend(flat(&undone(outputs))?);
                predictions.numbers.extend(flat(&undone(&batch.targets))?);
            }
        }
        Ok(())
    }
}

impl Predictions {
    fn none(task: Task, outputs: usize) -> Self {
        Self {
            task,
            outputs,
            scores: Vec::new(),
            classes: Vec::new(),
            flags: Vec::new(),
            numbers: Vec::new(),
            confusion: Confusion::new(if task == Task::Segment { outputs } else { 0 }),
        }
    }

    /// On the device: one number for each pair of classes crosses.
    fn count_pixels(&mut self, outputs: &Tensor, truth: &Tensor) -> anyhow::Result<()> {
        let classes = self.outputs as i64;
        let known = truth.not_equal(i64::from(NO_CLASS));
        let pairs = (truth * classes + outputs.argmax(1, false)).masked_select(&known);
        let counts = pairs.bincount(None::<Tensor>, classes * classes);
        let counts: Vec<i64> = Vec::try_from(counts)?;
        for (pair, count) in counts.into_iter().enumerate() {
            let (truth, predicted) = (pair / self.outputs, pair % self.outputs);
            self.confusion.add_many(truth, predicted, count as u64);
        }
        Ok(())
    }

    fn outcomes(&self) -> Outcomes<'_> {
        match self.task {
            Task::Classify => Outcomes::Classify {
                scores: &self.scores,
                labels: &self.classes,
                classes: self.outputs,
            },
            Task::Multilabel => Outcomes::Multilabel {
                scores: &self.scores,
                targets: &self.flags,
                classes: self.outputs,
            },
            Task::Segment => Outcomes::Segment(&self.confusion),
            Task::Regress => Outcomes::Regress {
                predictions: &self.scores,
                targets: &self.numbers,
                outputs: self.outputs,
            },
        }
    }

    /// By this metric; the worst number where it is not defined, as of a network that has diverged.
    pub(super) fn score(&self, metric: Metric) -> f64 {
        let score = metric.score(self.outcomes()).filter(|score| score.is_finite());
        score.unwrap_or(match metric {
            Metric::NegativeRmse | Metric::R2 => f64::MIN,
            Metric::Mcc => -1.0,
            _ => 0.0,
        })
    }

    /// Every score that is defined.
    pub(super) fn evaluation(&self, labels: &[String]) -> Evaluation {
        let scores = self.outcomes().scores().into_iter();
        let confusion = match self.task {
            Task::Classify => Confusion::of_scores(&self.scores, &self.classes, self.outputs),
            Task::Segment => Some(self.confusion.clone()),
            _ => None,
        };
        let outputs = labels.iter().enumerate();
        Evaluation {
            scores: scores.filter(|(_, score)| score.is_finite()).collect(),
            outputs: outputs
                .map(|(output, label)| self.output_scores(output, label, confusion.as_ref()))
                .collect(),
            confusion,
        }
    }

    fn output_scores(&self, output: usize, label: &str, confusion: Option<&Confusion>) -> OutputScores {
        let own = |values: &[f32]| {
            values
                .iter()
                .skip(output)
                .step_by(self.outputs)
                .copied()
                .collect::<Vec<f32>>()
        };
        let positive: Vec<bool> = match self.task {
            Task::Classify => self.classes.iter().map(|class| *class as usize == output).collect(),
            Task::Multilabel => self
                .flags
                .iter()
                .skip(output)
                .step_by(self.outputs)
                .map(|flag| *flag > 0)
                .collect(),
            Task::Segment | Task::Regress => Vec::new(),
        };
        let is_ranked = !positive.is_empty();
        let scores = own(&self.scores);
        let counted = confusion.map_or(
            positive.iter().filter(|positive| **positive).count() as u64,
            |confusion| confusion.of_class(output),
        );
        let numbers = own(&self.numbers);
        OutputScores {
            label: label.to_owned(),
            count: if self.task == Task::Regress {
                numbers.len() as u64
            } else {
                counted
            },
            recall: confusion.and_then(|confusion| confusion.recall(output)),
            f1: confusion.and_then(|confusion| confusion.f1(output)),
            iou: confusion.and_then(|confusion| confusion.iou(output)),
            roc_auc: is_ranked.then(|| ranking::roc_auc(&scores, &positive)).flatten(),
            average_precision: is_ranked
                .then(|| ranking::average_precision(&scores, &positive))
                .flatten(),
            rmse: (self.task == Task::Regress)
                .then(|| regression::rmse(&scores, &numbers))
                .flatten(),
        }
    }
}
