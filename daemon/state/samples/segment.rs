//! Segments of samples: immutable parquet files in the order of their drop, read and written one row group at a time: a few
//! megabytes, or one sample if that is larger.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    UInt8Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, UInt8Type};
use arrow::error::ArrowError;
use forecastd_models::Timestamp;
use forecastd_models::dasha::Split;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::message::sample::{Place, Sample, Taken};
use crate::state::durable::Disk;
use crate::state::error::StateError;
use crate::state::segments::{FINAL_LEVEL, Hashing, Segment, TEMPORARY, into_io};

/// Bytes of elements and masks in a row group, after which it ends: what a reader and a writer hold.
const GROUP_BYTES: usize = 8 << 20;

/// Rows in a row group, at most.
const GROUP_ROWS: usize = 1 << 13;

/// How the names of these segments end.
const ENDING: &str = ".samples.parquet";

/// Whether a segment holds samples.
pub(in crate::state) fn is_of_samples(segment: &Segment) -> bool {
    segment.file.ends_with(ENDING)
}

/// A row as it is kept.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) id: &'a str,
    pub(super) split: Split,
    pub(super) label: Option<&'a str>,
    pub(super) content: &'a [u8; 32],
    pub(super) elements: &'a [u8],
    pub(super) mask: Option<&'a [u8]>,
    pub(super) taken: Taken,
}

/// The last four columns are there since version 7 of the ledger; segments from before lack them.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("split", DataType::UInt8, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("content", DataType::FixedSizeBinary(32), false),
        Field::new("elements", DataType::Binary, false),
        Field::new("mask", DataType::Binary, true),
        Field::new("time", DataType::Int64, true),
        Field::new("latitude", DataType::Float64, true),
        Field::new("longitude", DataType::Float64, true),
    ]))
}

/// A segment in the making, which has a file from its first row on. One that is not finished leaves none.
pub(super) struct Writer<'a> {
    disk: &'a Disk,
    folder: &'a Path,
    sequence: i64,
    received: Timestamp,
    writer: Option<ArrowWriter<Hashing>>,
    rows: u32,
    buffer: Buffer,
    finished: bool,
}

#[derive(Default)]
struct Buffer {
    ids: Vec<String>,
    splits: Vec<u8>,
    labels: Vec<Option<String>>,
    contents: Vec<[u8; 32]>,
    elements: Vec<Vec<u8>>,
    masks: Vec<Option<Vec<u8>>>,
    taken: Vec<Taken>,
    bytes: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(disk: &'a Disk, folder: &'a Path, sequence: i64, received: Timestamp) -> Self {
        Self {
            disk,
            folder,
            sequence,
            received,
            writer: None,
            rows: 0,
            buffer: Buffer::default(),
            finished: false,
        }
    }

    /// Adds a row; says which it is.
    pub(super) fn push(&mut self, sample: &Sample, content: &[u8; 32]) -> Result<u32, StateError> {
        let buffer = &mut self.buffer;
        buffer.ids.push(sample.id.clone());
        buffer.splits.push(sample.split as u8);
        buffer.labels.push(sample.label.clone());
        buffer.contents.push(*content);
        buffer.elements.push(sample.elements.clone());
        buffer.masks.push(sample.mask.clone());
        buffer.taken.push(sample.taken);
        buffer.bytes += sample.elements.len() + sample.mask.as_ref().map_or(0, Vec::len);
        self.rows += 1;
        if self.buffer.bytes >= GROUP_BYTES || self.buffer.ids.len() >= GROUP_ROWS {
            self.flush()?;
        }
        Ok(self.rows - 1)
    }

    /// Makes it durable. No rows, no segment.
    pub(super) fn finish(mut self) -> Result<Option<Segment>, StateError> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.flush()?;
        let path = self.temporary();
        let writer = self.writer.take().expect("rows were flushed to it");
        let Hashing { file, hasher, bytes } = writer
            .into_inner()
            .map_err(|error| StateError::io("write", &path)(into_io(error)))?;
        self.disk.step()?;
        self.disk.flush(&file, &path)?;
        self.disk.step()?;
        let hash = *hasher.finalize().as_bytes();
        let digits: String = hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let segment = Segment {
            sequence: self.sequence,
            level: FINAL_LEVEL,
            file: format!("{:010}-{digits}{ENDING}", self.sequence),
            rows: self.rows.into(),
            bytes,
            oldest: self.received,
            newest: self.received,
            hash,
        };
        self.disk.rename(&path, &self.folder.join(&segment.file))?;
        self.finished = true;
        self.disk.step()?;
        Ok(Some(segment))
    }

    fn flush(&mut self) -> Result<(), StateError> {
        if self.buffer.ids.is_empty() {
            return Ok(());
        }
        let path = self.temporary();
        let failed = |error| StateError::io("write", &path)(into_io(error));
        if self.writer.is_none() {
            let file = File::create(&path).map_err(StateError::io("create", &path))?;
            let options = ArrowWriterOptions::new()
                .with_properties(properties())
                .with_skip_arrow_metadata(true);
            let writer = ArrowWriter::try_new_with_options(Hashing::new(file), schema(), options);
            self.writer = Some(writer.map_err(failed)?);
        }
        let batch = std::mem::take(&mut self.buffer).into_batch();
        if let Some(writer) = &mut self.writer {
            writer.write(&batch).map_err(failed)?;
            writer.flush().map_err(failed)?;
        }
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        self.folder.join(TEMPORARY)
    }
}

impl Drop for Writer<'_> {
    /// A full disk wants its space back; else the next start removes it.
    fn drop(&mut self) {
        if !self.finished && self.rows > 0 {
            let _ = fs::remove_file(self.temporary());
        }
    }
}

fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("1 is a level of zstd");
    WriterProperties::builder()
        .set_created_by("forecastd".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::None)
        .build()
}

impl Buffer {
    fn into_batch(self) -> RecordBatch {
        let contents = FixedSizeBinaryArray::try_from_iter(self.contents.iter());
        let places = || self.taken.iter().map(|taken| taken.place);
        let times = self.taken.iter().map(|taken| taken.time.map(|time| time.0));
        let latitudes = places().map(|place| place.map(|place| place.latitude));
        let longitudes = places().map(|place| place.map(|place| place.longitude));
        let columns: [ArrayRef; 9] = [
            Arc::new(StringArray::from_iter_values(&self.ids)),
            Arc::new(UInt8Array::from(self.splits)),
            Arc::new(StringArray::from_iter(&self.labels)),
            Arc::new(contents.expect("at least one, all of one length")),
            Arc::new(BinaryArray::from_iter_values(&self.elements)),
            Arc::new(BinaryArray::from_iter(&self.masks)),
            Arc::new(Int64Array::from_iter(times)),
            Arc::new(Float64Array::from_iter(latitudes)),
            Arc::new(Float64Array::from_iter(longitudes)),
        ];
        RecordBatch::try_new(schema(), columns.into()).expect("nine columns of the schema's types and one length")
    }
}

/// Whether a segment is there, as long as it was written.
pub(super) fn look(folder: &Path, segment: &Segment) -> Result<(), StateError> {
    let path = folder.join(&segment.file);
    match fs::metadata(&path) {
        Ok(found) if found.len() == segment.bytes => Ok(()),
        Ok(found) => {
            let detail = format!("{} bytes, where {} were written", found.len(), segment.bytes);
            Err(StateError::damaged(&path, detail))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(StateError::damaged(&path, "it is gone")),
        Err(error) => Err(StateError::io("look at", &path)(error)),
    }
}

/// Goes through the rows of a segment, whose hash has been looked at or will be.
pub(super) fn read<E: From<StateError>>(
    folder: &Path,
    segment: &Segment,
    mut take: impl FnMut(u32, Kept<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let path = folder.join(&segment.file);
    let damaged = |detail: &dyn std::fmt::Display| StateError::damaged(&path, detail.to_string());
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(damaged(&"it is gone").into()),
        file => file.map_err(StateError::io("open", &path))?,
    };
    let mut row = 0;
    for batch in groups(file).map_err(|error| damaged(&error))? {
        let batch = batch.map_err(|error| damaged(&error))?;
        let columns = Columns::of(&batch).ok_or_else(|| damaged(&"its columns are not those of samples"))?;
        for place in 0..batch.num_rows() {
            take(row, columns.row(place).ok_or_else(|| damaged(&"a split that is none"))?)?;
            row += 1;
        }
    }
    Ok(())
}

/// A segment's rows, group by group. One reader of all of them would fill its batches across groups: thousands of large
/// samples at once, and more than two gigabytes in a column are an overflow.
fn groups(file: File) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>>, ParquetError> {
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
    let groups = 0..metadata.metadata().num_row_groups();
    let batches = groups.flat_map(move |group| {
        let reader = file.try_clone().map_err(ParquetError::from).and_then(|file| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
                .with_row_groups(vec![group])
                .with_batch_size(GROUP_ROWS)
                .build()
        });
        let (reader, failed) = match reader {
            Ok(reader) => (Some(reader), None),
            Err(error) => (None, Some(Err(error.into()))),
        };
        reader.into_iter().flatten().chain(failed)
    });
    Ok(batches)
}

/// Some rows of a segment, by column.
struct Columns<'a> {
    ids: &'a StringArray,
    splits: &'a UInt8Array,
    labels: &'a StringArray,
    contents: &'a FixedSizeBinaryArray,
    elements: &'a BinaryArray,
    masks: Option<&'a BinaryArray>,
    times: Option<&'a Int64Array>,
    /// Latitudes and longitudes.
    degrees: Option<[&'a Float64Array; 2]>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let column = |name| batch.column_by_name(name);
        let degrees = |name| column(name)?.as_primitive_opt::<Float64Type>();
        let contents = column("content")?.as_fixed_size_binary_opt()?;
        Some(Self {
            ids: column("id")?.as_string_opt()?,
            splits: column("split")?.as_primitive_opt::<UInt8Type>()?,
            labels: column("label")?.as_string_opt()?,
            contents: (contents.value_length() == 32).then_some(contents)?,
            elements: column("elements")?.as_binary_opt()?,
            masks: column("mask").and_then(|masks| masks.as_binary_opt()),
            times: column("time").and_then(|times| times.as_primitive_opt::<Int64Type>()),
            degrees: degrees("latitude").zip(degrees("longitude")).map(Into::into),
        })
    }

    /// Nothing where its split is none.
    fn row(&self, row: usize) -> Option<Kept<'a>> {
        let place = self.degrees.and_then(|[latitudes, longitudes]| {
            let is_there = !latitudes.is_null(row) && !longitudes.is_null(row);
            is_there.then(|| Place {
                latitude: latitudes.value(row),
                longitude: longitudes.value(row),
            })
        });
        let times = self.times.filter(|times| !times.is_null(row));
        Some(Kept {
            id: self.ids.value(row),
            split: Split::from_byte(self.splits.value(row))?,
            label: (!self.labels.is_null(row)).then(|| self.labels.value(row)),
            content: self.contents.value(row).try_into().ok()?,
            elements: self.elements.value(row),
            mask: self
                .masks
                .filter(|masks| !masks.is_null(row))
                .map(|masks| masks.value(row)),
            taken: Taken {
                time: times.map(|times| Timestamp(times.value(row))),
                place,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_holds_one_group_whatever_the_samples_weigh() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::new();
        let mut writer = Writer::new(&disk, folder.path(), 1, Timestamp(0));
        let sample = |bytes: usize| Sample {
            id: bytes.to_string(),
            split: Split::Train,
            label: None,
            mask: None,
            taken: Taken::default(),
            elements: vec![0; bytes],
        };
        let sizes = [GROUP_BYTES, 2 * GROUP_BYTES, 3, GROUP_BYTES - 3, 1];
        for size in sizes {
            writer.push(&sample(size), &[0; 32]).expect("written");
        }
        let segment = writer.finish().expect("durable").expect("there are rows");
        let file = File::open(folder.path().join(&segment.file)).expect("there");
        let batches = groups(file).expect("a segment").map(|batch| batch.expect("rows"));
        let rows: Vec<usize> = batches.map(|batch| batch.num_rows()).collect();
        assert_eq!(rows, [1, 1, 2, 1]);
        let mut read = Vec::new();
        let all = super::read::<StateError>(folder.path(), &segment, |row, kept| {
            read.push((row, kept.elements.len()));
            Ok(())
        });
        all.expect("sound");
        let expected: Vec<_> = (0..).zip(sizes).collect();
        assert_eq!(read, expected);
    }
}
