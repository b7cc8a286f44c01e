//! The anomaly score beside labels: every series of NAB's real data (`ops/nab_real.parquet`) goes through the planner
//! row by row, with a refit after each, as a feed of single rows would; an alert is a score above 1.
//!
//! `FORECASTD_DATA=… cargo bench --bench anomaly` prints one table. It measures no time, and nothing was tuned on these
//! labels: the threshold is 1, the settings are the defaults of the daemon. The first 15 % of each series are NAB's
//! probation: they are history, and not scored. Without the data it says so and ends; under `cargo test` it looks at
//! the beginning of a few series, so that it cannot rot.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports by printing and fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use forecastd::intake::decode::decode;
use forecastd::message::account::RowAccount;
use forecastd::message::fit_job::{FitJob, FitOutcome, FitReport, FitWay, FitWork, JobWindow};
use forecastd::message::ingest_report::{IngestReport, Outcome};
use forecastd::message::landed_file::{Fingerprint, LandedFile};
use forecastd::message::series_drop::{ChannelRows, RawRows, SeriesDrop};
use forecastd::planner::{Command, Event, Planner};
use forecastd::work::fit::anchor_channel;
use forecastd_config::Config;
use forecastd_models::{ChannelName, Timestamp};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// NAB's share of a series that a detector may learn from before it is judged.
const PROBATION: f64 = 0.15;

const CONFIG: &str = "
state_dir: ./state
datasets:
  - name: nab
    kind: series
    incoming: ./incoming
    series: { time: timestamp, channel: [category, series], value: value }
    forecast: { horizon: 24, method: auto_ar }
";

const DAY: f64 = 86_400e9;

fn main() {
    let Some(folder) = std::env::var_os("FORECASTD_DATA").map(PathBuf::from) else {
        println!("skipped: FORECASTD_DATA does not name the folder with ops/nab_real.parquet");
        return;
    };
    // Cargo tells a bench that it is to measure; of a test it says nothing.
    let whole = std::env::args().any(|argument| argument == "--bench");
    let config = Arc::new(Config::parse(CONFIG, Path::new("/")).unwrap());
    let series = series(&folder.join("ops/nab_real.parquet"), &config);
    let windows = windows(&folder.join("ops/nab_real_windows.parquet"));
    let (most_series, most_rows) = if whole { (usize::MAX, usize::MAX) } else { (3, 300) };
    let waiting = Mutex::new(series.channels().take(most_series));
    let found: Mutex<BTreeMap<String, Tally>> = Mutex::default();
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(|| {
                loop {
                    let Some((name, rows)) = waiting.lock().unwrap().next() else {
                        return;
                    };
                    let labelled = windows.get(name).map_or(&[][..], Vec::as_slice);
                    let tally = judge(&config, name, rows, most_rows, labelled);
                    let category = name.split('/').next().unwrap().to_owned();
                    *found.lock().unwrap().entry(category).or_default() += tally;
                }
            });
        }
    });
    print(&found.into_inner().unwrap(), started.elapsed());
}

/// What alerts came to, against the labels.
#[derive(Clone, Copy, Default)]
struct Tally {
    series: usize,
    /// After the probation.
    rows: usize,
    labelled: usize,
    alerts: usize,
    /// Alerts on labelled rows.
    hits: usize,
    /// Runs of alerts on rows that are not labelled, and follow one another.
    false_runs: usize,
    windows: usize,
    windows_found: usize,
    /// As many as the same number of alerts would find in the same series, at random.
    windows_by_chance: f64,
    /// Outside of labelled windows.
    quiet_days: f64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.series += other.series;
        self.rows += other.rows;
        self.labelled += other.labelled;
        self.alerts += other.alerts;
        self.hits += other.hits;
        self.false_runs += other.false_runs;
        self.windows += other.windows;
        self.windows_found += other.windows_found;
        self.windows_by_chance += other.windows_by_chance;
        self.quiet_days += other.quiet_days;
    }
}

/// First and last instant that is labelled.
type Window = (Timestamp, Timestamp);

#[derive(Clone, Copy, Default)]
struct Seen {
    rows: usize,
    alerts: usize,
}

fn judge(config: &Arc<Config>, name: &ChannelName, rows: &ChannelRows, most: usize, windows: &[Window]) -> Tally {
    let rows: Vec<(Timestamp, f64)> = rows.iter().collect();
    let (probation, live) = rows.split_at((rows.len() as f64 * PROBATION) as usize);
    let live = &live[..live.len().min(most)];
    let mut replay = Replay::start(config, name);
    replay.take(probation);
    let mut tally = Tally {
        series: 1,
        rows: live.len(),
        ..Tally::default()
    };
    let mut in_windows = vec![Seen::default(); windows.len()];
    let (mut before, mut false_before) = (live[0].0, false);
    for row in live {
        let alert = replay.take(&[*row]);
        tally.alerts += usize::from(alert);
        let window = windows.iter().position(|(from, to)| (*from..=*to).contains(&row.0));
        match window {
            Some(window) => {
                in_windows[window].rows += 1;
                in_windows[window].alerts += usize::from(alert);
            }
            None => tally.quiet_days += (row.0.0 - before.0) as f64 / DAY,
        }
        let is_false = alert && window.is_none();
        tally.false_runs += usize::from(is_false && !false_before);
        (before, false_before) = (row.0, is_false);
    }
    let alert_rate = tally.alerts as f64 / tally.rows as f64;
    for seen in in_windows.iter().filter(|seen| seen.rows > 0) {
        tally.labelled += seen.rows;
        tally.hits += seen.alerts;
        tally.windows += 1;
        tally.windows_found += usize::from(seen.alerts > 0);
        tally.windows_by_chance += 1.0 - (1.0 - alert_rate).powf(seen.rows as f64);
    }
    tally
}

/// The planner with one channel, and its fits made on the spot.
struct Replay {
    planner: Planner,
    channel: ChannelName,
    now: Timestamp,
    anomalies: u64,
}

impl Replay {
    fn start(config: &Arc<Config>, channel: &ChannelName) -> Self {
        let mut replay = Self {
            planner: Planner::new(NonZeroUsize::MIN),
            channel: Arc::clone(channel),
            now: Timestamp(0),
            anomalies: 0,
        };
        replay.tell(Event::Reconfigured(Arc::clone(config)));
        replay
    }

    /// Commits rows as one drop and lets everything follow; whether one of them scored more than 1.
    fn take(&mut self, rows: &[(Timestamp, f64)]) -> bool {
        let before = self.anomalies;
        self.now = self.now.after(Duration::from_secs(1)); // a snapshot is due
        let (fresh, _) = SeriesDrop::from_rows(RawRows {
            channels: BTreeMap::from([(Arc::clone(&self.channel), rows.to_vec())]),
        });
        let fingerprint = Fingerprint {
            device: 0,
            inode: 0,
            size: 0,
            modified: 0,
            changed: 0,
        };
        self.tell(Event::Ingested(IngestReport {
            file: LandedFile {
                dataset: "nab".into(),
                path: "drop".into(),
                fingerprint,
            },
            outcome: Outcome::Committed {
                account: RowAccount::default(),
                fresh,
            },
        }));
        self.anomalies > before
    }

    fn tell(&mut self, event: Event) {
        for command in self.planner.apply(event, self.now) {
            match command {
                Command::RecoverSamples(..)
                | Command::IngestSamples(..)
                | Command::Predict(_)
                | Command::KeepPredictions(..) => unreachable!("there are only series"),
                Command::Recover(dataset, epoch) => self.tell(Event::RecoveryFinished(dataset, epoch)),
                Command::Fit(FitWork::Fit(job)) => self.tell(Event::Fitted(fit(job))),
                Command::Fit(FitWork::Pool(_)) => unreachable!("Auto-AR by itself has no pool"),
                Command::Publish(snapshot) => self.anomalies = snapshot.datasets[0].anomalies,
                Command::WriteForecasts(..) => self.tell(Event::Written),
                Command::Ingest(..) => unreachable!("no folder was listed"),
                Command::Models(_) | Command::Train(_) | Command::CancelTraining(_) => {
                    unreachable!("no model is configured")
                }
            }
        }
    }
}

/// As the fit threads do it.
fn fit(job: FitJob) -> FitReport {
    let (mut outcomes, mut declined) = (Vec::new(), Vec::new());
    for channel in job.channels {
        let (fitted, way) = match channel.window {
            JobWindow::Mapped(_, series) | JobWindow::Whole(series) => {
                (anchor_channel(&series, &job.spec), FitWay::Whole)
            }
            JobWindow::Moved(rolling, moved) => match rolling.roll(&moved, &job.spec) {
                Ok((fit, rolling)) => (Ok((fit, Some(rolling))), FitWay::Rolled),
                Err(decline) => {
                    declined.push((channel.channel, decline));
                    continue;
                }
            },
        };
        let (result, rolling) = match fitted {
            Ok((fit, rolling)) => (Ok(Arc::new(fit)), rolling),
            Err(failure) => (Err(failure), None),
        };
        outcomes.push(FitOutcome {
            channel: channel.channel,
            version: channel.version,
            result,
            way,
            rolling,
            map: None,
            owed: false,
        });
    }
    FitReport {
        dataset: job.dataset,
        epoch: job.epoch,
        outcomes,
        declined,
        elapsed: Duration::ZERO,
    }
}

/// Every series, read as the service reads it.
fn series(file: &Path, config: &Config) -> SeriesDrop {
    let dataset = &config.datasets[0];
    let decoded = decode(
        File::open(file).unwrap(),
        &dataset.columns,
        &dataset.limits,
        Timestamp(i64::MAX),
    )
    .unwrap();
    SeriesDrop::from_rows(decoded.rows).0
}

/// The labelled windows of each series.
fn windows(file: &Path) -> BTreeMap<ChannelName, Vec<Window>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap())
        .unwrap()
        .build()
        .unwrap();
    let mut found: BTreeMap<ChannelName, Vec<Window>> = BTreeMap::new();
    for batch in reader.map(Result::unwrap) {
        let texts = |name: &str| cast(&batch[name], &DataType::Utf8).unwrap();
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let times = |name: &str| cast(&batch[name], &nanoseconds).unwrap();
        let (categories, series) = (texts("category"), texts("series"));
        let (from, to) = (times("window_start"), times("window_end"));
        let at =
            |times: &arrow::array::ArrayRef, row| Timestamp(times.as_primitive::<TimestampNanosecondType>().value(row));
        for row in 0..batch.num_rows() {
            let [category, series] = [&categories, &series].map(|texts| texts.as_string::<i32>().value(row));
            let channel = found.entry(format!("{category}/{series}").into()).or_default();
            channel.push((at(&from, row), at(&to, row)));
        }
    }
    found
}

fn print(found: &BTreeMap<String, Tally>, elapsed: Duration) {
    println!(
        "| category | series | rows | labelled | alerts | precision | recall | windows found | by chance | false alerts a series-day | in runs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut all = Tally::default();
    for (category, tally) in found {
        line(category, tally);
        all += *tally;
    }
    line("all", &all);
    println!("{:.0} s, a refit after every row", elapsed.as_secs_f64());
}

fn line(category: &str, tally: &Tally) {
    let percent = |part: usize, of: usize| format!("{:.1} %", 100.0 * part as f64 / of as f64);
    println!(
        "| {category} | {} | {} | {} | {} | {} | {} | {} of {} | {:.1} | {:.2} | {:.2} |",
        tally.series,
        tally.rows,
        percent(tally.labelled, tally.rows),
        tally.alerts,
        percent(tally.hits, tally.alerts),
        percent(tally.hits, tally.labelled),
        tally.windows_found,
        tally.windows,
        tally.windows_by_chance,
        (tally.alerts - tally.hits) as f64 / tally.quiet_days,
        tally.false_runs as f64 / tally.quiet_days,
    );
}
