//! The one place that asks for the time. Everything that decides gets the time as a value.

use std::time::{SystemTime, UNIX_EPOCH};

use forecastd_models::Timestamp;

/// Now, by the machine's clock.
pub fn now() -> Timestamp {
    let nanoseconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    };
    Timestamp(nanoseconds)
}
