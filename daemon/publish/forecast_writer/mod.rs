//! The forecast files of a dataset's `outgoing` folder: a new one a batch, the newest of them kept.
//!
//! Only files that bear our own names are ever removed; what stands in one is `file`'s.

mod file;

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use forecastd_config::Dataset;
use forecastd_models::{Level, Timestamp};

pub use self::file::{ForecastFile, ForecastFileError};
pub(super) use self::file::{place, unplaced};
use crate::message::snapshot::ForecastBatch;

const PREFIX: &str = "forecasts-";
const SUFFIX: &str = ".parquet";

/// The time in a name, in UTC: all of one length, so that names sort by time.
const TIME: &str = "%Y%m%dT%H%M%S%.9fZ";

/// Writes the forecast files of one dataset. The only writer in its folder.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastWriter {
    folder: PathBuf,
    levels: Vec<Level>,
    keep_files: NonZeroUsize,
}

impl ForecastWriter {
    /// A writer into the dataset's `outgoing` folder, which is made with the first file.
    pub fn for_dataset(config: &Dataset) -> Self {
        Self {
            folder: config.outgoing.clone(),
            levels: config.fit.levels.clone(),
            keep_files: config.keep_files,
        }
    }

    /// Writes a batch, sorted by channel and step, into a file of its own; says where it is. The oldest files beyond
    /// `keep_files` go, and what an earlier process left unfinished.
    ///
    /// The file is named after `at`, or, should the clock have gone back, just after the newest file there: the last
    /// written is always the last by name.
    pub fn write(&self, batch: &ForecastBatch, at: Timestamp) -> Result<PathBuf, ForecastFileError> {
        let mut files = self.clear().map_err(|source| ForecastFileError::Folder {
            path: self.folder.clone(),
            source,
        })?;
        let at = match files.last() {
            Some(newest) => at.max(newest.saturating_add(1)),
            None => at,
        };
        let mut fits = batch.fits.clone();
        fits.sort_by(|a, b| a.forecast.channel.cmp(&b.forecast.channel));
        let mut file = ForecastFile::create(self.folder.join(name(at)), &self.levels)?;
        for fit in &fits {
            file.append(&fit.forecast)?;
        }
        let path = file.finish()?;
        files.push(at);
        self.prune(&files)?;
        Ok(path)
    }

    /// Makes the folder, removes unfinished files, and lists the times of the finished ones, ascending.
    fn clear(&self) -> io::Result<Vec<Timestamp>> {
        fs::create_dir_all(&self.folder)?;
        let mut times = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if unfinished(&name) {
                remove(&entry.path())?;
            }
            times.extend(time_of(&name));
        }
        times.sort_unstable();
        Ok(times)
    }

    fn prune(&self, files: &[Timestamp]) -> Result<(), ForecastFileError> {
        let old = files.len().saturating_sub(self.keep_files.get());
        for at in &files[..old] {
            let path = self.folder.join(name(*at));
            remove(&path).map_err(|source| ForecastFileError::Prune { path, source })?;
        }
        Ok(())
    }
}

fn name(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(at.0));
    let time = time.expect("every 64-bit nanosecond lies within the years 1677 to 2262");
    format!("{PREFIX}{}{SUFFIX}", time.strftime(TIME))
}

/// The time of a file that this module named; `None` for any other.
fn time_of(file: &str) -> Option<Timestamp> {
    let time = file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let time = jiff::civil::DateTime::strptime(TIME, time).ok()?;
    let time = jiff::tz::Offset::UTC.to_timestamp(time).ok()?;
    let time = Timestamp(i64::try_from(time.as_nanosecond()).ok()?);
    (name(time) == file).then_some(time)
}

/// Whether this is a file of ours that was never put in its place.
fn unfinished(file: &str) -> bool {
    let inner = file.strip_prefix('.').and_then(|file| file.strip_suffix(".tmp"));
    let target = inner.and_then(|inner| inner.rsplit_once('-'));
    target.is_some_and(|(target, _)| time_of(target).is_some())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use crate::publish::fixture::{NOW, dataset, fit};

    struct Outgoing {
        folder: tempfile::TempDir,
        writer: ForecastWriter,
    }

    impl Outgoing {
        /// Keeps two files.
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let mut config = dataset("d");
            config.outgoing = folder.path().join("made/when/needed");
            let writer = ForecastWriter::for_dataset(&config);
            Self { folder, writer }
        }

        fn write(&self, at: Timestamp) -> String {
            let batch = ForecastBatch {
                dataset: "d".into(),
                fits: vec![Arc::new(fit("b", 1.0, &[])), Arc::new(fit("a", 1.0, &[]))],
            };
            let path = self.writer.write(&batch, at).expect("written");
            assert!(path.is_file());
            path.file_name().expect("a name").to_string_lossy().into_owned()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.writer.folder).expect("listed");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            names
                .into_iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect()
        }
    }

    #[test]
    fn a_file_is_named_after_its_time_and_the_last_written_is_last_by_name() {
        let outgoing = Outgoing::new();
        let hour_back = Timestamp(NOW.0 - 3_600_000_000_000);
        assert_eq!(outgoing.write(NOW), "forecasts-20261123T181500.000000000Z.parquet");
        assert_eq!(outgoing.write(NOW), "forecasts-20261123T181500.000000001Z.parquet");
        assert_eq!(
            outgoing.write(hour_back),
            "forecasts-20261123T181500.000000002Z.parquet"
        );
    }

    #[test]
    fn only_the_newest_of_our_own_files_are_kept() {
        let outgoing = Outgoing::new();
        outgoing.write(NOW);
        let strangers = [
            "forecasts-2026.parquet",
            "forecasts-20261123T181500.1Z.parquet",
            "forecasts-20261123T181500.000000000Z.parquet.bak",
            "forecasts-20261323T181500.000000000Z.parquet",
            "notes.txt",
            ".hidden.tmp",
            ".forecasts-mine.parquet-abc.tmp",
        ];
        let leftover = ".forecasts-20261123T181500.000000000Z.parquet-AbC123.tmp";
        for name in strangers.into_iter().chain([leftover]) {
            fs::write(outgoing.writer.folder.join(name), "x").expect("written");
        }
        let kept = [1, 2].map(|after| outgoing.write(NOW.saturating_add(after)));
        let mut expected: Vec<String> = strangers.map(str::to_owned).into_iter().chain(kept).collect();
        expected.sort();
        assert_eq!(outgoing.names(), expected);
    }

    #[test]
    fn names_are_read_back_and_sort_by_time() {
        let mut names = Vec::new();
        for at in [i64::MIN, -1, 0, 1, NOW.0, i64::MAX] {
            assert_eq!(time_of(&name(Timestamp(at))), Some(Timestamp(at)));
            names.push(name(Timestamp(at)));
        }
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn rows_stand_in_order_of_channel_whatever_the_batch() {
        let outgoing = Outgoing::new();
        let path = outgoing.writer.folder.join(outgoing.write(NOW));
        let file = fs::File::open(path).expect("the file");
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("parquet");
        let rows = reader
            .build()
            .expect("a reader")
            .next()
            .expect("a batch")
            .expect("rows");
        let channels = arrow::array::AsArray::as_string::<i32>(rows.column(0));
        assert_eq!((channels.value(0), channels.value(24)), ("a", "b"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let outgoing = Outgoing::new();
        fs::write(outgoing.folder.path().join("made"), "a file in the way").expect("written");
        let batch = ForecastBatch {
            dataset: "d".into(),
            fits: Vec::new(),
        };
        let error = outgoing.writer.write(&batch, NOW).expect_err("no folder");
        assert!(matches!(error, ForecastFileError::Folder { .. }), "{error}");
        assert!(error.to_string().contains("made/when/needed"), "{error}");
        let mode = fs::metadata(outgoing.folder.path())
            .expect("it stands")
            .permissions()
            .mode();
        assert_eq!(mode & 0o700, 0o700);
    }
}
