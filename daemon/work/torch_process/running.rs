//! What a running child owes: its first words, answers to pings, and the job it has been given.
//!
//! An error from here is the end of the child, and says how it came; the supervisor sees to the rest.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use forecastd_models::frame::Frame;
use forecastd_models::torch_job::{Hello, PROTOCOL, Reply, ReplyBody, Request, RequestBody};

use super::child::TorchChild;
use super::{Pace, TorchError};

/// A job and the caller who waits for it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: Frame<RequestBody>,
    pub(super) within: Duration,
    pub(super) deadline: Instant,
    pub(super) answer: SyncSender<Result<Frame<ReplyBody>, TorchError>>,
}

impl Call {
    pub(super) fn answer(self, answer: Result<Frame<ReplyBody>, TorchError>) {
        let _ = self.answer.send(answer); // fails only if nobody waits any more
    }

    pub(super) fn too_late(self, reason: Option<String>) {
        let within = self.within;
        self.answer(Err(TorchError::Deadline { within, reason }));
    }
}

/// A child and what it owes.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: TorchChild,
    /// Which child it is.
    pub(super) number: u64,
    pub(super) since: Instant,
    pub(super) job: Option<(u64, Call)>,
    pulse: Pulse,
    requests: u64,
}

/// What the child must say next to count as alive, and by when.
#[derive(Debug)]
enum Pulse {
    /// Its first words.
    Hello { until: Instant },
    /// Nothing; then it is pinged.
    Rest { until: Instant },
    /// The answer to the ping of this number.
    Pong { id: u64, until: Instant },
}

impl Running {
    pub(super) fn new(child: TorchChild, number: u64, now: Instant, pace: &Pace) -> Self {
        Self {
            child,
            number,
            since: now,
            job: None,
            pulse: Pulse::Hello {
                until: now + pace.hello,
            },
            requests: 0,
        }
    }

    /// When time alone will next decide something.
    pub(super) fn next_time(&self) -> Instant {
        let (Pulse::Hello { until } | Pulse::Rest { until } | Pulse::Pong { until, .. }) = self.pulse;
        self.job.as_ref().map_or(until, |(_, call)| call.deadline.min(until))
    }

    /// Whether it can take a job.
    pub(super) fn is_idle(&self) -> bool {
        self.job.is_none() && !matches!(self.pulse, Pulse::Hello { .. })
    }

    /// Gives it a job. One that makes no frame is its caller's trouble, not the child's.
    pub(super) fn give(&mut self, mut call: Call) -> Result<(), String> {
        let id = self.next_id();
        let Frame { header: body, slices } = std::mem::replace(&mut call.request, RequestBody::Ping.into());
        let header = Request { id, body };
        match (Frame { header, slices }).encode() {
            Ok(bytes) => {
                self.job = Some((id, call));
                self.child.send(&bytes)
            }
            Err(error) => {
                let message = error.to_string();
                call.answer(Err(TorchError::Failed { message }));
                Ok(())
            }
        }
    }

    /// Does what is due by now.
    pub(super) fn keep_time(&mut self, now: Instant, pace: &Pace) -> Result<(), String> {
        if let Some((_, call)) = self.job.take_if(|(_, call)| call.deadline <= now) {
            let within = call.within;
            call.too_late(None);
            return Err(format!("did not end its job within {within:?}"));
        }
        match self.pulse {
            Pulse::Hello { until } if until <= now => Err(format!("said nothing for {:?}", pace.hello)),
            Pulse::Pong { until, .. } if until <= now => {
                Err(format!("left a ping unanswered for {:?}", pace.ping_within))
            }
            Pulse::Rest { until } if until <= now => self.ping(now + pace.ping_within),
            _ => Ok(()),
        }
    }

    /// Hears its first words.
    pub(super) fn greet(&mut self, hello: &Hello, rest: Instant) -> Result<(), String> {
        self.pulse = Pulse::Rest { until: rest };
        match hello.protocol {
            PROTOCOL => Ok(()),
            theirs => Err(format!(
                "speaks protocol {theirs}, the daemon {PROTOCOL}: install both from one build"
            )),
        }
    }

    /// Hears an answer.
    pub(super) fn hear(&mut self, reply: Frame<Reply>, rest: Instant) -> Result<(), String> {
        let Frame {
            header: Reply { id, body: header },
            slices,
        } = reply;
        if matches!(self.pulse, Pulse::Pong { id: ping, .. } if ping == id) && header == ReplyBody::Pong {
            self.pulse = Pulse::Rest { until: rest };
            return Ok(());
        }
        let Some((_, call)) = self.job.take_if(|(job, _)| *job == id) else {
            return Err("answered what nobody asked".to_owned());
        };
        call.answer(Ok(Frame { header, slices }));
        Ok(())
    }

    fn ping(&mut self, until: Instant) -> Result<(), String> {
        let id = self.next_id();
        self.pulse = Pulse::Pong { id, until };
        let body = RequestBody::Ping;
        let ping = Frame::from(Request { id, body }).encode();
        self.child.send(&ping.expect("a few bytes always make a frame"))
    }

    fn next_id(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }
}
