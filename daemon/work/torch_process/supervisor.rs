//! The supervisor's thread: it owns the child, and everything that happens to it comes through one queue.
//!
//! Between two events it sleeps until the next thing that time alone decides: a ping, a deadline, the end of a wait.
//! One job is with the child at a time; the others wait here.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use forecastd_models::frame::Frame;
use forecastd_models::torch_job::{Hello, Reply};
use tracing::{info, warn};

use super::backoff::Backoff;
use super::child::TorchChild;
use super::running::{Call, Running};
use super::{Launch, Pace, TorchError};
use crate::message::torch_status::TorchStatus;

/// Sleep when time alone decides nothing: without a child and without a call.
const IDLE: Duration = Duration::from_secs(3600);

/// What can happen to a supervisor.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody wants a job done.
    Call(Call),
    /// The child of this number said something; the words of a dead one are not taken for another's.
    Said(u64, Said),
    /// The daemon is stopping.
    Stop,
}

/// What a child can say.
#[derive(Debug)]
pub(super) enum Said {
    /// Its first words.
    Hello(Hello),
    /// An answer.
    Reply(Frame<Reply>),
    /// Nothing more: it closed its socket, or this is what is wrong with what it said.
    Closed(Option<String>),
}

/// Owns the child.
pub(super) struct Supervisor {
    launch: Launch,
    always: bool,
    pace: Pace,
    report: Box<dyn Fn(TorchStatus) + Send>,
    /// For the threads that listen to children.
    events: Sender<Event>,
    status: TorchStatus,
    reported: TorchStatus,
    running: Option<Running>,
    waiting: VecDeque<Call>,
    backoff: Backoff,
    /// Why the last start failed: until the wait is over, calls need not wait to be told.
    absent: Option<TorchError>,
    children: u64,
}

impl Supervisor {
    pub(super) fn new(
        launch: Launch,
        always: bool,
        pace: Pace,
        report: Box<dyn Fn(TorchStatus) + Send>,
        events: Sender<Event>,
    ) -> Self {
        Self {
            launch,
            always,
            pace,
            report,
            events,
            status: TorchStatus::default(),
            reported: TorchStatus::default(),
            running: None,
            waiting: VecDeque::new(),
            backoff: Backoff::new(pace),
            absent: None,
            children: 0,
        }
    }

    /// Supervises until told to stop.
    pub(super) fn run(mut self, events: &Receiver<Event>) {
        loop {
            let now = Instant::now();
            self.keep_time(now).unwrap_or_else(|how| self.bury(&how));
            self.publish();
            let sleep = self
                .next_time(now)
                .map_or(IDLE, |time| time.saturating_duration_since(now));
            let heard = match events.recv_timeout(sleep) {
                Ok(Event::Call(call)) => self.take(call),
                Ok(Event::Said(number, said)) => self.hear(number, said),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(events),
            };
            heard.unwrap_or_else(|how| self.bury(&how));
        }
    }

    /// Does what is due by now.
    fn keep_time(&mut self, now: Instant) -> Result<(), String> {
        self.dismiss_late_calls(now);
        let Some(running) = &mut self.running else {
            if self.wants_child() && self.backoff.until(now).is_none() {
                self.start(now);
            }
            return Ok(());
        };
        running.keep_time(now, &self.pace)?;
        while running.is_idle()
            && let Some(call) = self.waiting.pop_front()
        {
            running.give(call)?;
        }
        Ok(())
    }

    /// When time alone will next decide something.
    fn next_time(&self, now: Instant) -> Option<Instant> {
        let child = match &self.running {
            Some(running) => Some(running.next_time()),
            None => self.backoff.until(now).filter(|_| self.wants_child()),
        };
        self.waiting.iter().map(|call| call.deadline).chain(child).min()
    }

    fn wants_child(&self) -> bool {
        self.always || !self.waiting.is_empty()
    }

    fn dismiss_late_calls(&mut self, now: Instant) {
        let reason = self.status.last_error.clone().filter(|_| !self.status.up);
        let (late, waiting): (Vec<Call>, _) = self.waiting.drain(..).partition(|call| call.deadline <= now);
        self.waiting = VecDeque::from(waiting);
        late.into_iter().for_each(|call| call.too_late(reason.clone()));
    }

    fn start(&mut self, now: Instant) {
        let number = self.children + 1;
        match (self.launch)().and_then(|command| self.spawn(command, number)) {
            Ok(child) => {
                self.children = number;
                self.status.restarts = number - 1;
                self.absent = None;
                self.running = Some(Running::new(child, number, now, &self.pace));
            }
            Err(error) => {
                let wait = self.backoff.failed(now, Duration::ZERO);
                warn!(%error, ?wait, "no libtorch child");
                self.status.last_error = Some(error.to_string());
                self.waiting.drain(..).for_each(|call| call.answer(Err(error.clone())));
                self.absent = Some(error);
            }
        }
    }

    fn spawn(&self, command: Command, number: u64) -> Result<TorchChild, TorchError> {
        let path = command.get_program().into();
        TorchChild::spawn(command, number, self.pace.ping_within, self.events.clone()).map_err(|error| {
            let error = error.to_string();
            TorchError::Start { path, error }
        })
    }

    fn take(&mut self, call: Call) -> Result<(), String> {
        match self
            .absent
            .clone()
            .filter(|_| self.backoff.until(Instant::now()).is_some())
        {
            Some(error) => call.answer(Err(error)),
            None => self.waiting.push_back(call),
        }
        Ok(())
    }

    fn hear(&mut self, number: u64, said: Said) -> Result<(), String> {
        let Some(running) = self.running.as_mut().filter(|running| running.number == number) else {
            return Ok(());
        };
        let rest = Instant::now() + self.pace.ping_every;
        match said {
            Said::Hello(hello) => {
                running.greet(&hello, rest)?;
                self.welcome(hello);
                Ok(())
            }
            Said::Reply(reply) => running.hear(reply, rest),
            Said::Closed(None) => Err("ended".to_owned()),
            Said::Closed(Some(reason)) => Err(format!("broke off: {reason}")),
        }
    }

    fn welcome(&mut self, hello: Hello) {
        info!(
            libtorch = hello.libtorch, device = ?hello.device, threads = hello.threads, onednn = hello.onednn,
            "libtorch child is up"
        );
        self.status.up = true;
        self.status.last_error = None;
        self.status.device = Some(hello.device.label().to_owned());
        self.status.onednn = Some(hello.onednn);
        self.status.version = Some(hello.libtorch);
    }

    /// The end of a child: kills what is left of it, answers its caller, and sets the wait before the next one.
    fn bury(&mut self, how: &str) {
        let Some(running) = self.running.take() else { return };
        let how = format!("{how} ({})", running.child.kill());
        if let Some((_, call)) = running.job {
            call.answer(Err(TorchError::Died { how: how.clone() }));
        }
        let now = Instant::now();
        let wait = self.backoff.failed(now, now.saturating_duration_since(running.since));
        warn!(how, ?wait, "libtorch child is gone");
        self.status.up = false;
        self.status.last_error = Some(how);
    }

    /// Ends the child in good order, then by force, and lets no caller wait.
    fn stop(mut self, events: &Receiver<Event>) {
        let job = self.running.as_mut().and_then(|running| running.job.take());
        let calls = self.waiting.drain(..).chain(job.map(|(_, call)| call));
        calls.for_each(|call| call.answer(Err(TorchError::Stopping)));
        if let Some(running) = self.running.take() {
            running.child.terminate();
            await_end(events, running.number, Instant::now() + self.pace.stop_within);
            let how = running.child.kill();
            info!(how, "libtorch child stopped");
        }
        self.status.up = false;
        self.publish();
    }

    fn publish(&mut self) {
        if self.reported != self.status {
            self.reported = self.status.clone();
            (self.report)(self.status.clone());
        }
    }
}

/// Waits until this child has closed its socket, at most until `time`. Calls that still come are let go, which tells
/// their callers.
fn await_end(events: &Receiver<Event>, number: u64, time: Instant) {
    while let Ok(event) = events.recv_timeout(time.saturating_duration_since(Instant::now())) {
        if matches!(event, Event::Said(child, Said::Closed(_)) if child == number) {
            return;
        }
    }
}
