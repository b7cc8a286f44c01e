//! `--bench-forward`: what a forward pass costs by itself, as the bound that serving is held against.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use tch::Tensor;
use tch::nn::{ModuleT, VarStore};

use crate::artifact::Artifact;
use crate::device::Placement;
use crate::nets::Network;
use crate::predictor::Predictor;

/// Passes before any is measured.
const WARM: usize = 50;

/// Time that is spent on passes that are measured.
const MEASURED: Duration = Duration::from_secs(1);

/// What was seen, in microseconds.
#[derive(Debug, Serialize)]
struct Seen {
    samples: usize,
    passes: usize,
    /// The middle one: a batch that lies in memory as tensors, through the network as it was trained, and no further.
    trained: f64,
    /// The middle one: the same through the network as it is served.
    forward: f64,
    /// The middle one: from the records of a request to those of its answer.
    answer: f64,
}

/// Measures passes of so many samples, and prints a line of JSON.
///
/// # Errors
///
/// The artifact is of no use, or what libtorch says.
#[expect(clippy::print_stdout, reason = "the result that was asked for")]
pub fn run(artifact: &Path, samples: usize, placement: &Placement) -> anyhow::Result<()> {
    let artifact = Artifact::open(artifact)?;
    let predictor = Predictor::new(&artifact, placement)?;
    let records = vec![0; samples * predictor.description().input_bytes()];
    let inputs = predictor.inputs(&records);
    let trained = trained(&artifact, placement, &inputs)?;
    let (passes, forward) = median(|| {
        drop(predictor.forward(&inputs));
        Ok(())
    })?;
    let (_, answer) = median(|| predictor.answer(&records).map(drop))?;
    let seen = Seen {
        samples,
        passes,
        trained,
        forward,
        answer,
    };
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

fn trained(artifact: &Artifact, placement: &Placement, inputs: &Tensor) -> anyhow::Result<f64> {
    let mut store = VarStore::new(placement.device);
    let network = Network::new(&store.root(), &artifact.description().architecture, 0.0)?;
    artifact.load_into(&mut store)?;
    let (_, trained) = median(|| {
        drop(tch::no_grad(|| network.forward_t(inputs, false)));
        Ok(())
    })?;
    Ok(trained)
}

/// How many were measured, and the middle one's microseconds.
fn median(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<(usize, f64)> {
    for _ in 0..WARM {
        work()?;
    }
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < MEASURED {
        let before = Instant::now();
        work()?;
        times.push(before.elapsed());
    }
    times.sort();
    let middle = times
        .get(times.len() / 2)
        .context("a pass takes longer than the time for all")?;
    Ok((times.len(), middle.as_secs_f64() * 1e6))
}
