//! Cells become whole channels, handed on in the order in which they first appear.

use std::collections::VecDeque;
use std::ops::Range;

use forecastd_models::{ChannelName, Series, Timestamp};

use super::crew::{Job, NoForecast};
use crate::intake::parts::{ChannelExtent, Gather};
use crate::message::series_drop::ChannelRows;
use crate::planner::history::{ChannelHistory, HistoryRules};

/// Gathers the channels of one reading, and hands each on as soon as it and all before it are complete.
pub(super) struct Gatherer<'a, F> {
    channels: &'a [ChannelExtent],
    rules: HistoryRules,
    /// The first that is not handed on yet.
    next: usize,
    /// From `next` on, as far as they appeared.
    open: VecDeque<Open>,
    /// Whether there was a cell that the survey knew nothing of.
    surprised: bool,
    hand_on: F,
    /// Rows that became part of a series, and rows that a later one replaced.
    pub(super) committed: u64,
    pub(super) duplicate: u64,
}

/// A channel's rows so far.
struct Open {
    /// Cells still to come.
    waits: u64,
    times: Vec<Timestamp>,
    values: Vec<f64>,
}

impl<'a, F: FnMut(Job)> Gatherer<'a, F> {
    pub(super) fn new(channels: &'a [ChannelExtent], rules: HistoryRules, hand_on: F) -> Self {
        Self {
            channels,
            rules,
            next: 0,
            open: VecDeque::new(),
            surprised: false,
            hand_on,
            committed: 0,
            duplicate: 0,
        }
    }

    /// Ends the reading of some channels; says whether every cell of theirs came, and no other.
    pub(super) fn finish(&mut self, pass: &Range<usize>) -> bool {
        self.open_until(pass.end);
        self.hand_on_complete();
        self.open.is_empty() && !self.surprised
    }

    fn open_until(&mut self, end: usize) {
        for channel in &self.channels[self.next + self.open.len()..end] {
            let cells = channel.cells as usize;
            self.open.push_back(Open {
                waits: channel.cells,
                times: Vec::with_capacity(cells),
                values: Vec::with_capacity(cells),
            });
        }
    }

    fn hand_on_complete(&mut self) {
        while self.open.front().is_some_and(|open| open.waits == 0) {
            let Some(complete) = self.open.pop_front() else { return };
            let channel = &self.channels[self.next].name;
            let series = ChannelRows::from_columns(complete.times, complete.values)
                .ok_or(NoForecast::NoRows)
                .and_then(|(rows, replaced)| {
                    self.duplicate += replaced;
                    self.committed += rows.len() as u64;
                    series(channel, &rows, self.rules)
                });
            self.next += 1;
            (self.hand_on)(Job {
                channel: ChannelName::clone(channel),
                series,
            });
        }
    }
}

impl<F: FnMut(Job)> Gather for Gatherer<'_, F> {
    fn take(&mut self, channel: usize, cells: usize, times: &[Timestamp], values: &[f64]) {
        if channel >= self.next + self.open.len() {
            self.open_until(channel + 1);
        }
        let open = channel.checked_sub(self.next).map(|position| &mut self.open[position]);
        let Some(open) = open.filter(|open| open.waits >= cells as u64) else {
            self.surprised = true;
            return;
        };
        open.times.extend_from_slice(times);
        open.values.extend_from_slice(values);
        open.waits -= cells as u64;
        if open.waits == 0 && channel == self.next {
            self.hand_on_complete();
        }
    }
}

/// A channel's window on its grid.
fn series(channel: &ChannelName, rows: &ChannelRows, rules: HistoryRules) -> Result<Series, NoForecast> {
    let mut history = ChannelHistory::new(rules);
    history.extend(rows);
    history.series(channel).ok_or(NoForecast::NoGrid)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use forecastd_config::OffGrid;
    use proptest::prelude::*;

    use super::super::passes::passes;
    use super::*;

    const RULES: HistoryRules = HistoryRules {
        window: 1000,
        frequency: None,
        off_grid: OffGrid::Snap,
    };

    /// What a survey says of cells that are of these channels.
    fn survey(cells: &[u8]) -> (Vec<ChannelExtent>, HashMap<u8, usize>) {
        let (mut channels, mut numbers) = (Vec::<ChannelExtent>::new(), HashMap::new());
        for (place, channel) in (0..).zip(cells) {
            let number = *numbers.entry(*channel).or_insert(channels.len());
            if number == channels.len() {
                channels.push(ChannelExtent {
                    name: channel.to_string().into(),
                    cells: 0,
                    first: place,
                    last: place,
                    reader: 0,
                });
            }
            channels[number].cells += 1;
            channels[number].last = place;
        }
        (channels, numbers)
    }

    fn held<F>(gatherer: &Gatherer<'_, F>) -> u64 {
        let bytes = |open: &Open| open.times.capacity() * 8 + open.values.capacity() * 8;
        gatherer.open.iter().map(|open| bytes(open) as u64).sum()
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_rows_the_budget_holds_and_channels_come_whole_and_in_order(
            cells in proptest::collection::vec(0..12u8, 1..300),
            sorted in any::<bool>(),
            budget in 1..5000u64,
        ) {
            let mut cells = cells;
            if sorted {
                cells.sort_unstable();
            }
            let (channels, numbers) = survey(&cells);
            let largest = channels.iter().map(ChannelExtent::bytes).max().expect("a channel");
            let mut done = Vec::new();
            let mut gatherer = Gatherer::new(&channels, RULES, |job: Job| done.push(job));
            for pass in passes(&channels, budget) {
                for (place, channel) in cells.iter().enumerate() {
                    let number = numbers[channel];
                    if pass.contains(&number) {
                        gatherer.take(number, 1, &[Timestamp(place as i64)], &[f64::from(*channel)]);
                        prop_assert!(held(&gatherer) <= budget.max(largest));
                    }
                }
                prop_assert!(gatherer.finish(&pass));
            }
            prop_assert_eq!(gatherer.committed, cells.len() as u64);
            prop_assert_eq!(done.len(), channels.len());
            for (job, extent) in done.iter().zip(&channels) {
                prop_assert_eq!(&job.channel, &extent.name);
            }
        }
    }

    #[test]
    fn a_cell_that_the_survey_did_not_see_is_told() {
        let (channels, _) = survey(&[0, 0, 1]);
        for (taken, whole) in [(vec![0, 0, 1], true), (vec![0, 1], false), (vec![0, 0, 0, 1], false)] {
            let mut gatherer = Gatherer::new(&channels, RULES, |_| {});
            for channel in &taken {
                gatherer.take(*channel, 1, &[Timestamp(0)], &[1.0]);
            }
            assert_eq!(gatherer.finish(&(0..2)), whole, "{taken:?}");
        }
    }
}
