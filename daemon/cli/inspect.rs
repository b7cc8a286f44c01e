//! `forecastd inspect`: what a network is, and whether its files are whole.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use forecastd_models::dasha::ElementType;
use serde_json::json;

use super::artifact::{self, Artifact};

/// Say what a network is and how good, and check that its files are whole.
///
/// Sums, description, and every weight are checked, without libtorch; nothing in the folder is executed.
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The folder that `forecastd dasha` wrote.
    #[arg(value_name = "ARTIFACT")]
    artifact: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Labels that are printed.
const LISTED: usize = 20;

impl Inspect {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let artifact = artifact::open(&self.artifact)?;
        let text = if self.json {
            let Artifact {
                description,
                card,
                tensors,
                numbers,
            } = &artifact;
            format!(
                "{}\n",
                json!({ "model": description, "card": card, "tensors": tensors, "numbers": numbers })
            )
        } else {
            told(&artifact)
        };
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("print to the standard output")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn told(artifact: &Artifact) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let description = &artifact.description;
    let architecture = &description.architecture;
    let shape = std::iter::once(&architecture.input.bands).chain(&architecture.input.size);
    let shape: Vec<String> = shape.map(u32::to_string).collect();
    let element = match &description.element {
        ElementType::Symbol { alphabet } => format!("letters of {alphabet}"),
        other => format!("{other:?}").to_lowercase(),
    };
    lines.push(("task", format!("{:?}", architecture.task).to_lowercase()));
    lines.push(("network", architecture.name()));
    lines.push(("kernels", architecture.pattern.to_string()));
    lines.push(("input", format!("{} of {element}", shape.join(","))));
    lines.push(("outputs", listed(&description.labels)));
    lines.push(("tensors", format!("{}, {} numbers", artifact.tensors, artifact.numbers)));
    match &artifact.card {
        None => lines.push(("card", "of another version; its sum is right".to_owned())),
        Some(card) => {
            let score = |scores: &std::collections::BTreeMap<_, f64>| {
                scores
                    .get(&card.metric)
                    .map_or("not defined".to_owned(), |score| format!("{score:.4}"))
            };
            let test = card.test.as_ref().map_or("none".to_owned(), |test| score(&test.scores));
            lines.push(("metric", card.metric.name().to_owned()));
            lines.push(("validation", score(&card.validation.scores)));
            lines.push(("test", test));
            let data = &card.data;
            let counts = format!(
                "{} train, {} validation, {} test",
                data.train, data.validation, data.test
            );
            lines.push(("data", format!("{counts}; BLAKE3 {}", data.hash)));
            lines.push((
                "wall time",
                format!("{:.0} s on {}", card.seconds.total(), card.environment.device),
            ));
        }
    }
    let mut text = String::new();
    for (name, value) in lines {
        writeln!(text, "{name:<11}{value}").expect("a String takes everything");
    }
    text.push_str("all sums are right, all weights are finite\n");
    text
}

fn listed(labels: &[String]) -> String {
    let shown: Vec<&str> = labels.iter().take(LISTED).map(String::as_str).collect();
    let more = labels.len() - shown.len();
    match more {
        0 => format!("{}: {}", labels.len(), shown.join(", ")),
        more => format!("{}: {} and {more} more", labels.len(), shown.join(", ")),
    }
}
