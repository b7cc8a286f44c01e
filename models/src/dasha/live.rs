//! What predictions turn out to be worth once their truth comes, and how they are spread: numbers that forget by halves,
//! counted in samples, so that they take the same little memory for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::metrics::{Confusion, Metric};
use crate::accuracy::Mean;

/// Samples after which one counts half.
pub const HALF_LIFE: f64 = 512.0;

/// Probability from which one of several classes is said to be there.
pub const THERE: f32 = 0.5;

/// The likeliest of classes, the first of equals.
pub fn likeliest(scores: &[f32]) -> usize {
    (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
}

/// A prediction beside its truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LiveOutcome {
    /// One class was to be told.
    Class {
        /// It was this one.
        hit: bool,
    },
    /// Any number of classes were to be told.
    Classes {
        /// Said, and there.
        found: u32,
        /// Said, and not there.
        extra: u32,
        /// There, and not said.
        missed: u32,
    },
    /// Numbers were to be told.
    Numbers {
        /// The mean of their squared errors.
        square: f64,
    },
    /// A class for each position was to be told: what that is worth, a [`LiveConfusion`] tells.
    Mask,
}

/// In what a [`LiveScore`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveMetric {
    /// The share of samples that got their class.
    Accuracy,
    /// Harmonic mean of precision and recall, all classes counted together.
    MicroF1,
    /// Root of the mean squared error, in the numbers' own units; the only one of which less is better.
    Rmse,
    /// The mean of the classes' intersection over union, all positions counted together.
    MeanIou,
}

impl LiveMetric {
    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MicroF1 => "micro_f1",
            Self::Rmse => "rmse",
            Self::MeanIou => "mean_iou",
        }
    }
}

/// What predictions were worth, those of the newest truths weighing most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LiveScore {
    scored: u64,
    metric: Option<LiveMetric>,
    part: Mean,
    whole: Mean,
}

impl LiveScore {
    /// Takes a prediction whose truth came. One for another task begins anew.
    pub fn add(&mut self, outcome: LiveOutcome) {
        let (metric, part, whole) = match outcome {
            LiveOutcome::Class { hit } => (LiveMetric::Accuracy, f64::from(u8::from(hit)), 1.0),
            LiveOutcome::Classes { found, extra, missed } => {
                let twice = 2.0 * f64::from(found);
                (LiveMetric::MicroF1, twice, twice + f64::from(extra) + f64::from(missed))
            }
            LiveOutcome::Numbers { square } => (LiveMetric::Rmse, square, 1.0),
            LiveOutcome::Mask => (LiveMetric::MeanIou, 0.0, 0.0),
        };
        if self.metric != Some(metric) {
            *self = Self::default();
            self.metric = Some(metric);
        }
        self.scored += 1;
        // One error beyond all measure would stand in the sums for ever.
        if part.is_finite() {
            self.part.add(part, HALF_LIFE);
            self.whole.add(whole, HALF_LIFE);
        }
    }

    /// Predictions that were held against their truth, from the first on.
    pub fn scored(&self) -> u64 {
        self.scored
    }

    /// In what it is told, and how much; `None` before anything can be. `confusion` is of the same predictions.
    pub fn value(&self, confusion: &LiveConfusion) -> Option<(LiveMetric, f64)> {
        let metric = self.metric?;
        let ratio = || {
            let whole = self.whole.value().filter(|whole| *whole > 0.0)?;
            Some(self.part.value()? / whole)
        };
        let value = match metric {
            LiveMetric::Rmse => ratio()?.sqrt(),
            LiveMetric::Accuracy | LiveMetric::MicroF1 => ratio()?,
            LiveMetric::MeanIou => confusion.score(Metric::MeanIou)?,
        };
        Some((metric, value))
    }
}

/// Which class was said for which, of samples or of the positions of masks, so that a score by another metric than accuracy
/// can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveConfusion {
    /// The weight of the newest sample. It grows, so that none of the others need shrink.
    newest: f64,
    /// By what is true, then by what was said.
    weights: BTreeMap<Arc<str>, BTreeMap<Arc<str>, f64>>,
}

impl LiveConfusion {
    /// Beyond so many pairs of classes further ones are left out: nobody bounds what a file calls its labels.
    const PAIRS: usize = 1 << 14;

    /// Weights grow up to this before all of them are brought down.
    const HEAVIEST: f64 = 1e30;

    /// Weights become whole numbers of this part of the newest.
    const FINEST: f64 = 1.0 / 16_777_216.0;

    /// Takes a class whose truth came.
    pub fn add(&mut self, said: &str, truth: &str) {
        self.add_positions([(said, truth, 1)]);
    }

    /// Takes a mask whose truth came: of classes said and true, the positions that have both.
    pub fn add_positions<'c>(&mut self, pairs: impl IntoIterator<Item = (&'c str, &'c str, u64)>) {
        self.newest = (self.newest * (1.0 / HALF_LIFE).exp2()).max(1.0);
        if self.newest > Self::HEAVIEST {
            let heaviest = std::mem::replace(&mut self.newest, 1.0);
            let all = self.weights.values_mut().flat_map(BTreeMap::values_mut);
            all.for_each(|weight| *weight /= heaviest);
        }
        for (said, truth, positions) in pairs {
            self.weigh(said, truth, self.newest * positions as f64);
        }
    }

    fn weigh(&mut self, said: &str, truth: &str, by: f64) {
        let pairs: usize = self.weights.values().map(BTreeMap::len).sum();
        let of_truth = match self.weights.get_mut(truth) {
            Some(of_truth) => of_truth,
            None => self.weights.entry(truth.into()).or_default(),
        };
        match of_truth.get_mut(said) {
            Some(weight) => *weight += by,
            None if pairs < Self::PAIRS => drop(of_truth.insert(said.into(), by)),
            None => {}
        }
    }

    /// The score by a metric that classes alone tell.
    pub fn score(&self, metric: Metric) -> Option<f64> {
        let said = self.weights.values().flat_map(BTreeMap::keys);
        let classes: BTreeSet<&Arc<str>> = self.weights.keys().chain(said).collect();
        let classes: Vec<&Arc<str>> = classes.into_iter().collect();
        let place = |class: &Arc<str>| classes.binary_search(&class).expect("it is among all");
        let mut confusion = Confusion::new(classes.len());
        for (truth, of_truth) in &self.weights {
            for (said, weight) in of_truth {
                let parts = weight / (self.newest * Self::FINEST);
                confusion.add_many(place(truth), place(said), parts.round() as u64);
            }
        }
        match metric {
            Metric::Accuracy => confusion.accuracy(),
            Metric::BalancedAccuracy => confusion.balanced_accuracy(),
            Metric::Mcc => confusion.mcc(),
            Metric::MacroF1 => confusion.macro_f1(),
            Metric::MeanIou => confusion.mean_iou(),
            _ => None,
        }
    }
}

/// How often two versions say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    compared: u64,
    same: Mean,
}

impl Agreement {
    /// Takes what both said of one sample: all the same, nothing the same, or of a mask the share of its positions.
    pub fn add(&mut self, same: f64) {
        self.compared += 1;
        self.same.add(same, HALF_LIFE);
    }

    /// Samples that both have predicted.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// The share of which they said the same, of masks the share of positions; `None` before the first.
    pub fn share(&self) -> Option<f64> {
        self.same.value()
    }
}

/// Which share of samples each class has had lately, or which share of the positions of masks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassShares {
    weight: f64,
    classes: BTreeMap<Arc<str>, f64>,
}

impl ClassShares {
    /// Takes one sample of which these classes are said, each with its part: 1, or of a mask the share of its positions.
    pub fn add<'c>(&mut self, classes: impl Iterator<Item = (&'c Arc<str>, f64)>) {
        let keep = (-1.0 / HALF_LIFE).exp2();
        self.weight = self.weight * keep + 1.0;
        self.classes.values_mut().for_each(|weight| *weight *= keep);
        for (class, part) in classes {
            *self.classes.entry(Arc::clone(class)).or_default() += part;
        }
    }

    /// Each class that was ever said, with its share.
    pub fn shares(&self) -> impl Iterator<Item = (&Arc<str>, f64)> {
        self.classes.iter().map(|(class, weight)| (class, weight / self.weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(outcomes: &[LiveOutcome]) -> LiveScore {
        let mut score = LiveScore::default();
        outcomes.iter().for_each(|outcome| score.add(*outcome));
        score
    }

    fn close(score: &LiveScore, metric: LiveMetric, expected: f64) -> bool {
        let (found, value) = score.value(&LiveConfusion::default()).expect("a score");
        found == metric && (value - expected).abs() < 2e-3 // a few samples have nearly the same weight
    }

    #[test]
    fn accuracy_f1_and_rmse_are_what_the_textbook_says() {
        let [hit, miss] = [true, false].map(|hit| LiveOutcome::Class { hit });
        assert!(close(&score(&[hit, hit, miss, hit]), LiveMetric::Accuracy, 0.75));
        let of = |found, extra, missed| LiveOutcome::Classes { found, extra, missed };
        assert!(close(
            &score(&[of(2, 1, 0), of(0, 0, 1)]),
            LiveMetric::MicroF1,
            4.0 / 6.0
        ));
        let none = LiveConfusion::default();
        assert_eq!(score(&[of(0, 0, 0)]).value(&none), None, "no class anywhere");
        let squares = [4.0, 16.0].map(|square| LiveOutcome::Numbers { square });
        assert!(close(&score(&squares), LiveMetric::Rmse, 10.0_f64.sqrt()));
    }

    #[test]
    fn what_came_a_half_life_ago_counts_half() {
        let mut outcomes = vec![LiveOutcome::Class { hit: true }; 100_000];
        outcomes.extend(vec![LiveOutcome::Class { hit: false }; HALF_LIFE as usize]);
        let score = score(&outcomes);
        let (_, value) = score.value(&LiveConfusion::default()).expect("a score");
        assert!((value - 0.5).abs() < 1e-9, "{value}");
        assert_eq!(score.scored(), 100_512);
    }

    #[test]
    fn scores_by_class_are_those_of_the_confusion_and_follow_the_newest() {
        let mut live = LiveConfusion::default();
        assert_eq!(live.score(Metric::Mcc), None);
        let mut confusion = Confusion::new(2);
        for (said, truth, times) in [("a", "a", 4), ("b", "a", 1), ("b", "b", 2), ("a", "b", 3)] {
            for _ in 0..times {
                live.add(said, truth);
                confusion.add(usize::from(truth == "b"), usize::from(said == "b"));
            }
        }
        for metric in [Metric::Accuracy, Metric::BalancedAccuracy, Metric::Mcc, Metric::MacroF1] {
            let expected = match metric {
                Metric::Accuracy => confusion.accuracy(),
                Metric::BalancedAccuracy => confusion.balanced_accuracy(),
                Metric::Mcc => confusion.mcc(),
                _ => confusion.macro_f1(),
            };
            let (found, expected) = (live.score(metric).expect("a score"), expected.expect("a score"));
            assert!((found - expected).abs() < 0.01, "{metric:?}: {found} {expected}");
        }
        assert_eq!(live.score(Metric::MacroAp), None, "classes do not tell it");
        for _ in 0..100_000 {
            live.add("a", "b");
        }
        (0..HALF_LIFE as usize).for_each(|_| live.add("a", "a"));
        let accuracy = live.score(Metric::Accuracy).expect("a score");
        assert!((accuracy - 0.5).abs() < 1e-6, "{accuracy}");
    }

    #[test]
    fn masks_are_worth_the_mean_iou_of_all_positions_together_the_newest_masks_weighing_most() {
        let mut live = LiveConfusion::default();
        let mut confusion = Confusion::new(2);
        let names = ["land", "road"];
        for cells in [
            [(0, 0, 900), (1, 0, 50), (1, 1, 50)],
            [(0, 0, 700), (0, 1, 100), (1, 1, 200)],
        ] {
            live.add_positions(cells.map(|(truth, said, count)| (names[said], names[truth], count)));
            for (truth, said, count) in cells {
                confusion.add_many(truth, said, count);
            }
        }
        let expected = confusion.mean_iou().expect("positions");
        let score = score(&[LiveOutcome::Mask, LiveOutcome::Mask]);
        let (metric, value) = score.value(&live).expect("a score");
        assert_eq!((metric, score.scored()), (LiveMetric::MeanIou, 2));
        assert!((value - expected).abs() < 1e-3, "{value} {expected}");
        (0..50_000).for_each(|_| live.add_positions([("road", "land", 10)]));
        (0..HALF_LIFE as usize).for_each(|_| live.add_positions([("land", "land", 10)]));
        let (_, value) = score.value(&live).expect("a score");
        assert!((value - 0.25).abs() < 1e-6, "half of land, nothing of road: {value}");
    }

    #[test]
    fn an_error_beyond_all_measure_is_counted_and_not_summed() {
        let [sane, mad] = [1.0, f64::INFINITY].map(|square| LiveOutcome::Numbers { square });
        let score = score(&[sane, mad]);
        let value = score.value(&LiveConfusion::default());
        assert_eq!((score.scored(), value), (2, Some((LiveMetric::Rmse, 1.0))));
    }

    #[test]
    fn shares_follow_what_was_said_lately() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut shares = ClassShares::default();
        for _ in 0..HALF_LIFE as usize {
            shares.add([(&a, 1.0)].into_iter());
        }
        for _ in 0..HALF_LIFE as usize {
            shares.add([(&b, 1.0)].into_iter());
        }
        let found: Vec<f64> = shares.shares().map(|(_, share)| share).collect();
        assert!(
            (found[0] - 1.0 / 3.0).abs() < 1e-9 && (found[1] - 2.0 / 3.0).abs() < 1e-9,
            "{found:?}"
        );
    }

    #[test]
    fn the_first_of_equal_classes_is_the_likeliest() {
        assert_eq!([likeliest(&[0.2, 0.5, 0.5]), likeliest(&[1.0])], [1, 0]);
    }
}
