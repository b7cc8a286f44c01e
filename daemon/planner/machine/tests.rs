//! Every rule of the planner as a table or a short story: no thread, no file, no sleep.

mod networks;

use std::collections::BTreeMap;
use std::path::Path;

use forecastd_models::dasha::Split;
use forecastd_models::{
    ChannelFit, ChannelMap, ChannelName, Decline, FitFailure, FitSpec, FittedAr, Forecast, Frequency, GapPolicy, Grid,
    RollingFit, Series, WindowMove,
};

use super::*;
use crate::message::fit_job::{
    ChannelJob, FitJob, FitOutcome, FitReport, FitWay, FitWork, JobWindow, PoolJob, PoolReport,
};
use crate::message::landed_file::{Fingerprint, LandedFile, Listing};
use crate::message::model::{ImportOutcome, ModelDone, ModelReport};
use crate::message::rejected::{RejectReason, Rejected};
use crate::message::sample::{Label, SampleEntry, SamplePlace};
use crate::message::series_drop::{RawRows, SeriesDrop};
use crate::message::training::{Training, TrainingNote, TrainingReason};
use crate::planner::ModelJob;

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
            story.tell(Event::RecoveryFinished((*name).into(), story.epoch(name)));
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

    /// The epoch of the last recovery that was asked for.
    fn epoch(&self, dataset: &str) -> Epoch {
        let epochs = self.asked.iter().rev().find_map(|command| match command {
            Command::Recover(name, epoch) if &**name == dataset => Some(*epoch),
            _ => None,
        });
        epochs.expect("a recovery was asked for")
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
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

    fn report_models(&mut self, done: ModelDone) {
        let versions = Vec::new();
        let trainings = Vec::new();
        self.tell(Event::Models(ModelReport {
            done,
            versions,
            trainings,
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
            Command::Fit(FitWork::Fit(job)) => Some(job.clone()),
            _ => None,
        });
        let jobs = jobs.collect();
        self.asked.retain(|command| !matches!(command, Command::Fit(_)));
        jobs
    }

    /// Answers a job with a forecast whose mean is the version that was fitted.
    fn finish(&mut self, job: &FitJob) {
        self.finish_with(job, None);
    }

    /// The same, with statistics to roll on from.
    fn finish_with(&mut self, job: &FitJob, rolling: Option<&RollingFit>) {
        let outcomes = job.channels.iter().map(|channel| FitOutcome {
            channel: Arc::clone(&channel.channel),
            version: channel.version,
            result: Ok(Arc::new(fit_of(&channel.channel, channel.version as f64))),
            way: FitWay::Whole,
            map: None,
            rolling: rolling.cloned().map(Box::new),
            owed: false,
        });
        let outcomes = outcomes.collect();
        self.tell(Event::Fitted(FitReport {
            dataset: Arc::clone(&job.dataset),
            epoch: job.epoch,
            outcomes,
            declined: vec![],
            elapsed: Duration::ZERO,
        }));
    }

    fn ingests(&self) -> Vec<String> {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let ingests = self.asked.iter().filter_map(|command| match command {
            Command::Ingest(file, ..) => name(&file.path),
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
             forecast: {{ method: auto_ar, horizon: 3{more} }} }}\n"
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

fn whole(job: &ChannelJob) -> &Series {
    match &job.window {
        JobWindow::Whole(series) => series,
        JobWindow::Moved(..) | JobWindow::Mapped(..) => panic!("{}: the whole window was expected", job.channel),
    }
}

fn moved(job: &FitJob) -> Option<&WindowMove> {
    match &job.channels[0].window {
        JobWindow::Whole(_) | JobWindow::Mapped(..) => None,
        JobWindow::Moved(_, moved) => Some(moved),
    }
}

/// Statistics of some window: the planner only carries them.
fn statistics() -> RollingFit {
    let mut state = 1_u64;
    let noise = (0..400).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f64
    });
    let series = Series {
        channel: "any".into(),
        grid: grid(),
        first_slot: 0,
        values: noise.collect(),
    };
    let spec = FitSpec {
        horizon: NonZeroUsize::MIN,
        levels: vec![],
        max_lookback: 8,
        gaps: GapPolicy::Interpolate,
    };
    *RollingFit::anchor(&series, &spec)
        .expect("a fit")
        .1
        .expect("noise rolls")
}

fn grid() -> Grid {
    Grid {
        origin: Timestamp(0),
        frequency: Frequency::fixed(SECOND).expect("positive"),
    }
}

fn fit_of(channel: &ChannelName, mean: f64) -> ChannelFit {
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
        channel: Arc::clone(channel),
        grid: grid(),
        cutoff_slot: 0,
        mean: vec![mean; 3],
        intervals: vec![],
    };
    ChannelFit {
        model,
        choice: None,
        network: None,
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
    assert_eq!(story.planner.wake_at(), Some(story.now.after(rest)));
    story.wait(rest);
    let second = story.ingests()[1].clone();
    story.report(if second == "x" { "a" } else { "b" }, &second, full());
    assert_eq!(story.planner.wake_at(), Some(story.now.after(2 * FIRST_BACK_OFF)));
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
    assert_eq!(whole(&second[0].channels[0]).values.len(), 20);
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
        version: job.channels[0].version,
        result: Err(FitFailure::NotFinite),
        way: FitWay::Whole,
        map: None,
        rolling: None,
        owed: false,
    };
    story.tell(Event::Fitted(FitReport {
        dataset: "a".into(),
        epoch: job.epoch,
        outcomes: vec![failed],
        declined: vec![],
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
    assert_eq!(story.planner.wake_at(), Some(story.now.after(PUBLISH_INTERVAL)));
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
            Command::Recover(name, _) => Some(name.to_string()),
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
        recoveries(planner.apply(Event::Recovered("a".into(), Epoch(1), rows), now)),
        [""; 0]
    );
    let commands = planner.apply(Event::RecoveryFinished("a".into(), Epoch(1)), now);
    assert!(
        commands
            .iter()
            .any(|command| matches!(command, Command::Recover(name, _) if &**name == "b"))
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
            .any(|command| matches!(command, Command::Recover(name, _) if &**name == "a"))
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

#[test]
fn a_reload_during_recovery_begins_anew_and_what_was_asked_before_is_dropped() {
    let mut story = Story::with(&["a"], "");
    story.list("a", &["x"]);
    story.commit("a", "x", &["p"], 0..100);
    let stale = story.take_jobs().remove(0);
    let daily = |frequency: &str| {
        let text = format!(
            "state_dir: ./state\ndatasets: [{{ name: a, kind: series, incoming: ./in, series: {{ time: t, frequency: {frequency} }}, \
             forecast: {{ horizon: 3 }} }}]"
        );
        Arc::new(Config::parse(&text, Path::new("/")).expect("a good configuration"))
    };
    let rows = |slots: std::ops::Range<i64>| {
        let rows = slots.map(|slot| (Timestamp(slot * SECOND), slot as f64)).collect();
        SeriesDrop::from_rows(RawRows {
            channels: BTreeMap::from([("p".into(), rows)]),
        })
        .0
    };
    story.tell(Event::Reconfigured(daily("1s")));
    let first = story.epoch("a");
    story.tell(Event::Recovered("a".into(), first, rows(0..50)));
    story.tell(Event::Reconfigured(daily("2s")));
    story.tell(Event::Recovered("a".into(), first, rows(50..100)));
    story.tell(Event::RecoveryFinished("a".into(), first));
    let second = story.epoch("a");
    assert_ne!(first, second);
    assert!(!story.planner.is_ready() && story.take_jobs().is_empty());
    story.tell(Event::Recovered("a".into(), second, rows(0..100)));
    story.tell(Event::RecoveryFinished("a".into(), second));
    story.finish(&stale);
    let job = story.take_jobs().remove(0);
    assert_eq!(
        whole(&job.channels[0]).values.len(),
        51,
        "the whole history, on the new grid"
    );
    story.finish(&job);
    story.tell(Event::Written);
    assert!(story.planner.is_idle());
}

#[test]
fn a_round_that_never_ends_is_written_piece_by_piece() {
    let mut story = Story::with(&["a"], "");
    let written = |story: &Story| {
        story
            .asked
            .iter()
            .filter(|c| matches!(c, Command::WriteForecasts(..)))
            .count()
    };
    for step in 0..30 {
        let name = format!("{step}");
        story.list("a", &[&name]);
        story.commit("a", &name, &["p", "q", "r"], step * 10..step * 10 + 10);
        story.wait(Duration::from_secs(1));
        // One of the two workers comes back; rows for all channels have come meanwhile.
        if let Some(job) = story.take_jobs().pop() {
            story.commit("a", &name, &["p", "q", "r"], step * 10 + 10..step * 10 + 11);
            story.finish(&job);
        }
        story.tell(Event::Written);
    }
    assert!((1..=3).contains(&written(&story)), "{}", written(&story));
}

/// A story whose one channel has 400 rows and statistics of them.
fn story_that_rolls(more: &str) -> Story {
    let mut story = Story::with(&["a"], more);
    story.list("a", &["0", "1", "2", "3"]);
    story.commit("a", "0", &["p"], 0..400);
    let job = story.take_jobs().remove(0);
    assert_eq!(whole(&job.channels[0]).values.len(), 400);
    story.finish_with(&job, Some(&statistics()));
    story.tell(Event::Written);
    story
}

#[test]
fn a_window_that_only_moved_is_fitted_from_its_ends() {
    let mut story = story_that_rolls("");
    let reach = statistics().reach();
    story.commit("a", "1", &["p"], 400..410);
    let job = story.take_jobs().remove(0);
    let ends = moved(&job).expect("a move");
    assert_eq!(
        (ends.left, ends.entered, ends.missing, ends.cutoff_slot),
        (0, 10, 0, 409)
    );
    assert_eq!((ends.lowest, ends.highest), (0.0, 409.0));
    assert_eq!((ends.oldest.len(), ends.newest.len()), (reach + 1, reach + 10));
    // Rows that come meanwhile are the next move, from the window that this one ends with.
    story.commit("a", "2", &["p"], 412..414);
    story.finish_with(&job, Some(&statistics()));
    let job = story.take_jobs().remove(0);
    let ends = moved(&job).expect("a move");
    assert_eq!((ends.entered, ends.missing, ends.cutoff_slot), (4, 2, 413));
}

#[test]
fn whatever_else_happens_to_a_window_asks_for_the_whole() {
    for (what, slots, is_moved) in [
        ("new rows", 400..420, true),
        ("new rows behind a gap", 410..420, true),
        ("a late or revised row", 300..301, false),
        ("rows before the first", -5..-4, false),
        ("a revised row and new ones", 399..410, false),
        ("more rows than are worth it", 400..451, false),
        ("a jump", 90_000..90_010, false),
    ] {
        let mut story = story_that_rolls("");
        story.commit("a", "1", &["p"], slots);
        let job = story.take_jobs().remove(0);
        assert_eq!(moved(&job).is_some(), is_moved, "{what}");
    }
}

#[test]
fn a_late_row_during_a_rolled_fit_spoils_its_statistics_and_one_before_it_does_not() {
    let mut story = story_that_rolls(", refit_interval: 10s");
    story.commit("a", "1", &["p"], 405..410);
    story.commit("a", "2", &["p"], 402..404);
    story.wait(Duration::from_secs(10));
    let job = story.take_jobs().remove(0);
    assert_eq!(moved(&job).map(|ends| (ends.entered, ends.missing)), Some((10, 3)));
    story.commit("a", "3", &["p"], 404..405);
    story.finish_with(&job, Some(&statistics()));
    story.wait(Duration::from_secs(10));
    let job = story.take_jobs().remove(0);
    assert_eq!(whole(&job.channels[0]).values.len(), 410);
}

#[test]
fn a_fit_without_statistics_is_followed_by_a_whole_one() {
    let mut story = story_that_rolls("");
    story.commit("a", "1", &["p"], 400..401);
    let job = story.take_jobs().remove(0);
    story.finish(&job);
    story.commit("a", "2", &["p"], 401..402);
    assert!(moved(&story.take_jobs()[0]).is_none());
}

#[test]
fn a_decline_asks_for_the_whole_window_at_once_and_is_no_failure() {
    let mut story = story_that_rolls(", refit_interval: 10s");
    story.commit("a", "1", &["p"], 400..410);
    story.wait(Duration::from_secs(10));
    let job = story.take_jobs().remove(0);
    story.tell(Event::Fitted(FitReport {
        dataset: "a".into(),
        epoch: job.epoch,
        outcomes: vec![],
        declined: vec![("p".into(), Decline::Differences)],
        elapsed: Duration::ZERO,
    }));
    let again = story.take_jobs().remove(0);
    assert_eq!(whole(&again.channels[0]).values.len(), 410);
    story.wait(PUBLISH_INTERVAL);
    let view = &story.last_snapshot().datasets[0];
    let channel = &view.channels["p"];
    assert!(channel.fit.is_some() && channel.failure.is_none());
    assert_eq!(view.due, 1);
    story.finish_with(&again, Some(&statistics()));
    story.tell(Event::Written);
    story.wait(PUBLISH_INTERVAL);
    assert_eq!(story.last_snapshot().datasets[0].due, 0);
    assert!(story.take_jobs().is_empty());
}

#[test]
fn statistics_of_another_question_are_dropped_wherever_they_are() {
    for in_flight in [false, true] {
        let mut story = story_that_rolls("");
        if in_flight {
            story.commit("a", "1", &["p"], 400..401);
        }
        let out = story.take_jobs().pop();
        story.tell(Event::Reconfigured(config(&["a"], ", levels: [0.5]")));
        if let Some(job) = out {
            story.finish_with(&job, Some(&statistics()));
        }
        assert!(moved(&story.take_jobs()[0]).is_none(), "{in_flight}");
    }
}

#[test]
fn scores_stay_with_a_reload_unless_it_asks_for_other_steps() {
    let scored = |story: &Story| -> Vec<(usize, u64)> {
        let accuracy = story.last_snapshot().datasets[0].accuracy.iter();
        accuracy.map(|step| (step.step, step.scored)).collect()
    };
    let mut story = Story::with(&["a"], "");
    story.commit("a", "x", &["p"], 0..2);
    let job = story.take_jobs().remove(0);
    story.finish(&job); // from cutoff 0: of steps 1 and 3, the third is ahead
    story.wait(PUBLISH_INTERVAL);
    assert_eq!(scored(&story), [(1, 0), (3, 0)]);
    story.commit("a", "y", &["p"], 2..4);
    story.wait(PUBLISH_INTERVAL);
    assert_eq!(scored(&story), [(1, 0), (3, 1)]);
    for (more, expected) in [("", vec![(1, 0), (3, 1)]), (", steps: [2]", vec![(2, 0)])] {
        story.tell(Event::Reconfigured(config(&["a"], more)));
        story.wait(PUBLISH_INTERVAL);
        assert_eq!(scored(&story), expected);
    }
}

/// Channels that are chosen for: their windows have to be pooled first.
fn chosen_for(channels: &[&str]) -> Story {
    let mut story = Story::with(&["a"], "");
    let text = "state_dir: ./state\ndatasets: [{ name: a, kind: series, incoming: ./in/a, series: { time: t }, \
                forecast: { horizon: 3 } }]";
    let config = Config::parse(text, Path::new("/")).expect("a good configuration");
    story.tell(Event::Reconfigured(Arc::new(config)));
    story.list("a", &["x"]);
    story.commit("a", "x", channels, 0..100);
    story
}

fn take_pools(story: &mut Story) -> Vec<PoolJob> {
    let pool = |command: &Command| match command {
        Command::Fit(FitWork::Pool(job)) => Some(job.clone()),
        _ => None,
    };
    let pools = story.asked.iter().filter_map(pool).collect();
    story
        .asked
        .retain(|command| !matches!(command, Command::Fit(FitWork::Pool(_))));
    pools
}

fn pooled(job: &PoolJob) -> Event {
    Event::Pooled(PoolReport {
        dataset: Arc::clone(&job.dataset),
        epoch: job.epoch,
        spec: Arc::clone(&job.spec),
        method: job.method,
        pool: Arc::default(),
        elapsed: Duration::ZERO,
    })
}

#[test]
fn channels_are_pooled_before_the_first_of_them_is_fitted() {
    let mut story = chosen_for(&["p", "q"]);
    let pools = take_pools(&mut story);
    assert_eq!((pools.len(), pools[0].series.len()), (1, 2));
    assert!(
        story.take_jobs().is_empty(),
        "fits wait for what the channels have in common"
    );
    story.tell(pooled(&pools[0]));
    let jobs = story.take_jobs();
    assert_eq!(jobs.iter().map(|job| job.channels.len()).sum::<usize>(), 2);
    assert!(jobs.iter().all(|job| job.pool.is_some()));
    assert!(take_pools(&mut story).is_empty(), "once");
}

#[test]
fn one_channel_has_nothing_in_common_and_does_not_wait() {
    let mut story = chosen_for(&["p"]);
    assert!(take_pools(&mut story).is_empty());
    assert_eq!(story.take_jobs().len(), 1);
}

#[test]
fn a_map_serves_until_a_sixteenth_of_its_samples_was_added() {
    let mut story = chosen_for(&["p"]);
    let mut job = story.take_jobs().remove(0);
    let values = (0..100).map(|t| f64::from(t * 7919 % 101) + (f64::from(t) * 0.5).sin());
    let series = Series {
        values: values.collect(),
        ..whole(&job.channels[0]).clone()
    };
    let chosen = ChannelMap::fit(&series, &job.spec, job.method, None).expect("no failure");
    let map = Arc::new(chosen.expect("a map").1);
    for (slots, kept) in [(100..103, true), (103..105, true), (105..106, false)] {
        let outcome = FitOutcome {
            channel: "p".into(),
            version: job.channels[0].version,
            result: Ok(Arc::new(fit_of(&"p".into(), 1.0))),
            way: FitWay::Applied,
            rolling: None,
            map: Some(Arc::clone(&map)),
            owed: false,
        };
        story.tell(Event::Fitted(FitReport {
            dataset: "a".into(),
            epoch: job.epoch,
            outcomes: vec![outcome],
            declined: vec![],
            elapsed: Duration::ZERO,
        }));
        let name = format!("y{}", slots.start);
        story.list("a", &[&name]);
        story.commit("a", &name, &["p"], slots.clone());
        job = story.take_jobs().remove(0);
        let is_mapped = matches!(job.channels[0].window, JobWindow::Mapped(..));
        assert_eq!(is_mapped, kept, "{slots:?}");
    }
}

#[test]
fn models_get_their_turn_one_thing_at_a_time_and_before_drops() {
    let mut story = Story::with(&["a"], "");
    let text = "state_dir: ./state\nmodels: [{ name: m, incoming: ./m }]\ndatasets:\n  - { name: a, kind: series, \
                incoming: ./in/a, series: { time: t }, forecast: { method: auto_ar, horizon: 3 } }\n";
    let config = Config::parse(text, Path::new("/")).expect("a good configuration");
    story.list("a", &["a1", "a2"]);
    story.tell(Event::Reconfigured(Arc::new(config)));
    let jobs = |story: &Story| {
        story
            .asked
            .iter()
            .filter(|asked| matches!(asked, Command::Models(_)))
            .count()
    };
    assert_eq!((story.ingests().len(), jobs(&story)), (1, 0), "a1 is out already");
    story.report("a", "a1", Outcome::Finished);
    assert_eq!((story.ingests().len(), jobs(&story)), (1, 1));
    story.report_models(ModelDone::Recovered);
    assert!(!story.planner.is_ready(), "the folder of the model was not looked at");
    assert_eq!(story.ingests().len(), 2);
    story.tell(Event::ArtifactsUnreadable("m".into()));
    assert!(story.planner.is_ready(), "a missing mount must not hold it up");
    story.tell(Event::Asked(vec!["/requests/x".into()]));
    assert_eq!(jobs(&story), 1, "a2 is out");
    story.report("a", "a2", Outcome::Finished);
    assert_eq!(jobs(&story), 2);
    assert!(!story.planner.is_idle());
    story.report_models(ModelDone::Answered("/requests/x".into()));
    story.wait(Duration::from_secs(1));
    assert!(story.planner.is_idle());
    assert_eq!(&*story.last_snapshot().models[0].model, "m");
}

#[test]
fn a_rest_that_ends_while_the_one_writer_is_busy_is_waited_for_without_turning() {
    let mut story = Story::with(&["a"], "");
    let text = "state_dir: ./state\nmodels: [{ name: m, incoming: ./m }]\ndatasets:\n  - { name: a, kind: series, \
                incoming: ./in/a, series: { time: t }, forecast: { method: auto_ar, horizon: 3 } }\n";
    let config = Config::parse(text, Path::new("/")).expect("a good configuration");
    story.tell(Event::Reconfigured(Arc::new(config)));
    story.report_models(ModelDone::Recovered);
    story.tell(Event::ArtifactsListed(Listing {
        dataset: "m".into(),
        landed: vec![file("m", "v1")],
        waiting: 0,
        ignored: 0,
    }));
    let error = "the disk is full".to_owned();
    let deferred = || ImportOutcome::Deferred { error: error.clone() };
    story.report_models(ModelDone::Imported(file("m", "v1"), deferred()));
    story.list("a", &["x"]);
    assert_eq!(story.ingests(), ["x"], "the drop has its turn meanwhile");
    story.wait(Duration::from_secs(5));
    assert_eq!(story.planner.wake_at(), None, "its return is what wakes");
    story.report("a", "x", Outcome::Finished);
    let imports = story.asked.iter();
    let imports = imports.filter(|asked| matches!(asked, Command::Models(ModelJob::Import(..))));
    assert_eq!(imports.count(), 2);
    story.report_models(ModelDone::Imported(file("m", "v1"), deferred()));
    story.tell(Event::Stopping);
    story.wait(Duration::from_secs(5));
    assert_eq!(story.planner.wake_at(), None, "nothing is begun any more");
}

#[test]
fn a_training_goes_through_the_books_and_holds_up_neither_drops_nor_a_shutdown() {
    let text = "state_dir: ./state
datasets:
  - { name: t, kind: tiles, incoming: ./in/t, model: m, samples: { id: i, image: x, label: y, shape: [1, 2, 2] } }
models: [{ name: m, incoming: ./m, train: { first: 20 } }]
";
    let config = Config::parse(text, Path::new("/")).expect("a good configuration");
    let mut story = Story {
        planner: Planner::new(NonZeroUsize::new(2).expect("two")),
        now: Timestamp(1_000_000 * SECOND),
        asked: Vec::new(),
    };
    story.tell(Event::Reconfigured(Arc::new(config)));
    story.report_models(ModelDone::Recovered);
    let epoch = story.asked.iter().find_map(|asked| match asked {
        Command::RecoverSamples(_, epoch) => Some(*epoch),
        _ => None,
    });
    let entry = |row: u32| SampleEntry {
        id: row.to_string().into(),
        place: SamplePlace { sequence: 3, row },
        split: if row < 14 { Split::Train } else { Split::Validation },
        label: Some(Label::Class((row % 2).to_string())),
        taken: Default::default(),
        same_elements: false,
        compared: Vec::new(),
    };
    let epoch = epoch.expect("samples are asked for");
    story.tell(Event::SamplesRecovered("t".into(), epoch, (0..20).map(entry).collect()));
    story.list("t", &["later"]);
    story.tell(Event::RecoveryFinished("t".into(), epoch));
    let begun = |story: &Story| {
        let plans = story.asked.iter().filter_map(|asked| match asked {
            Command::Models(ModelJob::BeginTraining(plan)) => Some(plan.clone()),
            _ => None,
        });
        plans.collect::<Vec<_>>()
    };
    assert_eq!(begun(&story), [], "a drop is on its way");
    story.report("t", "later", Outcome::Finished);
    let [plan] = &begun(&story)[..] else {
        panic!("{:?}", story.asked)
    };
    assert_eq!(
        (plan.reason, plan.through, plan.labelled),
        (TrainingReason::First, 3, 20)
    );

    let training = Training {
        id: 1,
        plan: plan.clone(),
        begun: story.now,
        end: None,
    };
    story.tell(Event::Models(ModelReport {
        done: ModelDone::Training(TrainingNote::Begun(plan.clone()), Ok(())),
        versions: Vec::new(),
        trainings: vec![training],
    }));
    let runs = story
        .asked
        .iter()
        .filter(|asked| matches!(asked, Command::Train(_)))
        .count();
    assert_eq!(runs, 1);
    story.wait(Duration::from_secs(1));
    assert!(story.last_snapshot().trainings[0].under_way.is_some());
    story.list("t", &["later", "still later"]);
    let ingests = story
        .asked
        .iter()
        .filter(|asked| matches!(asked, Command::IngestSamples(..)))
        .count();
    assert_eq!(ingests, 2, "drops are taken meanwhile");
    story.report("t", "still later", Outcome::Finished);
    assert!(story.planner.is_idle(), "a shutdown does not wait for it");
}
