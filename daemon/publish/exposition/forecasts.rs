//! The forecasts of a snapshot as samples, within a budget.
//!
//! A step is a label, not a timestamp: Prometheus refuses samples more than ten minutes ahead. No sample has a
//! timestamp, so a channel that is gone from the snapshot is gone at the next scrape.

use axum::body::Bytes;
use forecastd_models::{ChannelFit, Fallback};

use super::encoder::{Encoder, Kind, push_label};
use super::negotiate::Format;
use crate::message::snapshot::{DatasetView, Snapshot};

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
        let (shown, held_back) = within_budget(views.flat_map(channels), max_series);
        let mut encoder = Encoder::new(format);
        write_forecasts(&mut encoder, &shown);
        write_models(&mut encoder, &shown);
        let text = Bytes::from(encoder.finish(false));
        Self { text, held_back }
    }
}

/// A channel that has a forecast.
struct Channel<'s> {
    view: &'s DatasetView,
    name: &'s str,
    fit: &'s ChannelFit,
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
        let a_channel = 3 + usize::from(self.fit.model.fallback.is_some());
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
        Some(Channel { view, name, fit })
    })
}

/// The channels up to the first that does not fit, and the series of the others. Nothing behind it is let in, however
/// small: which channels are shown then changes only when one before them does.
fn within_budget<'s>(channels: impl Iterator<Item = Channel<'s>>, max_series: usize) -> (Vec<Shown<'s>>, u64) {
    let (mut shown, mut left, mut held_back) = (Vec::new(), max_series, 0);
    for channel in channels {
        let series = channel.series();
        if held_back > 0 || series > left {
            held_back += series as u64;
            continue;
        }
        left -= series;
        let intervals = channel.fit.forecast.intervals.iter();
        shown.push(Shown {
            labels: channel.labels(),
            levels: intervals.map(|interval| interval.level.to_string()).collect(),
            channel,
        });
    }
    (shown, held_back)
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
                encoder.step(name, labels, step, Some(level), bounds[step - 1]);
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
    write_fallbacks(encoder, shown);
}

fn write_fallbacks(encoder: &mut Encoder, shown: &[Shown<'_>]) {
    const NAME: &str = "forecastd_model_fallback";
    let fallback = |shown: &Shown<'_>| -> Option<Fallback> { shown.channel.fit.model.fallback };
    let mut begun = false;
    for (channel, reason) in shown.iter().filter_map(|shown| Some((shown, fallback(shown)?))) {
        if !begun {
            encoder.family(NAME, Kind::Gauge, "1 where a simpler model stands in for Auto-AR.");
            begun = true;
        }
        let mut labels = channel.labels.clone();
        push_label(&mut labels, "reason", &reason.to_string());
        encoder.sample(NAME, &labels, 1.0);
    }
}
