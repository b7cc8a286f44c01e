//! A request on its way, and the ticket of whoever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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
    /// Children that ended over it.
    pub(super) deaths: u32,
    is_sent: Arc<AtomicBool>,
    answer: oneshot::Sender<Outcome>,
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
        deaths: 0,
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

    pub(super) fn samples(&self) -> usize {
        self.request.count as usize
    }

    pub(super) fn bytes(&self) -> usize {
        self.request.inputs.len()
    }

    pub(super) fn answer(self, outcome: Outcome) {
        let _ = self.answer.send(outcome); // fails only if nobody waits any more
    }

    /// Its time is over.
    pub(super) fn too_late(self) {
        let stage = stage(&self.is_sent);
        self.answer(Err(InferenceError::Deadline { stage }));
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
