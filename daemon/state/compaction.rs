//! Keeping the number of segments small and the disk free of what retention has passed.
//!
//! Sixteen neighbours of one level become one of the next, so a row is written once a level and a dataset of n
//! drops has about 15·log₁₆ n segments. Only neighbours in sequence are merged: which of two rows came later is
//! never lost. A merge that dies half way leaves a file that the next start removes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use forecastd_models::{ChannelName, Timestamp};
use tracing::warn;

use super::Store;
use super::commit::{channel_lag, cutoff};
use super::error::StateError;
use super::segments::{self, FINAL_LEVEL, Row, Rows, Segment};

/// Segments merged at a time.
const FAN_IN: usize = 16;

/// What a call of [`Store::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// Segments that were merged into others.
    pub merged: usize,
    /// Rows that a later row for the same time replaced.
    pub superseded: u64,
    /// Rows that left the disk by age.
    pub retired: u64,
}

impl Store {
    /// Merges small segments and removes what is older than the retention. To be called after each commit: with
    /// nothing to do it costs one look into the ledger.
    ///
    /// A damaged segment is an error once; from then on merges go around it.
    pub fn maintain(&mut self, dataset: &str, retention: Duration) -> Result<Maintenance, StateError> {
        let mut done = Maintenance::default();
        let Some((id, newest)) = self.datasets.get(dataset).map(|dataset| (dataset.id, dataset.newest)) else {
            return Ok(done);
        };
        let cutoff = cutoff(newest, retention);
        let folder = self.folder(dataset);
        let mut live = self.ledger.segments(id)?;
        let expired: Vec<Segment> = live.extract_if(.., |segment| segment.newest < cutoff).collect();
        if !expired.is_empty() {
            done.retired = expired.iter().map(|segment| segment.rows).sum();
            self.ledger.replace(id, &expired, None, 0, done.retired)?;
            self.disk.step()?;
            self.remove(&folder, &expired)?;
            self.forget_silent_channels(dataset, id, cutoff.saturating_add(-channel_lag(retention)))?;
        }
        while let Some(group) = next_merge(&live) {
            self.merge(id, &folder, &live[group.clone()], cutoff, &mut done)?;
            live = self.ledger.segments(id)?;
        }
        Ok(done)
    }

    /// Puts one segment in the place of several.
    fn merge(
        &mut self,
        dataset: i64,
        folder: &Path,
        group: &[Segment],
        cutoff: Timestamp,
        done: &mut Maintenance,
    ) -> Result<(), StateError> {
        let inputs = group.iter().map(|segment| self.open_for_merge(folder, segment));
        let mut rows = Merge::new(inputs.collect::<Result<_, _>>()?, cutoff)?;
        let last = &group[group.len() - 1];
        let merged = segments::write(&self.disk, folder, last.sequence, last.level + 1, &mut rows)?;
        self.ledger
            .replace(dataset, group, merged.as_ref(), rows.superseded, rows.retired)?;
        self.disk.step()?;
        done.merged += group.len();
        done.superseded += rows.superseded;
        done.retired += rows.retired;
        self.remove(folder, group)
    }

    fn open_for_merge(&self, folder: &Path, segment: &Segment) -> Result<Rows, StateError> {
        let rows = segments::open_verified(folder, segment);
        if let Err(StateError::Damaged { .. }) = rows {
            self.ledger.set_aside(segment)?;
        }
        rows
    }

    /// Removes files that no longer count. One that will not go is an orphan, and goes with the next start.
    fn remove(&self, folder: &Path, gone: &[Segment]) -> Result<(), StateError> {
        for segment in gone {
            let path = folder.join(&segment.file);
            if let Err(error) = fs::remove_file(&path) {
                warn!(path = %path.display(), %error, "cannot remove a merged segment");
            }
            self.verified.borrow_mut().remove(&segment.hash);
            self.disk.step()?;
        }
        Ok(())
    }

    fn forget_silent_channels(&mut self, dataset: &str, id: i64, before: Timestamp) -> Result<(), StateError> {
        self.ledger.forget_channels(id, before)?;
        if let Some(dataset) = self.datasets.get_mut(dataset) {
            dataset.channels.retain(|_, newest| *newest >= before);
        }
        Ok(())
    }
}

/// The oldest sixteen neighbours of one level, if there are so many.
fn next_merge(live: &[Segment]) -> Option<std::ops::Range<usize>> {
    let mut first = 0;
    for run in live.chunk_by(|a, b| a.level == b.level) {
        if run.len() >= FAN_IN && run[0].level != FINAL_LEVEL {
            return Some(first..first + FAN_IN);
        }
        first += run.len();
    }
    None
}

/// The rows of several segments in order of (channel, time), one for a time, none older than the cutoff.
struct Merge {
    inputs: Vec<Rows>,
    heads: BinaryHeap<Reverse<Head>>,
    cutoff: Timestamp,
    superseded: u64,
    retired: u64,
}

/// The next row of an input.
struct Head {
    row: Row,
    input: usize,
}

impl Merge {
    /// Merges inputs that come in order of sequence.
    fn new(inputs: Vec<Rows>, cutoff: Timestamp) -> Result<Self, StateError> {
        let mut merge = Self {
            heads: BinaryHeap::with_capacity(inputs.len()),
            inputs,
            cutoff,
            superseded: 0,
            retired: 0,
        };
        for input in 0..merge.inputs.len() {
            merge.refill(input)?;
        }
        Ok(merge)
    }

    fn refill(&mut self, input: usize) -> Result<(), StateError> {
        if let Some(row) = self.inputs[input].next().transpose()? {
            self.heads.push(Reverse(Head { row, input }));
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<Row>, StateError> {
        let Some(Reverse(Head { row, input })) = self.heads.pop() else {
            return Ok(None);
        };
        self.refill(input)?;
        Ok(Some(row))
    }

    fn next_kept(&mut self) -> Result<Option<Row>, StateError> {
        while let Some(row) = self.pop()? {
            let superseded = self.heads.peek().is_some_and(|Reverse(next)| next.is_for(&row));
            if superseded {
                self.superseded += 1; // equal rows come in order of sequence: the last one counts
            } else if row.time < self.cutoff {
                self.retired += 1;
            } else {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

impl Iterator for Merge {
    type Item = Result<Row, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_kept().transpose()
    }
}

impl Head {
    fn key(&self) -> (&ChannelName, Timestamp, usize) {
        (&self.row.channel, self.row.time, self.input)
    }

    fn is_for(&self, row: &Row) -> bool {
        self.row.time == row.time && self.row.channel == row.channel
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}
