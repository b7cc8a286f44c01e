//! Served networks with the real child: it is killed, its networks are swapped, and artifacts are spoilt, under load.

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forecastd::message::inference::{Infer, InferenceAnswer, InferenceError, InferenceRequest, ModelCounts, Outputs};
use forecastd::work::inference::{Inference, Limits};
use forecastd_config::{Torch, TorchFit, TorchStart};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::support::network::{artifact, described_otherwise, executable, scaled};
use crate::support::{child_of, resident, wait_for};

/// Letters of a sequence.
const LENGTH: usize = 40;

/// Callers at once.
const CLIENTS: usize = 4;

/// Longer than a restart takes on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server of two versions of one network, which differ in all weights.
struct Story {
    runtime: Runtime,
    inference: Inference,
    folder: TempDir,
    /// What the child's process is called, like no other's.
    name: String,
}

impl Story {
    fn new(name: &str) -> Option<Self> {
        let executable = executable()?;
        let folder = tempfile::tempdir().unwrap();
        let one = artifact(folder.path(), &executable, LENGTH as u64);
        fs::rename(one, folder.path().join("one")).unwrap();
        scaled(&folder.path().join("one"), &folder.path().join("two"), 1.25);
        let child = folder.path().join(name);
        symlink(executable, &child).unwrap();
        let torch = Torch {
            start: TorchStart::OnDemand,
            executable: Some(child),
            fit: TorchFit::Never,
        };
        let runtime = Runtime::new().unwrap();
        let inference = runtime.block_on(async { Inference::start(&torch, NonZeroUsize::MIN, Limits::default()) });
        Some(Self {
            runtime,
            inference,
            folder,
            name: name.to_owned(),
        })
    }

    fn artifact(&self, version: &str) -> PathBuf {
        self.folder.path().join(version)
    }

    fn activate(&self, version: &str) -> Result<(), String> {
        let activated = self.inference.activate("motif", version, self.artifact(version));
        let activated = self.runtime.block_on(activated);
        activated.map(drop).map_err(|error| error.to_string())
    }

    /// What a version says of each sample.
    fn expected(&self, version: &str) -> Vec<f32> {
        self.activate(version).unwrap();
        let answers = (0..CLIENTS).map(|client| {
            let asked = self.runtime.block_on(self.inference.infer(request(client)));
            score(&asked.unwrap())
        });
        answers.collect()
    }

    /// Callers who ask until they are told to stop, and fail if an answer is not what its version says; how many
    /// requests each had answered.
    fn load(&self, expected: &Arc<[(String, Vec<f32>)]>, go_on: &Arc<AtomicBool>) -> Vec<JoinHandle<u64>> {
        let client = |client: usize| {
            let (inference, expected, go_on) = (self.inference.clone(), Arc::clone(expected), Arc::clone(go_on));
            self.runtime.spawn(async move {
                let mut answered = 0;
                while go_on.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    match inference.infer(request(client)).await {
                        Ok(answer) => {
                            let (_, scores) = expected
                                .iter()
                                .find(|(version, _)| **version == *answer.version)
                                .unwrap();
                            let found = score(&answer);
                            assert!((found - scores[client]).abs() < 1e-5, "{found} {scores:?}");
                            answered += 1;
                        }
                        Err(InferenceError::Poison { .. }) => {} // killed twice over the same request
                        Err(error) => panic!("{error}"),
                    }
                    assert!(asked.elapsed() < DEADLINE + Duration::from_secs(5));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                answered
            })
        };
        (0..CLIENTS).map(client).collect()
    }

    fn end(&self, clients: Vec<JoinHandle<u64>>) -> u64 {
        let answered = clients.into_iter().map(|client| self.runtime.block_on(client).unwrap());
        answered.sum()
    }

    fn child(&self) -> i32 {
        wait_for("the child", || child_of(std::process::id(), &self.name))
    }

    fn counts(&self) -> ModelCounts {
        self.inference.counts().models.remove("motif").unwrap()
    }
}

/// The samples of one client.
fn request(client: usize) -> InferenceRequest {
    InferenceRequest {
        model: "motif".into(),
        version: None,
        count: 1,
        inputs: (0..LENGTH).map(|place| ((place * (client + 1)) % 4) as u8).collect(),
        deadline: Instant::now() + DEADLINE,
    }
}

/// The probability of the second class.
fn score(answer: &InferenceAnswer) -> f32 {
    let Outputs::Scores(scores) = &answer.outputs else {
        panic!("{answer:?}")
    };
    assert_eq!(scores.len(), 2);
    scores[1]
}

#[test]
fn a_spoilt_artifact_is_refused_with_its_reason_and_the_active_version_serves_on() {
    let Some(story) = Story::new("spoilt-infer") else {
        return;
    };
    story.activate("one").unwrap();
    let one = story.artifact("one");
    let weights = fs::read(one.join("weights.safetensors")).unwrap();
    let copied = |version: &str, weights: &[u8]| {
        described_otherwise(&one, &story.artifact(version), |model| model);
        fs::write(story.artifact(version).join("weights.safetensors"), weights).unwrap();
    };
    copied("truncated", &weights[..weights.len() - 100]);
    let mut flipped = weights.clone();
    flipped[weights.len() / 2] ^= 4;
    copied("flipped", &flipped);
    copied("half-copied", &weights);
    fs::remove_file(story.artifact("half-copied").join("BLAKE3SUMS")).unwrap();
    let wider = |model: String| {
        assert!(model.contains("\"width\": 32"), "{model}");
        model.replace("\"width\": 32", "\"width\": 16")
    };
    described_otherwise(&one, &story.artifact("shape"), wider);
    let huge = |model: String| model.replace("\"width\": 32", "\"width\": 4096");
    described_otherwise(&one, &story.artifact("huge"), huge);
    for (version, expected) in [
        (
            "truncated",
            "truncated/weights.safetensors: its BLAKE3 is not that of BLAKE3SUMS",
        ),
        (
            "flipped",
            "flipped/weights.safetensors: its BLAKE3 is not that of BLAKE3SUMS",
        ),
        ("half-copied", "half-copied/BLAKE3SUMS: No such file"),
        ("shape", "where the network has"),
        ("huge", "where the convolutions alone have"),
        ("absent", "absent/model.json: No such file"),
    ] {
        let told = story.activate(version).unwrap_err();
        assert!(told.contains(expected), "{version}: {told}");
        let answer = story.runtime.block_on(story.inference.infer(request(0))).unwrap();
        assert_eq!(&*answer.version, "one");
    }
    assert_eq!(story.inference.counts().child.restarts, 0);
}

/// Kills the child so often while callers ask: every request is answered, or was with two children that were killed.
fn kill_under_load(story: &Story, kills: u64) {
    let expected: Arc<[_]> = Arc::from([("one".to_owned(), story.expected("one"))]);
    let go_on = Arc::new(AtomicBool::new(true));
    let clients = story.load(&expected, &go_on);
    for kill in 1..=kills {
        let before = story.counts().answered;
        wait_for("answers", || (story.counts().answered > before + 20).then_some(()));
        let pid = rustix::process::Pid::from_raw(story.child()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        wait_for("the next child", || {
            let child = story.inference.counts().child;
            (child.up && child.restarts >= kill).then_some(())
        });
    }
    go_on.store(false, Ordering::Relaxed);
    let answered = story.end(clients);
    let counts = story.counts();
    println!("{kills} kills, {answered} answers, {counts:?}");
    assert!(answered > 20 * kills);
    assert!(counts.failures.keys().all(|reason| *reason == "poison"), "{counts:?}");
}

#[test]
fn a_child_that_is_killed_under_load_costs_no_answer() {
    let Some(story) = Story::new("killed-infer") else {
        return;
    };
    kill_under_load(&story, 3);
}

#[test]
#[ignore = "minutes; `make endurance` runs it"]
fn fifty_kills_under_load_cost_no_answer() {
    let Some(story) = Story::new("kills-infer") else { return };
    kill_under_load(&story, 50);
}

/// Swaps two versions so often while callers ask. Returns the memory of child and of this process, in MiB, after a
/// tenth of the swaps and in the end.
fn swap_under_load(story: &Story, swaps: u64) -> [[u64; 2]; 2] {
    let both = ["one", "two"].map(|version| (version.to_owned(), story.expected(version)));
    let [(_, one), (_, two)] = &both;
    assert!((one[0] - two[0]).abs() > 1e-3, "{one:?} {two:?}");
    let go_on = Arc::new(AtomicBool::new(true));
    let clients = story.load(&Arc::from(both), &go_on);
    let memory = || [story.child() as u32, std::process::id()].map(resident);
    let before = story.counts().swaps;
    let mut early = memory();
    for swap in 0..swaps {
        story.activate(["one", "two"][(swap % 2) as usize]).unwrap();
        if swap == swaps / 10 {
            early = memory();
        }
    }
    let late = memory();
    go_on.store(false, Ordering::Relaxed);
    let answered = story.end(clients);
    let counts = story.counts();
    println!("{swaps} swaps, {answered} answers, MiB of child and daemon {early:?} then {late:?}");
    assert_eq!(counts.swaps - before, swaps);
    assert!(answered > 0 && counts.failures.is_empty(), "{counts:?}");
    assert_eq!(story.inference.counts().child.restarts, 0);
    [early, late]
}

#[test]
fn versions_are_swapped_under_load_without_a_failure() {
    let Some(story) = Story::new("swapped-infer") else {
        return;
    };
    swap_under_load(&story, 30);
}

#[test]
#[ignore = "minutes; `make endurance` runs it"]
fn a_thousand_swaps_under_load_fail_nothing_and_memory_stays_flat() {
    let Some(story) = Story::new("swaps-infer") else { return };
    let [early, late] = swap_under_load(&story, 1000);
    for (early, late) in early.into_iter().zip(late) {
        assert!(late < early + 32, "{early} MiB became {late}");
    }
}
