//! Where a file of samples has its columns, and whether their types alone say that it holds others.

use arrow::datatypes::{DataType, Field};
use forecastd_config::{SampleForm, SampleKind};
use forecastd_models::dasha::{ElementType, Task};

use super::super::super::columns::{check_time, check_value, find, find_if_there, is_text};
use super::super::columns::{check_input, check_label, item};
use super::super::source::Source;
use super::super::{InputKind, cells};
use crate::message::rejected::{RejectReason, Rejected};

/// Columns as places in the file, and among those read.
pub(super) struct Places {
    pub(super) roots: Vec<usize>,
    pub(super) id: usize,
    pub(super) input: usize,
    pub(super) label: Option<usize>,
    pub(super) split: Option<usize>,
    pub(super) time: Option<usize>,
    /// Of latitude and longitude.
    pub(super) place: Option<[usize; 2]>,
}

impl Places {
    pub(super) fn new(source: &Source, form: &SampleForm) -> Result<Self, Rejected> {
        let schema = source.schema();
        let columns = &form.columns;
        let (id, input) = (find(schema, &columns.id)?, find(schema, &columns.input)?);
        // Samples that nobody has labelled seldom have a column for it: a file without one is as one with empty cells.
        let place = columns.place.as_ref();
        let [latitude, longitude] = [place.map(|place| &place.latitude), place.map(|place| &place.longitude)];
        let [label, split, time] = [columns.label.as_ref(), columns.split.as_ref(), columns.time.as_ref()];
        let named = [
            Some(&columns.id),
            Some(&columns.input),
            label,
            split,
            time,
            latitude,
            longitude,
        ];
        let own: Vec<&str> = named.into_iter().flatten().map(String::as_str).collect();
        let maybe = |name: Option<&String>| {
            let found = name.map(|name| find_if_there(schema, name, &own));
            found.transpose().map(Option::flatten)
        };
        let (label, split, time) = (maybe(label)?, maybe(split)?, maybe(time)?);
        let degrees = match (latitude.zip(longitude), maybe(latitude)?.or(maybe(longitude)?)) {
            (Some((latitude, longitude)), Some(_)) => Some([find(schema, latitude)?, find(schema, longitude)?]),
            _ => None,
        };
        let id_type = schema.field(id).data_type();
        if !is_text(id_type) && !id_type.is_integer() {
            return Err(schema_fault(format!(
                "column {:?} is of type {id_type} and cannot identify samples: write text or integers",
                columns.id
            )));
        }
        if let Some(split) = split.filter(|split| !is_text(schema.field(*split).data_type())) {
            let found = schema.field(split).data_type();
            return Err(schema_fault(format!(
                "column {:?} is of type {found} and should be text",
                schema.field(split).name()
            )));
        }
        check_shape(schema.field(input), form)?;
        if let Some(label) = label {
            check_label(schema.field(label), form.task).map_err(schema_fault)?;
            check_mask(schema.field(label), form)?;
        }
        time.map_or(Ok(()), |time| check_time(schema.field(time)))?;
        for root in degrees.into_iter().flatten() {
            check_value(schema.field(root))?;
        }
        let others = [label, split, time].into_iter().flatten();
        let mut roots: Vec<usize> = others.chain(degrees.into_iter().flatten()).chain([id, input]).collect();
        roots.sort_unstable();
        let place = |root: usize| roots.partition_point(|other| *other < root);
        Ok(Self {
            id: place(id),
            input: place(input),
            label: label.map(place),
            split: split.map(place),
            time: time.map(place),
            place: degrees.map(|degrees| degrees.map(place)),
            roots,
        })
    }
}

pub(super) fn schema_fault(detail: String) -> Rejected {
    Rejected::new(RejectReason::Schema, detail)
}

/// Refuses a column whose type alone says that it holds other samples.
fn check_shape(field: &Field, form: &SampleForm) -> Result<(), Rejected> {
    check_input(field, kind(form)).map_err(schema_fault)?;
    let (name, found) = (field.name(), field.data_type());
    let letters = matches!(form.element, ElementType::Symbol { .. });
    if letters != is_text(found) {
        let wanted = if letters { "texts" } else { "numbers, as `dtype` says" };
        return Err(schema_fault(format!(
            "column {name:?} is of type {found}; samples are {wanted}"
        )));
    }
    if let Some(of_list) = item(found) {
        let (element, _) = cells::stored_as(of_list);
        if element != form.element {
            let detail = format!(
                "column {name:?} holds {element:?}, where samples are {:?}",
                form.element
            );
            return Err(schema_fault(detail));
        }
    }
    let (length, expected) = match found {
        DataType::FixedSizeBinary(bytes) => (*bytes, elements(form) * form.element.bytes() as u64),
        DataType::FixedSizeList(_, length) => (*length, elements(form)),
        _ => return Ok(()),
    };
    if u64::try_from(length) != Ok(expected) {
        let detail = format!("column {name:?} is of type {found}, where a sample takes {expected}");
        return Err(schema_fault(detail));
    }
    Ok(())
}

/// Refuses a column whose type alone says that no mask in it has the size of a sample. Shorter sequences have shorter masks.
fn check_mask(field: &Field, form: &SampleForm) -> Result<(), Rejected> {
    let positions = form.shape.positions();
    let found = match field.data_type() {
        DataType::FixedSizeBinary(bytes) => *bytes,
        DataType::FixedSizeList(_, length) => *length,
        _ => return Ok(()),
    };
    let may_be_shorter = matches!(form.element, ElementType::Symbol { .. });
    if form.task != Task::Segment || may_be_shorter || u64::try_from(found) == Ok(positions) {
        return Ok(());
    }
    let (name, found) = (field.name(), field.data_type());
    let detail = format!("column {name:?} is of type {found}, where a mask has {positions} positions");
    Err(schema_fault(detail))
}

pub(super) fn elements(form: &SampleForm) -> u64 {
    u64::from(form.shape.bands) * form.shape.positions()
}

pub(super) fn kind(form: &SampleForm) -> InputKind {
    match form.kind {
        SampleKind::Tiles => InputKind::Image,
        SampleKind::Sequences => InputKind::Sequence,
    }
}
