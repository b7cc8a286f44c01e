//! The page for people: what runs, what it has taken in, and what it expects. Plain HTML that a text browser reads,
//! with nothing loaded from anywhere.

mod models;

use std::fmt::{self, Write};
use std::sync::Arc;

use forecastd_models::{ChannelFit, Forecast, Timestamp};

use self::models::write_models;
use super::sparkline::{Sparkline, widest};
use crate::message::inference::Infer;
use crate::message::snapshot::{ChannelView, DatasetView, PredictionView, SampleView, Snapshot, StepAccuracy};
use crate::publish::exposition::{Exposition, Readiness};
use crate::publish::html::{Escaped, Figure};
use crate::publish::metrics::Metrics;

/// Channels of a dataset that are listed; the page says how many are not.
const CHANNELS: usize = 50;

/// Steps whose accuracy is listed, from the first; /metrics has all that are published.
const STEPS: usize = 6;

/// Classes of a dataset that are named.
const CLASSES: usize = 20;

/// Channels that are named for their anomaly scores.
const ANOMALIES: usize = 5;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>forecastd</title>
<style>
:root { --line: light-dark(#0b57a4, #8ec5ff); --rule: light-dark(#ddd, #444); --soft: light-dark(#595959, #a8a8a8);
  --good: light-dark(#1a7f37, #57c26f); --soon: light-dark(#9a6700, #e0b04a); --bad: light-dark(#b3261e, #ff8a80); }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p, caption { color: var(--soft); } a { color: var(--line); }
div { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--rule); padding: .3rem .7rem; text-align: left; vertical-align: middle; }
td.n, th.n { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
td.name { max-width: 24rem; overflow-wrap: anywhere; white-space: pre-wrap; }
table.top td { vertical-align: top; }
td.whole { white-space: nowrap; }
small, .off { color: var(--soft); }
.good::before, .soon::before, .bad::before { content: "\25CF"; margin-right: .35em; }
.good::before { color: var(--good); } .soon::before { color: var(--soon); } .bad::before { color: var(--bad); }
progress { width: 8rem; accent-color: var(--line); }
svg { display: block; }
polyline { fill: none; stroke: var(--line); stroke-width: 1.5; }
polygon { fill: var(--line); opacity: .18; }
</style>
</head>
<body>
"#;

/// The page as of `now`.
pub(super) fn page(exposition: &Exposition, infer: &dyn Infer, now: Timestamp) -> String {
    let mut html = HEAD.to_owned();
    write_page(&mut html, exposition, infer, now).expect("a String takes everything");
    html
}

fn write_page(html: &mut String, exposition: &Exposition, infer: &dyn Infer, now: Timestamp) -> fmt::Result {
    let (snapshot, metrics) = (exposition.snapshot(), exposition.metrics());
    write_status(html, &exposition.readiness(), metrics.started(), &snapshot, now)?;
    write_datasets(html, &exposition.readiness(), &snapshot, metrics, now)?;
    write_samples(html, &snapshot, metrics)?;
    write_models(html, &snapshot, infer, metrics, now)?;
    write_predictions(html, &snapshot)?;
    for view in &snapshot.datasets {
        write_channels(html, view)?;
    }
    html.write_str("</body>\n</html>\n")
}

fn write_status(
    html: &mut String,
    readiness: &Readiness,
    started: Timestamp,
    snapshot: &Snapshot,
    now: Timestamp,
) -> fmt::Result {
    let state = match readiness {
        Readiness::Starting { doing } => format!("starting: {doing}"),
        Readiness::Ready => "ready".to_owned(),
        Readiness::Stopping => "stopping".to_owned(),
    };
    writeln!(
        html,
        "<h1>forecastd</h1>\n<p>Version {} · {} · up {} · generation {}</p>\n\
         <p><a href=\"/metrics\">Metrics</a> · <a href=\"/-/healthy\">Health</a> · <a href=\"/-/ready\">Readiness</a> · \
         <a href=\"/api/openapi.json\">For programs</a></p>",
        env!("CARGO_PKG_VERSION"),
        Escaped(&state),
        Span::between(started, now),
        snapshot.generation,
    )
}

fn write_datasets(
    html: &mut String,
    readiness: &Readiness,
    snapshot: &Snapshot,
    metrics: &Metrics,
    now: Timestamp,
) -> fmt::Result {
    if snapshot.datasets.is_empty() && snapshot.samples.is_empty() {
        let serves_only = *readiness == Readiness::Ready && !snapshot.models.is_empty();
        return html.write_str(match serves_only {
            true => "<p>No datasets: this service answers requests for the models below.</p>\n",
            false => "<p>No dataset yet.</p>\n",
        });
    }
    if snapshot.datasets.is_empty() {
        return Ok(());
    }
    html.write_str(
        "<h2>Datasets</h2>\n<div><table>\n<tr><th>Dataset<th class=n>Channels<th class=n>Due<th>Newest sample\
         <th class=n>Files waiting<th class=n>Rows committed<th>Last error<th>Metrics</tr>\n",
    )?;
    for view in &snapshot.datasets {
        let name = Escaped(&view.config.name);
        let figures = metrics.figures(&view.config.name);
        writeln!(
            html,
            "<tr><td><a href=\"#{name}\">{name}</a><td class=n>{}<td class=n>{}<td>{}<td class=n>{}<td class=n>{}\
             <td class=name>{}<td><a href=\"/metrics?dataset={name}\">page</a></tr>",
            view.channels.len(),
            view.due,
            Newest { at: view.newest, now },
            view.files_waiting,
            figures.rows_committed,
            Escaped(figures.last_error.as_deref().unwrap_or("none")),
        )?;
    }
    html.write_str("</table></div>\n")?;
    for view in &snapshot.datasets {
        if let Some((model, held)) = view
            .network
            .as_ref()
            .and_then(|found| Some((&found.model, found.held.as_ref()?)))
        {
            let (name, model, held) = (Escaped(&view.config.name), Escaped(model), Escaped(held));
            writeln!(html, "<p>No network of {model} forecasts {name}: {held}.</p>")?;
        }
    }
    Ok(())
}

/// One line a dataset of tiles or sequences.
fn write_samples(html: &mut String, snapshot: &Snapshot, metrics: &Metrics) -> fmt::Result {
    if snapshot.samples.is_empty() {
        return Ok(());
    }
    html.write_str(
        "<h2>Tiles and sequences</h2>\n<div><table>\n<tr><th>Dataset<th class=n>With a label: training\
         <th class=n>Validation<th class=n>Test<th class=n>Without<th>Classes<th class=n>Files waiting\
         <th class=n>Rows committed<th>Last error<th>Metrics</tr>\n",
    )?;
    for view in &snapshot.samples {
        let name = Escaped(&view.config.name);
        let figures = metrics.figures(&view.config.name);
        let [training, validation, test] = view.labelled;
        write!(
            html,
            "<tr><td>{name}<td class=n>{training}<td class=n>{validation}<td class=n>{test}<td class=n>{}<td class=name>",
            view.unlabelled.iter().sum::<u64>(),
        )?;
        write_classes(html, view)?;
        writeln!(
            html,
            "<td class=n>{}<td class=n>{}<td class=name>{}<td><a href=\"/metrics?dataset={name}\">page</a></tr>",
            view.files_waiting,
            figures.rows_committed,
            Escaped(figures.last_error.as_deref().unwrap_or("none")),
        )?;
    }
    html.write_str("</table></div>\n")
}

/// One line a dataset whose samples a model predicts.
fn write_predictions(html: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let predicted = snapshot.samples.iter();
    let predicted: Vec<_> = predicted
        .filter_map(|view| Some((&view.config.name, view.predictions.as_ref()?)))
        .collect();
    if predicted.is_empty() {
        return Ok(());
    }
    html.write_str(
        "<h2>Predictions</h2>\n<div><table>\n<tr><th>Dataset<th>Model<th class=n>Waiting<th>Said of those without a label\
         <th>Worth, once labels came<th class=n>Drift</tr>\n",
    )?;
    for (dataset, view) in predicted {
        let (dataset, model) = (Escaped(dataset), Escaped(&view.model));
        write!(
            html,
            "<tr><td>{dataset}<td>{model}<td class=n>{}<td class=name>",
            view.waiting
        )?;
        match &view.held {
            Some(held) => write!(html, "nothing: {}", Escaped(held))?,
            None => write_counts(html, view.classes.iter().map(|(class, count)| (class, *count)))?,
        }
        html.write_str("<td>")?;
        write_worth(html, view)?;
        match view.drift {
            Some(drift) => writeln!(html, "<td class=n>{drift:.2}</tr>")?,
            None => writeln!(html, "<td class=n></tr>")?,
        }
    }
    html.write_str("</table></div>\n")
}

/// What predictions of the active version and of the one in its shadow were worth, and how often both say the same.
fn write_worth(html: &mut String, view: &PredictionView) -> fmt::Result {
    let mut separator = "";
    for live in &view.live {
        if let Some((measure, value)) = live.value {
            let (state, measure, scored) = (live.state.label(), measure.label(), live.scored);
            write!(html, "{separator}{state}: {measure} {value:.3} ({scored} scored)")?;
            separator = "; ";
        }
    }
    if let Some(share) = view.agreement.and_then(|agreement| agreement.share()) {
        write!(html, "{separator}they agree on {:.1} %", 100.0 * share)?;
    }
    Ok(())
}

/// Classes with their samples, in order of name.
fn write_classes(html: &mut String, view: &SampleView) -> fmt::Result {
    let classes = view.classes.iter();
    write_counts(html, classes.map(|(class, counts)| (class, counts.iter().sum())))
}

fn write_counts<'c>(html: &mut String, classes: impl ExactSizeIterator<Item = (&'c Arc<str>, u64)>) -> fmt::Result {
    let more = classes.len().saturating_sub(CLASSES);
    for (place, (class, count)) in classes.take(CLASSES).enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        write!(html, "{comma}{} {count}", Escaped(class))?;
    }
    match more {
        0 => Ok(()),
        more => write!(html, " and {more} more"),
    }
}

fn write_channels(html: &mut String, view: &DatasetView) -> fmt::Result {
    let name = Escaped(&view.config.name);
    writeln!(html, "<h2 id=\"{name}\">{name}</h2>")?;
    if view.channels.is_empty() {
        return html.write_str("<p>No channel yet: the folder has had no drop.</p>\n");
    }
    write_accuracy(html, view)?;
    write_anomalies(html, view)?;
    html.write_str(
        "<div><table>\n<tr><th>Channel<th>Cutoff<th>Model<th class=n>Next<th class=n>Interval\
         <th>Forecast</tr>\n",
    )?;
    for (channel, seen) in view.channels.iter().take(CHANNELS) {
        write!(html, "<tr><td class=name>{}", Escaped(channel))?;
        write_channel(html, seen)?;
        html.write_str("</tr>\n")?;
    }
    html.write_str("</table></div>\n")?;
    match view.channels.len().saturating_sub(CHANNELS) {
        0 => Ok(()),
        more => writeln!(
            html,
            "<p>{more} more channels are not shown here; /metrics has them.</p>"
        ),
    }
}

/// One line a dataset: what its forecasts of each step were worth.
fn write_accuracy(html: &mut String, view: &DatasetView) -> fmt::Result {
    let scored: Vec<&StepAccuracy> = view.accuracy.iter().filter(|step| step.scored > 0).collect();
    if scored.is_empty() {
        return html.write_str("<p>No forecast has met its truth yet.</p>\n");
    }
    html.write_str("<p>Lately")?;
    for (place, step) in scored.iter().take(STEPS).enumerate() {
        let separator = if place == 0 { ", " } else { "; " };
        write!(html, "{separator}step {}", step.step)?;
        if let Some(skill) = step.skill {
            write!(html, ": skill {skill:.2}")?;
        }
        for (level, share) in &step.coverage {
            write!(html, ", {} % held {:.1} %", level.percent(), share * 100.0)?;
        }
        write!(html, " ({} scored)", step.scored)?;
    }
    html.write_str(".</p>\n")
}

fn write_anomalies(html: &mut String, view: &DatasetView) -> fmt::Result {
    let scores = view
        .channels
        .iter()
        .filter_map(|(name, channel)| Some((name, channel.anomaly?)));
    let mut odd: Vec<_> = scores.filter(|(_, score)| *score > 1.0).collect();
    if odd.is_empty() {
        return Ok(());
    }
    odd.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    html.write_str("<p>Anomalous (score above 1): ")?;
    for (place, (name, score)) in odd.iter().take(ANOMALIES).enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        write!(html, "{separator}{} {score:.1}", Escaped(name))?;
    }
    match odd.len().saturating_sub(ANOMALIES) {
        0 => html.write_str("</p>\n"),
        more => writeln!(html, " and {more} more</p>"),
    }
}

fn write_channel(html: &mut String, seen: &ChannelView) -> fmt::Result {
    let failure = seen.failure.as_ref().map(ToString::to_string);
    let Some(fit) = &seen.fit else {
        let why = failure.as_deref().unwrap_or("not fitted yet");
        return write!(html, "<td><td class=name>{}<td><td><td>", Escaped(why));
    };
    let forecast = &fit.forecast;
    write!(html, "<td>{}<td>{}", forecast.cutoff(), Model(fit))?;
    if let Some(failure) = failure {
        write!(html, "; refit failed: {}", Escaped(&failure))?;
    }
    match forecast.mean.first() {
        Some(next) => write!(html, "<td class=n>{}", Figure(*next))?,
        None => html.write_str("<td>")?,
    }
    write!(
        html,
        "<td class=n>{}<td>{}",
        NextInterval(forecast),
        Sparkline(forecast)
    )
}

/// Methods that are named of a combination: the largest parts.
const PARTS: usize = 3;

/// A model in a few words.
struct Model<'f>(&'f ChannelFit);

impl fmt::Display for Model<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = &self.0.model;
        if let Some(fallback) = model.fallback {
            return write!(f, "fallback: {fallback}");
        }
        if let Some(choice) = &self.0.choice {
            let parts = choice.weights().into_iter().take(PARTS);
            for (place, (member, weight)) in parts.enumerate() {
                let comma = if place > 0 { ", " } else { "" };
                write!(f, "{comma}{:.0} % {member}", 100.0 * weight)?;
            }
            return Ok(());
        }
        write!(f, "AR({}), d = {}", model.order, model.num_diff)
    }
}

/// The widest interval of the first step.
struct NextInterval<'f>(&'f Forecast);

impl fmt::Display for NextInterval<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(interval) = widest(self.0) else {
            return f.write_str("none");
        };
        match (interval.lower.first(), interval.upper.first()) {
            (Some(lower), Some(upper)) => {
                let percent = interval.level.percent();
                write!(f, "{} to {} ({percent} %)", Figure(*lower), Figure(*upper))
            }
            _ => f.write_str("none"),
        }
    }
}

/// When a dataset's newest sample was, and how long ago.
struct Newest {
    at: Option<Timestamp>,
    now: Timestamp,
}

impl fmt::Display for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            None => f.write_str("none"),
            Some(at) if at > self.now => write!(f, "{at} ({} ahead)", Span::between(self.now, at)),
            Some(at) => write!(f, "{at} ({} ago)", Span::between(at, self.now)),
        }
    }
}

/// A length of time, in its largest unit.
struct Span {
    seconds: i64,
}

impl Span {
    fn between(from: Timestamp, to: Timestamp) -> Self {
        let seconds = to.0.saturating_sub(from.0) / 1_000_000_000;
        Self {
            seconds: seconds.max(0),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            seconds @ ..120 => write!(f, "{seconds} s"),
            seconds @ ..7_200 => write!(f, "{} min", seconds / 60),
            seconds @ ..172_800 => write!(f, "{} h", seconds / 3_600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_at_a_glance() {
        for (seconds, shown) in [
            (0, "0 s"),
            (119, "119 s"),
            (3600, "60 min"),
            (86_400, "24 h"),
            (259_200, "3 days"),
        ] {
            assert_eq!(Span { seconds }.to_string(), shown);
        }
    }
}
