//! What samples there are of a dataset of tiles or sequences: of each where its elements lie, its split and its label.
//!
//! Elements stay in their segments. An entry takes about a hundred bytes and its id; the text of a class is held once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forecastd_config::{DatasetName, SampleDataset};
use forecastd_models::Timestamp;
use forecastd_models::dasha::Split;

use super::dataset::Recovery;
use super::files::Files;
use super::predictions::PredictionState;
use super::registry::Registry;
use crate::message::fit_job::Epoch;
use crate::message::prediction::{KeptPrediction, PredictJob};
use crate::message::sample::{ComparedMasks, Label, SampleEntry, SamplePlace};
use crate::message::snapshot::SampleView;

/// Everything the planner knows of one dataset of samples.
#[derive(Clone, Debug)]
pub struct SampleState {
    epoch: Epoch,
    config: Arc<SampleDataset>,
    index: SampleIndex,
    /// What was said of them, and what waits for that.
    pub predictions: PredictionState,
    /// Which files wait.
    pub files: Files,
    /// Whether what was durable before is known.
    pub recovery: Recovery,
}

impl SampleState {
    /// Takes over a configuration. What is known of the samples stays true whatever it says; a file that was dealt with
    /// under another form may be welcome now.
    pub fn reconfigured(known: Option<Self>, config: Arc<SampleDataset>, epoch: Epoch) -> Self {
        match known {
            Some(mut known) => {
                known.predictions.reconfigured();
                Self { config, ..known }
            }
            None => Self {
                epoch,
                config,
                index: SampleIndex::default(),
                predictions: PredictionState::default(),
                files: Files::default(),
                recovery: Recovery::Wanted,
            },
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &Arc<SampleDataset> {
        &self.config
    }

    /// Its name.
    pub fn name(&self) -> &DatasetName {
        &self.config.name
    }

    /// Which of its lives this is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes samples in; of two with one id the later counts.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = SampleEntry>) {
        for entry in entries {
            let before = self.index.get(&entry.id).map(|known| known.place);
            self.predictions.arrived(&entry, before);
            self.index.insert(entry);
        }
    }

    /// Takes in what was said of samples before this process started.
    pub fn recover_predictions(&mut self, kept: Vec<KeptPrediction>) {
        self.predictions.recovered(kept, &self.index);
    }

    /// The next drop to predict, if its turn has come.
    pub fn take_predict_job(&mut self, models: &Registry) -> Option<PredictJob> {
        let model = self.config.model.as_ref().filter(|_| self.recovery == Recovery::Done)?;
        let [active, shadow] = models.active_and_shadow(model);
        self.predictions.take_job(&self.config, self.epoch, active, shadow)
    }

    /// The state has kept what was said, or could not.
    pub fn predictions_kept(&mut self, kept: Option<&ComparedMasks>, now: Timestamp) {
        self.predictions.kept(kept, &self.index, now);
    }

    /// What samples there are.
    pub fn index(&self) -> &SampleIndex {
        &self.index
    }

    /// For readers.
    pub fn view(&self, models: &Registry) -> SampleView {
        let predictions = self.config.model.as_ref().map(|model| {
            let [active, shadow] = models.active_and_shadow(model);
            self.predictions.view(model, active, shadow)
        });
        SampleView {
            predictions,
            config: Arc::clone(&self.config),
            unlabelled: self.index.unlabelled,
            labelled: self.index.labelled,
            classes: self.index.classes.clone(),
            newest: self.index.newest(),
            files_waiting: self.files.waiting(),
        }
    }
}

/// Samples by id, counted.
#[derive(Clone, Debug, Default)]
pub struct SampleIndex {
    samples: HashMap<Arc<str>, Known>,
    unlabelled: [u64; 3],
    labelled: [u64; 3],
    /// Of each drop the samples whose label, or whose elements under a label, came with it and still count.
    labelled_by_drop: BTreeMap<i64, u64>,
    /// Of each class the samples that have it, for training, validation and test.
    classes: BTreeMap<Arc<str>, [u64; 3]>,
    /// How many samples were taken when.
    times: BTreeMap<Timestamp, u64>,
}

/// What is known of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Where its elements lie.
    pub place: SamplePlace,
    /// Its split.
    pub split: Split,
    /// What is true of it.
    pub label: Option<KnownLabel>,
    /// When it was taken.
    pub time: Option<Timestamp>,
}

/// A label, the texts of classes shared.
#[derive(Clone, Debug, PartialEq)]
pub enum KnownLabel {
    /// Of one class or of several; of a mask those that any of its positions has.
    Classes(Box<[Arc<str>]>),
    /// Numbers.
    Numbers(Box<[f32]>),
}

impl SampleIndex {
    /// What is known of a sample.
    pub fn get(&self, id: &str) -> Option<&Known> {
        self.samples.get(id)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Known)> {
        self.samples.iter()
    }

    /// When the newest of them was taken, of those of which it is known.
    pub fn newest(&self) -> Option<Timestamp> {
        self.times.last_key_value().map(|(time, _)| *time)
    }

    /// Samples with a label, for training, validation and test.
    pub fn labelled(&self) -> [u64; 3] {
        self.labelled
    }

    /// Of each class the samples that have it, likewise.
    pub fn classes(&self) -> &BTreeMap<Arc<str>, [u64; 3]> {
        &self.classes
    }

    /// Samples with a label that are new, or otherwise than they were, since this drop.
    pub fn labelled_since(&self, drop: i64) -> u64 {
        let later = self.labelled_by_drop.range(drop.saturating_add(1)..);
        later.map(|(_, samples)| samples).sum()
    }

    /// The last drop that brought a label which still counts; before the first one, none.
    pub fn last_labelled(&self) -> Option<i64> {
        self.labelled_by_drop.last_key_value().map(|(drop, _)| *drop)
    }

    fn insert(&mut self, entry: SampleEntry) {
        let label = entry.label.map(|label| match label {
            Label::Class(class) => KnownLabel::Classes(Box::new([self.class(&class)])),
            Label::Classes(classes) => KnownLabel::Classes(classes.iter().map(|class| self.class(class)).collect()),
            Label::Mask(mask) => KnownLabel::Classes(mask.classes.iter().map(|(class, _)| self.class(class)).collect()),
            Label::Numbers(numbers) => KnownLabel::Numbers(numbers.into()),
        });
        let known = Known {
            place: entry.place,
            split: entry.split,
            label,
            time: entry.taken.time,
        };
        self.count(&known, |count| *count += 1);
        if let Some(before) = self.samples.insert(entry.id, known) {
            self.count(&before, |count| *count -= 1);
            self.classes.retain(|_, counts| *counts != [0; 3]);
            forget_nothing(&mut self.labelled_by_drop, Some(before.place.sequence));
            forget_nothing(&mut self.times, before.time);
        }
    }

    fn class(&mut self, text: &str) -> Arc<str> {
        if let Some((class, _)) = self.classes.get_key_value(text) {
            return Arc::clone(class);
        }
        let class: Arc<str> = text.into();
        self.classes.insert(Arc::clone(&class), [0; 3]);
        class
    }

    fn count(&mut self, known: &Known, by: impl Fn(&mut u64)) {
        let split = known.split as usize;
        if let Some(time) = known.time {
            by(self.times.entry(time).or_default());
        }
        match &known.label {
            None => by(&mut self.unlabelled[split]),
            Some(label) => {
                by(&mut self.labelled[split]);
                by(self.labelled_by_drop.entry(known.place.sequence).or_default());
                if let KnownLabel::Classes(classes) = label {
                    for class in classes {
                        by(self
                            .classes
                            .entry(Arc::clone(class))
                            .or_default()
                            .get_mut(split)
                            .expect("three splits"));
                    }
                }
            }
        }
    }
}

/// Takes a count away that has come to nothing.
fn forget_nothing<K: Ord>(counts: &mut BTreeMap<K, u64>, key: Option<K>) {
    if let Some(key) = key.filter(|key| counts.get(key) == Some(&0)) {
        counts.remove(&key);
    }
}

#[cfg(test)]
mod tests;
