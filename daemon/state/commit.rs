//! The way of a drop into the history: which of its rows are fresh, and the order that makes them durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use forecastd_models::{ChannelName, Timestamp};
use tracing::warn;

use super::error::StateError;
use super::ledger::{Dataset, Ending};
use super::segments::{self, Row, Rows, Segment, Window};
use super::{CommitRules, Committed, DropMeta, Store};
use crate::message::account::{RowAccount, RowReason};
use crate::message::series_drop::{ChannelRows, SeriesDrop};

/// A channel's entry in the ledger follows its newest row in steps of this share of the retention: it only decides
/// when a silent channel stops counting, and an update with each drop would cost more than the drop.
const CHANNEL_LAG: u32 = 8;

impl Store {
    /// Commits a drop's rows. `account` is what decoding counted, with every row of `rows` seen; its `committed` is
    /// filled in here.
    ///
    /// A row that the history has, bit for bit, is a duplicate; one with another value is a revision and wins over
    /// the earlier one. When this returns, the fresh rows survive a power cut. [`StateError::Io`] means that nothing
    /// happened; after [`StateError::Fsync`] the process must stop.
    pub fn commit(
        &mut self,
        meta: &DropMeta,
        mut rows: SeriesDrop,
        mut account: RowAccount,
        rules: &CommitRules,
    ) -> Result<Committed, StateError> {
        let id = self.enter_dataset(&meta.dataset)?;
        let dataset = &self.datasets[&meta.dataset];
        let folder = self.folder(&meta.dataset);

        let cutoff = cutoff(dataset.newest, rules.retention);
        let too_old = rows.retain(|_, time, _| time >= cutoff);
        let too_many = refuse_channels(dataset, &mut rows, rules.max_channels);
        refuse(&mut account, RowReason::TooOld, too_old);
        refuse(&mut account, RowReason::TooManyChannels, too_many);
        account.duplicate += self.remove_known(dataset, &folder, &mut rows)?;
        account.committed = rows.rows();
        check_books(&meta.path, &account, rows.rows())?;

        let sequence = self.ledger.next_drop()?;
        let segment = segments::write(&self.disk, &folder, sequence, 0, rows_of(&rows))?;
        let channels = channel_entries(dataset, &rows, rules.retention);
        let ending = Ending::Committed {
            segment: segment.as_ref(),
            channels: &channels,
        };
        let drop = self.ledger.record(id, &meta.clone().keyed(), &account, &ending)?;
        self.disk.step()?;

        let newest = segment.map(|segment| segment.newest);
        if let Some(dataset) = self.datasets.get_mut(&meta.dataset) {
            dataset.newest = dataset.newest.max(newest);
            dataset.channels.extend(channels);
        }
        Ok(Committed {
            drop,
            account,
            fresh: rows,
        })
    }

    /// Takes out the rows that the history has with the very same value; says how many. Segments that share no
    /// time with the drop are not read.
    fn remove_known(&self, dataset: &Dataset, folder: &Path, rows: &mut SeriesDrop) -> Result<u64, StateError> {
        let Some(window) = window(rows) else {
            return Ok(0);
        };
        let mut held = Held::new(rows);
        for segment in self.ledger.overlapping(dataset.id, &window)? {
            if !self.is_sound(folder, &segment)? {
                continue;
            }
            for row in Rows::open(folder.join(&segment.file), Some(&window))? {
                held.note(&row?); // in order of sequence: the last one noted is the one that counts
            }
        }
        let mut held = held.values.into_iter();
        Ok(rows.retain(|_, _, value| held.next().flatten() != Some(value.to_bits())))
    }

    /// Whether a segment is what was written; asked of the disk once in the life of the process. The rows of a
    /// damaged one are lost, and so not known: whoever brings them again heals the history.
    pub(super) fn is_sound(&self, folder: &Path, segment: &Segment) -> Result<bool, StateError> {
        if self.verified.borrow().contains(&segment.hash) {
            return Ok(true);
        }
        match segments::verify(folder, segment) {
            Ok(()) => {
                self.verified.borrow_mut().insert(segment.hash);
                Ok(true)
            }
            Err(error @ StateError::Damaged { .. }) => {
                warn!(%error, "a damaged segment is left out");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// The oldest time that is still kept.
pub(super) fn cutoff(newest: Option<Timestamp>, retention: Duration) -> Timestamp {
    let retention = nanoseconds(retention);
    newest.map_or(Timestamp(i64::MIN), |newest| newest.saturating_add(-retention))
}

/// How far a channel's entry may lag behind its newest row.
pub(super) fn channel_lag(retention: Duration) -> i64 {
    nanoseconds(retention / CHANNEL_LAG)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Holds an account against the law, and against the rows that are about to be written.
pub(super) fn check_books(path: &Path, account: &RowAccount, committed: u64) -> Result<(), StateError> {
    let sound = account.balances() && account.committed == committed;
    debug_assert!(sound, "{}: {account:?} for {committed} rows", path.display());
    if sound {
        return Ok(());
    }
    Err(StateError::Unbalanced {
        path: path.to_owned(),
        detail: format!("{account:?} for {committed} rows"),
    })
}

/// Books rows that were already counted as seen.
fn refuse(account: &mut RowAccount, reason: RowReason, rows: u64) {
    if rows > 0 {
        *account.rejected.entry(reason).or_default() += rows;
    }
}

/// Refuses the rows of new channels beyond the limit, which are admitted in order of name.
fn refuse_channels(dataset: &Dataset, rows: &mut SeriesDrop, max_channels: usize) -> u64 {
    let free = max_channels.saturating_sub(dataset.channels.len());
    let new = rows
        .channels()
        .map(|(name, _)| name)
        .filter(|name| !dataset.channels.contains_key(*name));
    let Some(first_refused) = new.skip(free).map(ChannelName::clone).next() else {
        return 0;
    };
    rows.retain(|channel, _, _| *channel < first_refused || dataset.channels.contains_key(channel))
}

/// The entries that this drop's channels need in the ledger.
fn channel_entries(dataset: &Dataset, rows: &SeriesDrop, retention: Duration) -> Vec<(ChannelName, Timestamp)> {
    let lag = channel_lag(retention);
    let newest = rows
        .channels()
        .filter_map(|(name, rows)| Some((name, rows.iter().next_back()?.0)));
    let due = newest.filter(|(name, newest)| match dataset.channels.get(*name) {
        Some(entered) => *newest > entered.saturating_add(lag),
        None => true,
    });
    due.map(|(name, newest)| (ChannelName::clone(name), newest)).collect()
}

fn rows_of(drop: &SeriesDrop) -> impl Iterator<Item = Result<Row, StateError>> {
    drop.channels().flat_map(|(channel, rows)| {
        rows.iter().map(|(time, value)| {
            let channel = ChannelName::clone(channel);
            Ok(Row { channel, time, value })
        })
    })
}

fn window(rows: &SeriesDrop) -> Option<Window> {
    let (oldest, newest) = rows.time_range()?;
    let mut names = rows.channels().map(|(name, _)| name);
    let first_channel = ChannelName::clone(names.next()?);
    let last_channel = names
        .last()
        .map_or_else(|| ChannelName::clone(&first_channel), ChannelName::clone);
    Some(Window {
        oldest,
        newest,
        first_channel,
        last_channel,
    })
}

/// What the history holds for the rows of a drop.
struct Held<'a> {
    /// Where each channel's rows begin in `values`.
    channels: BTreeMap<&'a str, (usize, &'a ChannelRows)>,
    /// The bits of the value in the history, row by row as the drop goes through them.
    values: Vec<Option<u64>>,
}

impl<'a> Held<'a> {
    fn new(rows: &'a SeriesDrop) -> Self {
        let mut values = Vec::new();
        let mut channels = BTreeMap::new();
        for (name, rows) in rows.channels() {
            channels.insert(&**name, (values.len(), rows));
            values.resize(values.len() + rows.len(), None);
        }
        Self { channels, values }
    }

    fn note(&mut self, row: &Row) {
        let Some((first, rows)) = self.channels.get(&*row.channel) else {
            return;
        };
        if let Ok(index) = rows.times().binary_search(&row.time) {
            self.values[first + index] = Some(row.value.to_bits());
        }
    }
}
