//! Every service metric by name: what it counts, under which labels. Dashboards and alerts stand on this page, so a
//! name here changes only with a line in the changelog.

use forecastd_models::{Decline, Fallback, FitFailure};
use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::message::account::RowReason;
use crate::message::rejected::RejectReason;

const DATASET: &[&str] = &["dataset"];
const REASON: &[&str] = &["dataset", "reason"];

/// Seconds of work on one batch: one short channel to thousands of long ones.
const FIT_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 100.0, 300.0,
];

/// From the folder to the history.
#[derive(Debug)]
pub(super) struct IntakeFamilies {
    pub(super) drops: IntCounterVec,
    pub(super) drops_duplicate: IntCounterVec,
    pub(super) drops_rejected: IntCounterVec,
    pub(super) drops_deferred: IntCounterVec,
    pub(super) rows_seen: IntCounterVec,
    pub(super) rows_committed: IntCounterVec,
    pub(super) rows_duplicate: IntCounterVec,
    pub(super) rows_rejected: IntCounterVec,
    pub(super) cells_missing: IntCounterVec,
    pub(super) files_waiting: IntGaugeVec,
    pub(super) files_ignored: IntGaugeVec,
    pub(super) scans: IntCounterVec,
    pub(super) scan_failures: IntCounterVec,
    pub(super) segments_damaged: IntCounterVec,
    pub(super) last_scan: GaugeVec,
    pub(super) hints_lost: IntCounter,
}

impl IntakeFamilies {
    pub(super) fn register(to: &Register) -> Self {
        Self {
            drops: to.counters(
                "forecastd_drops_total",
                "Drops dealt with: committed, duplicate or rejected.",
                DATASET,
            ),
            drops_duplicate: to.counters(
                "forecastd_drops_duplicate_total",
                "Drops whose content was committed before, under whatever name.",
                DATASET,
            ),
            drops_rejected: to.counters(
                "forecastd_drops_rejected_total",
                "Drops refused as a whole and put into quarantine.",
                REASON,
            ),
            drops_deferred: to.counters(
                "forecastd_drops_deferred_total",
                "Attempts put off because the machine failed, not the file.",
                DATASET,
            ),
            rows_seen: to.counters(
                "forecastd_rows_seen_total",
                "Rows read: committed, duplicate or rejected.",
                DATASET,
            ),
            rows_committed: to.counters(
                "forecastd_rows_committed_total",
                "Rows made durable in the history.",
                DATASET,
            ),
            rows_duplicate: to.counters(
                "forecastd_rows_duplicate_total",
                "Rows that were there already.",
                DATASET,
            ),
            rows_rejected: to.counters("forecastd_rows_rejected_total", "Rows refused one by one.", REASON),
            cells_missing: to.counters(
                "forecastd_cells_missing_total",
                "Empty cells read; they are no rows.",
                DATASET,
            ),
            files_waiting: to.gauges(
                "forecastd_files_waiting",
                "Drops in the folder that are not dealt with, those still being written included.",
                DATASET,
            ),
            files_ignored: to.gauges(
                "forecastd_files_ignored",
                "Entries in the folder that are no drops by their name.",
                DATASET,
            ),
            scans: to.counters(
                "forecastd_scans_total",
                "Listings of the folder, failed ones included.",
                DATASET,
            ),
            scan_failures: to.counters(
                "forecastd_scan_failures_total",
                "Listings that failed: the folder is absent or cannot be read.",
                DATASET,
            ),
            segments_damaged: to.counters(
                "forecastd_segments_damaged_total",
                "Segments of the history that could not be read back: their rows are missing until a backup is restored.",
                DATASET,
            ),
            last_scan: to.float_gauges(
                "forecastd_last_scan_timestamp_seconds",
                "When the folder was last listed with success.",
                DATASET,
            ),
            hints_lost: to.counter(
                "forecastd_watch_hints_lost_total",
                "Times the kernel dropped change notices; the next listing makes up for them.",
            ),
        }
    }
}

impl IntakeFamilies {
    /// Those that every dataset has from the beginning.
    pub(super) fn counters(&self) -> [&IntCounterVec; 10] {
        [
            &self.drops,
            &self.drops_duplicate,
            &self.drops_deferred,
            &self.rows_seen,
            &self.rows_committed,
            &self.rows_duplicate,
            &self.cells_missing,
            &self.scans,
            &self.scan_failures,
            &self.segments_damaged,
        ]
    }

    /// Likewise.
    pub(super) fn gauges(&self) -> [&IntGaugeVec; 2] {
        [&self.files_waiting, &self.files_ignored]
    }
}

/// From the history to the snapshot.
#[derive(Debug)]
pub(super) struct FitFamilies {
    pub(super) fits: IntCounterVec,
    pub(super) fits_rolled: IntCounterVec,
    pub(super) fits_applied: IntCounterVec,
    pub(super) rolls_declined: IntCounterVec,
    pub(super) failures: IntCounterVec,
    pub(super) fallbacks: IntCounterVec,
    pub(super) points_filled: IntCounterVec,
    pub(super) duration: Histogram,
    pub(super) channels: IntGaugeVec,
    pub(super) channels_due: IntGaugeVec,
    pub(super) gap_points: IntGaugeVec,
    pub(super) off_grid_rows: IntGaugeVec,
    pub(super) worker_busy: CounterVec,
    pub(super) generation: IntGauge,
}

impl FitFamilies {
    pub(super) fn register(to: &Register) -> Self {
        Self {
            fits: to.counters("forecastd_fits_total", "Channels fitted, failures included.", DATASET),
            fits_rolled: to.counters(
                "forecastd_fits_rolled_total",
                "Channels fitted from the rows that entered and left their windows, without a look at the whole.",
                DATASET,
            ),
            fits_applied: to.counters(
                "forecastd_fits_applied_total",
                "Channels forecast by a map that was chosen earlier, from their newest samples.",
                DATASET,
            ),
            rolls_declined: to.counters(
                "forecastd_fit_rolls_declined_total",
                "Windows that had moved and could not be fitted from that alone; the whole was fitted next.",
                REASON,
            ),
            failures: to.counters(
                "forecastd_fit_failures_total",
                "Channels for which nothing could be forecast.",
                REASON,
            ),
            fallbacks: to.counters(
                "forecastd_fit_fallbacks_total",
                "Channels served by a simpler model than Auto-AR.",
                REASON,
            ),
            points_filled: to.counters(
                "forecastd_points_filled_total",
                "Missing samples that the gap policy filled for a fit, counted at each fit.",
                DATASET,
            ),
            duration: to.histogram(
                "forecastd_fit_duration_seconds",
                "Time at work on one batch of channels.",
                FIT_BUCKETS,
            ),
            channels: to.gauges("forecastd_channels", "Channels known.", DATASET),
            channels_due: to.gauges(
                "forecastd_channels_due",
                "Channels whose history is ahead of their fit.",
                DATASET,
            ),
            gap_points: to.gauges(
                "forecastd_gap_points",
                "Slots without a sample inside the windows that fits see.",
                DATASET,
            ),
            off_grid_rows: to.gauges(
                "forecastd_off_grid_rows",
                "Committed rows that lie off their channel's grid, counted since the start.",
                DATASET,
            ),
            worker_busy: to.float_counters(
                "forecastd_worker_busy_seconds_total",
                "Time that a worker thread spent at work.",
                &["worker"],
            ),
            generation: to.gauge("forecastd_snapshot_generation", "Publications since the start."),
        }
    }
}

/// The process, its configuration, its child, and what it gives out.
#[derive(Debug)]
pub(super) struct ServiceFamilies {
    pub(super) torch_up: IntGauge,
    pub(super) torch_restarts: IntCounter,
    pub(super) torch_info: IntGaugeVec,
    pub(super) torch_fits: IntCounter,
    pub(super) torch_fits_unsure: IntCounter,
    pub(super) torch_fit_failures: IntCounter,
    pub(super) reload_successful: IntGauge,
    pub(super) reload_success_time: Gauge,
    pub(super) held_back: IntCounter,
    pub(super) forecast_files: IntCounterVec,
    pub(super) forecast_file_failures: IntCounterVec,
    pub(super) build_info: IntGaugeVec,
    pub(super) cpu: Counter,
    pub(super) resident: IntGauge,
    pub(super) open_fds: IntGauge,
    pub(super) max_fds: IntGauge,
    pub(super) threads: IntGauge,
    pub(super) start_time: Gauge,
}

impl ServiceFamilies {
    pub(super) fn register(to: &Register) -> Self {
        Self {
            torch_up: to.gauge(
                "forecastd_torch_up",
                "Whether the libtorch child runs and answered its last ping.",
            ),
            torch_restarts: to.counter(
                "forecastd_torch_restarts_total",
                "Times the libtorch child had to be started again.",
            ),
            torch_info: to.gauges(
                "forecastd_torch_info",
                "The libtorch that the child runs on, its device, and whether it computes networks by oneDNN.",
                &["version", "device", "onednn"],
            ),
            torch_fits: to.counter("forecastd_torch_fits_total", "Channels that the libtorch child fitted."),
            torch_fits_unsure: to.counter(
                "forecastd_torch_fits_unsure_total",
                "Channels that the libtorch child was not sure of, and the CPU fitted.",
            ),
            torch_fit_failures: to.counter(
                "forecastd_torch_fit_failures_total",
                "Batches that the libtorch child failed to fit, and the CPU fitted.",
            ),
            reload_successful: to.gauge(
                "forecastd_config_last_reload_successful",
                "Whether the configuration file was valid when last read; if not, the one before is in force.",
            ),
            reload_success_time: to.float_gauge(
                "forecastd_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was read.",
            ),
            held_back: to.counter(
                "forecastd_series_held_back_total",
                "Series left out of pages because http.max_series was reached, counted at each scrape.",
            ),
            forecast_files: to.counters(
                "forecastd_forecast_files_total",
                "Forecast files attempted, failures included.",
                DATASET,
            ),
            forecast_file_failures: to.counters(
                "forecastd_forecast_file_failures_total",
                "Forecast files that could not be written.",
                DATASET,
            ),
            build_info: to.gauges(
                "forecastd_build_info",
                "What was built, and for which machine.",
                &["version", "arch"],
            ),
            cpu: to.float_counter(
                "process_cpu_seconds_total",
                "CPU time of this process, user and system.",
            ),
            resident: to.gauge(
                "process_resident_memory_bytes",
                "Memory of this process that is in RAM.",
            ),
            open_fds: to.gauge("process_open_fds", "Open file descriptors."),
            max_fds: to.gauge("process_max_fds", "Most file descriptors that may be open."),
            threads: to.gauge("process_threads", "Threads of this process."),
            start_time: to.float_gauge("process_start_time_seconds", "When this process started."),
        }
    }
}

/// The labels of the families that have a reason: each starts at zero, so that the first one is seen to rise.
pub(super) fn fit_failure_reasons() -> Vec<String> {
    let message = String::new();
    let failures = [
        FitFailure::NoSamples,
        FitFailure::Gaps { missing: 0 },
        FitFailure::NotFinite,
        FitFailure::Panicked { message },
    ];
    failures.iter().map(|failure| failure.reason().to_owned()).collect()
}

pub(super) fn decline_reasons() -> Vec<String> {
    Decline::ALL.iter().map(Decline::to_string).collect()
}

pub(super) fn fallback_reasons() -> Vec<String> {
    Fallback::ALL.iter().map(Fallback::to_string).collect()
}

pub(super) fn drop_reasons() -> Vec<String> {
    RejectReason::ALL
        .iter()
        .map(|reason| reason.label().to_owned())
        .collect()
}

pub(super) fn row_reasons() -> Vec<String> {
    RowReason::OF_SERIES
        .iter()
        .map(|reason| reason.label().to_owned())
        .collect()
}

pub(super) fn sample_reasons() -> Vec<String> {
    RowReason::OF_SAMPLES
        .iter()
        .map(|reason| reason.label().to_owned())
        .collect()
}

/// Makes families and enters them into a registry.
#[derive(Debug)]
pub(super) struct Register<'r>(pub(super) &'r Registry);

impl Register<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.enter(IntCounter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.enter(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn float_counter(&self, name: &str, help: &str) -> Counter {
        self.enter(Counter::new(name, help))
    }

    fn float_counters(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.enter(CounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.enter(IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.enter(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.enter(Gauge::new(name, help))
    }

    pub(super) fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.enter(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.enter(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        ))
    }

    pub(super) fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.enter(HistogramVec::new(options, labels))
    }

    fn enter<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> C {
        let family = family.expect("the names on this page are well formed");
        let entered = self.0.register(Box::new(family.clone()));
        entered.expect("each name stands once on this page");
        family
    }
}
