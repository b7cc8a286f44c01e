//! Whether a version of a model is better than the one that is active: the rule by which one takes the other's place,
//! with its reason in words.
//!
//! Scores are compared as they stand in the cards, each on its own validation samples; but where the active version has
//! proved worse than its card, by what it was proved. Whoever asks the model must not
//! notice the change but by better answers, so both must take the same input and give the same outputs. Only further
//! classes may join those of the active version, where answers name their class.

use super::Task;
use super::artifact::ModelDescription;
use super::metrics::Metric;

/// A version as the rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct Contender<'a> {
    /// What it takes and gives.
    pub description: &'a ModelDescription,
    /// By what it was chosen.
    pub metric: Metric,
    /// By that, on validation; greater is better. None where it is not defined.
    pub score: Option<f64>,
    /// What tells its data from others.
    pub data: &'a str,
    /// By the same metric, what its answers were worth whose truth came later, and how many these are.
    pub live: Option<(f64, u64)>,
}

/// Samples below which what answers were worth says nothing.
pub const FEWEST_LIVE: u64 = 50;

/// What the rule says, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is better than the active one, or none is active.
    Better(String),
    /// It is not better, or not by enough.
    NotBetter(String),
    /// It cannot be said: another metric, another task, input or output, or no score.
    Incomparable(String),
}

impl Verdict {
    /// Why.
    pub fn reason(&self) -> &str {
        match self {
            Self::Better(reason) | Self::NotBetter(reason) | Self::Incomparable(reason) => reason,
        }
    }
}

/// Differences below this are rounding: 0.3 is better than 0.2 by 0.1.
const ROUNDING: f64 = 1e-12;

/// Holds a version against the active one.
pub fn challenge(challenger: Contender<'_>, active: Option<Contender<'_>>, margin: f64) -> Verdict {
    let metric = challenger.metric.name();
    let Some(score) = challenger.score else {
        return Verdict::Incomparable(format!("its {metric} on validation is not defined"));
    };
    let Some(active) = active else {
        return Verdict::Better(format!("{metric} {score:.4} on validation; no version was active"));
    };
    if let Some(difference) = difference(challenger.description, active.description) {
        return Verdict::Incomparable(difference);
    }
    if challenger.metric != active.metric {
        let other = active.metric.name();
        return Verdict::Incomparable(format!("it was chosen by {metric}, the active version by {other}"));
    }
    let Some(promised) = active.score else {
        return Verdict::Incomparable(format!("the {metric} of the active version is not defined"));
    };
    let lives = |(live, samples): &(f64, u64)| *samples >= FEWEST_LIVE && *live < promised;
    let (standing, whence) = match active.live.filter(lives) {
        Some((live, samples)) => {
            let promise = format!("where its validation promised {promised:.4}");
            let whence = format!("the active version on {samples} samples whose labels came later, {promise}");
            (live, whence)
        }
        None => (promised, "the active version".to_owned()),
    };
    let gain = score - standing;
    let data = if challenger.data == active.data {
        "the same data"
    } else {
        "data of its own"
    };
    let more = match challenger.description.labels.len() - active.description.labels.len() {
        0 => String::new(),
        1 => ", 1 output more".to_owned(),
        more => format!(", {more} outputs more"),
    };
    let figures = format!("{metric} {score:.4} on validation, with {data}{more}, against {standing:.4} of {whence}");
    if gain > 0.0 && gain + ROUNDING >= margin {
        Verdict::Better(format!("{figures}: better by {gain:.4}, margin {margin}"))
    } else if gain > 0.0 {
        Verdict::NotBetter(format!("{figures}: better by {gain:.4} only, margin {margin}"))
    } else {
        Verdict::NotBetter(format!("{figures}: not better"))
    }
}

/// Whether it says all that the active version does, and more. Who is told of one class reads its name, wherever it stands;
/// who is told of each class whether it is there reads places, which must stay.
fn has_further_classes(challenger: &ModelDescription, active: &ModelDescription) -> bool {
    let (ours, theirs) = (&challenger.labels, &active.labels);
    ours.len() > theirs.len()
        && match challenger.architecture.task {
            Task::Classify => theirs.iter().all(|label| ours.contains(label)),
            Task::Multilabel => ours.starts_with(theirs),
            Task::Regress | Task::Segment => false,
        }
}

/// The first thing that whoever asks the model would notice; none where they would notice nothing but further classes.
pub fn difference(challenger: &ModelDescription, active: &ModelDescription) -> Option<String> {
    let (ours, theirs) = (&challenger.architecture, &active.architecture);
    if ours.task != theirs.task {
        let (ours, theirs) = (ours.task, theirs.task);
        return Some(format!("its task is {ours:?}, the active version's {theirs:?}"));
    }
    if ours.input != theirs.input {
        let shape = |bands: u32, size: &[u32]| format!("{bands} bands of {size:?}");
        let ours = shape(ours.input.bands, &ours.input.size);
        let theirs = shape(theirs.input.bands, &theirs.input.size);
        return Some(format!("it takes {ours}, the active version {theirs}"));
    }
    if challenger.element != active.element {
        let (ours, theirs) = (&challenger.element, &active.element);
        return Some(format!("it takes elements {ours:?}, the active version {theirs:?}"));
    }
    if challenger.cells != active.cells {
        let (ours, theirs) = (challenger.cells, active.cells);
        return Some(format!("it reads cells as {ours:?}, the active version as {theirs:?}"));
    }
    if has_further_classes(challenger, active) {
        return None;
    }
    if challenger.labels.len() != active.labels.len() {
        let (ours, theirs) = (challenger.labels.len(), active.labels.len());
        return Some(format!("it has {ours} outputs, the active version {theirs}"));
    }
    let mut outputs = challenger.labels.iter().zip(&active.labels).enumerate();
    let (index, (ours, theirs)) = outputs.find(|(_, (ours, theirs))| ours != theirs)?;
    Some(format!(
        "its output {index} is {ours:?}, the active version's {theirs:?}"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dasha::artifact::FORMAT;
    use crate::dasha::{
        Architecture, Backbone, CellFormat, ElementType, Extras, InputShape, Normalisation, Scaling, Task,
    };

    fn described(labels: &[&str]) -> ModelDescription {
        let backbone = Backbone::ResNet { width: 2 };
        ModelDescription {
            format: FORMAT,
            architecture: Architecture {
                pattern: backbone.plain_pattern(),
                backbone,
                input: InputShape {
                    bands: 1,
                    size: vec![16],
                },
                task: Task::Classify,
                outputs: labels.len() as u32,
                extras: Extras::default(),
                forecasts: false,
            },
            element: ElementType::F32,
            cells: CellFormat::default(),
            both_strands: false,
            scaling: Scaling {
                inputs: Normalisation::identity(1),
                targets: None,
            },
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            weights_hash: String::new(),
            series: None,
        }
    }

    fn contender(description: &ModelDescription, score: Option<f64>) -> Contender<'_> {
        Contender {
            description,
            metric: Metric::Accuracy,
            score,
            data: "d",
            live: None,
        }
    }

    #[test]
    fn a_version_is_better_by_the_margin_or_it_is_not() {
        let same = described(&["no", "yes"]);
        let table = [
            (0.9, 0.8, 0.0, "better by 0.1000, margin 0"),
            (0.9, 0.8, 0.05, "better by 0.1000, margin 0.05"),
            (0.3, 0.2, 0.1, "better by 0.1000, margin 0.1"),
            (-0.5, -1.5, 1.0, "better by 1.0000, margin 1"),
            (0.81, 0.8, 0.05, "better by 0.0100 only, margin 0.05"),
            (0.8, 0.8, 0.0, "not better"),
            (0.7, 0.8, 0.0, "not better"),
        ];
        for (score, standing, margin, expected) in table {
            let verdict = challenge(
                contender(&same, Some(score)),
                Some(contender(&same, Some(standing))),
                margin,
            );
            let figures =
                format!("accuracy {score:.4} on validation, with the same data, against {standing:.4} of the active");
            assert!(verdict.reason().starts_with(&figures), "{verdict:?}");
            assert!(verdict.reason().ends_with(expected), "{verdict:?}");
            let better = matches!(verdict, Verdict::Better(_));
            assert_eq!(
                better,
                expected.contains("margin") && !expected.contains("only"),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn the_first_version_needs_a_score_and_nothing_else() {
        let first = described(&["no", "yes"]);
        let verdict = challenge(contender(&first, Some(0.1)), None, 0.5);
        let reason = "accuracy 0.1000 on validation; no version was active".to_owned();
        assert_eq!(verdict, Verdict::Better(reason));
        let none = challenge(contender(&first, None), None, 0.0);
        let reason = "its accuracy on validation is not defined".to_owned();
        assert_eq!(none, Verdict::Incomparable(reason));
    }

    #[test]
    fn what_whoever_asks_would_notice_is_told_and_not_compared() {
        let active = described(&["no", "yes"]);
        type Change = fn(&mut ModelDescription);
        let table: [(Change, &str); 7] = [
            (
                |d| d.architecture.task = Task::Multilabel,
                "its task is Multilabel, the active version's Classify",
            ),
            (
                |d| d.architecture.input.bands = 3,
                "it takes 3 bands of [16], the active version 1 bands of [16]",
            ),
            (
                |d| d.architecture.input.size = vec![8],
                "it takes 1 bands of [8], the active version 1 bands of [16]",
            ),
            (
                |d| d.element = ElementType::U8,
                "it takes elements U8, the active version F32",
            ),
            (
                |d| d.cells.mask_threshold = Some(9),
                "it reads cells as CellFormat { layout: Hwc, mask_threshold: Some(9) }, the active version as CellFormat { layout: Hwc, mask_threshold: None }",
            ),
            (
                |d| d.labels = vec!["maybe".to_owned(), "no".to_owned(), "perhaps".to_owned()],
                "it has 3 outputs, the active version 2",
            ),
            (
                |d| d.labels.reverse(),
                "its output 0 is \"yes\", the active version's \"no\"",
            ),
        ];
        for (change, expected) in table {
            let mut other = active.clone();
            change(&mut other);
            let verdict = challenge(contender(&other, Some(1.0)), Some(contender(&active, Some(0.1))), 0.0);
            assert_eq!(verdict, Verdict::Incomparable(expected.to_owned()));
        }
        let mut by_mcc = contender(&active, Some(1.0));
        by_mcc.metric = Metric::Mcc;
        let verdict = challenge(by_mcc, Some(contender(&active, Some(0.1))), 0.0);
        assert_eq!(verdict.reason(), "it was chosen by mcc, the active version by accuracy");
        let unscored = challenge(contender(&active, Some(1.0)), Some(contender(&active, None)), 0.0);
        assert_eq!(unscored.reason(), "the accuracy of the active version is not defined");
    }

    #[test]
    fn an_active_version_that_lives_worse_than_it_promised_is_held_to_what_it_lives() {
        let same = described(&["no", "yes"]);
        let card = "against 0.9000 of the active version: not better";
        let lived = "against 0.7500 of the active version on 50 samples whose labels came later, where its validation \
                     promised 0.9000: better by 0.0700, margin 0.05";
        for (live, expected) in [
            (None, card),
            (Some((0.75, 49)), card),
            (Some((0.95, 500)), card),
            (Some((0.75, 50)), lived),
        ] {
            let active = Contender {
                live,
                ..contender(&same, Some(0.9))
            };
            let verdict = challenge(contender(&same, Some(0.82)), Some(active), 0.05);
            assert!(verdict.reason().ends_with(expected), "{live:?}: {verdict:?}");
            assert_eq!(matches!(verdict, Verdict::Better(_)), expected == lived, "{live:?}");
        }
    }

    #[test]
    fn a_version_that_knows_further_classes_may_challenge_where_nobody_reads_another_meaning() {
        let verdict = |task, active: &[&str], labels: &[&str], score| {
            let [mut active, mut other] = [described(active), described(labels)];
            active.architecture.task = task;
            other.architecture.task = task;
            challenge(contender(&other, Some(score)), Some(contender(&active, Some(0.5))), 0.0)
        };
        let two = ["no", "yes"];
        let better = verdict(Task::Classify, &two, &["maybe", "no", "yes"], 0.75);
        let reason = "accuracy 0.7500 on validation, with the same data, 1 output more, against 0.5000 of the active \
                      version: better by 0.2500, margin 0";
        assert_eq!(better, Verdict::Better(reason.to_owned()));
        let worse = verdict(Task::Classify, &two, &["a", "no", "u", "yes"], 0.25);
        let Verdict::NotBetter(reason) = worse else {
            panic!("{worse:?}")
        };
        assert!(reason.contains("2 outputs more"), "{reason}");
        let better = verdict(Task::Multilabel, &two, &["no", "yes", "z"], 0.75);
        assert!(matches!(better, Verdict::Better(_)), "{better:?}");
        for (task, active, labels) in [
            (Task::Classify, &["a", "b", "c"][..], &["a", "b"][..]),
            (Task::Classify, &two, &["no", "x", "y"]),
            (Task::Multilabel, &two, &["maybe", "no", "yes"]),
            (Task::Regress, &two, &["no", "yes", "z"]),
            (Task::Segment, &two, &["no", "yes", "z"]),
        ] {
            let verdict = verdict(task, active, labels, 0.75);
            assert!(
                matches!(verdict, Verdict::Incomparable(_)),
                "{task:?} {labels:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_network_of_another_kind_and_of_other_data_may_take_the_place() {
        let active = described(&["no", "yes"]);
        let mut other = active.clone();
        other.architecture.backbone = Backbone::ResNet { width: 64 };
        other.scaling.inputs = Normalisation(vec![crate::dasha::Scale {
            mean: 3.0,
            deviation: 2.0,
        }]);
        let mut challenger = contender(&other, Some(0.9));
        challenger.data = "e";
        let verdict = challenge(challenger, Some(contender(&active, Some(0.1))), 0.0);
        assert!(
            matches!(&verdict, Verdict::Better(reason) if reason.contains("with data of its own")),
            "{verdict:?}"
        );
    }

    proptest! {
        #[test]
        fn no_two_versions_are_better_than_each_other(a in -2.0..2.0_f64, b in -2.0..2.0_f64, margin in 0.0..1.0_f64) {
            let same = described(&["no", "yes"]);
            let better = |one, other| {
                let verdict = challenge(contender(&same, Some(one)), Some(contender(&same, Some(other))), margin);
                matches!(verdict, Verdict::Better(_))
            };
            prop_assert!(!(better(a, b) && better(b, a)), "a version would take its own place for ever");
        }
    }
}
