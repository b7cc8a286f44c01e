//! A trained network that can be asked: from records of inputs to records of answers, for files and for requests alike.

use anyhow::ensure;
use forecastd_models::dasha::{Architecture, Backbone, ModelDescription, Task};
use tch::nn::{ModuleT, VarStore};
use tch::{Kind, TchError, Tensor};

use crate::artifact::Artifact;
use crate::augment::Strands;
use crate::device::Placement;
use crate::nets::Network;
use crate::samples::{InputDecoder, Scales};

/// More at once makes no network faster.
const MAX_BATCH: usize = 512;

/// Copies of the widest layer that are alive at once: input, output, shortcut, and the workspace of a convolution.
const COPIES: u64 = 8;

/// A network with its weights, on the device.
#[derive(Debug)]
pub struct Predictor {
    description: ModelDescription,
    network: Network,
    decoder: InputDecoder,
    /// Where it says the mean over both.
    strands: Option<Strands>,
    targets: Option<Scales>,
    most: usize,
}

/// What a network says of some samples.
#[derive(Debug, PartialEq)]
pub struct Outputs {
    /// One record a sample, end to end: `f32` little-endian for each output, probabilities of the classes or numbers
    /// in their own units; where each position has a class, a byte for each.
    pub records: Vec<u8>,
    /// Samples with an output that is not a finite number, and which. Their records mean nothing.
    pub not_finite: Vec<(usize, String)>,
}

impl Predictor {
    /// The network of an artifact.
    ///
    /// # Errors
    ///
    /// Weights that are not the network's.
    pub fn new(artifact: &Artifact, placement: &Placement) -> anyhow::Result<Self> {
        let description = artifact.description().clone();
        let device = placement.device;
        let mut store = VarStore::new(device);
        let network = Network::new(&store.root(), &description.architecture, 0.0)?;
        artifact.load_into(&mut store)?;
        let (architecture, scaling) = (&description.architecture, &description.scaling);
        let size: Vec<i64> = architecture.input.size.iter().copied().map(i64::from).collect();
        Ok(Self {
            decoder: InputDecoder::new(&architecture.input, &description.element, &scaling.inputs, device),
            strands: description
                .both_strands
                .then(|| Strands::of(&description.element, device))
                .flatten(),
            targets: scaling.targets.as_ref().map(|targets| Scales::new(targets, 0, device)),
            most: prediction_batch(architecture, placement.memory),
            network: network.frozen(&size),
            description,
        })
    }

    /// All but the weights.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// Samples that memory allows at once.
    pub fn most(&self) -> usize {
        self.most
    }

    /// What it says of records, however many: one part after the other where memory asks for that.
    ///
    /// # Errors
    ///
    /// Bytes that are not whole records, or what libtorch says.
    pub fn answer(&self, records: &[u8]) -> anyhow::Result<Outputs> {
        let record = self.description.input_bytes();
        ensure!(
            records.len().is_multiple_of(record),
            "{} bytes are no whole number of records of {record}",
            records.len()
        );
        let mut all = Outputs {
            records: Vec::with_capacity(records.len() / record * self.description.output_bytes()),
            not_finite: Vec::new(),
        };
        for (part, records) in records.chunks(record * self.most).enumerate() {
            let outputs = self.outputs(&self.inputs(records))?;
            let first = part * self.most;
            let faults = outputs.not_finite.into_iter();
            all.not_finite
                .extend(faults.map(|(sample, reason)| (first + sample, reason)));
            all.records.extend_from_slice(&outputs.records);
        }
        Ok(all)
    }

    /// Whole records as a batch on the device, `f32 [n, bands, *size]`, scaled.
    pub(crate) fn inputs(&self, records: &[u8]) -> Tensor {
        self.decoder
            .decode(records.len() / self.description.input_bytes(), records)
    }

    /// A batch through the network, and on the device still.
    pub(crate) fn forward(&self, inputs: &Tensor) -> Tensor {
        let forward = |inputs: &Tensor| self.network.forward_t(inputs, false);
        tch::no_grad(|| match &self.strands {
            Some(strands) => strands.mean(inputs, forward),
            None => forward(inputs),
        })
    }

    /// What it says of one batch, `f32 [n, bands, *size]`, scaled.
    ///
    /// # Errors
    ///
    /// What libtorch says.
    pub fn outputs(&self, inputs: &Tensor) -> Result<Outputs, TchError> {
        let outputs = self.forward(inputs).to_kind(Kind::Float);
        if self.description.architecture.task == Task::Segment {
            let not_finite = not_finite(&outputs)?;
            let classes = outputs.argmax(1, false).to_kind(Kind::Uint8);
            let records = Vec::try_from(classes.flatten(0, -1))?;
            return Ok(Outputs { records, not_finite });
        }
        let scores = match (self.description.architecture.task, &self.targets) {
            (Task::Classify, _) => outputs.softmax(1, Kind::Float),
            (Task::Multilabel, _) => outputs.sigmoid(),
            (_, Some(scales)) => scales.undo(&outputs),
            (_, None) => outputs,
        };
        let per_sample = self.description.labels.len();
        let scores = Vec::<f32>::try_from(scores.flatten(0, -1))?;
        let not_finite = scores.chunks(per_sample).enumerate().filter_map(|(sample, scores)| {
            let output = scores.iter().position(|score| !score.is_finite())?;
            Some((sample, format!("output {output} is {}", scores[output])))
        });
        Ok(Outputs {
            not_finite: not_finite.collect(),
            records: scores.iter().flat_map(|score| score.to_le_bytes()).collect(),
        })
    }
}

/// Samples of which some position has an output that is not finite.
fn not_finite(outputs: &Tensor) -> Result<Vec<(usize, String)>, TchError> {
    let finite = outputs.isfinite();
    if bool::try_from(finite.all())? {
        return Ok(Vec::new());
    }
    let samples = Vec::<bool>::try_from(finite.flatten(1, -1).all_dim(1, false))?;
    let faulty = samples.iter().enumerate().filter(|(_, finite)| !**finite);
    Ok(faulty
        .map(|(sample, _)| (sample, "an output is not finite".to_owned()))
        .collect())
}

/// As many samples as the widest layer leaves room for.
pub(crate) fn prediction_batch(architecture: &Architecture, memory: usize) -> usize {
    (memory / sample_bytes(architecture)).clamp(1, MAX_BATCH)
}

/// Memory that one sample takes while it is computed.
pub(crate) fn sample_bytes(architecture: &Architecture) -> usize {
    let widest = match &architecture.backbone {
        Backbone::WideResNet { width, .. } => 16 * u64::from(*width),
        Backbone::ResNet { width } => 2 * u64::from(*width),
        Backbone::UNet { widths } => 2 * u64::from(widths.first().copied().unwrap_or(1)),
    };
    let channels = widest.max(u64::from(architecture.input.bands));
    let sample = 4 * COPIES * channels * architecture.input.positions();
    sample.max(1) as usize
}

#[cfg(test)]
mod tests;
