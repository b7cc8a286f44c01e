//! The forecasts of a snapshot as samples, within a budget.
//!
//! Before them stands how good the forecasts of each dataset turned out to be, which takes from the same budget.
//!
//! A step is a label, not a timestamp: Prometheus refuses samples more than ten minutes ahead. No sample has a
//! timestamp, so a channel that is gone from the snapshot is gone at the next scrape.

use std::collections::BTreeMap;

use axum::body::Bytes;
use forecastd_models::{ChannelFit, Member};

use super::encoder::{Encoder, Kind, push_label};
use super::negotiate::Format;
use crate::message::snapshot::{DatasetView, Snapshot, StepAccuracy};

/// The forecasts of a page, rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForecastPart {
    pub(super) text: Bytes,
    /// Series that the budget kept off the page.
    pub(super) held_back: u64,
}

impl ForecastPart {
    /// The forecasts of all datasets, or of one, with at most `max_series` series.
    pub(super) fn render(snapshot: &Snapshot, format: Format, dataset: Option<&str>, max_series: usize) -> Self {
        let views = snapshot
            .datasets
            .iter()
            .filter(|view| dataset.is_none_or(|only| only == &*view.config.name));
        let mut budget = Budget::new(max_series);
        let scored: Vec<Scored<'_>> = budget.take(views.clone().map(Scored::new), Scored::series);
        let shown: Vec<Shown<'_>> = budget
            .take(views.flat_map(channels), Channel::series)
            .into_iter()
            .map(Shown::new)
            .collect();
        let mut encoder = Encoder::new(format);
        write_accuracy(&mut encoder, &scored);
        write_weights(&mut encoder, &scored);
        write_networks(&mut encoder, &scored);
        write_forecasts(&mut encoder, &shown);
        write_models(&mut encoder, &shown);
        write_anomalies(&mut encoder, &shown);
        let text = Bytes::from(encoder.finish(false));
        Self {
            text,
            held_back: budget.held_back,
        }
    }
}

/// A channel that has a forecast.
struct Channel<'s> {
    view: &'s DatasetView,
    name: &'s str,
    fit: &'s ChannelFit,
    anomaly: Option<f64>,
}

impl Channel<'_> {
    /// The configured steps that the forecast reaches.
    fn steps(&self) -> impl Iterator<Item = usize> {
        let horizon = self.fit.forecast.horizon();
        self.view
            .config
            .steps
            .iter()
            .copied()
            .filter(move |step| (1..=horizon).contains(step))
    }

    /// The samples that this channel puts on the page.
    fn series(&self) -> usize {
        let a_step = 1 + 2 * self.fit.forecast.intervals.len();
        let a_channel = 4 + usize::from(self.fit.model.fallback.is_some()) + usize::from(self.anomaly.is_some());
        self.steps().count() * a_step + a_channel
    }

    fn labels(&self) -> String {
        let mut labels = String::new();
        push_label(&mut labels, "dataset", &self.view.config.name);
        push_label(&mut labels, "channel", self.name);
        labels
    }
}

/// A channel on the page, its labels encoded once for all families.
struct Shown<'s> {
    channel: Channel<'s>,
    labels: String,
    /// One label value an interval.
    levels: Vec<String>,
}

fn channels(view: &DatasetView) -> impl Iterator<Item = Channel<'_>> {
    view.channels.iter().filter_map(move |(name, channel)| {
        let fit = channel.fit.as_deref()?;
        Some(Channel {
            view,
            name,
            fit,
            anomaly: channel.anomaly,
        })
    })
}

impl<'s> Shown<'s> {
    fn new(channel: Channel<'s>) -> Self {
        let intervals = channel.fit.forecast.intervals.iter();
        Self {
            labels: channel.labels(),
            levels: intervals.map(|interval| interval.level.to_string()).collect(),
            channel,
        }
    }
}

/// A dataset whose forecasts are scored.
struct Scored<'s> {
    view: &'s DatasetView,
    labels: String,
    /// What part each method has, over all channels and steps.
    weights: Vec<(&'static str, f64)>,
}

impl<'s> Scored<'s> {
    fn new(view: &'s DatasetView) -> Self {
        let mut labels = String::new();
        push_label(&mut labels, "dataset", &view.config.name);
        let weights = mean_weights(view);
        Self { view, labels, weights }
    }

    /// The samples that this dataset itself puts on the page.
    fn series(&self) -> usize {
        let measures = |step: &StepAccuracy| [step.mae, step.rmse, step.skill].into_iter().flatten().count();
        let a_step = |step: &StepAccuracy| 1 + measures(step) + step.coverage.len();
        let anomalies = usize::from(!self.view.accuracy.is_empty());
        self.view.accuracy.iter().map(a_step).sum::<usize>() + anomalies + self.weights.len()
    }
}

/// Series that there is room for on a page.
struct Budget {
    left: usize,
    held_back: u64,
}

impl Budget {
    fn new(max_series: usize) -> Self {
        Self {
            left: max_series,
            held_back: 0,
        }
    }

    /// What there is up to the first that does not fit; the others' series are counted. Nothing behind it is let in,
    /// however small: which channels are shown then changes only when one before them does.
    fn take<T>(&mut self, there_is: impl Iterator<Item = T>, series: impl Fn(&T) -> usize) -> Vec<T> {
        let mut taken = Vec::new();
        for one in there_is {
            let series = series(&one);
            if self.held_back > 0 || series > self.left {
                self.held_back += series as u64;
            } else {
                self.left -= series;
                taken.push(one);
            }
        }
        taken
    }
}

fn write_accuracy<'s>(encoder: &mut Encoder, scored: &'s [Scored<'_>]) {
    let steps_of =
        |Scored { view, labels, .. }: &'s Scored<'_>| view.accuracy.iter().map(|step| (labels.as_str(), step));
    let steps: Vec<(&str, &StepAccuracy)> = scored.iter().flat_map(steps_of).collect();
    let help = "Forecasts of this step that were held against a truth that came later.";
    let mut family = Family::new(encoder, "forecastd_forecasts_scored_total", Kind::Counter, help);
    for (labels, step) in &steps {
        family.step(labels, step.step, None, step.scored as f64);
    }
    let help = "Rolling error of this step's forecasts, mae or rmse, all channels together, each in units of its own mean \
                absolute change from one sample to the next.";
    let mut family = Family::new(encoder, "forecastd_forecast_error", Kind::Gauge, help);
    for (labels, step) in &steps {
        for (measure, error) in [("mae", step.mae), ("rmse", step.rmse)] {
            if let Some(error) = error {
                family.step(labels, step.step, Some(("measure", measure)), error);
            }
        }
    }
    let help = "1 less the rolling mean squared error of this step's forecasts over that of a random walk: at 0 they are no \
                better than the last value.";
    let mut family = Family::new(encoder, "forecastd_forecast_skill", Kind::Gauge, help);
    for (labels, step) in &steps {
        if let Some(skill) = step.skill {
            family.step(labels, step.step, None, skill);
        }
    }
    let help = "Rolling share of truths that fell within this step's interval; it should be near `level`.";
    let mut family = Family::new(encoder, "forecastd_forecast_coverage", Kind::Gauge, help);
    for (labels, step) in &steps {
        for (level, share) in &step.coverage {
            family.step(labels, step.step, Some(("level", &level.to_string())), *share);
        }
    }
    let help = "Rows whose anomaly score was above 1.";
    let mut family = Family::new(encoder, "forecastd_anomalies_total", Kind::Counter, help);
    for Scored { view, labels, .. } in scored.iter().filter(|scored| !scored.view.accuracy.is_empty()) {
        family.sample(labels, view.anomalies as f64);
    }
}

fn write_weights(encoder: &mut Encoder, scored: &[Scored<'_>]) {
    let help =
        "Part that a method has in the forecasts of a dataset, over all steps of the channels for which one is chosen.";
    let mut family = Family::new(encoder, "forecastd_method_weight", Kind::Gauge, help);
    for Scored { labels, weights, .. } in scored {
        for (member, weight) in weights {
            let mut labels = labels.clone();
            push_label(&mut labels, "member", member);
            family.sample(&labels, *weight);
        }
    }
}

fn write_networks(encoder: &mut Encoder, scored: &[Scored<'_>]) {
    let with_network = scored.iter().filter_map(|Scored { view, labels, .. }| {
        let network = view.network.as_ref()?;
        let mut labels = labels.clone();
        push_label(&mut labels, "model", &network.model);
        Some((view, labels, network))
    });
    let with_network: Vec<_> = with_network.collect();
    let help =
        "Channels whose forecast is that of a network of this model, which was found to be better than the others.";
    let mut family = Family::new(encoder, "forecastd_network_channels", Kind::Gauge, help);
    for (view, labels, _) in &with_network {
        let fits = view.channels.values().filter_map(|channel| channel.fit.as_ref());
        family.sample(labels, fits.filter(|fit| fit.network.is_some()).count() as f64);
    }
    let help = "1 where the model's active version cannot forecast this dataset; the page says why.";
    let mut family = Family::new(encoder, "forecastd_network_held", Kind::Gauge, help);
    for (_, labels, network) in &with_network {
        family.sample(labels, f64::from(u8::from(network.held.is_some())));
    }
}

fn mean_weights(view: &DatasetView) -> Vec<(&'static str, f64)> {
    let fits = view.channels.values().filter_map(|channel| channel.fit.as_ref());
    let (mut sums, mut networks, mut count) = (BTreeMap::<Member, f64>::new(), 0.0, 0.0);
    for fit in fits {
        let Some(choice) = &fit.choice else { continue };
        count += 1.0;
        if fit.network.is_some() {
            networks += 1.0;
            continue;
        }
        for (member, weight) in choice.weights() {
            *sums.entry(member).or_default() += weight;
        }
    }
    let networks = (networks > 0.0).then_some(("dasha", networks));
    let sums = sums.into_iter().map(|(member, sum)| (member.name(), sum));
    sums.chain(networks)
        .map(|(member, sum)| (member, sum / count))
        .collect()
}

fn write_anomalies(encoder: &mut Encoder, shown: &[Shown<'_>]) {
    let help = "How far the rows that came last are from what was expected of them, by the farthest of them and the \
                channel's own measure; up to 1 is normal.";
    let mut family = Family::new(encoder, "forecastd_anomaly_score", Kind::Gauge, help);
    for Shown { channel, labels, .. } in shown {
        if let Some(score) = channel.anomaly {
            family.sample(labels, score);
        }
    }
}

fn write_forecasts(encoder: &mut Encoder, shown: &[Shown<'_>]) {
    if shown.iter().any(|shown| shown.channel.steps().next().is_some()) {
        let help = "Expected value of a channel, this many steps after its cutoff.";
        encoder.family("forecastd_forecast", Kind::Gauge, help);
        for Shown { channel, labels, .. } in shown {
            for step in channel.steps() {
                let mean = channel.fit.forecast.mean[step - 1];
                encoder.step("forecastd_forecast", labels, step, None, mean);
            }
        }
    }
    let lower = "Lower bound of the interval that holds the value with the probability `level`.";
    write_bounds(encoder, shown, "forecastd_forecast_lower", lower, Bound::Lower);
    let upper = "Upper bound of the interval that holds the value with the probability `level`.";
    write_bounds(encoder, shown, "forecastd_forecast_upper", upper, Bound::Upper);
}

#[derive(Clone, Copy)]
enum Bound {
    Lower,
    Upper,
}

fn write_bounds(encoder: &mut Encoder, shown: &[Shown<'_>], name: &str, help: &str, bound: Bound) {
    let bounded = |shown: &Shown<'_>| !shown.levels.is_empty() && shown.channel.steps().next().is_some();
    if !shown.iter().any(bounded) {
        return;
    }
    encoder.family(name, Kind::Gauge, help);
    for Shown {
        channel,
        labels,
        levels,
    } in shown
    {
        for step in channel.steps() {
            for (interval, level) in channel.fit.forecast.intervals.iter().zip(levels) {
                let bounds = match bound {
                    Bound::Lower => &interval.lower,
                    Bound::Upper => &interval.upper,
                };
                encoder.step(name, labels, step, Some(("level", level)), bounds[step - 1]);
            }
        }
    }
}

fn write_models(encoder: &mut Encoder, shown: &[Shown<'_>]) {
    let mut family = |name: &str, help: &str, value: fn(&ChannelFit) -> f64| {
        if !shown.is_empty() {
            encoder.family(name, Kind::Gauge, help);
        }
        for Shown { channel, labels, .. } in shown {
            encoder.sample(name, labels, value(channel.fit));
        }
    };
    family(
        "forecastd_forecast_cutoff_timestamp_seconds",
        "Time of the newest sample that the forecast has seen.",
        |fit| fit.forecast.cutoff().as_seconds(),
    );
    family(
        "forecastd_model_order",
        "Lags of the channel's auto-regression.",
        |fit| fit.model.order as f64,
    );
    family(
        "forecastd_model_differences",
        "Times the channel was differenced before its auto-regression.",
        |fit| fit.model.num_diff as f64,
    );
    write_methods(encoder, shown);
    write_fallbacks(encoder, shown);
}

fn write_methods(encoder: &mut Encoder, shown: &[Shown<'_>]) {
    let help = "1. How the channel is forecast: the method asked for, and what has the largest part in it.";
    let mut family = Family::new(encoder, "forecastd_model_info", Kind::Gauge, help);
    for Shown { channel, labels, .. } in shown {
        let mut labels = labels.clone();
        push_label(&mut labels, "method", channel.view.config.method_name());
        push_label(&mut labels, "leading", channel.fit.leading());
        family.sample(&labels, 1.0);
    }
}

fn write_fallbacks(encoder: &mut Encoder, shown: &[Shown<'_>]) {
    let mut family = Family::new(
        encoder,
        "forecastd_model_fallback",
        Kind::Gauge,
        "1 where a simpler model stands in for Auto-AR.",
    );
    for Shown { channel, labels, .. } in shown {
        if let Some(reason) = channel.fit.model.fallback {
            let mut labels = labels.clone();
            push_label(&mut labels, "reason", &reason.to_string());
            family.sample(&labels, 1.0);
        }
    }
}

/// A family that begins with its first sample: one without any is not on the page.
struct Family<'e> {
    encoder: &'e mut Encoder,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    begun: bool,
}

impl<'e> Family<'e> {
    fn new(encoder: &'e mut Encoder, name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            encoder,
            name,
            kind,
            help,
            begun: false,
        }
    }

    fn sample(&mut self, labels: &str, value: f64) {
        self.begin();
        self.encoder.sample(self.name, labels, value);
    }

    fn step(&mut self, labels: &str, step: usize, more: Option<(&str, &str)>, value: f64) {
        self.begin();
        self.encoder.step(self.name, labels, step, more, value);
    }

    fn begin(&mut self) {
        if !self.begun {
            self.encoder.family(self.name, self.kind, self.help);
            self.begun = true;
        }
    }
}
