//! Served networks: what an answer costs over a bare forward pass, and what batches are worth.
//!
//! `FORECASTD_TORCH=… cargo bench --bench inference`. Everything has its turn in each round, since machines are now
//! faster and now slower. Under `cargo test` it asks a few times, so that it cannot rot. The
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
use forecastd::work::torch_process::ALLOCATOR;
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
    let (rounds, time) = if is_bench {
        (3, Duration::from_secs(2))
    } else {
        (1, Duration::ZERO)
    };
    for network in Network::all(folder.path(), &executable, is_bench) {
        let round = |_| runtime.block_on(network.round(&executable, time));
        report(&network.name, &(0..rounds).map(round).collect::<Vec<_>>());
    }
}

/// What one turn of everything has found.
struct Round {
    /// Passes without a daemon, of one sample and of as many as there are callers.
    one: Bare,
    all: Bare,
    /// One caller: the middle answer's time, and that less the child's work, in microseconds.
    whole: f64,
    outside: f64,
    /// Answers a second to all callers, in batches of one and of as many as wait.
    alone: f64,
    batched: f64,
    /// Samples of such a batch.
    samples: f64,
}

/// Medians of the rounds; differences and ratios are medians of those within a round.
fn report(name: &str, rounds: &[Round]) {
    let middle = |of: &dyn Fn(&Round) -> f64| {
        let mut found: Vec<f64> = rounds.iter().map(of).collect();
        found.sort_by(f64::total_cmp);
        found[found.len() / 2]
    };
    println!(
        "{name}: a pass of 1 {:.0} µs, of {CLIENTS} {:.0} µs; of the network as it was trained {:.0} and {:.0} µs",
        middle(&|round| round.one.forward),
        middle(&|round| round.all.forward),
        middle(&|round| round.one.trained),
        middle(&|round| round.all.trained),
    );
    println!(
        "{name}, 1 caller: p50 {:.0} µs, {:.0} over the pass, {:.0} over that of the network as it was trained; {:.0} \
         outside of the child's work",
        middle(&|round| round.whole),
        middle(&|round| round.whole - round.one.forward),
        middle(&|round| round.whole - round.one.trained),
        middle(&|round| round.outside),
    );
    println!(
        "{name}, {CLIENTS} callers: {:.0} answers/s one by one, {:.0} in batches of {:.1}: {:.2} times; a thread's passes \
         alone {:.2} times",
        middle(&|round| round.alone),
        middle(&|round| round.batched),
        middle(&|round| round.samples),
        middle(&|round| round.batched / round.alone),
        middle(&|round| round.one.forward * CLIENTS as f64 / round.all.forward),
    );
}

/// A network, and what it is asked.
struct Network {
    name: String,
    artifact: PathBuf,
    /// Bytes of a sample.
    record: usize,
}

/// The middle pass without a daemon, in microseconds, by one thread.
#[derive(serde::Deserialize)]
struct Bare {
    /// As it was trained.
    trained: f64,
    /// As it is served.
    forward: f64,
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

    async fn round(&self, executable: &str, time: Duration) -> Round {
        let one = self.bare(executable, 1);
        let (whole, outside) = self.one_by_one(executable, time).await;
        let (alone, _) = self.together(executable, 1, time).await;
        let (batched, samples) = self.together(executable, 64, time).await;
        Round {
            one,
            all: self.bare(executable, CLIENTS),
            whole,
            outside,
            alone,
            batched,
            samples,
        }
    }

    fn bare(&self, executable: &str, samples: usize) -> Bare {
        let (name, value) = ALLOCATOR;
        let output = Command::new(executable)
            .args(["--threads", "1", "--bench-forward"])
            .args([self.artifact.as_os_str(), samples.to_string().as_ref()])
            .env(name, value)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
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

    /// One caller, a task on the runtime's threads as the endpoint's are: the middle answer's time, and that less the
    /// child's work.
    async fn one_by_one(&self, executable: &str, time: Duration) -> (f64, f64) {
        let inference = serving(executable, &self.artifact, 64).await;
        let request = self.request();
        let caller = async move {
            let started = Instant::now();
            let (mut whole, mut outside) = (Vec::new(), Vec::new());
            while whole.is_empty() || started.elapsed() < time {
                let asked = Instant::now();
                let request = InferenceRequest {
                    deadline: asked + Duration::from_secs(60),
                    ..request.clone()
                };
                let answer = inference.infer(request).await.unwrap();
                let took = asked.elapsed();
                whole.push(took);
                outside.push(took.saturating_sub(answer.compute));
            }
            (middle(whole), middle(outside))
        };
        tokio::spawn(caller).await.unwrap()
    }

    /// Several callers: answers a second with batches of at most so many, and samples of a batch.
    async fn together(&self, executable: &str, batch: u32, time: Duration) -> (f64, f64) {
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
        let batches = counts.batches.count() as f64;
        (
            counts.answered as f64 / elapsed.as_secs_f64(),
            counts.batches.samples as f64 / batches,
        )
    }
}

/// What the child may use: all there is.
fn threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
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

/// In microseconds.
fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}
