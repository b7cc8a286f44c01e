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
use forecastd_models::dasha::{Augmentation, ModelDescription, PredictEvent, SampleSet, Task};

use crate::artifact::{Artifact, replace_file};
use crate::device::Placement;
use crate::predictor::Predictor;
use crate::samples::{Loader, LoaderOptions, Samples};

/// From one line of progress to the next.
const PROGRESS: Duration = Duration::from_secs(1);

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

    let predictor = Predictor::new(&artifact, placement)?;
    let loader = loader(&samples, &predictor, placement)?;
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
    replace_file(&path, |output| {
        write_all(&loader, &samples, &predictor, output, &mut progress)
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

fn loader(samples: &Arc<Samples>, predictor: &Predictor, placement: &Placement) -> anyhow::Result<Loader> {
    let all: Vec<u32> = (0..samples.count() as u32).collect();
    let options = LoaderOptions {
        batch: predictor.most(),
        training: false,
        part: 1.0,
        seed: 0,
        augmentation: Augmentation::default(),
        threads: 1,
    };
    Ok(Loader::new(
        samples,
        &all,
        &predictor.description().scaling,
        options,
        placement.device,
    )?)
}

fn write_all(
    loader: &Loader,
    samples: &Samples,
    predictor: &Predictor,
    output: &mut File,
    progress: &mut Progress<'_>,
) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    for batch in loader.epoch(0).map_err(io::Error::other)? {
        let count = batch.inputs.size()[0];
        for index in progress.done..progress.done + count as u64 {
            samples.check_input(index as u32).map_err(io::Error::other)?;
        }
        let outputs = predictor.outputs(&batch.inputs).map_err(io::Error::other)?;
        if let Some((sample, reason)) = outputs.not_finite.first() {
            let sample = progress.done + *sample as u64;
            return Err(io::Error::other(format!("sample {sample}: {reason}")));
        }
        output.write_all(&outputs.records)?;
        progress.add(count as u64);
    }
    output.flush()
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
