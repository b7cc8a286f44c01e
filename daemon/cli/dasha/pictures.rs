//! The pictures of an artifact: kernels, rungs, learning curves, confusion.

use std::fmt::{self, Formatter};

use forecastd_models::dasha::KernelPattern;
use forecastd_models::dasha::card::{RungRecord, TrialEnd, TrialRecord};
use forecastd_models::dasha::metrics::Confusion;

use crate::cli::drawing::{Anchor, Axis, BOTTOM, HEIGHT, LEFT, Legend, RIGHT, TOP, close, frame, open, polyline, text};

const OURS: &str = "#0b57a4";
const PLAIN: &str = "#b8b8b8";

/// The taps of each convolution's kernel, as far apart as they look.
pub(super) struct Kernels<'a> {
    pub(super) title: String,
    pub(super) pattern: &'a KernelPattern,
}

impl fmt::Display for Kernels<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kernels = &self.pattern.0;
        let reach = kernels
            .iter()
            .map(|kernel| kernel.extent() / 2)
            .max()
            .unwrap_or(1)
            .max(1);
        let x = Axis::new(0.0, kernels.len().max(1) as f64 + 1.0, LEFT, RIGHT, 10).whole();
        let y = Axis::new(-f64::from(reach), f64::from(reach), BOTTOM, TOP + 10.0, 5).widened();
        open(f, &self.title, HEIGHT)?;
        frame(f, &x, &y, "convolution, in the order in which the input passes", "taps")?;
        for (kernel, number) in kernels.iter().zip(1_u32..) {
            let middle = x.at(f64::from(number));
            let first = -f64::from(kernel.extent() - 1) / 2.0;
            for tap in 0..kernel.size {
                let place = y.at(first + f64::from(tap * kernel.dilation));
                writeln!(
                    f,
                    "<circle cx=\"{middle:.1}\" cy=\"{place:.1}\" r=\"2.6\" fill=\"{OURS}\"/>"
                )?;
            }
            let above = y.at(-first) - 8.0;
            text(f, (middle, above), Anchor::Middle, "small", kernel)?;
        }
        close(
            f,
            &self.title,
            "Each column is one convolution: size/dilation, and where its taps lie.",
        )
    }
}

/// The score of every trial after each epoch, and the rungs at which the worse ones end.
pub(super) struct Rungs<'a> {
    pub(super) title: String,
    pub(super) score: &'static str,
    pub(super) trials: &'a [TrialRecord],
    pub(super) rungs: &'a [RungRecord],
    /// The trial that the network was made from.
    pub(super) chosen: Option<u32>,
}

impl fmt::Display for Rungs<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scores = self.trials.iter().flat_map(|trial| trial.scores.iter().copied());
        let (least, most) = scores
            .filter(|score| score.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), score| {
                (score.min(least), score.max(most))
            });
        let epochs = self.trials.iter().map(|trial| trial.scores.len()).max().unwrap_or(1);
        let x = Axis::new(0.0, epochs.max(2) as f64, LEFT, RIGHT, 8).whole();
        let y = Axis::new(least, most, BOTTOM, TOP, 5).widened();
        open(f, &self.title, HEIGHT)?;
        frame(f, &x, &y, "epoch", self.score)?;
        for rung in self.rungs {
            let place = x.at(rung.milestone);
            writeln!(
                f,
                "<line class=\"axis\" stroke-dasharray=\"3 3\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" \
                 y2=\"{BOTTOM}\"/>"
            )?;
        }
        let is_chosen = |trial: &TrialRecord| Some(trial.trial) == self.chosen;
        let (ours, others): (Vec<_>, Vec<_>) = self.trials.iter().partition(|trial| is_chosen(trial));
        for (trial, colour) in others
            .iter()
            .map(|trial| (trial, PLAIN))
            .chain(ours.iter().map(|t| (t, OURS)))
        {
            let points = trial.scores.iter().zip(1_u32..);
            let points: Vec<_> = points
                .map(|(score, epoch)| (x.at(f64::from(epoch)), y.at(*score)))
                .collect();
            let last = points.iter().rev().find(|(_, y)| y.is_finite()).copied();
            polyline(f, colour, "", points)?;
            if let Some((x, y)) = last {
                writeln!(f, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\" fill=\"{colour}\"/>")?;
            }
        }
        let mut legend = Legend::new(LEFT);
        legend.line(f, OURS, "", "the trial that was taken")?;
        legend.line(f, PLAIN, "", "others")?;
        legend.line(f, "#8c8c8c", "3 3", "rung")?;
        let ended = |end: TrialEnd| self.trials.iter().filter(|trial| trial.ended == Some(end)).count();
        let say = format!(
            "{} trials: {} ended at a rung, {} had all their epochs.",
            self.trials.len(),
            ended(TrialEnd::Stopped),
            ended(TrialEnd::Complete)
        );
        close(f, &self.title, &say)
    }
}

/// What each class was taken for.
pub(super) struct Matrix<'a> {
    pub(super) title: String,
    pub(super) confusion: &'a Confusion,
    pub(super) labels: &'a [String],
}

/// Classes beyond which a cell has no room for its number.
const NUMBERED: usize = 16;

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const EDGE: f64 = 130.0;
        let classes = self.confusion.classes().min(self.labels.len());
        let side = (RIGHT - EDGE) / classes.max(1) as f64;
        let side = side.min(60.0);
        let height = TOP + side * classes as f64 + 110.0;
        open(f, &self.title, height)?;
        let small = if side < 16.0 { "small" } else { "" };
        for (truth, label) in self.labels.iter().take(classes).enumerate() {
            let top = TOP + side * truth as f64;
            let middle = top + side / 2.0 + 4.0;
            if side >= 9.0 {
                text(f, (EDGE - 6.0, middle), Anchor::End, small, &shortened(label))?;
                let (x, y) = (EDGE + side * (truth as f64 + 0.5), TOP + side * classes as f64 + 12.0);
                let label = crate::publish::html::Escaped(&shortened(label)).to_string();
                writeln!(
                    f,
                    "<text class=\"{small}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" \
                     transform=\"rotate(-50 {x:.1} {y:.1})\">{label}</text>"
                )?;
            }
            let all = self.confusion.of_class(truth).max(1) as f64;
            for predicted in 0..classes {
                let count = self.confusion.count(truth, predicted);
                let (left, share) = (EDGE + side * predicted as f64, count as f64 / all);
                writeln!(
                    f,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" fill=\"{OURS}\" \
                     fill-opacity=\"{:.3}\" stroke=\"#e6e6e6\"/>",
                    0.75 * share
                )?;
                if classes <= NUMBERED && count > 0 {
                    text(f, (left + side / 2.0, middle), Anchor::Middle, "small", &count)?;
                }
            }
        }
        text(f, (EDGE - 6.0, TOP - 10.0), Anchor::End, "soft", &"true")?;
        text(f, (EDGE, TOP - 10.0), Anchor::Start, "soft", &"predicted")?;
        close(
            f,
            &self.title,
            "A row is a true class, a column what it was taken for; the darker, the larger a part.",
        )
    }
}

/// A name that has room at an edge.
fn shortened(label: &str) -> String {
    const ROOM: usize = 16;
    if label.chars().count() <= ROOM {
        return label.to_owned();
    }
    label.chars().take(ROOM - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use forecastd_models::dasha::card::Candidate;
    use forecastd_models::dasha::{Backbone, Extras, HyperParameters, Kernel};

    use super::*;
    use crate::cli::drawing::alone;

    #[test]
    fn every_tap_of_every_kernel_is_drawn() {
        let pattern = KernelPattern(vec![Kernel::new(3, 1), Kernel::new(5, 7)]);
        let title = "Kernels".to_owned();
        let drawn = alone(&Kernels {
            title,
            pattern: &pattern,
        });
        assert_eq!(drawn.matches("<circle").count(), 8);
        assert!(drawn.contains(">5/7</text>"), "{drawn}");
    }

    #[test]
    fn trials_are_lines_between_rungs() {
        let candidate = Candidate {
            backbone: Backbone::ResNet { width: 8 },
            pattern: KernelPattern(Vec::new()),
            searched: true,
            extras: Extras::default(),
        };
        let trial = |trial, scores: &[f64], ended| TrialRecord {
            trial,
            candidate: candidate.clone(),
            hyper_parameters: HyperParameters::default(),
            part: 1.0,
            scores: scores.to_vec(),
            ended: Some(ended),
        };
        let trials = [
            trial(0, &[0.5, f64::NAN, 0.7], TrialEnd::Complete),
            trial(1, &[0.1], TrialEnd::Stopped),
        ];
        let rungs = [RungRecord {
            milestone: 1.0,
            recorded: vec![(0, 0.5), (1, 0.1)],
        }];
        let drawn = Rungs {
            title: "Trials".to_owned(),
            score: "accuracy",
            trials: &trials,
            rungs: &rungs,
            chosen: Some(0),
        }
        .to_string();
        assert!(
            drawn.contains("2 trials: 1 ended at a rung, 1 had all their epochs."),
            "{drawn}"
        );
        assert!(!drawn.contains("NaN"), "{drawn}");
        assert_eq!(drawn.matches("<circle").count(), 2);
    }

    #[test]
    fn a_matrix_has_a_cell_for_each_pair_and_hostile_names_are_text() {
        let mut confusion = Confusion::new(2);
        confusion.add(0, 1);
        let labels = ["<b>".to_owned(), "a name that is much too long".to_owned()];
        let title = "Confusion".to_owned();
        let drawn = Matrix {
            title,
            confusion: &confusion,
            labels: &labels,
        }
        .to_string();
        assert_eq!(drawn.matches("<rect").count(), 4);
        assert!(
            drawn.contains("&lt;b&gt;") && !drawn.contains("<b>b") && drawn.contains("a name that is …"),
            "{drawn}"
        );
    }
}
