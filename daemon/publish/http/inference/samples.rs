//! Tensors of a request become samples as the network takes them.

use forecastd_models::dasha::samples::NO_SYMBOL;
use forecastd_models::dasha::{ElementType, ModelDescription};
use serde_json::value::RawValue;

use super::header::{Element, Few, InputTensor, each_element};
use super::tensor::{self, Datatype, INPUT};
use crate::publish::http::error::ApiError;

/// Of all letters of a request, the part that may be none of the alphabet's, as in a file.
const MAX_UNKNOWN: f64 = 0.01;

/// Bytes of samples that short texts may grow to, at most: each is filled up to the length that the model takes.
const MOST_BYTES: usize = 64 << 20;

/// Samples, end to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Samples {
    pub(super) count: u32,
    pub(super) inputs: Vec<u8>,
}

/// What a client sent for the only input, at most so many samples. `binary` is what stands behind the JSON.
pub(super) fn samples(
    description: &ModelDescription,
    inputs: Few<InputTensor<'_>>,
    binary: Vec<u8>,
    most: usize,
) -> Result<Samples, ApiError> {
    let input = only(inputs)?;
    if input.parameters.shared_memory_region.is_some() {
        return Err(wrong("its data is in shared memory, which is not served: send it"));
    }
    let (datatype, sample) = accepted(description, &input)?;
    let count = count(&input, description, &sample, most)?;
    let per_sample = sample.iter().product::<u64>() as usize;
    let elements = (count as usize).saturating_mul(per_sample);
    let source = Source::of(input.data, input.parameters.binary_data_size, binary)?;
    let inputs = match (datatype, source) {
        (Datatype::Bytes, source) => letters(description, source, elements)?,
        (_, Source::Binary(bytes)) => {
            let expected = elements.saturating_mul(description.element.bytes());
            if bytes.len() != expected {
                let found = bytes.len();
                return Err(wrong(format!(
                    "{found} bytes, where its shape and {datatype} make {expected}"
                )));
            }
            bytes
        }
        (_, Source::Json(json)) => numbers(datatype, json, elements, per_sample)?,
    };
    Ok(Samples { count, inputs })
}

fn only(Few(inputs): Few<InputTensor<'_>>) -> Result<InputTensor<'_>, ApiError> {
    let names: Vec<String> = inputs.iter().map(|input| input.name.0.clone()).collect();
    match <[InputTensor; 1]>::try_from(inputs) {
        Ok([input]) if input.name.0 == INPUT => Ok(input),
        _ => Err(ApiError::malformed(format!(
            "inputs {names:?}; the model takes one, {INPUT:?}"
        ))),
    }
}

/// The type that comes, and one sample's shape, of the two that letters may have.
fn accepted(description: &ModelDescription, input: &InputTensor<'_>) -> Result<(Datatype, Vec<u64>), ApiError> {
    let spec = tensor::input(description);
    let sizes = |sizes: &[u32]| sizes.iter().map(|size| u64::from(*size)).collect();
    let found = &input.datatype.0;
    if *found == spec.datatype.name() {
        return Ok((spec.datatype, sizes(&spec.sample)));
    }
    match &description.element {
        ElementType::Symbol { .. } if *found == Datatype::Uint8.name() => {
            Ok((Datatype::Uint8, sizes(&description.architecture.input.size)))
        }
        ElementType::Symbol { .. } => Err(wrong(format!(
            "datatype {found:?}; the model takes BYTES, or UINT8 with places in the alphabet"
        ))),
        _ => Err(wrong(format!("datatype {found:?}; the model takes {}", spec.datatype))),
    }
}

/// How many samples a shape has. Axes of one element may be there or not.
fn count(
    input: &InputTensor<'_>,
    description: &ModelDescription,
    sample: &[u64],
    most: usize,
) -> Result<u32, ApiError> {
    let Few(shape) = &input.shape;
    let told = || {
        let expected = match sample {
            [] => tensor::input(description).shape(),
            _ => [-1].into_iter().chain(sample.iter().map(|size| *size as i64)).collect(),
        };
        wrong(format!("shape {shape:?}; the model takes {expected:?}"))
    };
    let (count, found) = shape.split_first().ok_or_else(told)?;
    let without_ones = |sizes: &[u64]| -> Vec<u64> { sizes.iter().copied().filter(|size| *size != 1).collect() };
    if without_ones(found) != without_ones(sample) {
        return Err(told());
    }
    if *count == 0 {
        return Err(wrong("no sample"));
    }
    let samples = u32::try_from(*count).ok().filter(|count| *count as usize <= most);
    samples.ok_or_else(|| {
        ApiError::too_large(format!(
            "{count} samples in one request; at most {most} are taken (http.inference.max_samples): ask in several"
        ))
    })
}

/// Where elements come from.
enum Source<'j> {
    Json(&'j RawValue),
    Binary(Vec<u8>),
}

impl<'j> Source<'j> {
    fn of(json: Option<&'j RawValue>, size: Option<usize>, binary: Vec<u8>) -> Result<Self, ApiError> {
        match (json, size) {
            (Some(_), Some(_)) => Err(wrong("both data and binary_data_size: one of them")),
            (None, None) => Err(wrong("neither data nor binary_data_size")),
            (Some(json), None) if binary.is_empty() => Ok(Self::Json(json)),
            (Some(_), None) => Err(ApiError::malformed(format!(
                "{} bytes stand behind the JSON, and no input has a binary_data_size",
                binary.len()
            ))),
            (None, Some(size)) if size == binary.len() => Ok(Self::Binary(binary)),
            (None, Some(size)) => Err(wrong(format!(
                "binary_data_size {size}, and {} bytes stand behind the JSON",
                binary.len()
            ))),
        }
    }

    /// Shows `take` each text.
    fn each_text(&self, mut take: impl FnMut(&[u8]) -> Result<(), ApiError>) -> Result<(), ApiError> {
        match self {
            Self::Json(json) => each_element(json, |element| match element {
                Element::Text(text) => take(text.as_bytes()),
                Element::Number(_) => Err(wrong("numbers, where BYTES are texts")),
            }),
            Self::Binary(bytes) => each_binary_text(bytes, take),
        }
    }
}

/// Texts in binary form: the length of each in four bytes, and its bytes.
fn each_binary_text(mut bytes: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), ApiError>) -> Result<(), ApiError> {
    let mut place = 0;
    while !bytes.is_empty() {
        let torn = || wrong(format!("text {place} is torn"));
        let (length, rest) = bytes.split_first_chunk().ok_or_else(torn)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(torn)?;
        take(text)?;
        bytes = rest;
        place += 1;
    }
    Ok(())
}

/// Texts that become places in the alphabet.
struct Letters {
    length: usize,
    places: [u8; 256],
    inputs: Vec<u8>,
    all: usize,
    unknown: usize,
    first_unknown: Option<(usize, char)>,
}

fn letters(description: &ModelDescription, source: Source<'_>, expected: usize) -> Result<Vec<u8>, ApiError> {
    let ElementType::Symbol { alphabet } = &description.element else {
        return Err(wrong("BYTES, where the model takes numbers"));
    };
    let length = description.architecture.input.positions() as usize;
    if expected.saturating_mul(length) > MOST_BYTES {
        return Err(ApiError::too_large(format!(
            "{expected} texts for {length} letters each are too many: ask in several requests"
        )));
    }
    let mut letters = Letters::new(alphabet, length);
    let mut found = 0;
    source.each_text(|text| {
        found += 1;
        // Those that are too many are counted, and no more.
        match found <= expected {
            true => letters.push(found - 1, text),
            false => Ok(()),
        }
    })?;
    if found != expected {
        return Err(wrong(format!("{found} texts, where its shape has {expected}")));
    }
    letters.finish(alphabet)
}

impl Letters {
    fn new(alphabet: &str, length: usize) -> Self {
        let mut places = [NO_SYMBOL; 256];
        for (place, letter) in alphabet.bytes().enumerate() {
            places[usize::from(letter.to_ascii_lowercase())] = place as u8;
            places[usize::from(letter.to_ascii_uppercase())] = place as u8;
        }
        Self {
            length,
            places,
            inputs: Vec::new(),
            all: 0,
            unknown: 0,
            first_unknown: None,
        }
    }

    fn push(&mut self, sample: usize, text: &[u8]) -> Result<(), ApiError> {
        let (found, length) = (text.len(), self.length);
        if found == 0 || found > length {
            return Err(wrong(format!(
                "sample {sample}: {found} letters; 1 to {length} are taken"
            )));
        }
        self.all += found;
        for letter in text {
            let place = self.places[usize::from(*letter)];
            if place == NO_SYMBOL {
                self.unknown += 1;
                self.first_unknown.get_or_insert((sample, char::from(*letter)));
            }
            self.inputs.push(place);
        }
        self.inputs.resize((sample + 1) * length, NO_SYMBOL);
        Ok(())
    }

    fn finish(self, alphabet: &str) -> Result<Vec<u8>, ApiError> {
        let (all, unknown) = (self.all, self.unknown);
        match self.first_unknown {
            Some((sample, letter)) if unknown as f64 > MAX_UNKNOWN * all as f64 => Err(wrong(format!(
                "sample {sample}: letter {letter:?} is not in the alphabet {alphabet}, and {unknown} of {all} letters are not"
            ))),
            _ => Ok(self.inputs),
        }
    }
}

/// Numbers of JSON, as bytes of their type. `per_sample` is for the message only.
fn numbers(datatype: Datatype, json: &RawValue, expected: usize, per_sample: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut found = 0;
    each_element(json, |element| {
        let Element::Number(number) = element else {
            return Err(wrong(format!("texts, where {datatype} are numbers")));
        };
        found += 1;
        // Those that are too many are counted, and no more.
        if found <= expected && !push(datatype, number, &mut bytes) {
            let (sample, element) = ((found - 1) / per_sample, (found - 1) % per_sample);
            return Err(wrong(format!(
                "sample {sample}, element {element}: {number} is no {datatype}"
            )));
        }
        Ok(())
    })?;
    if found != expected {
        return Err(wrong(format!("{found} numbers, where its shape has {expected}")));
    }
    Ok(bytes)
}

/// Adds a number as its type has it; says whether it is of that type.
fn push(datatype: Datatype, number: f64, bytes: &mut Vec<u8>) -> bool {
    let is_whole = |least, most| number.fract() == 0.0 && number >= f64::from(least) && number <= f64::from(most);
    match datatype {
        Datatype::Uint8 if is_whole(0, i32::from(u8::MAX)) => bytes.push(number as u8),
        Datatype::Uint16 if is_whole(0, i32::from(u16::MAX)) => bytes.extend((number as u16).to_le_bytes()),
        Datatype::Int16 if is_whole(i32::from(i16::MIN), i32::from(i16::MAX)) => {
            bytes.extend((number as i16).to_le_bytes());
        }
        Datatype::Fp32 if (number as f32).is_finite() => bytes.extend((number as f32).to_le_bytes()),
        _ => return false,
    }
    true
}

fn wrong(what: impl std::fmt::Display) -> ApiError {
    ApiError::malformed(format!("input {INPUT:?}: {what}"))
}
