//! A parquet file of tiles or sequences becomes the flat files that a run of the libtorch child maps
//! (`forecastd_models::dasha::samples`).
//!
//! Two passes: the first reads labels, splits and letters, and refuses what can be refused; the second reads inputs and
//! masks piece by piece and writes them. What is held is a few bytes a row and one piece. The file is the user's own, so
//! it is read in this process; it is trusted with memory, and with nothing else.

mod cells;
mod columns;
mod encoded;
mod error;
mod folder;
mod inputs;
mod labels;
mod letters;
mod masks;
mod pixels;
mod source;
mod splits;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use forecastd_models::dasha::{ElementType, InputShape, SampleSet, Split, Task};
use serde::{Deserialize, Serialize};

pub use columns::ColumnNames;
pub use error::SamplesError;
pub use pixels::{PixelLayout, PixelType};

use columns::{Plan, check_input, check_label};
use folder::RecordFile;
use inputs::Inputs;
use labels::{Labels, Targets};
use letters::{Letters, Seen};
use masks::Masks;
use source::Source;
use splits::{By, SplitRows};

use super::columns::is_text;
use super::parts::Watch;

/// What samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Tiles: bands, rows, columns.
    Image,
    /// Letters or numbers, one after the other.
    Sequence,
}

/// How a file is to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRequest {
    /// What labels are for.
    pub task: Task,
    /// What samples are.
    pub input: InputKind,
    /// Bands, height and width, or bands and length; else told by the first row.
    pub shape: Option<Vec<u32>>,
    /// What raw pixels are; bytes unless said.
    pub pixel: Option<PixelType>,
    /// How raw pixels, and lists of them, are laid out.
    pub layout: PixelLayout,
    /// The letters of texts.
    pub alphabet: String,
    /// Greys above it are class 1 of a mask, others 0.
    pub mask_threshold: Option<u8>,
    /// Which columns mean what.
    pub columns: ColumnNames,
    /// Draws splits where no column says them.
    pub seed: u64,
}

/// Samples in their folder, and what is to be said about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// As it stands in the folder.
    pub set: SampleSet,
    /// Samples for training, validation and test; zero where nothing is split.
    pub splits: [u64; 3],
    /// Sentences: how splits came about, which columns were taken, what was odd.
    pub notes: Vec<String>,
    /// Whether labels were found; always where they are needed.
    pub labelled: bool,
}

/// What a trained network takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trained {
    /// The shape of its inputs.
    pub input: InputShape,
    /// What their elements are.
    pub element: ElementType,
    /// What it was trained for.
    pub task: Task,
    /// Names of its outputs.
    pub labels: Vec<String>,
}

/// The file of what is true, beside samples to be predicted; records as in `targets.bin`.
pub const TRUTH: &str = "truth.bin";

/// Reads labelled samples into a run's folder.
///
/// # Errors
/// The first thing that is wrong, with its file, and its row and column where there are such; nothing is trained then.
pub fn prepare(
    path: &Path,
    request: &SampleRequest,
    folder: &Path,
    watch: &mut Watch<'_>,
) -> Result<Prepared, SamplesError> {
    let source = Source::open(path)?;
    let plan = Plan::labelled(source.schema(), &request.columns, request.input, request.task);
    let plan = plan.and_then(|plan| checked(&source, plan, request));
    let plan = plan.map_err(|detail| source.refused(detail))?;
    let hash = content_hash(path)?;
    let survey = Survey::read(&source, &plan, request, watch)?;
    let mut notes = vec![columns_note(&source, &plan)];
    notes.extend(survey.letters_note());
    let rows = source.rows() as usize;
    let (splits, say) = survey.splits.settle(by(&source, &plan), survey.labels.classes(), rows);
    let counts = splits::check(&source, &splits, &say)?;
    notes.push(format!("splits are {say}"));
    let label = plan.label.expect("labelled samples have labels");
    let targets = match request.task {
        Task::Segment => None,
        _ => Some(survey.labels.settle(&splits).map_err(|fault| match fault {
            Ok((row, detail)) => source.cell(row, label, detail),
            Err(detail) => source.refused(detail),
        })?),
    };
    folder::begin(folder)?;
    let mut writer = Writer {
        source: &source,
        plan: &plan,
        inputs: Inputs::new(request, source.schema().field(plan.input), survey.seen.longest)
            .map_err(|detail| source.refused(detail))?,
        masks: (request.task == Task::Segment).then(|| Masks::new(request.mask_threshold)),
        splits: &splits,
    };
    let (input, element) = writer.write(folder, "targets.bin", watch)?;
    let labels = match (targets, &writer.masks) {
        (Some(targets), _) => write_targets(folder, "targets.bin", targets)?,
        (None, Some(masks)) => masks.settle().map_err(|fault| match fault {
            Ok((row, detail)) => source.cell(row, label, detail),
            Err(detail) => source.refused(format!("column {:?}: {detail}", source.schema().field(label).name())),
        })?,
        (None, None) => Vec::new(),
    };
    folder::write_splits(folder, &splits)?;
    let set = SampleSet {
        count: source.rows(),
        input,
        element,
        task: request.task,
        labels,
        hash,
    };
    folder::describe(folder, &set)?;
    Ok(Prepared {
        set,
        splits: counts,
        notes,
        labelled: true,
    })
}

/// Reads samples to be predicted, with what is true of them in [`TRUTH`] if a column says it.
///
/// # Errors
/// As [`prepare`]. Labels that were not asked for and do not fit are left out, which a note says.
pub fn prepare_for(
    trained: &Trained,
    path: &Path,
    request: &SampleRequest,
    folder: &Path,
    watch: &mut Watch<'_>,
) -> Result<Prepared, SamplesError> {
    let source = Source::open(path)?;
    let asked = request.columns.label.is_some();
    let plan = Plan::unlabelled(source.schema(), &request.columns, request.input, request.task);
    let plan = plan.and_then(|plan| checked(&source, plan, request));
    let mut plan = plan.map_err(|detail| source.refused(detail))?;
    let hash = content_hash(path)?;
    let mut notes = Vec::new();
    let mut survey = Survey::read(&source, &plan, request, watch);
    if !asked && plan.label.is_some() && matches!(survey, Err(SamplesError::Cell { .. })) {
        let without = Plan {
            label: None,
            ..plan.clone()
        };
        survey = Survey::read(&source, &without, request, watch).inspect(|_| {
            notes.push("labels cannot be read, so nothing is scored".to_owned());
        });
        plan = without;
    }
    let survey = survey?;
    notes.extend(survey.letters_note());
    let mut truth = None;
    if let (Some(label), true) = (plan.label, request.task != Task::Segment) {
        match survey.labels.among(&trained.labels) {
            Ok(targets) => truth = Some(targets),
            Err((row, detail)) if asked => return Err(source.cell(row, label, detail)),
            Err((row, detail)) => {
                let column = source.schema().field(label).name();
                notes.push(format!("nothing is scored: row {row}, column {column:?}: {detail}"));
            }
        }
    }
    folder::begin(folder)?;
    let masked = request.task == Task::Segment && plan.label.is_some();
    let splits = vec![Split::Test; source.rows() as usize];
    let mut writer = Writer {
        source: &source,
        plan: &plan,
        inputs: Inputs::new(request, source.schema().field(plan.input), survey.seen.longest)
            .map_err(|detail| source.refused(detail))?,
        masks: masked.then(|| Masks::new(request.mask_threshold)),
        splits: &splits,
    };
    let (input, element) = writer.write(folder, TRUTH, watch)?;
    if (&input, &element) != (&trained.input, &trained.element) {
        return Err(source.refused(format!(
            "samples of shape {} and {element:?}, where the network takes {} and {:?}",
            pixels::told(&input),
            pixels::told(&trained.input),
            trained.element
        )));
    }
    let labelled = masked || truth.is_some();
    if let Some(targets) = truth {
        write_targets(folder, TRUTH, targets)?;
    }
    let set = SampleSet {
        count: source.rows(),
        input,
        element,
        task: request.task,
        labels: trained.labels.clone(),
        hash,
    };
    folder::describe(folder, &set)?;
    Ok(Prepared {
        set,
        splits: [0; 3],
        notes,
        labelled,
    })
}

/// A column as texts, for the ids of predictions.
///
/// # Errors
/// When the file or the column is not there or cannot be read.
pub fn read_ids(path: &Path, column: &str) -> Result<Vec<String>, SamplesError> {
    let source = Source::open(path)?;
    let root = super::columns::find(source.schema(), column).map_err(|found| source.refused(found.detail))?;
    let mut ids = Vec::with_capacity(source.rows() as usize);
    let mut on = |_| std::ops::ControlFlow::Continue(());
    source.read(&[root], &mut on, |first, batch| {
        let texts = cells::texts(batch.column(0)).map_err(|error| source.cell(first, root, error))?;
        ids.extend(texts.iter().map(|text| text.unwrap_or_default().to_owned()));
        Ok(())
    })?;
    Ok(ids)
}

/// BLAKE3 of a file's content, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn content_hash(path: &Path) -> Result<String, SamplesError> {
    let mut hasher = blake3::Hasher::new();
    let hashed = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    hashed.map_err(|source| SamplesError::Open {
        path: path.to_owned(),
        source,
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn checked(source: &Source, plan: Plan, request: &SampleRequest) -> Result<Plan, String> {
    let field = |root: usize| source.schema().field(root);
    check_input(field(plan.input), request.input)?;
    if let Some(label) = plan.label {
        check_label(field(label), request.task)?;
    }
    if let Some(split) = plan.split.filter(|split| !is_text(field(*split).data_type())) {
        let field = field(split);
        return Err(format!(
            "column {:?} is of type {} and should be text",
            field.name(),
            field.data_type()
        ));
    }
    if request.mask_threshold.is_some() && request.task != Task::Segment {
        return Err("--mask-threshold is for --task segment".to_owned());
    }
    Ok(plan)
}

fn by(source: &Source, plan: &Plan) -> By {
    let name = |root: usize| source.schema().field(root).name().clone();
    match (plan.split, plan.id) {
        (Some(split), _) => By::Column(name(split)),
        (None, Some(id)) => By::Id(name(id)),
        (None, None) => By::Lot,
    }
}

fn columns_note(source: &Source, plan: &Plan) -> String {
    let name = |root: usize| format!("{:?}", source.schema().field(root).name());
    let mut note = format!("inputs are column {}", name(plan.input));
    for (what, root) in [
        ("labels", plan.label),
        ("names of labels", plan.label_name),
        ("ids", plan.id),
    ] {
        if let Some(root) = root {
            note.push_str(&format!(", {what} {}", name(root)));
        }
    }
    note
}

fn write_targets(folder: &Path, name: &str, targets: Targets) -> Result<Vec<String>, SamplesError> {
    let mut file = RecordFile::create(folder, name)?;
    file.fill(|out| targets.write(out))?;
    file.finish()?;
    Ok(targets.labels)
}

/// What the first pass finds.
struct Survey {
    labels: Labels,
    splits: SplitRows,
    seen: Seen,
}

impl Survey {
    fn read(
        source: &Source,
        plan: &Plan,
        request: &SampleRequest,
        watch: &mut Watch<'_>,
    ) -> Result<Self, SamplesError> {
        let schema = source.schema();
        let of_masks = request.task == Task::Segment;
        let label = plan.label.filter(|_| !of_masks);
        let label_name = plan.label_name.filter(|_| !of_masks);
        let letters = is_text(schema.field(plan.input).data_type()).then(|| Letters::new(&request.alphabet));
        let letters = letters.transpose().map_err(|detail| source.refused(detail))?;
        let mut survey = Self {
            labels: Labels::new(request.task, plan.label.map_or("", |label| schema.field(label).name())),
            splits: SplitRows::new(request.seed),
            seen: Seen::default(),
        };
        let texts = letters.is_some().then_some(plan.input);
        let roots = Plan::roots([label, label_name, plan.split, plan.id, texts]);
        if roots.is_empty() {
            return Ok(survey);
        }
        let place = |root: usize| roots.partition_point(|other| *other < root);
        source.read(&roots, watch, |first, batch| {
            if let Some(label) = label {
                let names = label_name.map(|name| batch.column(place(name)));
                let taken = survey.labels.take(batch.column(place(label)), names);
                taken.map_err(|(row, detail)| source.cell(first + row, label, detail))?;
            }
            survey.take_splits(source, plan, (first, batch), &place)?;
            if let Some(letters) = &letters {
                let cell = |row: u64, detail: String| source.cell(row, plan.input, detail);
                let column = cells::texts(batch.column(place(plan.input)));
                let column = column.map_err(|error| cell(first, error.to_string()))?;
                for (row, text) in (first..).zip(column.iter()) {
                    letters
                        .see(row, text, &mut survey.seen)
                        .map_err(|detail| cell(row, detail))?;
                }
            }
            Ok(())
        })?;
        if let Some(letters) = letters {
            let checked = letters.check(&survey.seen);
            checked.map_err(|(row, detail)| source.cell(row, plan.input, detail))?;
        }
        Ok(survey)
    }

    fn take_splits(
        &mut self,
        source: &Source,
        plan: &Plan,
        (first, batch): (u64, &RecordBatch),
        place: &impl Fn(usize) -> usize,
    ) -> Result<(), SamplesError> {
        if let Some(split) = plan.split {
            let words = cells::texts(batch.column(place(split)));
            let words = words.map_err(|error| source.cell(first, split, error))?;
            for (row, word) in (first..).zip(words.iter()) {
                self.splits
                    .tell(word)
                    .map_err(|detail| source.cell(row, split, detail))?;
            }
        }
        match plan.id {
            Some(id) => {
                let ids = cells::texts(batch.column(place(id))).map_err(|error| source.cell(first, id, error))?;
                for (row, text) in (first..).zip(ids.iter()) {
                    let text = text.ok_or_else(|| source.cell(row, id, "no id"))?;
                    self.splits.identify(text.as_bytes());
                }
            }
            None => (first..)
                .take(batch.num_rows())
                .for_each(|row| self.splits.identify(row.to_string().as_bytes())),
        }
        Ok(())
    }

    fn letters_note(&self) -> Option<String> {
        let unknown = self.seen.unknown;
        (unknown > 0).then(|| format!("{unknown} letters are not in the alphabet and count as none"))
    }
}

/// The second pass.
struct Writer<'a> {
    source: &'a Source,
    plan: &'a Plan,
    inputs: Inputs,
    masks: Option<Masks>,
    splits: &'a [Split],
}

impl Writer<'_> {
    /// Writes `inputs.bin`, and masks into the file of that name.
    fn write(
        &mut self,
        folder: &Path,
        masks_name: &str,
        watch: &mut Watch<'_>,
    ) -> Result<(InputShape, ElementType), SamplesError> {
        let (source, input) = (self.source, self.plan.input);
        let label = self.plan.label.filter(|_| self.masks.is_some());
        let roots = Plan::roots([Some(input), label]);
        let place = |root: usize| roots.partition_point(|other| *other < root);
        let mut inputs_file = RecordFile::create(folder, "inputs.bin")?;
        let mut masks_file = label.map(|_| RecordFile::create(folder, masks_name)).transpose()?;
        let (mut record, mut mask) = (Vec::new(), Vec::new());
        source.read(&roots, watch, |first, batch| {
            let piece = self.inputs.piece(batch.column(place(input)));
            let piece = piece.map_err(|error| source.cell(first, input, error))?;
            let mask_piece = label.map(|label| Masks::piece(batch.column(place(label)))).transpose();
            let mask_piece = mask_piece.map_err(|error| source.cell(first, label.unwrap_or(input), error))?;
            for row in 0..batch.num_rows() {
                let number = first + row as u64;
                record.clear();
                let filled = self.inputs.write(&piece, row, &mut record);
                let filled = filled.map_err(|detail| source.cell(number, input, detail))?;
                inputs_file.append(&record)?;
                let (Some(masks), Some(cells), Some(file), Some(label)) =
                    (&mut self.masks, &mask_piece, &mut masks_file, label)
                else {
                    continue;
                };
                mask.clear();
                let (shape, _) = self.inputs.shape().map_err(|detail| source.refused(detail))?;
                let split = self.splits[number as usize];
                masks
                    .write((cells, row), (number, split), (&shape.size, filled), &mut mask)
                    .map_err(|detail| source.cell(number, label, detail))?;
                file.append(&mask)?;
            }
            Ok(())
        })?;
        inputs_file.finish()?;
        if let Some(file) = masks_file {
            file.finish()?;
        }
        self.inputs.shape().map_err(|detail| source.refused(detail))
    }
}
