//! What a network says of samples, as parquet: one row a sample, in their order, written in a stream and put in its
//! place whole.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Float32Array, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder,
    TimestampNanosecondArray,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use forecastd_models::dasha::live::{THERE, likeliest};
use forecastd_models::dasha::samples::NO_CLASS;
use forecastd_models::dasha::{Task, mask};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::TempPath;
use thiserror::Error;

use super::forecast_writer::{place, unplaced};
use crate::message::inference::Outputs;
use crate::message::sample::Taken;

/// Why there is no file of predictions.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct PredictionFileError {
    /// Where it should be.
    pub path: PathBuf,
    /// What the system or the encoder said.
    pub reason: String,
}

/// Which columns there are.
#[derive(Clone, Debug)]
pub struct PredictionLayout {
    /// What is predicted.
    pub task: Task,
    /// Names of the outputs.
    pub labels: Vec<String>,
    /// Bytes of a mask, where one is predicted.
    pub positions: usize,
    /// The name of the column of ids; without it rows are numbered from 0.
    pub id: Option<String>,
    /// The name of the column of times, if it is to have one.
    pub time: Option<String>,
    /// The names of the columns of latitudes and longitudes, likewise.
    pub place: Option<[String; 2]>,
    /// Whether each class has a column for its score, or of masks for its share of the positions.
    pub scores: bool,
    /// The version of the model, where each row is to say it.
    pub version: Option<String>,
}

/// A file in the making.
///
/// Columns: `row` or the ids; time, latitude and longitude under their own names; for one class `label`, `probability` and
/// `score_LABEL` of each; for several `labels` and `score_LABEL`; for numbers one each, by its name; for a class each position
/// `mask` and `share_LABEL`; at last `model_version`.
#[derive(Debug)]
pub struct PredictionFile {
    path: PathBuf,
    layout: PredictionLayout,
    schema: SchemaRef,
    rows: i64,
    writer: ArrowWriter<File>,
    temporary: Option<TempPath>,
}

/// What was said of some samples, in their order.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Their ids, if the file has any.
    pub ids: Vec<String>,
    /// When and where they were taken, if the file tells.
    pub taken: Vec<Taken>,
    /// Of each a score for each output.
    pub scores: Vec<f32>,
    /// Or of each a class for each position.
    pub masks: Vec<u8>,
}

impl Rows {
    /// Adds what was said of one sample.
    pub fn push(&mut self, id: &str, taken: Taken, said: &Outputs) {
        self.ids.push(id.to_owned());
        self.taken.push(taken);
        match said {
            Outputs::Scores(scores) => self.scores.extend(scores),
            Outputs::Classes(mask) => self.masks.extend(mask),
        }
    }
}

impl PredictionLayout {
    /// Numbers to regress are what is predicted.
    fn has_scores(&self) -> bool {
        self.scores || self.task == Task::Regress
    }

    fn outputs(&self) -> usize {
        self.labels.len().max(1)
    }
}

impl PredictionFile {
    /// Begins a file that will stand at `path`.
    ///
    /// # Errors
    /// When it cannot be made there.
    pub fn create(path: &Path, layout: PredictionLayout) -> Result<Self, PredictionFileError> {
        let (file, temporary) = unplaced(path).map_err(failed(path))?;
        let schema = Arc::new(Schema::new(fields(&layout)));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("forecastd ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties));
        Ok(Self {
            path: path.to_owned(),
            layout,
            schema,
            rows: 0,
            writer: writer.map_err(failed(path))?,
            temporary,
        })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&mut self, rows: &Rows) -> Result<(), PredictionFileError> {
        let (layout, scores) = (&self.layout, &rows.scores);
        let (outputs, positions) = (layout.outputs(), layout.positions.max(1));
        let count = match layout.task {
            Task::Segment => rows.masks.len() / positions,
            _ => scores.len() / outputs,
        };
        let mut columns = vec![self.identity(count, &rows.ids)];
        columns.extend(taken(layout, &rows.taken));
        match layout.task {
            Task::Classify => columns.extend(best(scores, &layout.labels)),
            Task::Multilabel => columns.push(there(scores, &layout.labels)),
            Task::Segment => columns.push(masks(&rows.masks, positions).map_err(failed(&self.path))?),
            Task::Regress => {}
        }
        let shown = if layout.has_scores() { outputs } else { 0 };
        let shares = match layout.task {
            Task::Segment if shown > 0 => shares(&rows.masks, positions, outputs),
            _ => Vec::new(),
        };
        let scores = if layout.task == Task::Segment { &shares } else { scores };
        for output in 0..shown {
            let of_output = scores.chunks_exact(outputs).map(|row| row[output]);
            columns.push(Arc::new(Float32Array::from_iter_values(of_output)));
        }
        self.write(count, columns)
    }

    /// Makes the file durable and renames it into its place.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn finish(self) -> Result<(), PredictionFileError> {
        let file = self.writer.into_inner().map_err(failed(&self.path))?;
        place(&file, self.temporary, &self.path).map_err(failed(&self.path))
    }

    fn identity(&self, rows: usize, ids: &[String]) -> ArrayRef {
        match self.layout.id {
            Some(_) => Arc::new(StringArray::from_iter_values(ids)),
            None => Arc::new(Int64Array::from_iter_values(self.rows..self.rows + rows as i64)),
        }
    }

    fn write(&mut self, rows: usize, mut columns: Vec<ArrayRef>) -> Result<(), PredictionFileError> {
        if let Some(version) = &self.layout.version {
            columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                version, rows,
            ))));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let batch = batch.map_err(failed(&self.path))?;
        self.rows += rows as i64;
        self.writer.write(&batch).map_err(failed(&self.path))
    }
}

fn failed<E: ToString>(path: &Path) -> impl FnOnce(E) -> PredictionFileError {
    let path = path.to_owned();
    move |error| PredictionFileError {
        path,
        reason: error.to_string(),
    }
}

fn fields(layout: &PredictionLayout) -> Vec<Field> {
    let scores = |prefix: &str| -> Vec<Field> {
        let labels = layout.labels.iter();
        labels
            .map(|label| Field::new(format!("{prefix}{label}"), DataType::Float32, false))
            .collect()
    };
    let mut said = match layout.task {
        Task::Classify => vec![
            Field::new("label", DataType::Utf8, false),
            Field::new("probability", DataType::Float32, false),
        ],
        Task::Multilabel => vec![Field::new("labels", DataType::new_list(DataType::Utf8, true), false)],
        Task::Segment => vec![Field::new(
            "mask",
            DataType::FixedSizeBinary(width(layout.positions)),
            false,
        )],
        Task::Regress => Vec::new(),
    };
    said.extend(match layout.task {
        _ if !layout.has_scores() => Vec::new(),
        Task::Regress => scores(""),
        Task::Classify | Task::Multilabel => scores("score_"),
        Task::Segment => scores("share_"),
    });
    if layout.version.is_some() {
        said.push(Field::new("model_version", DataType::Utf8, false));
    }
    let [latitude, longitude] = match &layout.place {
        Some([latitude, longitude]) => [Some(latitude), Some(longitude)],
        None => [None, None],
    };
    let instant = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let of_sample = [
        (layout.id.as_ref(), "id", DataType::Utf8, false),
        (layout.time.as_ref(), "time", instant, true),
        (latitude, "latitude", DataType::Float64, true),
        (longitude, "longitude", DataType::Float64, true),
    ];
    let mut fields = match layout.id {
        Some(_) => Vec::new(),
        None => vec![Field::new("row", DataType::Int64, false)],
    };
    for (own, plain, data_type, nullable) in of_sample {
        let Some(own) = own else { continue };
        // What is said of samples has its name whatever their columns are called, and no two columns have one name.
        let is_free = |name: &String| said.iter().chain(&fields).all(|field| field.name() != name);
        let further = (1..).map(|times| format!("{}{plain}", "sample_".repeat(times)));
        let mut names = [own.clone(), plain.to_owned()].into_iter().chain(further);
        let name = names.find(is_free).expect("one of endlessly many is free");
        fields.push(Field::new(name, data_type, nullable));
    }
    fields.extend(said);
    fields
}

/// When and where samples were taken, in the columns that the layout has.
fn taken(layout: &PredictionLayout, taken: &[Taken]) -> Vec<ArrayRef> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    if layout.time.is_some() {
        let times = taken.iter().map(|taken| taken.time.map(|time| time.0));
        let times: TimestampNanosecondArray = times.collect();
        columns.push(Arc::new(times.with_timezone("UTC")));
    }
    if layout.place.is_some() {
        let places = || taken.iter().map(|taken| taken.place);
        let latitudes = places().map(|place| place.map(|place| place.latitude));
        let longitudes = places().map(|place| place.map(|place| place.longitude));
        columns.push(Arc::new(latitudes.collect::<Float64Array>()));
        columns.push(Arc::new(longitudes.collect::<Float64Array>()));
    }
    columns
}

fn masks(masks: &[u8], positions: usize) -> Result<ArrayRef, ArrowError> {
    let masks = FixedSizeBinaryArray::try_new(width(positions), Buffer::from(masks), None)?;
    Ok(Arc::new(masks))
}

/// No sample is as large as the widest column.
fn width(positions: usize) -> i32 {
    i32::try_from(positions).unwrap_or(i32::MAX)
}

/// Of each mask the share that each class has of the positions that have one.
fn shares(masks: &[u8], positions: usize, classes: usize) -> Vec<f32> {
    let of_masks = masks.chunks_exact(positions).flat_map(|mask| {
        let counts = mask::positions(mask);
        let known = positions as u64 - counts[usize::from(NO_CLASS)];
        let share = move |class: usize| counts[class] as f32 / known.max(1) as f32;
        (0..classes).map(share)
    });
    of_masks.collect()
}

/// The likeliest class of each row, the first of equals, and its probability.
fn best(scores: &[f32], labels: &[String]) -> [ArrayRef; 2] {
    let rows = scores.chunks_exact(labels.len().max(1));
    let best: Vec<usize> = rows.clone().map(likeliest).collect();
    let names = StringArray::from_iter_values(best.iter().map(|class| &labels[*class]));
    let probabilities = rows.zip(&best).map(|(row, class)| row[*class]);
    [Arc::new(names), Arc::new(Float32Array::from_iter_values(probabilities))]
}

fn there(scores: &[f32], labels: &[String]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in scores.chunks_exact(labels.len().max(1)) {
        let found = row.iter().zip(labels).filter(|(score, _)| **score >= THERE);
        found.for_each(|(_, label)| lists.values().append_value(label));
        lists.append(true);
    }
    Arc::new(lists.finish())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float32Type, Float64Type, TimestampNanosecondType};
    use forecastd_models::Timestamp;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::message::sample::Place;

    fn written(task: Task, id: Option<&str>, append: impl FnOnce(&mut PredictionFile)) -> RecordBatch {
        let layout = PredictionLayout {
            task,
            labels: vec!["no".to_owned(), "yes".to_owned()],
            positions: 2,
            id: id.map(str::to_owned),
            time: None,
            place: None,
            scores: true,
            version: None,
        };
        written_as(layout, append)
    }

    fn written_as(layout: PredictionLayout, append: impl FnOnce(&mut PredictionFile)) -> RecordBatch {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("predictions.parquet");
        let mut file = PredictionFile::create(&path, layout).expect("created");
        append(&mut file);
        file.finish().expect("finished");
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).expect("there")).expect("parquet");
        let mut batches = reader.build().expect("a reader");
        batches.next().expect("rows").expect("sound rows")
    }

    fn scores(ids: &[&str], scores: &[f32]) -> Rows {
        Rows {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            scores: scores.to_vec(),
            ..Rows::default()
        }
    }

    fn names(rows: &RecordBatch) -> String {
        let schema = rows.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn a_class_has_its_probability_and_every_score() {
        let rows = written(Task::Classify, Some("name"), |file| {
            file.append(&scores(&["a"], &[0.25, 0.75])).expect("one row");
            file.append(&scores(&["b"], &[0.5, 0.5])).expect("another");
        });
        assert_eq!(names(&rows), "name label probability score_no score_yes");
        let text = |column: usize, row: usize| rows.column(column).as_string::<i32>().value(row).to_owned();
        assert_eq!(
            (text(0, 1), text(1, 0), text(1, 1)),
            ("b".into(), "yes".into(), "no".into())
        );
        assert_eq!(rows.column(2).as_primitive::<Float32Type>().values(), &[0.75, 0.5]);
    }

    #[test]
    fn scores_of_classes_may_be_left_out_and_every_row_may_say_its_version() {
        let of = |task| {
            let layout = PredictionLayout {
                task,
                labels: vec!["no".to_owned(), "yes".to_owned()],
                positions: 1,
                id: Some("id".to_owned()),
                time: None,
                place: None,
                scores: false,
                version: Some("3f2a".to_owned()),
            };
            written_as(layout, |file| {
                file.append(&scores(&["a"], &[0.25, 0.75])).expect("a row");
            })
        };
        let rows = of(Task::Classify);
        assert_eq!(names(&rows), "id label probability model_version");
        assert_eq!(rows.column(3).as_string::<i32>().value(0), "3f2a");
        assert_eq!(names(&of(Task::Multilabel)), "id labels model_version");
        assert_eq!(names(&of(Task::Regress)), "id no yes model_version");
    }

    #[test]
    fn several_classes_numbers_and_masks_have_their_columns() {
        let rows = written(Task::Multilabel, None, |file| {
            file.append(&scores(&[], &[0.1, 0.9, 0.2, 0.1])).expect("two rows");
        });
        assert_eq!(names(&rows), "row labels score_no score_yes");
        let lists = rows.column(1).as_list::<i32>();
        assert_eq!((lists.value(0).len(), lists.value(1).len()), (1, 0));
        let rows = written(Task::Regress, None, |file| {
            file.append(&scores(&[], &[1.0, 2.0])).expect("a row")
        });
        assert_eq!(names(&rows), "row no yes");
        let rows = written(Task::Segment, Some("mask"), |file| {
            let masks = vec![0, 1, 1, 1];
            let rows = Rows {
                masks,
                ..scores(&["a", "b"], &[])
            };
            file.append(&rows).expect("two rows");
        });
        assert_eq!(names(&rows), "id mask share_no share_yes");
        assert_eq!(rows.column(1).as_fixed_size_binary().value(1), [1, 1]);
        assert_eq!(rows.column(3).as_primitive::<Float32Type>().values(), &[0.5, 1.0]);
        let rows = written(Task::Segment, None, |file| {
            let masks = vec![1, NO_CLASS];
            let rows = Rows {
                masks,
                ..Rows::default()
            };
            file.append(&rows).expect("a row");
        });
        let share = rows.column(3).as_primitive::<Float32Type>().value(0);
        assert_eq!(share, 1.0, "of a shorter sequence those positions that there are");
    }

    #[test]
    fn no_two_columns_have_one_name_whatever_those_of_the_samples_are_called() {
        let layout = |task, [id, time, latitude, longitude]: [&str; 4]| PredictionLayout {
            task,
            labels: vec!["id".to_owned(), "sample_time".to_owned()],
            positions: 1,
            id: Some(id.to_owned()),
            time: Some(time.to_owned()),
            place: Some([latitude.to_owned(), longitude.to_owned()]),
            scores: false,
            version: None,
        };
        let names = |layout: &PredictionLayout| -> Vec<String> {
            let fields = fields(layout);
            fields.iter().map(|field| field.name().clone()).collect()
        };
        let classes = layout(Task::Classify, ["label", "id", "time", "probability"]);
        assert_eq!(
            names(&classes),
            ["id", "time", "latitude", "longitude", "label", "probability"]
        );
        let numbers = layout(Task::Regress, ["time", "id", "y", "x"]);
        assert_eq!(
            names(&numbers),
            ["time", "sample_sample_time", "y", "x", "id", "sample_time"]
        );
    }

    #[test]
    fn when_and_where_samples_were_taken_stands_beside_what_is_said_of_them() {
        let layout = PredictionLayout {
            task: Task::Classify,
            labels: vec!["no".to_owned(), "yes".to_owned()],
            positions: 1,
            id: Some("id".to_owned()),
            time: Some("label".to_owned()),
            place: Some(["lat".to_owned(), "lon".to_owned()]),
            scores: false,
            version: None,
        };
        let rows = written_as(layout, |file| {
            let mut rows = Rows::default();
            let place = Place::new(-33.5, 151.25);
            let time = Some(Timestamp(7));
            rows.push("a", Taken { time, place }, &Outputs::Scores(vec![0.25, 0.75]));
            rows.push("b", Taken::default(), &Outputs::Scores(vec![0.5, 0.5]));
            file.append(&rows).expect("two rows");
        });
        assert_eq!(names(&rows), "id time lat lon label probability");
        let times = rows.column(1).as_primitive::<TimestampNanosecondType>();
        assert_eq!((times.value(0), times.timezone()), (7, Some("UTC")));
        let longitudes = rows.column(3).as_primitive::<Float64Type>();
        assert_eq!(
            (longitudes.value(0), longitudes.is_null(1), times.is_null(1)),
            (151.25, true, true)
        );
    }
}
