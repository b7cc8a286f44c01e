//! What is to be done so that what is served becomes what is wanted. It touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use forecastd_config::ModelName;

use crate::message::content_key::ContentKey;
use crate::message::inference::{ServedModel, ServedVersion, VersionState};
use crate::message::model::{ModelState, ModelVersion, VersionName};

/// What is to be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) versions: BTreeMap<VersionName, Place>,
    /// Grows when what could not be served is to be tried again.
    pub(super) attempt: u64,
}

/// Where a version lies, and what it is to its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) is_active: bool,
}

impl Wanted {
    /// Of each of these models the active version, and the one in its shadow.
    pub(super) fn versions(models: &[ModelName], versions: &[ModelVersion]) -> BTreeMap<VersionName, Place> {
        let wanted = versions.iter().filter(|version| {
            let is_on = matches!(version.state, ModelState::Active | ModelState::Shadow);
            is_on && models.contains(&version.model)
        });
        let place = |version: &ModelVersion| Place {
            folder: version.folder.clone(),
            is_active: version.state == ModelState::Active,
        };
        wanted.map(|version| (version.name(), place(version))).collect()
    }

    fn has_active(&self, model: &ModelName) -> bool {
        let mut versions = self.versions.iter();
        versions.any(|((name, _), place)| name == model && place.is_active)
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Have it loaded, and made active if it is to be.
    Load(VersionName, Place),
    /// Let it go.
    Unload(VersionName),
    /// It served, and cannot any more.
    Lost(VersionName, String),
}

/// What is to be done. `out` are orders on their way, with whether they activate.
pub(super) fn steps(wanted: &Wanted, served: &[ServedModel], out: &BTreeSet<(VersionName, bool)>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, place) in &wanted.versions {
        let model = served.iter().find(|model| model.name == name.0);
        let version = model.and_then(|model| find(model, &name.1));
        if let Some(VersionState::Refused { reason }) = version.map(|version| &version.state) {
            steps.push(Step::Lost(name.clone(), reason.clone()));
            continue;
        }
        let answers = model.is_some_and(|model| is_active(model, &name.1));
        let is_met = version.is_some() && (answers || !place.is_active);
        if !is_met && !out.contains(&(name.clone(), place.is_active)) {
            steps.push(Step::Load(name.clone(), place.clone()));
        }
    }
    for model in served {
        for version in model.versions.iter().filter(|version| is_there(version)) {
            let Ok(key) = ContentKey::from_str(&version.version) else {
                continue;
            };
            let name = (ModelName::clone(&model.name), key);
            // What answers does so until another one does.
            let stays = is_active(model, &key) && wanted.has_active(&model.name);
            if !wanted.versions.contains_key(&name) && !stays {
                steps.push(Step::Unload(name));
            }
        }
    }
    steps
}

/// Every version that is in memory or about to be, those that are being let go included: its files may be read.
pub(super) fn held(served: &[ServedModel]) -> impl Iterator<Item = VersionName> {
    served.iter().flat_map(|model| {
        let keys = model.versions.iter();
        let keys = keys.filter_map(|version| ContentKey::from_str(&version.version).ok());
        keys.map(|key| (ModelName::clone(&model.name), key))
    })
}

fn find<'a>(model: &'a ServedModel, key: &ContentKey) -> Option<&'a ServedVersion> {
    let name = key.to_string();
    let mut versions = model.versions.iter();
    versions.find(|version| *version.version == *name && is_there(version))
}

fn is_there(version: &ServedVersion) -> bool {
    version.state != VersionState::Draining
}

fn is_active(model: &ServedModel, key: &ContentKey) -> bool {
    model.active.as_ref().is_some_and(|active| **active == *key.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u8) -> VersionName {
        ("m".into(), ContentKey([number; 32]))
    }

    fn place(is_active: bool) -> Place {
        Place {
            folder: "models".into(),
            is_active,
        }
    }

    fn wanted(active: Option<u8>, shadow: Option<u8>) -> Wanted {
        let active = active.map(|number| (name(number), place(true)));
        let shadow = shadow.map(|number| (name(number), place(false)));
        Wanted {
            versions: active.into_iter().chain(shadow).collect(),
            attempt: 0,
        }
    }

    fn served(active: Option<u8>, versions: &[(u8, VersionState)]) -> Vec<ServedModel> {
        let text = |number: u8| ContentKey([number; 32]).to_string().into();
        let version = |(number, state): &(u8, VersionState)| ServedVersion {
            version: text(*number),
            state: state.clone(),
            description: None,
        };
        vec![ServedModel {
            name: "m".into(),
            active: active.map(text),
            versions: versions.iter().map(version).collect(),
        }]
    }

    #[test]
    fn what_is_wanted_is_loaded_once_and_what_is_not_is_let_go() {
        use VersionState::{Draining, Loading, Ready};
        let refused = || VersionState::Refused {
            reason: "flipped".to_owned(),
        };
        let (load, shadow) = (
            |number| Step::Load(name(number), place(true)),
            |number| Step::Load(name(number), place(false)),
        );
        let none = Vec::new;
        for (case, wanted, served, expected) in [
            ("a first version", wanted(Some(1), None), none(), vec![load(1)]),
            (
                "it is there",
                wanted(Some(1), None),
                served(Some(1), &[(1, Ready)]),
                vec![],
            ),
            (
                "its child starts anew",
                wanted(Some(1), None),
                served(Some(1), &[(1, Loading)]),
                vec![],
            ),
            (
                "another one is promoted, and the first answers until then",
                wanted(Some(2), None),
                served(Some(1), &[(1, Ready)]),
                vec![load(2)],
            ),
            (
                "the shadow is promoted: it is there, but does not answer yet",
                wanted(Some(2), None),
                served(Some(1), &[(1, Ready), (2, Ready)]),
                vec![load(2)],
            ),
            (
                "a shadow comes",
                wanted(Some(1), Some(2)),
                served(Some(1), &[(1, Ready)]),
                vec![shadow(2)],
            ),
            (
                "a shadow goes",
                wanted(Some(1), None),
                served(Some(1), &[(1, Ready), (2, Ready)]),
                vec![Step::Unload(name(2))],
            ),
            (
                "the model goes",
                wanted(None, None),
                served(Some(1), &[(1, Ready), (2, Loading)]),
                vec![Step::Unload(name(1)), Step::Unload(name(2))],
            ),
            (
                "what is being let go is wanted again",
                wanted(Some(1), None),
                served(Some(2), &[(1, Draining), (2, Ready)]),
                vec![load(1)],
            ),
            (
                "its files were lost, and a child started anew",
                wanted(Some(1), None),
                served(Some(1), &[(1, refused())]),
                vec![Step::Lost(name(1), "flipped".to_owned())],
            ),
        ] {
            assert_eq!(steps(&wanted, &served, &BTreeSet::new()), expected, "{case}");
        }
    }

    #[test]
    fn an_order_on_its_way_is_not_given_again_but_for_another_end() {
        let out = BTreeSet::from([(name(1), false)]);
        assert_eq!(steps(&wanted(None, Some(1)), &[], &out), []);
        assert_eq!(
            steps(&wanted(Some(1), None), &[], &out),
            [Step::Load(name(1), place(true))]
        );
    }
}
