//! Versions of models: what is known of one, what may become of it, and how somebody asks for that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use forecastd_config::ModelName;
use forecastd_models::Timestamp;
use forecastd_models::dasha::{Contender, Metric, ModelDescription, Verdict, challenge};
use serde::{Deserialize, Serialize};

use super::content_key::ContentKey;
use super::landed_file::LandedFile;
use super::rejected::{ArtifactFault, Rejected};
use super::training::{Training, TrainingNote};

/// What a version is to its model. At most one is active, at most one in the shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// Nobody has judged it yet.
    Candidate,
    /// It answers beside the active one, unheard.
    Shadow,
    /// It answers.
    Active,
    /// It was active, or in the shadow, and is no more.
    Retired,
    /// It was held against the active one, and was not better.
    Refused,
    /// Its files are gone; what is known of it stays.
    Removed,
}

impl ModelState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Candidate,
        Self::Shadow,
        Self::Active,
        Self::Retired,
        Self::Refused,
        Self::Removed,
    ];

    /// Its name in metrics and in the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Shadow => "shadow",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Refused => "refused",
            Self::Removed => "removed",
        }
    }
}

/// What an artifact says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelFacts {
    /// Bytes of its files.
    pub bytes: u64,
    /// By what it was chosen.
    pub metric: Metric,
    /// By that, on validation.
    pub validation: Option<f64>,
    /// By that, on test.
    pub test: Option<f64>,
    /// BLAKE3 of the data that it was trained on.
    pub data: String,
    /// What it takes and gives.
    pub description: ModelDescription,
}

/// One version of a model, immutable but for its state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelVersion {
    /// Whose.
    pub model: ModelName,
    /// Which: its content.
    pub version: ContentKey,
    /// What it is to its model.
    pub state: ModelState,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// When it came.
    pub imported: Timestamp,
    /// Its place among the promotions that stand, the latest highest: what a rollback goes back along.
    pub promotion: Option<i64>,
    /// Where its files lie; they do not change.
    pub folder: PathBuf,
    /// What it says of itself.
    #[serde(flatten)]
    pub facts: Arc<ModelFacts>,
}

impl ModelVersion {
    /// Its model and its content.
    pub fn name(&self) -> VersionName {
        (ModelName::clone(&self.model), self.version)
    }

    /// As the rule of promotion sees it.
    pub fn contender(&self) -> Contender<'_> {
        Contender {
            description: &self.facts.description,
            metric: self.facts.metric,
            score: self.facts.validation,
            data: &self.facts.data,
            live: None,
        }
    }
}

/// A version held against another, by the rule by which one takes the other's place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// By how much it must be better.
    pub margin: f64,
    /// Whether it is, by that much.
    pub better: bool,
    /// Whether that can be said at all.
    pub comparable: bool,
    /// Why.
    pub reason: String,
}

impl Comparison {
    /// What the rule says of the two.
    pub fn of(version: &ModelVersion, other: &ModelVersion, margin: f64) -> Self {
        let verdict = challenge(version.contender(), Some(other.contender()), margin);
        Self {
            margin,
            better: matches!(verdict, Verdict::Better(_)),
            comparable: !matches!(verdict, Verdict::Incomparable(_)),
            // The rule speaks of the active version; here it may be any.
            reason: verdict.reason().replace("active version", "other version"),
        }
    }
}

/// Digits that name a version, at least.
pub const FEWEST_DIGITS: usize = 4;

/// The version that somebody names by its first digits, or as `active` or `shadow`. `versions` are of one model.
///
/// # Errors
/// A sentence, when it is none or several.
pub fn named<'a>(versions: &'a [ModelVersion], name: &str) -> Result<&'a ModelVersion, String> {
    let by_state = match name {
        "active" => Some(ModelState::Active),
        "shadow" => Some(ModelState::Shadow),
        _ => None,
    };
    if let Some(state) = by_state {
        let found = versions.iter().find(|version| version.state == state);
        return found.ok_or_else(|| format!("no version is {}", state.label()));
    }
    if name.len() < FEWEST_DIGITS {
        return Err(format!("{name:?}: at least {FEWEST_DIGITS} digits name a version"));
    }
    let digits = name.to_ascii_lowercase();
    let mut found = versions
        .iter()
        .filter(|version| version.version.to_string().starts_with(&digits));
    match (found.next(), found.next()) {
        (Some(version), None) => Ok(version),
        (Some(_), Some(_)) => Err(format!("several versions begin with {name}")),
        (None, _) => Err(format!("no version begins with {name}; see forecastd models list")),
    }
}

/// The version that was active before the active one: what a rollback takes. `versions` are of one model.
pub fn rollback_target(versions: &[ModelVersion]) -> Option<&ModelVersion> {
    let active = versions.iter().find(|version| version.state == ModelState::Active)?;
    let before = versions.iter().filter(|version| version.promotion < active.promotion);
    before
        .filter(|version| version.promotion.is_some())
        .max_by_key(|version| version.promotion)
}

/// One change of a version's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelTransition {
    /// Which version.
    pub version: ContentKey,
    /// What it became.
    pub state: ModelState,
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: String,
}

/// Something that is to become of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelChange {
    /// Of this model.
    pub model: ModelName,
    /// What is to be done.
    pub act: ModelAct,
    /// Why.
    pub reason: String,
}

/// What somebody may ask of a running daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModelWish {
    /// This is to become of a version.
    Change(ModelChange),
    /// A network is to be trained.
    Train(TrainWish),
}

/// A training that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainWish {
    /// Of this model.
    pub train: ModelName,
}

/// What is to be done with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelAct {
    /// It becomes active, in the place of the one that is.
    Promote(ContentKey),
    /// It goes into the shadow, in the place of the one that is there.
    Shadow(ContentKey),
    /// It is not to become active by itself.
    Refuse(ContentKey),
    /// The version that was active before becomes active again.
    Rollback,
    /// Its files go. Not those of the active version; those that a rollback would take only with `force`.
    Remove {
        /// Which.
        version: ContentKey,
        /// Even where a rollback would take it.
        force: bool,
    },
}

/// What came of a dropped artifact.
#[derive(Clone, Debug)]
pub enum ImportOutcome {
    /// It is a candidate now.
    Imported(ContentKey),
    /// The same version is there already.
    Duplicate(ContentKey),
    /// It is in quarantine, with the verdict beside it.
    Rejected(Rejected<ArtifactFault>),
    /// It changed or went away before it could be claimed: the next listing tells.
    Withdrawn,
    /// The machine is at fault, not the artifact: try again later.
    Deferred {
        /// What failed.
        error: String,
    },
}

/// What the registry's thread did, and all versions that have their files as they stand now, in the order in which
/// they came.
#[derive(Clone, Debug)]
pub struct ModelReport {
    /// What it did.
    pub done: ModelDone,
    /// Of every model that the state knows.
    pub versions: Vec<ModelVersion>,
    /// Of every model the last training that made a version, and all later ones, in the order in which they began.
    pub trainings: Vec<Training>,
}

/// What the registry's thread did.
#[derive(Clone, Debug)]
pub enum ModelDone {
    /// It read what there is.
    Recovered,
    /// It dealt with a dropped artifact.
    Imported(LandedFile, ImportOutcome),
    /// It changed a version, or says why it could not.
    Changed(ModelChange, Result<(), String>),
    /// It carried out what was asked for in this file, or answered why not.
    Answered(PathBuf),
    /// Somebody asked for a training of this model.
    AskedToTrain(ModelName),
    /// It entered a training, or its end, into the books, or says why it could not.
    Training(TrainingNote, Result<(), String>),
}

/// A version of a model by name.
pub type VersionName = (ModelName, ContentKey);

/// How it stands with the serving of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingReport {
    /// Versions that are served, about to be, or not let go yet: their files must stay.
    pub held: BTreeSet<VersionName>,
    /// Versions that should be served and cannot be, and why.
    pub refused: BTreeMap<VersionName, String>,
}
