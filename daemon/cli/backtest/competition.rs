//! The protocol of forecasting competitions: many series, each with a horizon of its own and one forecast.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use anyhow::bail;
use forecastd_models::backtest::seasonal_naive;
use forecastd_models::scores::{mase, mase_scale, naive2, owa, smape};
use forecastd_models::{AutoSpec, ChannelModel, Choice, Level, LinearMap, Pool, PoolBuilder, Training};

use super::crew::in_order;
use super::long_horizon::Example;
use super::method::Tested;
use super::prepared::{Samples, Skip, Skipped, all_missing, check_finite, fill};
use super::progress::Progress;
use crate::intake::panel::ListedSeries;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Competition {
    pub(super) method: Tested,
    pub(super) lookback: NonZeroUsize,
    /// For all series, whatever their periods.
    pub(super) season: Option<NonZeroUsize>,
    pub(super) levels: Vec<Level>,
    pub(super) threads: NonZeroUsize,
    /// What series without a period are.
    pub(super) period: Option<&'static str>,
}

/// The methods that are scored, in this order everywhere.
pub(super) const METHODS: [&str; 4] = ["ours", "random_walk", "seasonal_naive", "naive2"];

/// How a method did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// By period.
    pub(super) groups: Vec<(String, Means)>,
    pub(super) overall: Option<Means>,
    pub(super) series: Vec<SeriesOutcome>,
    pub(super) skipped: Vec<Skipped>,
    /// Cells without a number.
    pub(super) filled: usize,
}

/// How a method did for one series.
#[derive(Debug)]
pub(super) struct SeriesOutcome {
    pub(super) id: String,
    /// Its period.
    pub(super) group: String,
    pub(super) season: NonZeroUsize,
    pub(super) mase: [f64; METHODS.len()],
    pub(super) smape: [f64; METHODS.len()],
    /// One a level: the share of the truth within the interval, and its mean width in units of the MASE's scale.
    intervals: Vec<(f64, f64)>,
    /// The absolute error in units of the MASE's scale, by step; NaN where nobody knows.
    pub(super) by_step: [Vec<f64>; METHODS.len()],
    /// None where the series was too short and a random walk had to do.
    pub(super) choice: Option<Choice>,
    pub(super) example: Example,
}

/// Means over series.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) series: usize,
    /// If it is the same for all.
    pub(super) season: Option<NonZeroUsize>,
    pub(super) mase: [f64; METHODS.len()],
    pub(super) smape: [f64; METHODS.len()],
    pub(super) owa: [Option<f64>; METHODS.len()],
    /// One a level, over the series that have intervals.
    pub(super) intervals: Vec<Option<(f64, f64)>>,
    /// Those that got a random walk.
    pub(super) fallback: Vec<String>,
}

/// A series that can be judged.
struct Entry {
    id: String,
    group: String,
    season: NonZeroUsize,
    train: Vec<f64>,
    samples: Samples,
    test: Vec<f64>,
    /// Of the MASE.
    scale: f64,
}

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// Samples of a season by the name of a period, as M4 has them: a week and a day have none there.
pub(super) fn season_of(period: &str) -> Option<usize> {
    Some(match period {
        "yearly" | "weekly" | "daily" | "other" => 1,
        "quarterly" => 4,
        "monthly" => 12,
        "hourly" => 24,
        _ => return None,
    })
}

impl Competition {
    /// Judges every series that can be judged.
    pub(super) fn run(&self, series: Vec<ListedSeries>, progress: &Progress<'_>) -> anyhow::Result<Outcome> {
        let (mut entries, mut skipped) = (Vec::new(), Vec::new());
        for one in series {
            let group = one
                .period
                .clone()
                .or(self.period.map(str::to_owned))
                .unwrap_or_else(|| "all".to_owned());
            let season = self.season(&one.id, &group)?;
            let id = one.id.clone();
            match prepared(one, group, season) {
                Ok(entry) => entries.push(entry),
                Err((reason, detail)) => skipped.push(Skipped {
                    channel: id,
                    reason,
                    detail,
                }),
            }
        }
        progress.begin(entries.len());
        let mut alike = BTreeMap::<(&str, usize), Vec<usize>>::new();
        for (number, entry) in entries.iter().enumerate() {
            alike.entry((&entry.group, entry.test.len())).or_default().push(number);
        }
        let mut judged: Vec<Option<SeriesOutcome>> = entries.iter().map(|_| None).collect();
        for ((group, _), numbers) in &alike {
            progress.doing((*group).to_owned());
            self.judge_alike(&entries, numbers, progress, &mut judged)?;
        }
        let mut series = Vec::with_capacity(entries.len());
        for (entry, judged) in entries.iter().zip(judged) {
            match judged.filter(SeriesOutcome::is_finite) {
                Some(judged) => series.push(judged),
                None => skipped.push(Skipped {
                    channel: entry.id.clone(),
                    reason: "not_finite",
                    detail: "an error of its forecast is beyond what numbers hold".to_owned(),
                }),
            }
        }
        let mut names: Vec<String> = Vec::new();
        for one in &series {
            if !names.contains(&one.group) {
                names.push(one.group.clone());
            }
        }
        let group = |name: String| {
            let means = self.means(series.iter().filter(|one| one.group == name));
            means.map(|means| (name, means))
        };
        Ok(Outcome {
            groups: names.into_iter().filter_map(group).collect(),
            overall: self.means(series.iter()),
            filled: entries.iter().map(|entry| entry.samples.filled).sum(),
            series,
            skipped,
        })
    }

    fn season(&self, id: &str, group: &str) -> anyhow::Result<NonZeroUsize> {
        if let Some(season) = self.season {
            return Ok(season);
        }
        match season_of(group) {
            Some(season) => Ok(NonZeroUsize::new(season).expect("no season is zero")),
            None if group == "all" => Ok(ONE),
            None => bail!("series {id:?}: the period {group:?} does not tell a season; give it with --season"),
        }
    }

    /// Judges series of one period and one horizon.
    fn judge_alike(
        &self,
        entries: &[Entry],
        numbers: &[usize],
        progress: &Progress<'_>,
        judged: &mut [Option<SeriesOutcome>],
    ) -> anyhow::Result<()> {
        let first = &entries[numbers[0]];
        let spec = AutoSpec {
            horizon: NonZeroUsize::new(first.test.len()).expect("an empty test list is left out"),
            lookback: self.lookback,
            season: Some(first.season).filter(|season| season.get() > 1),
            members: self.method.members(),
            levels: self.levels.clone(),
        };
        let mut pool = PoolBuilder::new(&spec);
        if spec.members.iter().any(|member| member.needs_pool()) {
            let gather = |place: usize| {
                let mut one = PoolBuilder::new(&spec);
                if let Some(training) = Training::with_last_fifth(&entries[numbers[place]].samples.values, &spec) {
                    one.add(&training);
                }
                one
            };
            in_order(self.threads, numbers.len(), progress.stop, gather, |_, one| {
                pool.merge(one)
            })?;
        }
        let pool = pool.finish();
        let judge = |place: usize| {
            let one = judge(&entries[numbers[place]], &pool, &spec);
            progress.judged();
            one
        };
        in_order(self.threads, numbers.len(), progress.stop, judge, |place, one| {
            judged[numbers[place]] = Some(one);
        })
    }

    fn means<'a>(&self, series: impl Iterator<Item = &'a SeriesOutcome> + Clone) -> Option<Means> {
        let first = series.clone().next()?;
        let count = series.clone().count();
        let mean = |term: &dyn Fn(&SeriesOutcome) -> f64| series.clone().map(term).sum::<f64>() / count as f64;
        let mase = std::array::from_fn(|method| mean(&|one| one.mase[method]));
        let smape = std::array::from_fn(|method| mean(&|one| one.smape[method]));
        let naive2 = METHODS.len() - 1;
        let interval = |level: usize| {
            let found: Vec<(f64, f64)> = series
                .clone()
                .filter_map(|one| one.intervals.get(level).copied())
                .collect();
            let mean = |term: fn(&(f64, f64)) -> f64| found.iter().map(term).sum::<f64>() / found.len() as f64;
            (!found.is_empty()).then(|| (mean(|pair| pair.0), mean(|pair| pair.1)))
        };
        Some(Means {
            series: count,
            season: series
                .clone()
                .all(|one| one.season == first.season)
                .then_some(first.season),
            mase,
            smape,
            owa: std::array::from_fn(|method| owa((mase[method], smape[method]), (mase[naive2], smape[naive2]))),
            intervals: (0..self.levels.len()).map(interval).collect(),
            fallback: series
                .clone()
                .filter(|one| one.choice.is_none())
                .map(|one| one.id.clone())
                .collect(),
        })
    }
}

impl SeriesOutcome {
    fn is_finite(&self) -> bool {
        self.mase.iter().chain(&self.smape).all(|score| score.is_finite())
    }
}

fn prepared(series: ListedSeries, group: String, season: NonZeroUsize) -> Result<Entry, Skip> {
    let ListedSeries {
        id, mut train, test, ..
    } = series;
    check_finite(&test)?;
    match test.len() {
        0 => return Err(("test_empty", "its test list is empty".to_owned())),
        _ if all_missing(&test) => return Err(("test_missing", "its test list has no number".to_owned())),
        _ => {}
    }
    if train.is_empty() {
        return Err(("train_missing", "its train list is empty".to_owned()));
    }
    let length = train.len();
    let filled = fill(&mut train);
    let mut samples = Samples::new(train.clone(), length)?;
    samples.filled = filled;
    let Some(scale) = mase_scale(&train, season) else {
        let why = format!("its {length} samples have no seasonal error to scale by, with a season of {season}");
        return Err(("no_scale", why));
    };
    Ok(Entry {
        id,
        group,
        season,
        train,
        samples,
        test,
        scale,
    })
}

fn judge(entry: &Entry, pool: &Pool, spec: &AutoSpec) -> SeriesOutcome {
    let Samples { values, standard, .. } = &entry.samples;
    let (map, half_widths, choice) = match Training::with_last_fifth(values, spec) {
        Some(training) => {
            let model = ChannelModel::fit(&training, Some(pool), spec);
            (model.map, model.half_widths, Some(model.choice))
        }
        None => (LinearMap::random_walk(ONE, spec.horizon), Vec::new(), None),
    };
    let mean: Vec<f64> = map
        .forecast(values)
        .into_iter()
        .map(|value| standard.restored(value))
        .collect();
    let unit = |half: &Vec<f64>| half.iter().map(|half| half * standard.deviation).collect();
    let half_widths: Vec<Vec<f64>> = half_widths.iter().map(unit).collect();
    let cutoff = entry.train.len();
    let naive = |season| {
        seasonal_naive(&entry.train, cutoff..cutoff + 1, ONE, spec.horizon, season)
            .row(0)
            .to_vec()
    };
    let naive2 = naive2(&entry.train, entry.season, spec.horizon.get());
    let forecasts = [mean, naive(ONE), naive(entry.season), naive2];
    let known = "the test list has a number";
    let error = |(truth, forecast): (&f64, &f64)| (truth - forecast).abs() / entry.scale;
    SeriesOutcome {
        id: entry.id.clone(),
        group: entry.group.clone(),
        season: entry.season,
        mase: forecasts
            .each_ref()
            .map(|forecast| mase(&entry.test, forecast, entry.scale).expect(known)),
        smape: forecasts
            .each_ref()
            .map(|forecast| smape(&entry.test, forecast).expect(known)),
        intervals: half_widths
            .iter()
            .map(|half| interval(entry, &forecasts[0], half))
            .collect(),
        by_step: forecasts
            .each_ref()
            .map(|forecast| entry.test.iter().zip(forecast).map(error).collect()),
        choice,
        example: Example {
            before: entry.train[cutoff - cutoff.min(3 * spec.horizon.get())..].to_vec(),
            truth: entry.test.clone(),
            mean: forecasts[0].clone(),
            half_widths,
        },
    }
}

/// How an interval did where the truth is known.
fn interval(entry: &Entry, mean: &[f64], half: &[f64]) -> (f64, f64) {
    let steps = entry
        .test
        .iter()
        .zip(mean.iter().zip(half))
        .filter(|(truth, _)| !truth.is_nan());
    let (mut count, mut inside, mut width) = (0.0, 0.0, 0.0);
    for (truth, (mean, half)) in steps {
        count += 1.0;
        inside += f64::from(u8::from((truth - mean).abs() <= *half));
        width += 2.0 * half / entry.scale;
    }
    (inside / count, width / count)
}
