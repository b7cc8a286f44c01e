//! One forecast file: parquet, one row a step, written in a stream and put in its place whole.
//!
//! Its name, and which older files it replaces, are left to the caller.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Float64Builder, Int32Array, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use forecastd_models::{ChannelName, Forecast, Level};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;
use tempfile::TempPath;
use thiserror::Error;

/// Rows handed to the encoder at once, and those by which the last forecast among them goes beyond.
const BATCH_ROWS: usize = 8 * 1024;

/// Rows of a row group: the encoder holds one in memory, some 8 MB at two levels.
const GROUP_ROWS: usize = 128 * 1024;

/// Why a forecast file is not there.
#[derive(Debug, Error)]
pub enum ForecastFileError {
    /// The folder cannot be made, listed or synced.
    #[error("forecast folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be made, synced or renamed into its place.
    #[error("forecast file {}: {source}", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its content cannot be written.
    #[error("forecast file {}: {source}", path.display())]
    Content {
        /// Where it should be.
        path: PathBuf,
        /// What the encoder said.
        source: ParquetError,
    },
    /// The new file is in its place, but an old one stays beside it.
    #[error("old forecast file {}: cannot be removed: {source}", path.display())]
    Prune {
        /// The old file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A forecast file in the making: without a name until [`finish`](Self::finish), so that even a process that is killed
/// leaves nothing. On a filesystem that has no nameless files it bears a temporary name beside its place.
///
/// Columns: `channel`, `cutoff`, `step`, `time`, `mean`, and `lower_80`, `upper_80` for each level in percent.
#[derive(Debug)]
pub struct ForecastFile {
    path: PathBuf,
    schema: SchemaRef,
    levels: Vec<Level>,
    rows: Rows,
    writer: ArrowWriter<File>,
    temporary: Option<TempPath>,
}

impl ForecastFile {
    /// Begins a file that will stand at `path`, with one pair of bounds a level.
    pub fn create(path: impl Into<PathBuf>, levels: &[Level]) -> Result<Self, ForecastFileError> {
        let path = path.into();
        let (file, temporary) = unplaced(&path).map_err(|source| ForecastFileError::File {
            path: path.clone(),
            source,
        })?;
        let schema = schema(levels);
        // The schema says how we hold the columns, which is nothing to readers: to them a channel is a text.
        let options = ArrowWriterOptions::new()
            .with_properties(properties(&schema))
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, Arc::clone(&schema), options);
        let writer = writer.map_err(|source| content(&path, source))?;
        Ok(Self {
            rows: Rows::new(levels.len()),
            levels: levels.to_vec(),
            path,
            schema,
            writer,
            temporary,
        })
    }

    /// Adds a channel's forecast. A level that it lacks is null; rows stand in the order they come.
    pub fn append(&mut self, forecast: &Forecast) -> Result<(), ForecastFileError> {
        self.rows.push(forecast, &self.levels);
        if self.rows.step.len() >= BATCH_ROWS {
            self.write_rows()?;
        }
        Ok(())
    }

    /// Makes the file durable and renames it into its place.
    pub fn finish(mut self) -> Result<PathBuf, ForecastFileError> {
        self.write_rows()?;
        let file = self.writer.into_inner().map_err(|source| content(&self.path, source))?;
        place(&file, self.temporary, &self.path).map_err(|source| ForecastFileError::File {
            path: self.path.clone(),
            source,
        })?;
        Ok(self.path)
    }

    fn write_rows(&mut self) -> Result<(), ForecastFileError> {
        let rows = std::mem::replace(&mut self.rows, Rows::new(self.levels.len()));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), rows.columns());
        let batch = batch.expect("the columns are made after the schema, and all are equally long");
        self.writer.write(&batch).map_err(|source| content(&self.path, source))
    }
}

/// Rows that wait to be encoded, by column.
#[derive(Debug)]
struct Rows {
    /// Whose forecasts these are, and of each row, which of them it is of.
    channels: Vec<ChannelName>,
    channel: Vec<i32>,
    cutoff: Vec<i64>,
    step: Vec<i32>,
    time: Vec<i64>,
    mean: Vec<f64>,
    /// Lower and upper bound of each level.
    bounds: Vec<[Float64Builder; 2]>,
}

impl Rows {
    fn new(levels: usize) -> Self {
        let bounds = || [Float64Builder::new(), Float64Builder::new()];
        Self {
            channels: Vec::new(),
            channel: Vec::new(),
            cutoff: Vec::new(),
            step: Vec::new(),
            time: Vec::new(),
            mean: Vec::new(),
            bounds: std::iter::repeat_with(bounds).take(levels).collect(),
        }
    }

    fn push(&mut self, forecast: &Forecast, levels: &[Level]) {
        let horizon = forecast.horizon();
        self.channel
            .extend(std::iter::repeat_n(self.channels.len() as i32, horizon));
        self.channels.push(Arc::clone(&forecast.channel));
        self.cutoff.extend(std::iter::repeat_n(forecast.cutoff().0, horizon));
        self.step.extend((1..).take(horizon));
        self.time.extend((1..=horizon).map(|step| forecast.time(step).0));
        self.mean.extend_from_slice(&forecast.mean);
        for ([lower, upper], level) in self.bounds.iter_mut().zip(levels) {
            match forecast.intervals.iter().find(|interval| interval.level == *level) {
                Some(interval) => {
                    lower.append_slice(&interval.lower);
                    upper.append_slice(&interval.upper);
                }
                None => {
                    lower.append_nulls(horizon);
                    upper.append_nulls(horizon);
                }
            }
        }
    }

    fn columns(self) -> Vec<ArrayRef> {
        let instants = |times: Vec<i64>| TimestampNanosecondArray::from(times).with_timezone("UTC");
        let names = StringArray::from_iter_values(self.channels);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(DictionaryArray::new(Int32Array::from(self.channel), Arc::new(names))),
            Arc::new(instants(self.cutoff)),
            Arc::new(Int32Array::from(self.step)),
            Arc::new(instants(self.time)),
            Arc::new(Float64Array::from(self.mean)),
        ];
        for mut bound in self.bounds.into_iter().flatten() {
            columns.push(Arc::new(bound.finish()));
        }
        columns
    }
}

fn schema(levels: &[Level]) -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let name = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields = vec![
        Field::new("channel", name, false),
        Field::new("cutoff", instant.clone(), false),
        Field::new("step", DataType::Int32, false),
        Field::new("time", instant, false),
        Field::new("mean", DataType::Float64, false),
    ];
    for level in levels {
        let percent = level.percent();
        fields.push(Field::new(format!("lower_{percent}"), DataType::Float64, true));
        fields.push(Field::new(format!("upper_{percent}"), DataType::Float64, true));
    }
    Arc::new(Schema::new(fields))
}

/// Each column as its numbers lie: names, cutoffs and steps repeat, times ascend, and no float comes twice, so that
/// looking for one would be in vain.
fn properties(schema: &Schema) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_created_by(concat!("forecastd ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_column_dictionary_enabled("time".into(), false)
        .set_column_encoding("time".into(), Encoding::DELTA_BINARY_PACKED);
    for field in schema.fields() {
        if *field.data_type() == DataType::Float64 {
            properties = properties.set_column_dictionary_enabled(field.name().as_str().into(), false);
        }
    }
    properties.build()
}

/// A file that is nowhere yet, or the temporary name that it must have; readable by whom the umask lets read.
pub(in crate::publish) fn unplaced(path: &Path) -> io::Result<(File, Option<TempPath>)> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder(path), flags, Mode::from_raw_mode(0o666)) {
        Ok(nameless) => Ok((File::from(nameless), None)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let (file, name) = temporary(path, |name| File::create_new(name))?;
            Ok((file, Some(name)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes something under a hidden name beside `path`, which is gone when dropped.
fn temporary<T>(path: &Path, make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(T, TempPath)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let made = tempfile::Builder::new()
        .prefix(&format!(".{name}-"))
        .suffix(".tmp")
        .make_in(folder(path), make)?;
    Ok(made.into_parts())
}

/// Content before name, name before the folder's own entry: a power cut leaves the whole file or none.
pub(in crate::publish) fn place(file: &File, named: Option<TempPath>, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    let name = match named {
        Some(name) => name,
        None => {
            // A rename alone replaces an older file in one step, and it needs a name to begin with.
            let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
            let link = |name: &Path| Ok(linkat(CWD, &descriptor, CWD, name, AtFlags::SYMLINK_FOLLOW)?);
            temporary(path, link)?.1
        }
    };
    name.persist(path)?;
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn content(path: &Path, source: ParquetError) -> ForecastFileError {
    ForecastFileError::Content {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, Int32Type, TimestampNanosecondType};
    use forecastd_models::{ChannelFit, Fallback};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::publish::fixture::{NOW, fallback, fit, level};

    fn read(path: &Path) -> RecordBatch {
        let file = File::open(path).expect("the file is there");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("parquet");
        let schema = Arc::clone(reader.schema());
        let batches: Vec<_> = reader
            .build()
            .expect("a reader")
            .map(|batch| batch.expect("rows"))
            .collect();
        arrow::compute::concat_batches(&schema, &batches).expect("one schema")
    }

    fn write(path: &Path, fits: Vec<ChannelFit>) -> RecordBatch {
        let mut file = ForecastFile::create(path, &[level(0.8), level(0.975)]).expect("created");
        for fit in fits {
            file.append(&fit.forecast).expect("appended");
        }
        assert_eq!(file.finish().expect("finished"), path);
        read(path)
    }

    #[test]
    fn a_forecast_file_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let fits = vec![fit("a", 10.0, &[0.8]), fallback("b", Fallback::Short)];
        let rows = write(&folder.path().join("out.parquet"), fits);
        let names: Vec<&str> = rows
            .schema_ref()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let expected = "channel cutoff step time mean lower_80 upper_80 lower_97.5 upper_97.5";
        assert_eq!(names.join(" "), expected);
        assert_eq!(rows.num_rows(), 48);

        let hour = 3_600_000_000_000;
        let channels = rows.column(0).as_string::<i32>();
        let cutoffs = rows.column(1).as_primitive::<TimestampNanosecondType>();
        let steps = rows.column(2).as_primitive::<Int32Type>();
        let times = rows.column(3).as_primitive::<TimestampNanosecondType>();
        let float = |column: usize| rows.column(column).as_primitive::<Float64Type>();
        for row in 0..48 {
            let step = row as i64 % 24 + 1;
            assert_eq!(channels.value(row), if row < 24 { "a" } else { "b" });
            assert_eq!(cutoffs.value(row), NOW.0 - hour);
            assert_eq!(i64::from(steps.value(row)), step);
            assert_eq!(times.value(row), NOW.0 + (step - 1) * hour);
        }
        assert_eq!(float(4).value(23), 13.0);
        assert_eq!((float(5).value(0), float(6).value(0)), (10.125 - 0.8, 10.125 + 0.8));
        assert_eq!(float(5).null_count(), 24, "the fallback has no interval");
        assert_eq!(float(7).null_count(), 48, "no fit has this level");
        assert_eq!(
            rows.schema_ref().field(1).data_type(),
            rows.schema_ref().field(3).data_type()
        );
        let timezone = rows.schema_ref().field(3).data_type().to_string();
        assert!(timezone.contains("UTC"), "{timezone}");
    }

    #[test]
    fn more_rows_than_a_batch_are_all_there_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let fits: Vec<_> = (0..700)
            .map(|i| fit(&format!("{i:03}"), f64::from(i), &[0.8]))
            .collect();
        let rows = write(&folder.path().join("long.parquet"), fits);
        assert_eq!(rows.num_rows(), 700 * 24);
        let means = rows.column(4).as_primitive::<Float64Type>();
        assert_eq!(means.value(699 * 24 + 7), 700.0);
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_and_a_missing_folder_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let entries = || fs::read_dir(folder.path()).expect("listed").count();
        let file = ForecastFile::create(folder.path().join("out.parquet"), &[]).expect("created");
        drop(file);
        assert_eq!(entries(), 0);
        let error = ForecastFile::create("no/such/folder/out.parquet", &[]).expect_err("no folder");
        assert!(
            error
                .to_string()
                .starts_with("forecast file no/such/folder/out.parquet: "),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_must_have_a_temporary_name_is_gone_if_dropped_and_takes_its_place_if_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.parquet");
        let entries = || fs::read_dir(folder.path()).expect("listed").count();
        drop(temporary(&path, |name| File::create_new(name)).expect("created"));
        assert_eq!(entries(), 0);
        let (file, name) = temporary(&path, |name| File::create_new(name)).expect("created");
        place(&file, Some(name), &path).expect("placed");
        assert_eq!((entries(), path.exists()), (1, true));
    }

    #[test]
    fn a_file_that_replaces_an_older_one_can_be_read_by_whom_the_umask_lets_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.parquet");
        write(&path, vec![fit("a", 10.0, &[0.8])]);
        assert_eq!(write(&path, Vec::new()).num_rows(), 0);
        let plain = folder.path().join("plain");
        fs::write(&plain, "").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
