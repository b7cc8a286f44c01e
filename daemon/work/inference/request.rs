//! A request on its way, and the ticket of whoever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::message::inference::{InferenceAnswer, InferenceError, InferenceRequest, Stage};

/// What becomes of a request.
pub(super) type Outcome = Result<InferenceAnswer, InferenceError>;

/// A request that is to be answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: InferenceRequest,
    pub(super) arrived: Instant,
    /// Since when it stands in line: from its arrival, or from the last batch that had a part of it.
    pub(super) in_line: Instant,
    /// Children that ended over it.
    pub(super) deaths: u32,
    pub(super) progress: Progress,
    is_sent: Arc<AtomicBool>,
    answer: oneshot::Sender<Outcome>,
}

/// What has come of a request so far: one that is too large for a batch has a part in several.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Samples that were answered, from the first on.
    samples: usize,
    /// Their records.
    pub(super) outputs: Vec<u8>,
    /// Waited until the first of them was sent.
    pub(super) queue: Duration,
    /// Taken by the batches that had them.
    pub(super) compute: Duration,
}

/// Samples of a request in one batch: so many, from the first that has no answer yet.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) pending: Pending,
    pub(super) samples: usize,
}

/// What its caller holds. Dropping it cancels the request.
#[derive(Debug)]
pub(super) struct Ticket {
    answered: oneshot::Receiver<Outcome>,
    is_sent: Arc<AtomicBool>,
}

/// A request that arrives now, and the ticket for its outcome.
pub(super) fn ticket(request: InferenceRequest, now: Instant) -> (Pending, Ticket) {
    let (answer, answered) = oneshot::channel();
    let is_sent = Arc::new(AtomicBool::new(false));
    let pending = Pending {
        request,
        arrived: now,
        in_line: now,
        deaths: 0,
        progress: Progress::default(),
        is_sent: Arc::clone(&is_sent),
        answer,
    };
    (pending, Ticket { answered, is_sent })
}

impl Pending {
    /// Whether an answer is of no more use: its caller is gone, or has been told that it is late.
    pub(super) fn is_moot(&self, now: Instant) -> bool {
        self.answer.is_closed() || self.request.deadline <= now
    }

    /// It is with a child from now on, or again waiting.
    pub(super) fn set_sent(&self, is_sent: bool) {
        self.is_sent.store(is_sent, Ordering::Relaxed);
    }

    /// Samples that have no answer yet.
    pub(super) fn samples(&self) -> usize {
        self.request.count as usize - self.progress.samples
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.samples() * self.record()
    }

    /// Bytes of one sample.
    pub(super) fn record(&self) -> usize {
        self.request.inputs.len() / (self.request.count as usize).max(1)
    }

    pub(super) fn answer(self, outcome: Outcome) {
        let _ = self.answer.send(outcome); // fails only if nobody waits any more
    }

    /// Its first so many samples that have no answer yet.
    pub(super) fn part(self, samples: usize) -> Part {
        let samples = samples.clamp(1, self.samples().max(1));
        Part { pending: self, samples }
    }

    /// Its time is over.
    pub(super) fn too_late(self) {
        let stage = stage(&self.is_sent);
        self.answer(Err(InferenceError::Deadline { stage }));
    }
}

impl Part {
    /// The place of its first sample in the request.
    pub(super) fn first(&self) -> usize {
        self.pending.progress.samples
    }

    pub(super) fn bytes(&self) -> usize {
        self.samples * self.pending.record()
    }

    pub(super) fn inputs(&self) -> &[u8] {
        let (first, record) = (self.first(), self.pending.record());
        &self.pending.request.inputs[first * record..(first + self.samples) * record]
    }

    /// Its records have come, of a batch that was sent and computed like that.
    pub(super) fn heard(self, records: Vec<u8>, sent: Instant, compute: Duration) -> Pending {
        let Self { mut pending, samples } = self;
        let progress = &mut pending.progress;
        if progress.samples == 0 {
            progress.queue = sent.saturating_duration_since(pending.arrived);
            progress.outputs = records;
        } else {
            progress.outputs.extend(records);
        }
        progress.samples += samples;
        progress.compute += compute;
        pending
    }
}

impl Ticket {
    /// The outcome, by the deadline in any case.
    pub(super) async fn wait(self, deadline: Instant) -> Outcome {
        match timeout_at(deadline.into(), self.answered).await {
            Ok(answered) => answered.unwrap_or(Err(InferenceError::Stopping)),
            Err(_) => Err(InferenceError::Deadline {
                stage: stage(&self.is_sent),
            }),
        }
    }
}

fn stage(is_sent: &AtomicBool) -> Stage {
    match is_sent.load(Ordering::Relaxed) {
        true => Stage::Computing,
        false => Stage::Waiting,
    }
}
