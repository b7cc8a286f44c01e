//! What the ledger knows of predictions: for each sample the last word.

use rusqlite::params;

use super::Ledger;
use super::samples::label_of;
use crate::message::content_key::ContentKey;
use crate::message::prediction::{KeptPrediction, Predictions};
use crate::message::sample::Label;
use crate::state::error::StateError;

impl Ledger {
    /// Enters what was said of samples, as one durable transaction.
    pub(in crate::state) fn keep_predictions(
        &mut self,
        dataset: i64,
        predictions: &Predictions,
    ) -> Result<(), StateError> {
        let transaction = self.connection.transaction()?;
        let sql = "INSERT INTO predictions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET
                   content = excluded.content, version = excluded.version, said = excluded.said,
                   shadow = excluded.shadow, shadow_said = excluded.shadow_said";
        let mut upsert = transaction.prepare_cached(sql)?;
        for said in &predictions.said {
            let shadow = said.shadow.as_ref().zip(predictions.shadow);
            upsert.execute(params![
                dataset,
                &*said.id,
                &said.content[..],
                &predictions.version.0[..],
                said.label.as_ref().map(Label::to_json),
                shadow.map(|(_, version)| version.0.to_vec()),
                shadow.map(|(label, _)| label.to_json()),
            ])?;
        }
        drop(upsert);
        Ok(transaction.commit()?)
    }

    /// What was said of the elements that count, in no order.
    pub(in crate::state) fn predictions(&self, dataset: i64) -> Result<Vec<KeptPrediction>, StateError> {
        let sql =
            "SELECT id, version, said, shadow, shadow_said FROM predictions JOIN samples USING (dataset, id, content)
                   WHERE dataset = ?1";
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query([dataset])?;
        let mut kept = Vec::new();
        while let Some(row) = rows.next()? {
            let label = |column| -> Result<Option<Label>, StateError> {
                let text = row.get::<_, Option<String>>(column)?;
                text.as_deref().map(label_of).transpose()
            };
            let shadow = row.get::<_, Option<[u8; 32]>>(3)?.map(ContentKey);
            kept.push(KeptPrediction {
                id: row.get::<_, String>(0)?.into(),
                version: ContentKey(row.get(1)?),
                label: label(2)?,
                shadow: shadow.zip(label(4)?),
            });
        }
        Ok(kept)
    }
}
