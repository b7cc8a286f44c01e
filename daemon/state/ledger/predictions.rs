//! What the ledger knows of predictions: for each sample the last word.

use forecastd_models::dasha::mask::unpack;
use rusqlite::{Transaction, params};

use super::Ledger;
use super::samples::label_of;
use crate::message::content_key::ContentKey;
use crate::message::prediction::{KeptPrediction, Predictions};
use crate::message::sample::{Label, MaskLabel};
use crate::state::error::StateError;

/// What a version said of a sample's positions.
#[derive(Debug)]
pub(in crate::state) struct SaidMask {
    pub(in crate::state) version: ContentKey,
    pub(in crate::state) label: MaskLabel,
    pub(in crate::state) mask: Vec<u8>,
}

/// The first true mask of a sample is compared with what was said of it, and no other: what was said position by position is
/// of no use from then on, and most of what the ledger weighs.
pub(super) fn forget_mask(transaction: &Transaction<'_>, dataset: i64, id: &str) -> Result<(), StateError> {
    let sql = "UPDATE predictions SET mask = NULL, shadow_mask = NULL
               WHERE dataset = ?1 AND id = ?2 AND coalesce(mask, shadow_mask) IS NOT NULL";
    transaction.prepare_cached(sql)?.execute(params![dataset, id])?;
    Ok(())
}

impl Ledger {
    /// Enters what was said of samples, as one durable transaction.
    pub(in crate::state) fn keep_predictions(
        &mut self,
        dataset: i64,
        predictions: &Predictions,
    ) -> Result<(), StateError> {
        let transaction = self.connection.transaction()?;
        let sql = "INSERT INTO predictions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET
                   content = excluded.content, version = excluded.version, said = excluded.said,
                   shadow = excluded.shadow, shadow_said = excluded.shadow_said, mask = excluded.mask,
                   shadow_mask = excluded.shadow_mask";
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
                said.mask.as_deref(),
                shadow.and(said.shadow_mask.as_deref()),
            ])?;
        }
        drop(upsert);
        Ok(transaction.commit()?)
    }

    /// The masks of so many positions that were said of these elements.
    pub(in crate::state) fn said_masks(
        &self,
        dataset: i64,
        id: &str,
        content: &[u8; 32],
        positions: usize,
    ) -> Result<Vec<SaidMask>, StateError> {
        let sql = "SELECT version, said, mask FROM predictions WHERE dataset = ?1 AND id = ?2 AND content = ?3
                   UNION ALL SELECT shadow, shadow_said, shadow_mask FROM predictions
                   WHERE dataset = ?1 AND id = ?2 AND content = ?3 AND shadow IS NOT NULL";
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query(params![dataset, id, &content[..]])?;
        let mut masks = Vec::new();
        while let Some(row) = rows.next()? {
            let version = ContentKey(row.get(0)?);
            let said = row.get::<_, Option<String>>(1)?.as_deref().map(label_of).transpose()?;
            let packed = row.get::<_, Option<Vec<u8>>>(2)?;
            let (Some(Label::Mask(label)), Some(packed)) = (said, packed) else {
                continue;
            };
            if let Some(mask) = unpack(&packed, positions) {
                masks.push(SaidMask { version, label, mask });
            }
        }
        Ok(masks)
    }

    /// Lets the masks go that were said of samples, as one durable transaction: what is true of them is known.
    pub(in crate::state) fn forget_masks<'i>(
        &mut self,
        dataset: i64,
        ids: impl Iterator<Item = &'i str>,
    ) -> Result<(), StateError> {
        let transaction = self.connection.transaction()?;
        for id in ids {
            forget_mask(&transaction, dataset, id)?;
        }
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
