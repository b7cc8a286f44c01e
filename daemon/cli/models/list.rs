//! `forecastd models list`: which versions there are.

use serde_json::Value;

use super::{Known, Place, print, print_json, score, summary, table};
use crate::message::model::ModelState;

/// List the versions of a model, or of all.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// Of this model only.
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Those that were removed too.
    #[arg(long)]
    all: bool,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let mut versions = match &self.model {
            Some(model) => Known::of(&self.place, model)?.versions,
            None => Known::all(&self.place)?.versions,
        };
        versions.retain(|version| self.all || version.state != ModelState::Removed);
        versions.sort_by(|a, b| a.model.cmp(&b.model)); // stable: of one model in the order in which they came
        if self.json {
            let versions: Vec<Value> = versions.iter().map(summary).collect::<Result<_, _>>()?;
            return print_json(&versions);
        }
        let head = [
            "MODEL",
            "VERSION",
            "STATE",
            "SINCE",
            "METRIC",
            "VALIDATION",
            "TEST",
            "BYTES",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(versions.iter().map(|version| {
            vec![
                version.model.to_string(),
                version.version.short(),
                version.state.label().to_owned(),
                version.since.to_string(),
                version.facts.metric.name().to_owned(),
                score(version.facts.validation),
                score(version.facts.test),
                version.facts.bytes.to_string(),
            ]
        }));
        print(&table(&rows))
    }
}
