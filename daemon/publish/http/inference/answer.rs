//! What a network said becomes the tensors that a client wants, as JSON or in binary form behind it.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use forecastd_models::dasha::ModelDescription;
use serde_json::{Value, json};

use super::header::{OutputParameters, RequestParameters, WantedOutput};
use super::tensor::{self, TensorSpec};
use crate::message::inference::{InferenceAnswer, Outputs};
use crate::publish::http::error::{ApiError, json_response};

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

/// Elements of a tensor.
enum Elements {
    Fp32(Vec<f32>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
    Texts(Vec<String>),
}

/// The tensors that a client asks for: all, if it names none.
pub(super) fn wanted(
    description: &ModelDescription,
    asked: Option<Vec<WantedOutput>>,
    parameters: &RequestParameters,
) -> Result<Vec<Wanted>, ApiError> {
    let specs = tensor::outputs(description);
    let asked = asked.filter(|outputs| !outputs.is_empty()).unwrap_or_else(|| {
        let all = specs.iter().map(|spec| WantedOutput {
            name: spec.name.to_owned(),
            parameters: OutputParameters::default(),
        });
        all.collect()
    });
    let find = |output: WantedOutput| {
        let WantedOutput { name, parameters: own } = output;
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
    };
    asked.into_iter().map(find).collect()
}

/// The answer to a client.
pub(super) fn response(
    model: &str,
    id: Option<&str>,
    wanted: &[Wanted],
    answer: &InferenceAnswer,
) -> Result<Response, ApiError> {
    let mut binary = Vec::new();
    let mut outputs = Vec::new();
    for wanted in wanted {
        outputs.push(output(wanted, &answer.description, &answer.outputs, &mut binary)?);
    }
    let mut json = json!({ "model_name": model, "model_version": answer.version, "outputs": outputs });
    if let Some(id) = id {
        json["id"] = id.into();
    }
    if binary.is_empty() {
        return Ok(json_response(StatusCode::OK, &json));
    }
    let mut body = json.to_string().into_bytes();
    let headers = [
        (HEADER_LENGTH, body.len().to_string()),
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
    ];
    body.append(&mut binary);
    Ok((headers, body).into_response())
}

fn output(
    wanted: &Wanted,
    description: &ModelDescription,
    outputs: &Outputs,
    binary: &mut Vec<u8>,
) -> Result<Value, ApiError> {
    let labels = &description.labels;
    let (elements, per_sample) = match (outputs, wanted.classes, wanted.spec.name) {
        (Outputs::Scores(scores), Some(classes), _) => {
            let classes = classes.min(labels.len());
            let samples = scores.chunks(labels.len());
            let texts = samples.flat_map(|sample| likeliest(sample, labels, classes));
            (Elements::Texts(texts.collect()), classes)
        }
        (Outputs::Scores(scores), None, "class") => {
            let classes = scores.chunks(labels.len()).map(|sample| best(sample) as i64);
            (Elements::Int64(classes.collect()), 1)
        }
        (Outputs::Scores(scores), None, "label") => {
            let texts = scores.chunks(labels.len()).map(|sample| labels[best(sample)].clone());
            (Elements::Texts(texts.collect()), 1)
        }
        (Outputs::Scores(scores), None, _) => (Elements::Fp32(scores.clone()), labels.len()),
        (Outputs::Classes(classes), ..) => {
            let positions = description.architecture.input.positions() as usize;
            (Elements::Uint8(classes.clone()), positions)
        }
    };
    let samples = elements.len() / per_sample.max(1);
    let (shape, datatype) = match wanted.classes {
        Some(_) => (vec![samples as u64, per_sample as u64], "BYTES"),
        None => (wanted.spec.shape_of(samples), wanted.spec.datatype.name()),
    };
    let mut json = json!({ "name": wanted.spec.name, "datatype": datatype, "shape": shape });
    if wanted.is_binary {
        let before = binary.len();
        elements.write(binary);
        json["parameters"] = json!({ "binary_data_size": binary.len() - before });
    } else {
        json["data"] = elements.json();
    }
    Ok(json)
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

impl Elements {
    fn len(&self) -> usize {
        match self {
            Self::Fp32(values) => values.len(),
            Self::Int64(values) => values.len(),
            Self::Uint8(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Fp32(values) => json!(values),
            Self::Int64(values) => json!(values),
            Self::Uint8(values) => json!(values),
            Self::Texts(values) => json!(values),
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Fp32(values) => to.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::Int64(values) => to.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::Uint8(values) => to.extend(values),
            Self::Texts(values) => {
                for text in values {
                    to.extend((text.len() as u32).to_le_bytes());
                    to.extend(text.as_bytes());
                }
            }
        }
    }
}
