//! Named threads for work that takes seconds of CPU or waits for a disk. tokio's blocking pool is not for it: it
//! has no bound, no name and no gauge.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Threads that take jobs from one short queue. Dropping it lets them finish what they have and joins them.
#[derive(Debug)]
pub struct Workers<J> {
    queue: Option<SyncSender<J>>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static> Workers<J> {
    /// Starts one thread a handler. A handler that panics loses its job, tells `panicked`, and takes the next one.
    /// `busy` learns the time of each job.
    pub fn spawn<H>(
        name: &'static str,
        handlers: Vec<H>,
        busy: impl Fn(&'static str, Duration) + Send + Sync + 'static,
        panicked: impl Fn(&'static str, String) + Send + Sync + 'static,
    ) -> std::io::Result<Self>
    where
        H: FnMut(J) + Send + 'static,
    {
        let (queue, jobs) = sync_channel(handlers.len());
        let jobs = Arc::new(Mutex::new(jobs));
        let (busy, panicked) = (Arc::new(busy), Arc::new(panicked));
        let mut threads = Vec::new();
        for (number, mut handle) in handlers.into_iter().enumerate() {
            let (jobs, busy, panicked) = (Arc::clone(&jobs), Arc::clone(&busy), Arc::clone(&panicked));
            let thread = Builder::new().name(format!("{name}-{number}")).spawn(move || {
                while let Some(job) = next(&jobs) {
                    let started = Instant::now();
                    let outcome = catch_unwind(AssertUnwindSafe(|| handle(job)));
                    busy(name, started.elapsed());
                    if let Err(panic) = outcome {
                        panicked(name, panic_message(panic.as_ref()));
                    }
                }
            })?;
            threads.push(thread);
        }
        Ok(Self {
            queue: Some(queue),
            threads,
        })
    }

    /// Hands over a job; says whether it was taken. Whoever sends keeps count of what is out, so the queue has
    /// room; if it has not, or the threads are gone, the job is lost and `false` says so.
    #[must_use]
    pub fn send(&self, job: J) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(job).is_ok())
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread ended by panic");
            }
        }
    }
}

fn next<J>(jobs: &Mutex<Receiver<J>>) -> Option<J> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// What a panic said.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_panic_costs_one_job_and_dropping_waits_for_the_rest() {
        let (sender, results) = channel();
        let panics = sender.clone();
        let handler = move |job: i32| {
            assert!(job != 2, "job two breaks");
            sender.send(job.to_string()).expect("the test listens");
        };
        let workers = Workers::spawn(
            "test",
            vec![handler],
            |_, _| {},
            move |name, message| panics.send(format!("{name}: {message}")).expect("the test listens"),
        )
        .expect("threads");
        for job in 1..=3 {
            while !workers.send(job) {
                std::thread::yield_now();
            }
        }
        drop(workers);
        assert_eq!(results.iter().collect::<Vec<_>>(), ["1", "test: job two breaks", "3"]);
    }
}
