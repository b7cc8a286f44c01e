//! A network on several threads, each of which computes a part of a batch by itself.
//!
//! libtorch's own threads meet after every operation of a network. That costs a small one more than it gains, and
//! whoever waits there keeps a processor busy that the daemon needs. Parts of a batch meet once, when all are done.

use std::borrow::Cow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use forecastd_models::dasha::ModelDescription;

use crate::artifact::Artifact;
use crate::device::Placement;
use crate::job::guarded;
use crate::predictor::{Outputs, Predictor};

/// Members beyond this are not worth their copies of the weights.
const MOST_MEMBERS: i32 = 8;

/// How much faster libtorch's own threads must be with a single sample to be worth that they meet so often.
const WORTH_MEETING: f64 = 0.7;

/// Passes of which the fastest tells how long one takes.
const PASSES: usize = 5;

/// Equal networks: one for the thread that asks, one for each member.
#[derive(Debug)]
pub(super) struct Crew {
    own: Predictor,
    members: Vec<Member>,
    /// libtorch's threads for a single sample, which has no parts.
    threads_of_one: i32,
}

/// A thread with a network.
#[derive(Debug)]
struct Member {
    parts: Option<SyncSender<Vec<u8>>>,
    outputs: Receiver<Result<Outputs, String>>,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    /// As many as there are threads; on a GPU one alone.
    ///
    /// # Errors
    ///
    /// Weights that are not the network's; no thread is to be had.
    pub(super) fn gather(artifact: &Artifact, placement: &Placement, threads: i32) -> anyhow::Result<Self> {
        let count = if placement.device.is_cuda() {
            1
        } else {
            threads.clamp(1, MOST_MEMBERS)
        };
        let share = Placement {
            memory: placement.memory / count as usize,
            ..placement.clone()
        };
        let member = |_| Member::start(Predictor::new(artifact, &share)?);
        Ok(Self {
            members: (1..count).map(member).collect::<anyhow::Result<_>>()?,
            own: Predictor::new(artifact, &share)?,
            threads_of_one: 1,
        })
    }

    /// All but the weights.
    pub(super) fn description(&self) -> &ModelDescription {
        self.own.description()
    }

    /// Samples that memory allows at once.
    pub(super) fn most(&self) -> usize {
        self.own.most() * self.size()
    }

    fn size(&self) -> usize {
        1 + self.members.len()
    }

    /// Has every network say what it says of zeros, so that what libtorch compiles and allocates is there.
    ///
    /// # Errors
    ///
    /// It does not compute, or not with finite numbers.
    pub(super) fn warm(&self) -> anyhow::Result<()> {
        let zeros = vec![0; self.size() * self.description().input_bytes()];
        let outputs = self.answer(&[&zeros])?;
        match outputs.not_finite.first() {
            None => Ok(()),
            Some((_, reason)) => Err(anyhow!("the network makes nothing of zeros: {reason}")),
        }
    }

    /// Finds out whether `threads` of libtorch's own are worth their meetings where there is one sample. To be asked on
    /// the thread that will compute: libtorch keeps the number by thread.
    ///
    /// # Errors
    ///
    /// What libtorch says.
    pub(super) fn measure(&mut self, threads: i32) -> anyhow::Result<()> {
        if threads < 2 {
            return Ok(());
        }
        let (alone, together) = (self.pass_on(1)?, self.pass_on(threads)?);
        tch::set_num_threads(1);
        if together < alone.mul_f64(WORTH_MEETING) {
            self.threads_of_one = threads;
        }
        Ok(())
    }

    fn pass_on(&self, threads: i32) -> anyhow::Result<Duration> {
        tch::set_num_threads(threads);
        let zeros = vec![0; self.description().input_bytes()];
        let once = || {
            let started = Instant::now();
            self.own.answer(&zeros).map(|_| started.elapsed())
        };
        once()?; // its threads are started
        let passes: Vec<Duration> = (0..PASSES).map(|_| once()).collect::<anyhow::Result<_>>()?;
        passes.into_iter().min().context("there are passes")
    }

    /// What the network says of whole records of all requests, end to end.
    ///
    /// # Errors
    ///
    /// What is no whole number of records; what libtorch says of any part.
    pub(super) fn answer(&self, requests: &[&[u8]]) -> anyhow::Result<Outputs> {
        let record = self.description().input_bytes();
        let records: Cow<'_, [u8]> = match requests {
            [alone] => Cow::Borrowed(alone),
            _ => Cow::Owned(requests.concat()),
        };
        let samples = records.len() / record;
        ensure!(
            samples * record == records.len(),
            "there are no whole records of {record} bytes"
        );
        let shares = shares(samples, self.size());
        let (own, mut rest) = records.split_at(shares[0] * record);
        let mut asked = Vec::new();
        for (member, share) in self.members.iter().zip(&shares[1..]).filter(|(_, share)| **share > 0) {
            let (part, left) = rest.split_at(share * record);
            rest = left;
            asked.push((member, *share, member.ask(part)));
        }
        let outputs = self.compute_own(own);
        // Everybody is heard before anybody's failure counts, so that no answer is left for the next batch.
        let heard: Vec<_> = asked
            .into_iter()
            .map(|(member, share, asked)| (share, asked.and_then(|()| member.hear())))
            .collect();
        let mut all = outputs?;
        let mut first = shares[0];
        for (share, outputs) in heard {
            let outputs = outputs?;
            let faults = outputs.not_finite.into_iter();
            all.not_finite
                .extend(faults.map(|(sample, reason)| (first + sample, reason)));
            all.records.extend(outputs.records);
            first += share;
        }
        Ok(all)
    }

    fn compute_own(&self, records: &[u8]) -> anyhow::Result<Outputs> {
        let is_one = records.len() == self.description().input_bytes();
        if !is_one || self.threads_of_one == 1 {
            return self.own.answer(records);
        }
        tch::set_num_threads(self.threads_of_one);
        let outputs = self.own.answer(records);
        tch::set_num_threads(1);
        outputs
    }
}

impl Member {
    fn start(predictor: Predictor) -> anyhow::Result<Self> {
        let (parts, given) = sync_channel::<Vec<u8>>(1);
        let (give, outputs) = sync_channel(1);
        let thread = thread::Builder::new().name("compute".to_owned()).spawn(move || {
            tch::set_num_threads(1);
            for part in given {
                if give.send(guarded(|| predictor.answer(&part))).is_err() {
                    return; // the crew is gone
                }
            }
        })?;
        Ok(Self {
            parts: Some(parts),
            outputs,
            thread: Some(thread),
        })
    }

    fn ask(&self, part: &[u8]) -> anyhow::Result<()> {
        let parts = self.parts.as_ref().context("the member is leaving")?;
        parts.send(part.to_vec()).context("a computing thread has ended")
    }

    fn hear(&self) -> anyhow::Result<Outputs> {
        let outputs = self.outputs.recv().context("a computing thread has ended")?;
        outputs.map_err(anyhow::Error::msg)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.parts = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// As equal as can be, the first ones larger.
fn shares(samples: usize, parts: usize) -> Vec<usize> {
    let (each, more) = (samples / parts, samples % parts);
    (0..parts).map(|part| each + usize::from(part < more)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_equal_as_can_be_and_lose_nothing() {
        assert_eq!(shares(8, 2), [4, 4]);
        assert_eq!(shares(7, 3), [3, 2, 2]);
        assert_eq!(shares(1, 4), [1, 0, 0, 0]);
    }
}
