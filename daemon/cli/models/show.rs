//! `forecastd models show`: all that is known of one version, and what became of it.

use serde_json::json;

use super::{Known, Place, print, print_json, score, short, table};
use crate::message::model::rollback_target;

/// Show a version, and what became of it and why.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    place: Place,
    /// The model.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The version.
    #[arg(value_name = "VERSION", default_value = "active")]
    version: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let known = Known::of(&self.place, &self.model)?;
        let version = known.version(&self.version)?;
        let mut history = known.view.transitions(&self.model)?;
        history.retain(|transition| transition.version == version.version);
        let target = rollback_target(&known.versions).map(|target| target.version);
        if self.json {
            let value = json!({ "version": version, "history": history, "rollback_takes": target });
            return print_json(&value);
        }
        let (facts, architecture) = (&version.facts, &version.facts.description.architecture);
        let lines = [
            ("model", version.model.to_string()),
            ("version", version.version.to_string()),
            ("state", version.state.label().to_owned()),
            ("imported", version.imported.to_string()),
            ("files", format!("{}, {} bytes", version.folder.display(), facts.bytes)),
            ("task", format!("{:?}", architecture.task).to_lowercase()),
            ("network", architecture.backbone.name()),
            ("outputs", facts.description.labels.len().to_string()),
            ("metric", facts.metric.name().to_owned()),
            ("validation", score(facts.validation)),
            ("test", score(facts.test)),
            ("data", facts.data.clone()),
            ("rollback", format!("takes {}", short(target))),
        ];
        let lines: Vec<Vec<String>> = lines
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        let mut rows = vec![vec!["TIME".to_owned(), "STATE".to_owned(), "REASON".to_owned()]];
        rows.extend(history.into_iter().map(|transition| {
            vec![
                transition.time.to_string(),
                transition.state.label().to_owned(),
                transition.reason,
            ]
        }));
        print(&format!("{}\n{}", table(&lines), table(&rows)))
    }
}
