//! The `/metrics` page: the forecasts of one snapshot, then the service's own metrics.
//!
//! The forecasts are rendered once a generation and format, and shared; the service part is gathered at each scrape.
//! The encoding stands in `encoder`, which samples there are in `forecasts`, which format in `negotiate`.

#[cfg(test)]
mod checker;
mod encoder;
mod forecasts;
mod inference;
mod negotiate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use forecastd_config::DatasetName;
use prometheus::proto::LabelPair;
use tokio::sync::watch;

use self::encoder::Encoder;
use self::forecasts::ForecastPart;
use self::inference::write_inference;
pub use self::negotiate::Format;
use super::metrics::Metrics;
use crate::message::inference::Infer;
use crate::message::snapshot::Snapshot;

/// Everything that the endpoint shows, and where it comes from.
#[derive(Debug)]
pub struct Exposition {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    readiness: watch::Receiver<Readiness>,
    metrics: Arc<Metrics>,
    infer: Option<Arc<dyn Infer>>,
    rendered: Mutex<Rendered>,
}

/// Whether the service is to be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet.
    Starting {
        /// What has to end first, for people.
        doing: String,
    },
    /// State is restored and every folder was listed.
    Ready,
    /// No more.
    Stopping,
}

/// A page of `/metrics`, in two pieces to be sent one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What both pieces are written in.
    pub format: Format,
    /// The forecasts, shared with every page of this generation.
    pub forecasts: Bytes,
    /// The service's own metrics, and the end.
    pub service: Bytes,
}

impl Page {
    /// The whole page.
    pub fn text(&self) -> String {
        let whole = [&*self.forecasts, &*self.service].concat();
        String::from_utf8(whole).expect("both pieces were strings")
    }
}

/// Forecast parts of one generation.
#[derive(Debug)]
struct Rendered {
    max_series: usize,
    generation: u64,
    parts: BTreeMap<(Format, Option<DatasetName>), ForecastPart>,
}

impl Exposition {
    /// An endpoint over the newest snapshot, with at most `max_series` series of forecasts on a page.
    pub fn new(
        snapshot: watch::Receiver<Arc<Snapshot>>,
        readiness: watch::Receiver<Readiness>,
        metrics: Arc<Metrics>,
        max_series: usize,
    ) -> Self {
        let rendered = Rendered {
            max_series,
            generation: 0,
            parts: BTreeMap::new(),
        };
        Self {
            snapshot,
            readiness,
            metrics,
            infer: None,
            rendered: Mutex::new(rendered),
        }
    }

    /// Shows what was asked of networks, too.
    pub fn with_inference(mut self, infer: Arc<dyn Infer>) -> Self {
        self.infer = Some(infer);
        self
    }

    /// Sets another budget, from the next scrape on.
    pub fn set_max_series(&self, max_series: usize) {
        let mut rendered = self.rendered();
        rendered.max_series = max_series;
        rendered.parts.clear();
    }

    /// A page: all of it, or what is not another dataset's. `None`: there is no such dataset.
    pub fn page(&self, format: Format, dataset: Option<&str>) -> Option<Page> {
        let snapshot = self.snapshot();
        let dataset = match dataset {
            Some(name) => Some(find(&snapshot, name)?),
            None => None,
        };
        let part = self.forecast_part(&snapshot, format, dataset.as_ref());
        self.metrics.scraped(part.held_back);
        Some(Page {
            format,
            service: self.service_part(&snapshot, format, dataset.as_deref()),
            forecasts: part.text,
        })
    }

    /// The newest snapshot.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    pub(super) fn readiness(&self) -> Readiness {
        self.readiness.borrow().clone()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Rendered under the lock, so that scrapers that come together wait for one rendering instead of each making
    /// their own; a hundred thousand samples take a few hundredths of a second.
    fn forecast_part(&self, snapshot: &Snapshot, format: Format, dataset: Option<&DatasetName>) -> ForecastPart {
        let mut rendered = self.rendered();
        if rendered.generation != snapshot.generation {
            rendered.generation = snapshot.generation;
            rendered.parts.clear();
        }
        let max_series = rendered.max_series;
        let render = || ForecastPart::render(snapshot, format, dataset.map(|name| &**name), max_series);
        let part = rendered.parts.entry((format, dataset.cloned()));
        part.or_insert_with(render).clone()
    }

    fn service_part(&self, snapshot: &Snapshot, format: Format, dataset: Option<&str>) -> Bytes {
        let mut encoder = Encoder::new(format);
        if let Some(infer) = &self.infer {
            write_inference(&mut encoder, &**infer, snapshot);
        }
        for family in self.metrics.gather() {
            encoder.gathered(&family, |labels| concerns(labels, dataset));
        }
        Bytes::from(encoder.finish(true))
    }

    fn rendered(&self) -> MutexGuard<'_, Rendered> {
        // A part enters whole or not at all, so a panic while rendering leaves nothing half-done behind.
        self.rendered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(snapshot: &Snapshot, name: &str) -> Option<DatasetName> {
    let series = snapshot.datasets.iter().map(|view| &view.config.name);
    let mut all = series.chain(snapshot.samples.iter().map(|view| &view.config.name));
    all.find(|known| ***known == *name).cloned()
}

/// Whether a metric belongs on a page for `dataset`: its own, and those that are no dataset's.
fn concerns(labels: &[LabelPair], dataset: Option<&str>) -> bool {
    let Some(dataset) = dataset else { return true };
    labels
        .iter()
        .all(|label| label.name() != "dataset" || label.value() == dataset)
}

#[cfg(test)]
mod tests;
