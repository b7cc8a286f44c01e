//! Names and folders held against each other: what no single key can tell.
//!
//! Paths are compared by their text, with `..` taken as the folder above; nothing is looked up. Two names for one
//! folder, through a link or a mount, are not found here.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::error::Complaint;
use crate::field::Field;
use crate::{DatasetName, ModelName};

/// What datasets and models have taken so far.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    names: HashMap<DatasetName, String>,
    models: HashMap<ModelName, String>,
    /// Every folder with the path of its key.
    folders: HashMap<PathBuf, String>,
    /// The incoming ones again, a folder before what lies in it.
    incoming: BTreeMap<PathBuf, String>,
}

impl Claims {
    /// Takes a dataset's name, if no other has it.
    pub(crate) fn name(&mut self, field: &Field, name: DatasetName) -> Option<DatasetName> {
        unique(&mut self.names, field, name)
    }

    /// Takes a model's name, if no other model has it.
    pub(crate) fn model(&mut self, field: &Field, name: ModelName) -> Option<ModelName> {
        unique(&mut self.models, field, name)
    }

    /// Takes a folder, if it has no other purpose: a forecast file or a refused drop in a folder where drops land
    /// would be taken for a drop.
    pub(crate) fn folder(&mut self, field: &Field, folder: PathBuf) -> Option<PathBuf> {
        let place = plain(&folder);
        if let Some(owner) = self.folders.get(&place) {
            let complaint = Complaint::new(format!("`{}` is already `{owner}`", folder.display()));
            return field.refuse(complaint.hint("every folder has one purpose"));
        }
        self.folders.insert(place, field.path().to_owned());
        Some(folder)
    }

    /// Takes a folder that drops land in, if it neither holds another nor lies in one.
    pub(crate) fn incoming(&mut self, field: &Field, folder: PathBuf) -> Option<PathBuf> {
        let folder = self.folder(field, folder)?;
        let place = plain(&folder);
        let above = self.incoming_above(&place);
        let below = self.incoming.range(place.clone()..).next();
        let below = below.filter(|(other, _)| other.starts_with(&place));
        let complaint = match (above, below) {
            (Some(owner), _) => format!("`{}` lies in `{owner}`", folder.display()),
            (None, Some((_, owner))) => format!("`{}` holds `{owner}`", folder.display()),
            (None, None) => {
                self.incoming.insert(place, field.path().to_owned());
                return Some(folder);
            }
        };
        field.refuse(Complaint::new(complaint).hint("a drop belongs to one dataset or model"))
    }

    /// Complains of a state directory in a folder that drops land in, or around one.
    pub(crate) fn check_state(&self, field: &Field, folder: &Path) -> Option<()> {
        let place = plain(folder);
        if let Some((_, owner)) = self
            .incoming
            .range(place.clone()..)
            .next()
            .filter(|(other, _)| other.starts_with(&place))
        {
            let complaint = Complaint::new(format!("`{}` holds `{owner}`", folder.display()));
            return field.refuse(complaint.hint("a segment of the state must never be taken for a drop"));
        }
        match self.incoming_above(&place) {
            Some(owner) => {
                let complaint = Complaint::new(format!("`{}` lies in `{owner}`", folder.display()));
                field.refuse(complaint.hint("whoever may drop files must not reach the state"))
            }
            None => Some(()),
        }
    }

    fn incoming_above(&self, place: &Path) -> Option<&str> {
        let mut above = place.ancestors().skip(1);
        above.find_map(|folder| self.incoming.get(folder).map(String::as_str))
    }
}

fn unique(names: &mut HashMap<Arc<str>, String>, field: &Field, name: Arc<str>) -> Option<Arc<str>> {
    if let Some(owner) = names.get(&name) {
        return field.refuse(Complaint::new(format!("`{name}` is already `{owner}`")).hint("names are unique"));
    }
    names.insert(Arc::clone(&name), field.path().to_owned());
    Some(name)
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
