//! What the tests of this room share: files made by the parquet writer itself, and plain settings.

use std::fs::{self, File};
use std::io::Seek;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use forecastd_config::{Columns, Layout, Limits};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::landed;
use crate::message::landed_file::LandedFile;

pub(crate) const LIMITS: Limits = Limits {
    file_bytes: 1 << 30,
    file_values: 10_000_000,
    channels: 1_000,
    decode_memory: 512 << 20,
};

pub(crate) fn wide(time: &str, only: Option<&[&str]>) -> Columns {
    let only = only.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Columns {
        time: time.to_owned(),
        layout: Layout::Wide { only },
    }
}

pub(crate) fn long(time: &str, channel: &[&str], value: &str) -> Columns {
    Columns {
        time: time.to_owned(),
        layout: Layout::Long {
            channel: channel.iter().map(|name| (*name).to_owned()).collect(),
            value: value.to_owned(),
        },
    }
}

/// A file under this path, as a listing would name it.
pub(crate) fn landed_file(path: &Path) -> LandedFile {
    LandedFile {
        dataset: "lab".into(),
        path: path.to_owned(),
        fingerprint: landed::fingerprint(&fs::symlink_metadata(path).expect("there")),
    }
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .expect("columns of one length")
}

/// A nameless parquet file of these columns, in row groups of `group` rows.
pub(crate) fn parquet_in_groups(group: usize, columns: Vec<(&str, ArrayRef)>) -> File {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    parquet_of(&batch(columns), properties)
}

/// A nameless parquet file of these columns.
pub(crate) fn parquet(columns: Vec<(&str, ArrayRef)>) -> File {
    parquet_of(&batch(columns), WriterProperties::default())
}

pub(crate) fn parquet_of(batch: &RecordBatch, properties: WriterProperties) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let handle = file.try_clone().expect("a second handle");
    let mut writer = ArrowWriter::try_new(handle, batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
    file.rewind().expect("rewound");
    file
}

/// Shorthand for a column.
pub(crate) fn column(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}
