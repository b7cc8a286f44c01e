//! Cells of masks become one class a position.

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, LargeListArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use forecastd_models::dasha::Split;
use forecastd_models::dasha::mask::{MAX_CLASSES, classes_of_greys};
use forecastd_models::dasha::samples::NO_CLASS;

use super::cells;
use super::columns::item;
use super::encoded::{is_encoded, mask};

/// How masks are read, and which classes were seen.
#[derive(Debug)]
pub(super) struct Masks {
    threshold: Option<u8>,
    /// Of each split and class, the first row.
    first: [[Option<u64>; 256]; 3],
}

/// The cells of a piece.
#[derive(Debug)]
pub(super) enum MaskPiece {
    Bytes(BinaryViewArray),
    Lists(LargeListArray),
}

impl MaskPiece {
    /// Whether a row has no mask: no cell, or nothing in it.
    pub(super) fn is_empty(&self, row: usize) -> bool {
        match self {
            Self::Bytes(cells) => cells.is_null(row) || cells.value(row).is_empty(),
            Self::Lists(cells) => cells.is_null(row) || cells.value_length(row) == 0,
        }
    }
}

impl Masks {
    pub(super) fn new(threshold: Option<u8>) -> Self {
        Self {
            threshold,
            first: [[None; 256]; 3],
        }
    }

    pub(super) fn piece(column: &ArrayRef) -> Result<MaskPiece, ArrowError> {
        Ok(match item(column.data_type()) {
            Some(_) => MaskPiece::Lists(cells::lists(column, DataType::Int64)?),
            None => MaskPiece::Bytes(cells::bytes(column)?),
        })
    }

    /// Writes the mask of one row, of whose positions `filled` are not only there to fill up.
    pub(super) fn write(
        &mut self,
        (piece, row): (&MaskPiece, usize),
        (number, split): (u64, Split),
        (size, filled): (&[u32], u32),
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let positions: u32 = size.iter().product();
        let mut classes = match piece {
            _ if piece.is_empty(row) => return Err("no mask".to_owned()),
            MaskPiece::Bytes(cells) => self.bytes_of(cells.value(row), size, filled)?,
            MaskPiece::Lists(cells) => numbers_of(&cells.value(row))?,
        };
        if classes.len() != filled as usize {
            let found = classes.len();
            return Err(format!("a mask of {found} positions for an input of {filled}"));
        }
        if let Some(threshold) = self.threshold {
            classes.iter_mut().for_each(|grey| *grey = u8::from(*grey > threshold));
        }
        for class in &classes {
            self.first[split as usize][usize::from(*class)].get_or_insert(number);
        }
        out.extend(&classes);
        out.resize(out.len() + (positions - filled) as usize, NO_CLASS);
        Ok(())
    }

    /// A picture may be as long as its tile has positions, so how bytes begin tells before their number. Numbers of classes
    /// begin like no picture, and greys hardly ever: what then is none is taken for what it may be.
    fn bytes_of(&self, bytes: &[u8], size: &[u32], filled: u32) -> Result<Vec<u8>, String> {
        if size.len() != 2 || !is_encoded(bytes) {
            return Ok(bytes.to_vec());
        }
        let may_be_greys = self.threshold.is_some() && bytes.len() == filled as usize;
        match mask(bytes, size) {
            Err(_) if may_be_greys => Ok(bytes.to_vec()),
            decoded => decoded,
        }
    }

    /// Names of the classes; the row and what is wrong where a mask has one that no training mask has.
    pub(super) fn settle(&self) -> Result<Vec<String>, Result<(u64, String), String>> {
        const GREY: &str = "if masks are grey pictures, give --mask-threshold, such as 127";
        let trained = &self.first[Split::Train as usize][..usize::from(NO_CLASS)];
        let there = trained.iter().flatten().count();
        if there < 2 {
            let only = trained.iter().position(Option::is_some);
            let only = only.map_or("no class".to_owned(), |class| format!("class {class} alone"));
            return Err(Err(format!(
                "training masks have {only}; there is nothing to tell apart; {GREY}"
            )));
        }
        if there > MAX_CLASSES {
            return Err(Err(format!(
                "training masks have {there} classes, at most {MAX_CLASSES} are taken; {GREY}"
            )));
        }
        let count = trained.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if let Some(gap) = trained[..count].iter().position(Option::is_none) {
            return Err(Err(format!(
                "training masks have classes up to {} but none of class {gap}; classes are numbered from 0; {GREY}",
                count - 1
            )));
        }
        for split in [Split::Validation, Split::Test] {
            let beyond = self.first[split as usize][count..usize::from(NO_CLASS)].iter();
            if let Some((class, row)) = (count..)
                .zip(beyond)
                .find_map(|(class, row)| row.map(|row| (class, row)))
            {
                return Err(Ok((row, format!("class {class} is in no training mask"))));
            }
        }
        Ok(match self.threshold {
            Some(threshold) => classes_of_greys(threshold).into(),
            None => (0..count).map(|class| class.to_string()).collect(),
        })
    }
}

fn numbers_of(list: &ArrayRef) -> Result<Vec<u8>, String> {
    let numbers = list.as_primitive::<Int64Type>();
    let class = |(place, number): (usize, Option<i64>)| {
        let number = number.ok_or_else(|| format!("position {place} has no class"))?;
        u8::try_from(number).map_err(|_| format!("position {place}: class {number} is not from 0 to 255"))
    };
    numbers.iter().enumerate().map(class).collect()
}
