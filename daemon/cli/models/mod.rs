//! `forecastd models`: the versions of models, what became of each and why, and what shall become of them.
//!
//! Reading always works, beside the service or without it. A change is the service's own to make while it runs: then it
//! is asked to (`change`).

mod change;
mod compare;
mod list;
mod show;
mod train;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use crate::message::content_key::ContentKey;
use crate::message::model::{ModelState, ModelVersion, named};
use crate::state::RegistryView;

/// See, compare, promote and roll back versions of models.
///
/// A version is named by its first digits, or as `active` or `shadow`. Beside the running service everything works:
/// what changes something is asked of it.
#[derive(Debug, clap::Args)]
pub(super) struct Models {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::List),
    Show(show::Show),
    Compare(compare::Compare),
    Promote(change::Promote),
    Rollback(change::Rollback),
    Remove(change::Remove),
    Train(train::Train),
}

impl Models {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.execute(),
            Command::Show(show) => show.execute(),
            Command::Compare(compare) => compare.execute(),
            Command::Promote(promote) => promote.execute(),
            Command::Rollback(rollback) => rollback.execute(),
            Command::Remove(remove) => remove.execute(),
            Command::Train(train) => train.execute(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the state lies.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The state folder itself.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Place {
    fn state_dir(&self) -> anyhow::Result<PathBuf> {
        match (&self.config, &self.state) {
            (Some(config), _) => Ok(super::read_config(config)?.state_dir),
            (None, Some(state)) => Ok(state.clone()),
            (None, None) => bail!("neither --config nor --state"),
        }
    }

    /// By how much a version of this model must be better, as far as the configuration says.
    fn margin(&self, model: &str) -> anyhow::Result<Option<f64>> {
        let Some(config) = &self.config else { return Ok(None) };
        let config = super::read_config(config)?;
        let found = config.models.iter().find(|known| *known.name == *model);
        Ok(found.map(|model| model.promotion.margin))
    }
}

/// A model, and all that is known of its versions.
#[derive(Debug)]
struct Known {
    state_dir: PathBuf,
    view: RegistryView,
    /// Those that were removed included.
    versions: Vec<ModelVersion>,
}

impl Known {
    /// The versions of one model.
    fn of(place: &Place, model: &str) -> anyhow::Result<Self> {
        let mut known = Self::all(place)?;
        known.versions.retain(|version| *version.model == *model);
        if known.versions.is_empty() {
            bail!("model {model}: there is no version of it; drop an artifact into its folder");
        }
        Ok(known)
    }

    fn all(place: &Place) -> anyhow::Result<Self> {
        let state_dir = place.state_dir()?;
        let view = RegistryView::open(&state_dir)?;
        let versions = view.models()?;
        Ok(Self {
            state_dir,
            view,
            versions,
        })
    }

    /// The version that a command line names.
    fn version(&self, name: &str) -> anyhow::Result<&ModelVersion> {
        let model = self.versions.first().map_or("", |version| &version.model);
        named(&self.versions, name).map_err(|wrong| anyhow!("model {model}: {wrong}"))
    }

    fn in_state(&self, state: ModelState) -> Option<&ModelVersion> {
        self.versions.iter().find(|version| version.state == state)
    }
}

/// Lines of cells, each column as wide as its widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            format!("{cell:<width$}")
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn score(score: Option<f64>) -> String {
    score.map_or("none".to_owned(), |score| format!("{score:.4}"))
}

/// What a version is, without its description.
fn summary(version: &ModelVersion) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(version)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("description");
    }
    Ok(value)
}

fn short(version: Option<ContentKey>) -> String {
    version.map_or("none".to_owned(), |version| version.short())
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("print to the standard output")
}
