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
use std::path::{Path, PathBuf};
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
    for network in Network::all(folder.path(), &executable, is_bench) {
        let bound = is_bench.then(|| network.bare(&executable));
        let seconds = Duration::from_secs(if is_bench { 5 } else { 0 });
        runtime.block_on(network.one_by_one(&executable, seconds, bound.as_ref()));
        let alone = runtime.block_on(network.together(&executable, 1, seconds));
        let batched = runtime.block_on(network.together(&executable, 64, seconds));
        println!(
            "{CLIENTS} callers, {}: batches are worth {:.2} times{}",
            network.name,
            batched / alone,
            bound.map_or(String::new(), |bound| format!(
                "; the passes alone {:.2}",
                bound.worth()
            ))
        );
    }
}

/// A network, and what it is asked.
struct Network {
    name: String,
    artifact: PathBuf,
    /// Bytes of a sample.
    record: usize,
}

/// Passes without a daemon, in microseconds, of one sample and of as many as there are callers.
struct Bare {
    one: f64,
    all: f64,
}

impl Bare {
    /// What a batch of all is worth beside as many of one: no server can do better by batches but for its own work.
    fn worth(&self) -> f64 {
        self.one * CLIENTS as f64 / self.all
    }
}

impl Network {
    /// Short sequences, whose operations cost more to call than to do, so that batches are worth much; and longer ones,
    /// whose products keep a core busy by themselves. The longest are left for `inference_peers.py`.
    fn all(folder: &Path, executable: &str, is_bench: bool) -> Vec<Self> {
        let lengths: &[u64] = if is_bench { &[12, 40, 400] } else { &[40] };
        let all: Vec<Self> = lengths
            .iter()
            .map(|length| Self {
                name: format!("sequences of {length}"),
                artifact: artifact(folder, executable, *length),
                record: *length as usize,
            })
            .collect();
        leave(&all.last().unwrap().artifact);
        all
    }

    fn bare(&self, executable: &str) -> Bare {
        let bare = Bare {
            one: forward(executable, &self.artifact, 1),
            all: forward(executable, &self.artifact, CLIENTS),
        };
        let name = &self.name;
        println!(
            "bare, {name}: p50 {:.0} µs of 1, {:.0} µs of {CLIENTS}",
            bare.one, bare.all
        );
        bare
    }

    fn request(&self) -> InferenceRequest {
        InferenceRequest {
            model: "m".into(),
            version: None,
            count: 1,
            inputs: vec![0; self.record],
            deadline: Instant::now() + Duration::from_secs(60),
        }
    }

    /// One caller, a task on the runtime's threads as the endpoint's are: the middle answer's time.
    async fn one_by_one(&self, executable: &str, time: Duration, bound: Option<&Bare>) {
        let inference = serving(executable, &self.artifact, 64).await;
        let request = self.request();
        let caller = async move {
            let started = Instant::now();
            let (mut whole, mut beyond) = (Vec::new(), Vec::new());
            while whole.is_empty() || started.elapsed() < time {
                let asked = Instant::now();
                let request = InferenceRequest {
                    deadline: asked + Duration::from_secs(60),
                    ..request.clone()
                };
                let answer = inference.infer(request).await.unwrap();
                let took = asked.elapsed();
                whole.push(took);
                beyond.push(took.saturating_sub(answer.compute));
            }
            (whole.len(), middle(whole), middle(beyond))
        };
        let (answers, whole, beyond) = tokio::spawn(caller).await.unwrap();
        let over = bound.map_or(String::new(), |bound| {
            format!(", {:.0} µs over the pass alone", whole.as_secs_f64() * 1e6 - bound.one)
        });
        println!(
            "1 caller, {}: {answers} answers, p50 {whole:?}, {beyond:?} outside of the child's work{over}",
            self.name
        );
    }

    /// Several callers: answers a second with batches of at most so many.
    async fn together(&self, executable: &str, batch: u32, time: Duration) -> f64 {
        let inference = serving(executable, &self.artifact, batch).await;
        let started = Instant::now();
        let client = || {
            let (inference, request) = (inference.clone(), self.request());
            tokio::spawn(async move {
                loop {
                    inference.infer(request.clone()).await.unwrap();
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
        let rate = counts.answered as f64 / elapsed.as_secs_f64();
        println!(
            "{CLIENTS} callers, {}, batches up to {batch}: {rate:.0} answers/s, {:.1} samples a batch",
            self.name,
            counts.batches.samples as f64 / counts.batches.count() as f64
        );
        rate
    }
}

/// What the child may use: all there is.
fn threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The middle pass of so many samples without a daemon, in microseconds.
fn forward(executable: &str, artifact: &Path, samples: usize) -> f64 {
    let output = Command::new(executable)
        .args(["--threads", "1", "--bench-forward"])
        .args([artifact.as_os_str(), samples.to_string().as_ref()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    told["forward"].as_f64().unwrap()
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
    let inference = Inference::start(&torch, threads(), limits);
    inference.activate("m", "1", artifact.to_owned()).await.unwrap();
    inference
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
