//! Networks are trained in the background: one thread waits for one child of its own, which may be killed at any instant.
//!
//! Whatever the child computes, it computes at the lowest priority, and so does what is prepared for it: refits of series
//! and answers to requests take precedence wherever a processor is short. Nobody else's child is used, and nothing is
//! decided here. A run lies in a folder of the state and has a checkpoint after every epoch, so that ending it costs an
//! epoch: at a shutdown it is ended, and after a restart gone on with.

mod child;
pub mod folder;
mod progress;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::{info, warn};

pub use self::child::{RunEnd, Said, follow};

use self::progress::{Progress, is_kept};
use super::torch_process::Errand;
use super::worker::Workers;
use crate::message::training::{TrainJob, TrainReport, TrainingFailure, TrainingFault, TrainingProgress};

/// Children in a row that may end without an epoch more to show.
const ATTEMPTS: u32 = 3;

/// Wait before the next one, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A child that has no epoch more to show for so long beyond its whole budget hangs: it may have waited that long for a
/// processor, for it has the lowest priority.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Progress is told so often at most: epochs of small networks take milliseconds.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What a scheduler calls the lowest priority.
const LOWEST: i32 = 19;

/// What has come from the room.
#[derive(Debug)]
pub enum Told {
    /// A training is so far.
    Progress(TrainingProgress),
    /// It is over.
    Over(TrainReport),
}

/// Where runs lie, and what runs them.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The child's executable; `None`: beside the daemon's own, or on the PATH.
    pub executable: Option<PathBuf>,
    /// CPU threads of a child, if a job does not say.
    pub threads: NonZeroUsize,
}

/// Lays out the samples of a job in the folder of its run, as long as the last argument says so; why it cannot.
pub type Prepare = dyn FnMut(&TrainJob, &Path, &dyn Fn() -> bool) -> Result<(), TrainingFailure> + Send;

/// The room. Dropping it ends the child and joins the thread.
#[derive(Debug)]
pub struct Trainer {
    workers: Workers<TrainJob>,
    wishes: Arc<Wishes>,
}

/// What whoever waits for the child looks at.
#[derive(Debug)]
struct Wishes {
    stopping: AtomicBool,
    /// The training that is to be given up.
    cancelled: AtomicI64,
}

impl Wishes {
    fn wants(&self, id: i64) -> bool {
        !self.stopping.load(Ordering::Relaxed) && self.cancelled.load(Ordering::Relaxed) != id
    }
}

impl Trainer {
    /// Starts the thread. `folder` says where the run of a training lies; `tell` learns what becomes of each, unless the
    /// room is dropped before.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        setting: Setting,
        folder: impl Fn(i64) -> PathBuf + Send + 'static,
        prepare: Box<Prepare>,
        tell: impl Fn(Told) + Send + 'static,
        busy: impl Fn(&'static str, Duration) + Send + Sync + 'static,
        panicked: impl Fn(&'static str, String) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let wishes = Arc::new(Wishes {
            stopping: AtomicBool::new(false),
            cancelled: AtomicI64::new(0),
        });
        let mut room = Room {
            setting,
            prepare,
            wishes: Arc::clone(&wishes),
            tell: Box::new(tell),
        };
        let train = move |job: TrainJob| room.train(&job, &folder(job.id));
        let workers = Workers::spawn("train", vec![train], busy, panicked)?;
        Ok(Self { workers, wishes })
    }

    /// Hands over a training; says whether it was taken.
    #[must_use]
    pub fn send(&self, job: TrainJob) -> bool {
        self.workers.send(job)
    }

    /// Has a training given up, if it is under way.
    pub fn cancel(&self, id: i64) {
        self.wishes.cancelled.store(id, Ordering::Relaxed);
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.wishes.stopping.store(true, Ordering::Relaxed);
    }
}

/// What the thread has.
struct Room {
    setting: Setting,
    prepare: Box<Prepare>,
    wishes: Arc<Wishes>,
    tell: Box<dyn Fn(Told) + Send>,
}

impl Room {
    fn train(&mut self, job: &TrainJob, folder: &Path) {
        yield_to_others();
        let result = self.prepared(job, folder).and_then(|()| self.run(job, folder));
        if self.wishes.stopping.load(Ordering::Relaxed) {
            info!(model = %job.model, "the training goes on after the next start");
            return;
        }
        if let Err(TrainingFailure { fault, detail }) = &result {
            warn!(model = %job.model, fault = fault.label(), detail, "nothing came of a training");
        }
        (self.tell)(Told::Over(TrainReport { id: job.id, result }));
    }

    /// Writes the job and lays out the samples, unless an earlier process has.
    fn prepared(&mut self, job: &TrainJob, folder: &Path) -> Result<(), TrainingFailure> {
        if folder::is_prepared(folder) {
            return Ok(());
        }
        let progress = Progress::new(&job.model, 0.0, job.job.budget.seconds.unwrap_or(0.0));
        (self.tell)(Told::Progress(progress.state()));
        let written = fs::create_dir_all(folder).and_then(|()| folder::write(folder, folder::JOB, &job.job));
        written.map_err(|error| failure(TrainingFault::Disk, format!("{}: {error}", folder.display())))?;
        let wishes = Arc::clone(&self.wishes);
        (self.prepare)(job, folder, &|| wishes.wants(job.id)).map_err(|fault| match wishes.wants(job.id) {
            true => fault,
            false => failure(TrainingFault::Cancelled, "it was given up".to_owned()),
        })
    }

    /// One child after the other, until one is done or too many came to nothing.
    fn run(&self, job: &TrainJob, folder: &Path) -> Result<PathBuf, TrainingFailure> {
        let (mut vain, mut pause) = (0, FIRST_PAUSE);
        loop {
            let (end, has_progressed) = self.child(job, folder)?;
            let how = match end {
                RunEnd::Finished => return Ok(folder.join("artifact")),
                RunEnd::Failed(message) => return Err(failure(TrainingFault::Failed, message)),
                RunEnd::Stopped if !self.wishes.wants(job.id) => {
                    return Err(failure(TrainingFault::Cancelled, "it was given up".to_owned()));
                }
                RunEnd::Stopped => format!("it had nothing to show for {PATIENCE:?} beyond its budget"),
                RunEnd::Died(how) => how,
            };
            if has_progressed {
                (vain, pause) = (0, FIRST_PAUSE);
            }
            vain += 1;
            if vain == ATTEMPTS {
                let detail = format!("{ATTEMPTS} children in a row came to nothing; the last one: {how}");
                return Err(failure(TrainingFault::Died, detail));
            }
            warn!(model = %job.model, how, "the child that trains has ended; another one goes on where it stood");
            self.rest(job.id, pause);
            pause *= 2;
        }
    }

    /// One child; how it ended, and whether the run got farther by it.
    fn child(&self, job: &TrainJob, folder: &Path) -> Result<(RunEnd, bool), TrainingFailure> {
        let arguments = ["--dasha".as_ref(), folder.as_os_str()];
        let threads = job.threads.unwrap_or(self.setting.threads);
        let no_child = |error: super::torch_process::TorchError| failure(TrainingFault::NoChild, error.to_string());
        let errand = Errand::start(self.setting.executable.as_deref(), threads, arguments).map_err(no_child)?;
        let budget = job.job.budget.seconds.unwrap_or(0.0);
        let mut progress = Progress::new(&job.model, folder::spent(folder), budget);
        let (mut has_progressed, mut told) = (false, None::<Instant>);
        let patience = Duration::from_secs_f64(budget) + PATIENCE;
        let deadline = std::cell::Cell::new(Instant::now() + patience);
        let goes_on = || self.wishes.wants(job.id) && Instant::now() < deadline.get();
        let end = follow(errand, goes_on, |said| match said {
            Said::Event(event) => {
                let begins = progress.take(&event);
                if is_kept(&event) {
                    has_progressed = true;
                    deadline.set(Instant::now() + patience);
                }
                if begins || told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                    told = Some(Instant::now());
                    (self.tell)(Told::Progress(progress.state()));
                }
            }
            Said::Line(line) => info!(model = %job.model, line, "forecastd-torch"),
        });
        Ok((end.map_err(no_child)?, has_progressed))
    }

    fn rest(&self, id: i64, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until && self.wishes.wants(id) {
            sleep(Duration::from_millis(50));
        }
    }
}

fn failure(fault: TrainingFault, detail: String) -> TrainingFailure {
    TrainingFailure { fault, detail }
}

/// The lowest priority for this thread, which its children inherit with all their threads: set before a child is there,
/// it leaves no moment without.
fn yield_to_others() {
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        warn!(%error, "a training cannot be given the lowest priority");
    }
}
