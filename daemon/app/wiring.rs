//! The rooms, started from the last to the first, so that each finds its successor ready.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use forecastd_config::{Config, Dataset, Landing, Model, SampleDataset};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::event::AppEvent;
use super::ingest::{Ingest, IngestJob, Told};
use super::predict::Predict;
use super::trainings::lay_out;
use crate::intake::decoder::Decoder;
use crate::intake::scan::Landings;
use crate::intake::watch::{Watch, WatchSpec};
use crate::message::fit_job::FitWork;
use crate::message::inference::Infer;
use crate::message::prediction::PredictJob;
use crate::message::snapshot::ForecastBatch;
use crate::planner::{Event, PREDICTORS};
use crate::publish::forecast_writer::ForecastWriter;
use crate::publish::metrics::Metrics;
use crate::service::clock::now;
use crate::state::{Store, requests_folder, run_folder};
use crate::work::fit::{fit, pool};
use crate::work::fit_on_device::FitDevice;
use crate::work::networks::Networks;
use crate::work::predict::Predictor;
use crate::work::torch_process::TorchProcess;
use crate::work::train::{self, Trainer};
use crate::work::worker::Workers;

/// Inputs of the main loop that may wait. Workers block when it is full; the loop never does.
const WAITING_EVENTS: usize = 256;

/// Every thread that acts for the planner.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) watch: Watch,
    pub(super) ingest: Workers<IngestJob>,
    /// They hold the libtorch child, which ends with the last of them.
    pub(super) fits: Workers<FitWork>,
    pub(super) writer: Workers<(ForecastBatch, Arc<Dataset>)>,
    pub(super) trainer: Trainer,
    pub(super) predicts: Workers<Box<PredictJob>>,
    /// Told when no more is to be predicted: a drop may take long, and can be done again.
    pub(super) predicts_stop: watch::Sender<bool>,
}

/// The sending half of the main loop, and the loop's own.
pub(super) fn channel() -> (mpsc::Sender<AppEvent>, mpsc::Receiver<AppEvent>) {
    mpsc::channel(WAITING_EVENTS)
}

impl Rooms {
    /// Starts every room. The watch comes last: nothing arrives before all others stand.
    pub(super) fn open(
        config: &Config,
        store: Store,
        executable: &Path,
        fit_threads: NonZeroUsize,
        infer: Arc<dyn Infer>,
        metrics: &Arc<Metrics>,
        events: &mpsc::Sender<AppEvent>,
    ) -> anyhow::Result<Self> {
        let writer = Workers::spawn("writer", vec![writer(events.clone())], busy(metrics), fatal(events))
            .context("start the writer thread")?;
        let torch = {
            let events = events.clone();
            TorchProcess::start(&config.torch, fit_threads, move |status| {
                send(&events, AppEvent::Torch(status))
            })
            .context("start the supervisor of forecastd-torch")?
        };
        let device = {
            let metrics = Arc::clone(metrics);
            FitDevice::new(torch, config.torch.fit, move |fits| metrics.torch_fits(fits))
        };
        let networks = Networks::new(Arc::clone(&infer), Handle::current());
        let fits = Workers::spawn(
            "fit",
            vec![fit_worker(events.clone(), Arc::new(device), networks); fit_threads.get()],
            busy(metrics),
            fatal(events),
        )
        .context("start the fit threads")?;
        let trainer = trainer(config, fit_threads, metrics, events).context("start the thread of trainings")?;
        let (predicts_stop, stopping) = watch::channel(false);
        let predictor = Predictor::new(infer, Handle::current(), stopping);
        let predict = predict_worker(Predict::new(config.state_dir.clone(), predictor), events.clone());
        let predicts = Workers::spawn("predict", vec![predict; PREDICTORS], busy(metrics), fatal(events))
            .context("start the threads for predictions")?;
        let ingest = ingest_worker(Ingest::new(store, Decoder::new(executable.to_owned())), events.clone());
        let ingest =
            Workers::spawn("ingest", vec![ingest], busy(metrics), fatal(events)).context("start the ingest thread")?;
        let watch = {
            let events = events.clone();
            Watch::spawn(watch_specs(config), move |event| send(&events, AppEvent::Watch(event)))
                .context("start the watch thread")?
        };
        Ok(Self {
            watch,
            ingest,
            fits,
            writer,
            trainer,
            predicts,
            predicts_stop,
        })
    }
}

/// Requests are renamed into their folder, so where the kernel tells of that they are seen at once.
const REQUESTS: Landing = Landing {
    scan_interval: Duration::from_secs(2),
    settle: Duration::ZERO,
    patience: Duration::ZERO,
};

/// What the watch has to look at.
pub(super) fn watch_specs(config: &Config) -> Vec<WatchSpec> {
    let drops = |dataset: &Dataset| WatchSpec {
        dataset: Arc::clone(&dataset.name),
        incoming: dataset.incoming.clone(),
        landings: Landings::Drops,
        landing: dataset.landing,
    };
    let samples = |dataset: &SampleDataset| WatchSpec {
        dataset: Arc::clone(&dataset.name),
        incoming: dataset.incoming.clone(),
        landings: Landings::Drops,
        landing: dataset.landing,
    };
    let artifacts = |model: &Model| WatchSpec {
        dataset: Arc::clone(&model.name),
        incoming: model.incoming.clone(),
        landings: Landings::Artifacts {
            aside: vec![model.done.clone(), model.quarantine.clone()],
        },
        landing: model.landing,
    };
    let requests = WatchSpec {
        dataset: "requests".into(),
        incoming: requests_folder(&config.state_dir),
        landings: Landings::Requests,
        landing: REQUESTS,
    };
    let specs = config.datasets.iter().map(drops);
    specs
        .chain(config.samples.iter().map(samples))
        .chain(config.models.iter().map(artifacts))
        .chain([requests])
        .collect()
}

/// From a worker's thread. After the loop has ended nobody listens, and nobody needs to.
fn send(events: &mpsc::Sender<AppEvent>, event: AppEvent) {
    let _ = events.blocking_send(event);
}

fn fit_worker(
    events: mpsc::Sender<AppEvent>,
    device: Arc<FitDevice>,
    networks: Networks,
) -> impl FnMut(FitWork) + Clone {
    move |work| {
        let done = match work {
            FitWork::Fit(job) => Event::Fitted(fit(job, &device, &networks)),
            FitWork::Pool(job) => Event::Pooled(pool(job)),
        };
        send(&events, AppEvent::Plan(done));
    }
}

fn ingest_worker(mut ingest: Ingest, events: mpsc::Sender<AppEvent>) -> impl FnMut(IngestJob) {
    move |job| {
        let done = ingest.work(job, &mut |told| match told {
            Told::Event(event) => send(&events, AppEvent::Plan(event)),
            Told::Totals(dataset, totals) => send(&events, AppEvent::Totals(dataset, totals)),
            Told::Damaged(dataset, error) => send(&events, AppEvent::Damaged(dataset, error)),
        });
        if let Err(error) = done {
            send(&events, AppEvent::Fatal(anyhow::Error::new(error)));
        }
    }
}

fn trainer(
    config: &Config,
    fit_threads: NonZeroUsize,
    metrics: &Arc<Metrics>,
    events: &mpsc::Sender<AppEvent>,
) -> std::io::Result<Trainer> {
    let setting = train::Setting {
        executable: config.torch.executable.clone(),
        threads: fit_threads,
    };
    let runs = config.state_dir.clone();
    let state_dir = config.state_dir.clone();
    let told = events.clone();
    Trainer::start(
        setting,
        move |id| run_folder(&runs, id),
        Box::new(move |job, folder, goes_on| lay_out(&state_dir, job, folder, goes_on)),
        move |said| {
            let event = match said {
                train::Told::Progress(progress) => AppEvent::Training(progress),
                train::Told::Over(report) => AppEvent::Plan(Event::Trained(report)),
            };
            send(&told, event);
        },
        busy(metrics),
        fatal(events),
    )
}

fn predict_worker(predict: Predict, events: mpsc::Sender<AppEvent>) -> impl FnMut(Box<PredictJob>) + Clone {
    move |job| send(&events, AppEvent::Plan(Event::Predicted(predict.work(&job))))
}

fn writer(events: mpsc::Sender<AppEvent>) -> impl FnMut((ForecastBatch, Arc<Dataset>)) {
    move |(batch, dataset)| {
        let written = ForecastWriter::for_dataset(&dataset).write(&batch, now());
        send(&events, AppEvent::Written(batch.dataset, written));
    }
}

fn busy(metrics: &Arc<Metrics>) -> impl Fn(&'static str, Duration) + Send + Sync + 'static {
    let metrics = Arc::clone(metrics);
    move |worker, elapsed| metrics.worker_busy(worker, elapsed)
}

/// A panic outside of a channel's fit is a defect whose damage is unknown: recover from disk.
fn fatal(events: &mpsc::Sender<AppEvent>) -> impl Fn(&'static str, String) + Send + Sync + 'static {
    let events = events.clone();
    move |worker, message| {
        send(
            &events,
            AppEvent::Fatal(anyhow::anyhow!("the {worker} thread panicked: {message}")),
        );
    }
}
