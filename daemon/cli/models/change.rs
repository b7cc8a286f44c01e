//! `forecastd models promote`, `rollback`, `remove`: by ourselves where no service runs, else by asking it.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use forecastd_models::dasha::{Verdict, challenge};
use serde::Serialize;
use serde_json::json;

use super::{Known, Place, print, print_json};
use crate::intake::request::{Asked, Standing};
use crate::message::content_key::ContentKey;
use crate::message::model::{ModelAct, ModelChange, ModelState, ModelVersion, rollback_target};
use crate::service::clock::now;
use crate::state::{StateError, Store, requests_folder};

/// How long the service may take for what it has at hand before it takes a request.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Let a version answer from now on, in the place of the active one.
#[derive(Debug, clap::Args)]
pub(super) struct Promote {
    #[command(flatten)]
    place: Place,
    /// The model.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The version.
    #[arg(value_name = "VERSION")]
    version: String,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Even if it takes other inputs, or gives other outputs, than the active one.
    #[arg(long)]
    force: bool,
}

/// Let the version answer again that did before the active one.
#[derive(Debug, clap::Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    place: Place,
    /// The model.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Remove the files of a version; what became of it stays on record.
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    #[command(flatten)]
    place: Place,
    /// The model.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The version.
    #[arg(value_name = "VERSION")]
    version: String,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Even if it is the one that a rollback would take.
    #[arg(long)]
    force: bool,
}

impl Promote {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let known = Known::of(&self.place, &self.model)?;
        let version = known.version(&self.version)?;
        let active = known.in_state(ModelState::Active);
        let verdict = challenge(version.contender(), active.map(ModelVersion::contender), 0.0);
        if let Verdict::Incomparable(reason) = &verdict
            && !self.force
        {
            bail!("model {}: {reason}; --force promotes it all the same", self.model);
        }
        let reason = format!("{}; {}", by_hand(self.reason.as_deref()), verdict.reason());
        let key = version.version;
        carry_out(&known.state_dir, &self.model, ModelAct::Promote(key), &reason)?;
        match self.json {
            true => told_as_json(&self.model, key, ModelState::Active, &reason),
            false => told(&self.model, key, "is active"),
        }
    }
}

impl Rollback {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let known = Known::of(&self.place, &self.model)?;
        let before = rollback_target(&known.versions).map(|target| target.version);
        let reason = format!("rolled back {}", by_hand(self.reason.as_deref()));
        carry_out(&known.state_dir, &self.model, ModelAct::Rollback, &reason)?;
        let before = match before {
            Some(key) => key,
            None => Known::of(&self.place, &self.model)?.version("active")?.version, // it has come to be since we looked
        };
        match self.json {
            true => told_as_json(&self.model, before, ModelState::Active, &reason),
            false => told(&self.model, before, "is active again"),
        }
    }
}

impl Remove {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let known = Known::of(&self.place, &self.model)?;
        let version = known.version(&self.version)?.version;
        let force = self.force;
        let act = ModelAct::Remove { version, force };
        let reason = format!("removed {}", by_hand(self.reason.as_deref()));
        carry_out(&known.state_dir, &self.model, act, &reason)?;
        match self.json {
            true => told_as_json(&self.model, version, ModelState::Removed, &reason),
            false => told(&self.model, version, "is removed"),
        }
    }
}

fn by_hand(reason: Option<&str>) -> String {
    reason.map_or("by hand".to_owned(), |reason| format!("by hand: {reason}"))
}

fn told(model: &str, version: ContentKey, what: &str) -> anyhow::Result<()> {
    print(&format!("model {model}: version {} {what}\n", version.short()))
}

/// What a version is now, and the reason as it was recorded.
fn told_as_json(model: &str, version: ContentKey, state: ModelState, reason: &str) -> anyhow::Result<()> {
    print_json(&json!({ "model": model, "version": version, "state": state, "reason": reason }))
}

/// The state has one writer: us if nobody else is, else the service.
fn carry_out(state_dir: &Path, model: &str, act: ModelAct, reason: &str) -> anyhow::Result<()> {
    let change = ModelChange {
        model: model.into(),
        act,
        reason: reason.to_owned(),
    };
    match Store::open(state_dir) {
        Ok(mut store) => Ok(store.change_model(&change, now())?),
        Err(StateError::Locked { pid, .. }) => ask(state_dir, &change, &pid),
        Err(error) => Err(error.into()),
    }
}

/// Has the service do something, and waits until it says that it has.
pub(super) fn ask(state_dir: &Path, wish: &impl Serialize, pid: &str) -> anyhow::Result<()> {
    let folder = requests_folder(state_dir);
    let asked = Asked::ask(&folder, wish).with_context(|| {
        format!(
            "forecastd (pid {pid}) runs, and it cannot be asked in {}",
            folder.display()
        )
    })?;
    let started = Instant::now();
    loop {
        let standing = asked.standing().with_context(|| folder.display().to_string())?;
        let is_late = started.elapsed() > PATIENCE;
        match standing {
            Standing::Answered(answer) if answer.done => return Ok(()),
            Standing::Answered(answer) => bail!("{}", answer.detail),
            Standing::Forgotten => {
                bail!("forecastd (pid {pid}) ended before it answered: see forecastd models show, and ask again")
            }
            Standing::Waiting if is_late && asked.withdraw() => bail!(
                "forecastd (pid {pid}) runs and did not take the request within {} s, busy perhaps with a large drop; \
                 nothing was changed",
                PATIENCE.as_secs()
            ),
            Standing::Taken if started.elapsed() > 2 * PATIENCE => {
                bail!("forecastd (pid {pid}) has taken the request and not answered yet: see forecastd models show")
            }
            Standing::Waiting | Standing::Taken => sleep(PAUSE),
        }
    }
}
