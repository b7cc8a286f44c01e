//! What a network said becomes the tensors that a client wants, as JSON or in binary form behind it.

use std::borrow::Cow;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use forecastd_models::dasha::ModelDescription;
use serde::Serialize;

use super::header::{Few, OutputParameters, RequestParameters, WantedOutput, Word};
use super::tensor::{self, TensorSpec};
use crate::message::inference::{InferenceAnswer, InferenceError, Outputs};
use crate::publish::http::error::ApiError;

/// How long the JSON is where something stands behind it.
pub(super) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// One tensor that a client wants, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    spec: TensorSpec,
    is_binary: bool,
    /// So many of the likeliest classes instead, as texts.
    classes: Option<usize>,
}

/// The tensors that a client asks for, each once: all, if it names none.
pub(super) fn wanted(
    description: &ModelDescription,
    asked: Option<Few<WantedOutput>>,
    parameters: &RequestParameters,
) -> Result<Vec<Wanted>, ApiError> {
    let specs = tensor::outputs(description);
    let asked = asked.map(|Few(outputs)| outputs).filter(|outputs| !outputs.is_empty());
    let asked = asked.unwrap_or_else(|| {
        let all = specs.iter().map(|spec| WantedOutput {
            name: Word(spec.name.to_owned()),
            parameters: OutputParameters::default(),
        });
        all.collect()
    });
    let mut wanted: Vec<Wanted> = Vec::new();
    for output in asked {
        let one = find(&specs, output, parameters)?;
        if wanted.iter().any(|other| other.spec.name == one.spec.name) {
            let name = one.spec.name;
            return Err(ApiError::malformed(format!("output {name:?}: it is named twice")));
        }
        wanted.push(one);
    }
    Ok(wanted)
}

fn find(specs: &[TensorSpec], output: WantedOutput, parameters: &RequestParameters) -> Result<Wanted, ApiError> {
    let WantedOutput {
        name: Word(name),
        parameters: own,
    } = output;
    let told = |what: String| ApiError::malformed(format!("output {name:?}: {what}"));
    let Some(spec) = specs.iter().find(|spec| *spec.name == *name) else {
        let known: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
        return Err(told(format!("the model gives {known:?}")));
    };
    if own.shared_memory_region.is_some() {
        return Err(told("shared memory is not served".to_owned()));
    }
    let classes = own.classification.filter(|classes| *classes > 0);
    if classes.is_some() && spec.name != "probabilities" {
        return Err(told("a classification is made of probabilities only".to_owned()));
    }
    Ok(Wanted {
        spec: spec.clone(),
        is_binary: own.binary_data.unwrap_or(parameters.binary_data_output),
        classes,
    })
}

/// An answer as it goes out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    body: Vec<u8>,
    /// Of the JSON at its beginning, where something stands behind it.
    json: Option<usize>,
}

impl Written {
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }
}

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        let Some(json) = self.json else {
            return ([(CONTENT_TYPE, "application/json")], self.body).into_response();
        };
        let headers = [
            (HEADER_LENGTH, HeaderValue::from(json)),
            (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        ];
        (headers, self.body).into_response()
    }
}

/// The JSON of an answer.
#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

/// One tensor in it.
#[derive(Serialize)]
struct Output<'a> {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Elements<'a>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

/// Elements of a tensor.
#[derive(Serialize)]
#[serde(untagged)]
enum Elements<'a> {
    Fp32(&'a [f32]),
    Int64(Vec<i64>),
    Uint8(&'a [u8]),
    Texts(Vec<Cow<'a, str>>),
}

/// The answer to a client.
pub(super) fn write(
    model: &str,
    id: Option<&str>,
    wanted: &[Wanted],
    answer: &InferenceAnswer,
) -> Result<Written, ApiError> {
    let mut binary = Vec::new();
    let outputs = wanted
        .iter()
        .map(|wanted| output(wanted, &answer.description, &answer.outputs, &mut binary));
    let json = Answer {
        model_name: model,
        model_version: &answer.version,
        id,
        outputs: outputs.collect(),
    };
    let mut body = serde_json::to_vec(&json).map_err(|error| {
        ApiError::from(InferenceError::Failed {
            reason: error.to_string(),
        })
    })?;
    let json = (!binary.is_empty()).then_some(body.len());
    body.append(&mut binary);
    Ok(Written { body, json })
}

fn output<'a>(
    wanted: &Wanted,
    description: &'a ModelDescription,
    outputs: &'a Outputs,
    binary: &mut Vec<u8>,
) -> Output<'a> {
    let labels = &description.labels;
    let (elements, per_sample) = match (outputs, wanted.classes, wanted.spec.name) {
        (Outputs::Scores(scores), Some(classes), _) => {
            let classes = classes.min(labels.len());
            let samples = scores.chunks(labels.len());
            let texts = samples.flat_map(|sample| likeliest(sample, labels, classes));
            (Elements::Texts(texts.map(Cow::Owned).collect()), classes)
        }
        (Outputs::Scores(scores), None, "class") => {
            let classes = scores.chunks(labels.len()).map(|sample| best(sample) as i64);
            (Elements::Int64(classes.collect()), 1)
        }
        (Outputs::Scores(scores), None, "label") => {
            let texts = scores.chunks(labels.len()).map(|sample| &*labels[best(sample)]);
            (Elements::Texts(texts.map(Cow::Borrowed).collect()), 1)
        }
        (Outputs::Scores(scores), None, _) => (Elements::Fp32(scores), labels.len()),
        (Outputs::Classes(classes), ..) => {
            let positions = description.architecture.input.positions() as usize;
            (Elements::Uint8(classes), positions)
        }
    };
    let samples = elements.len() / per_sample.max(1);
    let (shape, datatype) = match wanted.classes {
        Some(_) => (vec![samples as u64, per_sample as u64], "BYTES"),
        None => (wanted.spec.shape_of(samples), wanted.spec.datatype.name()),
    };
    let before = binary.len();
    let (parameters, data) = if wanted.is_binary {
        elements.write(binary);
        let binary_data_size = binary.len() - before;
        (Some(Parameters { binary_data_size }), None)
    } else {
        (None, Some(elements))
    };
    Output {
        name: wanted.spec.name,
        datatype,
        shape,
        parameters,
        data,
    }
}

/// As Triton writes them: `probability:class:label`.
fn likeliest<'a>(sample: &'a [f32], labels: &'a [String], classes: usize) -> impl Iterator<Item = String> + 'a {
    let mut order: Vec<usize> = (0..sample.len()).collect();
    order.sort_by(|a, b| sample[*b].total_cmp(&sample[*a]));
    order.truncate(classes);
    order
        .into_iter()
        .map(|class| format!("{:.6}:{class}:{}", sample[class], labels[class]))
}

/// The likeliest class, the first of several; as in files of predictions.
fn best(sample: &[f32]) -> usize {
    let mut best = 0;
    for (class, probability) in sample.iter().enumerate() {
        if *probability > sample[best] {
            best = class;
        }
    }
    best
}

impl Elements<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Fp32(values) => values.len(),
            Self::Int64(values) => values.len(),
            Self::Uint8(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Fp32(values) => to.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::Int64(values) => to.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::Uint8(values) => to.extend_from_slice(values),
            Self::Texts(values) => {
                for text in values {
                    to.extend((text.len() as u32).to_le_bytes());
                    to.extend(text.as_bytes());
                }
            }
        }
    }
}
