//! What a run leaves: the artifact with its page and pictures, in the folder that was asked for.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, bail};
use forecastd_models::dasha::artifact::ARTIFACT_FILES;
use forecastd_models::dasha::card::Card;

use super::pictures::{Kernels, Matrix, Rungs};
use super::readme::readme;
use super::run_folder::RunFolder;
use crate::cli::artifact;
use crate::cli::drawing::{Curves, Line, alone};

/// Adds page and pictures to the artifact in the run's folder, and copies all of it to `out`; its card comes last.
pub(super) fn publish(folder: &RunFolder, out: &Path, file: &Path) -> anyhow::Result<Card> {
    let made = folder.path().join("artifact");
    if !made.is_dir() {
        bail!("the run ended without an artifact in {}", made.display());
    }
    let found = artifact::open(&made)?;
    let card = found.card.with_context(|| format!("{}: no card", made.display()))?;
    let pictures = pictures(&card);
    let named: Vec<(&str, &str)> = pictures.iter().map(|picture| (picture.name, picture.shows)).collect();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    for picture in &pictures {
        put(out, picture.name, picture.svg.as_bytes())?;
    }
    put(out, "README.md", readme(&card, &name, &named).as_bytes())?;
    for name in ARTIFACT_FILES {
        copy(&made, out, name)?;
    }
    File::open(out)
        .and_then(|folder| folder.sync_all())
        .with_context(|| out.display().to_string())?;
    Ok(card)
}

struct Picture {
    name: &'static str,
    shows: &'static str,
    svg: String,
}

fn pictures(card: &Card) -> Vec<Picture> {
    let mut pictures = Vec::new();
    let mut add = |name, shows, svg| pictures.push(Picture { name, shows, svg });
    let kernels = Kernels {
        title: format!("Kernels of {}", card.architecture.name()),
        pattern: &card.architecture.pattern,
    };
    add("kernels.svg", "Chosen kernels", alone(&kernels));
    let metric = card.metric.name();
    if !card.trials.is_empty() {
        let rungs = Rungs {
            title: "Trials of hyper-parameters".to_owned(),
            score: metric,
            trials: &card.trials,
            rungs: &card.rungs,
            chosen: card.chosen.trial,
        };
        add("trials.svg", "Trials and rungs", alone(&rungs));
    }
    if !card.retrain.epochs.is_empty() {
        let (score, loss) = curves(card);
        add("score.svg", "Score by epoch", alone(&score));
        add("loss.svg", "Loss by epoch", alone(&loss));
    }
    let evaluation = card.test.as_ref().unwrap_or(&card.validation);
    if let Some(confusion) = &evaluation.confusion {
        let of = if card.test.is_some() { "test" } else { "validation" };
        let title = format!("What classes were taken for, on {of}");
        let labels = &card.data.labels;
        add(
            "confusion.svg",
            "What was taken for what",
            alone(&Matrix {
                title,
                confusion,
                labels,
            }),
        );
    }
    pictures
}

/// Score on validation and loss on training, epoch by epoch of the last training.
fn curves(card: &Card) -> (Curves, Curves) {
    let epochs = &card.retrain.epochs;
    let line = |name: &str, colour, dashes, values| Line {
        name: name.to_owned(),
        values,
        colour,
        dashes,
    };
    let mut scores = vec![line(
        "weights",
        "#6b6b6b",
        "",
        epochs.iter().map(|epoch| epoch.score).collect(),
    )];
    if epochs.iter().any(|epoch| epoch.averaged_score.is_some()) {
        let averaged = epochs.iter().map(|epoch| epoch.averaged_score.unwrap_or(f64::NAN));
        scores.push(line("average of weights", "#0b57a4", "", averaged.collect()));
    }
    let score = Curves {
        title: "Last training: score on validation".to_owned(),
        x: "epoch",
        y: card.metric.name(),
        base: None,
        lines: scores,
    };
    let losses = epochs.iter().map(|epoch| epoch.loss).collect();
    let loss = Curves {
        title: "Last training: mean loss".to_owned(),
        x: "epoch",
        y: "loss",
        base: Some(0.0),
        lines: vec![line("training", "#b04a00", "", losses)],
    };
    (score, loss)
}

/// What is said at the end.
pub(super) fn summary(card: &Card, out: &Path) -> String {
    let mut text = String::new();
    let score = |score: Option<&f64>| score.map_or("not defined".to_owned(), |score| format!("{score:.4}"));
    let validation = score(card.validation.scores.get(&card.metric));
    let test = match &card.test {
        Some(test) => format!("{} on test", score(test.scores.get(&card.metric))),
        None => "no test".to_owned(),
    };
    let name = card.architecture.name();
    let written = writeln!(
        text,
        "{name}, {} weights, kernels {}\n{}: {validation} on validation, {test}\n{}",
        card.parameters,
        card.architecture.pattern,
        card.metric.name(),
        out.join("README.md").display()
    );
    written.expect("a String takes everything");
    text
}

fn copy(from: &Path, out: &Path, name: &str) -> anyhow::Result<()> {
    let (path, partial) = (out.join(name), out.join(format!(".{name}.partial")));
    let copy = fs::copy(from.join(name), &partial)
        .and_then(|_| File::open(&partial)?.sync_all())
        .and_then(|()| fs::rename(&partial, &path));
    copy.with_context(|| format!("write {}", path.display()))
}

fn put(out: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = out.join(name);
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
}
