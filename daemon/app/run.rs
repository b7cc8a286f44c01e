//! The main loop: one owner, the planner; what it says is done by the rooms, and what they say comes back here.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use forecastd_config::{Config, DatasetName};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::change::Requests;
use super::event::AppEvent;
use super::ingest::IngestJob;
use super::serving::Serving;
use super::wiring::{Rooms, channel, watch_specs};
use crate::intake::scan::Landings;
use crate::intake::watch::WatchEvent;
use crate::message::drop_totals::DropTotals;
use crate::message::snapshot::Snapshot;
use crate::planner::{Command, Event, Planner};
use crate::publish::exposition::{Exposition, Readiness};
use crate::publish::http::{Sources, serve};
use crate::publish::metrics::Metrics;
use crate::service::clock::{SteadyClock, now};
use crate::service::memory;
use crate::service::pulse::Pulse;
use crate::service::systemd;
use crate::state::{Store, requests_folder};

/// Work that is out when the shutdown begins gets this long to come back.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);

/// After this long without work out, the burst is over.
const REST: Duration = Duration::from_secs(2);

const LONGEST_SLEEP: Duration = Duration::from_secs(60);

const STOPPING_WAIT: Duration = Duration::from_millis(100);

/// The main loop promises to turn at least this often: the watchdog's question alone makes it.
const LOOP_PROMISE: Duration = Duration::from_secs(15);

/// What the process gives to the application.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file to read again at a reload.
    pub config_path: PathBuf,
    /// The daemon's own executable, which also is the decoder child.
    pub executable: PathBuf,
}

/// The whole service.
#[derive(Debug)]
pub struct App {
    options: Options,
    config: Arc<Config>,
    clock: SteadyClock,
    planner: Planner,
    rooms: Rooms,
    serving: Serving,
    metrics: Arc<Metrics>,
    exposition: Arc<Exposition>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    readiness: watch::Sender<Readiness>,
    pulse: Arc<Pulse>,
    /// Folders that could not be listed last time: told once, not at every scan.
    unreadable: HashSet<(Landings, DatasetName)>,
    /// Datasets that have their label sets.
    labelled: HashSet<DatasetName>,
    fatal: Option<anyhow::Error>,
    /// When the burst of work is over, if none follows until then.
    rests_at: Option<Instant>,
    stopping: bool,
}

impl App {
    /// Runs until `shutdown` completes and the work in flight is done. `reloads` yields once for each wish to read
    /// the configuration again; `bound` is told the address once it is known.
    ///
    /// # Errors
    /// When the service cannot start, or had to stop lest data be lost.
    pub async fn run(
        options: Options,
        config: Config,
        shutdown: impl Future<Output = ()> + Send,
        reloads: mpsc::Receiver<()>,
        bound: impl FnOnce(SocketAddr) + Send,
    ) -> anyhow::Result<()> {
        let config = Arc::new(config);
        let store = Store::open(&config.state_dir).context("open the state directory")?;
        let metrics = Arc::new(Metrics::new(now()));
        let mut totals = store.totals()?;
        let labelled = names(&config).cloned().collect();
        for name in names(&config) {
            add_label_sets(&metrics, &config, name);
            metrics.seed(name, &totals.remove(name).unwrap_or_default());
        }
        metrics.models_configured(&config.models);
        let listener = TcpListener::bind(config.http.listen)
            .with_context(|| format!("http.listen: cannot listen on {}", config.http.listen))?;
        bound(listener.local_addr()?);

        let (events, inbox) = channel();
        let threads = fit_threads(&config);
        let serving = Serving::start(
            &config.torch,
            &config.models,
            threads,
            Arc::clone(&metrics),
            events.clone(),
        );
        let (snapshots, snapshot) = watch::channel(Arc::new(Snapshot::default()));
        let (readiness, ready) = watch::channel(Readiness::Starting {
            doing: "reading the history back".to_owned(),
        });
        let (close_http, http_closes) = tokio::sync::oneshot::channel::<()>();
        let exposition = Exposition::new(snapshot, ready, Arc::clone(&metrics), config.http.max_series);
        let exposition = Arc::new(exposition.with_inference(serving.infer()));
        let sources = Sources {
            exposition: Arc::clone(&exposition),
            infer: serving.infer(),
            changes: Arc::new(Requests {
                folder: requests_folder(&config.state_dir),
            }),
            config: config.http.clone(),
        };
        let mut http = tokio::spawn(serve(listener, sources, async {
            let _ = http_closes.await;
        }));

        make_folders(&config);
        let infer = serving.infer();
        let rooms = Rooms::open(&config, store, &options.executable, threads, infer, &metrics, &events)?;
        let pulse = Arc::new(Pulse::default());
        pulse.beat("planner", LOOP_PROMISE);
        let watchdog = tokio::spawn(feed_watchdog(Arc::clone(&pulse), events.clone()));

        let mut app = Self {
            options,
            config,
            clock: SteadyClock::start(),
            planner: Planner::new(threads),
            rooms,
            serving,
            metrics,
            exposition,
            snapshots,
            readiness,
            pulse,
            unreadable: HashSet::new(),
            labelled,
            fatal: None,
            rests_at: None,
            stopping: false,
        };
        app.turn(inbox, &mut http, shutdown, reloads).await;
        watchdog.abort();
        let (fatal, serving_ends) = app.close().await;
        let _ = close_http.send(());
        if !http.is_finished() {
            http.await.context("the HTTP task")?.context("serve HTTP")?;
        }
        serving_ends.await;
        fatal.map_or(Ok(()), Err)
    }

    async fn turn(
        &mut self,
        mut inbox: mpsc::Receiver<AppEvent>,
        http: &mut JoinHandle<io::Result<()>>,
        shutdown: impl Future<Output = ()> + Send,
        mut reloads: mpsc::Receiver<()>,
    ) {
        info!(datasets = names(&self.config).count(), "started");
        self.apply(Event::Reconfigured(Arc::clone(&self.config)));
        let mut shutdown = std::pin::pin!(shutdown);
        let mut deadline = None;
        while self.fatal.is_none() && !(self.stopping && self.planner.is_idle()) {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                warn!("work is still out at the deadline; what it was is done again after a restart");
                break;
            }
            let wait = if self.stopping {
                STOPPING_WAIT
            } else {
                self.until_wake()
            };
            tokio::select! {
                event = inbox.recv() => match event {
                    Some(event) => self.take(event),
                    None => break,
                },
                () = sleep(wait) => self.wake(),
                ended = &mut *http => self.fatal = Some(anyhow::anyhow!("the HTTP task ended by itself: {ended:?}")),
                Some(()) = reloads.recv(), if !self.stopping => self.reload(),
                () = &mut shutdown, if !self.stopping => {
                    self.stop();
                    deadline = Some(Instant::now() + SHUTDOWN_DEADLINE);
                }
            }
        }
    }

    fn take(&mut self, event: AppEvent) {
        match event {
            AppEvent::Plan(event) => {
                match &event {
                    Event::Ingested(report) => self.metrics.ingested(report),
                    Event::Fitted(report) => self.metrics.fitted(report),
                    Event::Predicted(report) => self.metrics.predicted(report),
                    Event::Models(report) => {
                        self.metrics.models(report);
                        self.serving.follow(report);
                    }
                    Event::Recovered(dataset, ..) if self.is_starting() => systemd::extend_start(
                        Duration::from_secs(60),
                        &format!("reading the history of {dataset} back"),
                    ),
                    _ => {}
                }
                self.apply(event);
            }
            AppEvent::Totals(dataset, totals) => self.label(&dataset, totals),
            AppEvent::Damaged(dataset, error) => self.metrics.segment_damaged(&dataset, &error),
            AppEvent::Watch(event) => self.looked(event),
            AppEvent::Training(progress) => self.metrics.training(&progress),
            AppEvent::Torch(status) => {
                debug!(?status, "forecastd-torch");
                self.metrics.torch(&status);
            }
            AppEvent::Written(dataset, written) => {
                match &written {
                    Ok(path) => debug!(%dataset, file = %path.display(), "forecasts written"),
                    Err(error) => error!(%dataset, %error, "forecasts could not be written"),
                }
                self.metrics.forecast_file(&dataset, &written);
                self.apply(Event::Written);
            }
            AppEvent::Pulse => self.pulse.beat("planner", LOOP_PROMISE),
            AppEvent::Fatal(error) => self.fatal = Some(error),
        }
    }

    fn looked(&mut self, event: WatchEvent) {
        let datasets = self.config.datasets.iter().map(|dataset| dataset.landing);
        let samples = self.config.samples.iter().map(|dataset| dataset.landing);
        let models = self.config.models.iter().map(|model| model.landing);
        let interval = datasets
            .chain(samples)
            .chain(models)
            .map(|landing| landing.scan_interval)
            .max();
        self.pulse
            .beat("watch", 3 * interval.unwrap_or_default() + LOOP_PROMISE);
        match event {
            WatchEvent::Listing(landings, listing) => {
                if self
                    .unreadable
                    .remove(&(landings.clone(), Arc::clone(&listing.dataset)))
                {
                    info!(dataset = %listing.dataset, "the incoming folder can be listed again");
                }
                match landings {
                    Landings::Drops => {
                        self.metrics.listed(&listing, now());
                        self.apply(Event::Listed(listing));
                    }
                    Landings::Artifacts { .. } => self.apply(Event::ArtifactsListed(listing)),
                    Landings::Requests if listing.landed.is_empty() => {}
                    Landings::Requests => {
                        let requests = listing.landed.into_iter().map(|file| file.path);
                        self.apply(Event::Asked(requests.collect()));
                    }
                }
            }
            WatchEvent::Unreadable {
                landings,
                dataset,
                error,
            } => {
                if self.unreadable.insert((landings.clone(), Arc::clone(&dataset))) {
                    warn!(%dataset, %error, "the incoming folder cannot be listed");
                }
                match landings {
                    Landings::Drops => {
                        self.metrics.unreadable(&dataset, &error);
                        self.apply(Event::Unreadable(dataset));
                    }
                    Landings::Artifacts { .. } => self.apply(Event::ArtifactsUnreadable(dataset)),
                    Landings::Requests => {}
                }
            }
            WatchEvent::HintsLost { dataset, error } => {
                info!(
                    ?dataset,
                    error, "change notices are lost; regular listing finds what lands"
                );
                self.metrics.watch_hints_lost();
            }
        }
    }

    fn apply(&mut self, event: Event) {
        for command in self.planner.apply(event, self.clock.now()) {
            self.carry_out(command);
        }
        if !self.planner.is_idle() {
            self.rests_at = Some(Instant::now() + REST);
        }
        if self.is_starting() && self.planner.is_ready() {
            self.readiness.send_replace(Readiness::Ready);
            systemd::ready(&format!("serving {} datasets", names(&self.config).count()));
            info!("ready");
        }
    }

    fn is_starting(&self) -> bool {
        matches!(*self.readiness.borrow(), Readiness::Starting { .. })
    }

    fn carry_out(&mut self, command: Command) {
        let taken = match command {
            Command::Recover(dataset, epoch) => self.rooms.ingest.send(IngestJob::Recover(dataset, epoch)),
            Command::Ingest(file, dataset, reach) => {
                self.rooms.ingest.send(IngestJob::Ingest(file, dataset, reach, now()))
            }
            Command::RecoverSamples(dataset, epoch) => {
                self.rooms.ingest.send(IngestJob::RecoverSamples(dataset, epoch))
            }
            Command::IngestSamples(file, dataset) => {
                self.rooms.ingest.send(IngestJob::IngestSamples(file, dataset, now()))
            }
            Command::Predict(job) => self.rooms.predicts.send(job),
            Command::KeepPredictions(dataset, epoch, predictions) => {
                let job = IngestJob::KeepPredictions(dataset, epoch, predictions);
                self.rooms.ingest.send(job)
            }
            Command::Models(job) => self.rooms.ingest.send(IngestJob::Models(job, now())),
            Command::Fit(job) => self.rooms.fits.send(job),
            Command::WriteForecasts(batch, dataset) => self.rooms.writer.send((batch, dataset)),
            Command::Train(job) => self.rooms.trainer.send(*job),
            Command::CancelTraining(id) => {
                self.rooms.trainer.cancel(id);
                true
            }
            Command::Publish(snapshot) => {
                self.tell_obstacles(&snapshot);
                self.metrics.published(&snapshot);
                self.snapshots.send_replace(Arc::new(snapshot));
                true
            }
        };
        if !taken {
            self.fatal = Some(anyhow::anyhow!("a worker is gone"));
        }
    }

    /// What keeps a network from being trained is told when it comes to be, not at every publication.
    fn tell_obstacles(&self, snapshot: &Snapshot) {
        let before = self.snapshots.borrow();
        for view in &snapshot.trainings {
            let known = before.trainings.iter().find(|other| other.model == view.model);
            let known = known.and_then(|other| other.obstacle);
            if let Some(obstacle) = view.obstacle.filter(|obstacle| Some(*obstacle) != known) {
                warn!(model = %view.model, %obstacle, "a training is due and cannot be, until other samples come or the configuration is another");
            }
        }
    }

    fn reload(&mut self) {
        systemd::reloading();
        let outcome = self.read_config_again();
        if let Err(error) = &outcome {
            error!("the configuration stays as it was: {error:#}");
        }
        self.metrics.reloaded(outcome.is_ok(), now());
        // Before the first readiness that is still to come.
        if self.is_starting() {
            return;
        }
        systemd::ready(if outcome.is_ok() {
            "reloaded"
        } else {
            "reload refused: see the log"
        });
    }

    fn read_config_again(&mut self) -> anyhow::Result<()> {
        let config = crate::cli::read_config(&self.options.config_path)?;
        let keys = self.config.restart_needed(&config);
        if !keys.is_empty() {
            bail!("{} cannot change while the service runs: restart it", keys.join(", "));
        }
        let config = Arc::new(config);
        self.unlabel(&config);
        self.metrics.models_configured(&config.models);
        self.serving.configured(&config.models);
        self.exposition.set_max_series(config.http.max_series);
        self.config = Arc::clone(&config);
        make_folders(&config);
        self.rooms.watch.reconfigure(watch_specs(&config));
        self.apply(Event::Reconfigured(config));
        info!(datasets = names(&self.config).count(), "configuration reloaded");
        Ok(())
    }

    /// Label sets go with their datasets. They come with the ledger's totals, or counters would begin at zero and
    /// jump.
    fn unlabel(&mut self, config: &Config) {
        let metrics = &self.metrics;
        self.labelled.retain(|name| {
            let stays = names(config).any(|known| known == name);
            if !stays {
                metrics.dataset_removed(name);
            }
            stays
        });
    }

    fn label(&mut self, dataset: &DatasetName, totals: DropTotals) {
        let wanted = names(&self.config).any(|known| known == dataset);
        if wanted && self.labelled.insert(Arc::clone(dataset)) {
            add_label_sets(&self.metrics, &self.config, dataset);
            self.metrics.seed(dataset, &totals);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        systemd::stopping();
        self.readiness.send_replace(Readiness::Stopping);
        self.rooms.predicts_stop.send_replace(true);
        self.apply(Event::Stopping);
    }

    /// Joins every room, sources first, off the loop: a thread may be in the middle of a segment. Networks are served
    /// until the endpoint closes; the future tells when they are not any more.
    async fn close(self) -> (Option<anyhow::Error>, impl Future<Output = ()>) {
        let Self {
            rooms, serving, fatal, ..
        } = self;
        let (closed, closing) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("close".to_owned());
        let spawned = thread.spawn(move || {
            drop(rooms);
            let _ = closed.send(());
        });
        if spawned.is_err() || tokio::time::timeout(SHUTDOWN_DEADLINE, closing).await.is_err() {
            warn!("a thread did not end in time");
        }
        (fatal, serving.end())
    }

    /// Nothing has happened for a while, or something is due.
    fn wake(&mut self) {
        if self.rests_at.is_some_and(|at| at <= Instant::now()) {
            self.rests_at = None;
            memory::give_back();
        }
        self.apply(Event::Woken);
    }

    fn until_wake(&self) -> Duration {
        let rest = self
            .rests_at
            .map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(Instant::now()));
        let Some(at) = self.planner.wake_at() else { return rest };
        let due = Duration::from_nanos(u64::try_from(at.0.saturating_sub(self.clock.now().0)).unwrap_or(0));
        due.min(rest)
    }
}

/// The names of all datasets, whatever their kind.
fn names(config: &Config) -> impl Iterator<Item = &DatasetName> {
    let series = config.datasets.iter().map(|dataset| &dataset.name);
    series.chain(config.samples.iter().map(|dataset| &dataset.name))
}

fn add_label_sets(metrics: &Metrics, config: &Config, name: &DatasetName) {
    if config.samples.iter().any(|dataset| dataset.name == *name) {
        metrics.samples_added(name);
    } else {
        metrics.dataset_added(name);
    }
}

/// Makes the incoming folders that are not there. One that cannot be made is told by the watch, again and again.
fn make_folders(config: &Config) {
    let datasets = config.datasets.iter().map(|dataset| &dataset.incoming);
    let models = config.models.iter().map(|model| &model.incoming);
    let samples = config.samples.iter().map(|dataset| &dataset.incoming);
    for folder in datasets.chain(samples).chain(models) {
        if let Err(error) = std::fs::create_dir_all(folder) {
            warn!(folder = %folder.display(), %error, "cannot make the incoming folder");
        }
    }
}

fn fit_threads(config: &Config) -> NonZeroUsize {
    let allowed = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    config.cpu_threads.unwrap_or_else(allowed)
}

/// Feeds systemd's watchdog as long as every loop turns, at a third of what it asks for.
async fn feed_watchdog(pulse: Arc<Pulse>, events: mpsc::Sender<AppEvent>) {
    let Some(interval) = systemd::watchdog_interval() else {
        return;
    };
    loop {
        sleep(interval / 3).await;
        let _ = events.try_send(AppEvent::Pulse);
        let silent = pulse.silent(Instant::now());
        if silent.is_empty() {
            systemd::feed_watchdog();
        } else {
            error!(?silent, "loops do not turn; the watchdog is not fed");
        }
    }
}
