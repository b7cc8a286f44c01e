//! What the ledger knows of models: their versions, and what became of each.

use std::path::Path;
use std::sync::Arc;

use forecastd_models::Timestamp;
use forecastd_models::dasha::Metric;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Ledger, unsigned};
use crate::message::content_key::ContentKey;
use crate::message::model::{ModelFacts, ModelState, ModelTransition, ModelVersion};
use crate::state::error::StateError;

/// The first version of the ledger that knows of models.
const SINCE: i64 = 3;

const COLUMNS: &str = "model, hash, model_versions.state, time, reason, imported, promotion, bytes, metric, validation,
    test, data, description";

/// Each version with the last thing that became of it.
const FROM: &str = "model_versions JOIN model_transitions ON model_transitions.id =
    (SELECT max(id) FROM model_transitions WHERE version = model_versions.id)";

/// A change of one version's state.
#[derive(Debug)]
pub(in crate::state) struct Move {
    pub(in crate::state) version: ContentKey,
    pub(in crate::state) to: ModelState,
    /// What becomes of its place among the promotions.
    pub(in crate::state) place: Place,
    pub(in crate::state) reason: String,
}

/// What becomes of a version's place among the promotions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum Place {
    /// It is behind all others.
    Last,
    /// This one, or none.
    At(Option<i64>),
}

impl Ledger {
    /// Every version of every model, those that were removed included, in the order in which they first came.
    /// `folders` is where the files of versions lie.
    pub(in crate::state) fn model_versions(&self, folders: &Path) -> Result<Vec<ModelVersion>, StateError> {
        if !self.knows_models()? {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {COLUMNS} FROM {FROM} ORDER BY model_versions.id");
        let mut query = self.connection.prepare_cached(&sql)?;
        let mut rows = query.query([])?;
        let mut versions = Vec::new();
        while let Some(row) = rows.next()? {
            versions.push(version(row, folders)?);
        }
        Ok(versions)
    }

    /// Whether any version that is not removed has these files.
    pub(in crate::state) fn has_model_files(&self, key: &ContentKey) -> Result<bool, StateError> {
        let sql = "SELECT 1 FROM model_versions WHERE hash = ?1 AND state <> 'removed'";
        Ok(self.connection.prepare_cached(sql)?.exists([&key.0[..]])?)
    }

    /// What became of the versions of a model, the earliest first.
    pub(in crate::state) fn model_transitions(&self, model: &str) -> Result<Vec<ModelTransition>, StateError> {
        if !self.knows_models()? {
            return Ok(Vec::new());
        }
        let sql = "SELECT hash, model_transitions.state, time, reason FROM model_transitions
                   JOIN model_versions ON model_versions.id = version WHERE model = ?1 ORDER BY model_transitions.id";
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query([model])?;
        let mut transitions = Vec::new();
        while let Some(row) = rows.next()? {
            transitions.push(ModelTransition {
                version: ContentKey(row.get(0)?),
                state: state(&row.get::<_, String>(1)?)?,
                time: Timestamp(row.get(2)?),
                reason: row.get(3)?,
            });
        }
        Ok(transitions)
    }

    /// Enters a version as a candidate: a new one, or one that was removed and has its files again.
    pub(in crate::state) fn add_model_version(
        &mut self,
        model: &str,
        key: &ContentKey,
        facts: &ModelFacts,
        now: Timestamp,
        reason: &str,
    ) -> Result<(), StateError> {
        let description = serde_json::to_string(&facts.description).map_err(|error| StateError::BadLedger {
            detail: format!("the description of a model: {error}"),
        })?;
        let transaction = self.connection.transaction()?;
        let sql = "INSERT INTO model_versions
                       (model, hash, state, imported, bytes, metric, validation, test, data, description)
                   VALUES (?1, ?2, 'candidate', ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                   ON CONFLICT DO UPDATE SET state = 'candidate', imported = excluded.imported";
        transaction.prepare_cached(sql)?.execute(params![
            model,
            &key.0[..],
            now.0,
            i64::try_from(facts.bytes).unwrap_or(i64::MAX),
            facts.metric.name(),
            facts.validation,
            facts.test,
            facts.data,
            description,
        ])?;
        add_transition(&transaction, model, key, ModelState::Candidate, now, reason)?;
        Ok(transaction.commit()?)
    }

    /// Changes the states of some versions of a model, in this order, as one durable transaction.
    pub(in crate::state) fn move_model_versions(
        &mut self,
        model: &str,
        moves: &[Move],
        now: Timestamp,
    ) -> Result<(), StateError> {
        let transaction = self.connection.transaction()?;
        for Move {
            version,
            to,
            place,
            reason,
        } in moves
        {
            let transition = add_transition(&transaction, model, version, *to, now, reason)?;
            let promotion = match place {
                Place::Last => Some(transition),
                Place::At(promotion) => *promotion,
            };
            let sql = "UPDATE model_versions SET state = ?3, promotion = ?4 WHERE model = ?1 AND hash = ?2";
            let mut update = transaction.prepare_cached(sql)?;
            update.execute(params![model, &version.0[..], to.label(), promotion])?;
        }
        Ok(transaction.commit()?)
    }

    /// Versions whose state is not the last thing that became of them, or that are not ordered as promotions are.
    pub(in crate::state) fn crooked_model_versions(&self) -> Result<Vec<String>, StateError> {
        if !self.knows_models()? {
            return Ok(Vec::new());
        }
        let sql = "SELECT model, lower(hex(hash)), state, coalesce((SELECT state FROM model_transitions
                       WHERE version = model_versions.id ORDER BY id DESC LIMIT 1), 'nothing') AS last
                   FROM model_versions WHERE state <> last
                   UNION ALL
                   SELECT model, lower(hex(hash)), state, 'a promotion after the active one''s' FROM model_versions AS one
                   WHERE promotion > (SELECT promotion FROM model_versions WHERE model = one.model AND state = 'active')";
        let mut query = self.connection.prepare(sql)?;
        let lines = query.query_map([], |row| {
            let text = |column| row.get::<_, String>(column);
            Ok(format!(
                "model {}: version {} is {}, its history says {}",
                text(0)?,
                text(1)?,
                text(2)?,
                text(3)?
            ))
        })?;
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// A ledger that is only looked at may be of a version before models.
    fn knows_models(&self) -> Result<bool, StateError> {
        let version: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(version >= SINCE)
    }
}

/// Enters what became of a version; says under which number.
fn add_transition(
    transaction: &Transaction<'_>,
    model: &str,
    version: &ContentKey,
    to: ModelState,
    now: Timestamp,
    reason: &str,
) -> Result<i64, StateError> {
    let sql = "SELECT id FROM model_versions WHERE model = ?1 AND hash = ?2";
    let mut find = transaction.prepare_cached(sql)?;
    let id: Option<i64> = find
        .query_row(params![model, &version.0[..]], |row| row.get(0))
        .optional()?;
    let id = id.ok_or_else(|| StateError::BadLedger {
        detail: format!("model {model} has no version {version}"),
    })?;
    let sql = "INSERT INTO model_transitions (version, state, time, reason) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = transaction.prepare_cached(sql)?;
    insert.execute(params![id, to.label(), now.0, reason])?;
    Ok(transaction.last_insert_rowid())
}

fn version(row: &Row<'_>, folders: &Path) -> Result<ModelVersion, StateError> {
    let key = ContentKey(row.get(1)?);
    let wrong = |what: &str, error: &dyn std::fmt::Display| StateError::BadLedger {
        detail: format!("table model_versions: version {key}: {what}: {error}"),
    };
    let metric: String = row.get(8)?;
    let description: String = row.get(12)?;
    Ok(ModelVersion {
        model: row.get::<_, String>(0)?.into(),
        version: key,
        state: state(&row.get::<_, String>(2)?)?,
        since: Timestamp(row.get(3)?),
        reason: row.get(4)?,
        imported: Timestamp(row.get(5)?),
        promotion: row.get(6)?,
        folder: folders.join(key.to_string()),
        facts: Arc::new(ModelFacts {
            bytes: unsigned(row, 7)?,
            metric: Metric::ALL
                .into_iter()
                .find(|known| known.name() == metric)
                .ok_or_else(|| wrong("metric", &metric))?,
            validation: row.get(9)?,
            test: row.get(10)?,
            data: row.get(11)?,
            description: serde_json::from_str(&description).map_err(|error| wrong("description", &error))?,
        }),
    })
}

fn state(label: &str) -> Result<ModelState, StateError> {
    let state = ModelState::ALL.into_iter().find(|state| state.label() == label);
    state.ok_or_else(|| StateError::BadLedger {
        detail: format!("unknown state of a model {label:?}"),
    })
}
