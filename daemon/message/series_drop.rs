//! The rows of a drop, by channel and in order of time.

use std::collections::BTreeMap;

use forecastd_models::{ChannelName, Timestamp};
use serde::{Deserialize, Serialize};

/// Rows as they stand in a file, in file order: what decoding yields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RawRows {
    /// The rows of each channel, in file order, every value finite.
    pub channels: BTreeMap<ChannelName, Vec<(Timestamp, f64)>>,
}

/// The rows of a drop: one row per (channel, time), each channel in order of time, every value finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesDrop {
    channels: BTreeMap<ChannelName, ChannelRows>,
}

/// One channel's rows: times strictly ascending, as many values as times, at least one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelRows {
    times: Vec<Timestamp>,
    values: Vec<f64>,
}

impl SeriesDrop {
    /// Sorts rows by time; of several rows for one time the last in the file stays. Also says how many did not.
    pub fn from_rows(rows: RawRows) -> (Self, u64) {
        let mut duplicates = 0;
        let mut drop = Self::default();
        for (channel, rows) in rows.channels {
            let (times, values) = rows.into_iter().unzip();
            if let Some((rows, replaced)) = ChannelRows::from_columns(times, values) {
                duplicates += replaced;
                drop.channels.insert(channel, rows);
            }
        }
        (drop, duplicates)
    }

    /// Channels in order of name.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = (&ChannelName, &ChannelRows)> {
        self.channels.iter()
    }

    /// Keeps the rows for which `keep` holds; says how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(&ChannelName, Timestamp, f64) -> bool) -> u64 {
        let before = self.rows();
        for (channel, rows) in &mut self.channels {
            let kept: Vec<(Timestamp, f64)> = rows
                .iter()
                .filter(|(time, value)| keep(channel, *time, *value))
                .collect();
            if kept.len() < rows.len() {
                (rows.times, rows.values) = kept.into_iter().unzip();
            }
        }
        self.channels.retain(|_, rows| !rows.times.is_empty());
        before - self.rows()
    }

    /// Rows over all channels.
    pub fn rows(&self) -> u64 {
        self.channels.values().map(|rows| rows.len() as u64).sum()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The oldest and the newest time, if there is a row.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        let oldest = self.channels.values().filter_map(|rows| rows.times.first()).min()?;
        let newest = self.channels.values().filter_map(|rows| rows.times.last()).max()?;
        Some((*oldest, *newest))
    }
}

impl ChannelRows {
    /// Sorts rows by time; of several rows for one time the last stays. Also says how many did not. `None` for no row.
    pub fn from_columns(times: Vec<Timestamp>, values: Vec<f64>) -> Option<(Self, u64)> {
        if times.is_empty() {
            return None;
        }
        if times.is_sorted_by(|a, b| a < b) {
            return Some((Self { times, values }, 0)); // as nearly every file has them
        }
        let mut rows: Vec<(Timestamp, f64)> = times.into_iter().zip(values).collect();
        rows.sort_by_key(|(time, _)| *time); // stable: file order among equal times
        let (mut kept, mut replaced) = (Self::default(), 0);
        for (time, value) in rows {
            if kept.times.last() == Some(&time) {
                replaced += 1;
                kept.values.pop();
            } else {
                kept.times.push(time);
            }
            kept.values.push(value);
        }
        Some((kept, replaced))
    }

    /// Rows in order of time.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Timestamp, f64)> + ExactSizeIterator {
        self.times.iter().copied().zip(self.values.iter().copied())
    }

    /// Strictly ascending.
    pub fn times(&self) -> &[Timestamp] {
        &self.times
    }

    /// As many as times.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Number of rows, at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_for_a_time_wins_and_the_others_are_counted() {
        let rows = [(3, 1.0), (1, 2.0), (3, 4.0), (3, 5.0)].map(|(time, value)| (Timestamp(time), value));
        let raw = RawRows {
            channels: BTreeMap::from([("a".into(), rows.to_vec())]),
        };
        let (mut drop, duplicates) = SeriesDrop::from_rows(raw);
        assert_eq!(duplicates, 2);
        let kept: Vec<_> = drop.channels().next().expect("one channel").1.iter().collect();
        assert_eq!(kept, [(Timestamp(1), 2.0), (Timestamp(3), 5.0)]);
        assert_eq!(drop.time_range(), Some((Timestamp(1), Timestamp(3))));
        assert_eq!(drop.retain(|_, time, _| time > Timestamp(1)), 1);
        assert_eq!(drop.retain(|_, _, _| false), 1);
        assert!(drop.is_empty() && drop.time_range().is_none());
    }
}
