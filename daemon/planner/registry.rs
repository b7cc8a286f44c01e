//! Which version of a model deserves what: candidates are judged, one that cannot be served gives way, versions that
//! nobody needs any more are let go, and what was dropped or asked for gets its turn. Others do it, one thing at a time,
//! and tell what there is then.
//!
//! Nothing here is remembered that the state does not know: a candidate is a version that nobody has judged, so a crash
//! between import and verdict is made up for by the next look.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Model, ModelName, PromoteTo, Retention};
use forecastd_models::Timestamp;
use forecastd_models::dasha::{Contender, Verdict, challenge};

use super::command::ModelJob;
use super::files::Files;
use crate::message::landed_file::Listing;
use crate::message::model::{
    ImportOutcome, ModelAct, ModelChange, ModelDone, ModelReport, ModelState, ModelVersion, ServingReport,
    rollback_target,
};
use crate::message::snapshot::ModelView;

/// First wait after something that could not be done, doubled with each further one.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The models of the configuration, and their versions as they were last told.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    models: Vec<ModelEntry>,
    /// Requests that lay in their folder when it was last looked at. To answer one that is gone does no harm.
    asked: VecDeque<PathBuf>,
    recovery: Recovery,
    rests_until: Option<Timestamp>,
    /// How long the last rest was to be, if nothing has gone well since.
    last_rest: Option<Duration>,
    serving: ServingReport,
}

#[derive(Clone, Debug)]
struct ModelEntry {
    config: Arc<Model>,
    files: Files,
    versions: Arc<[ModelVersion]>,
}

/// Whether the versions are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Recovery {
    #[default]
    Wanted,
    Running,
    Done,
}

impl Registry {
    /// Takes over a new configuration. What is known of a model whose folder stays is kept.
    pub fn reconfigure(&mut self, models: &[Model]) {
        let mut before = std::mem::take(&mut self.models);
        for model in models {
            let same =
                |entry: &ModelEntry| (&entry.config.name, &entry.config.incoming) == (&model.name, &model.incoming);
            let config = Arc::new(model.clone());
            self.models.push(match before.iter().position(same) {
                Some(index) => ModelEntry {
                    config,
                    ..before.swap_remove(index)
                },
                None => ModelEntry {
                    config,
                    files: Files::default(),
                    versions: Arc::default(),
                },
            });
        }
        self.recovery = Recovery::Wanted;
    }

    /// A folder that artifacts land in was looked at.
    pub fn list(&mut self, listing: Listing) {
        if let Some(entry) = self.entry(&listing.dataset) {
            entry.files.list(listing);
        }
    }

    /// A folder that artifacts land in cannot be listed.
    pub fn unreadable(&mut self, model: &ModelName) {
        if let Some(entry) = self.entry(model) {
            entry.files.unreadable();
        }
    }

    /// These requests wait for an answer.
    pub fn asked(&mut self, requests: Vec<PathBuf>) {
        self.asked = requests.into();
    }

    /// Takes in how it stands with the serving of versions.
    pub fn serving(&mut self, report: ServingReport) {
        self.serving = report;
    }

    /// Takes in what was done, and what there is now.
    pub fn done(&mut self, report: ModelReport, now: Timestamp) {
        let ModelReport { done, versions, .. } = report;
        for entry in &mut self.models {
            let of_it = versions.iter().filter(|version| version.model == entry.config.name);
            entry.versions = of_it.cloned().collect();
        }
        let mut failed = false;
        match done {
            ModelDone::Recovered => self.recovery = Recovery::Done,
            ModelDone::Changed(_, outcome) => failed = outcome.is_err(),
            ModelDone::Answered(_) | ModelDone::AskedToTrain(_) | ModelDone::Training(..) => {}
            ModelDone::Imported(file, outcome) => {
                failed = matches!(outcome, ImportOutcome::Deferred { .. });
                if let Some(entry) = self.entry(&file.dataset) {
                    match outcome {
                        ImportOutcome::Deferred { .. } => entry.files.put_back(file),
                        ImportOutcome::Withdrawn => {}
                        _ => entry.files.settle(file),
                    }
                }
            }
        }
        self.last_rest = failed.then(|| self.last_rest.map_or(FIRST_REST, |last| (last * 2).min(LONGEST_REST)));
        self.rests_until = self.last_rest.map(|rest| now.after(rest));
    }

    /// The next thing to do, if there is one. Trainings may be asked for of the models in `trained`; `worth` is what answers of
    /// a version were worth, by the metric that it was chosen by, and how many were scored.
    pub fn take_job(
        &mut self,
        trained: &[ModelName],
        worth: impl Fn(&ModelVersion) -> Option<(f64, u64)>,
        now: Timestamp,
    ) -> Option<ModelJob> {
        self.rests_until = self.rests_until.filter(|until| now < *until);
        if let Some(request) = self.asked.pop_front() {
            return Some(ModelJob::Answer(request, trained.to_vec()));
        }
        if self.models.is_empty() {
            return None;
        }
        match self.recovery {
            Recovery::Wanted => {
                self.recovery = Recovery::Running;
                return Some(ModelJob::Recover);
            }
            Recovery::Running => return None,
            Recovery::Done => {}
        }
        if self.rests_until.is_some() {
            return None;
        }
        let change = self
            .models
            .iter()
            .find_map(|entry| entry.due(&self.serving, &worth, now));
        change.map(ModelJob::Change).or_else(|| {
            let mut entries = self.models.iter_mut();
            entries.find_map(|entry| Some(ModelJob::Import(entry.files.take()?, Arc::clone(&entry.config))))
        })
    }

    /// When something that could not be done is to be tried again.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.rests_until
    }

    /// Whether every version is known and every folder was looked at.
    pub fn is_ready(&self) -> bool {
        self.models.is_empty()
            || (self.recovery == Recovery::Done && self.models.iter().all(|entry| entry.files.listed()))
    }

    /// Every version of a model that has its files; none before they are known.
    pub fn versions(&self, model: &str) -> &[ModelVersion] {
        let entry = self.models.iter().find(|entry| *entry.config.name == *model);
        entry.map_or(&[], |entry| &entry.versions)
    }

    /// The models for readers.
    pub fn view(&self) -> Vec<ModelView> {
        let view = |entry: &ModelEntry| ModelView {
            model: Arc::clone(&entry.config.name),
            versions: Arc::clone(&entry.versions),
            margin: entry.config.promotion.margin,
        };
        self.models.iter().map(view).collect()
    }

    /// The version of a model that answers, and the one in its shadow.
    pub fn active_and_shadow(&self, model: &str) -> [Option<&ModelVersion>; 2] {
        [ModelState::Active, ModelState::Shadow].map(|state| {
            let mut versions = self.versions(model).iter();
            versions.find(|version| version.state == state)
        })
    }

    fn entry(&mut self, model: &str) -> Option<&mut ModelEntry> {
        self.models.iter_mut().find(|entry| *entry.config.name == *model)
    }
}

impl ModelEntry {
    /// What is to become of one of its versions by itself.
    fn due(
        &self,
        serving: &ServingReport,
        worth: impl Fn(&ModelVersion) -> Option<(f64, u64)>,
        now: Timestamp,
    ) -> Option<ModelChange> {
        let act = self.fallback(serving).or_else(|| self.verdict(serving, worth));
        let (act, reason) = act.or_else(|| {
            let is_held = |version: &ModelVersion| serving.held.contains(&version.name());
            let (version, reason) = expired(&self.versions, &self.config.retention, is_held, now)?;
            let version = version.version;
            Some((ModelAct::Remove { version, force: false }, reason))
        })?;
        Some(ModelChange {
            model: Arc::clone(&self.config.name),
            act,
            reason,
        })
    }

    /// A version that cannot be served gives way: an active one to that before it, if there is one.
    fn fallback(&self, serving: &ServingReport) -> Option<(ModelAct, String)> {
        let refused = |version: &&ModelVersion| {
            let is_on = matches!(version.state, ModelState::Active | ModelState::Shadow);
            is_on && serving.refused.contains_key(&version.name())
        };
        self.versions.iter().filter(refused).find_map(|version| {
            let act = match version.state {
                ModelState::Active => rollback_target(&self.versions).map(|_| ModelAct::Rollback)?,
                _ => ModelAct::Refuse(version.version),
            };
            let reason = &serving.refused[&version.name()];
            Some((act, format!("it cannot be served: {reason}")))
        })
    }

    /// Judges the oldest candidate, unless people want to. An active version that cannot be served is no rival.
    fn verdict(
        &self,
        serving: &ServingReport,
        worth: impl Fn(&ModelVersion) -> Option<(f64, u64)>,
    ) -> Option<(ModelAct, String)> {
        let promotion = &self.config.promotion;
        if promotion.to == PromoteTo::Candidate {
            return None;
        }
        let in_state = |state| self.versions.iter().find(move |version| version.state == state);
        let candidate = in_state(ModelState::Candidate)?;
        let active = in_state(ModelState::Active);
        let rival = active.filter(|version| !serving.refused.contains_key(&version.name()));
        let key = candidate.version;
        let standing = rival.map(|rival| Contender {
            live: worth(rival),
            ..rival.contender()
        });
        let verdict = challenge(candidate.contender(), standing, promotion.margin);
        Some(match (verdict, promotion.to, rival) {
            (Verdict::Better(reason), PromoteTo::Shadow, Some(_)) => (ModelAct::Shadow(key), reason),
            (Verdict::Better(reason), ..) => (ModelAct::Promote(key), reason),
            (Verdict::NotBetter(reason) | Verdict::Incomparable(reason), ..) => (ModelAct::Refuse(key), reason),
        })
    }
}

/// A version that is kept no longer, and why. Of several the one whose state is the oldest.
fn expired<'a>(
    versions: &'a [ModelVersion],
    retention: &Retention,
    is_held: impl Fn(&ModelVersion) -> bool,
    now: Timestamp,
) -> Option<(&'a ModelVersion, String)> {
    let target = rollback_target(versions).map(|target| target.version);
    let may_go = |version: &&ModelVersion| {
        let is_on = matches!(version.state, ModelState::Active | ModelState::Shadow);
        !is_on && Some(version.version) != target && !is_held(version)
    };
    let mut others: Vec<&ModelVersion> = versions.iter().filter(may_go).collect();
    others.sort_by_key(|version| (version.since, version.imported));
    let oldest = *others.first()?;
    if let Some(age) = retention.age
        && oldest.since.after(age) <= now
    {
        let state = oldest.state.label();
        return Some((
            oldest,
            format!("{state} since {}, longer than retention.age", oldest.since),
        ));
    }
    let most = retention.versions;
    (others.len() > most).then(|| {
        let reason = format!("the oldest of {} others; retention.versions keeps {most}", others.len());
        (oldest, reason)
    })
}

#[cfg(test)]
mod tests;
