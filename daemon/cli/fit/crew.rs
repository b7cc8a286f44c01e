//! Threads that fit channels as they are gathered, with results in the order of the channels.
//!
//! Jobs are dealt to the threads in turn, and results are taken in the same turn. So nothing has to be put in order,
//! and no queue holds more than its depth, however long one fit may take.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, scope};

use anyhow::Context;
use forecastd_models::{ChannelFit, ChannelName, FitFailure, Series};
use thiserror::Error;

/// A channel to fit, or why that is in vain.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) channel: ChannelName,
    pub(super) series: Result<Series, NoForecast>,
}

/// What became of a channel.
pub(super) type Outcome = (ChannelName, Result<ChannelFit, NoForecast>);

/// Why a channel has no forecast.
#[derive(Debug, Error)]
pub(super) enum NoForecast {
    #[error("it has no row that can be used")]
    NoRows,
    #[error("one row does not tell the frequency; give it with --frequency")]
    NoGrid,
    #[error(transparent)]
    Fit(#[from] FitFailure),
}

impl NoForecast {
    /// A word for programs.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoRows => "no_rows",
            Self::NoGrid => "no_grid",
            Self::Fit(failure) => failure.reason(),
        }
    }
}

/// Jobs that wait for one thread, and results that wait to be taken from it: enough that a slow fit stops no other
/// thread at once, and few enough to be nothing beside the rows that are gathered.
const DEPTH: usize = 16;

/// Deals jobs to the threads.
pub(super) struct Dealer {
    queues: Vec<SyncSender<Job>>,
    dealt: usize,
}

impl Dealer {
    /// Hands over the next job; waits while its thread has enough to do.
    pub(super) fn deal(&mut self, job: Job) {
        let queue = &self.queues[self.dealt % self.queues.len()];
        self.dealt += 1;
        let _ = queue.send(job); // a thread ends early only where `take` failed, and that is told at the end
    }
}

/// Fits what `gather` deals on so many threads, while it goes on, and gives the results to `take` in the same order.
/// Says what `gather` said, unless `take` failed.
pub(super) fn fit_all<T>(
    threads: NonZeroUsize,
    fit: impl Fn(&Series) -> Result<ChannelFit, FitFailure> + Sync,
    gather: impl FnOnce(Dealer) -> anyhow::Result<T>,
    mut take: impl FnMut(Outcome) -> anyhow::Result<()> + Send,
) -> anyhow::Result<T> {
    let fit = &fit;
    scope(|scope| {
        let (mut queues, mut results): (Vec<SyncSender<Job>>, Vec<Receiver<Outcome>>) = Default::default();
        for number in 0..threads.get() {
            let (queue, jobs) = sync_channel::<Job>(DEPTH);
            let (done, result) = sync_channel(DEPTH);
            let work = move || {
                for job in jobs {
                    let fitted = job.series.and_then(|series| Ok(fit(&series)?));
                    if done.send((job.channel, fitted)).is_err() {
                        return;
                    }
                }
            };
            let thread = Builder::new().name(format!("fit-{number}"));
            thread.spawn_scoped(scope, work).context("start a thread to fit")?;
            queues.push(queue);
            results.push(result);
        }
        let taking = move || {
            let in_turn = results.iter().cycle();
            in_turn.map_while(|result| result.recv().ok()).try_for_each(&mut take)
        };
        let taker = Builder::new().name("forecasts".to_owned()).spawn_scoped(scope, taking);
        let taker = taker.context("start a thread for forecasts")?;
        let gathered = gather(Dealer { queues, dealt: 0 });
        taker.join().unwrap_or_else(|panic| resume_unwind(panic)).and(gathered)
    })
}

#[cfg(test)]
mod tests {
    use forecastd_models::{FitSpec, Frequency, GapPolicy, Grid, Timestamp};

    use crate::work::fit::fit_channel;

    use super::*;

    fn job(number: usize) -> Job {
        let values = (0..50 + number * 37 % 400).map(|i| (i % 7) as f64).collect();
        let grid = Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(1).expect("positive"),
        };
        let channel = ChannelName::from(number.to_string());
        Job {
            channel: ChannelName::clone(&channel),
            series: Ok(Series {
                channel,
                grid,
                first_slot: 0,
                values,
            }),
        }
    }

    fn fit(series: &Series) -> Result<ChannelFit, FitFailure> {
        let spec = FitSpec {
            horizon: NonZeroUsize::MIN,
            levels: Vec::new(),
            max_lookback: 8,
            gaps: GapPolicy::Interpolate,
        };
        fit_channel(series, &spec)
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs_whatever_the_number_of_threads() {
        let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        for threads in [1, 3] {
            let mut names = Vec::new();
            let deal = |mut dealer: Dealer| {
                (0..200).for_each(|number| dealer.deal(job(number)));
                Ok(())
            };
            let take = |(channel, _): Outcome| {
                names.push(channel.to_string());
                Ok(())
            };
            fit_all(NonZeroUsize::new(threads).expect("not zero"), fit, deal, take).expect("taken");
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn a_result_that_cannot_be_taken_ends_all_threads_with_its_error() {
        let deal = |mut dealer: Dealer| {
            (0..200).for_each(|number| dealer.deal(job(number)));
            Ok(())
        };
        let error = fit_all(NonZeroUsize::MIN, fit, deal, |_| anyhow::bail!("the disk is full"));
        assert_eq!(error.expect_err("an error").to_string(), "the disk is full");
    }
}
