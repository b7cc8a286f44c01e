//! The task that keeps what is served as it is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tracing::{info, warn};

use super::steps::{Place, Step, Wanted, held, steps};
use crate::app::event::AppEvent;
use crate::message::inference::Infer;
use crate::message::model::{ServingReport, VersionName};
use crate::planner::Event;
use crate::publish::metrics::Metrics;
use crate::work::inference::{Inference, LoadError};

/// Time between two looks at what is served, if nothing happens that would tell of a change.
const LOOK: Duration = Duration::from_secs(2);

/// First wait after the child could not be started, doubled with each further time.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Keeps it so.
pub(super) struct Keeper {
    inference: Inference,
    wanted: watch::Receiver<Wanted>,
    metrics: Arc<Metrics>,
    events: mpsc::Sender<AppEvent>,
    orders: JoinSet<Done>,
    /// What the orders are for, and whether they activate.
    out: BTreeSet<(VersionName, bool)>,
    /// What cannot be served; not tried again by itself, since to load it may have ended children.
    refused: BTreeMap<VersionName, String>,
    attempt: u64,
    /// Until when there is no use in asking, and how long that wait is.
    rest: Option<(Instant, Duration)>,
    told: ServingReport,
}

/// An order that has come back.
type Done = ((VersionName, bool), Result<(), LoadError>);

impl Keeper {
    pub(super) fn new(
        inference: Inference,
        wanted: watch::Receiver<Wanted>,
        metrics: Arc<Metrics>,
        events: mpsc::Sender<AppEvent>,
    ) -> Self {
        Self {
            inference,
            wanted,
            metrics,
            events,
            orders: JoinSet::new(),
            out: BTreeSet::new(),
            refused: BTreeMap::new(),
            attempt: 0,
            rest: None,
            told: ServingReport::default(),
        }
    }

    /// Until nobody wants anything any more.
    pub(super) async fn run(mut self) {
        loop {
            self.look().await;
            self.tell().await;
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                Some(done) = self.orders.join_next() => self.done(done),
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn look(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        if wanted.attempt != self.attempt {
            self.attempt = wanted.attempt;
            self.refused.clear();
        }
        self.refused.retain(|name, _| wanted.versions.contains_key(name));
        for step in steps(&wanted, &self.inference.served(), &self.out) {
            match step {
                Step::Load(name, place) => self.order(name, place),
                Step::Unload((model, version)) => self.inference.unload(&model, &version.to_string()).await,
                Step::Lost(name, reason) => self.refuse(name, reason),
            }
        }
    }

    fn order(&mut self, name: VersionName, place: Place) {
        if self.refused.contains_key(&name) || self.rest.is_some_and(|(until, _)| Instant::now() < until) {
            return;
        }
        let inference = self.inference.clone();
        let order = (name, place.is_active);
        self.out.insert(order.clone());
        self.orders.spawn(async move {
            let ((model, version), activate) = &order;
            let version = version.to_string();
            let loaded = match activate {
                true => inference.activate(model, &version, place.folder).await,
                false => inference.load(model, &version, place.folder).await,
            };
            (order, loaded.map(drop))
        });
    }

    fn done(&mut self, done: Result<Done, JoinError>) {
        let (order, outcome) = match done {
            Ok(done) => done,
            Err(error) => {
                // Nobody cancels them: it panicked. What it was for is ordered again at the next look.
                warn!(%error, "an order for a version broke");
                self.out.clear();
                return;
            }
        };
        self.out.remove(&order);
        let (name, _) = order;
        match outcome {
            Ok(()) => {
                if self.rest.take().is_some() {
                    info!("networks can be loaded again");
                }
            }
            Err(LoadError::Refused { reason, .. }) => self.refuse(name, reason),
            Err(LoadError::Unavailable { reason }) => self.unavailable(&name, &reason),
            Err(LoadError::GivenUp { .. } | LoadError::Stopping) => {}
        }
    }

    fn refuse(&mut self, name: VersionName, reason: String) {
        if self.refused.contains_key(&name) {
            return;
        }
        let (model, version) = &name;
        warn!(%model, version = %version.short(), reason, "a version cannot be served; what answered before it answers on");
        self.metrics.model_load_failed(model, "refused");
        self.refused.insert(name, reason);
    }

    fn unavailable(&mut self, (model, version): &VersionName, reason: &str) {
        self.metrics.model_load_failed(model, "unavailable");
        if self.rest.is_some_and(|(until, _)| Instant::now() < until) {
            return; // of several at once
        }
        let wait = match self.rest {
            Some((_, wait)) => (wait * 2).min(LONGEST_REST),
            None => {
                warn!(%model, version = %version.short(), reason, "no network can be loaded; it is tried again");
                FIRST_REST
            }
        };
        self.rest = Some((Instant::now() + wait, wait));
    }

    /// Tells the planner how it stands, where that has changed.
    async fn tell(&mut self) {
        let served = self.inference.served();
        let on_their_way = self.out.iter().map(|(name, _)| name.clone());
        let report = ServingReport {
            held: held(&served).chain(on_their_way).collect(),
            refused: self.refused.clone(),
        };
        if report != self.told {
            let event = AppEvent::Plan(Event::Serving(report.clone()));
            let _ = self.events.send(event).await; // fails only while stopping
            self.told = report;
        }
    }
}
