//! Which loops have really turned. The watchdog is fed from here, never by a timer alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Each loop's promise of when it will turn next.
#[derive(Debug, Default)]
pub struct Pulse {
    due: Mutex<BTreeMap<&'static str, Instant>>,
}

impl Pulse {
    /// A loop has turned, and will again within `next`.
    pub fn beat(&self, name: &'static str, next: Duration) {
        self.due
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, Instant::now() + next);
    }

    /// Loops that have broken their promise by `now`.
    pub fn silent(&self, now: Instant) -> Vec<&'static str> {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.iter()
            .filter(|(_, due)| **due < now)
            .map(|(name, _)| *name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_breaks_its_promise_is_named() {
        let pulse = Pulse::default();
        pulse.beat("planner", Duration::from_secs(10));
        pulse.beat("scan", Duration::from_secs(60));
        let now = Instant::now();
        assert!(pulse.silent(now).is_empty());
        assert_eq!(pulse.silent(now + Duration::from_secs(30)), ["planner"]);
    }
}
