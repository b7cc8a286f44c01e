//! A thread for long bodies: sixteen megabytes of JSON take a fifth of a second to read, as many of samples a good part
//! of that to check, and the runtime's threads are few.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use axum::http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use crate::publish::exposition::Exposition;
use crate::publish::http::error::ApiError;

/// Bytes that the runtime's threads read and write themselves, at most: they take them well below a millisecond.
const SHORT: usize = 64 << 10;

/// Work that may wait; whoever brings more waits with it.
const WAITING: usize = 16;

/// Does something, and returns what tells it to whoever waits.
type Work = Box<dyn FnOnce() -> Tell + Send>;
type Tell = Box<dyn FnOnce()>;

/// Where work is handed in. The thread ends with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    work: mpsc::Sender<Work>,
}

impl Desk {
    pub(super) fn open(exposition: Arc<Exposition>) -> io::Result<Self> {
        let (work, mut inbox) = mpsc::channel::<Work>(WAITING);
        thread::Builder::new().name("tensors".to_owned()).spawn(move || {
            while let Some(work) = inbox.blocking_recv() {
                let started = Instant::now();
                // Whoever waits for it learns of a panic, and the next one is to have its turn.
                let done = catch_unwind(AssertUnwindSafe(work));
                exposition.metrics().worker_busy("tensors", started.elapsed());
                if let Ok(tell) = done {
                    tell();
                }
            }
        })?;
        Ok(Self { work })
    }

    /// Has something done that is about so many bytes: here if they are few. Nobody does what nobody waits for any
    /// more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if bytes <= SHORT {
            return Ok(work());
        }
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move || {
            let done = (!tell.is_closed()).then(work);
            Box::new(move || {
                if let Some(done) = done {
                    let _ = tell.send(done); // fails only if nobody waits any more
                }
            })
        });
        let broken = || {
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "reading the request broke off; the log says why",
            )
        };
        self.work.send(work).await.map_err(|_| broken())?;
        told.await.map_err(|_| broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::fixture::Stage;

    #[tokio::test]
    async fn long_work_is_done_by_the_thread_and_a_panic_of_one_is_no_others() {
        let desk = Desk::open(Stage::new(10).exposition).expect("a thread");
        let name = || thread::current().name().map(str::to_owned);
        let here = name();
        assert_eq!(desk.run(SHORT, name).await, Ok(here));
        assert_eq!(desk.run(SHORT + 1, name).await, Ok(Some("tensors".to_owned())));
        let broken: Result<(), ApiError> = desk.run(SHORT + 1, || panic!("a defect")).await;
        let status = broken.expect_err("it panicked").status;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(desk.run(SHORT + 1, || 7).await, Ok(7));
    }
}
