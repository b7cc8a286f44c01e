//! Threads that work through numbered jobs, with results in the order of the jobs.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, scope};

use anyhow::{Context, bail};

use crate::intake::parts::PartError;

/// Works on jobs `0..jobs` on so many threads, and gives what comes out to `take`, in order: sums over channels are the
/// same bits whatever the number of threads. A result waits in its thread's hand, so no more than one a thread is held.
pub(super) fn in_order<T: Send>(
    threads: NonZeroUsize,
    jobs: usize,
    stop: &AtomicBool,
    work: impl Fn(usize) -> T + Sync,
    mut take: impl FnMut(usize, T),
) -> anyhow::Result<()> {
    let threads = threads.get().min(jobs);
    scope(|scope| {
        let (mut results, mut crew) = (Vec::new(), Vec::new());
        for number in 0..threads {
            let (done, result) = sync_channel(0);
            let work = &work;
            let thread = Builder::new().name(format!("fit-{number}"));
            let working = move || {
                for job in (number..jobs).step_by(threads) {
                    if stop.load(Ordering::Relaxed) || done.send(work(job)).is_err() {
                        return;
                    }
                }
            };
            crew.push(thread.spawn_scoped(scope, working).context("start a thread to fit")?);
            results.push(result);
        }
        for job in 0..jobs {
            let Ok(result) = results[job % threads].recv() else {
                break;
            };
            take(job, result);
        }
        drop(results);
        for thread in crew {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        if stop.load(Ordering::Relaxed) {
            bail!(PartError::Interrupted);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(threads: usize, stop: &AtomicBool) -> anyhow::Result<Vec<usize>> {
        let mut taken = Vec::new();
        let threads = NonZeroUsize::new(threads).expect("not zero");
        in_order(threads, 20, stop, |job| job * job, |_, square| taken.push(square))?;
        Ok(taken)
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs_whatever_the_number_of_threads() {
        for threads in [1, 3, 50] {
            let taken = run(threads, &AtomicBool::new(false)).expect("nobody stops it");
            assert!(taken.iter().copied().eq((0..20).map(|job| job * job)), "{threads}");
        }
    }

    #[test]
    fn a_crew_that_is_told_to_stop_says_so() {
        let error = run(3, &AtomicBool::new(true)).expect_err("interrupted");
        assert_eq!(error.to_string(), "interrupted");
    }

    #[test]
    #[should_panic(expected = "job 5")]
    fn a_panic_of_one_is_a_panic_of_all() {
        let work = |job| assert!(job != 5, "job 5");
        let threads = NonZeroUsize::new(2).expect("not zero");
        let _ = in_order(threads, 20, &AtomicBool::new(false), work, |_, ()| ());
    }
}
