//! Served networks: what an answer costs over a bare forward pass, and what batches are worth.
//!
//! `FORECASTD_TORCH=… cargo bench --bench inference`. Under `cargo test` it asks a few times, so that it cannot rot. The
//! network of the longest sequences is left in the folder that INFERENCE_ARTIFACT names, for `inference_peers.py`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports by printing and fails by panicking"
)]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the stories use more of it")]
mod support;

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use forecastd::message::inference::{Infer, InferenceRequest};
use forecastd::work::inference::{Inference, Limits};
use forecastd_config::{Torch, TorchFit, TorchStart};
use support::network::{artifact, executable};

/// Callers at once, where batches are measured.
const CLIENTS: usize = 8;

fn main() {
    // Cargo tells a bench that it is to measure; of a test it says nothing.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let Some(executable) = executable() else { return };
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for length in if is_bench { vec![40, 400] } else { vec![40] } {
        let artifact = artifact(folder.path(), &executable, length);
        leave(&artifact);
        if is_bench {
            for samples in [1, CLIENTS] {
                println!("bare, sequences of {length}: {}", bare(&executable, &artifact, samples));
            }
        }
        let seconds = Duration::from_secs(if is_bench { 5 } else { 0 });
        runtime.block_on(one_by_one(&executable, &artifact, length, seconds));
        for batch in [1, 64] {
            runtime.block_on(together(&executable, &artifact, length, batch, seconds));
        }
    }
}

/// Copies the artifact to where the environment says.
fn leave(artifact: &Path) {
    let Some(to) = std::env::var_os("INFERENCE_ARTIFACT") else {
        return;
    };
    std::fs::create_dir_all(&to).unwrap();
    for name in ["weights.safetensors", "model.json", "card.json", "BLAKE3SUMS"] {
        std::fs::copy(artifact.join(name), Path::new(&to).join(name)).unwrap();
    }
}

/// A line of JSON about passes without a daemon.
fn bare(executable: &str, artifact: &Path, samples: usize) -> String {
    let output = Command::new(executable)
        .args(["--threads", "1", "--bench-forward"])
        .args([artifact.as_os_str(), samples.to_string().as_ref()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn serving(executable: &str, artifact: &Path, batch: u32) -> Inference {
    let torch = Torch {
        start: TorchStart::OnDemand,
        executable: Some(executable.into()),
        fit: TorchFit::Never,
    };
    let limits = Limits {
        batch,
        ..Limits::default()
    };
    let inference = Inference::start(&torch, NonZeroUsize::MIN, limits);
    inference.activate("m", "1", artifact.to_owned()).await.unwrap();
    inference
}

fn request(length: u64) -> InferenceRequest {
    InferenceRequest {
        model: "m".into(),
        version: None,
        count: 1,
        inputs: vec![0; length as usize],
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

/// One caller: the middle answer's time, and how much of it was the child's.
async fn one_by_one(executable: &str, artifact: &Path, length: u64, time: Duration) {
    let inference = serving(executable, artifact, 64).await;
    let started = Instant::now();
    let (mut whole, mut beyond) = (Vec::new(), Vec::new());
    while whole.is_empty() || started.elapsed() < time {
        let asked = Instant::now();
        let answer = inference.infer(request(length)).await.unwrap();
        let took = asked.elapsed();
        whole.push(took);
        beyond.push(took.saturating_sub(answer.compute));
    }
    println!(
        "one caller, sequences of {length}: {} answers, p50 {:?}, of which {:?} outside of the child's work",
        whole.len(),
        middle(whole),
        middle(beyond)
    );
}

/// Several callers: answers a second with batches of at most so many.
async fn together(executable: &str, artifact: &Path, length: u64, batch: u32, time: Duration) {
    let inference = serving(executable, artifact, batch).await;
    let started = Instant::now();
    let client = || {
        let inference = inference.clone();
        tokio::spawn(async move {
            loop {
                inference.infer(request(length)).await.unwrap();
                if started.elapsed() >= time {
                    return;
                }
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
    for client in clients {
        client.await.unwrap();
    }
    let elapsed = started.elapsed();
    let counts = inference.counts().models.remove("m").unwrap();
    println!(
        "{CLIENTS} callers, sequences of {length}, batches up to {batch}: {:.0} answers/s, {:.1} samples a batch",
        counts.answered as f64 / elapsed.as_secs_f64(),
        counts.batches.samples as f64 / counts.batches.count() as f64
    );
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
