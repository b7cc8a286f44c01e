//! Requests that wait for one version, and the batches that they become.
//!
//! After a child has ended over a batch, that batch is a **suspect**: it is tried once more as it was, then in halves,
//! and so on until a request over which children keep ending is alone and known. Fresh requests never join suspects.
//!
//! A request that is too large for a batch has a **part** in several, and goes to the end of the line after each: those
//! who came after it wait for a part of it, never for the whole.

use std::collections::VecDeque;
use std::time::Instant;

use super::request::{Part, Pending};

/// Children that may end over a batch before it is halved, or its only request given up.
const LIVES: u32 = 2;

/// Requests that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    suspects: VecDeque<Batch>,
    fresh: VecDeque<Pending>,
    samples: usize,
    bytes: usize,
}

/// Requests, or parts of them, that are computed at once; at least one.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) parts: Vec<Part>,
    /// Children that ended over just these requests.
    deaths: u32,
    pub(super) is_suspect: bool,
}

/// What to do after a child has ended over a batch.
#[derive(Debug)]
pub(super) struct Verdict {
    /// To be tried again, in this order.
    pub(super) again: Vec<Batch>,
    /// The request to blame, if that is known.
    pub(super) poison: Option<Pending>,
}

impl Queue {
    pub(super) fn push(&mut self, pending: Pending) {
        self.samples += pending.samples();
        self.bytes += pending.bytes();
        self.fresh.push_back(pending);
    }

    /// To the end of the line, with what is left of it.
    pub(super) fn rejoin(&mut self, mut pending: Pending, now: Instant) {
        pending.in_line = now;
        pending.set_sent(false);
        self.push(pending);
    }

    /// To be tried before anything else.
    pub(super) fn put_back(&mut self, batches: Vec<Batch>) {
        for batch in batches.into_iter().rev() {
            for part in &batch.parts {
                part.pending.set_sent(false);
                self.samples += part.pending.samples();
                self.bytes += part.pending.bytes();
            }
            self.suspects.push_front(batch);
        }
    }

    /// Samples that wait.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.suspects.is_empty() && self.fresh.is_empty()
    }

    /// Since when the first in line waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let suspects = self.suspects.front().and_then(|batch| batch.parts.first());
        let suspects = suspects.map(|part| &part.pending);
        let fresh = self.fresh.front();
        suspects.or(fresh).map(|pending| pending.in_line)
    }

    /// Lets go of those who need no answer any more.
    pub(super) fn drop_moot(&mut self, now: Instant) {
        let fresh = std::mem::take(&mut self.fresh);
        self.fresh = fresh
            .into_iter()
            .filter_map(|pending| still_wanted(pending, now))
            .collect();
        let suspects = std::mem::take(&mut self.suspects).into_iter();
        self.suspects = suspects.filter_map(|batch| batch.still_wanted(now)).collect();
        self.samples = self.all().map(Pending::samples).sum();
        self.bytes = self.all().map(Pending::bytes).sum();
    }

    /// The next batch: the oldest suspects, or all fresh requests up to so many samples and bytes, and one sample in any
    /// case. A request that fits into one batch is not divided. Those who need no answer any more are let go.
    pub(super) fn next_batch(&mut self, most: usize, most_bytes: usize, now: Instant) -> Option<Batch> {
        while let Some(batch) = self.suspects.pop_front() {
            self.forget(batch.parts.iter().map(|part| &part.pending));
            if let Some(batch) = batch.still_wanted(now) {
                return Some(batch);
            }
        }
        let mut parts: Vec<Part> = Vec::new();
        let (mut room, mut room_bytes) = (most, most_bytes);
        while let Some(pending) = self.fresh.pop_front() {
            let fits = room.min(room_bytes / pending.record().max(1));
            let fits_some_batch = pending.samples() <= most && pending.bytes() <= most_bytes;
            if !parts.is_empty() && (fits == 0 || fits_some_batch && fits < pending.samples()) {
                self.fresh.push_front(pending);
                break;
            }
            self.forget([&pending]);
            if let Some(pending) = still_wanted(pending, now) {
                let part = pending.part(fits);
                room = room.saturating_sub(part.samples);
                room_bytes = room_bytes.saturating_sub(part.bytes());
                parts.push(part);
            }
        }
        Batch::fresh(parts)
    }

    /// Everything, to be answered otherwise.
    pub(super) fn take_all(&mut self) -> Vec<Pending> {
        let queue = std::mem::take(self);
        let suspects = queue.suspects.into_iter().flat_map(|batch| batch.parts);
        suspects.map(|part| part.pending).chain(queue.fresh).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Pending> {
        let suspects = self.suspects.iter().flat_map(|batch| &batch.parts);
        suspects.map(|part| &part.pending).chain(&self.fresh)
    }

    fn forget<'p>(&mut self, requests: impl IntoIterator<Item = &'p Pending>) {
        for pending in requests {
            self.samples -= pending.samples();
            self.bytes -= pending.bytes();
        }
    }
}

impl Batch {
    fn fresh(parts: Vec<Part>) -> Option<Self> {
        Self {
            parts,
            deaths: 0,
            is_suspect: false,
        }
        .unless_empty()
    }

    pub(super) fn samples(&self) -> usize {
        self.parts.iter().map(|part| part.samples).sum()
    }

    /// A child ended over it.
    pub(super) fn after_death(mut self) -> Verdict {
        self.deaths += 1;
        self.is_suspect = true;
        for part in &mut self.parts {
            part.pending.deaths += 1;
        }
        if self.deaths < LIVES {
            return Verdict {
                again: vec![self],
                poison: None,
            };
        }
        self.divided()
    }

    /// The child lives, but the batch broke: what breaks it is to be found.
    pub(super) fn after_failure(self) -> Verdict {
        self.divided()
    }

    /// Halves, or the only request as the one to blame. One death of each half is counted already: the batch's last.
    fn divided(mut self) -> Verdict {
        if self.parts.len() < 2 {
            let poison = self.parts.pop().map(|part| part.pending);
            return Verdict {
                again: Vec::new(),
                poison,
            };
        }
        let second = self.parts.split_off(self.parts.len() / 2);
        let half = |parts| Self {
            parts,
            deaths: LIVES - 1,
            is_suspect: true,
        };
        Verdict {
            again: vec![half(self.parts), half(second)],
            poison: None,
        }
    }

    fn still_wanted(mut self, now: Instant) -> Option<Self> {
        let wanted = |Part { pending, samples }| Some(still_wanted(pending, now)?.part(samples));
        self.parts = self.parts.into_iter().filter_map(wanted).collect();
        self.unless_empty()
    }

    fn unless_empty(self) -> Option<Self> {
        (!self.parts.is_empty()).then_some(self)
    }
}

/// The request, or its end.
fn still_wanted(pending: Pending, now: Instant) -> Option<Pending> {
    if pending.is_moot(now) {
        pending.too_late();
        return None;
    }
    Some(pending)
}
