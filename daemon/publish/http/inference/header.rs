//! The JSON of a request for an answer: which tensors come, which are wanted, and where their elements are.
//!
//! A client chooses how many of everything there is, so each list has a bound, and elements stay text (`data`) until it is
//! known how many of them may be.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::publish::http::error::ApiError;

/// JSON of one request, at most: numbers as text take their time to read. More fits into binary tensors.
pub(super) const MOST_JSON: usize = 16 << 20;

/// Tensors of a request, or axes of one, at most.
const MOST: usize = 16;

/// Bytes of a name or an id, at most: they come back in answers.
const MOST_TEXT: usize = 1 << 10;

/// All that a client may say; what is not known here has no bearing on the answer.
#[derive(Debug, Deserialize)]
pub(super) struct Header<'j> {
    pub(super) id: Option<Word>,
    #[serde(default)]
    pub(super) parameters: RequestParameters,
    #[serde(borrow)]
    pub(super) inputs: Few<InputTensor<'j>>,
    pub(super) outputs: Option<Few<WantedOutput>>,
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
pub(super) struct InputTensor<'j> {
    pub(super) name: Word,
    pub(super) shape: Few<u64>,
    pub(super) datatype: Word,
    #[serde(default)]
    pub(super) parameters: InputParameters,
    /// Numbers, or texts, or lists of them.
    #[serde(borrow)]
    pub(super) data: Option<&'j RawValue>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct InputParameters {
    /// Bytes behind the JSON.
    pub(super) binary_data_size: Option<usize>,
    pub(super) shared_memory_region: Option<de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WantedOutput {
    pub(super) name: Word,
    #[serde(default)]
    pub(super) parameters: OutputParameters,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct OutputParameters {
    pub(super) binary_data: Option<bool>,
    /// So many of the likeliest classes, as texts.
    pub(super) classification: Option<usize>,
    pub(super) shared_memory_region: Option<de::IgnoredAny>,
}

impl<'j> Header<'j> {
    pub(super) fn read(json: &'j [u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(json).map_err(|error| ApiError::malformed(format!("the request's JSON: {error}")))
    }
}

/// A text that is not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

        let Text(text) = Text::deserialize(deserializer)?;
        match text.len() {
            0..=MOST_TEXT => Ok(Self(text.into_owned())),
            length => Err(de::Error::custom(format!(
                "a name of {length} bytes; at most {MOST_TEXT} are taken"
            ))),
        }
    }
}

/// A list that is not too long.
#[derive(Debug)]
pub(super) struct Few<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(PhantomData)).map(Self)
    }
}

struct FewVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut few = Vec::new();
        while let Some(one) = list.next_element()? {
            if few.len() == MOST {
                return Err(de::Error::invalid_length(MOST + 1, &self));
            }
            few.push(one);
        }
        Ok(few)
    }
}

/// What stands in a tensor's data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Element<'t> {
    Number(f64),
    Text(&'t str),
}

/// Shows `take` each element, in one list or in lists of lists: their order is all that counts. Nothing is kept, for
/// even a list of numbers takes four times the memory of its text, a tree of values eighty times.
pub(super) fn each_element(
    data: &RawValue,
    mut take: impl FnMut(Element<'_>) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    use serde::de::DeserializeSeed;

    let mut refusal = None;
    let lists = Lists {
        take: &mut take,
        refusal: &mut refusal,
    };
    let read = lists.deserialize(&mut serde_json::Deserializer::from_str(data.get()));
    match (read, refusal) {
        (_, Some(refusal)) => Err(refusal),
        (Err(error), None) => Err(ApiError::malformed(format!("the request's JSON: data: {error}"))),
        (Ok(()), None) => Ok(()),
    }
}

struct Lists<'a> {
    take: &'a mut dyn FnMut(Element<'_>) -> Result<(), ApiError>,
    refusal: &'a mut Option<ApiError>,
}

/// What stands in a list, at any depth.
struct InList<'a>(Lists<'a>);

impl Lists<'_> {
    fn again(&mut self) -> Lists<'_> {
        Lists {
            take: &mut *self.take,
            refusal: &mut *self.refusal,
        }
    }
}

impl<'de> de::DeserializeSeed<'de> for Lists<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(InList(self))
    }
}

impl<'de> de::DeserializeSeed<'de> for InList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl InList<'_> {
    fn take<E: de::Error>(self, element: Element<'_>) -> Result<(), E> {
        (self.0.take)(element).map_err(|refusal| {
            *self.0.refusal = Some(refusal);
            E::custom("refused")
        })
    }
}

impl<'de> Visitor<'de> for InList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or texts, or lists of them")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        self.take(Element::Number(number as f64))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<(), E> {
        self.take(Element::Number(number as f64))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<(), E> {
        self.take(Element::Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.take(Element::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(InList(self.0.again()))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(json: &str) -> Result<Vec<String>, ApiError> {
        let raw: &RawValue = serde_json::from_str(json).expect("JSON");
        let mut all = Vec::new();
        each_element(raw, |element| {
            all.push(format!("{element:?}"));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn elements_are_one_list_however_deep_they_stand() {
        let numbers = elements("[[1, -2.5], [[3]], []]").expect("numbers");
        assert_eq!(numbers, ["Number(1.0)", "Number(-2.5)", "Number(3.0)"]);
        let texts = elements(r#"[["ACGT"], "\u0061"]"#).expect("texts");
        assert_eq!(texts, [r#"Text("ACGT")"#, r#"Text("a")"#]);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for wrong in ["7", "[null]", "[{}]", "[true]", "[1e999]", &deep] {
            let told = elements(wrong).expect_err("not a list of elements").message;
            assert!(told.starts_with("the request's JSON: data: "), "{told}");
        }
    }

    #[test]
    fn what_an_element_is_refused_for_is_what_the_client_is_told() {
        let raw: &RawValue = serde_json::from_str("[[1, 2], 3]").expect("JSON");
        let refused = each_element(raw, |element| match element {
            Element::Number(2.0) => Err(ApiError::malformed("two")),
            _ => Ok(()),
        });
        assert_eq!(refused.expect_err("refused").message, "two");
    }

    #[test]
    fn lists_and_names_that_are_too_long_are_refused() {
        let header = |shape: usize, name: usize| {
            let (shape, name) = (vec![1; shape], "n".repeat(name));
            let json = serde_json::json!({ "inputs": [{ "name": name, "shape": shape, "datatype": "" }] });
            Header::read(json.to_string().as_bytes()).map(drop)
        };
        assert!(header(16, 1024).is_ok());
        let told = header(17, 1).expect_err("too many axes").message;
        assert!(
            told.contains("invalid length 17, expected a list of at most 16"),
            "{told}"
        );
        let told = header(1, 1025).expect_err("too long").message;
        assert!(told.contains("a name of 1025 bytes; at most 1024"), "{told}");
    }
}
