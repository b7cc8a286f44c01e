//! Where a file of samples has its columns, and whether their types alone say that it holds others.

use arrow::datatypes::{DataType, Field};
use forecastd_config::{SampleForm, SampleKind};
use forecastd_models::dasha::ElementType;

use super::super::super::columns::{find, find_if_there, is_text};
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
}

impl Places {
    pub(super) fn new(source: &Source, form: &SampleForm) -> Result<Self, Rejected> {
        let schema = source.schema();
        let columns = &form.columns;
        let (id, input) = (find(schema, &columns.id)?, find(schema, &columns.input)?);
        // Samples that nobody has labelled seldom have a column for it: a file without one is as one with empty cells.
        let own: Vec<&str> = [
            Some(&columns.id),
            Some(&columns.input),
            columns.label.as_ref(),
            columns.split.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
        let maybe = |name: &Option<String>| {
            let found = name.as_deref().map(|name| find_if_there(schema, name, &own));
            found.transpose().map(Option::flatten)
        };
        let (label, split) = (maybe(&columns.label)?, maybe(&columns.split)?);
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
        }
        let mut roots: Vec<usize> = [Some(id), Some(input), label, split].into_iter().flatten().collect();
        roots.sort_unstable();
        let place = |root: usize| roots.partition_point(|other| *other < root);
        Ok(Self {
            id: place(id),
            input: place(input),
            label: label.map(place),
            split: split.map(place),
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

pub(super) fn elements(form: &SampleForm) -> u64 {
    u64::from(form.shape.bands) * form.shape.positions()
}

pub(super) fn kind(form: &SampleForm) -> InputKind {
    match form.kind {
        SampleKind::Tiles => InputKind::Image,
        SampleKind::Sequences => InputKind::Sequence,
    }
}
