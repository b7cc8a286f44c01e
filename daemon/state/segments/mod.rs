//! Segments: immutable parquet files of rows in order of (channel, time).
//!
//! A segment is written whole, flushed and renamed before anyone hears of it, and never changed after. Its name
//! holds its sequence, its level and the first digits of its hash, so that no two different segments ever share a
//! name. What a segment is worth against another, and which ones live, is the ledger's business.

mod read;
mod write;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use forecastd_models::{ChannelName, Timestamp};

pub(super) use read::{Rows, Window};
pub(super) use write::{Hashing, TEMPORARY, into_io, write};

use super::error::StateError;

/// The level of a segment that is left alone by merges: large enough, or damaged.
pub(super) const FINAL_LEVEL: u8 = u8::MAX;

/// Rows in a row group, and so the finest grain at which a probe can skip.
const ROW_GROUP: usize = 1 << 16;

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

fn schema() -> SchemaRef {
    let channel = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("channel", channel, false),
        Field::new("time", time, false),
        Field::new("value", DataType::Float64, false),
    ]))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::durable::Disk;

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
