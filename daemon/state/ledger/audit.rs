//! The questions that only `fsck` asks of the ledger: sums taken afresh, row by row.

use super::{Ledger, counter_of, row_reason, unsigned};
use crate::message::drop_totals::DropTotals;
use crate::state::error::StateError;

impl Ledger {
    /// Runs `look` on one consistent view, whatever a daemon commits meanwhile.
    pub(in crate::state) fn view<T>(&self, look: impl FnOnce(&Self) -> Result<T, StateError>) -> Result<T, StateError> {
        let view = self.connection.unchecked_transaction()?;
        let seen = look(self);
        view.finish()?;
        seen
    }

    /// What SQLite finds wrong with its own file, and with references between tables.
    pub(in crate::state) fn integrity(&self) -> Result<Vec<String>, StateError> {
        let mut query = self.connection.prepare("PRAGMA integrity_check")?;
        let lines: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut found: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
        let mut query = self.connection.prepare("PRAGMA foreign_key_check")?;
        let dangling = query.query_map([], |row| {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            Ok(format!("a row of table {table} refers to nothing in table {parent}"))
        })?;
        for line in dangling {
            found.push(line?);
        }
        Ok(found)
    }

    /// Drops for which `seen = committed + duplicate + rejected` does not hold, with their figures.
    pub(in crate::state) fn unbalanced_drops(&self, dataset: i64) -> Result<Vec<String>, StateError> {
        let sql = "SELECT id, seen, committed, duplicate, refused, listed FROM (
                       SELECT *, (SELECT coalesce(sum(rows), 0) FROM refused_rows WHERE drop_id = id) AS listed
                       FROM drops WHERE dataset = ?1)
                   WHERE seen <> committed + duplicate + refused OR refused <> listed";
        let mut query = self.connection.prepare(sql)?;
        let lines = query.query_map([dataset], |row| {
            let figure = |column| row.get::<_, i64>(column);
            Ok(format!(
                "drop {}: {} rows seen, but {} committed + {} duplicate + {} rejected ({} by reason)",
                figure(0)?,
                figure(1)?,
                figure(2)?,
                figure(3)?,
                figure(4)?,
                figure(5)?
            ))
        })?;
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// The totals of a dataset, summed over its drops. What was superseded and retired is not in them.
    pub(in crate::state) fn recount(&self, dataset: i64) -> Result<DropTotals, StateError> {
        let mut totals = DropTotals::default();
        let sql = "SELECT 'drops_' || outcome, coalesce(reason, ''), count(*) FROM drops WHERE dataset = ?1
                   GROUP BY 1, 2";
        let mut query = self.connection.prepare(sql)?;
        let mut rows = query.query([dataset])?;
        while let Some(row) = rows.next()? {
            let (counter, reason): (String, String) = (row.get(0)?, row.get(1)?);
            *counter_of(&mut totals, &counter, &reason)? = unsigned(row, 2)?;
        }
        let sql = "SELECT coalesce(sum(seen), 0), coalesce(sum(committed), 0), coalesce(sum(duplicate), 0),
                   coalesce(sum(missing), 0) FROM drops WHERE dataset = ?1";
        totals.rows = self
            .connection
            .query_row(sql, [dataset], |row| super::account(row, 0))?;
        let sql = "SELECT refused_rows.reason, sum(rows) FROM refused_rows JOIN drops ON id = drop_id
                   WHERE dataset = ?1 GROUP BY refused_rows.reason";
        let mut query = self.connection.prepare(sql)?;
        let mut rows = query.query([dataset])?;
        while let Some(row) = rows.next()? {
            let reason = row_reason(&row.get::<_, String>(0)?)?;
            totals.rows.rejected.insert(reason, unsigned(row, 1)?);
        }
        Ok(totals)
    }
}
