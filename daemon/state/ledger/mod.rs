//! The ledger: what became of every file, which segments live, and the sums over both, in SQLite.
//!
//! The only place that speaks SQL, with `record` for what changes it, `models` for versions of models, `samples` and
//! `predictions` for tiles and sequences, `trainings` for the networks that are trained here, and `audit` for the questions
//! that only `fsck` asks. It touches no segment file.

mod audit;
mod models;
mod predictions;
mod record;
mod samples;
mod trainings;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use forecastd_config::DatasetName;
use forecastd_models::{ChannelName, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

pub(super) use models::{Move, Place};
pub(super) use record::Ending;

use super::DropMeta;
use super::error::StateError;
use super::segments::{Segment, Window};
use crate::message::account::{RowAccount, RowReason};
use crate::message::content_key::ContentKey;
use crate::message::drop_totals::DropTotals;
use crate::message::landed_file::Fingerprint;
use crate::message::rejected::RejectReason;

/// The version of `schema.sql`, `models.sql`, `samples.sql`, `trainings.sql`, `predictions.sql` and `masks.sql` together.
const SCHEMA_VERSION: i64 = 7;

/// From version 1, where a content could be committed only once, to version 2.
const FROM_VERSION_1: &str = "DROP INDEX drops_by_content;
    CREATE INDEX drops_by_content ON drops (dataset, key) WHERE outcome = 'committed';";

/// What version 3 adds: models.
const MODELS: &str = include_str!("models.sql");

/// What version 4 adds: samples.
const SAMPLES: &str = include_str!("samples.sql");

/// What version 5 adds: trainings.
const TRAININGS: &str = include_str!("trainings.sql");

/// What version 6 adds: predictions.
const PREDICTIONS: &str = include_str!("predictions.sql");

/// What version 7 adds: masks, and when and where samples were taken.
const MASKS: &str = include_str!("masks.sql");

/// How long to wait for someone who looks into the ledger with a tool of their own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The ledger's connection.
#[derive(Debug)]
pub(super) struct Ledger {
    connection: Connection,
}

/// What the ledger knows of a dataset beside its drops.
#[derive(Debug)]
pub(super) struct Dataset {
    pub(super) id: i64,
    pub(super) newest: Option<Timestamp>,
    /// Each with a time that its newest row has reached.
    pub(super) channels: HashMap<ChannelName, Timestamp>,
}

impl Ledger {
    /// Opens or creates the ledger and brings its schema up to date.
    pub(super) fn open(path: &Path, sync: bool) -> Result<Self, StateError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let version = schema_version(&connection, path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", if sync { "FULL" } else { "OFF" })?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        if version < SCHEMA_VERSION {
            let migration = connection.transaction()?;
            match version {
                0 => migration.execute_batch(include_str!("schema.sql"))?,
                1 => migration.execute_batch(FROM_VERSION_1)?,
                _ => {}
            }
            if version < 3 {
                migration.execute_batch(MODELS)?;
            }
            if version < 4 {
                migration.execute_batch(SAMPLES)?;
            }
            if version < 5 {
                migration.execute_batch(TRAININGS)?;
            }
            if version < 6 {
                migration.execute_batch(PREDICTIONS)?;
            }
            migration.execute_batch(MASKS)?;
            migration.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            migration.commit()?;
        }
        Ok(Self { connection })
    }

    /// Opens the ledger to look at it, beside a daemon or without one.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, StateError> {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StateError::NoLedger { path: path.to_owned() });
            }
            found => found.map_err(StateError::io("open", path))?,
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if schema_version(&connection, path)? == 0 {
            let detail = "it has no schema: not a ledger of forecastd".to_owned();
            return Err(StateError::BadLedger { detail });
        }
        Ok(Self { connection })
    }

    pub(super) fn datasets(&self) -> Result<BTreeMap<DatasetName, Dataset>, StateError> {
        let mut datasets = BTreeMap::new();
        let mut query = self.connection.prepare("SELECT id, name, newest FROM datasets")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let dataset = Dataset {
                id,
                newest: row.get::<_, Option<i64>>(2)?.map(Timestamp),
                channels: self.channels(id)?,
            };
            datasets.insert(row.get::<_, String>(1)?.into(), dataset);
        }
        Ok(datasets)
    }

    fn channels(&self, dataset: i64) -> Result<HashMap<ChannelName, Timestamp>, StateError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT name, newest FROM channels WHERE dataset = ?1")?;
        let channels = query.query_map([dataset], |row| {
            Ok((row.get::<_, String>(0)?.into(), Timestamp(row.get(1)?)))
        })?;
        Ok(channels.collect::<Result<_, _>>()?)
    }

    /// Enters a dataset that has no row yet.
    pub(super) fn add_dataset(&self, name: &str) -> Result<Dataset, StateError> {
        self.connection
            .execute("INSERT INTO datasets (name) VALUES (?1)", [name])?;
        Ok(Dataset {
            id: self.connection.last_insert_rowid(),
            newest: None,
            channels: HashMap::new(),
        })
    }

    /// Whether this very file ended as a commit or a duplicate.
    pub(super) fn is_finished(
        &self,
        dataset: i64,
        key: &ContentKey,
        fingerprint: &Fingerprint,
        path: &Path,
    ) -> Result<bool, StateError> {
        let sql = "SELECT 1 FROM drops WHERE fingerprint = ?1 AND dataset = ?2 AND path = ?3 AND key = ?4
                   AND outcome <> 'rejected'";
        let mut query = self.connection.prepare_cached(sql)?;
        Ok(query.exists(params![fingerprint.to_string(), dataset, path_value(path), &key.0[..]])?)
    }

    /// The drop that committed this content last, and its account.
    pub(super) fn committed(&self, dataset: i64, key: &ContentKey) -> Result<Option<(i64, RowAccount)>, StateError> {
        let sql = "SELECT id, seen, committed, duplicate, missing FROM drops
                   WHERE dataset = ?1 AND key = ?2 AND outcome = 'committed' ORDER BY id DESC LIMIT 1";
        let mut query = self.connection.prepare_cached(sql)?;
        let found = query
            .query_row(params![dataset, &key.0[..]], |row| Ok((row.get(0)?, account(row, 1)?)))
            .optional()?;
        let Some((drop, mut account)) = found else {
            return Ok(None);
        };
        account.rejected = self.refused_rows(drop)?;
        Ok(Some((drop, account)))
    }

    fn refused_rows(&self, drop: i64) -> Result<BTreeMap<RowReason, u64>, StateError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT reason, rows FROM refused_rows WHERE drop_id = ?1")?;
        let mut rows = query.query([drop])?;
        let mut refused = BTreeMap::new();
        while let Some(row) = rows.next()? {
            refused.insert(row_reason(&row.get::<_, String>(0)?)?, unsigned(row, 1)?);
        }
        Ok(refused)
    }

    /// Whether this very file was refused for this reason before.
    pub(super) fn is_rejected<K>(
        &self,
        dataset: i64,
        meta: &DropMeta<K>,
        reason: RejectReason,
    ) -> Result<bool, StateError> {
        let sql = "SELECT 1 FROM drops WHERE fingerprint = ?1 AND dataset = ?2 AND path = ?3 AND reason = ?4";
        let mut query = self.connection.prepare_cached(sql)?;
        Ok(query.exists(params![
            meta.fingerprint.to_string(),
            dataset,
            path_value(&meta.path),
            reason.label()
        ])?)
    }

    /// The sequence that the next drop gets.
    pub(super) fn next_drop(&self) -> Result<i64, StateError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM drops")?;
        Ok(query.query_row([], |row| row.get(0))?)
    }

    /// A dataset's live segments in order of sequence.
    pub(super) fn segments(&self, dataset: i64) -> Result<Vec<Segment>, StateError> {
        self.select_segments(dataset, Timestamp(i64::MIN), Timestamp(i64::MAX))
    }

    /// The live segments that may hold rows of a window, in order of sequence.
    pub(super) fn overlapping(&self, dataset: i64, window: &Window) -> Result<Vec<Segment>, StateError> {
        self.select_segments(dataset, window.oldest, window.newest)
    }

    fn select_segments(&self, dataset: i64, oldest: Timestamp, newest: Timestamp) -> Result<Vec<Segment>, StateError> {
        let sql = "SELECT sequence, level, file, rows, bytes, oldest, newest, hash FROM segments
                   WHERE dataset = ?1 AND newest >= ?2 AND oldest <= ?3 ORDER BY sequence";
        let mut query = self.connection.prepare_cached(sql)?;
        let segments = query.query_map([dataset, oldest.0, newest.0], segment)?;
        Ok(segments.collect::<Result<_, _>>()?)
    }

    /// The live segment with this sequence.
    pub(super) fn segment(&self, sequence: i64) -> Result<Segment, StateError> {
        let sql = "SELECT sequence, level, file, rows, bytes, oldest, newest, hash FROM segments WHERE sequence = ?1";
        Ok(self.connection.prepare_cached(sql)?.query_row([sequence], segment)?)
    }

    /// Where the drop with this number lay.
    pub(super) fn drop_path(&self, drop: i64) -> Result<PathBuf, StateError> {
        let sql = "SELECT path FROM drops WHERE id = ?1";
        let path = self
            .connection
            .prepare_cached(sql)?
            .query_row([drop], |row| row.get(0))?;
        Ok(match path {
            Value::Text(text) => text.into(),
            Value::Blob(bytes) => OsString::from_vec(bytes).into(),
            other => {
                let detail = format!("table drops: the path of {drop} is {other:?}");
                return Err(StateError::BadLedger { detail });
            }
        })
    }

    /// The sums over the ledger, by dataset.
    pub(super) fn totals(&self) -> Result<BTreeMap<DatasetName, DropTotals>, StateError> {
        let sql = "SELECT name, counter, reason, value FROM totals JOIN datasets ON datasets.id = totals.dataset";
        let mut totals = BTreeMap::<DatasetName, DropTotals>::new();
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let of = totals.entry(row.get::<_, String>(0)?.into()).or_default();
            let (counter, reason) = (row.get::<_, String>(1)?, row.get::<_, String>(2)?);
            *counter_of(of, &counter, &reason)? = unsigned(row, 3)?;
        }
        Ok(totals)
    }
}

/// Where a total of the ledger stands in the struct.
fn counter_of<'a>(totals: &'a mut DropTotals, counter: &str, reason: &str) -> Result<&'a mut u64, StateError> {
    Ok(match counter {
        "drops_committed" => &mut totals.drops_committed,
        "drops_duplicate" => &mut totals.drops_duplicate,
        "drops_rejected" => totals.drops_rejected.entry(reject_reason(reason)?).or_default(),
        "rows_seen" => &mut totals.rows.seen,
        "rows_committed" => &mut totals.rows.committed,
        "rows_duplicate" => &mut totals.rows.duplicate,
        "rows_rejected" => totals.rows.rejected.entry(row_reason(reason)?).or_default(),
        "rows_missing" => &mut totals.rows.missing,
        "rows_superseded" => &mut totals.rows_superseded,
        "rows_retired" => &mut totals.rows_retired,
        _ => {
            let detail = format!("table totals: unknown counter {counter:?}");
            return Err(StateError::BadLedger { detail });
        }
    })
}

fn segment(row: &Row<'_>) -> rusqlite::Result<Segment> {
    Ok(Segment {
        sequence: row.get(0)?,
        level: row.get(1)?,
        file: row.get(2)?,
        rows: unsigned(row, 3)?,
        bytes: unsigned(row, 4)?,
        oldest: Timestamp(row.get(5)?),
        newest: Timestamp(row.get(6)?),
        hash: row.get(7)?,
    })
}

fn schema_version(connection: &Connection, path: &Path) -> Result<i64, StateError> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StateError::NewerSchema {
            path: path.to_owned(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok(found)
}

/// The columns seen, committed, duplicate, missing from `first` on; the refused rows stand in a table of their own.
fn account(row: &Row<'_>, first: usize) -> rusqlite::Result<RowAccount> {
    Ok(RowAccount {
        seen: unsigned(row, first)?,
        committed: unsigned(row, first + 1)?,
        duplicate: unsigned(row, first + 2)?,
        missing: unsigned(row, first + 3)?,
        rejected: BTreeMap::new(),
    })
}

fn row_reason(label: &str) -> Result<RowReason, StateError> {
    let reason = RowReason::all().find(|reason| reason.label() == label);
    reason.ok_or_else(|| unknown_reason(label))
}

fn reject_reason(label: &str) -> Result<RejectReason, StateError> {
    let reason = RejectReason::ALL.into_iter().find(|reason| reason.label() == label);
    reason.ok_or_else(|| unknown_reason(label))
}

fn unknown_reason(label: &str) -> StateError {
    StateError::BadLedger {
        detail: format!("unknown reason {label:?}"),
    }
}

/// Text where an operator can read it; the bytes as they are where it is not UTF-8.
fn path_value(path: &Path) -> Value {
    let name: &OsStr = path.as_os_str();
    match name.to_str() {
        Some(text) => Value::Text(text.to_owned()),
        None => Value::Blob(name.as_bytes().to_owned()),
    }
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.try_into().unwrap_or(0))
}
