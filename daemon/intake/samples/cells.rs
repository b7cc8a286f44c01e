//! Columns of any of arrow's several kinds, seen as bytes, texts, or lists of numbers.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, LargeListArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int16Type, Int64Type, UInt8Type, UInt16Type};
use arrow::error::ArrowError;
use forecastd_models::dasha::ElementType;

use super::super::columns::plain;

/// A column out of its dictionary.
fn flat(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    cast(column, plain(column.data_type()))
}

/// A column of bytes.
pub(super) fn bytes(column: &ArrayRef) -> Result<BinaryViewArray, ArrowError> {
    let column = flat(column)?;
    // Views cannot be made of fixed sizes at once.
    let column = match column.data_type() {
        DataType::FixedSizeBinary(_) => cast(&column, &DataType::LargeBinary)?,
        _ => column,
    };
    Ok(cast(&column, &DataType::BinaryView)?.as_binary_view().clone())
}

/// A column of texts; numbers and booleans are written out.
pub(super) fn texts(column: &ArrayRef) -> Result<StringViewArray, ArrowError> {
    let texts = cast(&flat(column)?, &DataType::Utf8)?;
    Ok(cast(&texts, &DataType::Utf8View)?.as_string_view().clone())
}

/// A column of whole numbers, with nulls where one does not fit.
pub(super) fn integers(column: &ArrayRef) -> Result<Vec<Option<i64>>, ArrowError> {
    let numbers = cast(&flat(column)?, &DataType::Int64)?;
    Ok(numbers.as_primitive::<Int64Type>().iter().collect())
}

/// A column of numbers.
pub(super) fn numbers(column: &ArrayRef) -> Result<Vec<Option<f64>>, ArrowError> {
    let numbers = cast(&flat(column)?, &DataType::Float64)?;
    Ok(numbers.as_primitive::<Float64Type>().iter().collect())
}

/// A column of lists, their items of one type.
pub(super) fn lists(column: &ArrayRef, item: DataType) -> Result<LargeListArray, ArrowError> {
    let item = Field::new_list_field(item, true);
    Ok(cast(column, &DataType::LargeList(item.into()))?
        .as_list::<i64>()
        .clone())
}

/// What the numbers of a list are stored as, and what they are cast to for it.
pub(super) fn stored_as(item: &DataType) -> (ElementType, DataType) {
    match item {
        DataType::UInt8 => (ElementType::U8, DataType::UInt8),
        DataType::UInt16 => (ElementType::U16, DataType::UInt16),
        DataType::Int8 | DataType::Int16 => (ElementType::I16, DataType::Int16),
        _ => (ElementType::F32, DataType::Float64),
    }
}

/// Writes the numbers of one list; they are as [`stored_as`] has it.
pub(super) fn write_numbers(list: &ArrayRef, out: &mut Vec<u8>) -> Result<(), String> {
    if let Some(place) = list
        .nulls()
        .and_then(|nulls| (0..list.len()).find(|place| nulls.is_null(*place)))
    {
        return Err(format!("value {place} is missing"));
    }
    fn write<T: ArrowPrimitiveType, const N: usize>(
        list: &ArrayRef,
        bytes: impl Fn(T::Native) -> [u8; N],
        out: &mut Vec<u8>,
    ) {
        out.extend(list.as_primitive::<T>().values().iter().flat_map(|value| bytes(*value)));
    }
    match list.data_type() {
        DataType::UInt8 => write::<UInt8Type, 1>(list, u8::to_le_bytes, out),
        DataType::UInt16 => write::<UInt16Type, 2>(list, u16::to_le_bytes, out),
        DataType::Int16 => write::<Int16Type, 2>(list, i16::to_le_bytes, out),
        _ => {
            for (place, value) in list.as_primitive::<Float64Type>().values().iter().enumerate() {
                let single = *value as f32;
                if !single.is_finite() {
                    return Err(format!(
                        "value {place} is {value}, which is no finite number in single precision"
                    ));
                }
                out.extend(single.to_le_bytes());
            }
        }
    }
    Ok(())
}
