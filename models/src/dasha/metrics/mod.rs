//! What predictions are worth. Greater is better everywhere; what is not defined is none, never NaN.
//!
//! [`Confusion`] counts classes, [`ranking`] compares scores, [`regression`] numbers. A [`Metric`] is the one by which
//! epochs, trials and backbones are chosen.

mod confusion;
pub mod ranking;
pub mod regression;

use serde::{Deserialize, Serialize};

use super::architecture::Task;

pub use confusion::Confusion;

/// By what a network is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The part of samples that got their class.
    Accuracy,
    /// The mean of that part over the classes.
    BalancedAccuracy,
    /// Matthews' correlation coefficient, for any number of classes.
    Mcc,
    /// The area under the ROC curve, of more than two classes the mean of each against the rest.
    RocAuc,
    /// The mean of the classes' F1.
    MacroF1,
    /// The mean of the classes' average precision.
    MacroAp,
    /// Average precision over all pairs of sample and class.
    MicroAp,
    /// The mean of the classes' intersection over union.
    MeanIou,
    /// Less the root of the mean squared error.
    NegativeRmse,
    /// The part of the variance that is explained.
    R2,
}

/// Predictions beside what is true.
#[derive(Clone, Copy, Debug)]
pub enum Outcomes<'a> {
    /// One class for each sample.
    Classify {
        /// Row by row, one for each class; the greatest is the prediction. For [`Metric::RocAuc`] probabilities or
        /// their logarithms, comparable between samples.
        scores: &'a [f32],
        /// Of each sample.
        labels: &'a [u32],
        /// So many.
        classes: usize,
    },
    /// Any number of classes for each sample.
    Multilabel {
        /// Row by row, one for each class.
        scores: &'a [f32],
        /// Row by row: 1 where the class is there, else 0.
        targets: &'a [u8],
        /// So many.
        classes: usize,
    },
    /// One class for each position, counted.
    Segment(&'a Confusion),
    /// Numbers for each sample.
    Regress {
        /// Row by row.
        predictions: &'a [f32],
        /// Row by row.
        targets: &'a [f32],
        /// Numbers of each sample.
        outputs: usize,
    },
}

impl Outcomes<'_> {
    /// Every score that is defined for them, in the order of [`Metric::ALL`].
    pub fn scores(self) -> Vec<(Metric, f64)> {
        let defined = Metric::ALL.into_iter();
        defined
            .filter_map(|metric| Some((metric, metric.score(self)?)))
            .collect()
    }
}

impl Metric {
    /// Every metric, in the order in which scores are told.
    pub const ALL: [Self; 10] = [
        Self::Accuracy,
        Self::BalancedAccuracy,
        Self::Mcc,
        Self::RocAuc,
        Self::MacroF1,
        Self::MacroAp,
        Self::MicroAp,
        Self::MeanIou,
        Self::NegativeRmse,
        Self::R2,
    ];

    /// By what to choose unless the user says.
    ///
    /// Of two classes one is often rare (a splice site, a brick kiln), and who never finds it has a high accuracy, so
    /// there it is Matthews' coefficient, which the paper takes for sequences as well. With more classes accuracy, the
    /// paper's for scenes. Rare labels count as much as others in macro average precision, rare classes of pixels in
    /// mean IoU.
    pub fn of_task(task: Task, outputs: usize) -> Self {
        match task {
            Task::Classify if outputs == 2 => Self::Mcc,
            Task::Classify => Self::Accuracy,
            Task::Multilabel => Self::MacroAp,
            Task::Segment => Self::MeanIou,
            Task::Regress => Self::NegativeRmse,
        }
    }

    /// Whether a task's predictions can be scored by it.
    pub fn suits(self, task: Task) -> bool {
        match self {
            Self::Accuracy | Self::BalancedAccuracy | Self::Mcc | Self::MacroF1 | Self::MeanIou => {
                matches!(task, Task::Classify | Task::Segment)
            }
            Self::RocAuc => matches!(task, Task::Classify | Task::Multilabel),
            Self::MacroAp | Self::MicroAp => task == Task::Multilabel,
            Self::NegativeRmse | Self::R2 => task == Task::Regress,
        }
    }

    /// As results name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced_accuracy",
            Self::Mcc => "mcc",
            Self::RocAuc => "roc_auc",
            Self::MacroF1 => "macro_f1",
            Self::MacroAp => "macro_ap",
            Self::MicroAp => "micro_ap",
            Self::MeanIou => "mean_iou",
            Self::NegativeRmse => "negative_rmse",
            Self::R2 => "r2",
        }
    }

    /// The score; greater is better. None where it is not defined: nothing to score, one class only where two are
    /// compared, a prediction that is not a number, a task that it does not [suit](Self::suits).
    pub fn score(self, outcomes: Outcomes<'_>) -> Option<f64> {
        match outcomes {
            Outcomes::Classify {
                scores,
                labels,
                classes,
            } if self == Self::RocAuc => ranking::roc_auc_of_classes(scores, labels, classes),
            Outcomes::Classify {
                scores,
                labels,
                classes,
            } => self.of_confusion(&Confusion::of_scores(scores, labels, classes)?),
            Outcomes::Segment(confusion) => self.of_confusion(confusion),
            Outcomes::Multilabel {
                scores,
                targets,
                classes,
            } => match self {
                Self::MacroAp => ranking::macro_average_precision(scores, targets, classes),
                Self::MicroAp => ranking::average_precision(scores, &ranking::flags(targets)),
                Self::RocAuc => ranking::macro_roc_auc(scores, targets, classes),
                _ => None,
            },
            Outcomes::Regress {
                predictions,
                targets,
                outputs,
            } => match self {
                Self::NegativeRmse => regression::rmse(predictions, targets).map(|error| -error),
                Self::R2 => regression::r2(predictions, targets, outputs),
                _ => None,
            },
        }
    }

    fn of_confusion(self, confusion: &Confusion) -> Option<f64> {
        match self {
            Self::Accuracy => confusion.accuracy(),
            Self::BalancedAccuracy => confusion.balanced_accuracy(),
            Self::Mcc => confusion.mcc(),
            Self::MacroF1 => confusion.macro_f1(),
            Self::MeanIou => confusion.mean_iou(),
            _ => None,
        }
    }
}

/// The mean of what is defined; none where nothing is.
fn mean_of_defined(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let defined: Vec<f64> = values.into_iter().flatten().collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}
