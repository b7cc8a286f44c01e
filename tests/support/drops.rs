//! Parquet drops made on the spot.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Float64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// 2026-01-01T00:00:00Z in milliseconds.
const START: i64 = 1_767_225_600_000;
const HOUR: i64 = 3_600_000;

/// All rows of a file, a few at a time.
pub fn rows_of(file: impl AsRef<Path>) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
    reader.build().unwrap().map(|rows| rows.unwrap()).collect()
}

fn times(hours: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(
        hours.into_iter().map(|hour| START + hour * HOUR),
    ))
}

/// `time` and one column a channel; rows are hours.
pub fn wide(hours: std::ops::Range<i64>, channels: &[(&str, &dyn Fn(i64) -> f64)]) -> Vec<u8> {
    let mut columns = vec![("time", times(hours.clone()))];
    for (name, value) in channels {
        columns.push((name, Arc::new(Float64Array::from_iter_values(hours.clone().map(value)))));
    }
    parquet(&RecordBatch::try_from_iter(columns).unwrap())
}

/// `time`, `channel`, `value`: one row each.
pub fn long(rows: &[(i64, &str, f64)]) -> Vec<u8> {
    let channels: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)));
    let columns = [
        ("time", times(rows.iter().map(|row| row.0))),
        ("channel", channels),
        ("value", values),
    ];
    parquet(&RecordBatch::try_from_iter(columns).unwrap())
}

/// A row of a competition: `id`, `period`, `train`, `test`.
pub type ListedRow<'a> = (&'a str, &'a str, Vec<f64>, Vec<f64>);

/// One series a row.
pub fn listed(series: &[ListedRow<'_>]) -> Vec<u8> {
    let lists = |lists: Vec<&Vec<f64>>| -> ArrayRef {
        let lists = lists.into_iter().map(|list| Some(list.iter().copied().map(Some)));
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))
    };
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(series.iter().map(|row| row.0)));
    let periods: ArrayRef = Arc::new(StringArray::from_iter_values(series.iter().map(|row| row.1)));
    let columns = [
        ("id", ids),
        ("period", periods),
        ("train", lists(series.iter().map(|row| &row.2).collect())),
        ("test", lists(series.iter().map(|row| &row.3).collect())),
    ];
    parquet(&RecordBatch::try_from_iter(columns).unwrap())
}

pub(super) fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}
