//! What was said of samples, counted: by class, against the truth, against the shadow, and how far the samples lie from
//! those of the training.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecastd_models::dasha::{
    Agreement, BandSums, ClassShares, LiveConfusion, LiveMetric, LiveOutcome, LiveScore, Metric,
};

use super::Opinion;
use crate::message::content_key::ContentKey;
use crate::message::model::ModelVersion;
use crate::message::prediction::Predictions;
use crate::message::sample::{ComparedMask, Label};
use crate::message::snapshot::{LiveView, PredictionView};

/// The numbers of one dataset's predictions. All but the first are derived from what this process has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Samples whose truth is not known, by what was said.
    classes: BTreeMap<Arc<str>, u64>,
    shares: ClassShares,
    live: BTreeMap<ContentKey, (LiveScore, LiveConfusion)>,
    /// Of the version that is heard and the one in its shadow, in this order.
    agreement: Option<([ContentKey; 2], Agreement)>,
    /// In the scale of this version.
    drift: Option<(ContentKey, BandSums)>,
}

impl Tally {
    /// Counts what was said of a sample whose truth is not known.
    pub(super) fn enter(&mut self, opinion: &Opinion) {
        for class in opinion.label.iter().flat_map(Label::classes) {
            match self.classes.get_mut(class.as_str()) {
                Some(count) => *count += 1,
                None => drop(self.classes.insert(class.as_str().into(), 1)),
            }
        }
    }

    /// Counts it no more.
    pub(super) fn leave(&mut self, opinion: &Opinion) {
        for class in opinion.label.iter().flat_map(Label::classes) {
            if let Some(count) = self.classes.get_mut(class.as_str()) {
                *count -= 1;
                if *count == 0 {
                    self.classes.remove(class.as_str());
                }
            }
        }
    }

    /// Takes in what was said of a drop.
    pub(super) fn predicted(&mut self, predictions: &Predictions) {
        let mut texts = BTreeMap::<&str, Arc<str>>::new();
        for said in &predictions.said {
            let Some(label) = &said.label else { continue };
            let parts: Vec<(Arc<str>, f64)> = parts(label)
                .map(|(class, part)| {
                    let text = texts.entry(class).or_insert_with(|| class.as_str().into());
                    (Arc::clone(text), part)
                })
                .collect();
            self.shares.add(parts.iter().map(|(class, part)| (class, *part)));
            if let Some((same, version)) = said.agreement.zip(predictions.shadow) {
                let pair = [predictions.version, version];
                let entry = self.agreement.take().filter(|(of, _)| *of == pair);
                let (_, mut agreement) = entry.unwrap_or((pair, Agreement::default()));
                agreement.add(same);
                self.agreement = Some((pair, agreement));
            }
        }
        match &mut self.drift {
            Some((version, sums)) if *version == predictions.version => sums.follow(&predictions.bands),
            other => *other = Some((predictions.version, predictions.bands.clone())),
        }
    }

    /// Holds what both versions said of a sample against the truth; of masks the state has held them.
    pub(super) fn judge(&mut self, opinion: &Opinion, truth: &Label, compared: &[ComparedMask]) {
        for of_version in compared {
            let (score, confusion) = self.live.entry(of_version.version).or_default();
            score.add(LiveOutcome::Mask);
            confusion.add_positions(of_version.named());
        }
        let heard = opinion.label.as_ref().map(|label| (&opinion.version, label));
        let shadow = opinion.shadow.as_deref().map(|(version, label)| (version, label));
        for (version, label) in heard.into_iter().chain(shadow) {
            if let Some(outcome) = outcome(label, truth) {
                let (score, confusion) = self.live.entry(**version).or_default();
                score.add(outcome);
                if let (Label::Class(said), Label::Class(truth)) = (label, truth) {
                    confusion.add(said, truth);
                }
            }
        }
    }

    /// What predictions of a version were worth by the metric that it was chosen by, and how many were scored. Nothing where
    /// that needs more than what was said.
    pub(super) fn worth(&self, version: &ModelVersion) -> Option<(f64, u64)> {
        let (score, confusion) = self.live.get(&version.version)?;
        let value = match version.facts.metric {
            Metric::NegativeRmse => {
                let value = score.value(confusion);
                -value.filter(|(metric, _)| *metric == LiveMetric::Rmse)?.1
            }
            metric => confusion.score(metric)?,
        };
        Some((value, score.scored()))
    }

    /// Forgets what versions were worth that are not there any more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&ContentKey) -> bool) {
        self.live.retain(|version, _| is_there(version));
    }

    /// For readers, what is not counted here left out.
    pub(super) fn view(&self, active: Option<&ModelVersion>, shadow: Option<&ModelVersion>) -> PredictionView {
        let live = |version: &ModelVersion| {
            let (score, confusion) = self.live.get(&version.version)?;
            Some(LiveView {
                version: version.version,
                state: version.state,
                scored: score.scored(),
                value: score.value(confusion),
            })
        };
        let pair = active
            .zip(shadow)
            .map(|(active, shadow)| [active.version, shadow.version]);
        let agreement = self.agreement.filter(|(of, _)| Some(*of) == pair);
        let of_active = |version: &ContentKey| active.is_some_and(|active| active.version == *version);
        let drift = self.drift.as_ref().filter(|(version, _)| of_active(version));
        PredictionView {
            classes: self.classes.clone(),
            shares: self
                .shares
                .shares()
                .map(|(class, share)| (Arc::clone(class), share))
                .collect(),
            live: active.into_iter().chain(shadow).filter_map(live).collect(),
            agreement: agreement.map(|(_, agreement)| agreement),
            drift: drift.and_then(|(_, sums)| sums.drift()),
            ..PredictionView::default()
        }
    }
}

/// The classes that are said, each with its part: all of the sample, or of a mask the share of its positions.
fn parts(label: &Label) -> Box<dyn Iterator<Item = (&String, f64)> + '_> {
    match label {
        Label::Mask(mask) => Box::new(mask.shares()),
        _ => Box::new(label.classes().map(|class| (class, 1.0))),
    }
}

/// A prediction held against what is true; `None` where they are not of one kind.
fn outcome(said: &Label, truth: &Label) -> Option<LiveOutcome> {
    match (said, truth) {
        (Label::Class(said), Label::Class(truth)) => Some(LiveOutcome::Class { hit: said == truth }),
        (Label::Classes(said), Label::Classes(truth)) => {
            let found = said.iter().filter(|class| truth.contains(class)).count() as u32;
            Some(LiveOutcome::Classes {
                found,
                extra: said.len() as u32 - found,
                missed: truth.len() as u32 - found,
            })
        }
        (Label::Numbers(said), Label::Numbers(truth)) if said.len() == truth.len() && !truth.is_empty() => {
            let squares = said.iter().zip(truth).map(|(a, b)| f64::from(a - b).powi(2));
            Some(LiveOutcome::Numbers {
                square: squares.sum::<f64>() / truth.len() as f64,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_is_held_against_a_truth_of_its_kind_only() {
        let class = |text: &str| Label::Class(text.to_owned());
        let classes = |texts: &[&str]| Label::Classes(texts.iter().map(|text| (*text).to_owned()).collect());
        let numbers = |numbers: &[f32]| Label::Numbers(numbers.to_vec());
        for (said, truth, expected) in [
            (class("a"), class("a"), Some(LiveOutcome::Class { hit: true })),
            (class("a"), class("b"), Some(LiveOutcome::Class { hit: false })),
            (
                classes(&["a", "b"]),
                classes(&["b", "c", "d"]),
                Some(LiveOutcome::Classes {
                    found: 1,
                    extra: 1,
                    missed: 2,
                }),
            ),
            (
                numbers(&[1.0, 2.0]),
                numbers(&[2.0, 5.0]),
                Some(LiveOutcome::Numbers { square: 5.0 }),
            ),
            (numbers(&[1.0]), numbers(&[1.0, 2.0]), None),
            (class("a"), classes(&["a"]), None),
        ] {
            assert_eq!(outcome(&said, &truth), expected, "{said:?} {truth:?}");
        }
    }
}
