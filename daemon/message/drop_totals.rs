//! What a dataset's drops came to, over all restarts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::account::RowAccount;
use super::rejected::RejectReason;

/// Sums over a dataset's ledger, for counters that go on after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DropTotals {
    /// Files whose rows were committed.
    pub drops_committed: u64,
    /// Files whose content had been committed before.
    pub drops_duplicate: u64,
    /// Files refused, by reason.
    pub drops_rejected: BTreeMap<RejectReason, u64>,
    /// Where all rows went.
    pub rows: RowAccount,
    /// Committed rows that a later row for the same time has replaced on disk.
    pub rows_superseded: u64,
    /// Committed rows that have left the disk by age.
    pub rows_retired: u64,
}
