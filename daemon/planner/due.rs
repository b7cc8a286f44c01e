//! Which channels are due for a fit, in the order in which they became so.

use std::collections::{BTreeSet, HashSet, VecDeque};

use forecastd_models::{ChannelName, Timestamp};

/// Channels whose history is ahead of their fit. A channel stands here once, however often its history changes.
#[derive(Clone, Debug, Default)]
pub struct DueChannels {
    ready: VecDeque<ChannelName>,
    /// Held back by `forecast.refit_interval`, by the time at which they are ready.
    resting: BTreeSet<(Timestamp, ChannelName)>,
    members: HashSet<ChannelName>,
}

impl DueChannels {
    /// Notes that a channel is due, not before `ready_at`.
    pub fn add(&mut self, channel: &ChannelName, ready_at: Timestamp, now: Timestamp) {
        if !self.members.insert(ChannelName::clone(channel)) {
            return;
        }
        if ready_at <= now {
            self.ready.push_back(ChannelName::clone(channel));
        } else {
            self.resting.insert((ready_at, ChannelName::clone(channel)));
        }
    }

    /// Makes a channel due at once, even one that rests.
    pub fn hurry(&mut self, channel: &ChannelName, now: Timestamp) {
        self.remove(channel);
        self.add(channel, now, now);
    }

    /// Takes out up to `limit` channels that are ready, longest due first.
    pub fn take(&mut self, limit: usize, now: Timestamp) -> Vec<ChannelName> {
        while self.resting.first().is_some_and(|(ready_at, _)| *ready_at <= now) {
            let (_, channel) = self.resting.pop_first().expect("a first was seen");
            self.ready.push_back(channel);
        }
        let batch: Vec<ChannelName> = self.ready.drain(..limit.min(self.ready.len())).collect();
        for channel in &batch {
            self.members.remove(channel);
        }
        batch
    }

    /// Forgets a channel that is no more.
    pub fn remove(&mut self, channel: &ChannelName) {
        if self.members.remove(channel) {
            self.ready.retain(|other| other != channel);
            self.resting.retain(|(_, other)| other != channel);
        }
    }

    /// When the next resting channel is ready, if none is now.
    pub fn next_ready(&self) -> Option<Timestamp> {
        self.resting.first().map(|(ready_at, _)| *ready_at)
    }

    /// Channels ready now or by `now`.
    pub fn ready(&self, now: Timestamp) -> usize {
        self.ready.len() + self.resting.iter().take_while(|(ready_at, _)| *ready_at <= now).count()
    }

    /// Channels due, ready or resting.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether no channel is due.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(due: &mut DueChannels, limit: usize, now: i64) -> String {
        due.take(limit, Timestamp(now)).join("")
    }

    #[test]
    fn the_longest_due_comes_first_and_none_comes_twice() {
        let mut due = DueChannels::default();
        for (channel, ready_at) in [("b", 0), ("a", 0), ("b", 0), ("c", 50), ("d", 20)] {
            due.add(&channel.into(), Timestamp(ready_at), Timestamp(10));
        }
        assert_eq!(
            (due.len(), due.ready(Timestamp(10)), due.next_ready()),
            (4, 2, Some(Timestamp(20)))
        );
        assert_eq!(names(&mut due, 1, 10), "b");
        assert_eq!(names(&mut due, 9, 30), "ad");
        due.add(&"b".into(), Timestamp(0), Timestamp(30));
        due.remove(&"c".into());
        assert_eq!(names(&mut due, 9, 99), "b");
        assert!(due.is_empty());
    }
}
