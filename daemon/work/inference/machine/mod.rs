//! What is decided about the serving child and its requests. It touches nothing: it is told what happened, and says
//! what to do; callers are answered through the tickets that they hold.

mod requests;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecastd_models::frame::Frame;
use forecastd_models::inference::{PROTOCOL, Reply, Request};
use forecastd_models::torch_job::Hello;
use tracing::{info, warn};

use self::requests::{Flight, Linger};
use super::Limits;
use super::board::Board;
use super::queue::Queue;
use super::roster::{Key, Roster};
use crate::message::inference::InferenceError;
use crate::message::torch_status::TorchStatus;
use crate::work::torch_process::backoff::Backoff;
use crate::work::torch_process::{Pace, TorchError};

/// The longest answer that is waited for awake.
const AWAKE: Duration = Duration::from_micros(500);

/// So many children in a row that end before they greet, and nobody waits for the next one.
const STILLBORN: u32 = 3;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a child.
    Start,
    /// Send it this frame.
    Send(Vec<u8>),
    /// End it, for this reason.
    Kill(String),
}

/// A child, as far as its words tell.
#[derive(Debug)]
enum Child {
    Absent,
    /// Started, and silent so far.
    Silent {
        since: Instant,
    },
    Up {
        since: Instant,
        heard: Instant,
        /// A ping without an answer, and when it was sent.
        ping: Option<(u64, Instant)>,
    },
    /// Being ended.
    Ending {
        lived: Duration,
        has_greeted: bool,
    },
}

/// Decides.
#[derive(Debug)]
pub(super) struct Machine {
    limits: Limits,
    pace: Pace,
    board: Arc<Board>,
    roster: Roster,
    queues: BTreeMap<Key, Queue>,
    child: Child,
    children: u64,
    /// Children in a row that ended before they greeted.
    stillborn: u32,
    status: TorchStatus,
    backoff: Backoff,
    /// Why the last start failed: until the wait is over, nobody needs to wait to be told.
    absent: Option<TorchError>,
    flight: Option<Flight>,
    loading: Option<(Key, Instant)>,
    linger: Option<Linger>,
    last_id: u64,
    actions: Vec<Action>,
}

impl Machine {
    pub(super) fn new(limits: Limits, pace: Pace, board: Arc<Board>) -> Self {
        Self {
            limits,
            pace,
            board,
            roster: Roster::default(),
            queues: BTreeMap::new(),
            child: Child::Absent,
            children: 0,
            stillborn: 0,
            status: TorchStatus::default(),
            backoff: Backoff::new(pace),
            absent: None,
            flight: None,
            loading: None,
            linger: None,
            last_id: 0,
            actions: Vec::new(),
        }
    }

    /// What follows from all that has been told so far. To be asked after every event, and at
    /// [`next_time`](Self::next_time).
    pub(super) fn decide(&mut self, now: Instant) -> Vec<Action> {
        self.sweep();
        self.linger.take_if(|linger| linger.until <= now);
        match self.child {
            Child::Absent if self.roster.wants_child() && self.backoff.until(now).is_none() => {
                self.child = Child::Silent { since: now };
                self.actions.push(Action::Start);
            }
            Child::Absent | Child::Ending { .. } => {}
            Child::Silent { .. } | Child::Up { .. } => self.keep_time(now),
        }
        if matches!(self.child, Child::Up { .. }) {
            self.load_next(now);
            self.send_next(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// When time alone will next decide something.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        match &self.child {
            Child::Absent => self.backoff.until(now).filter(|_| self.roster.wants_child()),
            Child::Ending { .. } => None,
            Child::Silent { since } => Some(*since + self.pace.hello),
            Child::Up { .. } => {
                let limits = self.hang_limits().into_iter().map(|(time, _)| time);
                limits
                    .chain(self.linger.as_ref().map(|linger| linger.until))
                    .chain(self.ping_time())
                    .min()
            }
        }
    }

    /// Until when something is so likely to happen that whoever waits stays awake for it: to be woken takes longer.
    pub(super) fn awake_until(&self) -> Option<Instant> {
        let callers = self.linger.as_ref().map(|linger| linger.until);
        let answer = self.flight.as_ref().filter(|flight| self.is_short(flight));
        callers.max(answer.map(|flight| flight.since + AWAKE))
    }

    /// The child did not start.
    pub(super) fn start_failed(&mut self, error: TorchError, now: Instant) {
        self.child = Child::Absent;
        let wait = self.backoff.failed(now, Duration::ZERO);
        warn!(%error, ?wait, "no serving child");
        self.give_up(error);
    }

    /// Whoever waits is told that there is no child, and whoever comes before the next one is started.
    fn give_up(&mut self, error: TorchError) {
        let reason = error.to_string();
        for pending in self.queues.values_mut().flat_map(Queue::take_all) {
            let reason = reason.clone();
            pending.answer(Err(InferenceError::Unavailable { reason }));
        }
        self.show_all_waiting();
        self.roster.unavailable(&reason);
        self.status.last_error = Some(reason);
        self.absent = Some(error);
        self.publish();
    }

    /// The child's first words.
    pub(super) fn greeted(&mut self, hello: Hello, now: Instant) {
        let Child::Silent { since } = self.child else { return };
        if hello.protocol != PROTOCOL {
            let theirs = hello.protocol;
            self.stillborn = STILLBORN; // another of the same build would say the same
            return self.kill(
                format!("speaks protocol {theirs}, the daemon {PROTOCOL}: install both from one build"),
                now,
            );
        }
        info!(
            libtorch = hello.libtorch, device = ?hello.device, threads = hello.threads, onednn = hello.onednn,
            "serving child is up"
        );
        self.absent = None;
        self.stillborn = 0;
        self.children += 1;
        self.status = TorchStatus {
            up: true,
            restarts: self.children - 1,
            version: Some(hello.libtorch),
            device: Some(hello.device.label().to_owned()),
            onednn: Some(hello.onednn),
            last_error: None,
        };
        self.child = Child::Up {
            since,
            heard: now,
            ping: None,
        };
        self.publish();
    }

    /// The child says something.
    pub(super) fn heard(&mut self, reply: Frame<Reply>, now: Instant) {
        let Child::Up { heard, ping, .. } = &mut self.child else {
            return; // the last words of one that is being ended
        };
        *heard = now;
        let understood = match reply.header {
            Reply::Pong { id } => match ping.take_if(|(asked, _)| *asked == id) {
                Some(_) => Ok(()),
                None => Err("answered a ping that nobody sent".to_owned()),
            },
            Reply::Loaded { key, most } => self.loaded(key, most, &reply.slices, now),
            Reply::Refused { key, reason } => self.refused(key, reason),
            Reply::Answer {
                id,
                faults,
                microseconds,
            } => self.answered(id, faults, Duration::from_micros(microseconds), reply.slices, now),
            Reply::Failed { id, message } => self.failed(id, &message),
        };
        if let Err(reason) = understood {
            self.kill(reason, now);
        }
    }

    /// The socket to the child closed or failed.
    pub(super) fn broke_off(&mut self, how: String, now: Instant) {
        if matches!(self.child, Child::Silent { .. } | Child::Up { .. }) {
            self.kill(how, now);
        }
    }

    /// The child is gone. What it had is tried again by the next.
    pub(super) fn ended(&mut self, how: &str, now: Instant) {
        let Child::Ending { lived, has_greeted } = std::mem::replace(&mut self.child, Child::Absent) else {
            return;
        };
        let flight = self.flight.take();
        // Of a batch that ends children the children are not to blame: what waits is not to wait for their sake.
        let blameless = flight.as_ref().is_some_and(Flight::is_suspect);
        let lived = if blameless { self.pace.healthy_after } else { lived };
        let wait = self.backoff.failed(now, lived);
        warn!(how, ?wait, "serving child is gone");
        let loading = self.loading.take().map(|(key, _)| key);
        self.roster.child_ended(loading, how);
        self.fail_refused();
        if let Some(flight) = flight {
            self.bury(flight, how);
        }
        self.status.up = false;
        if !has_greeted {
            self.stillborn = self.stillborn.saturating_add(1);
        }
        if self.stillborn >= STILLBORN {
            return self.give_up(TorchError::Died { how: how.to_owned() });
        }
        self.status.last_error = Some(how.to_owned());
        self.publish();
    }

    fn kill(&mut self, reason: String, now: Instant) {
        let (Child::Silent { since } | Child::Up { since, .. }) = self.child else {
            return;
        };
        self.child = Child::Ending {
            lived: now.saturating_duration_since(since),
            has_greeted: matches!(self.child, Child::Up { .. }),
        };
        self.linger = None;
        self.actions.push(Action::Kill(reason));
    }

    /// Does what is due by now.
    fn keep_time(&mut self, now: Instant) {
        if let Some((_, reason)) = self.hang_limits().into_iter().find(|(time, _)| *time <= now) {
            return self.kill(reason, now);
        }
        if self.ping_time().is_some_and(|time| time <= now) {
            let id = self.next_id();
            if let Child::Up { ping, .. } = &mut self.child {
                *ping = Some((id, now));
            }
            self.send(&Request::Ping { id }, &[]);
        }
    }

    /// By when the child must have said what it owes, and what it did not do otherwise. One that computes answers
    /// nothing else meanwhile.
    fn hang_limits(&self) -> Vec<(Instant, String)> {
        let mut limits = Vec::new();
        match &self.child {
            Child::Silent { since } => {
                let within = self.pace.hello;
                limits.push((*since + within, format!("said nothing for {within:?}")));
            }
            Child::Up {
                ping: Some((_, at)), ..
            } if self.flight.is_none() => {
                let within = self.pace.ping_within;
                limits.push((*at + within, format!("left a ping unanswered for {within:?}")));
            }
            _ => {}
        }
        if let Some(flight) = &self.flight {
            let within = self.limits.compute;
            limits.push((flight.since + within, format!("did not end a batch within {within:?}")));
        }
        if let Some((_, since)) = &self.loading {
            let within = self.limits.load;
            limits.push((*since + within, format!("did not load a version within {within:?}")));
        }
        limits
    }

    /// When to ask whether it lives.
    fn ping_time(&self) -> Option<Instant> {
        match &self.child {
            Child::Up { heard, ping: None, .. } if self.flight.is_none() => Some(*heard + self.pace.ping_every),
            _ => None,
        }
    }

    fn send(&mut self, request: &Request, slices: &[&[u8]]) -> bool {
        match forecastd_models::frame::encode(request, slices) {
            Ok(frame) => {
                self.actions.push(Action::Send(frame));
                true
            }
            Err(error) => {
                warn!(%error, "a request to the serving child cannot be sent");
                false
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Shows what is served now, and only then tells those who waited for it.
    fn publish(&mut self) {
        self.board.set_served(self.roster.served());
        self.board.set_child(&self.status);
        self.roster.tell_news();
    }
}
