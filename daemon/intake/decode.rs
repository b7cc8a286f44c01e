//! A private copy becomes rows. Nothing in the file is trusted: sizes are checked before anything is read, columns
//! are read by name and piece by piece, and a panic of the reader is a verdict on the file.
//!
//! What it may cost in memory and time is bounded by `decoder`, which runs this in a process of its own.

use std::collections::HashMap;
use std::fs::File;
use std::ops::ControlFlow;

use forecastd_config::{Columns, Limits};
use forecastd_models::{ChannelName, Timestamp};

use super::footer::Shape;
use super::names::{Channels, clip};
use super::rows::{RowSink, Rows};
use super::table::Table;
use crate::message::account::RowAccount;
use crate::message::rejected::{RejectReason, Rejected};
use crate::message::series_drop::RawRows;

/// What stands in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The rows to commit, in file order.
    pub rows: RawRows,
    /// Rows seen, refused and missing; nothing is committed or known to be a duplicate yet.
    pub account: RowAccount,
}

/// The largest footer, in bytes; a file of a thousand columns and row groups has one of a tenth of it.
const FOOTER: u32 = 16 << 20;

/// The most row groups.
const ROW_GROUPS: usize = 10_000;

/// Values that a file may hold for each of its bytes, beyond the first [`FREE_VALUES`].
///
/// A page of one value repeated a million times takes a few bytes, and each of these values takes sixteen once it is
/// decoded: without this a file of kilobytes could fill the history and hold up intake within all other limits.
/// Measured values take bytes each; even a sensor that rests has times that differ, and is far below this.
const VALUES_A_BYTE: u64 = 256;

/// Values that any file may hold, however small it is.
const FREE_VALUES: u64 = 1_000_000;

/// The longest verdict, in bytes: it may quote the file.
const DETAIL: usize = 4_096;

/// Reads the rows of a file; those later than `latest` are refused.
pub fn decode(file: File, columns: &Columns, limits: &Limits, latest: Timestamp) -> Result<Decoded, Rejected> {
    read(file, columns, limits, latest)
        .map_err(|rejected| Rejected::new(rejected.reason, clip(&rejected.detail, DETAIL)))
}

fn read(file: File, columns: &Columns, limits: &Limits, latest: Timestamp) -> Result<Decoded, Rejected> {
    let bytes = check_footer(&file)?;
    let table = Table::open(file, columns)?;
    check_extent(&table, bytes, limits)?;
    let mut collected = Collected::default();
    let mut rows = Rows::new(&table.plan, latest, &mut collected);
    for group in 0..table.groups() {
        let _ = table.read(group, &table.plan.roots, |batch| {
            rows.take(batch)?;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    rows.check_times(&columns.time)?;
    let account = rows.finish();
    let rows = collected.finish();
    Ok(Decoded { rows, account })
}

/// Every channel's rows.
#[derive(Debug, Default)]
struct Collected {
    numbers: HashMap<ChannelName, usize>,
    rows: Vec<Vec<(Timestamp, f64)>>,
}

impl Collected {
    fn finish(mut self) -> RawRows {
        let mut raw = RawRows::default();
        for (name, number) in self.numbers {
            let rows = std::mem::take(&mut self.rows[number]);
            if !rows.is_empty() {
                raw.channels.insert(name, rows);
            }
        }
        raw
    }
}

impl Channels for Collected {
    fn channel(&mut self, name: &str) -> Option<usize> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        self.numbers.insert(name.into(), self.rows.len());
        self.rows.push(Vec::new());
        Some(self.rows.len() - 1)
    }

    fn refuses(&mut self, _: &str) -> bool {
        true
    }
}

impl RowSink for Collected {
    fn take(&mut self, channel: usize, _: usize, times: &[Timestamp], values: &[f64]) {
        self.rows[channel].extend(times.iter().copied().zip(values.iter().copied()));
    }
}

/// The size of a file that has a footer which may be read.
pub(super) fn check_footer(file: &File) -> Result<u64, Rejected> {
    let unreadable = |error| Rejected::new(RejectReason::Corrupt, format!("the footer: {error}"));
    let bytes = file.metadata().map_err(unreadable)?.len();
    match Shape::of(file, bytes).map_err(unreadable)? {
        Shape::Whole { footer } if footer > FOOTER => {
            let detail = format!("a footer of {footer} bytes; {FOOTER} are allowed: write fewer row groups");
            Err(Rejected::new(RejectReason::TooLarge, detail))
        }
        shape => shape.verdict().map_or(Ok(bytes), Err),
    }
}

fn check_extent(table: &Table, bytes: u64, limits: &Limits) -> Result<(), Rejected> {
    if table.groups() > ROW_GROUPS {
        let detail = format!("{} row groups; {ROW_GROUPS} are allowed", table.groups());
        return Err(Rejected::new(RejectReason::TooLarge, detail));
    }
    let rows = table.rows();
    let columns = table.plan.values_per_row() as u64;
    let values = rows.saturating_mul(columns);
    if values > limits.file_values {
        let allowed = limits.file_values;
        let detail = format!("{rows} rows of {columns} values; limits.file_values allows {allowed} values in all");
        return Err(Rejected::new(RejectReason::TooLarge, detail));
    }
    let allowed = bytes.saturating_mul(VALUES_A_BYTE).max(FREE_VALUES);
    if values > allowed {
        let detail = format!("{values} values in a file of {bytes} bytes; a file of that size may hold {allowed}");
        return Err(Rejected::new(RejectReason::TooLarge, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::env;
    use std::io::{Read, Write};
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Date64Array, DictionaryArray, Float64Array, Int64Array,
        StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
        TimestampSecondArray, UInt64Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Int32Type, TimeUnit};
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
    use parquet::data_type::{Int96, Int96Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::fixture::{LIMITS, batch, column, long, parquet, parquet_in_groups, parquet_of, wide};
    use super::*;
    use crate::message::account::RowReason;

    /// Later than any row of a test that is not about it.
    const END: Timestamp = Timestamp(i64::MAX);

    /// 2024-02-29T12:00:00Z; 19,782 days after the epoch (`date -u -d 2024-02-29T12:00:00Z +%s`).
    const NOON: i64 = 1_709_208_000;

    const SECOND: i64 = 1_000_000_000;

    fn read(file: File, columns: &Columns) -> Decoded {
        decode(file, columns, &LIMITS, END).expect("decoded")
    }

    fn refused(file: File, columns: &Columns) -> Rejected {
        decode(file, columns, &LIMITS, END).expect_err("refused")
    }

    /// The rows of one channel as plain numbers.
    fn rows(decoded: &Decoded, channel: &str) -> Vec<(i64, f64)> {
        let rows = decoded
            .rows
            .channels
            .get(channel)
            .map(Vec::as_slice)
            .unwrap_or_default();
        rows.iter().map(|(time, value)| (time.0, *value)).collect()
    }

    fn names(decoded: &Decoded) -> Vec<&str> {
        decoded.rows.channels.keys().map(AsRef::as_ref).collect()
    }

    fn floats(values: &[f64]) -> ArrayRef {
        column(Float64Array::from(values.to_vec()))
    }

    fn texts(values: &[&str]) -> ArrayRef {
        column(StringArray::from(values.to_vec()))
    }

    fn seconds(values: &[i64]) -> ArrayRef {
        column(TimestampSecondArray::from(values.to_vec()))
    }

    #[test]
    fn every_type_of_time_and_every_unit_gives_the_same_instant() {
        let text = |text| texts(&[text]);
        let cast_to = |array: ArrayRef, data_type| cast(&array, &data_type).expect("a cast that arrow has");
        let dictionary = |values| DataType::Dictionary(Box::new(DataType::Int32), Box::new(values));
        let noon = NOON * SECOND;
        let midnight = (NOON - 43_200) * SECOND;
        let cases: [(ArrayRef, i64); 18] = [
            (seconds(&[NOON]), noon),
            (
                column(TimestampMillisecondArray::from(vec![NOON * 1_000 + 1])),
                noon + 1_000_000,
            ),
            (
                column(TimestampMicrosecondArray::from(vec![NOON * 1_000_000 + 1])),
                noon + 1_000,
            ),
            (column(TimestampNanosecondArray::from(vec![noon + 1])), noon + 1),
            (
                column(TimestampMillisecondArray::from(vec![NOON * 1_000]).with_timezone("UTC")),
                noon,
            ),
            (
                column(TimestampMicrosecondArray::from(vec![NOON * 1_000_000]).with_timezone("Europe/Berlin")),
                noon,
            ),
            (
                column(TimestampNanosecondArray::from(vec![noon]).with_timezone("+05:30")),
                noon,
            ),
            (column(TimestampSecondArray::from(vec![-1])), -SECOND),
            (column(Date32Array::from(vec![19_782])), midnight),
            (column(Date64Array::from(vec![19_782 * 86_400_000])), midnight),
            (text("2024-02-29T12:00:00Z"), noon),
            (text("2024-02-29 12:00:00"), noon),
            (text("2024-02-29T14:00:00.25+02:00"), noon + SECOND / 4),
            (text("2024-02-29"), midnight),
            (cast_to(text("2024-02-29T12:00:00"), DataType::LargeUtf8), noon),
            (cast_to(text("2024-02-29T12:00:00"), DataType::Utf8View), noon),
            (cast_to(text("2024-02-29T12:00:00"), dictionary(DataType::Utf8)), noon),
            (
                cast_to(
                    seconds(&[NOON]),
                    dictionary(DataType::Timestamp(TimeUnit::Second, None)),
                ),
                noon,
            ),
        ];
        for (time, expected) in cases {
            let data_type = time.data_type().clone();
            let decoded = read(parquet(vec![("t", time), ("v", floats(&[1.5]))]), &wide("t", None));
            assert_eq!(rows(&decoded, "v"), [(expected, 1.5)], "{data_type}");
        }
    }

    #[test]
    fn the_old_int96_times_are_read_and_those_beyond_the_range_do_not_wrap() {
        // Julian day 2,440,588 is 1970-01-01; 5,373,484 is 9999-12-31, Spark's "never".
        let noon: Vec<u32> = vec![
            (43_200 * SECOND) as u32,
            ((43_200 * SECOND) >> 32) as u32,
            2_440_588 + 19_782,
        ];
        let times = [Int96::from(noon), Int96::from(vec![0, 0, 5_373_484])];
        let schema = parse_message_type("message m { required int96 t; required double v; }").expect("a schema");
        let file = tempfile::tempfile().expect("a file");
        let handle = file.try_clone().expect("a second handle");
        let properties = Arc::new(WriterProperties::default());
        let mut writer = SerializedFileWriter::new(handle, Arc::new(schema), properties).expect("a writer");
        let mut group = writer.next_row_group().expect("a row group");
        let mut column = group.next_column().expect("no error").expect("a column");
        column
            .typed::<Int96Type>()
            .write_batch(&times, None, None)
            .expect("written");
        column.close().expect("closed");
        let mut column = group.next_column().expect("no error").expect("a column");
        column
            .typed::<parquet::data_type::DoubleType>()
            .write_batch(&[1.0, 2.0], None, None)
            .expect("written");
        column.close().expect("closed");
        group.close().expect("closed");
        writer.close().expect("closed");
        let decoded = read(file, &wide("t", None));
        assert_eq!(rows(&decoded, "v"), [(NOON * SECOND, 1.0)]);
        assert_eq!(decoded.account.rejected[&RowReason::NoTime], 1);
    }

    #[test]
    fn every_numeric_type_becomes_a_float() {
        use DataType::*;
        let numbers = column(Int64Array::from(vec![0, 7, 100]));
        for data_type in [
            Int8,
            Int16,
            Int32,
            Int64,
            UInt8,
            UInt16,
            UInt32,
            UInt64,
            Float16,
            Float32,
            Float64,
            Decimal32(9, 2),
            Decimal64(18, 2),
            Decimal128(20, 3),
            Decimal256(40, 3),
            Dictionary(Box::new(Int8), Box::new(Int64)),
        ] {
            let values = cast(&numbers, &data_type).expect("a cast that arrow has");
            let decoded = read(
                parquet(vec![("t", seconds(&[0, 1, 2])), ("v", values)]),
                &wide("t", None),
            );
            assert_eq!(
                rows(&decoded, "v"),
                [(0, 0.0), (SECOND, 7.0), (2 * SECOND, 100.0)],
                "{data_type}"
            );
        }
        let extremes = vec![("t", seconds(&[0])), ("v", column(UInt64Array::from(vec![u64::MAX])))];
        assert_eq!(
            rows(&read(parquet(extremes), &wide("t", None)), "v"),
            [(0, u64::MAX as f64)]
        );
    }

    #[test]
    fn nulls_and_nans_are_missing_and_infinities_are_refused() {
        let values = Float64Array::from(vec![
            Some(1.0),
            None,
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(-f64::INFINITY),
        ]);
        let file = parquet(vec![("t", seconds(&[0, 1, 2, 3, 4])), ("v", column(values))]);
        let decoded = read(file, &wide("t", None));
        assert_eq!(rows(&decoded, "v"), [(0, 1.0)]);
        let account = decoded.account;
        assert_eq!(
            (account.seen, account.missing, account.rejected[&RowReason::NotFinite]),
            (3, 2, 2)
        );
    }

    #[test]
    fn a_row_without_a_time_refuses_each_of_its_values() {
        let times = TimestampSecondArray::from(vec![Some(0), None, Some(i64::MAX)]);
        let file = parquet(vec![
            ("t", column(times)),
            ("a", floats(&[1.0, 2.0, 3.0])),
            ("b", column(Float64Array::from(vec![Some(1.0), None, Some(3.0)]))),
        ]);
        let decoded = read(file, &wide("t", None));
        assert_eq!(
            (rows(&decoded, "a"), rows(&decoded, "b")),
            (vec![(0, 1.0)], vec![(0, 1.0)])
        );
        let account = decoded.account;
        assert_eq!(
            (account.seen, account.missing, account.rejected[&RowReason::NoTime]),
            (5, 1, 3)
        );
    }

    #[test]
    fn rows_ahead_of_the_clock_are_refused_up_to_the_last_nanosecond() {
        let times = TimestampNanosecondArray::from(vec![9, 10, 11]);
        let file = parquet(vec![("t", column(times)), ("v", floats(&[1.0, 2.0, 3.0]))]);
        let decoded = decode(file, &wide("t", None), &LIMITS, Timestamp(10)).expect("decoded");
        assert_eq!(rows(&decoded, "v"), [(9, 1.0), (10, 2.0)]);
        assert_eq!(decoded.account.rejected[&RowReason::Future], 1);
    }

    #[test]
    fn a_text_among_times_that_is_none_refuses_its_row_but_a_column_of_such_refuses_the_file() {
        let file = |times: &[&str]| parquet(vec![("t", texts(times)), ("v", floats(&vec![1.0; times.len()]))]);
        let decoded = read(file(&["soon", "2024-02-29T12:00:00Z"]), &wide("t", None));
        assert_eq!(
            (decoded.account.seen, decoded.account.rejected[&RowReason::NoTime]),
            (2, 1)
        );
        let rejected = refused(file(&["soon", "later"]), &wide("t", None));
        assert_eq!(rejected.reason, RejectReason::Schema);
        assert_eq!(rejected.detail, r#"column "t" holds no time: "soon" is not ISO 8601"#);
    }

    #[test]
    fn a_long_file_is_sorted_into_channels_whatever_type_names_them() {
        use DataType::*;
        let dictionary = |values| Dictionary(Box::new(Int32), Box::new(values));
        for data_type in [
            Utf8,
            LargeUtf8,
            Utf8View,
            dictionary(Utf8),
            dictionary(LargeUtf8),
            Int8,
            UInt64,
        ] {
            let channel = cast(&texts(&["7", "8", "7"]), &data_type).expect("a cast that arrow has");
            let file = parquet(vec![
                ("t", seconds(&[0, 0, 1])),
                ("c", channel),
                ("v", floats(&[1.0, 2.0, 3.0])),
            ]);
            let decoded = read(file, &long("t", &["c"], "v"));
            assert_eq!(names(&decoded), ["7", "8"], "{data_type}");
            assert_eq!(rows(&decoded, "7"), [(0, 1.0), (SECOND, 3.0)], "{data_type}");
        }
    }

    #[test]
    fn several_channel_columns_join_so_that_no_two_channels_share_a_name() {
        let file = parquet(vec![
            ("t", seconds(&[0, 0, 0])),
            ("a", texts(&["x/y", "x", "x\\"])),
            ("b", texts(&["z", "y/z", "z"])),
            ("v", floats(&[1.0, 2.0, 3.0])),
        ]);
        let decoded = read(file, &long("t", &["a", "b"], "v"));
        assert_eq!(names(&decoded), ["x/y\\/z", "x\\/y/z", "x\\\\/z"]);
    }

    #[test]
    fn runs_of_several_channel_columns_end_where_any_of_them_changes() {
        let count = 20_000;
        let part = |step: i64, parts: i64| -> ArrayRef {
            let text = |row: i64| (row % (parts * step) / step % 5 > 0).then(|| format!("p{}", row / step % parts));
            column(StringArray::from_iter((0..count).map(text)))
        };
        let parts = [part(7_001, 4), part(3, 6)];
        let mut expected = BTreeMap::<String, Vec<(i64, f64)>>::new();
        for row in 0..count {
            let [a, b] = parts.each_ref().map(|part| part.as_string::<i32>());
            let at = row as usize;
            if a.is_valid(at) && b.is_valid(at) {
                let name = format!("{}/{}", a.value(at), b.value(at));
                expected.entry(name).or_default().push((row * SECOND, row as f64));
            }
        }
        let times: Vec<i64> = (0..count).collect();
        let values: Vec<f64> = times.iter().map(|time| *time as f64).collect();
        let [a, b] = parts;
        let file = parquet(vec![("t", seconds(&times)), ("a", a), ("b", b), ("v", floats(&values))]);
        let decoded = read(file, &long("t", &["a", "b"], "v"));
        assert_eq!(names(&decoded), expected.keys().collect::<Vec<_>>());
        for (name, theirs) in &expected {
            assert_eq!(&rows(&decoded, name), theirs, "{name}");
        }
        let taken = expected.values().map(Vec::len).sum::<usize>() as u64;
        assert_eq!(decoded.account.seen, count as u64);
        assert_eq!(decoded.account.rejected[&RowReason::BadChannel], count as u64 - taken);
    }

    #[test]
    fn a_single_channel_column_names_the_channel_as_it_stands() {
        let file = parquet(vec![
            ("t", seconds(&[0])),
            ("c", texts(&["a/b"])),
            ("v", floats(&[1.0])),
        ]);
        assert_eq!(names(&read(file, &long("t", &["c"], "v"))), ["a/b"]);
    }

    #[test]
    fn a_channel_without_a_name_or_with_one_too_long_refuses_its_rows() {
        let longest = "x".repeat(512);
        let long_one = "x".repeat(513);
        let channel = StringArray::from(vec![
            Some(longest.as_str()),
            Some(long_one.as_str()),
            None,
            Some(""),
            Some(""),
        ]);
        let values = Float64Array::from(vec![Some(1.0), Some(2.0), Some(3.0), Some(4.0), None]);
        let columns = vec![("t", seconds(&[0; 5])), ("c", column(channel)), ("v", column(values))];
        let decoded = read(parquet(columns), &long("t", &["c"], "v"));
        assert_eq!(names(&decoded), [longest]);
        let account = decoded.account;
        assert_eq!(
            (account.seen, account.missing, account.rejected[&RowReason::BadChannel]),
            (4, 1, 3)
        );
    }

    #[test]
    fn several_row_groups_are_read_in_order_and_other_columns_are_not_read() {
        let count = 20_000;
        let times: Vec<i64> = (0..count).collect();
        let values: Vec<f64> = times.iter().map(|time| *time as f64).collect();
        let other = BooleanArray::from(vec![true; count as usize]);
        let file = parquet_in_groups(
            3_000,
            vec![("t", seconds(&times)), ("b", column(other)), ("v", floats(&values))],
        );
        let decoded = read(file, &wide("t", None));
        let expected: Vec<(i64, f64)> = (0..count).map(|time| (time * SECOND, time as f64)).collect();
        assert_eq!(rows(&decoded, "v"), expected);
        assert_eq!(decoded.account.seen, count as u64);
    }

    #[test]
    fn a_file_without_rows_is_fine() {
        let decoded = read(parquet(vec![("t", seconds(&[])), ("v", floats(&[]))]), &wide("t", None));
        assert_eq!(decoded, Decoded::default());
    }

    #[test]
    fn a_file_beyond_the_limits_is_refused_before_a_page_is_read() {
        let limits = Limits {
            file_values: 5,
            ..LIMITS
        };
        let file = parquet(vec![
            ("t", seconds(&[0, 1, 2])),
            ("a", floats(&[1.0; 3])),
            ("b", floats(&[1.0; 3])),
        ]);
        let rejected = decode(file, &wide("t", None), &limits, END).expect_err("six values");
        assert_eq!(rejected.reason, RejectReason::TooLarge);
        assert_eq!(
            rejected.detail,
            "3 rows of 2 values; limits.file_values allows 5 values in all"
        );
        let many = vec![0i64; ROW_GROUPS + 1];
        let file = parquet_in_groups(1, vec![("t", seconds(&many)), ("v", floats(&vec![1.0; many.len()]))]);
        let rejected = refused(file, &wide("t", None));
        assert_eq!(rejected.detail, "10001 row groups; 10000 are allowed");
    }

    #[test]
    fn far_more_values_than_the_file_has_bytes_are_refused_before_a_page_is_read() {
        let constant = |rows: usize| {
            let columns = vec![("t", seconds(&vec![0; rows])), ("v", floats(&vec![1.0; rows]))];
            let properties = WriterProperties::builder().set_data_page_row_count_limit(usize::MAX);
            parquet_of(&batch(columns), properties.build())
        };
        let file = constant(2_000_000);
        let bytes = file.metadata().expect("a file").len();
        assert!(bytes < 3_000, "{bytes} bytes");
        let rejected = refused(file, &wide("t", None));
        assert_eq!(rejected.reason, RejectReason::TooLarge);
        assert_eq!(
            rejected.detail,
            format!("2000000 values in a file of {bytes} bytes; a file of that size may hold 1000000"),
        );
        assert_eq!(read(constant(200_000), &wide("t", None)).account.seen, 200_000);
    }

    #[test]
    fn a_nested_or_absent_column_is_refused_by_name() {
        let dictionary: DictionaryArray<Int32Type> = ["a"].into_iter().collect();
        let file = || {
            parquet(vec![
                ("t", seconds(&[0])),
                ("d", column(dictionary.clone())),
                ("v", floats(&[1.0])),
            ])
        };
        for (columns, part) in [
            (wide("time", None), r#"no column "time""#),
            (
                wide("t", Some(&["d"])),
                r#"column "d" is of type Dictionary(Int32, Utf8)"#,
            ),
            (
                long("t", &["v"], "v"),
                r#"column "v" is of type Float64 and cannot name a channel"#,
            ),
        ] {
            let rejected = refused(file(), &columns);
            assert_eq!(rejected.reason, RejectReason::Schema);
            assert!(rejected.detail.starts_with(part), "{}", rejected.detail);
        }
    }

    #[test]
    fn damaged_files_get_a_verdict_and_never_a_panic() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let times: Vec<i64> = (0..100).collect();
        let channel: Vec<&str> = times.iter().map(|time| ["a", "b", "c"][*time as usize % 3]).collect();
        let columns = vec![("t", seconds(&times)), ("c", texts(&channel)), ("v", floats(&values))];
        let mut whole = Vec::new();
        parquet(columns).read_to_end(&mut whole).expect("read");
        let (mut refusals, mut x) = (0, 1u64);
        for _ in 0..1_000 {
            let mut bytes = whole.clone();
            x = x
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407); // Knuth's MMIX
            let position = (x >> 33) as usize % bytes.len();
            bytes[position] ^= (x >> 24) as u8 | 1;
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&bytes).expect("written");
            match decode(file, &long("t", &["c"], "v"), &LIMITS, END) {
                Ok(decoded) => assert!(decoded.account.seen + decoded.account.missing <= LIMITS.file_values),
                Err(rejected) => {
                    assert!(!rejected.detail.is_empty());
                    refusals += 1;
                }
            }
        }
        assert!(refusals > 50, "{refusals} of 1000 damaged files were refused");
    }

    #[test]
    fn a_corrupt_page_names_its_row_group() {
        let values: Vec<f64> = (0..4_000).map(f64::from).collect();
        let times: Vec<i64> = (0..4_000).collect();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(2_000))
            .set_dictionary_enabled(false)
            .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
            .build();
        let mut file = parquet_of(&batch(vec![("t", seconds(&times)), ("v", floats(&values))]), properties);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).expect("a footer");
        let (start, length) = metadata.metadata().row_group(1).column(1).byte_range();
        bytes[(start + length / 2) as usize..(start + length) as usize].fill(0xff);
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("written");
        let rejected = refused(file, &wide("t", None));
        assert_eq!(rejected.reason, RejectReason::Corrupt);
        assert!(rejected.detail.starts_with("row group 1: "), "{}", rejected.detail);
    }

    /// A file of the data that the project is tried on; `None` where there is none.
    fn real(name: &str) -> Option<File> {
        let Some(folder) = env::var_os("FORECASTD_DATA") else {
            let _ = writeln!(std::io::stderr(), "skipped: FORECASTD_DATA is not set");
            return None;
        };
        Some(File::open(PathBuf::from(folder).join(name)).expect("the data set has this file"))
    }

    /// Counts as pyarrow 26.0.1 gives them for the same files; channels without a value are not counted.
    #[test]
    fn real_files_of_every_layout_are_read() {
        let cases = [
            ("timeseries/ETTh1.parquet", wide("date", None), 7, 121_940, 0),
            (
                "ops/nab_real.parquet",
                long("timestamp", &["category", "series"], "value"),
                25,
                155_199,
                0,
            ),
            (
                "ops/petshop_high_traffic_metrics.parquet",
                long(
                    "timestamp",
                    &["segment", "microservice", "metric", "statistic"],
                    "value",
                ),
                7_111,
                179_525,
                21_312,
            ),
            (
                "timeseries/beijing_air_quality.parquet",
                long("date", &["station"], "PM2.5"),
                12,
                412_029,
                8_739,
            ),
        ];
        for (name, columns, channels, seen, missing) in cases {
            let Some(file) = real(name) else { return };
            let decoded = read(file, &columns);
            let account = &decoded.account;
            assert_eq!(
                (decoded.rows.channels.len(), account.seen, account.missing),
                (channels, seen, missing),
                "{name}"
            );
            assert_eq!(account.rejected_total(), 0, "{name}");
        }
    }
}
