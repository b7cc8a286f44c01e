//! Names, their versions, and which of them is active: what is to be loaded, what may be asked, what may go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forecastd_models::dasha::ModelDescription;
use tokio::sync::oneshot;

use super::order::{LoadError, Loaded, Order};
use crate::message::inference::{InferenceError, InferenceRequest, ServedModel, ServedVersion, VersionState};

/// What a version is called between daemon and child, and by its queue. Never used twice.
pub(super) type Key = u64;

/// Children that may end while they load a version that none has loaded before.
const LIVES: u32 = 2;

/// All versions.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<Key, Entry>,
    active: BTreeMap<Arc<str>, Key>,
    last_key: Key,
    /// What those who wait for versions are still to be told.
    news: Vec<(oneshot::Sender<Loaded>, Loaded)>,
}

/// A version.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) folder: PathBuf,
    pub(super) standing: Standing,
    /// Takes no more requests, and goes when those that it has are answered.
    is_leaving: bool,
    /// Once it has been loaded.
    pub(super) description: Option<Arc<ModelDescription>>,
    /// Samples that the child's memory allows at once.
    pub(super) most: usize,
    /// What a sample takes of a batch's time, the latest batches counting most; none before the first.
    pace: Option<Duration>,
    /// To be the active one, as soon as it is warm.
    activate: bool,
    /// Children that ended while they loaded it.
    deaths: u32,
    waiting: Vec<oneshot::Sender<Loaded>>,
}

/// How far a version is with the child that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Loading,
    Ready,
    Refused { reason: String },
}

impl Entry {
    fn state(&self) -> VersionState {
        match &self.standing {
            _ if self.is_leaving => VersionState::Draining,
            Standing::Loading => VersionState::Loading,
            Standing::Ready => VersionState::Ready,
            Standing::Refused { reason } => VersionState::Refused { reason: reason.clone() },
        }
    }

    /// Samples that should be computed within a time: one, while nobody knows how long it takes.
    pub(super) fn samples_within(&self, time: Duration) -> usize {
        self.pace.map_or(1, |pace| match pace.as_nanos() {
            0 => usize::MAX,
            pace => (time.as_nanos() / pace) as usize,
        })
    }

    fn tell(&mut self, loaded: &Loaded, news: &mut Vec<(oneshot::Sender<Loaded>, Loaded)>) {
        news.extend(self.waiting.drain(..).map(|waiting| (waiting, loaded.clone())));
    }

    fn is_named(&self, name: &str, version: &str) -> bool {
        *self.name == *name && *self.version == *version && !self.is_leaving
    }
}

impl Roster {
    /// Somebody wants a version. One that was refused is tried again; what its name waited for before is given up.
    /// Returns whether another one became active by it.
    pub(super) fn order(&mut self, order: Order) -> bool {
        let found = self.find(&order.name, &order.version);
        let refused = found.filter(|key| matches!(self.entries[key].standing, Standing::Refused { .. }));
        if let Some(key) = refused {
            self.entries.remove(&key);
        }
        let key = found.filter(|_| refused.is_none()).unwrap_or_else(|| self.add(&order));
        if order.activate {
            self.give_up_others(&order.name, key);
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return false;
        };
        entry.activate |= order.activate;
        entry.waiting.push(order.done);
        entry.standing == Standing::Ready && self.settle(key)
    }

    fn add(&mut self, order: &Order) -> Key {
        self.last_key += 1;
        let entry = Entry {
            name: Arc::clone(&order.name),
            version: Arc::clone(&order.version),
            folder: order.folder.clone(),
            standing: Standing::Loading,
            is_leaving: false,
            description: None,
            most: 0,
            pace: None,
            activate: false,
            deaths: 0,
            waiting: Vec::new(),
        };
        self.entries.insert(self.last_key, entry);
        self.last_key
    }

    /// Of two that are to be active the last one wins.
    fn give_up_others(&mut self, name: &str, key: Key) {
        let waits = |(other, entry): (&Key, &Entry)| {
            (*other != key && *entry.name == *name && entry.activate && !self.is_active(*other)).then_some(*other)
        };
        let given_up: Vec<Key> = self.entries.iter().filter_map(waits).collect();
        given_up.into_iter().for_each(|key| self.drain(key));
    }

    /// The child has loaded it. Returns whether another one became active by it.
    pub(super) fn loaded(&mut self, key: Key, description: ModelDescription, most: u32) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else {
            return false;
        };
        entry.description = Some(Arc::new(description));
        entry.most = most as usize;
        entry.deaths = 0;
        entry.standing = Standing::Ready;
        !entry.is_leaving && self.settle(key)
    }

    /// Moves the pointer of its name, if that is wanted, and tells who waits.
    fn settle(&mut self, key: Key) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else {
            return false;
        };
        if let Some(description) = entry.description.clone() {
            entry.tell(&Ok(description), &mut self.news);
        }
        if !std::mem::take(&mut entry.activate) {
            return false;
        }
        let before = self.active.insert(Arc::clone(&entry.name), key);
        match before.filter(|before| *before != key) {
            Some(before) => {
                self.drain(before);
                true
            }
            None => false,
        }
    }

    /// A batch of it took so long for each of its samples.
    pub(super) fn took(&mut self, key: Key, each: Duration) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.pace = Some(entry.pace.map_or(each, |before| (3 * before + each) / 4));
        }
    }

    /// It cannot be used. What was active before stays so.
    pub(super) fn refused(&mut self, key: Key, reason: String) {
        let is_active = self.is_active(key);
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let refused = Err(LoadError::Refused {
            name: Arc::clone(&entry.name),
            version: Arc::clone(&entry.version),
            reason: reason.clone(),
        });
        entry.tell(&refused, &mut self.news);
        // One that has served stays, so that those who ask for it learn what has become of it.
        if entry.description.is_none() && !is_active {
            self.entries.remove(&key);
        } else {
            entry.standing = Standing::Refused { reason };
        }
    }

    /// Takes no more requests for it.
    pub(super) fn unload(&mut self, name: &str, version: &str) {
        if let Some(key) = self.find(name, version) {
            self.drain(key);
        }
    }

    fn drain(&mut self, key: Key) {
        if self.is_active(key) {
            self.active.retain(|_, active| *active != key);
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.is_leaving = true;
            let given_up = Err(LoadError::GivenUp {
                name: Arc::clone(&entry.name),
                version: Arc::clone(&entry.version),
            });
            entry.tell(&given_up, &mut self.news);
        }
    }

    /// Those that take no more requests.
    pub(super) fn leaving(&self) -> Vec<Key> {
        let leaving = self.entries.iter().filter(|(_, entry)| entry.is_leaving);
        leaving.map(|(key, _)| *key).collect()
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.entries.remove(&key);
    }

    /// There is no child any more: everything is to be loaded again.
    pub(super) fn child_ended(&mut self, loading: Option<Key>, how: &str) {
        for entry in self.entries.values_mut() {
            if entry.standing == Standing::Ready {
                entry.standing = Standing::Loading;
            }
        }
        let Some((key, entry)) = loading.and_then(|key| Some((key, self.entries.get_mut(&key)?))) else {
            return;
        };
        entry.deaths += 1;
        if entry.description.is_none() && entry.deaths >= LIVES {
            let deaths = entry.deaths;
            self.refused(
                key,
                format!("{deaths} serving processes ended while they loaded it: {how}"),
            );
        }
    }

    /// There is no child, and none can be started: who waits for a version is told, and what was never loaded is
    /// forgotten. What has served is loaded again as soon as there is a child.
    pub(super) fn unavailable(&mut self, reason: &str) {
        for entry in self.entries.values_mut() {
            let reason = reason.to_owned();
            entry.tell(&Err(LoadError::Unavailable { reason }), &mut self.news);
        }
        self.entries.retain(|_, entry| entry.description.is_some());
    }

    /// Tells those who wait for versions what has come of them. To be called once readers can see it.
    pub(super) fn tell_news(&mut self) {
        for (waiting, loaded) in self.news.drain(..) {
            let _ = waiting.send(loaded); // fails only if nobody waits any more
        }
    }

    /// What to load next, the active ones first.
    pub(super) fn next_to_load(&self) -> Option<Key> {
        let mut wanted = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.standing == Standing::Loading);
        let first = wanted.clone().next();
        wanted
            .find(|(key, _)| self.is_active(**key))
            .or(first)
            .map(|(key, _)| *key)
    }

    /// Whether there is anything for a child to do.
    pub(super) fn wants_child(&self) -> bool {
        let refused = |entry: &Entry| matches!(entry.standing, Standing::Refused { .. });
        self.entries.values().any(|entry| !refused(entry))
    }

    /// The version that a request is for.
    pub(super) fn resolve(&self, request: &InferenceRequest) -> Result<Key, InferenceError> {
        let model = || Arc::clone(&request.model);
        let key = match &request.version {
            Some(version) => self.find(&request.model, version),
            None => self.active.get(&request.model).copied(),
        };
        let Some(key) = key else {
            return Err(self.unknown(request));
        };
        let entry = &self.entries[&key];
        let reason = match &entry.standing {
            Standing::Refused { reason } => reason.clone(),
            Standing::Loading if entry.description.is_none() => "it is being loaded".to_owned(),
            Standing::Loading | Standing::Ready => return Ok(key),
        };
        Err(InferenceError::NotReady {
            model: model(),
            version: Arc::clone(&entry.version),
            reason,
        })
    }

    fn unknown(&self, request: &InferenceRequest) -> InferenceError {
        let model = Arc::clone(&request.model);
        let mut of_name = self.entries.values().filter(|entry| entry.name == model);
        match (of_name.next(), &request.version) {
            (None, _) => InferenceError::UnknownModel { model },
            (Some(_), Some(version)) => InferenceError::UnknownVersion {
                model,
                version: Arc::clone(version),
            },
            (Some(first), None) => InferenceError::NotReady {
                version: Arc::clone(&first.version),
                model,
                reason: "no version is active".to_owned(),
            },
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key)
    }

    /// As readers see it.
    pub(super) fn served(&self) -> Vec<ServedModel> {
        let mut models: BTreeMap<&Arc<str>, ServedModel> = BTreeMap::new();
        for (key, entry) in &self.entries {
            let model = models.entry(&entry.name).or_insert_with(|| ServedModel {
                name: Arc::clone(&entry.name),
                active: None,
                versions: Vec::new(),
            });
            if self.is_active(*key) {
                model.active = Some(Arc::clone(&entry.version));
            }
            model.versions.push(ServedVersion {
                version: Arc::clone(&entry.version),
                state: entry.state(),
                description: entry.description.clone(),
            });
        }
        models.into_values().collect()
    }

    fn find(&self, name: &str, version: &str) -> Option<Key> {
        let mut entries = self.entries.iter();
        entries
            .find(|(_, entry)| entry.is_named(name, version))
            .map(|(key, _)| *key)
    }

    fn is_active(&self, key: Key) -> bool {
        self.active.values().any(|active| *active == key)
    }
}
