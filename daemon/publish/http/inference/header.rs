//! The JSON of a request for an answer: which tensors come, which are wanted, and where their elements are.

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::fmt;

use crate::publish::http::error::ApiError;

/// JSON of one request, at most: numbers as text take their time to read, and the threads that do are few. More fits
/// into binary tensors.
pub(super) const MOST_JSON: usize = 16 << 20;

/// All that a client may say; what is not known here has no bearing on the answer.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) parameters: RequestParameters,
    pub(super) inputs: Vec<InputTensor>,
    pub(super) outputs: Option<Vec<WantedOutput>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RequestParameters {
    /// Microseconds, as Triton has it.
    pub(super) timeout: Option<u64>,
    /// Whether outputs come in binary form where nothing else is said.
    #[serde(default)]
    pub(super) binary_data_output: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct InputTensor {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) datatype: String,
    #[serde(default)]
    pub(super) parameters: InputParameters,
    pub(super) data: Option<Elements>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct InputParameters {
    /// Bytes behind the JSON.
    pub(super) binary_data_size: Option<usize>,
    pub(super) shared_memory_region: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WantedOutput {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: OutputParameters,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct OutputParameters {
    pub(super) binary_data: Option<bool>,
    /// So many of the likeliest classes, as texts.
    pub(super) classification: Option<usize>,
    pub(super) shared_memory_region: Option<String>,
}

impl Header {
    pub(super) fn read(json: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(json).map_err(|error| ApiError::malformed(format!("the request's JSON: {error}")))
    }
}

/// Elements written as JSON, in one list or in lists of lists; their order is all that counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Elements {
    pub(super) numbers: Vec<f64>,
    pub(super) texts: Vec<String>,
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = Self::default();
        deserializer.deserialize_seq(Into(&mut elements))?;
        Ok(elements)
    }
}

/// Puts what comes into the one list, however deep it stands: a tree of values would take twenty times the memory.
struct Into<'a>(&'a mut Elements);

impl<'de> de::DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or texts, or lists of them")
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.0.numbers.push(number as f64);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.0.numbers.push(number as f64);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.0.numbers.push(number);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.texts.push(text.to_owned());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Into(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_one_list_however_deep_they_stand() {
        let read = |text: &str| serde_json::from_str::<Elements>(text);
        let elements = read("[[1, -2.5], [[3]], []]").expect("numbers");
        assert_eq!(elements.numbers, [1.0, -2.5, 3.0]);
        assert_eq!(read(r#"[["ACGT"], "a"]"#).expect("texts").texts, ["ACGT", "a"]);
        for wrong in ["7", "[null]", "[{}]", "[true]", &"[".repeat(100_000)] {
            assert!(read(wrong).is_err());
        }
    }
}
