//! `forecastd fit`: files of one data set, without the service, over the same code: decode, history, fit, forecast
//! file.
//!
//! A look at the names says which channels stand where. Then rows stream in, a channel is fitted when it is whole, and
//! forecasts stream out, in the order in which channels first appear. What is held is the channels that are not whole
//! yet, and no more of them than a budget allows: what is beyond it is read again in a later pass.

mod crew;
mod gatherer;
mod output;
mod passes;

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use forecastd_config::{Columns, Layout, OffGrid};
use forecastd_models::{FitSpec, Frequency, GapPolicy, Level, Method, Pool, Series};
use indicatif::ProgressBar;

use self::crew::{Dealer, fit_all};
use self::gatherer::Gatherer;
use self::output::{Output, Print};
use self::passes::passes;
use super::bar::{bar, style};
use super::interruption::interruption;
use super::threads;
use crate::intake::parts::{PartError, Parts, Survey};
use crate::intake::shard::Shard;
use crate::message::account::RowAccount;
use crate::planner::history::HistoryRules;
use crate::planner::pool::POOL_CHANNELS;
use crate::publish::forecast_writer::ForecastFile;
use crate::work::fit::{fit_channel, map_channel, pool_of};

/// Fit the channels of parquet files and print or write their forecasts, without the service.
#[derive(Debug, clap::Args)]
pub(super) struct Fit {
    /// Parquet files that are parts of one data set, or folders of them (all `*.parquet` in it, by name). A channel may
    /// stand in several; of several rows for one time the last counts.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
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
    /// How channels are forecast: auto, a combination chosen by validation, or one member of the family. auto_ar alone
    /// is the fastest by far, and serves a channel that has too few samples for another.
    #[arg(long, value_name = "METHOD", default_value_t = Method::Auto, value_parser = method())]
    method: Method,
    /// Samples a forecast may look back on, differences included.
    #[arg(long, value_name = "P", default_value_t = 512, value_parser = max_order)]
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
    /// Fit only shard i of n, from 1/n to n/n: those channels whose name has a BLAKE3 hash that begins with eight bytes
    /// which, as a little-endian number modulo n, are i-1. All shards together have every channel once; what --method auto
    /// finds common to channels, it finds in each shard by itself.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Rows that may be held at a time, in bytes. Channels that stand one after the other in the files need little;
    /// where they are interleaved the files are read as often as it takes.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = forecastd_config::parse_size)]
    memory: u64,
    /// Threads that fit [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Write a forecast file into this folder, and print only the channels that have no forecast. It is called
    /// FILE-forecasts.parquet for one FILE, forecasts.parquet for several, with -I-of-N for a shard.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print models and forecasts as one JSON object, a line a channel.
    #[arg(long)]
    json: bool,
}

fn max_order(text: &str) -> Result<usize, &'static str> {
    const LONGEST: usize = 4_096;
    let order = text.parse().ok().filter(|order| *order <= LONGEST);
    order.ok_or("a whole number up to 4096")
}

fn horizon(text: &str) -> Result<NonZeroUsize, &'static str> {
    const LONGEST: usize = 100_000;
    let horizon = text.parse().ok().filter(|steps: &NonZeroUsize| steps.get() <= LONGEST);
    horizon.ok_or("a whole number from 1 to 100000")
}

/// The names, which clap lists in its help and its errors.
pub(super) fn method() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::all().map(Method::name)).try_map(|name| name.parse::<Method>())
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Gaps {
    Interpolate,
    Hold,
    Error,
}

impl Fit {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let spec = self.spec()?;
        let parts = Parts {
            paths: parquet_files(&self.files)?,
            columns: self.columns(),
            shard: self.shard,
        };
        let stop = interruption()?;
        let progress = Progress::new(&stop);
        let survey = parts.survey(&mut |rows| progress.rows(rows))?;
        let mut output = Output::begin(self.print(), &self.files, self.forecast_file(&spec)?)?;
        let account = self.stream(&spec, &parts, &survey, &progress, &mut output)?;
        progress.bar.finish_and_clear();
        eprintln!("{}", summary(&output, &account, started.elapsed().as_secs_f64()));
        let fitted = output.fitted();
        output.end(&account)?;
        // A shard of few channels may have none: that fails no job array.
        let nothing_to_do = self.shard.is_some() && survey.channels().is_empty();
        if account.committed == 0 && !nothing_to_do {
            let refused = account.rejected_total();
            bail!("{}: not one row can be used ({refused} refused)", listed(&self.files));
        }
        Ok(if fitted == 0 && !nothing_to_do {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Rows in, forecasts out; says where the rows went.
    fn stream(
        &self,
        spec: &FitSpec,
        parts: &Parts,
        survey: &Survey,
        progress: &Progress<'_>,
        output: &mut Output,
    ) -> anyhow::Result<RowAccount> {
        let take = |outcome| {
            if progress.stop.load(Ordering::Relaxed) {
                bail!(PartError::Interrupted);
            }
            progress.fitted.fetch_add(1, Ordering::Relaxed);
            let taken = output.take(outcome);
            taken.inspect_err(|_| progress.stop.store(true, Ordering::Relaxed)) // nobody needs the rest of the rows
        };
        let pool = self.pool(spec, parts, survey, progress)?;
        let fit = |series: &Series| match map_channel(series, spec, self.method, pool.as_ref()) {
            Some((fit, _)) => Ok(fit),
            None => fit_channel(series, spec),
        };
        let gather = |dealer| self.gather(parts, survey, dealer, progress);
        fit_all(threads(self.threads), fit, gather, take)
    }

    /// What the first channels have in common, where the method asks for it: a look at them before the rest.
    fn pool(
        &self,
        spec: &FitSpec,
        parts: &Parts,
        survey: &Survey,
        progress: &Progress<'_>,
    ) -> anyhow::Result<Option<Pool>> {
        let some = survey.channels();
        let some = &some[..some.len().min(POOL_CHANNELS)];
        if !self.method.needs_pool() || some.len() < 2 {
            return Ok(None);
        }
        let mut pooled = Vec::new();
        let mut gatherer = Gatherer::new(some, self.rules(), |job| pooled.extend(job.series));
        for pass in passes(some, self.memory) {
            parts.read(survey, pass.clone(), &mut gatherer, &mut |_| progress.rows(0))?;
            if !gatherer.finish(&pass) {
                bail!("{}: changed while it was read", listed(&parts.paths));
            }
        }
        Ok(Some(pool_of(&pooled, spec, self.method)))
    }

    fn rules(&self) -> HistoryRules {
        HistoryRules {
            window: self.window.get(),
            frequency: self.frequency,
            off_grid: OffGrid::Snap,
        }
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

    fn print(&self) -> Print {
        match (self.json, &self.out) {
            (true, _) => Print::Json,
            (false, Some(_)) => Print::Failures,
            (false, None) => Print::Table,
        }
    }

    fn forecast_file(&self, spec: &FitSpec) -> anyhow::Result<Option<ForecastFile>> {
        let Some(folder) = &self.out else {
            return Ok(None);
        };
        fs::create_dir_all(folder).with_context(|| format!("--out: make {}", folder.display()))?;
        let source = match self.files.as_slice() {
            [file] => file.file_stem().map(|stem| format!("{}-", stem.to_string_lossy())),
            _ => None,
        };
        let shard = self.shard.map(|shard| format!("-{shard}"));
        let (source, shard) = (source.unwrap_or_default(), shard.unwrap_or_default());
        let path = folder.join(format!("{source}forecasts{shard}.parquet"));
        Ok(Some(ForecastFile::create(path, &spec.levels)?))
    }

    /// Reads all rows, in as many passes as the budget asks for, and deals each channel that is whole.
    fn gather(
        &self,
        parts: &Parts,
        survey: &Survey,
        mut dealer: Dealer,
        progress: &Progress<'_>,
    ) -> anyhow::Result<RowAccount> {
        let passes = passes(survey.channels(), self.memory);
        progress.begin(passes.iter().map(|pass| survey.rows_read(pass)).sum());
        let mut account = RowAccount::default();
        let mut gatherer = Gatherer::new(survey.channels(), self.rules(), |job| dealer.deal(job));
        for pass in passes {
            account += &parts.read(survey, pass.clone(), &mut gatherer, &mut |rows| progress.rows(rows))?;
            if !gatherer.finish(&pass) {
                bail!("{}: changed while it was read", listed(&parts.paths));
            }
        }
        account.duplicate += gatherer.duplicate;
        account.committed += gatherer.committed;
        Ok(account)
    }
}

/// The files themselves, and those of folders in order of their names.
fn parquet_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(parquet_files_in(path)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn parquet_files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = || format!("list {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(list)? {
        let path = entry.with_context(list)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|ending| ending == "parquet") {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("{}: no *.parquet file in this folder", folder.display());
    }
    files.sort_unstable();
    Ok(files)
}

/// Paths in an error: the first, and how many more.
fn listed(files: &[PathBuf]) -> String {
    match files {
        [file] => file.display().to_string(),
        files => format!("{} and {} more", files[0].display(), files.len() - 1),
    }
}

fn summary(output: &Output, account: &RowAccount, seconds: f64) -> String {
    let (fitted, failed) = (output.fitted(), output.failed());
    let reasons: Vec<String> = failed
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let failed = match reasons.as_slice() {
        [] => String::new(),
        reasons => format!(
            ", {} without a forecast ({})",
            failed.values().sum::<usize>(),
            reasons.join(", ")
        ),
    };
    let rate = fitted as f64 / seconds;
    let rows = account.seen;
    format!("{fitted} channels fitted{failed}; {rows} rows in {seconds:.1} s, {rate:.0} channels a second")
}

/// A bar on a terminal, and the place where reading hears that it must stop.
struct Progress<'a> {
    stop: &'a AtomicBool,
    fitted: AtomicUsize,
    bar: ProgressBar,
}

impl<'a> Progress<'a> {
    fn new(stop: &'a AtomicBool) -> Self {
        Self {
            stop,
            fitted: AtomicUsize::new(0),
            bar: bar("{spinner} {human_pos} names read"),
        }
    }

    fn begin(&self, rows: u64) {
        self.bar.set_style(style(
            "{bar:40} {human_pos}/{human_len} rows  {msg} channels  {eta} left",
        ));
        self.bar.set_position(0);
        self.bar.set_length(rows);
    }

    fn rows(&self, rows: u64) -> ControlFlow<()> {
        if self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        if !self.bar.is_hidden() {
            self.bar.set_message(self.fitted.load(Ordering::Relaxed).to_string());
        }
        self.bar.inc(rows);
        ControlFlow::Continue(())
    }
}
