//! How labelled samples lie on disk between the process that reads parquet and the one that trains: flat files of
//! equal records, to be mapped, with this description beside them.
//!
//! | file | one record a sample |
//! |---|---|
//! | `samples.json` | (the [`SampleSet`]) |
//! | `inputs.bin` | [`SampleSet::input_bytes`]: band after band, each row by row, little-endian; symbols are one byte a position, an index into the alphabet, or [`NO_SYMBOL`] |
//! | `targets.bin` | [`SampleSet::target_bytes`]: classify one `u32`; multilabel a byte 0 or 1 for each class; segment a byte for each position, or [`NO_CLASS`]; regress an `f32` for each output |
//! | `splits.bin` | one byte: the [`Split`] |

use serde::{Deserialize, Serialize};

use super::architecture::{InputShape, Task};
use super::windows::SeriesWindows;

/// A position past the end of a shorter sequence, or a letter that is not in the alphabet: zero in every band.
pub const NO_SYMBOL: u8 = 255;

/// A pixel that has no class: no part of any loss or score.
pub const NO_CLASS: u8 = 255;

/// What one element of an input is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElementType {
    /// A byte.
    U8,
    /// Two bytes, no sign.
    U16,
    /// Two bytes, signed.
    I16,
    /// Single precision.
    F32,
    /// A letter of this alphabet, one band each.
    Symbol {
        /// In the order of the bands.
        alphabet: String,
    },
}

impl ElementType {
    /// Bytes of one element.
    pub fn bytes(&self) -> usize {
        match self {
            Self::U8 | Self::Symbol { .. } => 1,
            Self::U16 | Self::I16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Bytes of one sample's input.
pub fn input_bytes(input: &InputShape, element: &ElementType) -> usize {
    let bands = match element {
        ElementType::Symbol { .. } => 1,
        _ => input.bands as usize,
    };
    bands * input.positions() as usize * element.bytes()
}

/// Positions of a record that are more than what fills a shorter sequence up.
pub fn filled(element: &ElementType, bytes: &[u8], positions: usize) -> usize {
    match element {
        ElementType::Symbol { .. } => {
            let last = bytes.iter().rposition(|symbol| *symbol != NO_SYMBOL);
            last.map_or(0, |last| last + 1)
        }
        _ => positions,
    }
}

/// What is wrong with one sample's input: a number that is not finite, or a letter that the alphabet has not.
pub fn input_fault(input: &InputShape, element: &ElementType, bytes: &[u8]) -> Option<String> {
    match element {
        ElementType::F32 => {
            let values = || bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            // Every request is asked this, and nearly none has such a number: first in a form that is vectorised.
            if values().fold(true, |all, value| all & value.is_finite()) {
                return None;
            }
            let (place, value) = values().enumerate().find(|(_, value)| !value.is_finite())?;
            let positions = input.positions() as usize;
            let (band, position) = (place / positions, place % positions);
            Some(format!("band {band}, position {position}: {value}"))
        }
        ElementType::Symbol { alphabet } => {
            let letters = alphabet.chars().count();
            let strange = |symbol: u8| symbol != NO_SYMBOL && usize::from(symbol) >= letters;
            let (position, symbol) = bytes.iter().enumerate().find(|(_, symbol)| strange(**symbol))?;
            Some(format!(
                "position {position}: letter {symbol} of an alphabet of {letters}"
            ))
        }
        ElementType::U8 | ElementType::U16 | ElementType::I16 => None,
    }
}

/// Numbers of a record, whatever their type. Of letters their places in the alphabet.
pub fn numbers<'a>(element: &ElementType, bytes: &'a [u8]) -> Box<dyn Iterator<Item = f64> + 'a> {
    let pairs = |bytes: &'a [u8]| bytes.as_chunks().0.iter().copied();
    match element {
        ElementType::U8 | ElementType::Symbol { .. } => Box::new(bytes.iter().map(|byte| f64::from(*byte))),
        ElementType::U16 => Box::new(pairs(bytes).map(|pair| f64::from(u16::from_le_bytes(pair)))),
        ElementType::I16 => Box::new(pairs(bytes).map(|pair| f64::from(i16::from_le_bytes(pair)))),
        ElementType::F32 => {
            let singles = bytes.as_chunks().0.iter();
            Box::new(singles.map(|bytes| f64::from(f32::from_le_bytes(*bytes))))
        }
    }
}

/// Which part of the data a sample belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Split {
    /// Weights are fitted to it.
    Train = 0,
    /// Everything is chosen on it.
    Validation = 1,
    /// It is looked at once, at the end.
    Test = 2,
}

impl Split {
    /// The split with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Train, Self::Validation, Self::Test]
            .into_iter()
            .find(|split| *split as u8 == byte)
    }
}

/// Which of a pixel's numbers stand side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelLayout {
    /// All bands of a pixel, then the next pixel, row by row.
    #[default]
    Hwc,
    /// All pixels of a band, row by row, then the next band.
    Chw,
}

/// What cells do not say of themselves: how they became records. A network's later samples are read the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellFormat {
    /// Of raw pixels, and of lists of them.
    pub layout: PixelLayout,
    /// Greys above it are class 1 of a mask, others 0; without it a mask holds the numbers of classes.
    pub mask_threshold: Option<u8>,
}

/// What lies in the flat files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSet {
    /// So many.
    pub count: u64,
    /// The shape of each; `bands` is the length of the alphabet where elements are symbols.
    pub input: InputShape,
    /// What the elements are.
    pub element: ElementType,
    /// What the targets are for.
    pub task: Task,
    /// Names of the classes, or of the numbers to regress, in the order of the outputs.
    pub labels: Vec<String>,
    /// Of the content that it was read from, in hexadecimal.
    pub hash: String,
    /// How that content was read.
    #[serde(default)]
    pub cells: CellFormat,
    /// Of windows of series, what there is to know beyond their shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesWindows>,
}

impl SampleSet {
    /// Bytes of one sample's input.
    pub fn input_bytes(&self) -> usize {
        input_bytes(&self.input, &self.element)
    }

    /// Bytes of one sample's target.
    pub fn target_bytes(&self) -> usize {
        match self.task {
            Task::Classify => 4,
            Task::Multilabel => self.labels.len(),
            Task::Segment => self.input.positions() as usize,
            Task::Regress => 4 * self.labels.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_strange_element_of_an_input_is_told() {
        let input = InputShape {
            bands: 2,
            size: vec![3],
        };
        let told = |element: &ElementType, bytes: &[u8]| input_fault(&input, element, bytes);
        let singles = |values: [f32; 6]| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>();
        assert_eq!(told(&ElementType::F32, &singles([f32::MAX; 6])), None);
        let strange = singles([0.0, 0.0, 0.0, 0.0, f32::NEG_INFINITY, f32::NAN]);
        assert_eq!(
            told(&ElementType::F32, &strange).as_deref(),
            Some("band 1, position 1: -inf")
        );
        let alphabet = "AC".to_owned();
        let symbols = ElementType::Symbol { alphabet };
        assert_eq!(told(&symbols, &[0, 1, NO_SYMBOL]), None);
        assert_eq!(filled(&symbols, &[0, NO_SYMBOL, 1, NO_SYMBOL, NO_SYMBOL], 5), 3);
        assert_eq!(filled(&ElementType::U8, &[255; 6], 3), 3);
        assert_eq!(
            told(&symbols, &[0, 2, 1]).as_deref(),
            Some("position 1: letter 2 of an alphabet of 2")
        );
        assert_eq!(told(&ElementType::U16, &[255; 12]), None);
    }

    #[test]
    fn records_are_as_long_as_the_table_says() {
        let mut set = SampleSet {
            count: 1,
            input: InputShape {
                bands: 3,
                size: vec![4, 5],
            },
            element: ElementType::U16,
            task: Task::Segment,
            labels: vec!["water".to_owned(), "land".to_owned()],
            hash: String::new(),
            cells: CellFormat::default(),
            series: None,
        };
        assert_eq!((set.input_bytes(), set.target_bytes()), (120, 20));
        set.element = ElementType::Symbol {
            alphabet: "ACGTN".to_owned(),
        };
        set.task = Task::Regress;
        assert_eq!((set.input_bytes(), set.target_bytes()), (20, 8));
        assert_eq!(Split::from_byte(2), Some(Split::Test));
        assert_eq!(Split::from_byte(3), None);
    }
}
