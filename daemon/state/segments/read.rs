//! Reading a segment: all of it, or the rows that a probe asks for.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, TimestampNanosecondType};
use forecastd_models::{ChannelName, Timestamp};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReader};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowFilter};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::{Row, schema};
use crate::state::error::StateError;

/// Rows decoded at a time; a merge holds sixteen of these.
const READ_BATCH: usize = 1 << 13;

/// A segment's rows in order of (channel, time).
#[derive(Debug)]
pub(in crate::state) struct Rows {
    path: PathBuf,
    batches: Batches,
    batch: std::vec::IntoIter<Row>,
}

/// The rows that a probe asks for; the bounds belong to it.
#[derive(Clone, Debug)]
pub(in crate::state) struct Window {
    pub(in crate::state) oldest: Timestamp,
    pub(in crate::state) newest: Timestamp,
    pub(in crate::state) first_channel: ChannelName,
    pub(in crate::state) last_channel: ChannelName,
}

impl Rows {
    /// Opens a segment; with a window, reads only the row groups that may hold rows of it, and of these only the
    /// rows within its times.
    pub(in crate::state) fn open(path: PathBuf, window: Option<&Window>) -> Result<Self, StateError> {
        let file = File::open(&path).map_err(StateError::io("open", &path))?;
        let damaged = |error| StateError::damaged(&path, error);
        let options = ArrowReaderOptions::new().with_schema(schema());
        let mut builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .map_err(damaged)?
            .with_batch_size(READ_BATCH);
        if let Some(window) = window {
            let groups = builder.metadata().row_groups();
            let wanted = (0..groups.len()).filter(|i| window.may_touch(&groups[*i])).collect();
            let time = ProjectionMask::leaves(builder.parquet_schema(), [1]);
            builder = builder.with_row_groups(wanted).with_row_filter(window.filter(time));
        }
        let batches = Batches(builder.build().map_err(damaged)?);
        let batch = Vec::new().into_iter();
        Ok(Self { path, batches, batch })
    }
}

impl Iterator for Rows {
    type Item = Result<Row, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.batch.next() {
                return Some(Ok(row));
            }
            match self.batches.0.next()? {
                Ok(batch) => self.batch = rows_of(&batch).into_iter(),
                Err(error) => return Some(Err(StateError::damaged(&self.path, error))),
            }
        }
    }
}

impl Window {
    /// Whether a row group may hold a row of this window, as far as its statistics tell.
    fn may_touch(&self, group: &RowGroupMetaData) -> bool {
        let channels = match group.column(0).statistics() {
            Some(Statistics::ByteArray(names)) => names.min_bytes_opt().zip(names.max_bytes_opt()),
            _ => None,
        };
        let times = match group.column(1).statistics() {
            Some(Statistics::Int64(times)) => times.min_opt().zip(times.max_opt()),
            _ => None,
        };
        channels.is_none_or(|(min, max)| min <= self.last_channel.as_bytes() && max >= self.first_channel.as_bytes())
            && times.is_none_or(|(min, max)| *min <= self.newest.0 && *max >= self.oldest.0)
    }

    fn filter(&self, time: ProjectionMask) -> RowFilter {
        let wanted = self.oldest.0..=self.newest.0;
        let within = ArrowPredicateFn::new(time, move |batch: RecordBatch| {
            let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
            Ok(BooleanArray::from_unary(times, |time| wanted.contains(&time)))
        });
        RowFilter::new(vec![Box::new(within)])
    }
}

/// `ParquetRecordBatchReader` cannot be printed.
struct Batches(ParquetRecordBatchReader);

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batches")
    }
}

/// `batch` has the types of [`schema`]: the reader was told so and refuses other files.
fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let channels = batch.column(0).as_dictionary::<Int32Type>();
    let names: Vec<ChannelName> = channels
        .values()
        .as_string::<i32>()
        .iter()
        .map(|n| n.unwrap_or("").into())
        .collect();
    let times = batch.column(1).as_primitive::<TimestampNanosecondType>();
    let values = batch.column(2).as_primitive::<Float64Type>();
    let columns = channels.keys().values().iter().zip(times.values()).zip(values.values());
    columns
        .map(|((channel, time), value)| Row {
            channel: Arc::clone(&names[*channel as usize]),
            time: Timestamp(*time),
            value: *value,
        })
        .collect()
}
