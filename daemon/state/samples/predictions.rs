//! What was said of samples, so that nothing is predicted twice and a label that comes later finds what was said.

use forecastd_config::DatasetName;

use crate::message::prediction::{KeptPrediction, Predictions};
use crate::state::Store;
use crate::state::error::StateError;

impl Store {
    /// Keeps what was said of samples. When this returns, it survives a power cut.
    pub fn keep_predictions(&mut self, dataset: &DatasetName, predictions: &Predictions) -> Result<(), StateError> {
        let id = self.enter_dataset(dataset)?;
        self.disk.step()?;
        self.ledger.keep_predictions(id, predictions)?;
        self.disk.step()
    }

    /// The last word on each sample of a dataset, if it is about the elements that count.
    pub fn recover_predictions(&self, dataset: &DatasetName) -> Result<Vec<KeptPrediction>, StateError> {
        match self.datasets.get(dataset) {
            Some(known) => self.ledger.predictions(known.id),
            None => Ok(Vec::new()),
        }
    }
}
