//! Cells of the input column become records of one length and shape.

use arrow::array::{Array, ArrayRef, BinaryViewArray, LargeListArray, StringViewArray};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use forecastd_models::dasha::{ElementType, InputShape, PixelLayout};

use super::super::columns::is_text;
use super::cells;
use super::columns::{is_bytes, item};
use super::encoded::{EncodedImages, is_encoded};
use super::letters::Letters;
use super::pixels::{PixelType, RawPixels, likely_shape, told};
use super::{InputKind, SampleRequest};

/// How cells are read. Shapes that nobody named are the first row's.
#[derive(Debug)]
pub(super) enum Inputs {
    /// Bytes whose first row has not been seen.
    Bytes(BytesRequest),
    Raw(RawPixels),
    Encoded(EncodedImages),
    Numbers(Numbers),
    Letters {
        letters: Letters,
        length: u32,
    },
}

/// What was asked of a column of bytes.
#[derive(Debug)]
pub(super) struct BytesRequest {
    shape: Option<InputShape>,
    pixel: Option<PixelType>,
    layout: PixelLayout,
}

/// Lists of numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    shape: Option<InputShape>,
    element: ElementType,
    read_as: DataType,
    layout: PixelLayout,
}

/// The cells of a piece.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(BinaryViewArray),
    Lists(LargeListArray),
    Texts(StringViewArray),
}

impl Inputs {
    /// For a column of this type; `longest` is that of texts.
    pub(super) fn new(request: &SampleRequest, field: &Field, longest: u32) -> Result<Self, String> {
        let shape = request.shape.as_deref();
        if is_text(field.data_type()) {
            let letters = Letters::new(&request.alphabet)?;
            let length = length_of(shape, &letters, longest)?;
            return Ok(Self::Letters { letters, length });
        }
        let shape = shape.map(|shape| shape_of(shape, request.input)).transpose()?;
        let (pixel, layout) = (request.pixel, request.cells.layout);
        if is_bytes(field.data_type()) {
            return Ok(Self::Bytes(BytesRequest { shape, pixel, layout }));
        }
        if pixel.is_some() {
            return Err("--dtype is for raw bytes; lists of numbers have a type of their own".to_owned());
        }
        let (element, read_as) = cells::stored_as(item(field.data_type()).unwrap_or(&DataType::Float64));
        if shape.is_none() && request.input == InputKind::Image {
            return Err("lists of pixels need --shape C,H,W".to_owned());
        }
        // A sequence has its variables one after the other.
        let layout = match request.input {
            InputKind::Image => layout,
            InputKind::Sequence => PixelLayout::Chw,
        };
        Ok(Self::Numbers(Numbers {
            shape,
            element,
            read_as,
            layout,
        }))
    }

    pub(super) fn piece(&self, column: &ArrayRef) -> Result<Piece, ArrowError> {
        Ok(match self {
            Self::Bytes(_) | Self::Raw(_) | Self::Encoded(_) => Piece::Bytes(cells::bytes(column)?),
            Self::Numbers(numbers) => Piece::Lists(cells::lists(column, numbers.read_as.clone())?),
            Self::Letters { .. } => Piece::Texts(cells::texts(column)?),
        })
    }

    /// Writes the record of one row; says how many of its positions are filled.
    pub(super) fn write(&mut self, piece: &Piece, row: usize, out: &mut Vec<u8>) -> Result<u32, String> {
        match piece {
            Piece::Bytes(cells) if !cells.is_null(row) => self.write_bytes(cells.value(row), out)?,
            Piece::Lists(cells) if !cells.is_null(row) => self.write_numbers(&cells.value(row), out)?,
            Piece::Texts(cells) if !cells.is_null(row) => {
                let Self::Letters { letters, length } = self else {
                    return Err("no text".to_owned());
                };
                return match cells.value(row) {
                    "" => Err("an empty sequence".to_owned()),
                    text => letters.write(text, *length, out),
                };
            }
            _ => return Err("it is empty".to_owned()),
        }
        let (shape, _) = self.shape()?;
        Ok(shape.positions() as u32)
    }

    fn write_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        if let Self::Bytes(asked) = self {
            *self = asked.kind_of(bytes)?;
        }
        match self {
            Self::Raw(raw) => raw.write(bytes, out),
            Self::Encoded(images) => images.write(bytes, out),
            _ => Err("no bytes".to_owned()),
        }
    }

    fn write_numbers(&mut self, list: &ArrayRef, out: &mut Vec<u8>) -> Result<(), String> {
        let Self::Numbers(numbers) = self else {
            return Err("no numbers".to_owned());
        };
        if list.is_empty() {
            return Err("an empty list".to_owned());
        }
        let found = list.len() as u64;
        let shape = numbers.shape.get_or_insert_with(|| InputShape {
            bands: 1,
            size: vec![found as u32],
        });
        let expected = u64::from(shape.bands) * shape.positions();
        if found != expected {
            return Err(format!(
                "{found} numbers do not fit shape {}, which takes {expected}",
                told(shape)
            ));
        }
        let mut tile = Vec::with_capacity(list.len() * numbers.element.bytes());
        cells::write_numbers(list, &mut tile)?;
        super::pixels::write_bands(
            &tile,
            shape.bands as usize,
            numbers.element.bytes(),
            numbers.layout,
            out,
        );
        Ok(())
    }

    /// The shape and type of what was written.
    pub(super) fn shape(&self) -> Result<(InputShape, ElementType), String> {
        let found = match self {
            Self::Bytes(_) => None,
            Self::Raw(raw) => Some((raw.shape.clone(), raw.pixel.element())),
            Self::Encoded(images) => images.found.clone(),
            Self::Numbers(numbers) => numbers.shape.clone().map(|shape| (shape, numbers.element.clone())),
            Self::Letters { letters, length } => {
                let alphabet = letters.alphabet().to_owned();
                let shape = InputShape {
                    bands: alphabet.len() as u32,
                    size: vec![*length],
                };
                Some((shape, ElementType::Symbol { alphabet }))
            }
        };
        found.ok_or_else(|| "nothing was read".to_owned())
    }
}

impl BytesRequest {
    /// What the first row shows the bytes to be.
    fn kind_of(&self, first: &[u8]) -> Result<Inputs, String> {
        let is_raw = |pixel: PixelType| {
            let elements = |shape: &InputShape| u64::from(shape.bands) * shape.positions();
            let size = pixel.element().bytes() as u64;
            self.shape
                .as_ref()
                .is_some_and(|shape| elements(shape) * size == first.len() as u64)
        };
        if !self.pixel.is_some_and(is_raw) && is_encoded(first) {
            return Ok(Inputs::Encoded(EncodedImages {
                asked: self.shape.clone(),
                found: None,
            }));
        }
        let shape = self.shape.clone().ok_or_else(|| {
            let likely = likely_shape(first.len());
            let hint = likely
                .map(|shape| format!(", such as --shape {shape}"))
                .unwrap_or_default();
            format!(
                "{} bytes, neither PNG nor JPEG: raw pixels need --shape C,H,W{hint}",
                first.len()
            )
        })?;
        Ok(Inputs::Raw(RawPixels {
            shape,
            pixel: self.pixel.unwrap_or(PixelType::U8),
            layout: self.layout,
        }))
    }
}

fn shape_of(shape: &[u32], kind: InputKind) -> Result<InputShape, String> {
    let fits = match (kind, shape) {
        _ if shape.contains(&0) => None,
        (InputKind::Image, [bands, height, width]) => Some((*bands, vec![*height, *width])),
        (InputKind::Sequence, [bands, length]) => Some((*bands, vec![*length])),
        (InputKind::Sequence, [length]) => Some((1, vec![*length])),
        _ => None,
    };
    let (bands, size) = fits.ok_or_else(|| {
        let wanted = match kind {
            InputKind::Image => "C,H,W",
            InputKind::Sequence => "C,L or L",
        };
        format!("--shape takes {wanted}, each from 1")
    })?;
    Ok(InputShape { bands, size })
}

fn length_of(shape: Option<&[u32]>, letters: &Letters, longest: u32) -> Result<u32, String> {
    let bands = letters.alphabet().len() as u32;
    match shape {
        None => Ok(longest),
        Some([length] | [_, length]) if *length == 0 => Err("--shape takes a length from 1".to_owned()),
        Some([length]) => Ok(*length),
        Some([asked, length]) if *asked == bands => Ok(*length),
        Some(_) => Err(format!(
            "--shape of texts is L, or {bands},L: a band for each letter of the alphabet"
        )),
    }
}
