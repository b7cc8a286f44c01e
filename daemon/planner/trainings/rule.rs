//! Whether a network is due to be trained, why, and on what: the rule, and nothing that remembers.

use std::collections::BTreeMap;
use std::time::Duration;

use forecastd_config::{DatasetName, ModelName, SampleDataset, SampleForm, Training as Config};
use forecastd_models::Timestamp;
use forecastd_models::dasha::card::Candidate;
use forecastd_models::dasha::{Backbone, BackboneChoice, FEWEST_LIVE, LabelKind, SplitCounts, Task, TrainingSet};

use crate::message::model::{ModelState, ModelVersion};
use crate::message::training::{Training, TrainingFault, TrainingObstacle, TrainingPlan, TrainingReason};
use crate::planner::samples::SampleIndex;

/// First wait after a training that failed, doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Fresh labels, at least, after which a fall counts again that a training could not mend: a fifth of `again` otherwise.
const FEWEST_AFTER_A_FALL: u64 = 50;

/// Samples that weights are fitted to, at least.
const FEWEST_TRAINED: u64 = 2;

/// All that decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) model: &'a ModelName,
    pub(super) config: &'a Config,
    pub(super) dataset: &'a SampleDataset,
    pub(super) index: &'a SampleIndex,
    /// What a training takes of them.
    pub(super) training: &'a TrainingSet,
    /// Of the model.
    pub(super) versions: &'a [ModelVersion],
    /// Of the model: the last training that made a version, and all later ones.
    pub(super) books: &'a [Training],
    /// What predictions of the active version were worth whose labels came later, and how many these are.
    pub(super) live: Option<(f64, u64)>,
    /// Whether somebody asked for it.
    pub(super) asked: bool,
}

/// What the rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Now, and so.
    Now(TrainingPlan),
    /// Not before then, if nothing else happens.
    Later(Timestamp),
    /// It would be, but for the data.
    Cannot(TrainingObstacle),
    /// Not as things are.
    Not,
}

impl Facts<'_> {
    /// Says whether the network is due to be trained.
    pub(super) fn due(&self, now: Timestamp) -> Due {
        let Some((reason, words)) = self.reason(now) else {
            if self.would_be_first() {
                return Due::Cannot(TrainingObstacle::Labels);
            }
            return self.scheduled().map_or(Due::Not, Due::Later);
        };
        let rest = self.rests_until().filter(|until| now < *until);
        if let Some(until) = rest.filter(|_| reason != TrainingReason::Asked) {
            return Due::Later(until);
        }
        if let Some(obstacle) = self.obstacle() {
            return Due::Cannot(obstacle);
        }
        let (labelled, last) = (self.labelled(), self.last());
        let searches = self.known_network().is_none();
        Due::Now(TrainingPlan {
            model: ModelName::clone(self.model),
            dataset: DatasetName::clone(&self.dataset.name),
            reason,
            words,
            through: self.index.last_labelled().unwrap_or(0),
            labelled,
            searches,
            searched: last.filter(|_| !searches).map_or(labelled, |last| last.plan.searched),
        })
    }

    fn reason(&self, now: Timestamp) -> Option<(TrainingReason, String)> {
        if self.asked {
            return Some((TrainingReason::Asked, "somebody asked for it".to_owned()));
        }
        let Some(last) = self.last() else {
            let (labelled, first) = (self.labelled(), self.config.first);
            let words = format!("{labelled} samples have a label to learn from, {first} were waited for");
            return (labelled >= first).then_some((TrainingReason::First, words));
        };
        let fresh = self.fresh(last);
        if fresh == 0 {
            return None; // the same data would make the same network
        }
        if self.config.again.is_some_and(|again| fresh >= again) {
            let words = format!("{fresh} labels are new or revised since the last training");
            return Some((TrainingReason::Labels, words));
        }
        if self.scheduled().is_some_and(|at| at <= now) {
            let words = format!("the last training is long ago, and {fresh} labels are new or revised since");
            return Some((TrainingReason::Schedule, words));
        }
        let fallen = self.fallen().filter(|_| fresh >= self.fewest_after(last));
        fallen.map(|words| (TrainingReason::Accuracy, words))
    }

    /// How many fresh labels a fall waits for. What came of the last one and did not take the active version's place was
    /// made of nearly the same samples, and so would the next one be.
    fn fewest_after(&self, last: &Training) -> u64 {
        let made = last.end.as_ref().and_then(|end| end.result.as_ref().ok());
        let mut versions = self.versions.iter();
        let is_promoted = versions.any(|version| Some(&version.version) == made && version.promotion.is_some());
        if last.plan.reason != TrainingReason::Accuracy || is_promoted {
            return 0;
        }
        let share = self.config.again.map_or(0, |again| again.div_ceil(5));
        share.max(FEWEST_AFTER_A_FALL)
    }

    /// When the schedule makes it due, if there is anything new.
    fn scheduled(&self) -> Option<Timestamp> {
        let last = self.last().filter(|last| self.fresh(last) > 0)?;
        Some(last.end.as_ref()?.time.after(self.config.every?))
    }

    /// By how much the active version does worse than it promised, where that is too much.
    fn fallen(&self) -> Option<String> {
        let ((live, samples), drop, active) = (self.live?, self.config.accuracy_drop?, self.active()?);
        let promised = active.facts.validation?;
        (samples >= FEWEST_LIVE && live <= promised - drop).then(|| {
            format!(
                "{} is {live:.4} on {samples} samples whose labels came later, where validation promised {promised:.4}",
                active.facts.metric.name(),
            )
        })
    }

    /// Until when it rests after failures.
    fn rests_until(&self) -> Option<Timestamp> {
        let failed = |training: &&Training| {
            let end = training.end.as_ref();
            end.is_some_and(|end| {
                end.result
                    .as_ref()
                    .is_err_and(|failure| failure.fault != TrainingFault::Cancelled)
            })
        };
        let failures = self.books.iter().filter(failed);
        let last = failures.clone().next_back()?.end.as_ref()?.time;
        let doublings = u32::try_from(failures.count().saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings.min(20)));
        Some(last.after(wait.min(LONGEST_WAIT)))
    }

    /// The network whose kernels are kept: the active version's, until the data have grown enough.
    pub(super) fn known_network(&self) -> Option<Candidate> {
        let searched = self.last()?.plan.searched;
        let has_grown = self.labelled() as f64 >= self.config.search_growth * searched as f64;
        if has_grown {
            return None;
        }
        known_network(self.config, &self.dataset.form, self.active()?)
    }

    /// Samples that a training takes.
    fn labelled(&self) -> u64 {
        let taken = self.index.labels().filter(|(kind, _)| self.training.takes(kind));
        count(taken)
    }

    /// Those that are new, or otherwise than they were, since the last training.
    fn fresh(&self, last: &Training) -> u64 {
        let same = last.plan.dataset == self.dataset.name;
        self.index
            .labelled_since(if same { last.plan.through } else { 0 }, self.training)
    }

    /// Labels that a training takes, and those that the configuration keeps it from taking. Others are of classes that no
    /// sample for training has.
    fn all_labels(&self) -> impl Iterator<Item = (&LabelKind, SplitCounts)> {
        let form = &self.dataset.form;
        let outputs = form.outputs();
        let labels = self.index.labels();
        labels.filter(move |(kind, _)| self.training.takes(kind) || !kind.fits(form.task, outputs.as_deref()))
    }

    /// Whether there would have been a first training, but for labels that the configuration does not allow.
    fn would_be_first(&self) -> bool {
        self.last().is_none() && count(self.all_labels()) >= self.config.first
    }

    /// Why nothing can be learnt from what a training takes.
    fn obstacle(&self) -> Option<TrainingObstacle> {
        let taken = self.index.labels().filter(|(kind, _)| self.training.takes(kind));
        let obstacle = self.obstacle_in(taken)?;
        Some(match self.obstacle_in(self.all_labels()) {
            None => TrainingObstacle::Labels,
            Some(_) => obstacle,
        })
    }

    fn obstacle_in<'a>(&self, labels: impl Iterator<Item = (&'a LabelKind, SplitCounts)>) -> Option<TrainingObstacle> {
        let mut samples = [0; 3];
        let mut classes = BTreeMap::<&str, [u64; 3]>::new();
        for (kind, counts) in labels {
            let parts = self.training.parts(counts);
            add(&mut samples, parts);
            for class in kind.classes() {
                add(classes.entry(class).or_default(), parts);
            }
        }
        let fewest = match self.dataset.form.task {
            Task::Classify | Task::Segment => 2,
            Task::Multilabel => 1,
            Task::Regress => 0,
        };
        let with_samples = |split: usize| classes.values().filter(|parts| parts[split] > 0).count();
        if samples[0] < FEWEST_TRAINED {
            Some(TrainingObstacle::NoTraining)
        } else if samples[1] == 0 {
            Some(TrainingObstacle::NoValidation)
        } else if with_samples(0) < fewest || with_samples(1) < fewest {
            Some(TrainingObstacle::OneClass)
        } else {
            None
        }
    }

    /// The last training that made a version.
    fn last(&self) -> Option<&Training> {
        let made = |training: &&Training| training.end.as_ref().is_some_and(|end| end.result.is_ok());
        self.books.iter().rev().find(made)
    }

    fn active(&self) -> Option<&ModelVersion> {
        let mut versions = self.versions.iter();
        versions.find(|version| version.state == ModelState::Active)
    }
}

/// The network of a version, if it is one for these samples and of a frame that may be chosen.
pub(super) fn known_network(config: &Config, form: &SampleForm, version: &ModelVersion) -> Option<Candidate> {
    let description = &version.facts.description;
    let architecture = &description.architecture;
    let is_unet = matches!(architecture.backbone, Backbone::UNet { .. });
    let may_be = match config.backbone {
        BackboneChoice::Auto => true,
        BackboneChoice::WideResnet => !is_unet || form.task == Task::Segment,
        BackboneChoice::Unet => is_unet,
    };
    let is_for_these = architecture.input == form.shape && architecture.task == form.task;
    (may_be && is_for_these && description.element == form.element).then(|| Candidate {
        backbone: architecture.backbone.clone(),
        pattern: architecture.pattern.clone(),
        searched: architecture.pattern != architecture.backbone.plain_pattern(),
        extras: architecture.extras,
    })
}

fn count<'a>(labels: impl Iterator<Item = (&'a LabelKind, SplitCounts)>) -> u64 {
    let counts: SplitCounts = labels.map(|(_, counts)| counts).sum();
    counts.told.iter().sum()
}

fn add(sums: &mut [u64; 3], more: [u64; 3]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

#[cfg(test)]
mod tests;
