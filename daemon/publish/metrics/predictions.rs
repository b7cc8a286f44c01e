//! Metrics of predictions: what was said of samples, how sure, how far they lie from the training, and what it was worth
//! once the truth came.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use prometheus::core::{GenericGauge, GenericGaugeVec};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::families::Register;
use crate::message::model::ModelState;
use crate::message::prediction::{PredictFault, PredictOutcome, PredictReport, Predictions, Refusal};
use crate::message::snapshot::{PredictionView, SampleView};

/// Classes of a dataset that have a label set, those that are said most first.
const CLASSES: usize = 100;

/// Probabilities of the likeliest class.
const CONFIDENCE_BUCKETS: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];

const MODEL: &[&str] = &["dataset", "model"];

/// From the sample that waits to the prediction that met its truth. Counters begin with the process.
#[derive(Debug)]
pub(super) struct PredictionFamilies {
    predictions: IntCounterVec,
    refused: IntCounterVec,
    failures: IntCounterVec,
    files: IntCounterVec,
    confidence: HistogramVec,
    waiting: Shown<IntGaugeVec>,
    held: Shown<IntGaugeVec>,
    classes: Shown<IntGaugeVec>,
    shares: Shown<GaugeVec>,
    drift: Shown<GaugeVec>,
    score: Shown<GaugeVec>,
    scored: Shown<IntGaugeVec>,
    agreement: Shown<GaugeVec>,
    compared: Shown<IntGaugeVec>,
}

impl PredictionFamilies {
    pub(super) fn register(to: &Register) -> Self {
        Self {
            predictions: to.counters(
                "forecastd_predictions_total",
                "Samples that a version of the dataset's model has predicted.",
                &["dataset", "state"],
            ),
            refused: to.counters(
                "forecastd_predictions_refused_total",
                "Samples of which the active version has nothing to say.",
                &["dataset", "reason"],
            ),
            failures: to.counters(
                "forecastd_prediction_failures_total",
                "Times a drop was not predicted by the active version, or not by the one in its shadow.",
                &["dataset", "state", "reason"],
            ),
            files: to.counters(
                "forecastd_prediction_files_total",
                "Files of predictions that were put in their place, one a drop.",
                &["dataset"],
            ),
            confidence: to.histograms(
                "forecastd_prediction_confidence",
                "Probability of the class that the active version said, where it says one.",
                &["dataset"],
                CONFIDENCE_BUCKETS,
            ),
            waiting: Shown::new(to.gauges(
                "forecastd_prediction_waiting_samples",
                "Samples without a label that are not predicted yet.",
                MODEL,
            )),
            held: Shown::new(to.gauges(
                "forecastd_prediction_held",
                "1 where the active version takes other samples than the dataset has: all wait for another version.",
                MODEL,
            )),
            classes: Shown::new(to.gauges(
                "forecastd_prediction_samples",
                "Samples without a label by what was said of them, of a mask by the classes that any of its positions has; \
                 of the hundred classes that are said most.",
                &["dataset", "model", "label"],
            )),
            shares: Shown::new(to.float_gauges(
                "forecastd_prediction_share",
                "Which share of the samples that were predicted lately has this class, of masks which share of their \
                 positions; of the hundred that are said most.",
                &["dataset", "model", "label"],
            )),
            drift: Shown::new(to.float_gauges(
                "forecastd_prediction_drift",
                "How far samples that were predicted lately lie from those of the training: of the band that is farthest, \
                 how many deviations its mean has moved, or the logarithm of how many times wider or narrower it lies.",
                MODEL,
            )),
            score: Shown::new(to.float_gauges(
                "forecastd_prediction_score",
                "Rolling accuracy, micro_f1, mean_iou or rmse of predictions whose label came later.",
                &["dataset", "model", "version", "state", "measure"],
            )),
            scored: Shown::new(to.gauges(
                "forecastd_prediction_scored_samples",
                "Predictions of this version whose label came later, since the process started.",
                &["dataset", "model", "version", "state"],
            )),
            agreement: Shown::new(to.float_gauges(
                "forecastd_shadow_agreement",
                "Rolling share of samples, of masks of positions, of which the active version and the one in its shadow say \
                 the same.",
                MODEL,
            )),
            compared: Shown::new(to.gauges(
                "forecastd_shadow_compared_samples",
                "Samples that the active version and the one in its shadow have both predicted, since the process started.",
                MODEL,
            )),
        }
    }

    /// Starts the label sets of a dataset of samples, every reason at zero.
    pub(super) fn added(&self, dataset: &str) {
        self.files.with_label_values(&[dataset]);
        self.confidence.with_label_values(&[dataset]);
        for state in STATES {
            self.predictions.with_label_values(&[dataset, state]);
            for fault in PredictFault::ALL {
                self.failures.with_label_values(&[dataset, state, fault.label()]);
            }
        }
        for refusal in Refusal::ALL {
            self.refused.with_label_values(&[dataset, refusal.label()]);
        }
    }

    /// Ends them. An error means that the label set is not there, which is what is wanted.
    pub(super) fn removed(&self, dataset: &str) {
        let _ = self.files.remove_label_values(&[dataset]);
        let _ = self.confidence.remove_label_values(&[dataset]);
        for state in STATES {
            let _ = self.predictions.remove_label_values(&[dataset, state]);
            for fault in PredictFault::ALL {
                let _ = self.failures.remove_label_values(&[dataset, state, fault.label()]);
            }
        }
        for refusal in Refusal::ALL {
            let _ = self.refused.remove_label_values(&[dataset, refusal.label()]);
        }
    }

    /// A drop was predicted, or could not be; says what is wrong.
    pub(super) fn done(&self, report: &PredictReport) -> Option<String> {
        let dataset = &*report.dataset;
        match &report.outcome {
            PredictOutcome::Predicted(predictions) => {
                self.predicted(dataset, predictions);
                None
            }
            PredictOutcome::Failed { fault, .. } if *fault == PredictFault::Stopping => None,
            PredictOutcome::Failed { fault, detail, .. } => {
                let labels = [dataset, STATES[0], fault.label()];
                self.failures.with_label_values(&labels).inc();
                Some(format!("not predicted: {}: {detail}", fault.label()))
            }
        }
    }

    fn predicted(&self, dataset: &str, predictions: &Predictions) {
        self.files.with_label_values(&[dataset]).inc();
        let said = &predictions.said;
        let [by_active, by_shadow] = [
            said.iter().filter(|said| said.label.is_some()).count(),
            said.iter().filter(|said| said.shadow.is_some()).count(),
        ];
        for (state, count) in STATES.into_iter().zip([by_active, by_shadow]) {
            self.predictions
                .with_label_values(&[dataset, state])
                .inc_by(count as u64);
        }
        for (refusal, count) in &predictions.refused {
            self.refused
                .with_label_values(&[dataset, refusal.label()])
                .inc_by(*count);
        }
        if let Some(fault) = predictions.shadow_fault {
            self.failures
                .with_label_values(&[dataset, STATES[1], fault.label()])
                .inc();
        }
        let confidence = self.confidence.with_label_values(&[dataset]);
        let probabilities = said.iter().filter_map(|said| said.probability);
        probabilities.for_each(|probability| confidence.observe(f64::from(probability)));
    }

    /// Shows what readers see, and no label set that is not there any more.
    pub(super) fn published(&self, views: &[SampleView]) {
        let mut page = self.page();
        for view in views {
            if let Some(predictions) = &view.predictions {
                page.dataset(&view.config.name, predictions);
            }
        }
        page.turn();
    }

    fn page(&self) -> NewPage<'_> {
        NewPage {
            waiting: self.waiting.page(),
            held: self.held.page(),
            classes: self.classes.page(),
            shares: self.shares.page(),
            drift: self.drift.page(),
            score: self.score.page(),
            scored: self.scored.page(),
            agreement: self.agreement.page(),
            compared: self.compared.page(),
        }
    }
}

/// The versions that are asked, as the label `state` has them.
const STATES: [&str; 2] = ["active", "shadow"];

/// The samples of every family at one publication.
struct NewPage<'f> {
    waiting: Page<'f, IntGaugeVec>,
    held: Page<'f, IntGaugeVec>,
    classes: Page<'f, IntGaugeVec>,
    shares: Page<'f, GaugeVec>,
    drift: Page<'f, GaugeVec>,
    score: Page<'f, GaugeVec>,
    scored: Page<'f, IntGaugeVec>,
    agreement: Page<'f, GaugeVec>,
    compared: Page<'f, IntGaugeVec>,
}

impl NewPage<'_> {
    fn dataset(&mut self, dataset: &str, view: &PredictionView) {
        let model = &*view.model;
        self.waiting.set(&[dataset, model], whole(view.waiting));
        self.held.set(&[dataset, model], i64::from(view.held.is_some()));
        let mut classes: Vec<_> = view.classes.iter().collect();
        classes.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (class, count) in classes.into_iter().take(CLASSES) {
            self.classes.set(&[dataset, model, class], whole(*count));
        }
        let mut shares: Vec<_> = view.shares.iter().collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for (class, share) in shares.into_iter().take(CLASSES) {
            self.shares.set(&[dataset, model, class], *share);
        }
        if let Some(drift) = view.drift {
            self.drift.set(&[dataset, model], drift);
        }
        for live in &view.live {
            let (version, state) = (live.version.to_string(), ModelState::label(live.state));
            let labels = [dataset, model, &version, state];
            self.scored.set(&labels, whole(live.scored));
            if let Some((measure, value)) = live.value {
                self.score
                    .set(&[dataset, model, &version, state, measure.label()], value);
            }
        }
        if let Some(agreement) = view.agreement {
            self.compared.set(&[dataset, model], whole(agreement.compared()));
            if let Some(share) = agreement.share() {
                self.agreement.set(&[dataset, model], share);
            }
        }
    }

    fn turn(self) {
        self.waiting.turn();
        self.held.turn();
        self.classes.turn();
        self.shares.turn();
        self.drift.turn();
        self.score.turn();
        self.scored.turn();
        self.agreement.turn();
        self.compared.turn();
    }
}

/// A family whose label sets come and go with what is published.
#[derive(Debug)]
struct Shown<F> {
    family: F,
    /// Label sets that are there: a page must not miss one that stays.
    there: Mutex<BTreeSet<Vec<String>>>,
}

impl<F> Shown<F> {
    fn new(family: F) -> Self {
        Self {
            family,
            there: Mutex::default(),
        }
    }

    fn page(&self) -> Page<'_, F> {
        Page {
            shown: self,
            now: BTreeSet::new(),
        }
    }
}

/// The next label sets of a family.
struct Page<'f, F> {
    shown: &'f Shown<F>,
    now: BTreeSet<Vec<String>>,
}

impl<P: prometheus::core::Atomic> Page<'_, GenericGaugeVec<P>> {
    fn set(&mut self, labels: &[&str], value: P::T) {
        let gauge: GenericGauge<P> = self.shown.family.with_label_values(labels);
        gauge.set(value);
        self.now
            .insert(labels.iter().map(|label| (*label).to_owned()).collect());
    }

    /// Takes away what was there and is no more.
    fn turn(self) {
        let mut there = self.shown.there.lock().unwrap_or_else(PoisonError::into_inner);
        for labels in there.difference(&self.now) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let _ = self.shown.family.remove_label_values(&labels);
        }
        *there = self.now;
    }
}

/// A gauge holds `i64`: what is larger is shown as the largest.
fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
