//! The task that does what the machine decides: it owns the child, its socket and the queue of requests.

use std::process::Command;
use std::sync::Arc;
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::link::{Link, Words};
use super::machine::{Action, Machine};
use super::order::Order;
use super::request::Pending;
use crate::work::torch_process::{Pace, TorchError};

/// Sleep when time alone decides nothing.
const IDLE: Duration = Duration::from_secs(3600);

/// Makes the command that starts a child.
pub(super) type Launch = Box<dyn Fn() -> Result<Command, TorchError> + Send>;

/// What handles may want.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody asks.
    Request(Pending),
    /// Somebody wants a version.
    Load(Order),
    /// Somebody wants a version no longer.
    Unload { name: Arc<str>, version: Arc<str> },
}

/// Does.
pub(super) struct Server {
    machine: Machine,
    launch: Launch,
    pace: Pace,
    link: Option<Link>,
    ending: Option<oneshot::Receiver<String>>,
    /// Whether the child has a processor to itself meanwhile.
    may_stay_awake: bool,
}

/// What happens next.
enum Next {
    Events(Event),
    Words(Result<Words, String>),
    Ended(String),
    Time,
    Stop,
}

impl Server {
    pub(super) fn new(machine: Machine, launch: Launch, pace: Pace) -> Self {
        Self {
            machine,
            launch,
            pace,
            link: None,
            ending: None,
            may_stay_awake: available_parallelism().is_ok_and(|processors| processors.get() > 1),
        }
    }

    /// Serves until the last handle is gone.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        loop {
            for action in self.machine.decide(Instant::now()) {
                self.act(action);
            }
            match self.next(&mut inbox).await {
                Next::Events(event) => {
                    self.take(event);
                    // All that have come meanwhile, so that they make one batch.
                    while let Ok(event) = inbox.try_recv() {
                        self.take(event);
                    }
                }
                Next::Words(words) => self.hear(words),
                Next::Ended(how) => self.machine.ended(&how, Instant::now()),
                Next::Time => {}
                Next::Stop => return self.stop().await,
            }
        }
    }

    async fn next(&mut self, inbox: &mut mpsc::Receiver<Event>) -> Next {
        let now = Instant::now();
        if let Some(until) = self
            .machine
            .awake_until()
            .filter(|until| now < *until && self.may_stay_awake)
        {
            return self.soon(inbox, until).await;
        }
        let wake = self.machine.next_time(now);
        let wait = wake.map_or(IDLE, |time| time.saturating_duration_since(now));
        tokio::select! {
            event = inbox.recv() => event.map_or(Next::Stop, Next::Events),
            words = words(&mut self.link) => Next::Words(words),
            how = ended(&mut self.ending) => Next::Ended(how),
            () = sleep(wait) => Next::Time,
        }
    }

    /// What happens next, looked for again and again until then: the runtime's clock counts in milliseconds, and an idle
    /// processor takes a while to be woken. All other tasks have their turn in between, and so has whoever shares the
    /// processor: the child, if the kernel has put it there.
    async fn soon(&mut self, inbox: &mut mpsc::Receiver<Event>, until: Instant) -> Next {
        while Instant::now() < until {
            tokio::select! {
                biased;
                event = inbox.recv() => return event.map_or(Next::Stop, Next::Events),
                words = words(&mut self.link) => return Next::Words(words),
                how = ended(&mut self.ending) => return Next::Ended(how),
                () = yield_now() => thread::yield_now(),
            }
        }
        Next::Time
    }

    fn take(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Request(pending) => self.machine.request(pending, now),
            Event::Load(order) => self.machine.order(order, now),
            Event::Unload { name, version } => self.machine.unload(&name, &version),
        }
    }

    fn hear(&mut self, words: Result<Words, String>) {
        let now = Instant::now();
        match words {
            Ok(Words::Hello(hello)) => self.machine.greeted(hello, now),
            Ok(Words::Reply(reply)) => self.machine.heard(reply, now),
            Err(how) => {
                // Nothing more is heard of it, whatever the machine makes of that.
                if let Some(link) = self.link.take() {
                    self.ending = Some(link.end(how.clone()));
                }
                self.machine.broke_off(how, now);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start => match self.start() {
                Ok(link) => self.link = Some(link),
                Err(error) => self.machine.start_failed(error, Instant::now()),
            },
            Action::Send(frame) => {
                if let Some(link) = &mut self.link {
                    link.send(frame);
                }
            }
            Action::Kill(reason) => {
                if let Some(link) = self.link.take() {
                    self.ending = Some(link.end(reason));
                }
            }
        }
    }

    fn start(&self) -> Result<Link, TorchError> {
        let command = (self.launch)()?;
        let path = command.get_program().into();
        Link::start(command).map_err(|error| {
            let error = error.to_string();
            TorchError::Start { path, error }
        })
    }

    /// Ends the child in good order, then by force. Who still waits is told as the machine goes.
    async fn stop(self) {
        drop(self.machine);
        let Some(mut link) = self.link else { return };
        link.terminate();
        let gone = async { while link.words().await.is_ok() {} };
        let _ = timeout(self.pace.stop_within, gone).await; // then by force
        if let Ok(how) = link.end("was stopped".to_owned()).await {
            info!(how, "serving child stopped");
        }
    }
}

/// What the child says next; nothing for ever, if there is none.
async fn words(link: &mut Option<Link>) -> Result<Words, String> {
    match link {
        Some(link) => link.words().await,
        None => std::future::pending().await,
    }
}

/// How the child ended, once it has.
async fn ended(ending: &mut Option<oneshot::Receiver<String>>) -> String {
    let Some(receiver) = ending else {
        return std::future::pending().await;
    };
    let how = receiver.await;
    *ending = None;
    how.unwrap_or_else(|_| "was killed".to_owned())
}
