//! What the service counts: one method an event, told by messages, so that one event moves all its metrics together.
//!
//! Names, helps and labels stand in `families`; how they look on the page is left to `exposition`.

mod families;
pub(super) mod inference;
mod models;
mod predictions;
mod process;
mod samples;
mod trainings;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forecastd_config::{DatasetName, Model};
use forecastd_models::{FitFailure, Timestamp};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};

use self::families::{FitFamilies, IntakeFamilies, Register, ServiceFamilies};
use self::inference::InferenceFamilies;
use self::models::ModelFamilies;
use self::predictions::PredictionFamilies;
use self::process::ProcessUse;
use self::samples::SampleFamilies;
use self::trainings::TrainingFamilies;
use crate::message::account::RowAccount;
use crate::message::drop_totals::DropTotals;
use crate::message::fit_job::{FitReport, FitWay};
use crate::message::ingest_report::{IngestReport, Outcome};
use crate::message::landed_file::Listing;
use crate::message::model::ModelReport;
use crate::message::prediction::PredictReport;
use crate::message::snapshot::Snapshot;
use crate::message::torch_status::{TorchFits, TorchStatus};
use crate::message::training::TrainingProgress;

/// The service's counters and gauges, handed to whoever has something to tell.
///
/// A dataset has label sets from [`dataset_added`](Self::dataset_added) to
/// [`dataset_removed`](Self::dataset_removed). What is told of a dataset outside that time is dropped: a report that
/// comes in late must not bring back what a reload took away.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    intake: IntakeFamilies,
    fit: FitFamilies,
    service: ServiceFamilies,
    inference: InferenceFamilies,
    models: ModelFamilies,
    samples: SampleFamilies,
    trainings: TrainingFamilies,
    predictions: PredictionFamilies,
    started: Timestamp,
    /// The last error of each dataset that has label sets. The lock also keeps adding, removing and counting apart.
    datasets: Mutex<BTreeMap<DatasetName, Option<String>>>,
}

/// What the landing page shows of a dataset's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DatasetFigures {
    pub(super) rows_committed: u64,
    pub(super) last_error: Option<String>,
}

impl Metrics {
    /// Everything at zero, in a registry of its own; the configuration was read with success at `started`.
    pub fn new(started: Timestamp) -> Self {
        let registry = Registry::new();
        let register = Register(&registry);
        let metrics = Self {
            intake: IntakeFamilies::register(&register),
            fit: FitFamilies::register(&register),
            service: ServiceFamilies::register(&register),
            inference: InferenceFamilies::register(&register),
            models: ModelFamilies::register(&register),
            samples: SampleFamilies::register(&register),
            trainings: TrainingFamilies::register(&register),
            predictions: PredictionFamilies::register(&register),
            started,
            datasets: Mutex::default(),
            registry,
        };
        let build = [env!("CARGO_PKG_VERSION"), std::env::consts::ARCH];
        metrics.service.build_info.with_label_values(&build).set(1);
        metrics.service.start_time.set(started.as_seconds());
        metrics.reloaded(true, started);
        metrics
    }

    /// When this process started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Starts a dataset's label sets, every reason at zero. Does nothing for one that has them.
    pub fn dataset_added(&self, dataset: &DatasetName) {
        let mut datasets = self.lock();
        if datasets.contains_key(dataset) {
            return;
        }
        for family in self.counters() {
            family.with_label_values(&[dataset]);
        }
        for family in self.gauges() {
            family.with_label_values(&[dataset]);
        }
        for (family, reasons) in self.reasons() {
            for reason in &reasons {
                family.with_label_values(&[&**dataset, reason]);
            }
        }
        datasets.insert(Arc::clone(dataset), None);
    }

    /// Starts the label sets of a dataset of samples, whose rows are refused for reasons of their own and which is not
    /// forecast. Does nothing for one that has them.
    pub fn samples_added(&self, dataset: &DatasetName) {
        let mut datasets = self.lock();
        if datasets.contains_key(dataset) {
            return;
        }
        for family in self.intake.counters() {
            family.with_label_values(&[dataset]);
        }
        for family in self.intake.gauges() {
            family.with_label_values(&[dataset]);
        }
        for (family, reasons) in self.sample_reasons() {
            for reason in &reasons {
                family.with_label_values(&[&**dataset, reason]);
            }
        }
        self.predictions.added(dataset);
        datasets.insert(Arc::clone(dataset), None);
    }

    /// Ends a dataset's label sets. Should it come back, [`seed`](Self::seed) brings its totals back.
    pub fn dataset_removed(&self, dataset: &str) {
        let mut datasets = self.lock();
        datasets.remove(dataset);
        // An error means that the label set is not there, which is what is wanted.
        for family in self.counters() {
            let _ = family.remove_label_values(&[dataset]);
        }
        for family in self.gauges() {
            let _ = family.remove_label_values(&[dataset]);
        }
        let _ = self.intake.last_scan.remove_label_values(&[dataset]);
        self.predictions.removed(dataset);
        for (family, reasons) in self.reasons().into_iter().chain(self.sample_reasons()) {
            for reason in &reasons {
                let _ = family.remove_label_values(&[dataset, reason]);
            }
        }
    }

    /// Lets a dataset's counters go on from the ledger's totals: once after `dataset_added`, before its first drop.
    pub fn seed(&self, dataset: &str, totals: &DropTotals) {
        self.tell(dataset, |_| {
            let rejected: u64 = totals.drops_rejected.values().sum();
            let drops = totals.drops_committed + totals.drops_duplicate + rejected;
            self.intake.drops.with_label_values(&[dataset]).inc_by(drops);
            self.count(&self.intake.drops_duplicate, dataset, totals.drops_duplicate);
            for (reason, drops) in &totals.drops_rejected {
                let labels = [dataset, reason.label()];
                self.intake.drops_rejected.with_label_values(&labels).inc_by(*drops);
            }
            self.rows(dataset, &totals.rows);
        });
    }

    /// A file was dealt with, or put off.
    pub fn ingested(&self, report: &IngestReport) {
        let dataset = &*report.file.dataset;
        let file = report.file.path.display();
        self.tell(dataset, |last_error| match &report.outcome {
            Outcome::Committed { account, .. } | Outcome::Sampled { account, .. } => {
                self.count(&self.intake.drops, dataset, 1);
                self.rows(dataset, account);
            }
            Outcome::Duplicate { account } => {
                self.count(&self.intake.drops, dataset, 1);
                self.count(&self.intake.drops_duplicate, dataset, 1);
                self.rows(dataset, account);
            }
            Outcome::Rejected(verdict) => {
                let labels = [dataset, verdict.reason.label()];
                self.count(&self.intake.drops, dataset, 1);
                self.intake.drops_rejected.with_label_values(&labels).inc();
                *last_error = Some(format!("{file}: {}: {}", verdict.reason.label(), verdict.detail));
            }
            Outcome::Deferred { error } => {
                self.count(&self.intake.drops_deferred, dataset, 1);
                *last_error = Some(format!("{file}: {error}"));
            }
            // The first was counted before the restart, the second comes again.
            Outcome::Finished | Outcome::Withdrawn => {}
        });
    }

    /// A folder was listed.
    pub fn listed(&self, listing: &Listing, now: Timestamp) {
        let dataset = &*listing.dataset;
        self.tell(dataset, |_| {
            self.count(&self.intake.scans, dataset, 1);
            let last_scan = self.intake.last_scan.with_label_values(&[dataset]);
            last_scan.set(now.as_seconds());
            let ignored = self.intake.files_ignored.with_label_values(&[dataset]);
            set(&ignored, listing.ignored as u64);
        });
    }

    /// A folder could not be listed.
    pub fn unreadable(&self, dataset: &str, error: &dyn fmt::Display) {
        self.tell(dataset, |last_error| {
            self.count(&self.intake.scans, dataset, 1);
            self.count(&self.intake.scan_failures, dataset, 1);
            *last_error = Some(error.to_string());
        });
    }

    /// A segment of the history could not be read back.
    pub fn segment_damaged(&self, dataset: &str, error: &dyn fmt::Display) {
        self.tell(dataset, |last_error| {
            self.count(&self.intake.segments_damaged, dataset, 1);
            *last_error = Some(error.to_string());
        });
    }

    /// The kernel dropped change notices.
    pub fn watch_hints_lost(&self) {
        self.intake.hints_lost.inc();
    }

    /// A batch was fitted.
    pub fn fitted(&self, report: &FitReport) {
        self.fit.duration.observe(report.elapsed.as_secs_f64());
        let dataset = &*report.dataset;
        self.tell(dataset, |_| {
            self.count(&self.fit.fits, dataset, report.outcomes.len() as u64);
            let by = |way| report.outcomes.iter().filter(|outcome| outcome.way == way).count() as u64;
            self.count(&self.fit.fits_rolled, dataset, by(FitWay::Rolled));
            self.count(&self.fit.fits_applied, dataset, by(FitWay::Applied));
            for (_, decline) in &report.declined {
                let labels = [dataset, &decline.to_string()];
                self.fit.rolls_declined.with_label_values(&labels).inc();
            }
            for outcome in &report.outcomes {
                match &outcome.result {
                    Ok(fit) => {
                        self.count(&self.fit.points_filled, dataset, fit.filled as u64);
                        if let Some(fallback) = fit.model.fallback {
                            let labels = [dataset, &fallback.to_string()];
                            self.fit.fallbacks.with_label_values(&labels).inc();
                        }
                    }
                    Err(failure) => self.fit_failed(dataset, failure),
                }
            }
        });
    }

    /// A drop of samples was predicted, or could not be.
    pub fn predicted(&self, report: &PredictReport) {
        self.tell(&report.dataset, |last_error| {
            if let Some(error) = self.predictions.done(report) {
                *last_error = Some(error);
            }
        });
    }

    /// A worker thread was at work for `busy`.
    pub fn worker_busy(&self, worker: &str, busy: Duration) {
        let family = &self.fit.worker_busy;
        family.with_label_values(&[worker]).inc_by(busy.as_secs_f64());
    }

    /// A snapshot was published.
    pub fn published(&self, snapshot: &Snapshot) {
        set(&self.fit.generation, snapshot.generation);
        self.models.published(&snapshot.models);
        self.samples.published(&snapshot.samples);
        self.trainings.published(&snapshot.trainings);
        self.predictions.published(&snapshot.samples);
        for view in &snapshot.samples {
            let dataset = &*view.config.name;
            self.tell(dataset, |_| {
                let waiting = self.intake.files_waiting.with_label_values(&[dataset]);
                set(&waiting, view.files_waiting as u64);
            });
        }
        for view in &snapshot.datasets {
            let dataset = &*view.config.name;
            self.tell(dataset, |_| {
                let channels = self.fit.channels.with_label_values(&[dataset]);
                set(&channels, view.channels.len() as u64);
                let waiting = self.intake.files_waiting.with_label_values(&[dataset]);
                set(&waiting, view.files_waiting as u64);
                set(&self.fit.channels_due.with_label_values(&[dataset]), view.due as u64);
                set(&self.fit.gap_points.with_label_values(&[dataset]), view.gap_points);
                set(
                    &self.fit.off_grid_rows.with_label_values(&[dataset]),
                    view.off_grid_rows,
                );
            });
        }
    }

    /// A forecast file is in its place, or could not be written.
    pub fn forecast_file<T, E: fmt::Display>(&self, dataset: &str, written: &Result<T, E>) {
        self.tell(dataset, |last_error| {
            self.count(&self.service.forecast_files, dataset, 1);
            if let Err(error) = written {
                self.count(&self.service.forecast_file_failures, dataset, 1);
                *last_error = Some(error.to_string());
            }
        });
    }

    /// These are the models of the configuration: each has its label sets from now on, and no other has.
    pub fn models_configured(&self, models: &[Model]) {
        self.inference.configured(models);
        self.models.configured(models);
        self.trainings.configured(models);
    }

    /// Something was done about models.
    pub fn models(&self, report: &ModelReport) {
        self.models.done(&report.done);
        self.trainings.done(&report.done);
    }

    /// A training is so far.
    pub fn training(&self, progress: &TrainingProgress) {
        self.trainings.progress(progress);
    }

    /// How far the training of a model is.
    pub(super) fn training_progress(&self, model: &str) -> Option<TrainingProgress> {
        self.trainings.progress_of(model)
    }

    /// A version could not be loaded: it was `refused`, or loading was `unavailable`.
    pub fn model_load_failed(&self, model: &str, reason: &'static str) {
        self.models.load_failed(model, reason);
    }

    /// The libtorch child's state changed.
    pub fn torch(&self, status: &TorchStatus) {
        let service = &self.service;
        service.torch_up.set(i64::from(status.up));
        let before = service.torch_restarts.get();
        service.torch_restarts.inc_by(status.restarts.saturating_sub(before));
        service.torch_info.reset();
        if let (Some(version), Some(device), Some(onednn)) = (&status.version, &status.device, status.onednn) {
            let labels = [version, device, &onednn.to_string()];
            service.torch_info.with_label_values(&labels).set(1);
        }
    }

    /// The libtorch child was asked for fits.
    pub fn torch_fits(&self, fits: TorchFits) {
        let service = &self.service;
        service.torch_fits.inc_by(fits.fitted);
        service.torch_fits_unsure.inc_by(fits.unsure);
        service.torch_fit_failures.inc_by(fits.failed);
    }

    /// The configuration was read again; `ok`: it is valid and in force.
    pub fn reloaded(&self, ok: bool, now: Timestamp) {
        self.service.reload_successful.set(i64::from(ok));
        if ok {
            self.service.reload_success_time.set(now.as_seconds());
        }
    }

    /// A page was asked for, and this many series did not fit on it.
    pub fn scraped(&self, held_back: u64) {
        self.service.held_back.inc_by(held_back);
    }

    /// A client asks what a model says.
    pub(super) fn inference_asked(&self, model: &str) {
        self.inference.asked(model);
    }

    /// It was not answered, for one of [`inference::reasons`].
    pub(super) fn inference_failed(&self, model: &str, reason: &'static str) {
        self.inference.failed(model, reason);
    }

    /// It was told something, with this HTTP status.
    pub(super) fn inference_responded(&self, status: u16) {
        self.inference.responded(status);
    }

    /// All families as they are now, in order of name.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.refresh_process();
        self.registry.gather()
    }

    /// A dataset's counters for people.
    pub(super) fn figures(&self, dataset: &str) -> DatasetFigures {
        let datasets = self.lock();
        let Some(last_error) = datasets.get(dataset) else {
            return DatasetFigures::default();
        };
        DatasetFigures {
            rows_committed: self.intake.rows_committed.with_label_values(&[dataset]).get(),
            last_error: last_error.clone(),
        }
    }

    fn rows(&self, dataset: &str, account: &RowAccount) {
        self.count(&self.intake.rows_seen, dataset, account.seen);
        self.count(&self.intake.rows_committed, dataset, account.committed);
        self.count(&self.intake.rows_duplicate, dataset, account.duplicate);
        self.count(&self.intake.cells_missing, dataset, account.missing);
        for (reason, rows) in &account.rejected {
            let labels = [dataset, reason.label()];
            self.intake.rows_rejected.with_label_values(&labels).inc_by(*rows);
        }
    }

    fn fit_failed(&self, dataset: &str, failure: &FitFailure) {
        let labels = [dataset, failure.reason()];
        self.fit.failures.with_label_values(&labels).inc();
    }

    fn count(&self, family: &IntCounterVec, dataset: &str, by: u64) {
        family.with_label_values(&[dataset]).inc_by(by);
    }

    /// Lets `record` move a dataset's metrics, and its last error, if the dataset has label sets.
    fn tell(&self, dataset: &str, record: impl FnOnce(&mut Option<String>)) {
        if let Some(last_error) = self.lock().get_mut(dataset) {
            record(last_error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DatasetName, Option<String>>> {
        // A panic elsewhere leaves a text or a counter behind, never a broken map: go on counting.
        self.datasets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh_process(&self) {
        let _one_at_a_time = self.lock(); // two scrapes at once would both add the same CPU time
        let Some(used) = ProcessUse::read() else { return };
        let service = &self.service;
        let more = used.cpu_seconds - service.cpu.get();
        service.cpu.inc_by(more.max(0.0));
        set(&service.resident, used.resident_bytes);
        set(&service.open_fds, used.open_fds);
        set(&service.max_fds, used.max_fds.unwrap_or(u64::MAX));
        set(&service.threads, used.threads);
    }

    fn sample_reasons(&self) -> [(&IntCounterVec, Vec<String>); 2] {
        [
            (&self.intake.drops_rejected, families::drop_reasons()),
            (&self.intake.rows_rejected, families::sample_reasons()),
        ]
    }

    fn counters(&self) -> impl Iterator<Item = &IntCounterVec> {
        let (fit, service) = (&self.fit, &self.service);
        let of_series = [
            &fit.fits,
            &fit.fits_rolled,
            &fit.fits_applied,
            &fit.points_filled,
            &service.forecast_files,
            &service.forecast_file_failures,
        ];
        self.intake.counters().into_iter().chain(of_series)
    }

    fn gauges(&self) -> impl Iterator<Item = &IntGaugeVec> {
        let fit = &self.fit;
        let of_series = [&fit.channels, &fit.channels_due, &fit.gap_points, &fit.off_grid_rows];
        self.intake.gauges().into_iter().chain(of_series)
    }

    fn reasons(&self) -> [(&IntCounterVec, Vec<String>); 5] {
        [
            (&self.intake.drops_rejected, families::drop_reasons()),
            (&self.intake.rows_rejected, families::row_reasons()),
            (&self.fit.failures, families::fit_failure_reasons()),
            (&self.fit.rolls_declined, families::decline_reasons()),
            (&self.fit.fallbacks, families::fallback_reasons()),
        ]
    }
}

/// A gauge holds `i64`: what is larger is shown as the largest.
fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests;
