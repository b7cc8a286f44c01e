//! `forecastd backtest`: how a method does on rows that it has not seen, by the protocols of the literature, beside the
//! naive forecasts that everything must beat.
//!
//! Arguments become one of two protocols; what is reckoned is theirs (`long_horizon`, `competition`). What they find
//! becomes a table for people, an object for programs (`output`) and a page with pictures (`report`).

mod competition;
mod crew;
mod long_horizon;
mod method;
mod output;
mod prepared;
mod progress;
mod report;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use forecastd_models::backtest::{Split, SplitRule};
use forecastd_models::{Frequency, Level, Timestamp};

use self::competition::{Competition, season_of};
use self::long_horizon::LongHorizon;
use self::method::Tested;
use self::output::Told;
use self::progress::Progress;
use super::interruption::interruption;
use super::threads;
use crate::intake::panel::{ListedSeries, Panel};
use crate::planner::frequency::grid_of;

/// Judge a method on rows it has not seen, by the protocols of the literature.
#[derive(Debug, clap::Args)]
pub(super) struct Backtest {
    /// A parquet file: one column a channel, or for a competition one row a series.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The column of times, which is no channel. It only tells the season; rows count in the order in which they stand.
    /// [default: the only column of a time type]
    #[arg(long, value_name = "COL")]
    time: Option<String>,
    /// How it is judged.
    #[arg(long, value_enum, default_value_t = Protocol::LongHorizon)]
    protocol: Protocol,
    /// What is judged.
    #[arg(long, default_value = "auto", value_parser = Tested::parser())]
    method: Tested,
    /// Steps to forecast, separated by commas [default: 96,192,336,720; for ILI 24,36,48,60].
    #[arg(long, value_name = "H", value_delimiter = ',')]
    horizons: Vec<NonZeroUsize>,
    /// Samples a forecast may look back on, 2 or more [default: 512; for ILI 96].
    #[arg(long, value_name = "P", value_parser = lookback)]
    lookback: Option<NonZeroUsize>,
    /// Rows to fit, to choose and to judge by: ett_hour, ett_minute, or shares such as 0.7/0.1/0.2 [default: by the
    /// file's name for ETTh1, ETTh2, ETTm1 and ETTm2; else 0.7/0.1/0.2].
    #[arg(long, value_name = "NAME|T/V/S")]
    split: Option<SplitRule>,
    /// Levels of the intervals, separated by commas.
    #[arg(long, value_name = "LEVEL", value_delimiter = ',', default_values_t = [0.8, 0.95])]
    levels: Vec<f64>,
    /// Samples of a season [default: a day's, or of days a week's, of weeks and months a year's; for a competition by
    /// the column `period`, as in M4: 24 hourly, 12 monthly, 4 quarterly, else 1].
    #[arg(long, value_name = "N")]
    season: Option<NonZeroUsize>,
    /// Threads that fit [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write a page with pictures into this folder: index.html, which needs nothing else.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// Every numeric column is a channel; every window of the test part is forecast; errors are standardised.
    LongHorizon,
    /// Every row is a series with the columns id, train and test (lists of numbers), and perhaps period; it is forecast
    /// once, and scored by MASE, sMAPE and OWA.
    Competition,
}

fn lookback(text: &str) -> Result<NonZeroUsize, &'static str> {
    let lookback = text.parse().ok().filter(|samples: &NonZeroUsize| samples.get() >= 2);
    lookback.ok_or("a whole number from 2 on")
}

impl Backtest {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let levels = self.levels()?;
        let stop = interruption()?;
        let progress = Progress::new(&stop);
        let told = match self.protocol {
            Protocol::LongHorizon => self.long_horizon(levels, &progress),
            Protocol::Competition => self.competition(levels, &progress),
        };
        progress.finish();
        let mut told = told?;
        told.seconds = started.elapsed().as_secs_f64();
        if let Some(folder) = &self.report {
            write_page(folder, &report::page(&told))?;
        }
        let text = if self.json { told.json()? } else { told.table() };
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("print to the standard output")?;
        eprintln!("{}", told.summary());
        Ok(if told.judged() == 0 {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    fn long_horizon(&self, levels: Vec<Level>, progress: &Progress<'_>) -> anyhow::Result<Told> {
        let panel = Panel::read(&self.file, self.time.as_deref(), &mut |rows| progress.rows(rows))?;
        let known = Known::of(&self.file);
        let rule = self.split.unwrap_or(known.split);
        let lookback = self.lookback.unwrap_or(size(known.lookback));
        let horizons = self.horizons(known)?;
        let split = self.checked_split(panel.rows, rule, lookback, &horizons)?;
        let season = self.season.unwrap_or_else(|| season_of_times(&panel.times));
        if season.get() > split.cutoff() {
            bail!(
                "--season {season}: only {} rows are before the test part",
                split.cutoff()
            );
        }
        let setup = LongHorizon {
            method: self.method,
            rule,
            split,
            lookback,
            horizons,
            season,
            levels,
            threads: threads(self.threads),
        };
        let unused = panel.rows - split.end();
        let outcome = setup.run(panel, progress)?;
        Ok(Told::long_horizon(self.file.clone(), setup, outcome, unused))
    }

    fn competition(&self, levels: Vec<Level>, progress: &Progress<'_>) -> anyhow::Result<Told> {
        let given = [
            (
                "--horizons",
                !self.horizons.is_empty(),
                "each series has its own, as long as its test list",
            ),
            (
                "--split",
                self.split.is_some(),
                "each series stands in its train and its test list",
            ),
            ("--time", self.time.is_some(), "the lists have no times"),
        ];
        if let Some((flag, _, why)) = given.into_iter().find(|(_, given, _)| *given) {
            bail!("{flag} is not for --protocol competition: {why}");
        }
        if self.method == Tested::Reference {
            bail!("--method reference is not for --protocol competition: it is one regression for a whole panel");
        }
        let setup = Competition {
            method: self.method,
            lookback: self.lookback.unwrap_or(size(512)),
            season: self.season,
            levels,
            threads: threads(self.threads),
            period: period_of(&self.file),
        };
        let series = ListedSeries::read_all(&self.file, &mut |rows| progress.rows(rows))?;
        let outcome = setup.run(series, progress)?;
        Ok(Told::competition(self.file.clone(), setup, outcome))
    }

    fn levels(&self) -> anyhow::Result<Vec<Level>> {
        let level =
            |share: &f64| Level::new(*share).with_context(|| format!("--levels: {share} is not between 0 and 1"));
        let levels: Vec<Level> = self.levels.iter().map(level).collect::<anyhow::Result<_>>()?;
        let percents: BTreeSet<String> = levels.iter().map(|level| level.percent()).collect();
        if percents.len() < levels.len() {
            bail!("--levels: each level once");
        }
        Ok(levels)
    }

    fn horizons(&self, known: Known) -> anyhow::Result<Vec<NonZeroUsize>> {
        if self.horizons.is_empty() {
            return Ok(known.horizons.map(size).to_vec());
        }
        let different: BTreeSet<NonZeroUsize> = self.horizons.iter().copied().collect();
        if different.len() < self.horizons.len() {
            bail!("--horizons: each horizon once");
        }
        Ok(different.into_iter().collect())
    }

    /// The parts of so many rows, if each holds a window.
    fn checked_split(
        &self,
        rows: usize,
        rule: SplitRule,
        lookback: NonZeroUsize,
        horizons: &[NonZeroUsize],
    ) -> anyhow::Result<Split> {
        let longest = *horizons.last().expect("there is a horizon");
        let split = rule.of(rows).filter(|split| split.holds(lookback, longest));
        split.with_context(|| {
            let file = self.file.display();
            match rule.rows_needed(lookback, longest) {
                Some(needed) => format!(
                    "{file}: {rows} rows, and --split {rule} with --lookback {lookback} and a horizon of {longest} \
                     needs {needed}: each part must hold a window"
                ),
                None => format!(
                    "{file}: no number of rows is enough for --split {rule} with --lookback {lookback} and a horizon \
                     of {longest}: its parts have fixed lengths"
                ),
            }
        })
    }
}

/// What the literature takes for files of well-known names.
#[derive(Clone, Copy, Debug)]
struct Known {
    split: SplitRule,
    lookback: usize,
    horizons: [usize; 4],
}

impl Known {
    fn of(file: &Path) -> Self {
        let usual = Self {
            split: SplitRule::USUAL,
            lookback: 512,
            horizons: [96, 192, 336, 720],
        };
        match file.file_stem().and_then(|stem| stem.to_str()) {
            Some("ETTh1" | "ETTh2") => Self {
                split: SplitRule::EttHour,
                ..usual
            },
            Some("ETTm1" | "ETTm2") => Self {
                split: SplitRule::EttMinute,
                ..usual
            },
            Some("ILI") => Self {
                lookback: 96,
                horizons: [24, 36, 48, 60],
                ..usual
            },
            _ => usual,
        }
    }
}

/// The period that the file's name ends with: `m4_hourly`.
fn period_of(file: &Path) -> Option<&'static str> {
    let stem = file.file_stem()?.to_str()?.to_lowercase();
    let periods = ["yearly", "quarterly", "monthly", "weekly", "daily", "hourly"];
    debug_assert!(periods.iter().all(|period| season_of(period).is_some()));
    periods.into_iter().find(|period| stem.ends_with(period))
}

/// Samples of a day; for days of a week; for weeks and months of a year. One where the step tells nothing.
fn season_of_times(times: &[Timestamp]) -> NonZeroUsize {
    const DAY: i64 = 86_400_000_000_000;
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let season = match grid_of(&sorted, None).map(|grid| grid.frequency) {
        Some(Frequency::Fixed(step)) => match step.get() {
            DAY => 7,
            step if step == 7 * DAY => 52,
            step if step < DAY && DAY % step == 0 => (DAY / step) as usize,
            _ => 1,
        },
        Some(Frequency::Months(months)) if 12 % months.get() == 0 => 12 / months.get() as usize,
        _ => 1,
    };
    NonZeroUsize::new(season).unwrap_or(NonZeroUsize::MIN)
}

fn size(size: usize) -> NonZeroUsize {
    NonZeroUsize::new(size).expect("a number of our own, not zero")
}

/// Under another name first, so that a reader never sees half a page.
fn write_page(folder: &Path, page: &str) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("--report: make {}", folder.display()))?;
    let path = folder.join("index.html");
    let hidden = folder.join(".index.html.tmp");
    let write = fs::write(&hidden, page).and_then(|()| fs::rename(&hidden, &path));
    write.with_context(|| format!("--report: write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_season_is_told_from_the_step() {
        const MINUTE: i64 = 60_000_000_000;
        for (minutes, season) in [(60, 24), (15, 96), (10, 144), (1440, 7), (10_080, 52), (50, 1)] {
            // The order of rows and a time that comes twice do not matter.
            let mut times: Vec<Timestamp> = (0..50).map(|row| Timestamp(row * minutes * MINUTE)).collect();
            times.push(times[3]);
            times.reverse();
            assert_eq!(season_of_times(&times).get(), season, "{minutes}");
        }
        assert_eq!(season_of_times(&[]).get(), 1);
    }

    #[test]
    fn well_known_names_have_the_literatures_settings() {
        let known = |file: &str| {
            let known = Known::of(Path::new(file));
            (known.split.to_string(), known.lookback, known.horizons[0])
        };
        assert_eq!(known("a/ETTh2.parquet"), ("ett_hour".to_owned(), 512, 96));
        assert_eq!(known("ETTm1.parquet"), ("ett_minute".to_owned(), 512, 96));
        assert_eq!(known("ILI.parquet"), ("0.7/0.1/0.2".to_owned(), 96, 24));
        assert_eq!(known("weather.parquet"), ("0.7/0.1/0.2".to_owned(), 512, 96));
        assert_eq!(period_of(Path::new("x/m4_Hourly.parquet")), Some("hourly"));
        assert_eq!(period_of(Path::new("m3.parquet")), None);
    }
}
