//! A look at samples beside the one writer: their elements, and where their drop lay.

use std::path::{Path, PathBuf};

use super::segment;
use crate::message::sample::Taken;
use crate::state::error::StateError;
use crate::state::ledger::Ledger;
use crate::state::segments;

/// Reads committed samples of a state folder that a [`Store`](crate::state::Store) holds.
#[derive(Debug)]
pub struct SampleReader {
    ledger: Ledger,
    segments: PathBuf,
}

/// A sample as its segment has it.
#[derive(Clone, Copy, Debug)]
pub struct KeptSample<'a> {
    /// Which row of the segment it is.
    pub row: u32,
    /// What identifies it.
    pub id: &'a str,
    /// BLAKE3 of its elements.
    pub content: &'a [u8; 32],
    /// Its record.
    pub elements: &'a [u8],
    /// When and where it was taken.
    pub taken: Taken,
}

impl SampleReader {
    /// Opens the ledger to look at it; the store has opened it before.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        Ok(Self {
            ledger: Ledger::open_read_only(&state_dir.join("ledger.sqlite"))?,
            segments: state_dir.join("segments"),
        })
    }

    /// Where the drop with this number lay.
    pub fn drop_path(&self, sequence: i64) -> Result<PathBuf, StateError> {
        self.ledger.drop_path(sequence)
    }

    /// Hands row after row of these of a drop to `take`, until it fails. The segment is held against its hash first.
    pub fn read<E: From<StateError>>(
        &self,
        dataset: &str,
        sequence: i64,
        rows: &[u32],
        mut take: impl FnMut(KeptSample<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let folder = self.segments.join(dataset);
        let segment = self.ledger.segment(sequence)?;
        segments::verify(&folder, &segment)?;
        segment::read(&folder, &segment, |row, kept| match rows.binary_search(&row) {
            Ok(_) => take(KeptSample {
                row,
                id: kept.id,
                content: kept.content,
                elements: kept.elements,
                taken: kept.taken,
            }),
            Err(_) => Ok(()),
        })
    }
}
