//! Segments: immutable parquet files of rows in order of (channel, time).
//!
//! A segment is written whole, flushed and renamed before anyone hears of it, and never changed after. Its name
//! holds its sequence, its level and the first digits of its hash, so that no two different segments ever share a
//! name. What a segment is worth against another, and which ones live, is the ledger's business.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, RecordBatch};
use arrow::array::{StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};
use forecastd_models::{ChannelName, Timestamp};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReader};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowFilter};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;

use super::durable::Disk;
use super::error::StateError;

/// The level of a segment that is left alone by merges: large enough, or damaged.
pub(super) const FINAL_LEVEL: u8 = u8::MAX;

/// A segment of this many rows is large enough: merging it again would cost seconds and gain nothing.
const FULL_ROWS: u64 = 1 << 20;

/// Rows in a row group, and so the finest grain at which a probe can skip.
const ROW_GROUP: usize = 1 << 16;

/// Rows decoded at a time; a merge holds sixteen of these.
const READ_BATCH: usize = 1 << 13;

const TEMPORARY: &str = "segment.tmp";

/// What the manifest says of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The newest drop in it. Of two rows for one time the one in the higher sequence counts.
    pub(super) sequence: i64,
    pub(super) level: u8,
    pub(super) file: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) oldest: Timestamp,
    pub(super) newest: Timestamp,
    pub(super) hash: [u8; 32],
}

/// One value of one channel at one time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) channel: ChannelName,
    pub(super) time: Timestamp,
    pub(super) value: f64,
}

/// The rows that a probe asks for; the bounds belong to it.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) oldest: Timestamp,
    pub(super) newest: Timestamp,
    pub(super) first_channel: ChannelName,
    pub(super) last_channel: ChannelName,
}

/// Writes rows, which come in order of (channel, time), as a durable segment. No rows, no segment.
pub(super) fn write(
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

/// Checks a segment against its hash, and opens it.
pub(super) fn open_verified(folder: &Path, segment: &Segment) -> Result<Rows, StateError> {
    verify(folder, segment)?;
    Rows::open(folder.join(&segment.file), None)
}

/// Checks a segment against its hash.
pub(super) fn verify(folder: &Path, segment: &Segment) -> Result<(), StateError> {
    let path = folder.join(&segment.file);
    let mut hasher = blake3::Hasher::new();
    let hashed = File::open(&path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    match hashed {
        Ok(()) if hasher.finalize().as_bytes() == &segment.hash => Ok(()),
        Ok(()) => Err(StateError::damaged(
            &path,
            "its content is not what was written (BLAKE3 differs)",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StateError::damaged(&path, "it is gone")),
        Err(error) => Err(StateError::io("read", &path)(error)),
    }
}

/// A segment's rows in order of (channel, time).
#[derive(Debug)]
pub(super) struct Rows {
    path: PathBuf,
    batches: Batches,
    batch: std::vec::IntoIter<Row>,
}

/// `ParquetRecordBatchReader` cannot be printed.
struct Batches(ParquetRecordBatchReader);

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batches")
    }
}

impl Rows {
    /// Opens a segment; with a window, reads only the row groups that may hold rows of it, and of these only the
    /// rows within its times.
    pub(super) fn open(path: PathBuf, window: Option<&Window>) -> Result<Self, StateError> {
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

fn schema() -> SchemaRef {
    let channel = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("channel", channel, false),
        Field::new("time", time, false),
        Field::new("value", DataType::Float64, false),
    ]))
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

/// The disk's own error, where parquet wrapped one: the caller looks at its kind.
fn into_io(error: parquet::errors::ParquetError) -> io::Error {
    match error {
        parquet::errors::ParquetError::External(cause) => match cause.downcast::<io::Error>() {
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

/// A file that knows the hash of what was written to it.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Hashing {
    fn new(file: File) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(channel: usize, time: i64) -> Row {
        Row {
            channel: format!("c{channel:03}").into(),
            time: Timestamp(time),
            value: time as f64 / 3.0 - channel as f64,
        }
    }

    fn written(rows: &[Row]) -> (tempfile::TempDir, Segment) {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = rows.iter().cloned().map(Ok);
        let segment = write(&Disk::unsynced(), folder.path(), 7, 2, rows)
            .expect("written")
            .expect("rows");
        (folder, segment)
    }

    #[test]
    fn rows_come_back_as_they_went_in_and_the_manifest_describes_them() {
        let rows: Vec<Row> = (0..3)
            .flat_map(|channel| (-40_000..0).map(move |time| row(channel, time)))
            .collect();
        let (folder, segment) = written(&rows);
        let back: Vec<Row> = open_verified(folder.path(), &segment)
            .expect("open")
            .map(|row| row.expect("a row"))
            .collect();
        assert!(back == rows);
        assert_eq!((segment.rows, segment.sequence, segment.level), (120_000, 7, 2));
        assert_eq!((segment.oldest, segment.newest), (Timestamp(-40_000), Timestamp(-1)));
        let on_disk = fs::metadata(folder.path().join(&segment.file)).expect("the file");
        assert_eq!(on_disk.len(), segment.bytes);
        assert_eq!(
            fs::read_dir(folder.path()).expect("the folder").count(),
            1,
            "no temporary is left"
        );
    }

    #[test]
    fn a_window_yields_its_times_only_and_skips_row_groups_of_other_channels() {
        let rows: Vec<Row> = (0..400)
            .flat_map(|channel| (0..400).map(move |time| row(channel, time)))
            .collect();
        let (folder, segment) = written(&rows);
        let window = Window {
            oldest: Timestamp(10),
            newest: Timestamp(12),
            first_channel: "c010".into(),
            last_channel: "c011".into(),
        };
        let read: Vec<Row> = Rows::open(folder.path().join(&segment.file), Some(&window))
            .expect("open")
            .map(|row| row.expect("a row"))
            .collect();
        let first_group = ROW_GROUP.div_ceil(400);
        assert!(read.iter().all(|row| (10..=12).contains(&row.time.0)));
        assert!(read.contains(&row(10, 11)) && read.contains(&row(11, 12)));
        assert_eq!(read.len(), first_group * 3, "one row group of three was read");
    }

    #[test]
    fn a_tiny_segment_is_a_tiny_file() {
        let (_folder, segment) = written(&[row(1, 1), row(2, 1), row(3, 1)]);
        assert!(segment.bytes < 1_000, "{} bytes", segment.bytes);
    }

    #[test]
    fn no_rows_make_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let segment = write(&Disk::unsynced(), folder.path(), 1, 0, std::iter::empty()).expect("nothing to write");
        assert_eq!(segment, None);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }
}
