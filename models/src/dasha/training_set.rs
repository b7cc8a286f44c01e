//! Which labelled samples a training takes and for which part, and what its outputs are: one rule for who decides whether
//! there is to be a training and for who lays its samples out.

use std::collections::BTreeSet;
use std::iter::Sum;
use std::sync::Arc;

use super::architecture::Task;
use super::samples::Split;
use super::split::{SPLIT_SEED, is_cut};

/// What a label says of what can be learnt. Many samples share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelKind {
    /// One class.
    Class(Arc<str>),
    /// Any number of classes.
    Classes(Box<[Arc<str>]>),
    /// So many numbers.
    Numbers(usize),
    /// A class for each position: those that are there, each with its number in the mask.
    Mask(Box<[(u8, Arc<str>)]>),
}

impl LabelKind {
    /// The classes in it; of a mask those that any position has.
    pub fn classes(&self) -> impl Iterator<Item = &Arc<str>> {
        let listed: &[Arc<str>] = match self {
            Self::Class(class) => std::slice::from_ref(class),
            Self::Classes(classes) => classes,
            Self::Mask(_) | Self::Numbers(_) => &[],
        };
        let masked = match self {
            Self::Mask(classes) => &classes[..],
            _ => &[],
        };
        listed.iter().chain(masked.iter().map(|(_, class)| class))
    }

    /// Whether it is one for this task and these outputs. Where nobody states the outputs, any class will do; a mask is of
    /// numbers, though, and needs names for them.
    pub fn fits(&self, task: Task, outputs: Option<&[String]>) -> bool {
        let is_output = |class: &str| outputs.is_none_or(|outputs| outputs.iter().any(|output| output == class));
        match (task, self) {
            (Task::Classify, Self::Class(_)) | (Task::Multilabel, Self::Classes(_)) => {
                self.classes().all(|class| is_output(class))
            }
            (Task::Segment, Self::Mask(classes)) => outputs.is_some_and(|outputs| {
                let mut classes = classes.iter();
                classes.all(|(number, class)| outputs.get(usize::from(*number)).is_some_and(|name| **name == **class))
            }),
            (Task::Regress, Self::Numbers(numbers)) => outputs.is_none_or(|outputs| outputs.len() == *numbers),
            _ => false,
        }
    }
}

/// How many samples are for which part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitCounts {
    /// As they came: for training, validation and test.
    pub told: [u64; 3],
    /// Of those for training, those that validation gets where none is for it.
    pub cut: u64,
}

impl SplitCounts {
    /// Counts a sample in, or out.
    pub fn count(&mut self, split: Split, id: &str, by: impl Fn(&mut u64)) {
        by(&mut self.told[split as usize]);
        if split == Split::Train && is_cut(SPLIT_SEED, id.as_bytes()) {
            by(&mut self.cut);
        }
    }
}

impl Sum for SplitCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |Self { told, cut }, more| Self {
            told: std::array::from_fn(|split| told[split] + more.told[split]),
            cut: cut + more.cut,
        })
    }
}

/// What a training takes of the labelled samples that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingSet {
    task: Task,
    outputs: Vec<String>,
    cuts: bool,
}

impl TrainingSet {
    /// Of these samples, for a task with these outputs. Where nobody states them, they are the classes that a sample for
    /// training has. Where no sample that may be taken is for validation, a part of those for training is.
    pub fn new<'a>(
        task: Task,
        outputs: Option<Vec<String>>,
        samples: impl Iterator<Item = (&'a LabelKind, SplitCounts)> + Clone,
    ) -> Self {
        let fitting = samples.filter(|(kind, _)| kind.fits(task, outputs.as_deref()));
        let counts: SplitCounts = fitting.clone().map(|(_, counts)| counts).sum();
        let cuts = counts.told[Split::Validation as usize] == 0;
        let mut set = Self {
            task,
            outputs: Vec::new(),
            cuts,
        };
        let trained = fitting.filter(|(_, counts)| set.parts(*counts)[Split::Train as usize] > 0);
        let classes: BTreeSet<&Arc<str>> = trained.flat_map(|(kind, _)| kind.classes()).collect();
        let names = || classes.iter().map(|class| class.to_string()).collect();
        set.outputs = outputs.clone().unwrap_or_else(names);
        set
    }

    /// Names of the outputs, in their order.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Whether validation gets a part of the samples for training, since none is for it.
    pub fn cuts(&self) -> bool {
        self.cuts
    }

    /// Whether samples with such a label are taken.
    pub fn takes(&self, kind: &LabelKind) -> bool {
        kind.fits(self.task, Some(&self.outputs))
    }

    /// What a sample is for that was told to be for this.
    pub fn split(&self, told: Split, id: &str) -> Split {
        let is_cut = self.cuts && told == Split::Train && is_cut(SPLIT_SEED, id.as_bytes());
        if is_cut { Split::Validation } else { told }
    }

    /// How many of these samples are for training, validation and test.
    pub fn parts(&self, SplitCounts { told, cut }: SplitCounts) -> [u64; 3] {
        let [train, validation, test] = told;
        let cut = if self.cuts { cut } else { 0 };
        [train - cut, validation + cut, test]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn class(class: &str) -> LabelKind {
        LabelKind::Class(class.into())
    }

    fn told(train: u64, validation: u64, test: u64) -> SplitCounts {
        SplitCounts {
            told: [train, validation, test],
            cut: train / 5,
        }
    }

    fn of(outputs: Option<&[&str]>, samples: &[(LabelKind, SplitCounts)]) -> TrainingSet {
        let samples = samples.iter().map(|(kind, counts)| (kind, *counts));
        TrainingSet::new(Task::Classify, outputs.map(names), samples)
    }

    #[test]
    fn a_label_fits_where_its_classes_are_outputs_and_a_mask_where_its_numbers_are_called_so() {
        let several = LabelKind::Classes(["a".into(), "b".into()].into());
        let mask = LabelKind::Mask([(0, "a".into()), (2, "c".into())].into());
        let cases: [(Task, LabelKind, Option<&[&str]>, bool); 16] = [
            (Task::Classify, class("a"), Some(&["b", "a"]), true),
            (Task::Classify, class("a"), Some(&["b"]), false),
            (Task::Classify, class("a"), None, true),
            (Task::Multilabel, several.clone(), Some(&["b", "a", "c"]), true),
            (Task::Multilabel, several.clone(), Some(&["a"]), false),
            (Task::Multilabel, LabelKind::Classes(Box::new([])), Some(&["a"]), true),
            (Task::Multilabel, class("a"), None, false),
            (Task::Classify, several, None, false),
            (Task::Segment, mask.clone(), Some(&["a", "b", "c"]), true),
            (Task::Segment, mask.clone(), Some(&["a", "other", "c", "d"]), true),
            (Task::Segment, mask.clone(), Some(&["a", "c"]), false),
            (Task::Segment, mask.clone(), Some(&["c", "b", "a"]), false),
            (Task::Segment, mask, None, false),
            (Task::Regress, LabelKind::Numbers(2), Some(&["x", "y"]), true),
            (Task::Regress, LabelKind::Numbers(2), Some(&["x"]), false),
            (Task::Regress, class("a"), None, false),
        ];
        for (task, kind, outputs, fits) in cases {
            let outputs = outputs.map(names);
            assert_eq!(
                kind.fits(task, outputs.as_deref()),
                fits,
                "{task:?} {kind:?} {outputs:?}"
            );
        }
    }

    #[test]
    fn outputs_are_those_that_are_stated_or_the_classes_of_training() {
        let samples = [
            (class("b"), told(5, 1, 0)),
            (class("a"), told(5, 0, 0)),
            (class("c"), told(0, 1, 4)),
        ];
        let open = of(None, &samples);
        assert_eq!(open.outputs(), ["a", "b"]);
        assert!(open.takes(&class("a")) && !open.takes(&class("c")));
        let closed = of(Some(&["c", "b"]), &samples);
        assert_eq!(closed.outputs(), ["c", "b"]);
        assert!(closed.takes(&class("c")) && !closed.takes(&class("a")));
    }

    #[test]
    fn validation_is_cut_from_training_where_no_sample_that_may_be_taken_is_for_it() {
        let samples = [(class("a"), told(10, 0, 3)), (class("b"), told(10, 2, 0))];
        let has_some = of(None, &samples);
        assert_eq!((has_some.cuts(), has_some.parts(told(10, 2, 1))), (false, [10, 2, 1]));
        let has_none = of(Some(&["a"]), &samples);
        assert_eq!((has_none.cuts(), has_none.parts(told(10, 0, 3))), (true, [8, 2, 3]));
        let splits = |set: &TrainingSet, told| {
            let mut counts = [0; 3];
            (0..1000).for_each(|id| counts[set.split(told, &format!("id {id}")) as usize] += 1);
            counts
        };
        assert_eq!(splits(&has_some, Split::Train), [1000, 0, 0]);
        let [train, validation, test] = splits(&has_none, Split::Train);
        assert!(
            (120..180).contains(&validation) && train + validation == 1000 && test == 0,
            "{validation}"
        );
        assert_eq!(splits(&has_none, Split::Test), [0, 0, 1000]);
        let mut counts = SplitCounts::default();
        (0..1000).for_each(|id| counts.count(Split::Train, &format!("id {id}"), |count| *count += 1));
        assert_eq!(
            has_none.parts(counts),
            [train, validation, 0],
            "what is counted is what is split"
        );
    }

    #[test]
    fn a_class_whose_only_sample_is_cut_from_training_is_no_output() {
        let mut only = SplitCounts {
            told: [1, 0, 0],
            cut: 1,
        };
        assert_eq!(
            of(None, &[(class("a"), only), (class("b"), told(10, 0, 0))]).outputs(),
            ["b"]
        );
        only.cut = 0;
        assert_eq!(
            of(None, &[(class("a"), only), (class("b"), told(10, 0, 0))]).outputs(),
            ["a", "b"]
        );
    }
}
