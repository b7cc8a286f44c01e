//! What was said of samples, so that nothing is predicted twice and a label that comes later finds what was said.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecastd_config::DatasetName;

use super::read;
use crate::message::prediction::{KeptPrediction, Predictions};
use crate::message::sample::ComparedMasks;
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
        self.compared_late(id, dataset, predictions)
    }

    fn compared_late(
        &self,
        id: i64,
        dataset: &DatasetName,
        predictions: &Predictions,
    ) -> Result<ComparedMasks, StateError> {
        let mut overtaken = BTreeMap::new();
        for said in predictions.said.iter().filter(|said| said.mask.is_some()) {
            let known = self.ledger.sample(id, &said.id)?;
            if let Some(known) = known.filter(|known| known.content == said.content && known.has_mask()) {
                overtaken.insert(known.place, said);
            }
        }
        let places: Vec<_> = overtaken.keys().copied().collect();
        let mut compared = ComparedMasks::new();
        let read = read(&self.ledger, id, &self.folder(dataset), &places, |place, kept| {
            let said = overtaken[&place];
            let of_sample = self.compared(id, (&said.id, &said.content), kept.mask.zip(kept.label))?;
            compared.insert(Arc::clone(&said.id), of_sample);
            Ok(())
        });
        match read {
            // What was said is kept, and the next start tells of the damage.
            Err(StateError::Damaged { .. }) => Ok(compared),
            read => read.map(|()| compared),
        }
    }

    /// The last word on each sample of a dataset, if it is about the elements that count.
    pub fn recover_predictions(&self, dataset: &DatasetName) -> Result<Vec<KeptPrediction>, StateError> {
        match self.datasets.get(dataset) {
            Some(known) => self.ledger.predictions(known.id),
            None => Ok(Vec::new()),
        }
    }
}
