//! What the ledger knows of trainings.

use forecastd_models::Timestamp;
use rusqlite::{Row, params};

use super::{Ledger, unsigned};
use crate::message::content_key::ContentKey;
use crate::message::training::{Training, TrainingEnd, TrainingFailure, TrainingFault, TrainingPlan, TrainingReason};
use crate::state::error::StateError;

impl Ledger {
    /// Of every model the last training that made a version, and all later ones, in the order in which they began.
    pub(in crate::state) fn trainings(&self) -> Result<Vec<Training>, StateError> {
        let sql = "SELECT id, model, dataset, reason, words, through, labelled, searches, searched, begun, ended, version,
                       fault, detail FROM trainings AS one
                   WHERE id >= coalesce((SELECT max(id) FROM trainings WHERE model = one.model AND version IS NOT NULL), 0)
                   ORDER BY id";
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query([])?;
        let mut trainings = Vec::new();
        while let Some(row) = rows.next()? {
            trainings.push(training(row)?);
        }
        Ok(trainings)
    }

    /// Enters a training that is to begin; its number.
    pub(in crate::state) fn add_training(&self, plan: &TrainingPlan, now: Timestamp) -> Result<i64, StateError> {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let sql = "INSERT INTO trainings (model, dataset, reason, words, through, labelled, searches, searched, begun)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        self.connection.prepare_cached(sql)?.execute(params![
            &*plan.model,
            &*plan.dataset,
            plan.reason.label(),
            plan.words,
            plan.through,
            count(plan.labelled),
            plan.searches,
            count(plan.searched),
            now.0,
        ])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Enters how a training ended, once.
    pub(in crate::state) fn end_training(&self, id: i64, end: &TrainingEnd) -> Result<(), StateError> {
        let (version, failure) = match &end.result {
            Ok(version) => (Some(&version.0[..]), None),
            Err(failure) => (None, Some(failure)),
        };
        let sql =
            "UPDATE trainings SET ended = ?2, version = ?3, fault = ?4, detail = ?5 WHERE id = ?1 AND ended IS NULL";
        self.connection.prepare_cached(sql)?.execute(params![
            id,
            end.time.0,
            version,
            failure.map(|failure| failure.fault.label()),
            failure.map(|failure| &failure.detail),
        ])?;
        Ok(())
    }
}

fn training(row: &Row<'_>) -> Result<Training, StateError> {
    let id: i64 = row.get(0)?;
    let wrong = |what: &str, found: &str| StateError::BadLedger {
        detail: format!("table trainings: row {id}: unknown {what} {found:?}"),
    };
    let reason: String = row.get(3)?;
    let reason = TrainingReason::ALL.into_iter().find(|known| known.label() == reason);
    let ended: Option<i64> = row.get(10)?;
    let version: Option<[u8; 32]> = row.get(11)?;
    let result = match (version, row.get::<_, Option<String>>(12)?) {
        (Some(version), _) => Some(Ok(ContentKey(version))),
        (None, Some(fault)) => {
            let known = TrainingFault::ALL.into_iter().find(|known| known.label() == fault);
            Some(Err(TrainingFailure {
                fault: known.ok_or_else(|| wrong("fault", &fault))?,
                detail: row.get(13)?,
            }))
        }
        (None, None) => None,
    };
    Ok(Training {
        id,
        plan: TrainingPlan {
            model: row.get::<_, String>(1)?.into(),
            dataset: row.get::<_, String>(2)?.into(),
            reason: reason.ok_or_else(|| wrong("reason", &row.get::<_, String>(3).unwrap_or_default()))?,
            words: row.get(4)?,
            through: row.get(5)?,
            labelled: unsigned(row, 6)?,
            searches: row.get(7)?,
            searched: unsigned(row, 8)?,
        },
        begun: Timestamp(row.get(9)?),
        end: ended.zip(result).map(|(time, result)| TrainingEnd {
            time: Timestamp(time),
            result,
        }),
    })
}
