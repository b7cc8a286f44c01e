//! Which columns of an unknown file are time, channel and value: a guess for a show, never for the service.

use std::fs::File;
use std::io;
use std::path::Path;

use arrow::datatypes::{DataType, Field};
use forecastd_config::{Columns, Layout};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::columns::is_text;

/// The first column of a time type is the time. With columns of text and exactly one of numbers the file is long,
/// else wide.
pub fn columns_of(path: &Path) -> io::Result<Columns> {
    let metadata =
        ArrowReaderMetadata::load(&File::open(path)?, ArrowReaderOptions::new()).map_err(io::Error::other)?;
    let fields = metadata.schema().fields();
    let named = |wanted: fn(&DataType) -> bool| -> Vec<String> {
        fields
            .iter()
            .filter(|field| wanted(field.data_type()))
            .map(|field| Field::name(field).clone())
            .collect()
    };
    let Some(time) = named(is_time).into_iter().next() else {
        return Err(io::Error::other(
            "no column has a time type, so there is nothing to order the rows by",
        ));
    };
    let (channel, values) = (named(is_text), named(DataType::is_numeric));
    let layout = match (channel.is_empty(), values.as_slice()) {
        (_, []) => {
            return Err(io::Error::other(
                "no column has a numeric type, so there is nothing to forecast",
            ));
        }
        (false, [value]) => Layout::Long {
            channel,
            value: value.clone(),
        },
        _ => Layout::Wide { only: None },
    };
    Ok(Columns { time, layout })
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}
