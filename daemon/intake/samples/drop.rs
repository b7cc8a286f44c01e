//! Samples of a stranger's file, row by row: what can be used is given away at once, what cannot is counted with its
//! reason. Runs in the decoding child, with the same cells, inputs and labels as the commands.

mod places;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringViewArray};
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use forecastd_config::{SampleForm, SampleLimits};
use forecastd_models::Timestamp;
use forecastd_models::dasha::samples::NO_CLASS;
use forecastd_models::dasha::{CellFormat, ElementType, SPLIT_SEED, Split, SplitFractions, Task};

use super::super::columns::is_text;
use super::super::decode::check_footer;
use super::super::names::clip;
use super::super::rows::{Times, values};
use super::super::table::Sheet;
use super::columns::is_bytes;
use super::inputs::{Inputs, Piece};
use super::letters::{Letters, Seen};
use super::masks::{MaskPiece, Masks};
use super::pixels::told;
use super::row_labels::labels_of_rows;
use super::source::Source;
use super::splits::split_of_word;
use super::{ColumnNames, PixelType, SampleRequest, SamplesError, cells};
use crate::message::account::{RowAccount, RowReason};
use crate::message::rejected::{RejectReason, Rejected};
use crate::message::sample::{Label, MaskLabel, Place, Sample, Taken};
use places::{Places, elements, kind, schema_fault};

/// Bytes of samples that a file may hold for each of its own: equal tiles are stored once, and pictures of one colour
/// take next to nothing.
const BYTES_A_BYTE: u64 = 256;

/// Bytes of samples that any file may hold, however small it is.
const FREE_BYTES: u64 = 256 << 20;

/// Refused rows that are told one by one.
const TOLD: usize = 5;

/// Bytes of a text that is told.
const LONGEST_TOLD: usize = 64;

/// The longest id, in bytes.
const LONGEST_ID: usize = 512;

/// What was found beside the samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// Rows seen and refused; nothing is committed or known to be a duplicate yet.
    pub(crate) account: RowAccount,
    /// The first refused rows, each with its row and column.
    pub(crate) told: Vec<String>,
}

/// Reads the samples of a file, none of them taken after `latest`.
///
/// # Errors
/// When `give` fails; a verdict on the file is a value.
pub(crate) fn read_samples(
    file: File,
    form: &SampleForm,
    limits: &SampleLimits,
    latest: Timestamp,
    give: &mut dyn FnMut(Sample) -> io::Result<()>,
) -> io::Result<Result<Found, Rejected>> {
    let mut failure = None;
    let mut give = |sample| give(sample).map_err(|error| failure = Some(error));
    let read = read(file, form, limits, latest, &mut give);
    if let Some(error) = failure {
        return Err(error);
    }
    // Hints are those of the commands, whose options are keys here.
    Ok(
        read.map_err(|rejected| {
            Rejected::new(rejected.reason, clip(&rejected.detail.replace("--", "samples."), 4_096))
        }),
    )
}

/// What is asked of the input column.
fn request(form: &SampleForm, field: &Field) -> SampleRequest {
    let pixel = match form.element {
        ElementType::U8 => Some(PixelType::U8),
        ElementType::U16 => Some(PixelType::U16),
        ElementType::I16 => Some(PixelType::I16),
        ElementType::F32 => Some(PixelType::F32),
        ElementType::Symbol { .. } => None,
    };
    let mut shape = vec![form.shape.bands];
    shape.extend(&form.shape.size);
    SampleRequest {
        task: form.task,
        input: kind(form),
        shape: Some(shape),
        pixel: pixel.filter(|_| is_bytes(field.data_type())),
        cells: CellFormat {
            layout: form.layout,
            mask_threshold: form.mask_threshold,
        },
        alphabet: match &form.element {
            ElementType::Symbol { alphabet } => alphabet.clone(),
            _ => String::new(),
        },
        columns: ColumnNames::default(),
        seed: SPLIT_SEED,
    }
}

type Give<'a> = dyn FnMut(Sample) -> Result<(), ()> + 'a;

fn read(
    file: File,
    form: &SampleForm,
    limits: &SampleLimits,
    latest: Timestamp,
    give: &mut Give<'_>,
) -> Result<Found, Rejected> {
    let bytes = check_footer(&file)?;
    let source = Source::of(Sheet::open(file)?);
    let places = Places::new(&source, form)?;
    check_extent(source.rows(), bytes, form, limits)?;
    let field = source.schema().field(places.roots[places.input]).clone();
    let request = request(form, &field);
    let letters = is_text(field.data_type()).then(|| Letters::new(&request.alphabet));
    let mut reader = Reader {
        form,
        latest,
        field,
        places: &places,
        inputs: Inputs::new(&request, source.schema().field(places.roots[places.input]), 0).map_err(schema_fault)?,
        request,
        letters: letters.transpose().map_err(schema_fault)?,
        masks: Masks::new(form.mask_threshold),
        seen: Seen::default(),
        ids: HashSet::new(),
        given: 0,
        first_fault: None,
        found: Found::default(),
    };
    let mut verdict = None;
    let done = source.read(&places.roots, &mut |_| ControlFlow::Continue(()), |first, batch| {
        reader.take(first, batch, give).map_err(|stop| {
            verdict = stop;
            SamplesError::Interrupted
        })
    });
    match (done, verdict) {
        (_, Some(verdict)) => Err(verdict),
        (Ok(()), None) => reader.finish(),
        // Whoever takes the samples takes no more: nobody listens to this either.
        (Err(SamplesError::Interrupted), None) => Err(Rejected::new(RejectReason::Corrupt, "interrupted")),
        (Err(SamplesError::Refused { detail, .. }), None) => Err(Rejected::new(RejectReason::Corrupt, detail)),
        (Err(error), None) => Err(Rejected::new(RejectReason::Corrupt, error.to_string())),
    }
}

fn check_extent(rows: u64, bytes: u64, form: &SampleForm, limits: &SampleLimits) -> Result<(), Rejected> {
    let too_large = |detail| Err(Rejected::new(RejectReason::TooLarge, detail));
    if rows > limits.file_samples {
        let allowed = limits.file_samples;
        return too_large(format!("{rows} rows; limits.file_samples allows {allowed}"));
    }
    let stored = match form.element {
        ElementType::Symbol { .. } => form.shape.positions(),
        _ => elements(form) * form.element.bytes() as u64,
    };
    let masked = form.task == Task::Segment && form.columns.label.is_some();
    let stored = stored + if masked { form.shape.positions() } else { 0 };
    let (all, allowed) = (
        rows.saturating_mul(stored),
        bytes.saturating_mul(BYTES_A_BYTE).max(FREE_BYTES),
    );
    if all > allowed {
        let detail =
            format!("{rows} samples of {stored} bytes out of {bytes} bytes; a file of this size may hold {allowed}");
        return too_large(detail);
    }
    Ok(())
}

struct Reader<'a> {
    form: &'a SampleForm,
    /// Nothing was taken later: a clock that is wrong would tell the newest sample for ever.
    latest: Timestamp,
    field: Field,
    places: &'a Places,
    request: SampleRequest,
    inputs: Inputs,
    letters: Option<Letters>,
    masks: Masks,
    seen: Seen,
    ids: HashSet<[u8; 32]>,
    given: u64,
    /// Of an input, while no input could be used.
    first_fault: Option<String>,
    found: Found,
}

/// Why a row is refused, the column that is at fault, and what is wrong with it.
type Refusal = (RowReason, String, String);

/// The cells of a piece.
struct Cells {
    ids: StringViewArray,
    inputs: Piece,
    labels: Option<Vec<Result<Option<Label>, String>>>,
    masks: Option<MaskPiece>,
    splits: Option<StringViewArray>,
    times: Option<Vec<Result<Option<Timestamp>, String>>>,
    /// Latitudes and longitudes.
    degrees: Option<[Float64Array; 2]>,
}

impl Reader<'_> {
    /// `Err(None)`: the samples are not wanted any more.
    fn take(&mut self, first: u64, batch: &RecordBatch, give: &mut Give<'_>) -> Result<(), Option<Rejected>> {
        let cells = self.cells(batch);
        let cells = cells.map_err(|detail| Some(Rejected::new(RejectReason::Corrupt, detail)))?;
        for row in 0..batch.num_rows() {
            let number = first + row as u64;
            match self.sample(&cells, row, number) {
                Ok(sample) => {
                    self.check_element().map_err(Some)?;
                    self.found.account.seen += 1;
                    self.given += 1;
                    give(sample).map_err(|()| None)?;
                }
                Err((reason, column, detail)) => {
                    self.found.account.reject(reason, 1);
                    if self.found.told.len() < TOLD {
                        let told = format!("row {number}, column {column:?}: {detail}");
                        self.found.told.push(clip(&told, LONGEST_ID).to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    fn cells(&self, batch: &RecordBatch) -> Result<Cells, String> {
        let told = |error: ArrowError| error.to_string();
        let column = |place: usize| batch.column(place);
        let Places { label, split, .. } = *self.places;
        let labels = label.map(|label| labels_of_rows(self.form.task, column(label)));
        let masked = label.filter(|_| self.form.task == Task::Segment);
        let masks = masked.map(|label| Masks::piece(column(label)));
        let splits = split.map(|split| cells::texts(column(split)));
        let times = self.places.time.map(|time| times_of_rows(column(time)));
        let degrees = match self.places.place {
            Some([latitude, longitude]) => Some([
                values(column(latitude)).map_err(told)?,
                values(column(longitude)).map_err(told)?,
            ]),
            None => None,
        };
        Ok(Cells {
            ids: cells::texts(column(self.places.id)).map_err(told)?,
            inputs: self.inputs.piece(column(self.places.input)).map_err(told)?,
            labels: labels.transpose().map_err(told)?,
            masks: masks.transpose().map_err(told)?,
            times: times.transpose().map_err(told)?,
            degrees,
            splits: splits.transpose().map_err(told)?,
        })
    }

    fn sample(&mut self, cells: &Cells, row: usize, number: u64) -> Result<Sample, Refusal> {
        let columns = &self.form.columns;
        let refused = |reason, column: &str, detail: String| (reason, column.to_owned(), detail);
        let id = (!cells.ids.is_null(row))
            .then(|| cells.ids.value(row))
            .filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| refused(RowReason::NoId, &columns.id, "no id".to_owned()))?;
        if id.len() > LONGEST_ID {
            let detail = format!("an id of {} bytes; at most {LONGEST_ID} are taken", id.len());
            return Err(refused(RowReason::NoId, &columns.id, detail));
        }
        let split = self.split(cells, row, id).map_err(|detail| {
            let column = columns.split.as_deref().unwrap_or_default();
            refused(RowReason::BadSplit, column, detail)
        })?;
        let label = match &cells.labels {
            Some(labels) => labels[row].clone().and_then(|label| checked(self.form, label)),
            None => Ok(None),
        };
        let bad_label = |detail| {
            let column = columns.label.as_deref().unwrap_or_default();
            refused(RowReason::BadLabel, column, detail)
        };
        let label = label.map_err(bad_label)?;
        let taken = self.taken(cells, row)?;
        let elements = self.elements(cells, row, number);
        let (elements, filled) = elements.map_err(|detail| refused(RowReason::BadInput, &columns.input, detail))?;
        let (label, mask) = match self.mask(cells, row, (number, split), filled).map_err(bad_label)? {
            Some((label, mask)) => (Some(Label::Mask(label)), Some(mask)),
            None => (label, None),
        };
        if !self.ids.insert(*blake3::hash(id.as_bytes()).as_bytes()) {
            let detail = format!("the id {id:?} stands in the file before");
            return Err(refused(RowReason::DuplicateId, &columns.id, detail));
        }
        Ok(Sample {
            id: id.to_owned(),
            split,
            label: label.as_ref().map(Label::to_json),
            mask,
            taken,
            elements,
        })
    }

    fn taken(&self, cells: &Cells, row: usize) -> Result<Taken, Refusal> {
        let columns = &self.form.columns;
        let time = cells.times.as_ref().map_or(Ok(None), |times| times[row].clone());
        let time = time.map_err(|detail| {
            let column = columns.time.clone().unwrap_or_default();
            (RowReason::BadTime, column, detail)
        })?;
        if let Some(time) = time.filter(|time| *time > self.latest) {
            let detail = format!("{time} lies more than a day ahead of the clock: one of the two is wrong");
            return Err((RowReason::Future, columns.time.clone().unwrap_or_default(), detail));
        }
        let (Some(degrees), Some(names)) = (&cells.degrees, &columns.place) else {
            return Ok(Taken { time, place: None });
        };
        let bad = |column: &str, detail: String| Err((RowReason::BadPlace, column.to_owned(), detail));
        let of_row = |degrees: &Float64Array| {
            let is_there = !degrees.is_null(row) && !degrees.value(row).is_nan();
            is_there.then(|| degrees.value(row))
        };
        let place = match (of_row(&degrees[0]), of_row(&degrees[1])) {
            (None, None) => None,
            (Some(latitude), None) => return bad(&names.longitude, format!("no longitude beside latitude {latitude}")),
            (None, Some(longitude)) => {
                return bad(&names.latitude, format!("no latitude beside longitude {longitude}"));
            }
            (Some(latitude), Some(_)) if !(-90.0..=90.0).contains(&latitude) => {
                return bad(
                    &names.latitude,
                    format!("{latitude} is no latitude: from -90 to 90 degrees"),
                );
            }
            (Some(latitude), Some(longitude)) => match Place::new(latitude, longitude) {
                None => {
                    return bad(
                        &names.longitude,
                        format!("{longitude} is no longitude: from -180 to 180 degrees"),
                    );
                }
                place => place,
            },
        };
        Ok(Taken { time, place })
    }

    /// The mask of a row, if it has one; `filled` of the positions of its input are not only there to fill up.
    fn mask(
        &mut self,
        cells: &Cells,
        row: usize,
        at: (u64, Split),
        filled: u32,
    ) -> Result<Option<(MaskLabel, Vec<u8>)>, String> {
        let Some(piece) = cells.masks.as_ref().filter(|piece| !piece.is_empty(row)) else {
            return Ok(None);
        };
        let (masks, size) = (&mut self.masks, &self.form.shape.size);
        let mut mask = Vec::new();
        let written = catch_unwind(AssertUnwindSafe(|| {
            masks.write((piece, row), at, (size, filled), &mut mask)
        }));
        written.unwrap_or_else(|_| Err("the decoder panicked".to_owned()))?;
        let names = self.form.labels.as_deref().unwrap_or_default();
        match MaskLabel::of(&mask, names) {
            Some(label) if label.classes.is_empty() => {
                Err("no position of the mask has a class: leave its cell empty".to_owned())
            }
            Some(label) => Ok(Some((label, mask))),
            None => Err(foreign_class(&mask, names.len())),
        }
    }

    fn split(&self, cells: &Cells, row: usize, id: &str) -> Result<Split, String> {
        let word = cells.splits.as_ref().filter(|splits| !splits.is_null(row));
        match word.map(|splits| splits.value(row)) {
            Some(word) => split_of_word(word).ok_or_else(|| {
                format!("unknown split {word:?}; known are train, validation (val, valid, dev) and test")
            }),
            None => Ok(SplitFractions::default().split_of(SPLIT_SEED, id.as_bytes())),
        }
    }

    /// The record of a row, and how many of its positions are filled.
    fn elements(&mut self, cells: &Cells, row: usize, number: u64) -> Result<(Vec<u8>, u32), String> {
        if let (Some(letters), Piece::Texts(texts)) = (&self.letters, &cells.inputs) {
            let text = (!texts.is_null(row)).then(|| texts.value(row));
            letters.see(number, text, &mut self.seen)?;
        }
        let mut record = Vec::new();
        let inputs = &mut self.inputs;
        // Decoders of pictures have panicked before: that says something about the picture, and of no other row.
        let written = catch_unwind(AssertUnwindSafe(|| inputs.write(&cells.inputs, row, &mut record)));
        match written.unwrap_or_else(|_| Err("the decoder panicked".to_owned())) {
            Ok(filled) => Ok((record, filled)),
            Err(detail) => {
                // What no good row has shown yet, whether pixels are encoded, the next one is to tell.
                if self.given == 0 {
                    self.first_fault.get_or_insert_with(|| detail.clone());
                    self.inputs = Inputs::new(&self.request, &self.field, 0)?;
                }
                Err(detail)
            }
        }
    }

    /// Pictures say themselves how deep they are.
    fn check_element(&self) -> Result<(), Rejected> {
        let (shape, element) = self.inputs.shape().map_err(schema_fault)?;
        if (&shape, &element) == (&self.form.shape, &self.form.element) {
            return Ok(());
        }
        let (column, expected) = (&self.form.columns.input, &self.form.element);
        let shapes = (told(&shape), told(&self.form.shape));
        Err(schema_fault(format!(
            "column {column:?} holds samples of shape {} and {element:?}, where {} and {expected:?} are expected",
            shapes.0, shapes.1
        )))
    }

    fn finish(self) -> Result<Found, Rejected> {
        if let Some(letters) = &self.letters {
            let checked = letters.check(&self.seen);
            let column = &self.form.columns.input;
            checked.map_err(|(row, detail)| schema_fault(format!("row {row}, column {column:?}: {detail}")))?;
        }
        match self.first_fault {
            Some(detail) if self.given == 0 => {
                let column = &self.form.columns.input;
                let detail = format!("no row of column {column:?} can be used; the first: {detail}");
                Err(schema_fault(detail))
            }
            _ => Ok(self.found),
        }
    }
}

fn foreign_class(mask: &[u8], classes: usize) -> String {
    let is_foreign = |class: &u8| *class != NO_CLASS && usize::from(*class) >= classes;
    let position = mask.iter().position(is_foreign).unwrap_or_default();
    format!(
        "position {position} has class {}, where `labels` name {classes}, from 0; if masks are grey pictures, set \
         `mask_threshold`",
        mask[position]
    )
}

/// When each row of a piece was taken: nothing where its cell is empty.
fn times_of_rows(column: &ArrayRef) -> Result<Vec<Result<Option<Timestamp>, String>>, ArrowError> {
    let (times, nulls) = (Times::read(column)?, column.logical_nulls());
    let texts = is_text(column.data_type()).then(|| cells::texts(column)).transpose()?;
    let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let time = |row: usize| match (times.at(row), &texts) {
        (Some(time), _) => Ok(Some(time)),
        (None, _) if is_null(row) => Ok(None),
        (None, Some(texts)) if texts.value(row).is_empty() => Ok(None),
        (None, Some(texts)) => Err(format!(
            "{:?} is no ISO 8601 time between the years 1677 and 2262",
            clip(texts.value(row), LONGEST_TOLD)
        )),
        (None, None) => Err("the time lies outside the years 1677 to 2262".to_owned()),
    };
    Ok((0..column.len()).map(time).collect())
}

/// Holds a label against those that there may be.
fn checked(form: &SampleForm, label: Option<Label>) -> Result<Option<Label>, String> {
    let known = |class: &String| form.labels.as_ref().is_none_or(|labels| labels.contains(class));
    match &label {
        Some(Label::Class(class)) if !known(class) => Err(format!("label {class:?} is none of `labels`")),
        Some(Label::Classes(classes)) => match classes.iter().find(|class| !known(class)) {
            Some(class) => Err(format!("label {class:?} is none of `labels`")),
            None => Ok(label),
        },
        Some(Label::Numbers(numbers)) => {
            let expected = form.labels.as_ref().map_or(1, Vec::len);
            match numbers.len() == expected {
                true => Ok(label),
                false => Err(format!("{} numbers, where {expected} are expected", numbers.len())),
            }
        }
        _ => Ok(label),
    }
}

#[cfg(test)]
mod tests;
