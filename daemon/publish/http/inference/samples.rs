//! Tensors of a request become samples as the network takes them.

use axum::http::StatusCode;
use forecastd_models::dasha::samples::NO_SYMBOL;
use forecastd_models::dasha::{ElementType, ModelDescription};

use super::header::{Elements, InputTensor};
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

/// What a client sent for the only input. `binary` is what stands behind the JSON.
pub(super) fn samples(
    description: &ModelDescription,
    inputs: Vec<InputTensor>,
    binary: Vec<u8>,
) -> Result<Samples, ApiError> {
    let input = only(inputs)?;
    if input.parameters.shared_memory_region.is_some() {
        return Err(wrong("its data is in shared memory, which is not served: send it"));
    }
    let (datatype, sample) = accepted(description, &input)?;
    let count = count(&input, description, &sample)?;
    let per_sample = sample.iter().product::<u64>() as usize;
    let elements = (count as usize).saturating_mul(per_sample);
    let source = Source::of(input.data, input.parameters.binary_data_size, binary)?;
    let inputs = match (datatype, source) {
        (Datatype::Bytes, source) => letters(description, source.texts()?, elements)?,
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
        (_, Source::Json(json)) => numbers(datatype, &json, elements, per_sample)?,
    };
    Ok(Samples { count, inputs })
}

fn only(inputs: Vec<InputTensor>) -> Result<InputTensor, ApiError> {
    let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
    match <[InputTensor; 1]>::try_from(inputs) {
        Ok([input]) if input.name == INPUT => Ok(input),
        _ => Err(ApiError::malformed(format!(
            "inputs {names:?}; the model takes one, {INPUT:?}"
        ))),
    }
}

/// The type that comes, and one sample's shape, of the two that letters may have.
fn accepted(description: &ModelDescription, input: &InputTensor) -> Result<(Datatype, Vec<u64>), ApiError> {
    let spec = tensor::input(description);
    let sizes = |sizes: &[u32]| sizes.iter().map(|size| u64::from(*size)).collect();
    if input.datatype == spec.datatype.name() {
        return Ok((spec.datatype, sizes(&spec.sample)));
    }
    let found = &input.datatype;
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
fn count(input: &InputTensor, description: &ModelDescription, sample: &[u64]) -> Result<u32, ApiError> {
    let told = || {
        let expected = match sample {
            [] => tensor::input(description).shape(),
            _ => [-1].into_iter().chain(sample.iter().map(|size| *size as i64)).collect(),
        };
        wrong(format!("shape {:?}; the model takes {expected:?}", input.shape))
    };
    let (count, found) = input.shape.split_first().ok_or_else(told)?;
    let without_ones = |sizes: &[u64]| -> Vec<u64> { sizes.iter().copied().filter(|size| *size != 1).collect() };
    if without_ones(found) != without_ones(sample) {
        return Err(told());
    }
    if *count == 0 {
        return Err(wrong("no sample"));
    }
    u32::try_from(*count).map_err(|_| wrong(format!("{count} samples are too many")))
}

/// Where elements come from.
enum Source {
    Json(Elements),
    Binary(Vec<u8>),
}

impl Source {
    fn of(json: Option<Elements>, size: Option<usize>, binary: Vec<u8>) -> Result<Self, ApiError> {
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

    fn texts(self) -> Result<Vec<Vec<u8>>, ApiError> {
        match self {
            Self::Json(json) if json.numbers.is_empty() => Ok(json.texts.into_iter().map(String::into_bytes).collect()),
            Self::Json(_) => Err(wrong("numbers, where BYTES are texts")),
            Self::Binary(bytes) => binary_texts(&bytes),
        }
    }
}

/// Texts in binary form: the length of each in four bytes, and its bytes.
fn binary_texts(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, ApiError> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let torn = || wrong(format!("text {} is torn", texts.len()));
        let (length, rest) = bytes.split_first_chunk().ok_or_else(torn)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(torn)?;
        texts.push(text.to_vec());
        bytes = rest;
    }
    Ok(texts)
}

fn letters(description: &ModelDescription, texts: Vec<Vec<u8>>, expected: usize) -> Result<Vec<u8>, ApiError> {
    let ElementType::Symbol { alphabet } = &description.element else {
        return Err(wrong("BYTES, where the model takes numbers"));
    };
    if texts.len() != expected {
        let found = texts.len();
        return Err(wrong(format!("{found} texts, where its shape has {expected}")));
    }
    let length = description.architecture.input.positions() as usize;
    if expected.saturating_mul(length) > MOST_BYTES {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{expected} texts for {length} letters each are too many: ask in several requests"),
        ));
    }
    let mut places = [NO_SYMBOL; 256];
    for (place, letter) in alphabet.bytes().enumerate() {
        places[usize::from(letter.to_ascii_lowercase())] = place as u8;
        places[usize::from(letter.to_ascii_uppercase())] = place as u8;
    }
    let mut inputs = Vec::with_capacity(expected * length);
    let (mut all, mut unknown) = (0, 0);
    let mut first_unknown = None;
    for (sample, text) in texts.iter().enumerate() {
        if text.is_empty() || text.len() > length {
            let found = text.len();
            return Err(wrong(format!(
                "sample {sample}: {found} letters; 1 to {length} are taken"
            )));
        }
        all += text.len();
        for letter in text {
            let place = places[usize::from(*letter)];
            if place == NO_SYMBOL {
                unknown += 1;
                first_unknown.get_or_insert((sample, char::from(*letter)));
            }
            inputs.push(place);
        }
        inputs.resize((sample + 1) * length, NO_SYMBOL);
    }
    match first_unknown {
        Some((sample, letter)) if f64::from(unknown) > MAX_UNKNOWN * all as f64 => Err(wrong(format!(
            "sample {sample}: letter {letter:?} is not in the alphabet {alphabet}, and {unknown} of {all} letters are not"
        ))),
        _ => Ok(inputs),
    }
}

/// Numbers of JSON, as bytes of their type. `per_sample` is for the message only.
fn numbers(datatype: Datatype, json: &Elements, expected: usize, per_sample: usize) -> Result<Vec<u8>, ApiError> {
    if !json.texts.is_empty() {
        return Err(wrong(format!("texts, where {datatype} are numbers")));
    }
    let found = json.numbers.len();
    if found != expected {
        return Err(wrong(format!("{found} numbers, where its shape has {expected}")));
    }
    let mut bytes = Vec::new();
    for (place, number) in json.numbers.iter().enumerate() {
        let fits = match datatype {
            Datatype::Uint8 => whole(*number, 0.0, f64::from(u8::MAX)).map(|n| bytes.push(n as u8)),
            Datatype::Uint16 => {
                whole(*number, 0.0, f64::from(u16::MAX)).map(|n| bytes.extend((n as u16).to_le_bytes()))
            }
            Datatype::Int16 => {
                whole(*number, f64::from(i16::MIN), f64::from(i16::MAX)).map(|n| bytes.extend((n as i16).to_le_bytes()))
            }
            _ => Some(bytes.extend((*number as f32).to_le_bytes())),
        };
        if fits.is_none() {
            let (sample, element) = (place / per_sample, place % per_sample);
            return Err(wrong(format!(
                "sample {sample}, element {element}: {number} is no {datatype}"
            )));
        }
    }
    Ok(bytes)
}

fn whole(number: f64, least: f64, most: f64) -> Option<f64> {
    (number.fract() == 0.0 && (least..=most).contains(&number)).then_some(number)
}

fn wrong(what: impl std::fmt::Display) -> ApiError {
    ApiError::malformed(format!("input {INPUT:?}: {what}"))
}
