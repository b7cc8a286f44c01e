//! What a network says of samples, as parquet: one row a sample, in their order, written in a stream and put in its
//! place whole.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, Float32Array, Int64Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use forecastd_models::dasha::Task;
use forecastd_models::dasha::live::{THERE, likeliest};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::TempPath;
use thiserror::Error;

use super::forecast_writer::{place, unplaced};

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
    /// Whether each class has a column for its score.
    pub scores: bool,
    /// The version of the model, where each row is to say it.
    pub version: Option<String>,
}

/// A file in the making.
///
/// Columns: `row` or the ids; for one class `label`, `probability` and `score_LABEL` of each; for several `labels` and
/// `score_LABEL`; for numbers one each, by its name; for a class each position `mask`; at last `model_version`.
#[derive(Debug)]
pub struct PredictionFile {
    path: PathBuf,
    layout: PredictionLayout,
    schema: SchemaRef,
    rows: i64,
    writer: ArrowWriter<File>,
    temporary: Option<TempPath>,
}

impl PredictionLayout {
    /// Numbers to regress are what is predicted.
    fn has_scores(&self) -> bool {
        self.scores || self.task == Task::Regress
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

    /// Adds rows of scores, one for each output; `ids` are those of these rows, if the file has any.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append_scores(&mut self, scores: &[f32], ids: Option<&[String]>) -> Result<(), PredictionFileError> {
        let outputs = self.layout.labels.len().max(1);
        let rows = scores.len() / outputs;
        let mut columns = vec![self.identity(rows, ids)];
        match self.layout.task {
            Task::Classify => columns.extend(best(scores, &self.layout.labels)),
            Task::Multilabel => columns.push(there(scores, &self.layout.labels)),
            Task::Regress | Task::Segment => {}
        }
        let shown = if self.layout.has_scores() { outputs } else { 0 };
        for output in 0..shown {
            let of_output = scores.chunks_exact(outputs).map(|row| row[output]);
            columns.push(Arc::new(Float32Array::from_iter_values(of_output)));
        }
        self.write(rows, columns)
    }

    /// Adds rows of masks, one byte for each position; `ids` likewise.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append_masks(&mut self, masks: &[u8], ids: Option<&[String]>) -> Result<(), PredictionFileError> {
        let rows = masks.len() / self.layout.positions.max(1);
        let column = FixedSizeBinaryArray::try_from_iter(masks.chunks_exact(self.layout.positions.max(1)));
        let column: Result<ArrayRef, ArrowError> = column.map(|column| Arc::new(column) as ArrayRef);
        let column = column.map_err(failed(&self.path))?;
        let columns = vec![self.identity(rows, ids), column];
        self.write(rows, columns)
    }

    /// Makes the file durable and renames it into its place.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn finish(self) -> Result<(), PredictionFileError> {
        let file = self.writer.into_inner().map_err(failed(&self.path))?;
        place(&file, self.temporary, &self.path).map_err(failed(&self.path))
    }

    fn identity(&self, rows: usize, ids: Option<&[String]>) -> ArrayRef {
        match (ids, &self.layout.id) {
            (Some(ids), Some(_)) => Arc::new(StringArray::from_iter_values(ids)),
            _ => Arc::new(Int64Array::from_iter_values(self.rows..self.rows + rows as i64)),
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
    let mut fields = match layout.task {
        Task::Classify => vec![
            Field::new("label", DataType::Utf8, false),
            Field::new("probability", DataType::Float32, false),
        ],
        Task::Multilabel => vec![Field::new("labels", DataType::new_list(DataType::Utf8, true), false)],
        Task::Segment => vec![Field::new(
            "mask",
            DataType::FixedSizeBinary(layout.positions as i32),
            false,
        )],
        Task::Regress => Vec::new(),
    };
    fields.extend(match layout.task {
        Task::Segment => Vec::new(),
        _ if !layout.has_scores() => Vec::new(),
        Task::Regress => scores(""),
        Task::Classify | Task::Multilabel => scores("score_"),
    });
    if layout.version.is_some() {
        fields.push(Field::new("model_version", DataType::Utf8, false));
    }
    let identity = match &layout.id {
        Some(id) if fields.iter().any(|field| field.name() == id) => Field::new("id", DataType::Utf8, false),
        Some(id) => Field::new(id, DataType::Utf8, false),
        None => Field::new("row", DataType::Int64, false),
    };
    fields.insert(0, identity);
    fields
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
    use arrow::array::AsArray;
    use arrow::datatypes::Float32Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn written(task: Task, id: Option<&str>, append: impl FnOnce(&mut PredictionFile)) -> RecordBatch {
        let layout = PredictionLayout {
            task,
            labels: vec!["no".to_owned(), "yes".to_owned()],
            positions: 2,
            id: id.map(str::to_owned),
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

    fn names(rows: &RecordBatch) -> String {
        let schema = rows.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn a_class_has_its_probability_and_every_score() {
        let ids = ["a".to_owned(), "b".to_owned()];
        let rows = written(Task::Classify, Some("name"), |file| {
            file.append_scores(&[0.25, 0.75], Some(&ids[..1])).expect("one row");
            file.append_scores(&[0.5, 0.5], Some(&ids[1..])).expect("another");
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
                scores: false,
                version: Some("3f2a".to_owned()),
            };
            written_as(layout, |file| {
                file.append_scores(&[0.25, 0.75], Some(&["a".to_owned()]))
                    .expect("a row");
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
            file.append_scores(&[0.1, 0.9, 0.2, 0.1], None).expect("two rows");
        });
        assert_eq!(names(&rows), "row labels score_no score_yes");
        let lists = rows.column(1).as_list::<i32>();
        assert_eq!((lists.value(0).len(), lists.value(1).len()), (1, 0));
        let rows = written(Task::Regress, None, |file| {
            file.append_scores(&[1.0, 2.0], None).expect("a row")
        });
        assert_eq!(names(&rows), "row no yes");
        let rows = written(Task::Segment, Some("mask"), |file| {
            file.append_masks(&[0, 1, 1, 0], Some(&["a".to_owned(), "b".to_owned()]))
                .expect("two rows");
        });
        assert_eq!(names(&rows), "id mask");
        assert_eq!(rows.column(1).as_fixed_size_binary().value(1), [1, 0]);
    }
}
