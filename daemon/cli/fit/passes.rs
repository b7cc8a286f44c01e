//! Which channels are read together, so that what is held of them stays within a budget.

use std::collections::VecDeque;
use std::ops::Range;

use crate::intake::parts::ChannelExtent;

/// Cuts channels, which stand in the order of their first cells, into ranges to be read one after the other.
///
/// A channel is held from its first cell until it and all before it in its range are complete, since they are handed on
/// in order. Channels that stand one after the other in the files so need one range, however many there are; those that
/// are interleaved need as many as their bytes fill the budget. One channel alone is read whatever it takes.
pub(super) fn passes(channels: &[ChannelExtent], budget: u64) -> Vec<Range<usize>> {
    let mut passes = Vec::new();
    let (mut start, mut held) = (0, Held::default());
    for (number, channel) in channels.iter().enumerate() {
        held.release(channel.first);
        if !held.channels.is_empty() && held.bytes.saturating_add(channel.bytes()) > budget {
            passes.push(start..number);
            (start, held) = (number, Held::default());
        }
        held.add(channel);
    }
    passes.push(start..channels.len());
    passes
}

/// Channels that are not handed on yet: the place where each will be, and its bytes.
#[derive(Default)]
struct Held {
    channels: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Held {
    fn release(&mut self, place: u64) {
        while let Some((last, bytes)) = self.channels.front()
            && *last < place
        {
            self.bytes -= bytes;
            self.channels.pop_front();
        }
    }

    fn add(&mut self, channel: &ChannelExtent) {
        let last = self.channels.back().map_or(0, |(last, _)| *last).max(channel.last);
        self.channels.push_back((last, channel.bytes()));
        self.bytes = self.bytes.saturating_add(channel.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Channels of ten cells, 160 bytes, from their first place to their last.
    fn channels(places: &[(u64, u64)]) -> Vec<ChannelExtent> {
        let extent = |(first, last): &(u64, u64)| ChannelExtent {
            name: first.to_string().into(),
            cells: 10,
            first: *first,
            last: *last,
            reader: 0,
        };
        places.iter().map(extent).collect()
    }

    /// Where the passes begin and end.
    fn cuts(channels: &[ChannelExtent], budget: u64) -> Vec<(usize, usize)> {
        let passes = passes(channels, budget).into_iter();
        passes.map(|pass| (pass.start, pass.end)).collect()
    }

    #[test]
    fn channels_one_after_the_other_are_read_in_one_pass_and_interleaved_ones_in_as_many_as_the_budget_asks() {
        let sorted: Vec<_> = (0..1000).map(|i| (i * 10, i * 10 + 9)).collect();
        assert_eq!(cuts(&channels(&sorted), 160), [(0, 1000)]);
        let interleaved: Vec<_> = (0..10).map(|i| (i, 90 + i)).collect();
        assert_eq!(cuts(&channels(&interleaved), 480), [(0, 3), (3, 6), (6, 9), (9, 10)]);
        assert_eq!(cuts(&channels(&interleaved), 1600), [(0, 10)]);
    }

    #[test]
    fn a_channel_that_holds_up_the_others_costs_one_more_pass() {
        let mut places = vec![(0, 9999)];
        places.extend((1..1000).map(|i| (i * 10, i * 10 + 9)));
        assert_eq!(cuts(&channels(&places), 480), [(0, 3), (3, 1000)]);
    }

    #[test]
    fn one_channel_beyond_the_budget_is_read_alone_and_none_gives_one_pass_for_what_is_refused() {
        assert_eq!(cuts(&channels(&[(0, 99), (1, 98)]), 1), [(0, 1), (1, 2)]);
        assert_eq!(cuts(&[], 1), [(0, 0)]);
    }
}
