//! How long to wait before the next child: longer after each bad end, until one has lived for a while.

use std::time::{Duration, Instant};

use super::Pace;

/// The wait before the next start.
#[derive(Debug)]
pub(in crate::work) struct Backoff {
    pace: Pace,
    wait: Duration,
    until: Option<Instant>,
}

impl Backoff {
    pub(in crate::work) fn new(pace: Pace) -> Self {
        let wait = pace.first_wait;
        Self {
            pace,
            wait,
            until: None,
        }
    }

    /// A child ended, or did not even start, after having lived so long. Returns the wait.
    pub(in crate::work) fn failed(&mut self, now: Instant, lived: Duration) -> Duration {
        if lived >= self.pace.healthy_after {
            self.wait = self.pace.first_wait;
        }
        let wait = self.wait;
        self.until = Some(now + wait);
        self.wait = (wait * 2).min(self.pace.longest_wait);
        wait
    }

    /// When the wait is over; `None` if it is.
    pub(in crate::work) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_cap_and_starts_over_after_a_healthy_life() {
        let pace = Pace::default();
        let mut backoff = Backoff::new(pace);
        let now = Instant::now();
        assert_eq!(backoff.until(now), None);
        let mut failed = |lived| backoff.failed(now, Duration::from_secs(lived)).as_secs();
        let waits: Vec<u64> = [0, 0, 59, 0, 0, 0, 0, 0, 60, 0].into_iter().map(&mut failed).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]);
        assert_eq!(backoff.until(now), Some(now + Duration::from_secs(2)));
        assert_eq!(backoff.until(now + Duration::from_secs(2)), None);
    }
}
