//! Which tensors a network takes and gives, in the words of the Open Inference Protocol.
//!
//! | a network of | takes `input` | and gives |
//! |---|---|---|
//! | tiles, numbers in a row | `[-1, bands, height, width]`, `[-1, bands, length]`, as its elements are | |
//! | letters | `BYTES [-1]`, a text each; or `UINT8 [-1, length]`, places in the alphabet | |
//! | classify | | `probabilities` `FP32 [-1, labels]`, `class` `INT64 [-1]`, `label` `BYTES [-1]` |
//! | multilabel | | `probabilities` `FP32 [-1, labels]` |
//! | regress | | `values` `FP32 [-1, labels]` |
//! | segment | | `classes` `UINT8 [-1, height, width]` or `[-1, length]` |

use std::fmt;

use forecastd_models::dasha::{ElementType, ModelDescription, Task};
use serde_json::{Value, json};

/// The only input.
pub(super) const INPUT: &str = "input";

/// What the elements of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datatype {
    Uint8,
    Uint16,
    Int16,
    Int64,
    Fp32,
    Bytes,
}

/// A tensor, but for its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorSpec {
    pub(super) name: &'static str,
    pub(super) datatype: Datatype,
    /// Without the samples, which come first.
    pub(super) sample: Vec<u32>,
}

impl Datatype {
    /// As the protocol writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Int16 => "INT16",
            Self::Int64 => "INT64",
            Self::Fp32 => "FP32",
            Self::Bytes => "BYTES",
        }
    }

    /// As a configuration of Triton writes it.
    pub(super) fn config_name(self) -> String {
        match self {
            Self::Bytes => "TYPE_STRING".to_owned(),
            _ => format!("TYPE_{}", self.name()),
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TensorSpec {
    fn new(name: &'static str, datatype: Datatype, sample: &[u32]) -> Self {
        let sample = sample.to_vec();
        Self { name, datatype, sample }
    }

    /// With any number of samples.
    pub(super) fn shape(&self) -> Vec<i64> {
        let sample = self.sample.iter().map(|size| i64::from(*size));
        [-1].into_iter().chain(sample).collect()
    }

    /// For so many samples.
    pub(super) fn shape_of(&self, samples: usize) -> Vec<u64> {
        let sample = self.sample.iter().map(|size| u64::from(*size));
        [samples as u64].into_iter().chain(sample).collect()
    }

    /// As metadata show it.
    pub(super) fn metadata(&self) -> Value {
        json!({ "name": self.name, "datatype": self.datatype.name(), "shape": self.shape() })
    }
}

/// What a network takes.
pub(super) fn input(description: &ModelDescription) -> TensorSpec {
    let shape = &description.architecture.input;
    let numbers: Vec<u32> = [shape.bands].into_iter().chain(shape.size.iter().copied()).collect();
    match description.element {
        ElementType::U8 => TensorSpec::new(INPUT, Datatype::Uint8, &numbers),
        ElementType::U16 => TensorSpec::new(INPUT, Datatype::Uint16, &numbers),
        ElementType::I16 => TensorSpec::new(INPUT, Datatype::Int16, &numbers),
        ElementType::F32 => TensorSpec::new(INPUT, Datatype::Fp32, &numbers),
        ElementType::Symbol { .. } => TensorSpec::new(INPUT, Datatype::Bytes, &[]),
    }
}

/// What a network gives, in the order in which it is told.
pub(super) fn outputs(description: &ModelDescription) -> Vec<TensorSpec> {
    let labels = [description.labels.len() as u32];
    match description.architecture.task {
        Task::Classify => vec![
            TensorSpec::new("probabilities", Datatype::Fp32, &labels),
            TensorSpec::new("class", Datatype::Int64, &[]),
            TensorSpec::new("label", Datatype::Bytes, &[]),
        ],
        Task::Multilabel => vec![TensorSpec::new("probabilities", Datatype::Fp32, &labels)],
        Task::Regress => vec![TensorSpec::new("values", Datatype::Fp32, &labels)],
        Task::Segment => {
            let size = &description.architecture.input.size;
            vec![TensorSpec::new("classes", Datatype::Uint8, size)]
        }
    }
}
