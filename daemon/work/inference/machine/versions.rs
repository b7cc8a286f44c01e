//! Versions: loaded one at a time, made active once they are warm, unloaded once nobody waits for them.

use std::sync::Arc;
use std::time::Instant;

use forecastd_models::dasha::ModelDescription;
use forecastd_models::inference::Request;
use tracing::{info, warn};

use super::{Child, Machine};
use crate::message::inference::InferenceError;
use crate::work::inference::order::{LoadError, Order};
use crate::work::inference::roster::{Key, Standing};

impl Machine {
    /// Somebody wants a version.
    pub(in crate::work::inference) fn order(&mut self, order: Order, now: Instant) {
        if let Some(error) = self.absent.as_ref().filter(|_| self.backoff.until(now).is_some()) {
            let reason = error.to_string();
            let _ = order.done.send(Err(LoadError::Unavailable { reason })); // fails only if nobody waits any more
            return;
        }
        let name = Arc::clone(&order.name);
        let has_swapped = self.roster.order(order);
        self.count_swap(&name, has_swapped);
        self.publish();
    }

    /// Somebody wants a version no longer.
    pub(in crate::work::inference) fn unload(&mut self, name: &str, version: &str) {
        self.roster.unload(name, version);
        self.publish();
    }

    /// Has the child load what it lacks, one version at a time: its end tells which was to blame.
    pub(super) fn load_next(&mut self, now: Instant) {
        if self.loading.is_some() {
            return;
        }
        let Some((key, entry)) = self
            .roster
            .next_to_load()
            .and_then(|key| Some((key, self.roster.get(key)?)))
        else {
            return;
        };
        let folder = entry.folder.clone();
        if self.send(&Request::Load { key, folder }, &[]) {
            self.loading = Some((key, now));
        } else {
            self.roster
                .refused(key, "the name of its folder cannot be sent".to_owned());
        }
    }

    /// The child has loaded a version.
    pub(super) fn loaded(&mut self, key: Key, most: u32, slices: &[Vec<u8>], now: Instant) -> Result<(), String> {
        let since = self.end_loading(key)?;
        let Some(entry) = self.roster.get(key) else {
            self.send(&Request::Unload { key }, &[]); // given up meanwhile
            return Ok(());
        };
        let text = slices.first().map(Vec::as_slice).unwrap_or_default();
        let description: ModelDescription =
            serde_json::from_slice(text).map_err(|error| format!("described a network in a strange way: {error}"))?;
        let sound = description.check();
        sound.map_err(|error| format!("loaded what is no network: {error}"))?;
        let name = Arc::clone(&entry.name);
        info!(model = %name, version = %entry.version, took = ?now.saturating_duration_since(since), "version is warm");
        let has_swapped = self.roster.loaded(key, description, most.max(1));
        self.count_swap(&name, has_swapped);
        self.publish();
        Ok(())
    }

    /// The child has found a version to be of no use.
    pub(super) fn refused(&mut self, key: Key, reason: String) -> Result<(), String> {
        self.end_loading(key)?;
        if let Some(entry) = self.roster.get(key) {
            warn!(model = %entry.name, version = %entry.version, reason, "version is refused");
        }
        self.roster.refused(key, reason);
        self.fail_refused();
        self.publish();
        Ok(())
    }

    fn end_loading(&mut self, key: Key) -> Result<Instant, String> {
        let loading = self.loading.take_if(|(loading, _)| *loading == key);
        let loading = loading.ok_or_else(|| "loaded what nobody asked for".to_owned())?;
        Ok(loading.1)
    }

    /// Those who wait for a version that cannot be loaded again learn why.
    pub(super) fn fail_refused(&mut self) {
        for (key, queue) in &mut self.queues {
            let Some(entry) = self.roster.get(*key) else { continue };
            let Standing::Refused { reason } = &entry.standing else {
                continue;
            };
            for pending in queue.take_all() {
                pending.answer(Err(InferenceError::NotReady {
                    model: Arc::clone(&entry.name),
                    version: Arc::clone(&entry.version),
                    reason: reason.clone(),
                }));
            }
        }
        self.show_all_waiting();
    }

    /// Lets go of versions that nobody is to use any more.
    pub(super) fn sweep(&mut self) {
        let leaving = self.roster.leaving();
        let done: Vec<Key> = leaving.into_iter().filter(|key| !self.is_busy(*key)).collect();
        if done.is_empty() {
            return;
        }
        for key in done {
            self.roster.remove(key);
            self.queues.remove(&key);
            if matches!(self.child, Child::Up { .. }) {
                self.send(&Request::Unload { key }, &[]);
            }
        }
        self.publish();
    }

    fn is_busy(&self, key: Key) -> bool {
        let waits = self.queues.get(&key).is_some_and(|queue| !queue.is_empty());
        waits || self.flight.as_ref().is_some_and(|flight| flight.key == key)
    }

    fn count_swap(&self, name: &Arc<str>, has_swapped: bool) {
        self.board.count(name, |counts| counts.swaps += u64::from(has_swapped));
    }
}
