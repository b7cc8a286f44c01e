//! `forecastd fit`: one file, without the service, over the same code: decode, history, fit, forecast file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, bail};
use forecastd_config::{Columns, Layout, Limits, OffGrid};
use forecastd_models::{ChannelFit, FitFailure, FitSpec, Forecast, Frequency, GapPolicy, Level, Series, Timestamp};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::intake::decode::decode;
use crate::message::account::RowAccount;
use crate::message::series_drop::SeriesDrop;
use crate::planner::history::{ChannelHistory, HistoryRules};
use crate::publish::forecast_writer::ForecastFile;
use crate::work::fit::fit_channel;

/// Fit one parquet file and print or write its forecasts, without the service.
#[derive(Debug, clap::Args)]
pub(super) struct Fit {
    /// The parquet file.
    file: PathBuf,
    /// The column of times.
    #[arg(long, value_name = "COL")]
    time: String,
    /// A column that names the channel; several times for a name of several parts. Without it every numeric
    /// column is a channel.
    #[arg(long, value_name = "COL", requires = "value")]
    channel: Vec<String>,
    /// The column of values, where --channel is given.
    #[arg(long, value_name = "COL", requires = "channel")]
    value: Option<String>,
    /// Steps to forecast, at most 100000.
    #[arg(long, value_name = "H", value_parser = horizon)]
    horizon: NonZeroUsize,
    /// Samples a forecast may look back on, differences included.
    #[arg(long, value_name = "P", default_value_t = 512)]
    max_order: usize,
    /// Levels of the intervals, separated by commas.
    #[arg(long, value_name = "LEVEL", value_delimiter = ',', default_values_t = [0.8, 0.95])]
    levels: Vec<f64>,
    /// Newest grid points of a channel that its fit sees.
    #[arg(long, value_name = "N", default_value = "8192")]
    window: NonZeroUsize,
    /// The step of the grid, such as 15m, 1h, 1mo; inferred if not given.
    #[arg(long, value_name = "STEP", value_parser = forecastd_config::parse_frequency)]
    frequency: Option<Frequency>,
    /// What stands for a missing sample.
    #[arg(long, value_enum, default_value_t = Gaps::Interpolate)]
    gaps: Gaps,
    /// Write a forecast file into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print models and forecasts as JSON.
    #[arg(long)]
    json: bool,
}

fn horizon(text: &str) -> Result<NonZeroUsize, &'static str> {
    const LONGEST: usize = 100_000;
    let horizon = text.parse().ok().filter(|steps: &NonZeroUsize| steps.get() <= LONGEST);
    horizon.ok_or("a whole number from 1 to 100000")
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Gaps {
    Interpolate,
    Hold,
    Error,
}

/// One channel's result; the series came without one where no grid could be told.
type Outcome = (Arc<str>, Result<Arc<ChannelFit>, FitFailure>);

impl Fit {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let spec = self.spec()?;
        let file = File::open(&self.file).with_context(|| format!("open {}", self.file.display()))?;
        let decoded = decode(file, &self.columns(), &no_limits(), Timestamp(i64::MAX))
            .map_err(|verdict| anyhow::anyhow!("{}: {}", self.file.display(), verdict.detail))?;
        let mut account = decoded.account;
        let (rows, duplicates) = SeriesDrop::from_rows(decoded.rows);
        account.duplicate += duplicates;
        account.committed = rows.rows();
        if rows.is_empty() {
            bail!(
                "{}: not one row in it can be used ({} refused)",
                self.file.display(),
                account.rejected_total()
            );
        }
        let (series, young) = self.series(&rows);
        let outcomes = fit_all(&series, &spec);
        self.report(&account, &outcomes, &young)?;
        let fits: Vec<Arc<ChannelFit>> = outcomes.iter().filter_map(|(_, result)| result.clone().ok()).collect();
        if let Some(folder) = &self.out {
            self.write(folder, &spec, &fits)?;
        }
        Ok(if fits.is_empty() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    fn spec(&self) -> anyhow::Result<FitSpec> {
        let level =
            |share: &f64| Level::new(*share).with_context(|| format!("--levels: {share} is not between 0 and 1"));
        let percents: BTreeSet<String> = self.levels.iter().map(|share| (share * 100.0).to_string()).collect();
        if percents.len() < self.levels.len() {
            bail!("--levels: each level once");
        }
        Ok(FitSpec {
            horizon: self.horizon,
            levels: self.levels.iter().map(level).collect::<anyhow::Result<_>>()?,
            max_lookback: self.max_order,
            gaps: match self.gaps {
                Gaps::Interpolate => GapPolicy::Interpolate,
                Gaps::Hold => GapPolicy::Hold,
                Gaps::Error => GapPolicy::Error,
            },
        })
    }

    fn columns(&self) -> Columns {
        let layout = match &self.value {
            Some(value) => Layout::Long {
                channel: self.channel.clone(),
                value: value.clone(),
            },
            None => Layout::Wide { only: None },
        };
        Columns {
            time: self.time.clone(),
            layout,
        }
    }

    /// Each channel's window, and the channels with too few rows to tell a grid.
    fn series(&self, rows: &SeriesDrop) -> (Vec<Series>, Vec<Arc<str>>) {
        let rules = HistoryRules {
            window: self.window.get(),
            frequency: self.frequency,
            off_grid: OffGrid::Snap,
        };
        let (mut known, mut young) = (Vec::new(), Vec::new());
        for (channel, rows) in rows.channels() {
            let mut history = ChannelHistory::new(rules);
            history.extend(rows);
            match history.series(channel) {
                Some(series) => known.push(series),
                None => young.push(Arc::clone(channel)),
            }
        }
        (known, young)
    }

    fn write(&self, folder: &Path, spec: &FitSpec, fits: &[Arc<ChannelFit>]) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("--out: make {}", folder.display()))?;
        let name = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let mut file = ForecastFile::create(folder.join(format!("{name}-forecasts.parquet")), &spec.levels)?;
        file.append(fits)?;
        let path = file.finish()?;
        eprintln!("forecasts written to {}", path.display());
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "the result of the command")]
    fn report(&self, account: &RowAccount, outcomes: &[Outcome], young: &[Arc<str>]) -> anyhow::Result<()> {
        if self.json {
            println!(
                "{}",
                serde_json::to_string_pretty(&Report::new(&self.file, account, outcomes, young))?
            );
            return Ok(());
        }
        println!(
            "{:<32} {:>2} {:>5}  {:<10} {:>14} {:>29}",
            "channel", "d", "order", "fallback", "next", "interval"
        );
        for (channel, result) in outcomes {
            match result {
                Ok(fit) => println!("{}", table_row(channel, fit)),
                Err(failure) => println!("{channel:<32} no forecast: {failure}"),
            }
        }
        for channel in young {
            println!("{channel:<32} no forecast: one row does not tell the frequency; give it with --frequency");
        }
        Ok(())
    }
}

fn table_row(channel: &str, fit: &ChannelFit) -> String {
    let ChannelFit { model, forecast, .. } = fit;
    let fallback = model.fallback.map(|fallback| fallback.to_string()).unwrap_or_default();
    let widest = forecast.intervals.last();
    let interval = widest.map(|i| format!("[{:.5}, {:.5}] {}%", i.lower[0], i.upper[0], i.level.percent()));
    let interval = interval.unwrap_or_default();
    let (d, order, next) = (model.num_diff, model.order, forecast.mean[0]);
    format!("{channel:<32} {d:>2} {order:>5}  {fallback:<10} {next:>14.6} {interval:>29}")
}

/// Fits on all cores, with a bar on a terminal. Results stand in the order of the series.
fn fit_all(series: &[Series], spec: &FitSpec) -> Vec<Outcome> {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(series.len() as u64)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} channels  {per_sec}  {eta} left") {
        bar.set_style(style);
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let Some(series) = series.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((Arc::clone(&series.channel), fit_channel(series, spec).map(Arc::new)));
            bar.inc(1);
        }
        done
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let outcomes: BTreeMap<Arc<str>, _> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a fit's panic is caught per channel"))
            .collect()
    });
    bar.finish_and_clear();
    outcomes.into_iter().collect()
}

/// A file of the user's own is read whole: the daemon's limits guard against strangers.
fn no_limits() -> Limits {
    Limits {
        file_bytes: u64::MAX,
        file_values: u64::MAX,
        channels: usize::MAX,
        decode_memory: u64::MAX,
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a Path,
    rows: &'a RowAccount,
    channels: Vec<FittedChannel<'a>>,
    failures: Vec<FailedChannel<'a>>,
}

#[derive(Debug, Serialize)]
struct FittedChannel<'a> {
    channel: &'a str,
    cutoff: String,
    filled: usize,
    model: &'a forecastd_models::FittedAr,
    forecast: ForecastColumns<'a>,
}

/// Columns of equal length, one entry a step; bounds by their name in forecast files.
#[derive(Debug, Serialize)]
struct ForecastColumns<'a> {
    time: Vec<String>,
    mean: &'a [f64],
    #[serde(flatten)]
    bounds: BTreeMap<String, &'a [f64]>,
}

#[derive(Debug, Serialize)]
struct FailedChannel<'a> {
    channel: &'a str,
    reason: &'a str,
    detail: String,
}

impl<'a> Report<'a> {
    fn new(file: &'a Path, rows: &'a RowAccount, outcomes: &'a [Outcome], young: &'a [Arc<str>]) -> Self {
        let mut failures: Vec<FailedChannel<'a>> = Vec::new();
        let mut channels = Vec::new();
        for (channel, result) in outcomes {
            match result {
                Ok(fit) => channels.push(FittedChannel::new(channel, fit)),
                Err(failure) => {
                    failures.push(FailedChannel {
                        channel,
                        reason: failure.reason(),
                        detail: failure.to_string(),
                    });
                }
            }
        }
        failures.extend(young.iter().map(|channel| FailedChannel {
            channel,
            reason: "no_grid",
            detail: "one row does not tell the frequency".to_owned(),
        }));
        Self {
            file,
            rows,
            channels,
            failures,
        }
    }
}

impl<'a> FittedChannel<'a> {
    fn new(channel: &'a str, fit: &'a ChannelFit) -> Self {
        let ChannelFit {
            model,
            forecast,
            filled,
        } = fit;
        Self {
            channel,
            cutoff: forecast.cutoff().to_string(),
            filled: *filled,
            model,
            forecast: columns(forecast),
        }
    }
}

fn columns(forecast: &Forecast) -> ForecastColumns<'_> {
    let mut bounds = BTreeMap::new();
    for interval in &forecast.intervals {
        bounds.insert(format!("lower_{}", interval.level.percent()), interval.lower.as_slice());
        bounds.insert(format!("upper_{}", interval.level.percent()), interval.upper.as_slice());
    }
    let time = (1..=forecast.horizon())
        .map(|step| forecast.time(step).to_string())
        .collect();
    ForecastColumns {
        time,
        mean: &forecast.mean,
        bounds,
    }
}
