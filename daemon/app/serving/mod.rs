//! What is served follows the registry: the active version of each model answers, the one in its shadow is loaded
//! beside it, and what is neither any more goes.
//!
//! A task of its own keeps it so (`keeper`); what is to be done about a difference is decided in `steps`. A version
//! that cannot be served never takes the place of one that answers: the planner is told, and falls back.

mod keeper;
mod steps;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Model, ModelName, Torch, TorchStart};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use self::keeper::Keeper;
use self::steps::Wanted;
use super::event::AppEvent;
use crate::message::content_key::ContentKey;
use crate::message::inference::Infer;
use crate::message::model::{ImportOutcome, ModelDone, ModelReport};
use crate::publish::metrics::Metrics;
use crate::work::inference::{Inference, Limits};

/// The serving child gets this long to end before it is left to the kernel.
const END_WITHIN: Duration = Duration::from_secs(5);

const TWO: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");

/// Served networks, as the registry wants them.
#[derive(Debug)]
pub(super) struct Serving {
    inference: Inference,
    models: Vec<ModelName>,
    wanted: watch::Sender<Wanted>,
}

impl Serving {
    /// Serves nothing yet. The child starts with the first version, and computes with half of the budget of threads,
    /// since fits want theirs; with two, though, where there are two, since one alone gains little by batches.
    pub(super) fn start(
        torch: &Torch,
        models: &[Model],
        budget: NonZeroUsize,
        metrics: Arc<Metrics>,
        events: mpsc::Sender<AppEvent>,
    ) -> Self {
        let threads = NonZeroUsize::new(budget.get().div_ceil(2)).map_or(budget, |half| half.max(TWO).min(budget));
        let inference = Inference::start(torch, threads, Limits::default());
        let (wanted, following) = watch::channel(Wanted::default());
        if torch.start == TorchStart::Never {
            if !models.is_empty() {
                info!("torch.start is never: models are kept, and none is served");
            }
        } else {
            tokio::spawn(Keeper::new(inference.clone(), following, metrics, events).run());
        }
        Self {
            inference,
            models: names(models),
            wanted,
        }
    }

    /// Whoever takes requests asks this.
    pub(super) fn infer(&self) -> Arc<dyn Infer> {
        Arc::new(self.inference.clone())
    }

    /// These are the models from now on. What could not be served is tried again.
    pub(super) fn configured(&mut self, models: &[Model]) {
        self.models = names(models);
        self.wanted.send_modify(|wanted| {
            wanted.versions.retain(|(model, _), _| self.models.contains(model));
            wanted.attempt += 1;
        });
    }

    /// The registry has changed.
    pub(super) fn follow(&self, report: &ModelReport) {
        let versions = Wanted::versions(&self.models, &report.versions);
        let again = imported(&report.done).is_some_and(|key| versions.keys().any(|(_, version)| *version == key));
        self.wanted.send_if_modified(|wanted| {
            let differs = again || wanted.versions != versions;
            wanted.versions = versions;
            wanted.attempt += u64::from(again);
            differs
        });
    }

    /// Lets go of everything. The future completes once the child has ended, which it does when nobody else who holds
    /// it is left, or could have.
    pub(super) fn end(self) -> impl Future<Output = ()> {
        let ended = self.inference.ended();
        drop(self);
        async {
            if timeout(END_WITHIN, ended).await.is_err() {
                warn!("the serving child did not end in time");
            }
        }
    }
}

/// The files of a version that was dropped again are put in their place again.
fn imported(done: &ModelDone) -> Option<ContentKey> {
    match done {
        ModelDone::Imported(_, ImportOutcome::Imported(key) | ImportOutcome::Duplicate(key)) => Some(*key),
        _ => None,
    }
}

fn names(models: &[Model]) -> Vec<ModelName> {
    models.iter().map(|model| ModelName::clone(&model.name)).collect()
}
