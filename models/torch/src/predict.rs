//! `forecastd-torch --predict ARTIFACT RUNFOLDER`: what a trained network says of samples.
//!
//! | file | one record a sample |
//! |---|---|
//! | `scores.bin` | `f32` little-endian for each output: probabilities of the classes, or the numbers that were regressed, in their own units |
//! | `classes.bin` | segment, in its place: a byte for each position, the likeliest class |

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use forecastd_models::dasha::{Architecture, Augmentation, Backbone, ModelDescription, PredictEvent, SampleSet, Task};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};

use crate::artifact::{Artifact, replace_file};
use crate::augment::Strands;
use crate::device::Placement;
use crate::nets::Network;
use crate::samples::{Loader, LoaderOptions, Samples, Scales};

/// From one line of progress to the next.
const PROGRESS: Duration = Duration::from_secs(1);

/// More at once makes no network faster.
const MAX_BATCH: u64 = 512;

/// Copies of the widest layer that are alive at once: input, output, shortcut, and the workspace of a convolution.
const COPIES: u64 = 8;

/// Writes the results beside the samples, and tells how it goes.
///
/// # Errors
///
/// The artifact or the samples cannot be used, or do not belong together.
pub fn run(
    artifact: &Path,
    folder: &Path,
    placement: &Placement,
    tell: &mut dyn FnMut(&PredictEvent),
) -> anyhow::Result<()> {
    let started = Instant::now();
    let artifact = Artifact::open(artifact)?;
    let samples = Arc::new(Samples::open(folder)?);
    let description = artifact.description();
    check_fit(description, samples.set())?;

    let mut store = nn::VarStore::new(placement.device);
    let network = Network::new(&store.root(), &description.architecture, 0.0)?;
    artifact.load_into(&mut store)?;

    let loader = loader(&samples, description, placement)?;
    let file = match description.architecture.task {
        Task::Segment => "classes.bin",
        _ => "scores.bin",
    };
    let path = folder.join(file);
    let count = samples.set().count;
    let mut progress = Progress {
        count,
        done: 0,
        told: Instant::now(),
        tell,
    };
    let answers = Answers::new(description, placement);
    replace_file(&path, |output| {
        write_all(&loader, &samples, &network, &answers, output, &mut progress)
    })
    .with_context(|| path.display().to_string())?;
    tell(&PredictEvent::Finished {
        count,
        file: file.to_owned(),
        seconds: started.elapsed().as_secs_f64(),
    });
    Ok(())
}

/// Whether the network has been trained on samples of this kind.
fn check_fit(description: &ModelDescription, set: &SampleSet) -> anyhow::Result<()> {
    let (expected, found) = (&description.architecture.input, &set.input);
    ensure!(
        expected == found,
        "samples of {} bands and size {:?}; the network takes {} bands and size {:?}",
        found.bands,
        found.size,
        expected.bands,
        expected.size
    );
    ensure!(
        description.element == set.element,
        "samples of {:?}; the network was trained on {:?}",
        set.element,
        description.element
    );
    Ok(())
}

fn loader(samples: &Arc<Samples>, description: &ModelDescription, placement: &Placement) -> anyhow::Result<Loader> {
    let all: Vec<u32> = (0..samples.count() as u32).collect();
    let options = LoaderOptions {
        batch: prediction_batch(&description.architecture, placement.memory),
        training: false,
        part: 1.0,
        seed: 0,
        augmentation: Augmentation::default(),
        threads: 1,
    };
    Ok(Loader::new(
        samples,
        &all,
        &description.scaling,
        options,
        placement.device,
    )?)
}

/// As many samples as the widest layer leaves room for.
pub(crate) fn prediction_batch(architecture: &Architecture, memory: usize) -> usize {
    let widest = match &architecture.backbone {
        Backbone::WideResNet { width, .. } => 16 * u64::from(*width),
        Backbone::ResNet { width } => 2 * u64::from(*width),
        Backbone::UNet { widths } => 2 * u64::from(widths.first().copied().unwrap_or(1)),
    };
    let channels = widest.max(u64::from(architecture.input.bands));
    let sample = 4 * COPIES * channels * architecture.input.positions();
    (memory as u64 / sample.max(1)).clamp(1, MAX_BATCH) as usize
}

fn write_all(
    loader: &Loader,
    samples: &Samples,
    network: &Network,
    answers: &Answers,
    output: &mut File,
    progress: &mut Progress<'_>,
) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    for batch in loader.epoch(0).map_err(io::Error::other)? {
        let count = batch.inputs.size()[0];
        for index in progress.done..progress.done + count as u64 {
            samples.check_input(index as u32).map_err(io::Error::other)?;
        }
        let outputs = tch::no_grad(|| answers.outputs(network, &batch.inputs));
        output.write_all(&answers.bytes(&outputs)?)?;
        progress.add(count as u64);
    }
    output.flush()
}

/// From what the network gives to what is asked for.
struct Answers {
    task: Task,
    strands: Option<Strands>,
    targets: Option<Scales>,
}

impl Answers {
    fn new(description: &ModelDescription, placement: &Placement) -> Self {
        let targets = description.scaling.targets.as_ref();
        Self {
            task: description.architecture.task,
            strands: description
                .both_strands
                .then(|| Strands::of(&description.element, placement.device))
                .flatten(),
            targets: targets.map(|targets| Scales::new(targets, 0, placement.device)),
        }
    }

    fn outputs(&self, network: &Network, inputs: &Tensor) -> Tensor {
        let forward = |inputs: &Tensor| network.forward_t(inputs, false);
        match &self.strands {
            Some(strands) => strands.mean(inputs, forward),
            None => forward(inputs),
        }
    }

    fn bytes(&self, outputs: &Tensor) -> io::Result<Vec<u8>> {
        let outputs = outputs.to_kind(Kind::Float);
        if self.task == Task::Segment {
            let classes = outputs.argmax(1, false).to_kind(Kind::Uint8);
            return Vec::try_from(classes.flatten(0, -1)).map_err(io::Error::other);
        }
        let scores = match self.task {
            Task::Classify => outputs.softmax(1, Kind::Float),
            Task::Multilabel => outputs.sigmoid(),
            _ => self
                .targets
                .as_ref()
                .map_or(outputs.shallow_clone(), |scales| scales.undo(&outputs)),
        };
        let scores: Vec<f32> = Vec::try_from(scores.flatten(0, -1)).map_err(io::Error::other)?;
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(io::Error::other("a score is not finite"));
        }
        Ok(scores.into_iter().flat_map(f32::to_le_bytes).collect())
    }
}

/// Counts, and says so now and then.
struct Progress<'a> {
    count: u64,
    done: u64,
    told: Instant,
    tell: &'a mut dyn FnMut(&PredictEvent),
}

impl Progress<'_> {
    fn add(&mut self, samples: u64) {
        self.done += samples;
        if self.told.elapsed() < PROGRESS {
            return;
        }
        self.told = Instant::now();
        let (done, count) = (self.done, self.count);
        (self.tell)(&PredictEvent::Progress { done, count });
    }
}

#[cfg(test)]
mod tests;
