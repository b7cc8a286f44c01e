//! Whole files for a backtest: columns of numbers in the order in which their rows stand, or one series a row.
//!
//! Nothing is put on a grid, sorted or left out: a backtest is held against other people's numbers, and theirs come
//! from the file as it is. A cell without a number is a NaN, for others to fill.

use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::error::ArrowError;
use forecastd_models::Timestamp;
use parquet::errors::ParquetError;

use super::columns::{check_time, find, is_text, listed, plain, refusal};
use super::parts::{PartError, Watch, blame, whole_file};
use super::rows::{Times, values};
use super::table::Sheet;
use crate::message::rejected::Rejected;

/// Numeric columns of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Rows of the file.
    pub rows: usize,
    /// The instants of the column of times, if there is one, in the order of the rows.
    pub times: Vec<Timestamp>,
    /// In the order of the columns.
    pub channels: Vec<Column>,
}

/// One column of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The column's.
    pub name: String,
    /// One a row, NaN where there is none.
    pub values: Vec<f64>,
}

/// A series that stands in one row, in the two parts that a competition gives out.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedSeries {
    /// From the column `id`.
    pub id: String,
    /// From the column `period`, in lower case, if there is one.
    pub period: Option<String>,
    /// What a model may see; NaN where there is no number.
    pub train: Vec<f64>,
    /// What came after it.
    pub test: Vec<f64>,
}

impl Panel {
    /// Reads every numeric column but that of times, which is `time`, or else the only one of a time type.
    ///
    /// # Errors
    /// When the file or a column is not what it should be, or the watch does not want to go on.
    pub fn read(path: &Path, time: Option<&str>, watch: &mut Watch<'_>) -> Result<Self, PartError> {
        let blamed = |rejected| blame(path, rejected);
        let sheet = Sheet::open(whole_file(path)?).map_err(blamed)?;
        not_listed(sheet.schema()).map_err(blamed)?;
        let time = time_column(sheet.schema(), time).map_err(blamed)?;
        let numeric = numeric_columns(sheet.schema(), time).map_err(blamed)?;
        let mut panel = Self {
            rows: 0,
            times: Vec::new(),
            channels: numeric
                .iter()
                .map(|root| Column {
                    name: sheet.schema().field(*root).name().clone(),
                    values: Vec::with_capacity(sheet.rows() as usize),
                })
                .collect(),
        };
        let mut roots: Vec<usize> = numeric.iter().copied().chain(time).collect();
        roots.sort_unstable();
        let place = |root: usize| roots.partition_point(|other| *other < root);
        read(path, &sheet, &roots, watch, |batch| {
            panel.rows += batch.num_rows();
            if let Some(time) = time {
                panel.times.extend(Times::of(batch.column(place(time)))?);
            }
            for (column, root) in panel.channels.iter_mut().zip(&numeric) {
                column.values.extend(numbers(batch.column(place(*root)))?);
            }
            Ok(())
        })?;
        Ok(panel)
    }
}

impl ListedSeries {
    /// Reads the columns `id`, `train` and `test`, and `period` if there is one.
    ///
    /// # Errors
    /// When the file or a column is not what it should be, or the watch does not want to go on.
    pub fn read_all(path: &Path, watch: &mut Watch<'_>) -> Result<Vec<Self>, PartError> {
        let blamed = |rejected| blame(path, rejected);
        let sheet = Sheet::open(whole_file(path)?).map_err(blamed)?;
        let schema = sheet.schema();
        let id = typed(schema, "id", "text", |t| is_text(t) || plain(t).is_integer()).map_err(blamed)?;
        let train = typed(schema, "train", "a list of numbers", is_list).map_err(blamed)?;
        let test = typed(schema, "test", "a list of numbers", is_list).map_err(blamed)?;
        let period = schema.fields().iter().any(|field| field.name() == "period");
        let period = period
            .then(|| typed(schema, "period", "text", is_text))
            .transpose()
            .map_err(blamed)?;
        let mut roots: Vec<usize> = [id, train, test].into_iter().chain(period).collect();
        roots.sort_unstable();
        let place = |root: usize| roots.partition_point(|other| *other < root);
        let mut series = Vec::new();
        read(path, &sheet, &roots, watch, |batch| {
            let ids = texts(batch.column(place(id)))?;
            let periods = period.map(|period| texts(batch.column(place(period)))).transpose()?;
            let (train, test) = (lists(batch.column(place(train)))?, lists(batch.column(place(test)))?);
            let parts = train.into_iter().zip(test);
            for (row, (id, (train, test))) in ids.into_iter().zip(parts).enumerate() {
                let period = periods.as_ref().and_then(|periods| periods[row].as_deref());
                series.push(Self {
                    id: id.unwrap_or_default(),
                    period: period.map(str::to_lowercase),
                    train,
                    test,
                });
            }
            Ok(())
        })?;
        Ok(series)
    }
}

fn read(
    path: &Path,
    sheet: &Sheet,
    roots: &[usize],
    watch: &mut Watch<'_>,
    mut take: impl FnMut(&RecordBatch) -> Result<(), ArrowError>,
) -> Result<(), PartError> {
    for group in 0..sheet.groups() {
        let read = sheet.read(group, roots, |batch| {
            take(batch).map_err(ParquetError::from)?;
            Ok(watch(batch.num_rows() as u64))
        });
        if let ControlFlow::Break(()) = read.map_err(|rejected| blame(path, rejected))? {
            return Err(PartError::Interrupted);
        }
    }
    Ok(())
}

/// Refuses a file of [`ListedSeries`]: it may have a numeric column too, which would be nonsense as a channel.
fn not_listed(schema: &Schema) -> Result<(), Rejected> {
    let has_list = |name| {
        schema
            .field_with_name(name)
            .is_ok_and(|field| is_list(field.data_type()))
    };
    if has_list("train") && has_list("test") {
        return Err(refusal(
            "a series stands in each row (columns train and test), as the competition protocol takes them".to_owned(),
        ));
    }
    Ok(())
}

fn time_column(schema: &Schema, named: Option<&str>) -> Result<Option<usize>, Rejected> {
    if let Some(name) = named {
        let time = find(schema, name)?;
        return check_time(schema.field(time)).map(|()| Some(time));
    }
    let is_time = |data_type: &DataType| {
        use DataType::{Date32, Date64, Timestamp};
        matches!(plain(data_type), Timestamp(..) | Date32 | Date64)
    };
    let fields = schema.fields().iter().enumerate();
    let mut times = fields.filter(|(_, field)| is_time(field.data_type()));
    Ok(match (times.next(), times.next()) {
        (Some((only, _)), None) => Some(only),
        _ => None,
    })
}

fn numeric_columns(schema: &Schema, time: Option<usize>) -> Result<Vec<usize>, Rejected> {
    let mut numeric = Vec::new();
    for (root, field) in schema.fields().iter().enumerate() {
        if Some(root) != time && plain(field.data_type()).is_numeric() {
            find(schema, field.name())?; // a name that stands twice would be one channel of two columns
            numeric.push(root);
        }
    }
    if numeric.is_empty() {
        return Err(refusal(format!("no numeric column; the file has {}", listed(schema))));
    }
    Ok(numeric)
}

/// The column of this name, if it is of such a type.
fn typed(schema: &Schema, name: &str, what: &str, fits: impl Fn(&DataType) -> bool) -> Result<usize, Rejected> {
    let root = find(schema, name)?;
    let data_type = schema.field(root).data_type();
    if !fits(data_type) {
        return Err(refusal(format!(
            "column {name:?} is of type {data_type} and should be {what}"
        )));
    }
    Ok(root)
}

fn is_list(data_type: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, List};
    match data_type {
        List(item) | LargeList(item) | FixedSizeList(item, _) => plain(item.data_type()).is_numeric(),
        _ => false,
    }
}

/// Numbers, NaN where there is none.
fn numbers(column: &ArrayRef) -> Result<Vec<f64>, ArrowError> {
    let values = values(column)?;
    Ok(values.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

fn texts(column: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let texts = cast(column, &DataType::Utf8View)?;
    Ok(texts
        .as_string_view()
        .iter()
        .map(|text| text.map(str::to_owned))
        .collect())
}

/// Lists of numbers, an empty one where there is none.
fn lists(column: &ArrayRef) -> Result<Vec<Vec<f64>>, ArrowError> {
    let item = arrow::datatypes::Field::new_list_field(DataType::Float64, true);
    let lists = cast(column, &DataType::LargeList(item.into()))?;
    let lists = lists.as_list::<i64>();
    let list = |list: Option<ArrayRef>| -> Vec<f64> {
        let numbers = list.iter().flat_map(|list| list.as_primitive::<Float64Type>());
        numbers.map(|number| number.unwrap_or(f64::NAN)).collect()
    };
    Ok((0..lists.len())
        .map(|row| list((!lists.is_null(row)).then(|| lists.value(row))))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use arrow::array::{Float32Array, Float64Array, Int32Array, ListArray, StringArray, TimestampSecondArray};
    use parquet::arrow::ArrowWriter;
    use tempfile::TempDir;

    use super::*;

    /// A file of these columns, each with its name.
    fn written(dir: &TempDir, columns: Vec<(&str, ArrayRef)>) -> std::path::PathBuf {
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let path = dir.path().join("a.parquet");
        let file = File::create(&path).expect("made");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        path
    }

    fn on(_: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn rows_stay_as_they_stand_and_every_numeric_column_is_a_channel() {
        let dir = TempDir::new().expect("a folder");
        let path = written(
            &dir,
            vec![
                ("b", Arc::new(Float32Array::from(vec![Some(1.0), None, Some(3.0)]))),
                ("when", Arc::new(TimestampSecondArray::from(vec![60, 0, 60]))),
                ("a", Arc::new(Int32Array::from(vec![-9999, 7, 8]))),
                ("note", Arc::new(StringArray::from(vec!["x", "y", "z"]))),
            ],
        );
        for time in [None, Some("when")] {
            let panel = Panel::read(&path, time, &mut on).expect("a panel");
            assert_eq!(panel.rows, 3);
            assert_eq!(panel.times, [60, 0, 60].map(|second| Timestamp(second * 1_000_000_000)));
            assert_eq!(
                (panel.channels[0].name.as_str(), panel.channels[1].name.as_str()),
                ("b", "a")
            );
            assert!(panel.channels[0].values[1].is_nan());
            assert_eq!(panel.channels[1].values, [-9999.0, 7.0, 8.0]);
        }
        for (time, words) in [("wen", "no column \"wen\""), ("a", "a number does not say its unit")] {
            let error = Panel::read(&path, Some(time), &mut on)
                .expect_err("a refusal")
                .to_string();
            assert!(error.contains("a.parquet") && error.contains(words), "{error}");
        }
        let stop = |_: u64| ControlFlow::Break(());
        let interrupted = Panel::read(&path, None, &mut { stop });
        assert!(matches!(interrupted, Err(PartError::Interrupted)));
    }

    #[test]
    fn a_series_is_a_row_of_lists() {
        let dir = TempDir::new().expect("a folder");
        let list = |lists: Vec<Option<Vec<Option<f64>>>>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))
        };
        let train = list(vec![Some(vec![Some(1.0), None]), Some(vec![Some(2.0)])]);
        let columns = |test: ArrayRef| -> Vec<(&str, ArrayRef)> {
            vec![
                ("test", test),
                ("id", Arc::new(StringArray::from(vec!["x", "y"]))),
                ("train", Arc::clone(&train)),
                ("period", Arc::new(StringArray::from(vec![Some("MONTHLY"), None]))),
            ]
        };
        let path = written(&dir, columns(list(vec![Some(vec![Some(3.0)]), None])));
        let series = ListedSeries::read_all(&path, &mut on).expect("series");
        assert_eq!(
            (series[0].id.as_str(), series[0].period.as_deref()),
            ("x", Some("monthly"))
        );
        assert!(series[0].train[0] == 1.0 && series[0].train[1].is_nan());
        assert_eq!((&series[0].test[..], &series[1].test[..]), (&[3.0][..], &[][..]));
        assert_eq!(series[1].period, None);
        let error = Panel::read(&path, None, &mut on).expect_err("no channels").to_string();
        assert!(error.contains("a series stands in each row"), "{error}");
        let path = written(&dir, columns(Arc::new(Float64Array::from(vec![1.0, 2.0]))));
        let error = ListedSeries::read_all(&path, &mut on)
            .expect_err("a refusal")
            .to_string();
        assert!(
            error.ends_with("column \"test\" is of type Float64 and should be a list of numbers"),
            "{error}"
        );
    }
}
