//! A parquet file as a table: its footer, the columns asked for, and its rows piece by piece.
//!
//! Errors and panics of the reader become verdicts that name the place. What a file may cost, the caller checks.

use std::fs::File;
use std::ops::{ControlFlow, Deref};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use forecastd_config::Columns;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Type;
use parquet::errors::ParquetError;

use super::columns::{Cells, Plan, is_text};
use super::names::names_type;
use crate::message::rejected::{RejectReason, Rejected};

/// Rows decoded at once.
const PIECE: usize = 8_192;

/// An open file, and where in it stands what.
#[derive(Debug)]
pub(crate) struct Table {
    sheet: Sheet,
    pub(crate) plan: Plan,
}

/// An open file of whatever columns.
#[derive(Debug)]
pub(crate) struct Sheet {
    file: File,
    metadata: ArrowReaderMetadata,
}

impl Table {
    /// Reads the footer and finds the columns.
    pub(crate) fn open(file: File, columns: &Columns) -> Result<Self, Rejected> {
        let Sheet { file, metadata } = Sheet::open(file)?;
        let plan = Plan::new(metadata.schema(), columns)?;
        let metadata = guarded("the footer", || Ok(names_in_dictionaries(metadata, &plan)))?;
        let sheet = Sheet { file, metadata };
        Ok(Self { sheet, plan })
    }
}

impl Deref for Table {
    type Target = Sheet;

    fn deref(&self) -> &Sheet {
        &self.sheet
    }
}

impl Sheet {
    /// Reads the footer.
    pub(crate) fn open(file: File) -> Result<Self, Rejected> {
        let metadata = guarded("the footer", || load(&file))?;
        Ok(Self { file, metadata })
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    /// Row groups.
    pub(crate) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Rows of a row group, as the footer has it.
    pub(crate) fn group_rows(&self, group: usize) -> u64 {
        self.metadata
            .metadata()
            .row_group(group)
            .num_rows()
            .max(0)
            .unsigned_abs()
    }

    /// Bytes that the columns `roots` of a row group take before compression, as the footer has it.
    pub(crate) fn group_bytes(&self, group: usize, roots: &[usize]) -> u64 {
        let columns = self.metadata.parquet_schema();
        let leaves = self.metadata.metadata().row_group(group).columns().iter().enumerate();
        let read = leaves.filter(|(leaf, _)| roots.contains(&columns.get_column_root_idx(*leaf)));
        read.map(|(_, chunk)| chunk.uncompressed_size().max(0).unsigned_abs())
            .fold(0, u64::saturating_add)
    }

    /// Rows of all row groups.
    pub(crate) fn rows(&self) -> u64 {
        (0..self.groups()).fold(0, |rows: u64, group| rows.saturating_add(self.group_rows(group)))
    }

    /// Reads the columns `roots` of a row group, as long as `take` goes on.
    pub(crate) fn read(
        &self,
        group: usize,
        roots: &[usize],
        take: impl FnMut(&RecordBatch) -> Result<ControlFlow<()>, ParquetError>,
    ) -> Result<ControlFlow<()>, Rejected> {
        self.read_in(group, roots, PIECE, take)
    }

    /// The same, `piece` rows at a time.
    pub(crate) fn read_in(
        &self,
        group: usize,
        roots: &[usize],
        piece: usize,
        mut take: impl FnMut(&RecordBatch) -> Result<ControlFlow<()>, ParquetError>,
    ) -> Result<ControlFlow<()>, Rejected> {
        guarded(&format!("row group {group}"), || {
            let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots.iter().copied());
            let reader =
                ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.try_clone()?, self.metadata.clone())
                    .with_row_groups(vec![group])
                    .with_projection(mask)
                    .with_batch_size(piece)
                    .build()?;
            for batch in reader {
                if take(&batch?)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

fn load(file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    let metadata = ArrowReaderMetadata::load(file, ArrowReaderOptions::new())?;
    match without_wrapping(&metadata) {
        Some(schema) => read_as(&metadata, schema),
        None => Ok(metadata),
    }
}

fn read_as(metadata: &ArrowReaderMetadata, schema: Schema) -> Result<ArrowReaderMetadata, ParquetError> {
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// The old INT96 times reach far beyond what 64-bit nanoseconds hold, and the reader wraps around: year 9999, which
/// some writers mean as "never", would become a plausible instant. Read as microseconds they stay what they are.
fn without_wrapping(metadata: &ArrowReaderMetadata) -> Option<Schema> {
    let descriptor = metadata.parquet_schema();
    let is_int96 = |leaf: usize| descriptor.column(leaf).physical_type() == Type::INT96;
    let int96: Vec<usize> = (0..descriptor.num_columns())
        .filter(|leaf| is_int96(*leaf))
        .map(|leaf| descriptor.get_column_root_idx(leaf))
        .collect();
    let microseconds = |(root, field): (usize, &Arc<Field>)| match field.data_type() {
        DataType::Timestamp(_, zone) if int96.contains(&root) => {
            let data_type = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        }
        _ => Arc::clone(field),
    };
    let fields = metadata.schema().fields().iter().enumerate();
    (!int96.is_empty()).then(|| Schema::new(fields.map(microseconds).collect::<Vec<_>>()))
}

/// Columns of names that are texts, with the dictionaries that they have in the file: a text a row would cost more than
/// all else together.
fn names_in_dictionaries(metadata: ArrowReaderMetadata, plan: &Plan) -> ArrowReaderMetadata {
    let Cells::Long { channel, .. } = &plan.cells else {
        return metadata;
    };
    let names: Vec<usize> = channel.iter().map(|position| plan.roots[*position]).collect();
    let retyped = |(root, field): (usize, &Arc<Field>)| {
        if names.contains(&root) && is_text(field.data_type()) {
            Arc::new(field.as_ref().clone().with_data_type(names_type()))
        } else {
            Arc::clone(field)
        }
    };
    let fields: Vec<_> = metadata.schema().fields().iter().enumerate().map(retyped).collect();
    // A schema that arrow cannot take so stays as it is: `names` makes the dictionaries then.
    read_as(&metadata, Schema::new(fields)).unwrap_or(metadata)
}

/// Runs a piece of the reader. arrow-rs counts a panic on a malformed file as a bug to be fixed some day, not as a
/// vulnerability; to us it says that the file cannot be read.
fn guarded<T>(place: &str, run: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Rejected> {
    let detail = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => format!("{place}: {error}"),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("{place}: the reader gave up: {}", message.unwrap_or("no reason given"))
        }
    };
    Err(Rejected::new(RejectReason::Corrupt, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_reader_is_a_verdict_that_tells_where_and_what() {
        let length = 3;
        let rejected = guarded::<()>("row group 7", || panic!("a length of {length}")).expect_err("a panic");
        assert_eq!(
            rejected,
            Rejected::new(RejectReason::Corrupt, "row group 7: the reader gave up: a length of 3")
        );
    }
}
