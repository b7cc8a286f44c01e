//! Requests: queued, sent as batches, answered one by one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forecastd_models::dasha::{ModelDescription, Task};
use forecastd_models::inference::{Fault, Request};

use super::{AWAKE, Machine};
use crate::message::inference::{InferenceAnswer, InferenceError, ModelCounts, Outputs};
use crate::work::inference::check_input_length;
use crate::work::inference::queue::{Batch, Queue, Verdict};
use crate::work::inference::request::{Part, Pending};
use crate::work::inference::roster::{Key, Standing};

/// Bytes of samples in one batch: it and its copies are memory of both processes.
const BATCH_BYTES: usize = 64 << 20;

/// The part of the last batch's time that the next may wait for the callers of the last, who often ask again at once:
/// without it, the first of them makes a batch by itself and the others wait for that.
const LINGER_PART: u32 = 8;

/// The longest such wait.
const LONGEST_LINGER: Duration = Duration::from_millis(1);

/// A batch that the child computes.
#[derive(Debug)]
pub(super) struct Flight {
    id: u64,
    pub(super) key: Key,
    batch: Batch,
    pub(super) since: Instant,
}

/// The answer of a child to a batch, which may be true.
#[derive(Debug)]
struct Read {
    /// Of the network that computed it.
    version: Arc<str>,
    description: Arc<ModelDescription>,
    /// For each part why it failed, if it did.
    reasons: Vec<Option<String>>,
}

/// A moment in which callers who have just been answered may ask again.
#[derive(Debug)]
pub(super) struct Linger {
    key: Key,
    /// So many wait if all come: the callers of the last batch, and those who waited before them.
    samples: usize,
    pub(super) until: Instant,
}

impl Flight {
    /// Whether a child has ended over this batch before.
    pub(super) fn is_suspect(&self) -> bool {
        self.batch.is_suspect
    }

    /// Samples of its requests that are in no batch yet, and their bytes.
    fn left(&self) -> (usize, usize) {
        let parts = self.batch.parts.iter();
        let left = parts.map(|part| {
            let samples = part.pending.samples() - part.samples;
            (samples, samples * part.pending.record())
        });
        left.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

impl Machine {
    /// Somebody asks.
    pub(in crate::work::inference) fn request(&mut self, pending: Pending, now: Instant) {
        match self.admit(&pending, now) {
            Ok(key) => {
                let queue = self.queues.entry(key).or_default();
                queue.push(pending);
                self.show_waiting(key);
            }
            Err(error) => pending.answer(Err(error)),
        }
    }

    /// The version that a request is for, if it may wait for it.
    fn admit(&mut self, pending: &Pending, now: Instant) -> Result<Key, InferenceError> {
        let key = self.roster.resolve(&pending.request)?;
        if let Some(error) = self.absent.as_ref().filter(|_| self.backoff.until(now).is_some()) {
            let reason = error.to_string();
            return Err(InferenceError::Unavailable { reason });
        }
        // Asked before, but perhaps of another version: the pointer may have moved since.
        if let Some(description) = self.roster.get(key).and_then(|entry| entry.description.as_ref()) {
            check_input_length(&pending.request, description)?;
        }
        if self.is_full(key, pending) {
            self.queues.values_mut().for_each(|queue| queue.drop_moot(now));
        }
        if self.is_full(key, pending) {
            return Err(InferenceError::Overloaded {
                model: Arc::clone(&pending.request.model),
                waiting: self.queues.get(&key).map_or(0, Queue::samples),
            });
        }
        Ok(key)
    }

    /// Whether there is no room for it. Where nothing waits, there is room for any. What is left of large requests waits,
    /// while parts of them are computed, too.
    fn is_full(&self, key: Key, pending: &Pending) -> bool {
        let (left, left_bytes) = self.flight.as_ref().map_or((0, 0), Flight::left);
        let is_in_flight = self.flight.as_ref().is_some_and(|flight| flight.key == key);
        let samples = self.queues.get(&key).map_or(0, Queue::samples) + if is_in_flight { left } else { 0 };
        let bytes = self.queues.values().map(Queue::bytes).sum::<usize>() + left_bytes;
        let too_many = samples > 0 && samples + pending.samples() > self.limits.waiting;
        too_many || (bytes > 0 && bytes + pending.bytes() > self.limits.waiting_bytes)
    }

    /// Sends the next batch, if the child is idle: the version whose first request waits longest is next.
    pub(super) fn send_next(&mut self, now: Instant) {
        while self.flight.is_none() {
            let Some(key) = self.next_key() else { return };
            if self.lingers(key) {
                return;
            }
            let batch = self.next_batch(key, now);
            self.show_waiting(key);
            if let Some(batch) = batch {
                self.launch(key, batch, now);
            }
        }
    }

    fn next_key(&self) -> Option<Key> {
        let ready = |key: &Key| {
            self.roster
                .get(*key)
                .is_some_and(|entry| entry.standing == Standing::Ready)
        };
        let waiting = self.queues.iter().filter(|(key, _)| ready(key));
        let oldest = waiting.filter_map(|(key, queue)| Some((queue.oldest()?, *key)));
        oldest.min().map(|(_, key)| key)
    }

    /// Whether the next batch of this version still waits for callers of the last, for whom it has room.
    fn lingers(&self, key: Key) -> bool {
        let waiting = self.queues.get(&key).map_or(0, Queue::samples);
        let linger = self.linger.as_ref().filter(|linger| linger.key == key);
        linger.is_some_and(|linger| waiting < linger.samples.min(self.most_at_once(key)))
    }

    /// Whether a batch leaves the child a processor to spare, and soon ends. More samples than one keep all busy.
    pub(super) fn is_short(&self, flight: &Flight) -> bool {
        let entry = self.roster.get(flight.key);
        flight.batch.samples() == 1 && entry.is_some_and(|entry| entry.samples_within(AWAKE) > 0)
    }

    fn next_batch(&mut self, key: Key, now: Instant) -> Option<Batch> {
        let most = self.most_at_once(key);
        self.queues.get_mut(&key)?.next_batch(most, BATCH_BYTES, now)
    }

    /// Samples of a batch at most.
    fn most_at_once(&self, key: Key) -> usize {
        let Some(entry) = self.roster.get(key) else { return 1 };
        let most = entry.most.min(self.limits.batch as usize);
        most.min(entry.samples_within(self.limits.turn)).max(1)
    }

    fn launch(&mut self, key: Key, batch: Batch, now: Instant) {
        let id = self.next_id();
        let counts = batch.parts.iter().map(|part| part.samples as u32).collect();
        let slices: Vec<&[u8]> = batch.parts.iter().map(Part::inputs).collect();
        if !self.send(&Request::Infer { id, key, counts }, &slices) {
            for part in batch.parts {
                let reason = "the samples are too large to be sent".to_owned();
                part.pending.answer(Err(InferenceError::Failed { reason }));
            }
            return;
        }
        for part in &batch.parts {
            part.pending.set_sent(true);
        }
        self.linger = None;
        self.count(key, |counts| counts.batches.add(batch.samples() as u32));
        self.flight = Some(Flight {
            id,
            key,
            batch,
            since: now,
        });
    }

    /// The child has computed a batch.
    pub(super) fn answered(
        &mut self,
        id: u64,
        faults: Vec<Fault>,
        compute: Duration,
        slices: Vec<Vec<u8>>,
        now: Instant,
    ) -> Result<(), String> {
        let flight = self.landed(id)?;
        let read = match self.read_answer(&flight, faults, &slices) {
            Ok(read) => read,
            Err(fault) => {
                self.flight = Some(flight); // it is tried again, by another child
                return Err(fault);
            }
        };
        let Read {
            version,
            description,
            mut reasons,
        } = read;
        let samples = flight.batch.samples() as u32;
        self.count(flight.key, |counts| counts.compute += compute);
        self.roster.took(flight.key, compute / samples.max(1));
        let mut answered = samples as usize;
        for (place, (part, slice)) in flight.batch.parts.into_iter().zip(slices).enumerate() {
            let of_part = part.samples;
            if let Some(reason) = reasons[place].take() {
                part.pending.answer(Err(InferenceError::Failed { reason }));
                continue;
            }
            let mut pending = part.heard(slice, flight.since, compute);
            if pending.samples() > 0 {
                answered -= of_part;
                self.queues.entry(flight.key).or_default().rejoin(pending, now);
                continue;
            }
            let said = std::mem::take(&mut pending.progress);
            let outputs = outputs(&description, &pending.request.inputs, said.outputs);
            pending.answer(Ok(InferenceAnswer {
                version: Arc::clone(&version),
                description: Arc::clone(&description),
                outputs,
                queue: said.queue,
                compute: said.compute,
                batch: samples,
            }));
        }
        let waiting = self.queues.get(&flight.key).map_or(0, Queue::samples);
        self.linger = Some(Linger {
            key: flight.key,
            samples: waiting + answered,
            until: now + (compute / LINGER_PART).min(LONGEST_LINGER),
        });
        self.show_waiting(flight.key);
        Ok(())
    }

    /// What the child says of a batch, or how that cannot be true.
    fn read_answer(&self, flight: &Flight, faults: Vec<Fault>, slices: &[Vec<u8>]) -> Result<Read, String> {
        let Some(entry) = self.roster.get(flight.key) else {
            return Err("computed with a network that is gone".to_owned());
        };
        let Some(description) = &entry.description else {
            return Err("computed with a network that it had not loaded".to_owned());
        };
        let parts = &flight.batch.parts;
        let (record, reasons) = (description.output_bytes(), reasons(faults, parts)?);
        let strange = |(place, part): (usize, &Part)| {
            reasons[place].is_none() && slices.get(place).map(Vec::len) != Some(part.samples * record)
        };
        if slices.len() != parts.len() || parts.iter().enumerate().any(strange) {
            return Err("answered what cannot be true: records that do not add up".to_owned());
        }
        Ok(Read {
            version: Arc::clone(&entry.version),
            description: Arc::clone(description),
            reasons,
        })
    }

    /// The child could not compute a batch.
    pub(super) fn failed(&mut self, id: u64, message: &str) -> Result<(), String> {
        let flight = self.landed(id)?;
        let verdict = flight.batch.after_failure();
        self.carry_out(flight.key, verdict, |_| InferenceError::Failed {
            reason: format!("libtorch: {message}"),
        });
        Ok(())
    }

    /// The child ended over a batch.
    pub(super) fn bury(&mut self, flight: Flight, how: &str) {
        let verdict = flight.batch.after_death();
        self.carry_out(flight.key, verdict, |pending| InferenceError::Poison {
            deaths: pending.deaths,
            how: how.to_owned(),
        });
    }

    fn carry_out(&mut self, key: Key, verdict: Verdict, error: impl FnOnce(&Pending) -> InferenceError) {
        if let Some(pending) = verdict.poison {
            let error = error(&pending);
            pending.answer(Err(error));
        }
        let retried: usize = verdict.again.iter().map(|batch| batch.parts.len()).sum();
        self.queues.entry(key).or_default().put_back(verdict.again);
        self.count(key, |counts| counts.retried += retried as u64);
        self.show_waiting(key);
    }

    fn landed(&mut self, id: u64) -> Result<Flight, String> {
        let flight = self.flight.take_if(|flight| flight.id == id);
        flight.ok_or_else(|| "answered what nobody asked".to_owned())
    }

    fn count(&self, key: Key, count: impl FnOnce(&mut ModelCounts)) {
        if let Some(entry) = self.roster.get(key) {
            self.board.count(&entry.name, count);
        }
    }

    /// After queues of any versions were emptied.
    pub(super) fn show_all_waiting(&self) {
        self.queues.keys().for_each(|key| self.show_waiting(*key));
    }

    fn show_waiting(&self, key: Key) {
        let Some(entry) = self.roster.get(key) else { return };
        let of_name = |key: &Key| self.roster.get(*key).is_some_and(|other| other.name == entry.name);
        let queues = self.queues.iter().filter(|(key, _)| of_name(key));
        let waiting = queues.map(|(_, queue)| queue.samples()).sum();
        self.board.count(&entry.name, |counts| counts.waiting = waiting);
    }
}

/// For each part of a batch why it failed, if it did.
fn reasons(faults: Vec<Fault>, parts: &[Part]) -> Result<Vec<Option<String>>, String> {
    let mut reasons = vec![None; parts.len()];
    for fault in faults {
        let place = fault.request as usize;
        let part = parts.get(place);
        let part = part.ok_or_else(|| "answered what cannot be true: a fault of no request".to_owned())?;
        let sample = part.first() + fault.sample as usize;
        reasons[place] = Some(format!("sample {sample}: {}", fault.reason));
    }
    Ok(reasons)
}

/// What the records of an answer say, and nothing of what only fills a sequence up.
fn outputs(description: &ModelDescription, inputs: &[u8], mut records: Vec<u8>) -> Outputs {
    if description.architecture.task == Task::Segment {
        description.unsay_fill(inputs, &mut records);
        return Outputs::Classes(records);
    }
    let scores = records.as_chunks().0.iter();
    Outputs::Scores(scores.map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
