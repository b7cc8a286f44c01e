//! The libtorch child, supervised: started when it is needed, pinged, killed when it hangs, started again.
//!
//! A child is disposable. Whatever becomes of it is a [`TorchStatus`] for people and a [`TorchError`] for the call
//! that it served; whether a call is worth another try is left to the caller. What the two processes say is in
//! `forecastd_models::torch_job`.

pub(super) mod backoff;
pub(super) mod child;
mod errand;
pub(super) mod executable;
#[cfg(test)]
mod fake;
pub(super) mod process;
mod running;
mod supervisor;
#[cfg(test)]
pub(super) mod tests;

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use forecastd_config::{Torch, TorchStart};
use forecastd_models::device_fit::Nonsense;
use forecastd_models::frame::{Frame, values_of};
use forecastd_models::torch_job::{ReplyBody, RequestBody, smoke_residual};
use thiserror::Error;

pub use self::errand::{Errand, Heard};
pub use self::executable::ALLOCATOR;

use self::running::Call;
use self::supervisor::{Event, Supervisor};
use crate::message::torch_status::TorchStatus;

/// Unknowns of the system that [`TorchProcess::smoke`] has solved.
const SMOKE_SIZE: u32 = 128;

/// What a sound libtorch stays far below, in double precision.
const SMOKE_RESIDUAL: f64 = 1e-12;

/// A child under supervision. Dropping it ends the child and joins the thread.
#[derive(Debug)]
pub struct TorchProcess {
    events: Sender<Event>,
    thread: Option<JoinHandle<()>>,
    /// Where the last child computed, once one has said so.
    device: Arc<Mutex<Option<String>>>,
}

/// An answer that is still to come.
#[derive(Debug)]
pub struct Answer {
    answered: Receiver<Result<Frame<ReplyBody>, TorchError>>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TorchError {
    /// The configuration wants no child.
    #[error("`torch.start` is `never`, and this needs libtorch")]
    Never,
    /// The executable is not where it should be.
    #[error("no executable of libtorch's side: {sought} not found; `torch.executable` or --executable names it")]
    Missing {
        /// Where it was looked for.
        sought: String,
    },
    /// The executable is there and does not start.
    #[error("cannot start {}: {error}", path.display())]
    Start {
        /// The executable.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// The child ended, or was killed, before the answer.
    #[error("the libtorch child {how}")]
    Died {
        /// How it ended.
        how: String,
    },
    /// The answer took too long.
    #[error("libtorch gave no answer within {within:?}{}", because(reason.as_deref()))]
    Deadline {
        /// The time that the caller granted.
        within: Duration,
        /// How the last child ended, if none was there to ask.
        reason: Option<String>,
    },
    /// The job broke; the child lives.
    #[error("libtorch: {message}")]
    Failed {
        /// What libtorch said.
        message: String,
    },
    /// The answer cannot be true.
    #[error("libtorch solved a system with a residual of {residual:e}: do not trust this machine's numbers")]
    Wrong {
        /// Relative to the right-hand side.
        residual: f64,
    },
    /// The answer is none.
    #[error("libtorch answered what cannot be true: {0}")]
    Nonsense(#[from] Nonsense),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

fn because(reason: Option<&str>) -> String {
    reason
        .map(|reason| format!(": there is no child, the last one {reason}"))
        .unwrap_or_default()
}

/// How patient the supervisor is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Time from start to the child's first words; finding a GPU takes seconds.
    pub(super) hello: Duration,
    /// Rest between an answered ping and the next.
    pub(super) ping_every: Duration,
    /// Time that an answer to a ping, or the taking of a frame, may need.
    pub(super) ping_within: Duration,
    /// Wait after the first bad end; doubles with each that follows.
    pub(super) first_wait: Duration,
    /// The longest wait.
    pub(super) longest_wait: Duration,
    /// A child that lived this long was healthy: the wait starts over.
    pub(super) healthy_after: Duration,
    /// Time between asking a child to end and killing it.
    pub(super) stop_within: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(60),
            ping_every: Duration::from_secs(5),
            ping_within: Duration::from_secs(10),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            healthy_after: Duration::from_secs(60),
            stop_within: Duration::from_secs(2),
        }
    }
}

/// Makes the command that starts a child.
type Launch = Box<dyn Fn() -> Result<Command, TorchError> + Send>;

impl TorchProcess {
    /// Supervises a child as the configuration says. `threads` is what libtorch may use; `report` is called with
    /// every change of the status, from the supervisor's thread.
    pub fn start(
        torch: &Torch,
        threads: NonZeroUsize,
        report: impl Fn(TorchStatus) + Send + 'static,
    ) -> io::Result<Self> {
        let torch = torch.clone();
        let always = torch.start == TorchStart::Always;
        let launch = Box::new(move || executable::command(&torch, threads));
        Self::supervise(launch, always, Pace::default(), report)
    }

    fn supervise(
        launch: Launch,
        always: bool,
        pace: Pace,
        report: impl Fn(TorchStatus) + Send + 'static,
    ) -> io::Result<Self> {
        let (events, heard) = channel();
        let device = Arc::new(Mutex::new(None));
        let last = Arc::clone(&device);
        let report = Box::new(move |status: TorchStatus| {
            last.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&status.device);
            report(status);
        });
        let supervisor = Supervisor::new(launch, always, pace, report, events.clone());
        let thread = thread::Builder::new()
            .name("torch".to_owned())
            .spawn(move || supervisor.run(&heard))?;
        Ok(Self {
            events,
            thread: Some(thread),
            device,
        })
    }

    /// Where the last child computed, `cpu` or `cuda`; `None` before one has said so.
    pub fn device(&self) -> Option<String> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the child do one job and waits for its answer, at most so long. Starts a child if there is none; of
    /// several callers each waits for its turn within its own time.
    pub fn call(
        &self,
        request: impl Into<Frame<RequestBody>>,
        within: Duration,
    ) -> Result<Frame<ReplyBody>, TorchError> {
        self.ask(request, within)?.wait()
    }

    /// The same without waiting: `within` counts from now.
    pub fn ask(&self, request: impl Into<Frame<RequestBody>>, within: Duration) -> Result<Answer, TorchError> {
        let (answer, answered) = sync_channel(1);
        let call = Call {
            request: request.into(),
            within,
            deadline: Instant::now() + within,
            answer,
        };
        self.events.send(Event::Call(call)).map_err(|_| TorchError::Stopping)?;
        Ok(Answer { answered })
    }

    /// Has the child solve a system and checks the solution in plain Rust.
    pub fn smoke(&self, within: Duration) -> Result<(), TorchError> {
        let reply = self.call(RequestBody::Smoke { size: SMOKE_SIZE }, within)?;
        let solution = reply
            .slices
            .first()
            .and_then(|slice| values_of(slice).ok())
            .unwrap_or_default();
        let whole = solution.len() == SMOKE_SIZE as usize;
        match if whole { smoke_residual(&solution) } else { f64::NAN } {
            residual if residual < SMOKE_RESIDUAL => Ok(()),
            residual => Err(TorchError::Wrong { residual }),
        }
    }
}

impl Answer {
    /// Waits for it.
    pub fn wait(self) -> Result<Frame<ReplyBody>, TorchError> {
        let frame = self.answered.recv().map_err(|_| TorchError::Stopping)??;
        match frame.header {
            ReplyBody::Failed { message } => Err(TorchError::Failed { message }),
            ReplyBody::Pong | ReplyBody::Smoke | ReplyBody::Fit { .. } => Ok(frame),
        }
    }
}

impl Drop for TorchProcess {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Stop); // fails only if the thread is gone already
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the supervisor of the libtorch child panicked");
        }
    }
}
