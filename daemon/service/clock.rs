//! Where the time comes from. Everything that decides gets it as a value; only the page for people, which says how
//! old things are, asks by itself.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use forecastd_models::Timestamp;

/// Now, by the machine's clock.
pub fn now() -> Timestamp {
    let nanoseconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    };
    Timestamp(nanoseconds)
}

/// A clock that begins with the machine's and then only goes on: for whatever waits, so that a machine's clock set
/// back holds nothing up.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    began: Timestamp,
    since: Instant,
}

impl SteadyClock {
    /// Begins now.
    pub fn start() -> Self {
        Self {
            began: now(),
            since: Instant::now(),
        }
    }

    /// The time since then, as an instant.
    pub fn now(&self) -> Timestamp {
        self.began.after(self.since.elapsed())
    }
}
