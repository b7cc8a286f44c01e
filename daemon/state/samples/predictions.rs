//! What was said of samples, so that nothing is predicted twice and a label that comes later finds what was said.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecastd_config::DatasetName;
use tracing::warn;

use super::{Names, read};
use crate::message::prediction::{KeptPrediction, Predictions, Said};
use crate::message::sample::{ComparedMasks, SamplePlace};
use crate::state::Store;
use crate::state::error::StateError;

impl Store {
    /// Keeps what was said of samples. When this returns, it survives a power cut. Masks that came while theirs were being
    /// predicted are compared with what was said.
    pub fn keep_predictions(
        &mut self,
        dataset: &DatasetName,
        predictions: &Predictions,
    ) -> Result<ComparedMasks, StateError> {
        let id = self.enter_dataset(dataset)?;
        self.disk.step()?;
        self.ledger.keep_predictions(id, predictions)?;
        self.disk.step()?;
        let mut compared = ComparedMasks::new();
        let done = self.compare_late(id, dataset, predictions, &mut compared);
        if let Some(error) = unless_fatal(done)? {
            warn!(%dataset, %error, "what was said is kept, and not compared with all masks that came meanwhile");
        }
        Ok(compared)
    }

    /// What was said is durable by now: a segment that cannot be read costs the scores of its samples, and nothing else.
    fn compare_late(
        &mut self,
        id: i64,
        dataset: &DatasetName,
        predictions: &Predictions,
        compared: &mut ComparedMasks,
    ) -> Result<(), StateError> {
        let mut overtaken = BTreeMap::<i64, BTreeMap<SamplePlace, &Said>>::new();
        for said in predictions.said.iter().filter(|said| said.mask.is_some()) {
            let known = self.ledger.sample(id, &said.id)?;
            if let Some(known) = known.filter(|known| known.content == said.content && known.has_mask()) {
                let of_drop = overtaken.entry(known.place.sequence).or_default();
                of_drop.insert(known.place, said);
            }
        }
        let mut names = Names::default();
        for (sequence, said) in &overtaken {
            let places: Vec<_> = said.keys().copied().collect();
            let read = read(&self.ledger, id, &self.folder(dataset), &places, |place, kept| {
                let said = said[&place];
                let truth = kept.mask.zip(kept.label);
                let of_sample = self.compared(id, (&said.id, &said.content), truth, &mut names)?;
                compared.insert(Arc::clone(&said.id), of_sample);
                Ok(())
            });
            if let Some(error) = unless_fatal(read)? {
                warn!(%dataset, drop = sequence, %error, "masks of a segment are not compared with what was said");
            }
        }
        let ids = overtaken.values().flat_map(BTreeMap::values).map(|said| &*said.id);
        self.ledger.forget_masks(id, ids)
    }

    /// The last word on each sample of a dataset, if it is about the elements that count.
    pub fn recover_predictions(&self, dataset: &DatasetName) -> Result<Vec<KeptPrediction>, StateError> {
        match self.datasets.get(dataset) {
            Some(known) => self.ledger.predictions(known.id),
            None => Ok(Vec::new()),
        }
    }
}

/// What went wrong, where others may go on.
fn unless_fatal(done: Result<(), StateError>) -> Result<Option<StateError>, StateError> {
    match done {
        Err(error) if error.is_fatal() => Err(error),
        done => Ok(done.err()),
    }
}
