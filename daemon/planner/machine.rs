//! The state machine itself: one owner of all state, one function that changes it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Config, DatasetName};
use forecastd_models::Timestamp;

use super::command::Command;
use super::dataset::{DatasetState, Recovery};
use super::event::Event;
use crate::message::ingest_report::{IngestReport, Outcome};
use crate::message::snapshot::Snapshot;

/// Channels in one batch at most: their windows are copied, so this bounds the memory in flight.
const BATCH_CHANNELS: usize = 64;

/// Least time between two snapshots while fits go on: building one touches every channel.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// First wait after a fault of the machine, doubled with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Decides what to do. Owns the histories and everything derived from them.
#[derive(Clone, Debug)]
pub struct Planner {
    /// In the order of the configuration.
    datasets: Vec<DatasetState>,
    idle_fit_workers: usize,
    fit_workers: usize,
    /// The ingest thread has a job: a file or a recovery.
    storing: bool,
    /// The writer has a batch.
    writing: bool,
    ingest_turn: Turn,
    fit_turn: Turn,
    write_turn: Turn,
    back_off: Option<BackOff>,
    generation: u64,
    unpublished: bool,
    published_at: Option<Timestamp>,
    stopping: bool,
}

/// Intake rests after a fault of the machine: a full disk is full for every file.
#[derive(Clone, Copy, Debug)]
struct BackOff {
    until: Timestamp,
    wait: Duration,
}

impl Planner {
    /// Nothing known yet; give it [`Event::Reconfigured`] first.
    pub fn new(fit_workers: NonZeroUsize) -> Self {
        Self {
            datasets: Vec::new(),
            idle_fit_workers: fit_workers.get(),
            fit_workers: fit_workers.get(),
            storing: false,
            writing: false,
            ingest_turn: Turn::default(),
            fit_turn: Turn::default(),
            write_turn: Turn::default(),
            back_off: None,
            generation: 0,
            unpublished: false,
            published_at: None,
            stopping: false,
        }
    }

    /// Takes in what happened and says what to do about it.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Listed(listing) => {
                if let Some(dataset) = self.dataset(&listing.dataset) {
                    let before = dataset.files.waiting();
                    dataset.files.list(listing);
                    self.unpublished |= dataset.files.waiting() != before;
                }
            }
            Event::Unreadable(name) => {
                if let Some(dataset) = self.dataset(&name) {
                    dataset.files.unreadable();
                }
            }
            Event::Recovered(name, rows) => {
                if let Some(dataset) = self.dataset(&name) {
                    dataset.extend(&rows, now);
                    self.unpublished = true;
                }
            }
            Event::RecoveryFinished(name) => {
                self.storing = false;
                if let Some(dataset) = self.dataset(&name) {
                    dataset.recovery = Recovery::Done;
                    self.unpublished = true;
                }
            }
            Event::Ingested(report) => self.ingested(report, now),
            Event::Fitted(report) => {
                self.idle_fit_workers = (self.idle_fit_workers + 1).min(self.fit_workers);
                if let Some(dataset) = self.dataset(&report.dataset) {
                    dataset.finish(report, now);
                    self.unpublished = true;
                }
            }
            Event::Written => self.writing = false,
            Event::Reconfigured(config) => self.reconfigure(&config, now),
            Event::Woken => {}
            Event::Stopping => self.stopping = true,
        }
        self.plan(now, &mut commands);
        commands
    }

    /// When [`Event::Woken`] should come if nothing else happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let back_off = self.back_off.filter(|_| self.files_ready()).map(|rest| rest.until);
        let publish = if self.unpublished {
            self.published_at.map(|at| after(at, PUBLISH_INTERVAL))
        } else {
            None
        };
        let resting = if self.idle_fit_workers > 0 {
            self.datasets.iter().filter_map(DatasetState::next_ready).min()
        } else {
            None
        };
        [back_off, publish, resting].into_iter().flatten().min()
    }

    /// Whether every dataset's durable rows are back and every folder was looked at.
    pub fn is_ready(&self) -> bool {
        self.datasets
            .iter()
            .all(|dataset| dataset.recovery == Recovery::Done && dataset.files.listed())
    }

    /// Whether no work is out.
    pub fn is_idle(&self) -> bool {
        !self.storing && !self.writing && self.idle_fit_workers == self.fit_workers
    }

    fn dataset(&mut self, name: &DatasetName) -> Option<&mut DatasetState> {
        self.datasets.iter_mut().find(|dataset| dataset.name() == name)
    }

    fn files_ready(&self) -> bool {
        self.datasets.iter().any(|dataset| dataset.files.ready() > 0)
    }

    fn ingested(&mut self, report: IngestReport, now: Timestamp) {
        self.storing = false;
        let IngestReport { file, outcome } = report;
        if let Outcome::Deferred { .. } = &outcome {
            let wait = self
                .back_off
                .map_or(FIRST_BACK_OFF, |rest| (rest.wait * 2).min(LONGEST_BACK_OFF));
            self.back_off = Some(BackOff {
                until: after(now, wait),
                wait,
            });
        } else {
            self.back_off = None;
        }
        let Some(dataset) = self.dataset(&file.dataset) else {
            return;
        };
        match outcome {
            Outcome::Committed { fresh, .. } => {
                dataset.files.settle(file);
                dataset.extend(&fresh, now);
                self.unpublished = true;
            }
            Outcome::Duplicate { .. } | Outcome::Finished | Outcome::Rejected(_) => dataset.files.settle(file),
            Outcome::Deferred { .. } => dataset.files.put_back(file),
            Outcome::Withdrawn => {}
        }
    }

    fn reconfigure(&mut self, config: &Config, now: Timestamp) {
        let mut before: HashMap<DatasetName, DatasetState> = self
            .datasets
            .drain(..)
            .map(|dataset| (DatasetName::clone(dataset.name()), dataset))
            .collect();
        for dataset in &config.datasets {
            let wanted = Arc::new(dataset.clone());
            let mut state = before
                .remove(&dataset.name)
                .unwrap_or_else(|| DatasetState::new(Arc::clone(&wanted)));
            state.reconfigure(wanted, now);
            self.datasets.push(state);
        }
        self.unpublished = true;
    }

    fn plan(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if !self.stopping {
            self.plan_recovery(commands);
            self.plan_ingest(now, commands);
            self.plan_fits(now, commands);
        }
        self.plan_publication(now, commands);
        self.plan_files(now, commands);
    }

    fn plan_recovery(&mut self, commands: &mut Vec<Command>) {
        let Some(dataset) = self
            .datasets
            .iter_mut()
            .find(|dataset| dataset.recovery == Recovery::Wanted)
        else {
            return;
        };
        if !self.storing {
            self.storing = true;
            dataset.recovery = Recovery::Running;
            commands.push(Command::Recover(DatasetName::clone(dataset.name())));
        }
    }

    fn plan_ingest(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if self.storing || self.back_off.is_some_and(|rest| now < rest.until) {
            return;
        }
        for index in self.ingest_turn.order(self.datasets.len()) {
            let dataset = &mut self.datasets[index];
            if dataset.recovery == Recovery::Done
                && let Some(file) = dataset.files.take()
            {
                commands.push(Command::Ingest(file, Arc::clone(dataset.config())));
                self.storing = true;
                self.ingest_turn = Turn(index);
                return;
            }
        }
    }

    /// Every idle worker gets its share of what is due: under load the batches grow and no queue does.
    fn plan_fits(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        for index in self.fit_turn.order(self.datasets.len()) {
            let dataset = &mut self.datasets[index];
            while self.idle_fit_workers > 0 && dataset.ready(now) > 0 {
                let share = dataset.ready(now).div_ceil(self.idle_fit_workers);
                if let Some(job) = dataset.take_batch(share.min(BATCH_CHANNELS), now) {
                    commands.push(Command::Fit(job));
                    self.idle_fit_workers -= 1;
                    self.fit_turn = Turn(index);
                }
            }
        }
    }

    fn plan_files(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        for index in self.write_turn.order(self.datasets.len()) {
            let dataset = &mut self.datasets[index];
            if !self.writing
                && let Some(batch) = dataset.take_unwritten(now)
            {
                commands.push(Command::WriteForecasts(batch, Arc::clone(dataset.config())));
                self.writing = true;
                self.write_turn = Turn(index);
            }
        }
    }

    fn plan_publication(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        let rested = self.published_at.is_none_or(|at| now >= after(at, PUBLISH_INTERVAL));
        if !self.unpublished || !rested {
            return;
        }
        self.generation += 1;
        self.unpublished = false;
        self.published_at = Some(now);
        let datasets = self.datasets.iter().map(DatasetState::view).collect();
        commands.push(Command::Publish(Snapshot {
            generation: self.generation,
            datasets,
        }));
    }
}

fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX))
}

/// Whose turn it is, so that no dataset starves another: the search begins behind the one that was served last.
#[derive(Clone, Copy, Debug, Default)]
struct Turn(usize);

impl Turn {
    fn order(self, datasets: usize) -> impl Iterator<Item = usize> {
        (self.0 + 1..self.0 + 1 + datasets).map(move |index| index % datasets)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use forecastd_models::{ChannelFit, FitFailure, FittedAr, Forecast};

    use super::*;
    use crate::message::fit_job::{FitJob, FitOutcome, FitReport};
    use crate::message::landed_file::{Fingerprint, LandedFile, Listing};
    use crate::message::rejected::{RejectReason, Rejected};
    use crate::message::series_drop::{RawRows, SeriesDrop};

    const SECOND: i64 = 1_000_000_000;

    /// A planner, a clock, and a record of what was asked of the rooms.
    struct Story {
        planner: Planner,
        now: Timestamp,
        asked: Vec<Command>,
    }

    impl Story {
        /// Datasets of these names, recovered and listed; two fit workers.
        fn with(names: &[&str], more: &str) -> Self {
            let mut story = Self {
                planner: Planner::new(NonZeroUsize::new(2).expect("two")),
                now: Timestamp(1_000_000 * SECOND),
                asked: Vec::new(),
            };
            story.tell(Event::Reconfigured(config(names, more)));
            for name in names {
                assert!(!story.planner.is_ready());
                story.tell(Event::RecoveryFinished((*name).into()));
                story.list(name, &[]);
            }
            assert!(story.planner.is_ready());
            story.asked.clear();
            story
        }

        fn tell(&mut self, event: Event) {
            let commands = self.planner.apply(event, self.now);
            self.asked.extend(commands);
        }

        fn wait(&mut self, duration: Duration) {
            self.now = after(self.now, duration);
            self.tell(Event::Woken);
        }

        fn list(&mut self, dataset: &str, files: &[&str]) {
            let landed = files.iter().map(|name| file(dataset, name)).collect();
            self.tell(Event::Listed(Listing {
                dataset: dataset.into(),
                landed,
                waiting: 0,
                ignored: 0,
            }));
        }

        fn report(&mut self, dataset: &str, name: &str, outcome: Outcome) {
            self.tell(Event::Ingested(IngestReport {
                file: file(dataset, name),
                outcome,
            }));
        }

        /// The rows `slots` of these channels were committed from file `name`.
        fn commit(&mut self, dataset: &str, name: &str, channels: &[&str], slots: std::ops::Range<i64>) {
            let rows: Vec<_> = slots.map(|slot| (Timestamp(slot * SECOND), slot as f64)).collect();
            let channels: BTreeMap<_, _> = channels
                .iter()
                .map(|channel| ((*channel).into(), rows.clone()))
                .collect();
            let (fresh, _) = SeriesDrop::from_rows(RawRows { channels });
            self.report(
                dataset,
                name,
                Outcome::Committed {
                    account: Default::default(),
                    fresh,
                },
            );
        }

        fn take_jobs(&mut self) -> Vec<FitJob> {
            let jobs = self.asked.iter().filter_map(|command| match command {
                Command::Fit(job) => Some(job.clone()),
                _ => None,
            });
            let jobs = jobs.collect();
            self.asked.retain(|command| !matches!(command, Command::Fit(_)));
            jobs
        }

        /// Answers a job with a forecast whose mean is the version that was fitted.
        fn finish(&mut self, job: &FitJob) {
            let outcomes = job.channels.iter().map(|(version, series)| FitOutcome {
                channel: Arc::clone(&series.channel),
                version: *version,
                result: Ok(Arc::new(fit_of(series, *version as f64))),
            });
            let outcomes = outcomes.collect();
            self.tell(Event::Fitted(FitReport {
                dataset: Arc::clone(&job.dataset),
                outcomes,
                elapsed: Duration::ZERO,
            }));
        }

        fn ingests(&self) -> Vec<String> {
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            let ingests = self.asked.iter().filter_map(|command| match command {
                Command::Ingest(file, _) => name(&file.path),
                _ => None,
            });
            ingests.collect()
        }

        fn last_snapshot(&self) -> &Snapshot {
            let snapshots = self.asked.iter().rev().find_map(|command| match command {
                Command::Publish(snapshot) => Some(snapshot),
                _ => None,
            });
            snapshots.expect("a snapshot")
        }
    }

    fn config(names: &[&str], more: &str) -> Arc<Config> {
        let mut text = "state_dir: ./state\ndatasets:\n".to_owned();
        for name in names {
            text += &format!(
                "  - {{ name: {name}, kind: series, incoming: ./in/{name}, series: {{ time: t }}, \
                 forecast: {{ horizon: 3{more} }} }}\n"
            );
        }
        Arc::new(Config::parse(&text, Path::new("/")).expect("a good configuration"))
    }

    fn file(dataset: &str, name: &str) -> LandedFile {
        let fingerprint = Fingerprint {
            device: 1,
            inode: 2,
            size: 3,
            modified: 4,
            changed: 5,
        };
        LandedFile {
            dataset: dataset.into(),
            path: Path::new(dataset).join(name),
            fingerprint,
        }
    }

    fn fit_of(series: &forecastd_models::Series, mean: f64) -> ChannelFit {
        let model = FittedAr {
            order: 0,
            num_diff: 0,
            coefficients: vec![],
            intercept: 0.0,
            variance: None,
            bic: None,
            max_order: 0,
            fallback: None,
        };
        let forecast = Forecast {
            channel: Arc::clone(&series.channel),
            grid: series.grid,
            cutoff_slot: series.first_slot + series.values.len() as i64 - 1,
            mean: vec![mean; 3],
            intervals: vec![],
        };
        ChannelFit {
            model,
            forecast,
            filled: 0,
        }
    }

    #[test]
    fn files_are_taken_one_at_a_time_and_no_dataset_starves() {
        let mut story = Story::with(&["a", "b"], "");
        story.list("a", &["a1", "a2", "a3"]);
        story.list("b", &["b1"]);
        for _ in 0..4 {
            let ingested = story.ingests();
            let name = ingested.last().expect("one is out").clone();
            story.report(&name[..1], &name, Outcome::Finished);
        }
        let mut order = story.ingests();
        assert_eq!(order.len(), 4);
        assert!(order.iter().position(|name| name == "b1") < Some(2), "{order:?}");
        order.retain(|name| name.starts_with('a'));
        assert_eq!(order, ["a1", "a2", "a3"]);
    }

    #[test]
    fn a_file_that_was_dealt_with_is_not_taken_again_while_a_listing_still_shows_it() {
        let mut story = Story::with(&["a"], "");
        story.list("a", &["x"]);
        story.report("a", "x", Outcome::Rejected(Rejected::new(RejectReason::Empty, "empty")));
        story.list("a", &["x"]);
        assert_eq!(story.ingests(), ["x"]);
        story.list("a", &[]);
        story.list("a", &["x"]); // gone and back: another file, as far as anybody can tell
        assert_eq!(story.ingests(), ["x", "x"]);
    }

    #[test]
    fn a_file_that_is_out_is_not_handed_out_twice_by_a_listing_in_between() {
        let mut story = Story::with(&["a"], "");
        story.list("a", &["x", "y"]);
        story.list("a", &["x", "y"]);
        story.report("a", "x", Outcome::Finished);
        story.report("a", "y", Outcome::Finished);
        assert_eq!(story.ingests(), ["x", "y"]);
    }

    #[test]
    fn after_a_fault_of_the_machine_all_intake_rests_ever_longer() {
        let mut story = Story::with(&["a", "b"], "");
        story.list("a", &["x"]);
        story.list("b", &["y"]);
        let full = || Outcome::Deferred {
            error: "disk full".to_owned(),
        };
        story.report("a", "x", full());
        assert_eq!(story.ingests().len(), 1);
        story.wait(PUBLISH_INTERVAL);
        let rest = FIRST_BACK_OFF - PUBLISH_INTERVAL;
        assert_eq!(story.planner.wake_at(), Some(after(story.now, rest)));
        story.wait(rest);
        let second = story.ingests()[1].clone();
        story.report(if second == "x" { "a" } else { "b" }, &second, full());
        assert_eq!(story.planner.wake_at(), Some(after(story.now, 2 * FIRST_BACK_OFF)));
        story.wait(2 * FIRST_BACK_OFF);
        assert_eq!(story.ingests().len(), 3);
    }

    #[test]
    fn idle_workers_share_what_is_due_and_busy_ones_find_larger_batches() {
        let mut story = Story::with(&["a"], "");
        story.list("a", &["x"]);
        story.commit("a", "x", &["p", "q", "r"], 0..10);
        let jobs = story.take_jobs();
        assert_eq!(jobs.iter().map(|job| job.channels.len()).collect::<Vec<_>>(), [2, 1]);
        let many: Vec<String> = (0..100).map(|i| format!("c{i:03}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        story.list("a", &["x", "y"]);
        story.commit("a", "y", &many, 0..10);
        assert!(story.take_jobs().is_empty(), "both workers are busy");
        story.finish(&jobs[0]);
        assert_eq!(story.take_jobs()[0].channels.len(), BATCH_CHANNELS);
    }

    #[test]
    fn a_channel_that_went_on_during_its_fit_is_due_again_and_never_fitted_twice_at_once() {
        let mut story = Story::with(&["a"], "");
        story.list("a", &["x", "y"]);
        story.commit("a", "x", &["p"], 0..10);
        let first = story.take_jobs();
        story.commit("a", "y", &["p"], 10..20);
        assert!(story.take_jobs().is_empty());
        story.finish(&first[0]);
        let second = story.take_jobs();
        assert_eq!(second[0].channels[0].1.values.len(), 20);
        story.finish(&second[0]);
        assert!(story.take_jobs().is_empty());
        story.wait(PUBLISH_INTERVAL);
        let view = &story.last_snapshot().datasets[0];
        let fit = view.channels["p"].fit.as_ref().expect("a fit");
        assert_eq!((fit.forecast.mean[0], view.due), (2.0, 0));
    }

    #[test]
    fn a_failure_keeps_the_last_good_forecast_and_waits_for_the_next_row() {
        let mut story = Story::with(&["a"], "");
        story.list("a", &["x", "y"]);
        story.commit("a", "x", &["p"], 0..10);
        let job = story.take_jobs().remove(0);
        story.finish(&job);
        story.commit("a", "y", &["p"], 10..11);
        let job = story.take_jobs().remove(0);
        let failed = FitOutcome {
            channel: "p".into(),
            version: job.channels[0].0,
            result: Err(FitFailure::NotFinite),
        };
        story.tell(Event::Fitted(FitReport {
            dataset: "a".into(),
            outcomes: vec![failed],
            elapsed: Duration::ZERO,
        }));
        story.wait(PUBLISH_INTERVAL);
        let channel = &story.last_snapshot().datasets[0].channels["p"];
        assert!(channel.fit.is_some() && channel.failure == Some(FitFailure::NotFinite));
        assert!(story.take_jobs().is_empty());
    }

    #[test]
    fn a_forecast_file_is_written_when_the_round_is_over_and_one_at_a_time() {
        let mut story = Story::with(&["a"], "");
        story.list("a", &["x"]);
        story.commit("a", "x", &["p", "q"], 0..10);
        let jobs = story.take_jobs();
        let files = |story: &Story| {
            let files = story.asked.iter().filter_map(|command| match command {
                Command::WriteForecasts(batch, _) => Some(batch.fits.len()),
                _ => None,
            });
            files.collect::<Vec<_>>()
        };
        story.finish(&jobs[0]);
        assert!(files(&story).is_empty());
        story.finish(&jobs[1]);
        assert_eq!(files(&story), [2]);
        story.list("a", &["x", "y"]);
        story.commit("a", "y", &["p"], 10..11);
        let job = story.take_jobs().remove(0);
        story.finish(&job);
        assert_eq!(files(&story), [2], "the writer is busy");
        assert!(!story.planner.is_idle());
        story.tell(Event::Written);
        assert_eq!(files(&story), [2, 1]);
    }

    #[test]
    fn snapshots_are_throttled_and_generations_grow() {
        let mut story = Story::with(&["a"], "");
        story.wait(PUBLISH_INTERVAL);
        let generation = story.last_snapshot().generation;
        story.list("a", &["x", "y"]);
        story.commit("a", "x", &["p"], 0..10);
        story.commit("a", "y", &["p"], 10..20);
        assert_eq!(story.last_snapshot().generation, generation);
        assert_eq!(story.planner.wake_at(), Some(after(story.now, PUBLISH_INTERVAL)));
        story.wait(PUBLISH_INTERVAL);
        assert_eq!(story.last_snapshot().generation, generation + 1);
    }

    #[test]
    fn refits_of_a_channel_rest_as_configured() {
        let mut story = Story::with(&["a"], ", refit_interval: 10s");
        story.list("a", &["x", "y"]);
        story.commit("a", "x", &["p"], 0..10);
        let job = story.take_jobs().remove(0);
        story.finish(&job);
        story.commit("a", "y", &["p"], 10..20);
        assert!(story.take_jobs().is_empty());
        story.wait(Duration::from_secs(9));
        assert!(story.take_jobs().is_empty());
        story.wait(Duration::from_secs(1));
        assert_eq!(story.take_jobs().len(), 1);
    }

    #[test]
    fn a_channel_that_falls_behind_is_withdrawn_where_that_is_asked_for() {
        for (more, left) in [(", max_age: 1h", vec!["q"]), ("", vec!["p", "q"])] {
            let mut story = Story::with(&["a"], more);
            story.list("a", &["x", "y"]);
            story.commit("a", "x", &["p", "q"], 0..10);
            story.commit("a", "y", &["q"], 10..4000);
            story.wait(PUBLISH_INTERVAL);
            let channels: Vec<_> = story.last_snapshot().datasets[0]
                .channels
                .keys()
                .map(|name| &**name)
                .collect();
            assert_eq!(channels, left);
        }
    }

    #[test]
    fn recovery_comes_first_one_dataset_at_a_time() {
        let mut planner = Planner::new(NonZeroUsize::MIN);
        let now = Timestamp(0);
        let recoveries = |commands: Vec<Command>| {
            let names = commands.into_iter().filter_map(|command| match command {
                Command::Recover(name) => Some(name.to_string()),
                Command::Ingest(..) | Command::Fit(_) => panic!("too early"),
                _ => None,
            });
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            recoveries(planner.apply(Event::Reconfigured(config(&["a", "b"], "")), now)),
            ["a"]
        );
        let rows = RawRows {
            channels: BTreeMap::from([("p".into(), vec![(now, 1.0), (Timestamp(1), 2.0)])]),
        };
        let rows = SeriesDrop::from_rows(rows).0;
        assert_eq!(
            recoveries(planner.apply(Event::Recovered("a".into(), rows), now)),
            [""; 0]
        );
        let commands = planner.apply(Event::RecoveryFinished("a".into()), now);
        assert!(
            commands
                .iter()
                .any(|command| matches!(command, Command::Recover(name) if &**name == "b"))
        );
        assert!(commands.iter().any(|command| matches!(command, Command::Fit(_))));
    }

    #[test]
    fn a_reload_keeps_what_is_the_same_asks_anew_what_is_not_and_forgets_what_is_gone() {
        let mut story = Story::with(&["a", "b"], "");
        for dataset in ["a", "b"] {
            story.list(dataset, &["x"]);
            story.commit(dataset, "x", &["p"], 0..10);
            for job in story.take_jobs() {
                story.finish(&job);
            }
        }
        story.tell(Event::Reconfigured(config(&["b", "a"], "")));
        assert!(story.take_jobs().is_empty(), "nothing changed but the order");
        story.tell(Event::Reconfigured(config(&["b"], ", levels: [0.5]")));
        let jobs = story.take_jobs();
        assert_eq!((jobs.len(), &*jobs[0].dataset), (1, "b"));
        story.wait(PUBLISH_INTERVAL);
        assert_eq!(story.last_snapshot().datasets.len(), 1);
        story.report("a", "x", Outcome::Finished);
        story.tell(Event::Reconfigured(config(&["b", "a"], "")));
        assert!(
            story
                .asked
                .iter()
                .any(|command| matches!(command, Command::Recover(name) if &**name == "a"))
        );
    }

    #[test]
    fn stopping_hands_out_nothing_new_and_ends_when_all_is_back() {
        let mut story = Story::with(&["a"], "");
        story.list("a", &["x", "y"]);
        story.tell(Event::Stopping);
        assert!(!story.planner.is_idle());
        story.commit("a", "x", &["p"], 0..10);
        assert!(story.planner.is_idle());
        assert_eq!((story.ingests(), story.take_jobs().len()), (vec!["x".to_owned()], 0));
    }
}
