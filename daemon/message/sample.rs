//! Samples: tiles and sequences, with or without a label, on their way from a file to where they are kept.

use std::io;
use std::sync::Arc;

use forecastd_models::dasha::Split;
use serde::{Deserialize, Serialize};

/// What is true of a sample. As JSON it is a text, a list of texts, or a list of numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Label {
    /// One class.
    Class(String),
    /// Any number of classes, in order, each once.
    Classes(Vec<String>),
    /// Numbers, all finite.
    Numbers(Vec<f32>),
}

impl Label {
    /// As it is kept.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and finite numbers are JSON")
    }

    /// From what was kept.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// One sample as a file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// What identifies it; not empty.
    pub id: String,
    /// Its split, by the file or by its id.
    pub split: Split,
    /// What is true of it, as JSON of a [`Label`].
    pub label: Option<String>,
    /// The record: band after band, row by row, little-endian.
    pub elements: Vec<u8>,
}

/// The samples of a drop, read one at a time: together they would not fit into memory.
pub trait SampleDrop {
    /// The next one.
    ///
    /// # Errors
    /// When the machine cannot read on.
    fn next(&mut self) -> io::Result<Option<Sample>>;
}

/// Where a sample's elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SamplePlace {
    /// The segment: the drop that brought it.
    pub sequence: i64,
    /// The row in it.
    pub row: u32,
}

/// What is known of a durable sample, all but its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleEntry {
    /// What identifies it.
    pub id: Arc<str>,
    /// Where its elements lie.
    pub place: SamplePlace,
    /// Its split.
    pub split: Split,
    /// What is true of it.
    pub label: Option<Label>,
    /// Whether its elements are those that counted for its id before: only what is said of them is new.
    pub same_elements: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_as_they_went() {
        for label in [
            Label::Class("a".to_owned()),
            Label::Classes(Vec::new()),
            Label::Classes(vec!["a".to_owned(), "b".to_owned()]),
            Label::Numbers(vec![1.0, -0.1]),
        ] {
            assert_eq!(Label::from_json(&label.to_json()), Some(label));
        }
        assert_eq!(Label::from_json("{}"), None);
    }
}
