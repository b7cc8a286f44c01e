//! A parquet file read piece by piece, each row known by its number in the whole file.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};

use super::super::parts::Watch;
use super::super::table::Sheet;
use super::SamplesError;

/// Bytes of the cells that are decoded at once, about.
const PIECE_BYTES: u64 = 16 << 20;

/// Rows decoded at once, at most.
const PIECE_ROWS: u64 = 8_192;

/// An open file.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    sheet: Sheet,
}

impl Source {
    /// Reads the footer.
    pub(super) fn open(path: &Path) -> Result<Self, SamplesError> {
        let unreadable = |source| SamplesError::Open {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(SamplesError::refused(path, "no file: give one parquet file"));
        }
        let sheet = Sheet::open(file).map_err(|rejected| {
            let detail = format!("not a parquet file that can be read: {}", rejected.detail);
            SamplesError::refused(path, detail)
        })?;
        if sheet.rows() == 0 {
            return Err(SamplesError::refused(path, "it has no rows"));
        }
        Ok(Self {
            path: path.to_owned(),
            sheet,
        })
    }

    /// An open file without a name.
    pub(super) fn of(sheet: Sheet) -> Self {
        Self {
            path: PathBuf::new(),
            sheet,
        }
    }

    pub(super) fn schema(&self) -> &Schema {
        self.sheet.schema()
    }

    pub(super) fn rows(&self) -> u64 {
        self.sheet.rows()
    }

    /// The columns `roots`, ascending; `take` gets each piece with the number of its first row.
    pub(super) fn read(
        &self,
        roots: &[usize],
        watch: &mut Watch<'_>,
        mut take: impl FnMut(u64, &RecordBatch) -> Result<(), SamplesError>,
    ) -> Result<(), SamplesError> {
        let (mut row, mut failure) = (0, None);
        for group in 0..self.sheet.groups() {
            let read = self.sheet.read_in(group, roots, self.piece(group, roots), |batch| {
                let rows = batch.num_rows() as u64;
                failure = take(row, batch).err();
                row += rows;
                if failure.is_none() && watch(rows).is_break() {
                    failure = Some(SamplesError::Interrupted);
                }
                Ok(match failure {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                })
            });
            let read = read.map_err(|rejected| SamplesError::refused(&self.path, rejected.detail))?;
            if let (ControlFlow::Break(()), Some(failure)) = (read, failure.take()) {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Rows to decode at once: a whole row group of tiles would not fit into memory.
    fn piece(&self, group: usize, roots: &[usize]) -> usize {
        let rows = self.sheet.group_rows(group).max(1);
        // Equal cells are stored once, so what the footer says may be far too little.
        let fixed = roots.iter().map(|root| match self.schema().field(*root).data_type() {
            DataType::FixedSizeBinary(bytes) => bytes.unsigned_abs().into(),
            _ => 0,
        });
        let row = (self.sheet.group_bytes(group, roots) / rows).max(fixed.sum()).max(1);
        (PIECE_BYTES / row).clamp(1, PIECE_ROWS) as usize
    }

    /// An error that names a cell.
    pub(super) fn cell(&self, row: u64, root: usize, detail: impl std::fmt::Display) -> SamplesError {
        SamplesError::Cell {
            path: self.path.clone(),
            row,
            column: self.schema().field(root).name().clone(),
            detail: detail.to_string(),
        }
    }

    /// An error that names the file.
    pub(super) fn refused(&self, detail: impl std::fmt::Display) -> SamplesError {
        SamplesError::refused(&self.path, detail)
    }
}
