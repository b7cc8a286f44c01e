//! Labels of single rows: where some rows have none, and one that cannot be used is only its own row's.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use forecastd_models::dasha::Task;

use super::super::columns::plain;
use super::cells;
use super::columns::item;
use super::labels::{Class, class_of_number, class_of_text};
use crate::message::sample::Label;

/// What each row of a piece says: nothing where its cell is empty.
pub(super) fn labels_of_rows(task: Task, column: &ArrayRef) -> Result<Vec<Result<Option<Label>, String>>, ArrowError> {
    let class = |class: Class| Label::Class(class.name());
    Ok(match task {
        Task::Classify if plain(column.data_type()).is_integer() => {
            let numbers = cells::integers(column)?.into_iter().enumerate();
            let label = |(row, number)| match column.is_null(row) {
                true => Ok(None),
                false => class_of_number(number).map(|number| Some(class(number))),
            };
            numbers.map(label).collect()
        }
        Task::Classify => {
            let texts = cells::texts(column)?;
            let texts = texts.iter().map(|text| text.filter(|text| !text.is_empty()));
            texts
                .map(|text| Ok(text.map(|text| class(Class::Text(text.to_owned())))))
                .collect()
        }
        Task::Regress if item(column.data_type()).is_none() => {
            let numbers = cells::numbers(column)?.into_iter();
            numbers
                .map(|number| number.map(|number| finite(&[Some(number)])).transpose())
                .collect()
        }
        Task::Regress => {
            let lists = cells::lists(column, DataType::Float64)?;
            let numbers = |list: ArrayRef| finite(&cells::numbers(&list).map_err(|error| error.to_string())?);
            lists.iter().map(|list| list.map(numbers).transpose()).collect()
        }
        Task::Segment => vec![Ok(None); column.len()], // masks are read with the inputs
        Task::Multilabel => {
            let lists = cells::lists(column, DataType::Utf8)?;
            let classes = |list: ArrayRef| {
                let classes = list.as_string::<i32>().iter().map(class_of_text);
                let mut classes = classes
                    .map(|class| Ok(class?.name()))
                    .collect::<Result<Vec<_>, String>>()?;
                classes.sort_unstable();
                classes.dedup();
                Ok(Label::Classes(classes))
            };
            lists.iter().map(|list| list.map(classes).transpose()).collect()
        }
    })
}

fn finite(numbers: &[Option<f64>]) -> Result<Label, String> {
    let single = |number: &Option<f64>| {
        let number = number.ok_or("no number")?;
        let single = number as f32;
        match single.is_finite() {
            true => Ok(single),
            false => Err(format!("{number} is no finite number in single precision")),
        }
    };
    Ok(Label::Numbers(
        numbers.iter().map(single).collect::<Result<_, String>>()?,
    ))
}
