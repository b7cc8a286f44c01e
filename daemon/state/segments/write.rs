//! Writing a segment, hashed on its way to the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::TimestampNanosecondArray;
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray};
use forecastd_models::{ChannelName, Timestamp};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{FINAL_LEVEL, ROW_GROUP, Row, Segment, schema};
use crate::state::durable::Disk;
use crate::state::error::StateError;

/// A segment of this many rows is large enough. It bounds a merge, during which intake waits, to sixteen times as
/// many: about a second.
const FULL_ROWS: u64 = 1 << 18;

pub(in crate::state) const TEMPORARY: &str = "segment.tmp";

/// Writes rows, which come in order of (channel, time), as a durable segment. No rows, no segment.
pub(in crate::state) fn write(
    disk: &Disk,
    folder: &Path,
    sequence: i64,
    level: u8,
    rows: impl Iterator<Item = Result<Row, StateError>>,
) -> Result<Option<Segment>, StateError> {
    let temporary = folder.join(TEMPORARY);
    let written = write_temporary(disk, &temporary, rows);
    if !matches!(written, Ok(Some(_))) {
        let _ = fs::remove_file(&temporary); // a full disk wants its space back; else the next start removes it
    }
    let Some(content) = written? else {
        return Ok(None);
    };
    disk.step()?;
    let segment = content.into_segment(sequence, level);
    disk.rename(&temporary, &folder.join(&segment.file))?;
    disk.step()?;
    Ok(Some(segment))
}

/// A segment that has no name yet.
struct Content {
    rows: u64,
    bytes: u64,
    oldest: Timestamp,
    newest: Timestamp,
    hash: [u8; 32],
}

impl Content {
    fn into_segment(self, sequence: i64, level: u8) -> Segment {
        let level = if self.rows >= FULL_ROWS { FINAL_LEVEL } else { level };
        let digits: String = self.hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Segment {
            sequence,
            level,
            file: format!("{sequence:010}-{level}-{digits}.parquet"),
            rows: self.rows,
            bytes: self.bytes,
            oldest: self.oldest,
            newest: self.newest,
            hash: self.hash,
        }
    }
}

/// Writes and flushes the file.
fn write_temporary(
    disk: &Disk,
    path: &Path,
    mut rows: impl Iterator<Item = Result<Row, StateError>>,
) -> Result<Option<Content>, StateError> {
    let Some(first) = rows.next().transpose()? else {
        return Ok(None);
    };
    let failed = |error| StateError::io("write", path)(into_io(error));
    let file = File::create(path).map_err(StateError::io("create", path))?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties())
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Hashing::new(file), schema(), options).map_err(failed)?;

    let mut count = 0;
    let (mut oldest, mut newest) = (first.time, first.time);
    let mut buffer = Buffer::default();
    for row in std::iter::once(Ok(first)).chain(rows) {
        let row = row?;
        count += 1;
        oldest = oldest.min(row.time);
        newest = newest.max(row.time);
        buffer.push(row);
        if buffer.times.len() == ROW_GROUP {
            writer
                .write(&std::mem::take(&mut buffer).into_batch())
                .map_err(failed)?;
        }
    }
    writer.write(&buffer.into_batch()).map_err(failed)?;
    let Hashing { file, hasher, bytes } = writer.into_inner().map_err(failed)?;
    disk.step()?;
    disk.flush(&file, path)?;
    Ok(Some(Content {
        rows: count,
        bytes,
        oldest,
        newest,
        hash: *hasher.finalize().as_bytes(),
    }))
}

/// Small files stay small: no Arrow schema, no page index, statistics only where a probe can use them.
fn properties() -> WriterProperties {
    let [channel, time, value] = ["channel", "time", "value"].map(ColumnPath::from);
    let level = ZstdLevel::try_new(1).expect("1 is a level of zstd");
    WriterProperties::builder()
        .set_created_by("forecastd".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(channel, true)
        .set_column_dictionary_enabled(time.clone(), false)
        .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(value.clone(), false)
        .set_column_statistics_enabled(value, EnabledStatistics::None)
        .build()
}

/// The disk's own error, where parquet wrapped one: the caller looks at its kind.
pub(in crate::state) fn into_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        error => io::Error::other(error),
    }
}

/// Rows on their way into a row group.
#[derive(Default)]
struct Buffer {
    names: Vec<ChannelName>,
    channels: Vec<i32>,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Buffer {
    fn push(&mut self, row: Row) {
        if self.names.last() != Some(&row.channel) {
            self.names.push(row.channel);
        }
        self.channels.push(self.names.len() as i32 - 1);
        self.times.push(row.time.0);
        self.values.push(row.value);
    }

    fn into_batch(self) -> RecordBatch {
        let names = StringArray::from_iter_values(&self.names);
        let channels = DictionaryArray::new(Int32Array::from(self.channels), Arc::new(names));
        let columns: [ArrayRef; 3] = [
            Arc::new(channels),
            Arc::new(TimestampNanosecondArray::from(self.times).with_timezone("UTC")),
            Arc::new(Float64Array::from(self.values)),
        ];
        RecordBatch::try_new(schema(), columns.into()).expect("three columns of the schema's types and one length")
    }
}

/// A file that knows the hash of what was written to it.
pub(in crate::state) struct Hashing {
    pub(in crate::state) file: File,
    pub(in crate::state) hasher: blake3::Hasher,
    pub(in crate::state) bytes: u64,
}

impl Hashing {
    pub(in crate::state) fn new(file: File) -> Self {
        Self {
            file,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }
}

impl Write for Hashing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.hasher.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
