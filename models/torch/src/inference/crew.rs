//! A network on several threads, each of which computes a part of a batch by itself.
//!
//! libtorch's own threads meet after every operation of a network. That costs a small one more than it gains, and
//! whoever waits there keeps a processor busy that the daemon needs. Parts of a batch meet once, when all are done.

use std::borrow::Cow;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use forecastd_models::dasha::ModelDescription;

use super::AWAKE;
use crate::artifact::Artifact;
use crate::device::Placement;
use crate::job::guarded;
use crate::predictor::{Outputs, Predictor, sample_bytes};

/// Members beyond this are not worth their copies of the weights.
const MOST_MEMBERS: i32 = 8;

/// From this time on, a pass of a single sample is so much work that libtorch's own threads are worth their meetings.
const LONG: Duration = Duration::from_millis(20);

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
    outputs: Option<Receiver<Result<Outputs, String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    /// As many as there are threads, as far as memory has room for a sample of each.
    ///
    /// # Errors
    ///
    /// Weights that are not the network's; no thread is to be had.
    pub(super) fn gather(artifact: &Artifact, placement: &Placement, threads: i32) -> anyhow::Result<Self> {
        let room = placement.memory / sample_bytes(&artifact.description().architecture);
        let count = room.min(threads.min(MOST_MEMBERS) as usize).max(1);
        let share = Placement {
            memory: placement.memory / count,
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

    /// Has every network say what it says of zeros, so that what libtorch compiles and allocates is there. How long it
    /// takes tells whether `threads` of libtorch's own shall compute what has no parts.
    ///
    /// # Errors
    ///
    /// It does not compute, or not with finite numbers.
    pub(super) fn warm(&mut self, threads: i32) -> anyhow::Result<()> {
        let zeros = vec![0; self.size() * self.description().input_bytes()];
        let started = Instant::now();
        let outputs = self.answer(&[&zeros])?;
        self.threads_of_one = if started.elapsed() > LONG { threads } else { 1 };
        match outputs.not_finite.first() {
            None => Ok(()),
            Some((_, reason)) => Err(anyhow!("the network makes nothing of zeros: {reason}")),
        }
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
        // `tch` panics where it has no call that fails, and the members' answers must not be left for the next batch.
        let outputs = guarded(|| self.compute_own(own, samples == 1)).map_err(anyhow::Error::msg);
        // Everybody is heard before anybody's failure counts.
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

    fn compute_own(&self, records: &[u8], is_all: bool) -> anyhow::Result<Outputs> {
        let threads = if is_all { self.threads_of_one } else { 1 };
        if tch::get_num_threads() != threads {
            tch::set_num_threads(threads);
        }
        self.own.answer(records)
    }
}

impl Member {
    fn start(predictor: Predictor) -> anyhow::Result<Self> {
        let (parts, given) = sync_channel::<Vec<u8>>(1);
        let (give, outputs) = sync_channel(1);
        let thread = thread::Builder::new().name("compute".to_owned()).spawn(move || {
            tch::set_num_threads(1);
            while let Ok(part) = soon(&given) {
                if give.send(guarded(|| predictor.answer(&part))).is_err() {
                    return; // the crew is gone
                }
            }
        })?;
        Ok(Self {
            parts: Some(parts),
            outputs: Some(outputs),
            thread: Some(thread),
        })
    }

    fn ask(&self, part: &[u8]) -> anyhow::Result<()> {
        let parts = self.parts.as_ref().context("the member is leaving")?;
        parts.send(part.to_vec()).context("a computing thread has ended")
    }

    fn hear(&self) -> anyhow::Result<Outputs> {
        let outputs = self.outputs.as_ref().context("the member is leaving")?;
        let outputs = soon(outputs).context("a computing thread has ended")?;
        outputs.map_err(anyhow::Error::msg)
    }
}

/// What comes next, looked for awake at first: parts are often as short as it takes to be woken.
fn soon<T>(receiver: &Receiver<T>) -> Result<T, RecvError> {
    let awake_until = Instant::now() + AWAKE;
    while Instant::now() < awake_until {
        match receiver.try_recv() {
            Ok(value) => return Ok(value),
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(TryRecvError::Disconnected) => return Err(RecvError),
        }
    }
    receiver.recv()
}

impl Drop for Member {
    fn drop(&mut self) {
        (self.parts, self.outputs) = (None, None);
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
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::artifact::save;
    use crate::artifact::tests::{described, network};

    /// Bytes of a sample of sixteen singles.
    const RECORD: usize = 64;

    fn artifact() -> Artifact {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, _) = network(&described());
        let path = folder.path().join("a");
        save(&path, &described(), &store.variables(), b"").expect("it is saved");
        Artifact::open(&path).expect("it was just saved") // its weights are in memory by now
    }

    /// The same network alone, and by so many threads.
    fn alone_and_together(threads: i32) -> (Predictor, Crew) {
        let (artifact, placement) = (artifact(), Placement::on_cpu());
        let crew = Crew::gather(&artifact, &placement, threads).expect("it fits");
        (Predictor::new(&artifact, &placement).expect("it fits"), crew)
    }

    fn samples(count: i64) -> Vec<u8> {
        let values = Tensor::randn([count * 16], (Kind::Float, Device::Cpu));
        let values: Vec<f32> = Vec::try_from(values).expect("numbers");
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    }

    fn numbers(outputs: &Outputs) -> Vec<f32> {
        let values = outputs.records.as_chunks().0.iter();
        values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let mut pairs = found.iter().zip(expected);
        assert!(
            pairs.all(|(found, wanted)| (found - wanted).abs() < 1e-5),
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn a_batch_in_parts_is_answered_as_the_whole_and_in_its_order() {
        let (alone, crew) = alone_and_together(3);
        for count in 1..=7 {
            let records = samples(count);
            let expected = numbers(&alone.answer(&records).expect("it computes"));
            let (first, second) = records.split_at(RECORD);
            let found = numbers(&crew.answer(&[first, second]).expect("it computes"));
            assert_near(&found, &expected);
        }
    }

    #[test]
    fn a_fault_is_that_of_its_sample_whoever_computed_it() {
        let (_, crew) = alone_and_together(3);
        for odd in 0..7 {
            let mut records = samples(7);
            records[odd * RECORD..odd * RECORD + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            let outputs = crew.answer(&[&records]).expect("it computes");
            let told: Vec<usize> = outputs.not_finite.iter().map(|(sample, _)| *sample).collect();
            assert_eq!(told, [odd]);
        }
    }

    #[test]
    fn who_waits_hears_what_comes_while_awake_what_comes_later_and_that_nobody_is_left() {
        for after in [Duration::ZERO, 20 * AWAKE] {
            let (give, given) = sync_channel(1);
            let giver = thread::spawn(move || {
                thread::sleep(after);
                give.send(after).expect("somebody waits");
            });
            assert_eq!(soon(&given), Ok(after));
            giver.join().expect("it has given");
            assert_eq!(soon(&given), Err(RecvError));
        }
    }

    #[test]
    fn a_batch_after_one_that_failed_gets_its_own_answers() {
        let (alone, mut crew) = alone_and_together(2);
        let member = crew.members.pop().expect("there are two");
        member.ask(&[0; RECORD + 1]).expect("it listens");
        assert!(member.hear().is_err(), "no whole record");
        crew.members.push(member);
        let odd = [&samples(2)[..], &[0]].concat();
        assert!(crew.answer(&[&odd]).is_err());
        let records = samples(2);
        let expected = numbers(&alone.answer(&records).expect("it computes"));
        let found = numbers(&crew.answer(&[&records]).expect("it computes"));
        assert_near(&found, &expected);
    }

    #[test]
    fn memory_for_one_sample_has_a_crew_of_one() {
        let artifact = artifact();
        let one = sample_bytes(&described().architecture);
        let size = |memory| {
            let placement = Placement {
                memory,
                ..Placement::on_cpu()
            };
            Crew::gather(&artifact, &placement, 4).expect("it fits").size()
        };
        assert_eq!([size(0), size(one), size(3 * one), size(9 * one)], [1, 1, 3, 4]);
    }

    #[test]
    fn parts_are_as_equal_as_can_be_and_lose_nothing() {
        assert_eq!(shares(8, 2), [4, 4]);
        assert_eq!(shares(7, 3), [3, 2, 2]);
        assert_eq!(shares(1, 4), [1, 0, 0, 0]);
    }
}
