//! Which samples of a dataset are due for a prediction, and what becomes of what was said.
//!
//! A sample that comes without a label waits, by drop and row, until a version is active; one that has a label is never
//! asked about. A drop is predicted as a whole, by the version that is active then and the one in its shadow, and one drop
//! of a dataset at a time. What was said is kept by the state once the drop's file is in its place, and counts from then
//! on; so a crash before means "do it again", into the file of the same name. Another version predicts what comes after
//! it: what was said stands. A label that comes later is held against it, unless other elements came with it.

mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::SampleDataset;
use forecastd_models::Timestamp;

use super::samples::SampleIndex;
use crate::message::content_key::ContentKey;
use crate::message::fit_job::Epoch;
use crate::message::model::ModelVersion;
use crate::message::prediction::{KeptPrediction, PredictFault, PredictJob, PredictOutcome, Predictions, Said};
use crate::message::sample::{ComparedMask, ComparedMasks, Label, SampleEntry, SamplePlace};
use crate::message::snapshot::PredictionView;
use tally::Tally;

/// First wait after a failure, doubled with each further one.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Failures of one drop after which those behind it are tried before it.
const TRIES: u32 = 3;

/// What waits for a prediction in one dataset, and what was said of its samples.
#[derive(Clone, Debug, Default)]
pub struct PredictionState {
    /// Rows that wait, by drop; those that are out included.
    waiting: BTreeMap<i64, BTreeSet<u32>>,
    /// What was said of samples whose truth is not known.
    said: HashMap<Arc<str>, Opinion>,
    tally: Tally,
    out: Option<Out>,
    /// How often drops that wait have failed by themselves, as far as one can tell.
    failures: BTreeMap<i64, u32>,
    /// A version that takes other samples than these, and how they differ: another may be asked.
    held: Option<(ContentKey, String)>,
    rests_until: Option<Timestamp>,
    /// How long the last rest was to be, if nothing has gone well since.
    last_rest: Option<Duration>,
}

/// What was said of a sample.
#[derive(Clone, Debug, PartialEq)]
struct Opinion {
    version: Arc<ContentKey>,
    /// `None` where the version has nothing to say.
    label: Option<Label>,
    shadow: Option<Box<(Arc<ContentKey>, Label)>>,
}

/// A drop that is being predicted.
#[derive(Clone, Debug)]
struct Out {
    sequence: i64,
    /// Samples of it that came again meanwhile.
    overtaken: HashMap<Arc<str>, Overtaken>,
    stage: Stage,
}

/// A sample that came again while its drop was being predicted.
#[derive(Clone, Debug)]
struct Overtaken {
    same_elements: bool,
    truth: Option<Label>,
}

/// How far it is.
#[derive(Clone, Debug)]
enum Stage {
    /// The networks are asked.
    Asked,
    /// Its file is in its place; the state is to keep what was said.
    Said(Arc<Predictions>),
    /// The state is keeping it.
    Keeping(Arc<Predictions>),
}

impl PredictionState {
    /// A sample is new, or counts otherwise than before; `before` is where it lay.
    pub fn arrived(&mut self, entry: &SampleEntry, before: Option<SamplePlace>) {
        if let Some(before) = before {
            self.wait_no_more(before);
            self.overtake(entry, before);
        }
        let opinion = match entry.same_elements {
            true => self.said.get(&entry.id),
            false => None,
        };
        match (&entry.label, opinion) {
            (None, Some(_)) => {} // only its split is new
            (None, None) => {
                self.forget(&entry.id);
                self.wait(entry.place);
            }
            (Some(truth), opinion) => {
                if let Some(opinion) = opinion {
                    self.tally.judge(opinion, truth, &entry.compared);
                }
                self.forget(&entry.id);
            }
        }
    }

    /// Takes in what was said before this process started.
    pub fn recovered(&mut self, kept: Vec<KeptPrediction>, index: &SampleIndex) {
        let mut versions = BTreeMap::new();
        let mut shared = |key: ContentKey| Arc::clone(versions.entry(key).or_insert_with(|| Arc::new(key)));
        for KeptPrediction {
            id,
            version,
            label,
            shadow,
        } in kept
        {
            let opinion = Opinion {
                version: shared(version),
                label,
                shadow: shadow.map(|(version, label)| Box::new((shared(version), label))),
            };
            if let Some(known) = index.get(&id).filter(|known| known.label.is_none()) {
                self.wait_no_more(known.place);
                self.remember(id, opinion);
            }
        }
    }

    /// The next drop to predict, if there is one, and a version that may be asked.
    pub fn take_job(
        &mut self,
        dataset: &Arc<SampleDataset>,
        epoch: Epoch,
        active: Option<&ModelVersion>,
        shadow: Option<&ModelVersion>,
    ) -> Option<PredictJob> {
        let active = active?;
        if self.out.is_some() || self.rests_until.is_some() || self.is_held_by(active.version) {
            return None;
        }
        // One that fails again and again lets the others go first, and has its turn after them.
        let rounds = |sequence: &i64| self.failures.get(sequence).map_or(0, |failures| failures / TRIES);
        let waiting = self.waiting.iter();
        let (sequence, rows) = waiting.min_by_key(|(sequence, _)| (rounds(sequence), **sequence))?;
        self.out = Some(Out {
            sequence: *sequence,
            overtaken: HashMap::new(),
            stage: Stage::Asked,
        });
        Some(PredictJob {
            dataset: Arc::clone(dataset),
            epoch,
            sequence: *sequence,
            rows: rows.iter().copied().collect(),
            active: active.clone(),
            shadow: shadow.cloned(),
        })
    }

    /// Takes in what became of a job.
    pub fn finish(&mut self, outcome: PredictOutcome, now: Timestamp) {
        match outcome {
            PredictOutcome::Predicted(predictions) => {
                self.last_rest = None;
                if let Some(out) = &mut self.out {
                    out.stage = Stage::Said(predictions);
                }
            }
            PredictOutcome::Failed { version, fault, detail } => {
                let out = self.out.take();
                match fault {
                    PredictFault::Stopping => {}
                    PredictFault::Mismatch => self.held = Some((version, detail)),
                    // The others must not wait for it. A restart tries again.
                    PredictFault::Damaged => {
                        out.and_then(|out| self.waiting.remove(&out.sequence));
                    }
                    // A sample, a segment or a file may be at fault; it may be the machine as well.
                    PredictFault::Deadline | PredictFault::Samples | PredictFault::File => {
                        if let Some(out) = out {
                            *self.failures.entry(out.sequence).or_default() += 1;
                        }
                        self.rest(now);
                    }
                    PredictFault::NotReady | PredictFault::Overload | PredictFault::Unavailable => self.rest(now),
                }
                let waiting = &self.waiting;
                self.failures.retain(|sequence, _| waiting.contains_key(sequence));
            }
        }
    }

    /// What the state is to keep, if there is something.
    pub fn take_unkept(&mut self) -> Option<Arc<Predictions>> {
        let rests = self.rests_until.is_some();
        let stage = self.out.as_mut().map(|out| &mut out.stage).filter(|_| !rests)?;
        let Stage::Said(predictions) = stage else { return None };
        let predictions = Arc::clone(predictions);
        *stage = Stage::Keeping(Arc::clone(&predictions));
        Some(predictions)
    }

    /// Whether something is still to be kept.
    pub fn is_unkept(&self) -> bool {
        let stage = self.out.as_ref().map(|out| &out.stage);
        matches!(stage, Some(Stage::Said(_) | Stage::Keeping(_)))
    }

    /// The state has kept what was said, and compared it with masks that came meanwhile; or could not.
    pub fn kept(&mut self, kept: Option<&ComparedMasks>, index: &SampleIndex, now: Timestamp) {
        let Some(mut out) = self.out.take() else { return };
        let Stage::Keeping(predictions) = &out.stage else {
            self.out = Some(out);
            return;
        };
        let predictions = Arc::clone(predictions);
        let Some(compared) = kept else {
            self.rest(now);
            out.stage = Stage::Said(predictions);
            self.out = Some(out);
            return;
        };
        self.last_rest = None;
        self.tally.predicted(&predictions);
        let version = Arc::new(predictions.version);
        let shadow = predictions.shadow.map(Arc::new);
        for said in &predictions.said {
            let opinion = Opinion::of(said, &version, shadow.as_ref());
            let compared = compared.get(&said.id).map_or(&[][..], Vec::as_slice);
            self.take_opinion(said, opinion, (&out, compared), index);
        }
        self.waiting.remove(&out.sequence);
        self.failures.remove(&out.sequence);
    }

    fn take_opinion(
        &mut self,
        said: &Said,
        opinion: Opinion,
        (out, compared): (&Out, &[ComparedMask]),
        index: &SampleIndex,
    ) {
        match out.overtaken.get(&said.id) {
            // It speaks of elements that count no more.
            Some(Overtaken {
                same_elements: false, ..
            }) => {}
            Some(Overtaken { truth: Some(truth), .. }) => self.tally.judge(&opinion, truth, compared),
            _ => {
                let Some(known) = index.get(&said.id) else { return };
                self.wait_no_more(known.place);
                self.remember(Arc::clone(&said.id), opinion);
            }
        }
    }

    /// When something that failed is to be tried again.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.rests_until
    }

    /// Ends a rest that is over.
    pub fn wake(&mut self, now: Timestamp) {
        self.rests_until = self.rests_until.filter(|until| now < *until);
    }

    /// What predictions of a version were worth whose truth came later, by the metric that it was chosen by, and how many
    /// these are. Nothing where that metric needs more than what was said.
    pub fn worth(&self, version: &ModelVersion) -> Option<(f64, u64)> {
        self.tally.worth(version)
    }

    /// These versions are there; what others were worth is of no more interest.
    pub fn versions_are(&mut self, versions: &[ModelVersion]) {
        self.tally
            .retain(|key| versions.iter().any(|version| version.version == *key));
    }

    /// For readers.
    pub fn view(
        &self,
        model: &forecastd_config::ModelName,
        active: Option<&ModelVersion>,
        shadow: Option<&ModelVersion>,
    ) -> PredictionView {
        let held = self
            .held
            .as_ref()
            .filter(|_| active.is_some_and(|active| self.is_held_by(active.version)));
        PredictionView {
            model: Arc::clone(model),
            waiting: self.waiting.values().map(|rows| rows.len() as u64).sum(),
            held: held.map(|(_, detail)| detail.clone()),
            ..self.tally.view(active, shadow)
        }
    }

    fn is_held_by(&self, version: ContentKey) -> bool {
        self.held.as_ref().is_some_and(|(held, _)| *held == version)
    }

    /// Another configuration may fit the version that did not.
    pub fn reconfigured(&mut self) {
        self.held = None;
        self.rests_until = None;
    }

    fn wait(&mut self, place: SamplePlace) {
        self.waiting.entry(place.sequence).or_default().insert(place.row);
    }

    fn wait_no_more(&mut self, place: SamplePlace) {
        if let Some(rows) = self.waiting.get_mut(&place.sequence) {
            rows.remove(&place.row);
            if rows.is_empty() {
                self.waiting.remove(&place.sequence);
            }
        }
    }

    fn overtake(&mut self, entry: &SampleEntry, before: SamplePlace) {
        let Some(out) = &mut self.out else { return };
        if before.sequence == out.sequence || out.overtaken.contains_key(&entry.id) {
            let before = out.overtaken.remove(&entry.id);
            let overtaken = Overtaken {
                same_elements: entry.same_elements && before.is_none_or(|before| before.same_elements),
                truth: entry.label.clone(),
            };
            out.overtaken.insert(Arc::clone(&entry.id), overtaken);
        }
    }

    fn remember(&mut self, id: Arc<str>, opinion: Opinion) {
        self.tally.enter(&opinion);
        if let Some(before) = self.said.insert(id, opinion) {
            self.tally.leave(&before);
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(opinion) = self.said.remove(id) {
            self.tally.leave(&opinion);
        }
    }

    fn rest(&mut self, now: Timestamp) {
        let rest = self.last_rest.map_or(FIRST_REST, |last| (last * 2).min(LONGEST_REST));
        self.rests_until = Some(now.after(rest));
        self.last_rest = Some(rest);
    }
}

impl Opinion {
    fn of(said: &Said, version: &Arc<ContentKey>, shadow: Option<&Arc<ContentKey>>) -> Self {
        let shadow = said.shadow.clone().zip(shadow);
        Self {
            version: Arc::clone(version),
            label: said.label.clone(),
            shadow: shadow.map(|(label, version)| Box::new((Arc::clone(version), label))),
        }
    }
}
