//! How often each class was taken for each, and what follows from it.

use serde::{Deserialize, Serialize};

use super::mean_of_defined;

/// A confusion matrix: samples, or pixels, of each class by what they were predicted to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    classes: usize,
    /// A row for each true class.
    counts: Vec<u64>,
}

impl Confusion {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        let counts = vec![0; classes * classes];
        Self { classes, counts }
    }

    /// Of predictions, the class with the greatest score of each row, the first of equals. None where a score is not a
    /// number.
    pub fn of_scores(scores: &[f32], labels: &[u32], classes: usize) -> Option<Self> {
        assert_eq!(
            scores.len(),
            labels.len() * classes,
            "a score for each class of each sample"
        );
        let mut confusion = Self::new(classes);
        if classes == 0 {
            return Some(confusion);
        }
        for (row, label) in scores.chunks_exact(classes).zip(labels) {
            if row.iter().any(|score| score.is_nan()) {
                return None;
            }
            let best = (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            confusion.add(*label as usize, best);
        }
        Some(confusion)
    }

    /// Counts one more.
    ///
    /// # Panics
    ///
    /// If there is no such class.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        self.add_many(truth, predicted, 1);
    }

    /// Counts so many more.
    ///
    /// # Panics
    ///
    /// If there is no such class.
    pub fn add_many(&mut self, truth: usize, predicted: usize, count: u64) {
        assert!(truth < self.classes && predicted < self.classes, "no such class");
        self.counts[truth * self.classes + predicted] += count;
    }

    /// How many of class `truth` were predicted to be of class `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }

    /// So many classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// All that were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those of a class.
    pub fn of_class(&self, class: usize) -> u64 {
        (0..self.classes).map(|predicted| self.count(class, predicted)).sum()
    }

    /// Those predicted to be of a class.
    pub fn predicted_as(&self, class: usize) -> u64 {
        (0..self.classes).map(|truth| self.count(truth, class)).sum()
    }

    fn correct(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// The part that got its class.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.correct(), self.total())
    }

    /// The part of a class that was found; none where there is none of it.
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(self.count(class, class), self.of_class(class))
    }

    /// The mean of the recalls, over the classes that are there.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        mean_of_defined((0..self.classes).map(|class| self.recall(class)))
    }

    /// F1 of a class; none where it neither is there nor was predicted.
    pub fn f1(&self, class: usize) -> Option<f64> {
        let both = self.of_class(class) + self.predicted_as(class);
        ratio(2 * self.count(class, class), both)
    }

    /// The mean of F1 over the classes that are there or were predicted.
    pub fn macro_f1(&self) -> Option<f64> {
        mean_of_defined((0..self.classes).map(|class| self.f1(class)))
    }

    /// Intersection over union (Jaccard) of a class; none where it neither is there nor was predicted.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let intersection = self.count(class, class);
        ratio(
            intersection,
            self.of_class(class) + self.predicted_as(class) - intersection,
        )
    }

    /// The mean of IoU over the classes that are there or were predicted.
    pub fn mean_iou(&self) -> Option<f64> {
        mean_of_defined((0..self.classes).map(|class| self.iou(class)))
    }

    /// Matthews' correlation coefficient, of more than two classes Gorodkin's R_K (2004). None where one class only is
    /// there; 0 where one class only was predicted, which tells nothing of the others.
    pub fn mcc(&self) -> Option<f64> {
        let total = self.total() as f64;
        let (mut agreement, mut truth, mut predicted) = (0.0, 0.0, 0.0);
        for class in 0..self.classes {
            let (of_class, predicted_as) = (self.of_class(class) as f64, self.predicted_as(class) as f64);
            agreement += of_class * predicted_as;
            truth += of_class * of_class;
            predicted += predicted_as * predicted_as;
        }
        let of_truth = total * total - truth;
        let of_predicted = total * total - predicted;
        if of_truth <= 0.0 {
            return None;
        }
        if of_predicted <= 0.0 {
            return Some(0.0);
        }
        Some((self.correct() as f64 * total - agreement) / (of_truth.sqrt() * of_predicted.sqrt()))
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
