//! The protocol of long-horizon forecasting: a panel of channels, one cutoff, every window of the test part.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;

use anyhow::bail;
use forecastd_models::backtest::{Score, Split, SplitRule, StepErrors, half_widths, seasonal_naive};
use forecastd_models::{AutoSpec, ChannelModel, Choice, Level, LinearMap, Member, PoolBuilder, ReferenceFit, Training};

use super::crew::in_order;
use super::method::Tested;
use super::prepared::{Samples, Skip, Skipped, all_missing};
use super::progress::Progress;
use crate::intake::panel::{Column, Panel};

/// What is asked for.
#[derive(Debug)]
pub(super) struct LongHorizon {
    pub(super) method: Tested,
    pub(super) rule: SplitRule,
    pub(super) split: Split,
    pub(super) lookback: NonZeroUsize,
    pub(super) horizons: Vec<NonZeroUsize>,
    pub(super) season: NonZeroUsize,
    pub(super) levels: Vec<Level>,
    pub(super) threads: NonZeroUsize,
}

/// How a method did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Those that were judged, in the order of the file.
    pub(super) channels: Vec<String>,
    pub(super) skipped: Vec<Skipped>,
    /// Cells without a number, of the channels that were judged.
    pub(super) filled: usize,
    pub(super) horizons: Vec<HorizonOutcome>,
}

/// How a method did at one horizon, the mean over channels and each by itself.
#[derive(Debug)]
pub(super) struct HorizonOutcome {
    pub(super) horizon: NonZeroUsize,
    pub(super) windows: usize,
    pub(super) mean: Rivals<StepErrors>,
    pub(super) channels: Vec<ChannelOutcome>,
    /// Of the published procedure: its order and its differences.
    pub(super) reference: Option<(usize, usize)>,
}

/// The method, and what it is held against on the same windows.
#[derive(Clone, Debug)]
pub(super) struct Rivals<T> {
    pub(super) ours: T,
    pub(super) random_walk: T,
    pub(super) seasonal_naive: T,
}

/// How a method did for one channel.
#[derive(Debug)]
pub(super) struct ChannelOutcome {
    pub(super) scores: Rivals<Score>,
    pub(super) choice: Option<Choice>,
    pub(super) example: Example,
}

/// One forecast of many, in the channel's own unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Example {
    pub(super) before: Vec<f64>,
    pub(super) truth: Vec<f64>,
    pub(super) mean: Vec<f64>,
    /// Half the width of the interval, by level and step.
    pub(super) half_widths: Vec<Vec<f64>>,
}

/// A forecaster of a channel, as it is judged.
struct Fitted {
    map: LinearMap,
    half_widths: Vec<Vec<f64>>,
    choice: Option<Choice>,
}

/// What is fitted to all channels together.
enum Common {
    Pool(AutoSpec, forecastd_models::Pool),
    Reference(forecastd_models::Reference),
}

/// A channel's errors, and what else is told of it.
struct Judged {
    errors: Rivals<StepErrors>,
    choice: Option<Choice>,
    example: Example,
}

const ONE: NonZeroUsize = NonZeroUsize::MIN;

impl LongHorizon {
    /// Judges every channel of a panel that can be judged.
    pub(super) fn run(&self, panel: Panel, progress: &Progress<'_>) -> anyhow::Result<Outcome> {
        let (mut names, mut samples, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for Column { name, values } in panel.channels {
            match self.prepared(values) {
                Ok(channel) => {
                    names.push(name);
                    samples.push(channel);
                }
                Err((reason, detail)) => skipped.push(Skipped {
                    channel: name,
                    reason,
                    detail,
                }),
            }
        }
        progress.begin(samples.len() * self.horizons.len());
        let reference = self.reference(&samples, progress)?;
        let horizons = self.horizons.iter().filter(|_| !samples.is_empty());
        let horizons: anyhow::Result<_> = horizons
            .map(|horizon| self.at_horizon(*horizon, &samples, reference.as_ref(), progress))
            .collect();
        Ok(Outcome {
            channels: names,
            skipped,
            filled: samples.iter().map(|channel| channel.filled).sum(),
            horizons: horizons?,
        })
    }

    fn prepared(&self, mut values: Vec<f64>) -> Result<Samples, Skip> {
        values.truncate(self.split.end());
        if all_missing(&values[self.split.cutoff()..]) {
            let rows = self.split.test;
            return Err(("test_missing", format!("none of its {rows} test rows has a number")));
        }
        Samples::new(values, self.split.train)
    }

    fn reference(&self, samples: &[Samples], progress: &Progress<'_>) -> anyhow::Result<Option<ReferenceFit>> {
        if self.method != Tested::Reference || samples.is_empty() {
            return Ok(None);
        }
        progress.doing("one regression for all channels".to_owned());
        let seen: Vec<&[f64]> = samples.iter().map(|channel| self.seen(channel)).collect();
        match ReferenceFit::new(&seen, self.split.train, self.lookback) {
            Some(fit) => Ok(Some(fit)),
            None => bail!(
                "--lookback {}: the published procedure has no order to try; it takes 3 or more",
                self.lookback
            ),
        }
    }

    fn at_horizon(
        &self,
        horizon: NonZeroUsize,
        samples: &[Samples],
        reference: Option<&ReferenceFit>,
        progress: &Progress<'_>,
    ) -> anyhow::Result<HorizonOutcome> {
        progress.doing(format!("horizon {horizon}"));
        let common = match reference {
            Some(fit) => Common::Reference(self.chosen(fit, horizon, progress)?),
            None => self.pool(horizon, samples, progress)?,
        };
        let mut sum: Option<Rivals<StepErrors>> = None;
        let mut channels = Vec::with_capacity(samples.len());
        let judge = |number: usize| {
            let judged = self.judge(&samples[number], horizon, &common);
            progress.judged();
            judged
        };
        in_order(self.threads, samples.len(), progress.stop, judge, |_, judged| {
            let Judged {
                errors,
                choice,
                example,
            } = judged;
            channels.push(ChannelOutcome {
                scores: errors.map(StepErrors::score),
                choice,
                example,
            });
            match &mut sum {
                None => sum = Some(errors),
                Some(sum) => sum.add(&errors),
            }
        })?;
        let reference = match &common {
            Common::Reference(reference) => Some((reference.order, reference.num_diff)),
            Common::Pool(..) => None,
        };
        Ok(HorizonOutcome {
            horizon,
            windows: self.split.origins(horizon).len(),
            mean: sum.expect("there is a channel"),
            channels,
            reference,
        })
    }

    /// The published procedure's choice, from the moments of all channels.
    fn chosen(
        &self,
        fit: &ReferenceFit,
        horizon: NonZeroUsize,
        progress: &Progress<'_>,
    ) -> anyhow::Result<forecastd_models::Reference> {
        let mut sum = None;
        let moments = |channel| fit.moments(channel, horizon).expect("the split holds a window of it");
        in_order(
            self.threads,
            fit.channels(),
            progress.stop,
            moments,
            |_, moments| match &mut sum {
                None => sum = Some(moments),
                Some(sum) => *sum += &moments,
            },
        )?;
        Ok(fit.choose(&sum.expect("there is a channel"), horizon))
    }

    fn pool(&self, horizon: NonZeroUsize, samples: &[Samples], progress: &Progress<'_>) -> anyhow::Result<Common> {
        let spec = AutoSpec {
            horizon,
            lookback: self.lookback,
            season: Some(self.season).filter(|season| season.get() > 1),
            members: self.method.members(),
            levels: self.levels.clone(),
        };
        let mut pool = PoolBuilder::new(&spec);
        if spec.members.iter().any(|member| member.needs_pool()) {
            let gather = |number: usize| {
                let mut one = PoolBuilder::new(&spec);
                one.add(&self.training(&samples[number], &spec));
                one
            };
            in_order(self.threads, samples.len(), progress.stop, gather, |_, one| {
                pool.merge(one)
            })?;
        }
        Ok(Common::Pool(spec, pool.finish()))
    }

    fn judge(&self, channel: &Samples, horizon: NonZeroUsize, common: &Common) -> Judged {
        let fitted = match common {
            Common::Reference(reference) => Fitted {
                map: reference.map.clone(),
                half_widths: Vec::new(),
                choice: None,
            },
            Common::Pool(spec, pool) => {
                let model = ChannelModel::fit(&self.training(channel, spec), Some(pool), spec);
                Fitted {
                    map: model.map,
                    half_widths: model.half_widths,
                    choice: Some(model.choice),
                }
            }
        };
        let (values, origins) = (&channel.values, self.split.origins(horizon));
        let ours = StepErrors::new(values, origins.clone(), &fitted.half_widths, |block| {
            fitted.map.forecasts(values, block, ONE)
        });
        Judged {
            errors: Rivals {
                ours,
                random_walk: self.naive(values, horizon, ONE),
                seasonal_naive: self.naive(values, horizon, self.season),
            },
            example: example(channel, &fitted, origins, horizon),
            choice: fitted.choice,
        }
    }

    /// A naive forecast's errors, in intervals from its errors on the validation part.
    fn naive(&self, values: &[f64], horizon: NonZeroUsize, season: NonZeroUsize) -> StepErrors {
        let forecasts = |origins, stride| seasonal_naive(values, origins, stride, horizon, season);
        let validation = self.split.train..self.split.cutoff() + 1 - horizon.get();
        let half_widths = half_widths(values, validation, &self.levels, forecasts);
        let origins = self.split.origins(horizon);
        StepErrors::new(values, origins, &half_widths, |block| forecasts(block, ONE))
    }

    fn seen<'a>(&self, channel: &'a Samples) -> &'a [f64] {
        &channel.values[..self.split.cutoff()]
    }

    fn training<'a>(&self, channel: &'a Samples, spec: &AutoSpec) -> Training<'a> {
        let training = Training::new(self.seen(channel), self.split.train, spec);
        training.expect("the split holds a window of it")
    }
}

impl HorizonOutcome {
    /// The weights of each band of steps, as a mean over the channels.
    pub(super) fn weights(&self) -> Vec<BandWeights> {
        mean_weights(self.channels.iter().filter_map(|channel| channel.choice.as_ref()))
    }

    /// Orders of the channels' own auto-regressions.
    pub(super) fn orders(&self) -> Vec<usize> {
        match self.reference {
            Some((order, _)) => vec![order],
            None => self.choices().filter_map(|choice| choice.order).collect(),
        }
    }

    pub(super) fn lookbacks(&self) -> Vec<usize> {
        self.choices().map(|choice| choice.lookback).collect()
    }

    fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.channels.iter().filter_map(|channel| channel.choice.as_ref())
    }
}

/// What members have a part in some steps.
#[derive(Debug)]
pub(super) struct BandWeights {
    /// From 1.
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) weights: BTreeMap<Member, f64>,
}

impl BandWeights {
    /// The weight of one.
    pub(super) fn of(&self, member: Member) -> f64 {
        self.weights.get(&member).copied().unwrap_or(0.0)
    }
}

/// Means of weights over choices of one horizon, by band.
pub(super) fn mean_weights<'a>(choices: impl Iterator<Item = &'a Choice>) -> Vec<BandWeights> {
    let mut bands = BTreeMap::<(usize, usize), (f64, BTreeMap<Member, f64>)>::new();
    for band in choices.flat_map(|choice| &choice.bands) {
        let (count, sums) = bands.entry((band.first, band.last)).or_default();
        *count += 1.0;
        for (member, weight) in &band.weights {
            *sums.entry(*member).or_default() += weight;
        }
    }
    let mean = |((first, last), (count, sums)): (_, (f64, BTreeMap<Member, f64>))| BandWeights {
        first,
        last,
        weights: sums.into_iter().map(|(member, sum)| (member, sum / count)).collect(),
    };
    bands.into_iter().map(mean).collect()
}

/// The forecast from the middle of the test part.
fn example(channel: &Samples, fitted: &Fitted, origins: Range<usize>, horizon: NonZeroUsize) -> Example {
    let (origin, horizon) = (origins.start + origins.len() / 2, horizon.get());
    let restored = |values: &[f64]| values.iter().map(|value| channel.standard.restored(*value)).collect();
    let widths = |half: &Vec<f64>| half.iter().map(|half| half * channel.standard.deviation).collect();
    Example {
        before: restored(&channel.values[origin - origin.min(2 * horizon)..origin]),
        truth: restored(&channel.values[origin..origin + horizon]),
        mean: restored(&fitted.map.forecast(&channel.values[..origin])),
        half_widths: fitted.half_widths.iter().map(widths).collect(),
    }
}

impl<T> Rivals<T> {
    pub(super) fn map<U>(&self, f: impl Fn(&T) -> U) -> Rivals<U> {
        Rivals {
            ours: f(&self.ours),
            random_walk: f(&self.random_walk),
            seasonal_naive: f(&self.seasonal_naive),
        }
    }
}

impl Rivals<StepErrors> {
    fn add(&mut self, other: &Self) {
        self.ours += &other.ours;
        self.random_walk += &other.random_walk;
        self.seasonal_naive += &other.seasonal_naive;
    }
}
