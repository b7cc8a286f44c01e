//! Served networks: a supervised child of its own holds them, and whoever asks gets an answer or a clear error by the
//! deadline, whatever becomes of the child.
//!
//! Training never shares this child's process. **Batches form by pull**: while the child computes one, requests queue
//! up; the next batch takes all that wait for a version, up to a bound. So a batch is as large as the load asks for,
//! and nobody waits for a batch to fill. A request that is larger than a batch has a part in several, and others come
//! between. What the two processes say is in `forecastd_models::inference`.
//!
//! - `machine` decides, and touches nothing: who is next, what a death means, when a version moves.
//! - `server` does: one task owns the machine, the process and its socket.
//! - `board` is what readers see meanwhile.
//!
//! A version is **swapped** by moving a pointer once the new one is loaded and warm; the old one answers what it has
//! and is unloaded. When a child ends, what it was computing is tried once more by the next; a batch over which
//! children keep ending is halved until the request that does it is alone, and fails by itself.

mod board;
mod link;
mod machine;
mod order;
mod queue;
mod request;
mod roster;
mod server;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecastd_config::Torch;
use forecastd_models::dasha::ModelDescription;
use forecastd_models::dasha::samples::input_fault;
use forecastd_models::frame::MAX_BODY;
use tokio::sync::{mpsc, watch};

use self::board::{Board, Tally};
use self::machine::Machine;
use self::order::Order;
use self::request::{Outcome, ticket};
use self::server::{Event, Launch, Server};
use super::torch_process::{Pace, executable};
use crate::message::inference::{
    Infer, InferenceCounts, InferenceError, InferenceFuture, InferenceRequest, ServedModel,
};

pub use self::order::LoadError;

/// Requests on their way to the task that queues them. It takes them at once, so this is as good as no bound; a full
/// one is an overload like any other.
const INBOX: usize = 4096;

/// What a frame needs besides samples: numbers, and one count a request.
const FRAME_RESERVE: usize = 1 << 20;

/// How much may be asked of a child, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples of a batch, if the device's memory does not allow fewer. A request of more has a part in several.
    pub batch: u32,
    /// Time that a batch may be expected to take, by what samples took so far: those who come after it wait for it.
    /// While nobody knows what one takes, a batch is a single sample.
    pub turn: Duration,
    /// Samples that may wait for one version.
    pub waiting: usize,
    /// Bytes of samples that may wait, all versions together.
    pub waiting_bytes: usize,
    /// Time for a batch. A child that takes longer hangs, and is killed.
    pub compute: Duration,
    /// Time to load a version.
    pub load: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch: 64,
            turn: Duration::from_secs(1),
            waiting: 4096,
            waiting_bytes: 256 << 20,
            compute: Duration::from_secs(30),
            load: Duration::from_secs(300),
        }
    }
}

/// A child that starts with the first version and is started again soon: people wait for it.
const PACE: Pace = Pace {
    hello: Duration::from_secs(60),
    ping_every: Duration::from_secs(5),
    ping_within: Duration::from_secs(10),
    first_wait: Duration::from_millis(50),
    longest_wait: Duration::from_secs(2),
    healthy_after: Duration::from_secs(5),
    stop_within: Duration::from_secs(2),
};

/// Served networks. Clones are handles of the same; the child ends when the last of them is gone.
#[derive(Clone, Debug)]
pub struct Inference {
    events: mpsc::Sender<Event>,
    board: Arc<Board>,
    /// Closed once the task has ended.
    ended: watch::Receiver<()>,
}

impl Inference {
    /// Starts the task that serves, on the runtime of whoever calls this. `threads` is what libtorch may use. There is
    /// no child before something is [loaded](Self::load).
    pub fn start(torch: &Torch, threads: NonZeroUsize, limits: Limits) -> Self {
        let torch = torch.clone();
        let launch = Box::new(move || {
            let mut command = executable::command(&torch, threads)?;
            command.arg("--infer");
            Ok(command)
        });
        Self::serve(launch, limits, PACE)
    }

    fn serve(launch: Launch, limits: Limits, pace: Pace) -> Self {
        let (events, inbox) = mpsc::channel(INBOX);
        let board = Arc::new(Board::default());
        let machine = Machine::new(limits, pace, Arc::clone(&board));
        let (alive, ended) = watch::channel(());
        tokio::spawn(async move {
            Server::new(machine, launch, pace).run(inbox).await;
            drop(alive);
        });
        Self { events, board, ended }
    }

    /// Loads a version beside the others of its name: it answers those who ask for it by its version. Completes once
    /// it is warm. A version that is there already is not loaded again: versions do not change.
    ///
    /// # Errors
    ///
    /// The artifact is refused, or there is no child to load it.
    pub async fn load(&self, name: &str, version: &str, folder: PathBuf) -> Result<Arc<ModelDescription>, LoadError> {
        self.order(name, version, folder, false).await
    }

    /// Loads a version, if it is not there yet, and makes it the active one of its name. Requests are answered by the
    /// one that was active before until the new one is warm, and none fails over the change; then the old one goes.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), or another version was activated meanwhile. What was active stays so.
    pub async fn activate(
        &self,
        name: &str,
        version: &str,
        folder: PathBuf,
    ) -> Result<Arc<ModelDescription>, LoadError> {
        self.order(name, version, folder, true).await
    }

    /// Takes no more requests for a version, and forgets it once those that it has are answered. One that is not
    /// there is forgotten already. A name whose active version goes has none.
    pub async fn unload(&self, name: &str, version: &str) {
        let (name, version) = (name.into(), version.into());
        let _ = self.events.send(Event::Unload { name, version }).await; // fails only while stopping
    }

    /// Completes once the last handle is gone and the child has ended. Holds none itself.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move { while ended.changed().await.is_ok() {} }
    }

    async fn order(
        &self,
        name: &str,
        version: &str,
        folder: PathBuf,
        activate: bool,
    ) -> Result<Arc<ModelDescription>, LoadError> {
        let (order, done) = Order::new(name, version, folder, activate);
        self.events
            .send(Event::Load(order))
            .await
            .map_err(|_| LoadError::Stopping)?;
        done.await.unwrap_or(Err(LoadError::Stopping))
    }

    async fn ask(&self, request: InferenceRequest) -> Outcome {
        let mut tally = Tally::new(&self.board, &request);
        let outcome = self.ask_uncounted(request).await;
        tally.ended(&outcome);
        outcome
    }

    async fn ask_uncounted(&self, request: InferenceRequest) -> Outcome {
        if let Some(description) = self.board.description(&request) {
            check_input(&request, &description).await?;
        }
        let model = Arc::clone(&request.model);
        let deadline = request.deadline;
        let (pending, ticket) = ticket(request, Instant::now());
        self.events
            .try_send(Event::Request(pending))
            .map_err(|full| match full {
                mpsc::error::TrySendError::Full(_) => InferenceError::Overloaded { model, waiting: INBOX },
                mpsc::error::TrySendError::Closed(_) => InferenceError::Stopping,
            })?;
        ticket.wait(deadline).await
    }
}

impl Infer for Inference {
    fn infer(&self, request: InferenceRequest) -> InferenceFuture<'_> {
        Box::pin(self.ask(request))
    }

    fn served(&self) -> Vec<ServedModel> {
        self.board.served()
    }

    fn counts(&self) -> InferenceCounts {
        self.board.counts()
    }
}

/// Bytes of samples that are looked at before others have their turn: they take well below a millisecond.
const LOOK: usize = 64 << 10;

/// Whether these samples are such as the network takes. Whatever passes here can be computed.
async fn check_input(request: &InferenceRequest, description: &ModelDescription) -> Result<(), InferenceError> {
    check_input_length(request, description)?;
    let record = description.input_bytes();
    let input = &description.architecture.input;
    let mut looked = 0;
    for (sample, bytes) in request.inputs.chunks(record).enumerate() {
        if let Some(fault) = input_fault(input, &description.element, bytes) {
            let reason = format!("sample {sample}: {fault}");
            return Err(InferenceError::Input { reason });
        }
        looked += bytes.len();
        if looked >= LOOK {
            looked = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Whether they are as many bytes as they should be.
fn check_input_length(request: &InferenceRequest, description: &ModelDescription) -> Result<(), InferenceError> {
    let (record, found) = (description.input_bytes(), request.inputs.len());
    let most = MAX_BODY - FRAME_RESERVE;
    let reason = if request.count == 0 {
        "a request without samples".to_owned()
    } else if record.checked_mul(request.count as usize) != Some(found) {
        let count = request.count;
        format!("{found} bytes for {count} samples; the model takes {record} each")
    } else if found > most {
        format!("{found} bytes of samples in one request; at most {most} are taken")
    } else {
        return Ok(());
    };
    Err(InferenceError::Input { reason })
}
