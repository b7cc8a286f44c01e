//! What changes the ledger: each call one transaction, durable when it returns.

use forecastd_models::{ChannelName, Timestamp};
use rusqlite::{Transaction, params};

use super::{Ledger, path_value, samples};
use crate::message::account::RowAccount;
use crate::message::content_key::ContentKey;
use crate::message::rejected::Rejected;
use crate::state::DropMeta;
use crate::state::error::StateError;
use crate::state::samples::Known;
use crate::state::segments::{FINAL_LEVEL, Segment};

/// How a file ended.
#[derive(Debug)]
pub(in crate::state) enum Ending<'a> {
    Committed {
        /// Its fresh rows, if there are any.
        segment: Option<&'a Segment>,
        /// Channels whose entry is new or moves on.
        channels: &'a [(ChannelName, Timestamp)],
    },
    /// Committed too: a drop of samples.
    Sampled {
        /// Its fresh rows, if there are any.
        segment: Option<&'a Segment>,
        /// What counts from now on.
        samples: &'a [(String, Known)],
    },
    Duplicate {
        of: i64,
    },
    Rejected(&'a Rejected),
}

impl Ledger {
    /// Enters how a file ended, with everything that follows from it, as one durable transaction.
    pub(in crate::state) fn record(
        &mut self,
        dataset: i64,
        meta: &DropMeta<Option<ContentKey>>,
        account: &RowAccount,
        ending: &Ending<'_>,
    ) -> Result<i64, StateError> {
        let drop = self.next_drop()?;
        let transaction = self.connection.transaction()?;
        insert_drop(&transaction, drop, dataset, meta, account, ending)?;
        add_to_totals(&transaction, dataset, account, ending)?;
        if let Ending::Committed {
            segment: Some(segment), ..
        }
        | Ending::Sampled {
            segment: Some(segment), ..
        } = ending
        {
            insert_segment(&transaction, dataset, segment)?;
            let sql = "UPDATE datasets SET newest = max(coalesce(newest, ?2), ?2) WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute([dataset, segment.newest.0])?;
        }
        match ending {
            Ending::Committed { channels, .. } => upsert_channels(&transaction, dataset, channels)?,
            Ending::Sampled { samples, .. } => samples::upsert(&transaction, dataset, samples)?,
            Ending::Duplicate { .. } | Ending::Rejected(_) => {}
        }
        transaction.commit()?;
        Ok(drop)
    }

    /// Lets some segments go and puts another in their place, as one durable transaction. The rows that are not in
    /// it go on the books: `superseded` by a later row for the same time, `retired` by age.
    pub(in crate::state) fn replace(
        &mut self,
        dataset: i64,
        gone: &[Segment],
        by: Option<&Segment>,
        superseded: u64,
        retired: u64,
    ) -> Result<(), StateError> {
        let transaction = self.connection.transaction()?;
        for segment in gone {
            let mut delete = transaction.prepare_cached("DELETE FROM segments WHERE sequence = ?1")?;
            delete.execute([segment.sequence])?;
        }
        if let Some(segment) = by {
            insert_segment(&transaction, dataset, segment)?;
        }
        add_total(&transaction, dataset, "rows_superseded", "", superseded)?;
        add_total(&transaction, dataset, "rows_retired", "", retired)?;
        Ok(transaction.commit()?)
    }

    /// Keeps a segment out of merges from now on.
    pub(in crate::state) fn set_aside(&self, segment: &Segment) -> Result<(), StateError> {
        let sql = "UPDATE segments SET level = ?2 WHERE sequence = ?1";
        self.connection.execute(sql, params![segment.sequence, FINAL_LEVEL])?;
        Ok(())
    }

    /// Forgets channels whose newest row is older than this.
    pub(in crate::state) fn forget_channels(&self, dataset: i64, before: Timestamp) -> Result<(), StateError> {
        let sql = "DELETE FROM channels WHERE dataset = ?1 AND newest < ?2";
        self.connection.execute(sql, [dataset, before.0])?;
        Ok(())
    }
}

fn insert_drop(
    transaction: &Transaction<'_>,
    drop: i64,
    dataset: i64,
    meta: &DropMeta<Option<ContentKey>>,
    account: &RowAccount,
    ending: &Ending<'_>,
) -> Result<(), StateError> {
    let (outcome, of, rejected) = match ending {
        Ending::Committed { .. } | Ending::Sampled { .. } => ("committed", None, None),
        Ending::Duplicate { of } => ("duplicate", Some(of), None),
        Ending::Rejected(rejected) => ("rejected", None, Some(rejected)),
    };
    let sql = "INSERT INTO drops VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    transaction.prepare_cached(sql)?.execute(params![
        drop,
        dataset,
        outcome,
        meta.key.as_ref().map(|key| &key.0[..]),
        path_value(&meta.path),
        meta.fingerprint.to_string(),
        signed(meta.bytes),
        meta.received.0,
        of,
        rejected.map(|rejected| rejected.reason.label()),
        rejected.map(|rejected| &rejected.detail),
        signed(account.seen),
        signed(account.committed),
        signed(account.duplicate),
        signed(account.rejected_total()),
        signed(account.missing),
    ])?;
    let mut insert = transaction.prepare_cached("INSERT INTO refused_rows VALUES (?1, ?2, ?3)")?;
    for (reason, rows) in account.rejected.iter().filter(|(_, rows)| **rows > 0) {
        insert.execute(params![drop, reason.label(), signed(*rows)])?;
    }
    Ok(())
}

fn add_to_totals(
    transaction: &Transaction<'_>,
    dataset: i64,
    account: &RowAccount,
    ending: &Ending<'_>,
) -> Result<(), StateError> {
    let add = |counter, reason, value| add_total(transaction, dataset, counter, reason, value);
    match ending {
        Ending::Committed { .. } | Ending::Sampled { .. } => add("drops_committed", "", 1)?,
        Ending::Duplicate { .. } => add("drops_duplicate", "", 1)?,
        Ending::Rejected(rejected) => add("drops_rejected", rejected.reason.label(), 1)?,
    }
    add("rows_seen", "", account.seen)?;
    add("rows_committed", "", account.committed)?;
    add("rows_duplicate", "", account.duplicate)?;
    add("rows_missing", "", account.missing)?;
    for (reason, rows) in &account.rejected {
        add("rows_rejected", reason.label(), *rows)?;
    }
    Ok(())
}

fn add_total(
    transaction: &Transaction<'_>,
    dataset: i64,
    counter: &str,
    reason: &str,
    value: u64,
) -> Result<(), StateError> {
    if value > 0 {
        let sql = "INSERT INTO totals VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET value = value + excluded.value";
        transaction
            .prepare_cached(sql)?
            .execute(params![dataset, counter, reason, signed(value)])?;
    }
    Ok(())
}

fn insert_segment(transaction: &Transaction<'_>, dataset: i64, segment: &Segment) -> Result<(), StateError> {
    let sql = "INSERT INTO segments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    transaction.prepare_cached(sql)?.execute(params![
        segment.sequence,
        dataset,
        segment.level,
        segment.file,
        signed(segment.rows),
        signed(segment.bytes),
        segment.oldest.0,
        segment.newest.0,
        &segment.hash[..],
    ])?;
    Ok(())
}

fn upsert_channels(
    transaction: &Transaction<'_>,
    dataset: i64,
    channels: &[(ChannelName, Timestamp)],
) -> Result<(), StateError> {
    let sql = "INSERT INTO channels VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET newest = excluded.newest";
    let mut upsert = transaction.prepare_cached(sql)?;
    for (name, newest) in channels {
        upsert.execute(params![dataset, &**name, newest.0])?;
    }
    Ok(())
}

/// SQLite counts in 63 bits; no count of rows or bytes reaches that.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
