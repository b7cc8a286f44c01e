//! The server against children of all manners: whatever they do, every caller gets an answer or a clear error.

mod children;
mod fake;
mod machine;
mod queue;
mod requests;
mod roster;
mod versions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::message::inference::{InferenceAnswer, ModelCounts, Outputs, Stage};

/// Longer than anything here takes; only a test that fails waits for it.
const LONG: Duration = Duration::from_secs(60);

/// A patience fit for tests.
fn quick() -> Pace {
    Pace {
        hello: Duration::from_secs(20), // a loaded machine takes its time to start a process
        ping_every: Duration::from_millis(20),
        ping_within: Duration::from_secs(20),
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(50),
        healthy_after: LONG,
        stop_within: LONG,
    }
}

/// A server of fake children, and the folder of their networks.
struct Story {
    inference: Inference,
    folder: TempDir,
}

impl Story {
    fn new(manner: &'static str, limits: Limits, pace: Pace) -> Self {
        let launch = Box::new(move || fake::command(manner));
        Self {
            inference: Inference::serve(launch, limits, pace),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// With `x2` as the active version of `m`.
    async fn doubling(limits: Limits) -> Self {
        let story = Self::new("well", limits, quick());
        story.activate("m", "x2").await.expect("it is loaded");
        story
    }

    /// The folder of a network. Its name says what becomes of it.
    fn artifact(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("the test's folder");
        folder
    }

    async fn activate(&self, name: &str, version: &str) -> Result<Arc<ModelDescription>, LoadError> {
        self.inference.activate(name, version, self.artifact(version)).await
    }

    async fn load(&self, name: &str, version: &str) -> Result<Arc<ModelDescription>, LoadError> {
        self.inference.load(name, version, self.artifact(version)).await
    }

    /// Asks `m` for one sample, within so long.
    async fn ask_within(&self, sample: f32, within: Duration) -> Outcome {
        self.inference.infer(request(&[sample], within)).await
    }

    async fn ask(&self, sample: f32) -> Outcome {
        self.ask_within(sample, LONG).await
    }

    /// Asks in the background. The request is on its way when this returns, behind those that were before it.
    async fn begin(&self, request: InferenceRequest) -> JoinHandle<Outcome> {
        let inference = self.inference.clone();
        let mut asked = Box::pin(async move { inference.infer(request).await });
        tokio::select! {
            biased;
            outcome = &mut asked => tokio::spawn(async { outcome }),
            () = std::future::ready(()) => tokio::spawn(asked),
        }
    }

    /// Keeps the child busy for so long, and returns once it is.
    async fn occupy(&self, time: Duration) -> JoinHandle<Outcome> {
        let before = self.counts().batches.count();
        let busy = self
            .begin(request(&[fake::SLEEP + time.as_millis() as f32], LONG))
            .await;
        self.until("a busy child", |story| story.counts().batches.count() > before)
            .await;
        busy
    }

    /// Asks each sample for itself while the child is busy, so that they are one batch; their outcomes.
    async fn ask_together(&self, samples: &[f32]) -> Vec<Outcome> {
        let busy = self.occupy(Duration::from_millis(50)).await;
        let mut asked = Vec::new();
        for sample in samples {
            asked.push(self.begin(request(&[*sample], LONG)).await);
        }
        assert!(ended(busy).await.is_ok());
        let mut outcomes = Vec::new();
        for task in asked {
            outcomes.push(ended(task).await);
        }
        outcomes
    }

    fn counts(&self) -> ModelCounts {
        let counts = self.inference.counts();
        counts.models.get("m").cloned().unwrap_or_default()
    }

    async fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let patience = Instant::now() + LONG;
        while !condition(self) {
            assert!(Instant::now() < patience, "waited for {what}: {:?}", self.inference);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn restarts(&self) -> u64 {
        self.inference.counts().child.restarts
    }
}

fn request(samples: &[f32], within: Duration) -> InferenceRequest {
    InferenceRequest {
        model: "m".into(),
        version: None,
        count: samples.len() as u32,
        inputs: samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
        deadline: Instant::now() + within,
    }
}

async fn ended(task: JoinHandle<Outcome>) -> Outcome {
    task.await.expect("it does not panic")
}

fn score(outcome: &Outcome) -> f32 {
    match outcome {
        Ok(InferenceAnswer {
            outputs: Outputs::Scores(scores),
            ..
        }) if scores.len() == 1 => scores[0],
        other => panic!("{other:?}"),
    }
}

fn error(outcome: &Outcome) -> InferenceError {
    outcome.clone().expect_err("it cannot be answered")
}
