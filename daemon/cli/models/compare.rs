//! `forecastd models compare`: one version against another, and what the rule of promotion says.

use serde_json::json;

use super::{Known, Place, print, print_json, score, summary, table};
use crate::message::model::Comparison;

/// Hold a version against another, by the rule by which one takes the other's place.
#[derive(Debug, clap::Args)]
pub(super) struct Compare {
    #[command(flatten)]
    place: Place,
    /// The model.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The version.
    #[arg(value_name = "VERSION")]
    version: String,
    /// What it is held against.
    #[arg(value_name = "OTHER", default_value = "active")]
    other: String,
    /// By how much it must be better [default: what the configuration says, or 0].
    #[arg(long, value_name = "SCORE")]
    margin: Option<f64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let known = Known::of(&self.place, &self.model)?;
        let (version, other) = (known.version(&self.version)?, known.version(&self.other)?);
        let margin = match self.margin {
            Some(margin) => margin,
            None => self.place.margin(&self.model)?.unwrap_or(0.0),
        };
        let comparison = Comparison::of(version, other, margin);
        if self.json {
            let mut value = json!(comparison);
            value["version"] = summary(version)?;
            value["other"] = summary(other)?;
            return print_json(&value);
        }
        let columns = [version, other];
        let row = |name: &str, cells: [String; 2]| [vec![name.to_owned()], cells.to_vec()].concat();
        let rows = [
            row("version", columns.map(|version| version.version.short())),
            row("state", columns.map(|version| version.state.label().to_owned())),
            row("imported", columns.map(|version| version.imported.to_string())),
            row(
                "network",
                columns.map(|version| version.facts.description.architecture.backbone.name()),
            ),
            row("metric", columns.map(|version| version.facts.metric.name().to_owned())),
            row("validation", columns.map(|version| score(version.facts.validation))),
            row("test", columns.map(|version| score(version.facts.test))),
            row("bytes", columns.map(|version| version.facts.bytes.to_string())),
        ];
        let word = match (comparison.comparable, comparison.better) {
            (false, _) => "not comparable",
            (true, true) => "better",
            (true, false) => "not better",
        };
        let reason = comparison.reason;
        print(&format!("{}{word}: {reason}\n", table(&rows)))
    }
}
