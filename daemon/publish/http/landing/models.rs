//! What the page for people says of models: which version answers and how good it is, what stands beside it, and what is
//! being trained.

use std::fmt::{self, Write};

use forecastd_models::Timestamp;

use super::Span;
use crate::message::inference::{Infer, InferenceCounts, ServedModel, VersionState};
use crate::message::model::{ModelState, ModelVersion};
use crate::message::snapshot::{ModelView, Snapshot};
use crate::message::training::{TrainingProgress, TrainingStage, TrainingView};
use crate::publish::html::Escaped;
use crate::publish::metrics::Metrics;

/// States whose versions are counted; those of the active one and its shadow are shown.
const COUNTED: [(ModelState, &str, &str); 3] = [
    (ModelState::Candidate, "candidate", "candidates"),
    (ModelState::Retired, "retired", "retired"),
    (ModelState::Refused, "refused", "refused"),
];

/// One line a model.
pub(super) fn write_models(
    html: &mut String,
    snapshot: &Snapshot,
    infer: &dyn Infer,
    metrics: &Metrics,
    now: Timestamp,
) -> fmt::Result {
    if snapshot.models.is_empty() {
        return Ok(());
    }
    let (served, counts) = (infer.served(), infer.counts());
    html.write_str(
        "<h2>Models</h2>\n<div><table class=top>\n<tr><th>Model<th>Answers<th>Active version<th>In its shadow<th>Others\
         <th>Training</tr>\n",
    )?;
    for view in &snapshot.models {
        write!(html, "<tr><td>{}<td class=name>", Escaped(&view.model))?;
        write_serving(html, view, &served, &counts)?;
        for version in [view.active(), view.shadow()] {
            html.write_str("<td class=whole>")?;
            write_version(html, version, now)?;
        }
        html.write_str("<td class=whole>")?;
        write_others(html, &view.versions)?;
        html.write_str("<td class=name>")?;
        let training = snapshot.trainings.iter().find(|training| training.model == view.model);
        match training {
            Some(training) => write_training(html, training, metrics.training_progress(&view.model), now)?,
            None => html.write_str("<span class=off>not by the daemon</span>")?,
        }
        html.write_str("</tr>\n")?;
    }
    html.write_str("</table></div>\n")?;
    if counts.child.onednn == Some(false) {
        html.write_str(
            "<p>Networks answer without oneDNN, which takes about twice as long: memory that was written may not be \
             executed here. Of systemd it is MemoryDenyWriteExecute, and libtorch.conf.example lifts it.</p>\n",
        )?;
    }
    Ok(())
}

/// Whether requests are answered by the active version, and how many were answered so far.
fn write_serving(html: &mut String, view: &ModelView, served: &[ServedModel], counts: &InferenceCounts) -> fmt::Result {
    let Some(active) = view.active() else {
        return html.write_str("<span class=off>nobody: no version is active</span>");
    };
    let key = active.version.to_string();
    let model = served.iter().find(|model| model.name == view.model);
    let answering = model.and_then(|model| model.active.as_deref());
    let state = model.and_then(|model| {
        let version = model.versions.iter().rev().find(|version| *version.version == *key);
        version.map(|version| &version.state)
    });
    match state {
        Some(VersionState::Ready) if answering == Some(&*key) => html.write_str("<span class=good>yes</span>")?,
        Some(VersionState::Ready | VersionState::Loading) => {
            html.write_str("<span class=soon>is being loaded</span>")?
        }
        Some(VersionState::Refused { reason }) => write!(html, "<span class=bad>no: {}</span>", Escaped(reason))?,
        Some(VersionState::Draining) | None => html.write_str("<span class=bad>no: it is not loaded</span>")?,
    }
    if let Some(other) = answering.filter(|answering| *answering != key) {
        write!(
            html,
            "; version {} answers meanwhile",
            Escaped(other.get(..8).unwrap_or(other))
        )?;
    }
    match counts.models.get(&view.model) {
        Some(counts) if counts.requests > 0 => {
            let (answered, requests) = (counts.answered, counts.requests);
            write!(html, "<br><small>{answered} of {requests} requests answered</small>")
        }
        _ => Ok(()),
    }
}

fn write_version(html: &mut String, version: Option<&ModelVersion>, now: Timestamp) -> fmt::Result {
    let Some(version) = version else {
        return html.write_str("<span class=off>none</span>");
    };
    let facts = &version.facts;
    match facts.validation {
        Some(score) => write!(html, "<b>{score:.4}</b> {}", Escaped(facts.metric.name()))?,
        None => html.write_str("no score")?,
    }
    write!(html, "<br><small>{}", version.version.short())?;
    if let Some(test) = facts.test {
        write!(html, " · test {test:.4}")?;
    }
    write!(html, " · for {}</small>", Span::between(version.since, now))
}

fn write_others(html: &mut String, versions: &[ModelVersion]) -> fmt::Result {
    let mut separator = "";
    for (state, one, several) in COUNTED {
        let count = versions.iter().filter(|version| version.state == state).count();
        if count > 0 {
            let word = if count == 1 { one } else { several };
            write!(html, "{separator}{count} {word}")?;
            separator = "<br>";
        }
    }
    match separator {
        "" => html.write_str("<span class=off>none</span>"),
        _ => Ok(()),
    }
}

fn write_training(
    html: &mut String,
    view: &TrainingView,
    progress: Option<TrainingProgress>,
    now: Timestamp,
) -> fmt::Result {
    if let Some(under_way) = &view.under_way {
        match progress {
            Some(progress) => write_progress(html, &progress)?,
            None => html.write_str("<span class=soon>begins</span>")?,
        }
        let (since, why) = (Span::between(under_way.begun, now), Escaped(&under_way.words));
        return write!(html, "<br><small>for {since}: {why}</small>");
    }
    if let Some(obstacle) = view.obstacle {
        return write!(
            html,
            "<span class=bad>due, but {}</span>",
            Escaped(&obstacle.to_string())
        );
    }
    if let Some((time, failure)) = &view.failed {
        let (ago, why) = (Span::between(*time, now), Escaped(&failure.detail));
        return write!(html, "<span class=bad>the last one failed {ago} ago: {why}</span>");
    }
    match view.succeeded {
        Some(time) => write!(html, "not now; last done {} ago", Span::between(time, now)),
        None => html.write_str("<span class=off>none so far</span>"),
    }
}

fn write_progress(html: &mut String, progress: &TrainingProgress) -> fmt::Result {
    let TrainingProgress { done, of, best, .. } = progress;
    let (what, unit) = match progress.stage {
        TrainingStage::Samples => ("lays out samples", None),
        TrainingStage::Search => ("searches for kernels", Some("epoch")),
        TrainingStage::Trials => ("tries hyper-parameters", Some("trial")),
        TrainingStage::Retrain => ("trains the network", Some("epoch")),
    };
    write!(html, "<span class=soon>{what}</span>")?;
    if let Some(unit) = unit.filter(|_| *of > 0) {
        write!(
            html,
            "<br><progress value={done} max={of}></progress> {unit} {done} of {of}"
        )?;
    }
    if let Some(best) = best {
        write!(html, "<br>best score so far {best:.4}")?;
    }
    let left = Span {
        seconds: progress.seconds_left as i64,
    };
    match left.seconds {
        ..=0 => Ok(()),
        _ => write!(html, "<br>{left} left"),
    }
}
