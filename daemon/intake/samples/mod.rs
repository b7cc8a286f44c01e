//! A parquet file of tiles or sequences becomes the flat files that a run of the libtorch child maps
//! (`forecastd_models::dasha::samples`).
//!
//! Two passes: the first reads labels, splits and letters, and refuses what can be refused; the second reads inputs and
//! masks piece by piece and writes them. What is held is a few bytes a row and one piece. The file is the user's own, so
//! it is read in this process; it is trusted with memory, and with nothing else.

mod cells;
mod columns;
pub(crate) mod drop;
mod encoded;
mod error;
mod folder;
mod inputs;
mod labels;
mod letters;
mod masks;
mod pixels;
mod row_labels;
mod series;
mod source;
mod splits;
mod survey;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::path::Path;

use forecastd_models::dasha::{CellFormat, ElementType, InputShape, SampleSet, Split, Task};
use serde::{Deserialize, Serialize};

pub use columns::ColumnNames;
pub use error::SamplesError;
pub use pixels::PixelType;
pub use series::{SeriesRequest, prepare_series};

use columns::{Plan, check_input, check_label};
use folder::RecordFile;
use inputs::Inputs;
use labels::Targets;
use masks::Masks;
use source::Source;
use splits::By;
use survey::Survey;
use writer::Writer;

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
    /// What cells do not say of themselves.
    pub cells: CellFormat,
    /// The letters of texts.
    pub alphabet: String,
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
        masks: (request.task == Task::Segment).then(|| Masks::new(request.cells.mask_threshold)),
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
        cells: request.cells,
        series: None,
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
        masks: masked.then(|| Masks::new(request.cells.mask_threshold)),
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
        cells: request.cells,
        series: None,
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
    if request.cells.mask_threshold.is_some() && request.task != Task::Segment {
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
