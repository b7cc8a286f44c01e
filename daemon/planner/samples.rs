//! What samples there are of a dataset of tiles or sequences: of each where its elements lie, its split and its label.
//!
//! Elements stay in their segments. An entry takes about a hundred bytes and its id; equal labels are held once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forecastd_config::{DatasetName, SampleDataset, SampleForm};
use forecastd_models::Timestamp;
use forecastd_models::dasha::{LabelKind, Split, SplitCounts, TrainingSet};

use super::dataset::Recovery;
use super::files::Files;
use super::predictions::PredictionState;
use super::registry::Registry;
use crate::message::fit_job::Epoch;
use crate::message::prediction::{KeptPrediction, PredictJob};
use crate::message::sample::{ComparedMasks, SampleEntry, SamplePlace};
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
            labelled: self.index.labelled(),
            classes: self.index.classes(),
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
    /// Of each label the samples that have it.
    labels: BTreeMap<Arc<LabelKind>, SplitCounts>,
    /// Of each drop the samples whose label, or whose elements under a label, came with it and still count.
    labels_by_drop: BTreeMap<i64, BTreeMap<Arc<LabelKind>, u64>>,
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
    /// What is true of it, but for the numbers themselves.
    pub label: Option<Arc<LabelKind>>,
    /// When it was taken.
    pub time: Option<Timestamp>,
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

    /// Samples with a label, for training, validation and test, as they came.
    pub fn labelled(&self) -> [u64; 3] {
        self.labels.values().copied().sum::<SplitCounts>().told
    }

    /// Of each class the samples that have it, likewise.
    pub fn classes(&self) -> BTreeMap<Arc<str>, [u64; 3]> {
        let mut classes = BTreeMap::<_, [u64; 3]>::new();
        for (kind, counts) in self.labels() {
            for class in kind.classes() {
                let counts = counts.told.into_iter();
                let of_class = classes.entry(Arc::clone(class)).or_default();
                of_class.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        classes
    }

    /// Of each label the samples that have it.
    pub fn labels(&self) -> impl Iterator<Item = (&LabelKind, SplitCounts)> + Clone {
        self.labels.iter().map(|(kind, counts)| (&**kind, *counts))
    }

    /// What a training on samples of this form takes.
    pub fn training_set(&self, form: &SampleForm) -> TrainingSet {
        TrainingSet::new(form.task, form.outputs(), self.labels())
    }

    /// Samples that a training takes and that are new, or otherwise than they were, since this drop.
    pub fn labelled_since(&self, drop: i64, training: &TrainingSet) -> u64 {
        let later = self.labels_by_drop.range(drop.saturating_add(1)..);
        let labels = later.flat_map(|(_, labels)| labels);
        let taken = labels.filter(|(kind, _)| training.takes(kind));
        taken.map(|(_, samples)| samples).sum()
    }

    /// The last drop that brought a label which still counts; before the first one, none.
    pub fn last_labelled(&self) -> Option<i64> {
        self.labels_by_drop.last_key_value().map(|(drop, _)| *drop)
    }

    fn insert(&mut self, entry: SampleEntry) {
        let label = entry.label.map(|label| self.shared(label.kind()));
        let known = Known {
            place: entry.place,
            split: entry.split,
            label,
            time: entry.taken.time,
        };
        self.count(&entry.id, &known, |count| *count += 1);
        let id = Arc::clone(&entry.id);
        if let Some(before) = self.samples.insert(entry.id, known) {
            self.count(&id, &before, |count| *count -= 1);
            self.forget_nothing(&before);
        }
    }

    /// The one that others of its kind have.
    fn shared(&self, kind: LabelKind) -> Arc<LabelKind> {
        match self.labels.get_key_value(&kind) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(kind),
        }
    }

    fn count(&mut self, id: &str, known: &Known, by: impl Fn(&mut u64)) {
        if let Some(time) = known.time {
            by(self.times.entry(time).or_default());
        }
        let Some(kind) = &known.label else {
            by(&mut self.unlabelled[known.split as usize]);
            return;
        };
        self.labels
            .entry(Arc::clone(kind))
            .or_default()
            .count(known.split, id, &by);
        let of_drop = self.labels_by_drop.entry(known.place.sequence).or_default();
        by(of_drop.entry(Arc::clone(kind)).or_default());
    }

    /// Takes counts away that have come to nothing with what was known of a sample.
    fn forget_nothing(&mut self, before: &Known) {
        if let Some(time) = before.time.filter(|time| self.times.get(time) == Some(&0)) {
            self.times.remove(&time);
        }
        let Some(kind) = &before.label else {
            return;
        };
        if self.labels.get(kind) == Some(&SplitCounts::default()) {
            self.labels.remove(kind);
        }
        let drop = before.place.sequence;
        if let Some(of_drop) = self.labels_by_drop.get_mut(&drop) {
            if of_drop.get(kind) == Some(&0) {
                of_drop.remove(kind);
            }
            if of_drop.is_empty() {
                self.labels_by_drop.remove(&drop);
            }
        }
    }
}

#[cfg(test)]
mod tests;
