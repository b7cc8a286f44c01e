//! A channel's newest samples on its grid, bounded: what a fit sees.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use forecastd_config::{Dataset, OffGrid};
use forecastd_models::{ChannelName, Frequency, Grid, RollingFit, Series, Slot, Timestamp, WindowMove};

use super::frequency::grid_of;
use crate::message::series_drop::ChannelRows;

/// Rows after which a channel's grid stands. Until then it is told anew from all rows with each drop, so that a
/// first drop of three rows does not decide for ever.
const SETTLED_ROWS: usize = 64;

/// A row further ahead than the whole window waits until this many stand there: one wrong clock must not wipe a
/// history, but a feed that really went on after a long silence must be followed.
const ROWS_TO_JUMP: usize = 3;

/// How a dataset's rows become histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRules {
    /// Newest grid points kept.
    pub window: usize,
    /// The step, if the configuration gives it.
    pub frequency: Option<Frequency>,
    /// What becomes of rows off the grid.
    pub off_grid: OffGrid,
}

impl From<&Dataset> for HistoryRules {
    fn from(dataset: &Dataset) -> Self {
        Self {
            window: dataset.history.window.get(),
            frequency: dataset.frequency,
            off_grid: dataset.off_grid,
        }
    }
}

/// The newest `window` grid points of a channel, gaps explicit, newest last.
#[derive(Clone, Debug)]
pub struct ChannelHistory {
    rules: HistoryRules,
    stage: Stage,
    /// Rows that did not lie on the grid, since this process started.
    off_grid_rows: u64,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Too few rows to be sure of the grid: the rows themselves.
    Young(BTreeMap<Timestamp, f64>),
    Settled(Window),
}

/// Values on a grid that stands. `NaN` is a gap; first and last are never gaps.
#[derive(Clone, Debug)]
struct Window {
    grid: Grid,
    first_slot: Slot,
    values: VecDeque<f64>,
    gaps: usize,
    /// What happened since a fit saw this window, as long as the window did nothing but move.
    moved: Option<Moved>,
    /// The lowest and the highest sample; unknown since one of them left.
    extremes: Option<Extremes>,
    /// Rows beyond the window's reach, waiting to be believed.
    ahead: BTreeMap<Timestamp, f64>,
}

/// Slots that left at the old end and entered at the new one.
#[derive(Clone, Debug, Default)]
struct Moved {
    left: Vec<f64>,
    entered: usize,
}

#[derive(Clone, Copy, Debug)]
struct Extremes {
    lowest: f64,
    highest: f64,
}

impl ChannelHistory {
    /// No row yet.
    pub fn new(rules: HistoryRules) -> Self {
        Self {
            rules,
            stage: Stage::Young(BTreeMap::new()),
            off_grid_rows: 0,
        }
    }

    /// Takes rows in; says whether what a fit sees has changed.
    pub fn extend(&mut self, rows: &ChannelRows) -> bool {
        match &mut self.stage {
            Stage::Young(young) if young.is_empty() && rows.len() >= SETTLED_ROWS => {
                // A backfill of years goes straight into the window, never as a whole into a map.
                if let Some(window) = Window::of(rows.times(), rows.values(), &self.rules, &mut self.off_grid_rows) {
                    self.stage = Stage::Settled(window);
                }
                true
            }
            Stage::Young(young) => {
                young.extend(rows.iter());
                self.settle_when_grown();
                true
            }
            Stage::Settled(window) => {
                let mut changed = false;
                for (time, value) in rows.iter() {
                    changed |= window.insert(time, value, &self.rules, &mut self.off_grid_rows);
                }
                changed
            }
        }
    }

    /// The window as a series, leading gaps cut. Empty until the grid is known.
    pub fn series(&self, channel: &ChannelName) -> Option<Series> {
        let channel = ChannelName::clone(channel);
        match &self.stage {
            Stage::Young(rows) => {
                let window = Window::of_young(rows, &self.rules, &mut 0)?;
                Some(window.series(channel))
            }
            Stage::Settled(window) => Some(window.series(channel)),
        }
    }

    /// The samples by their slots, if they lie on this grid.
    pub fn samples(&self, grid: &Grid) -> Option<Samples<'_>> {
        let window = match &self.stage {
            Stage::Young(rows) => Cow::Owned(Window::of_young(rows, &self.rules, &mut 0)?),
            Stage::Settled(window) => Cow::Borrowed(window),
        };
        (window.grid == *grid).then_some(Samples(window))
    }

    /// A fit sees the window as it is now: from here on its moves are recorded.
    pub fn record_moves(&mut self) {
        if let Stage::Settled(window) = &mut self.stage {
            window.moved = Some(Moved::default());
        }
    }

    /// No fit will roll on from what was seen.
    pub fn forget_moves(&mut self) {
        if let Stage::Settled(window) = &mut self.stage {
            window.moved = None;
        }
    }

    /// How the window moved since [`record_moves`](Self::record_moves), with `reach` slots beside. `None` where more
    /// happened to it than that, or it moved so far that it had better be seen as a whole.
    pub fn moves(&mut self, channel: &ChannelName, reach: usize) -> Option<WindowMove> {
        match &mut self.stage {
            Stage::Young(_) => None,
            Stage::Settled(window) => window.moves(ChannelName::clone(channel), reach),
        }
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<Timestamp> {
        match &self.stage {
            Stage::Young(rows) => rows.keys().next_back().copied(),
            Stage::Settled(window) => Some(window.grid.time(window.last_slot())),
        }
    }

    /// The step of its grid, once that is known for good.
    pub fn frequency(&self) -> Option<Frequency> {
        match &self.stage {
            Stage::Young(_) => self.rules.frequency,
            Stage::Settled(window) => Some(window.grid.frequency),
        }
    }

    /// Slots without a sample, inside the window.
    pub fn gaps(&self) -> usize {
        match &self.stage {
            Stage::Young(rows) => Window::of_young(rows, &self.rules, &mut 0).map_or(0, |window| window.gaps),
            Stage::Settled(window) => window.gaps,
        }
    }

    /// Rows that did not lie on the grid, since this process started.
    pub fn off_grid_rows(&self) -> u64 {
        self.off_grid_rows
    }

    fn settle_when_grown(&mut self) {
        if let Stage::Young(rows) = &self.stage
            && rows.len() >= SETTLED_ROWS
            && let Some(window) = Window::of_young(rows, &self.rules, &mut self.off_grid_rows)
        {
            self.stage = Stage::Settled(window);
        }
    }
}

/// The samples of a history on its grid.
#[derive(Clone, Debug)]
pub struct Samples<'h>(Cow<'h, Window>);

impl Samples<'_> {
    /// The sample of a slot; `None` for a gap, and outside of the window.
    pub fn at(&self, slot: Slot) -> Option<f64> {
        let index = usize::try_from(slot.checked_sub(self.0.first_slot)?).ok()?;
        self.0.values.get(index).copied().filter(|value| !value.is_nan())
    }

    /// The slot of the newest sample.
    pub fn newest(&self) -> Slot {
        self.0.last_slot()
    }

    /// Oldest first, gaps as `NaN`.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.0.values.iter().copied()
    }
}

impl Window {
    fn of_young(rows: &BTreeMap<Timestamp, f64>, rules: &HistoryRules, off_grid_rows: &mut u64) -> Option<Self> {
        let (times, values): (Vec<Timestamp>, Vec<f64>) = rows.iter().unzip();
        Self::of(&times, &values, rules, off_grid_rows)
    }

    /// A window of rows at these strictly ascending times.
    fn of(times: &[Timestamp], values: &[f64], rules: &HistoryRules, off_grid_rows: &mut u64) -> Option<Self> {
        let grid = grid_of(times, rules.frequency)?;
        if is_gapless(times, &grid) {
            let surplus = times.len().saturating_sub(rules.window);
            return Some(Self {
                grid,
                first_slot: grid.nearest(times[surplus]),
                values: values[surplus..].to_vec().into(),
                gaps: 0,
                moved: None,
                extremes: None,
                ahead: BTreeMap::new(),
            });
        }
        let first_slot = grid.nearest(*times.first()?);
        let span = grid.nearest(*times.last()?) - first_slot + 1;
        let mut window = Self {
            grid,
            first_slot,
            values: VecDeque::with_capacity((span as usize).min(rules.window)),
            gaps: 0,
            moved: None,
            extremes: None,
            ahead: BTreeMap::new(),
        };
        window.values.push_back(*values.first()?);
        for (time, value) in times.iter().zip(values).skip(1) {
            window.insert(*time, *value, rules, off_grid_rows);
        }
        Some(window)
    }

    fn last_slot(&self) -> Slot {
        self.first_slot + self.values.len() as Slot - 1
    }

    fn insert(&mut self, time: Timestamp, value: f64, rules: &HistoryRules, off_grid_rows: &mut u64) -> bool {
        let slot = self.grid.nearest(time);
        if self.grid.time(slot) != time {
            *off_grid_rows += 1;
            if rules.off_grid == OffGrid::Drop {
                return false;
            }
        }
        let window = rules.window as Slot;
        if slot - self.last_slot() > window {
            return self.consider_jump(time, value, rules);
        }
        if slot <= self.last_slot() - window {
            return false; // on disk, but behind what a fit sees
        }
        if slot < self.first_slot {
            self.prepend(slot, value);
        } else if slot > self.last_slot() {
            self.append(slot, value, rules.window);
            self.ahead.clear(); // the feed goes on here: what stood ahead was a wrong clock
        } else {
            self.replace(slot, value);
        }
        true
    }

    /// Makes room first: a deque that grew past the window for a moment would keep twice the memory for ever.
    fn append(&mut self, slot: Slot, value: f64, window: usize) {
        let new = (slot - self.last_slot()) as usize;
        let surplus = (self.values.len() + new).saturating_sub(window).min(self.values.len());
        self.drop_oldest(surplus, window);
        self.values.extend(std::iter::repeat_n(f64::NAN, new - 1));
        self.gaps += new - 1;
        self.values.push_back(value);
        self.extremes = self.extremes.map(|extremes| extremes.widened(value));
        if let Some(moved) = &mut self.moved {
            moved.entered += new;
        }
        while self.values.front().is_some_and(|value| value.is_nan()) {
            self.drop_oldest(1, window);
        }
    }

    fn drop_oldest(&mut self, count: usize, window: usize) {
        for value in self.values.drain(..count) {
            self.gaps -= usize::from(value.is_nan());
            self.extremes = self.extremes.filter(|extremes| extremes.outlast(value));
            if let Some(moved) = &mut self.moved {
                moved.left.push(value);
            }
        }
        // What left is kept no longer than it is of use.
        self.moved
            .take_if(|moved| moved.left.len() > RollingFit::most_moved(window));
        self.first_slot += count as Slot;
    }

    fn prepend(&mut self, slot: Slot, value: f64) {
        for _ in slot + 1..self.first_slot {
            self.values.push_front(f64::NAN);
            self.gaps += 1;
        }
        self.values.push_front(value);
        self.extremes = self.extremes.map(|extremes| extremes.widened(value));
        self.moved = None;
        self.first_slot = slot;
    }

    fn replace(&mut self, slot: Slot, value: f64) {
        let index = (slot - self.first_slot) as usize;
        let old = std::mem::replace(&mut self.values[index], value);
        self.gaps -= usize::from(old.is_nan());
        let extremes = self.extremes.filter(|extremes| extremes.outlast(old));
        self.extremes = extremes.map(|extremes| extremes.widened(value));
        // No fit has seen a slot that entered since.
        self.moved.take_if(|moved| index + moved.entered < self.values.len());
    }

    /// A row beyond the window's reach: believed once enough stand there, and then the window begins anew.
    fn consider_jump(&mut self, time: Timestamp, value: f64, rules: &HistoryRules) -> bool {
        self.ahead.insert(time, value);
        if self.ahead.len() < ROWS_TO_JUMP {
            return false;
        }
        for (time, value) in std::mem::take(&mut self.ahead) {
            let slot = self.grid.nearest(time);
            if slot - self.last_slot() > rules.window as Slot {
                (self.first_slot, self.values, self.gaps) = (slot, VecDeque::from([value]), 0);
                (self.moved, self.extremes) = (None, None);
            } else if slot > self.last_slot() {
                self.append(slot, value, rules.window);
            }
        }
        true
    }

    fn series(&self, channel: ChannelName) -> Series {
        Series {
            channel,
            grid: self.grid,
            first_slot: self.first_slot,
            values: self.values.clone().into(),
        }
    }

    fn moves(&mut self, channel: ChannelName, reach: usize) -> Option<WindowMove> {
        let Moved { left, entered } = self.moved.as_ref()?;
        let seen = self.values.len() + left.len() - entered;
        if left.len().max(*entered) > RollingFit::most_moved(seen) {
            return None;
        }
        let is_sample = |value: &f64| !value.is_nan();
        let oldest = reach + self.values.iter().skip(reach).position(is_sample)? + 1;
        let known = self.values.len().checked_sub(entered + reach)?;
        let newest = self.values.iter().take(known + 1).rposition(is_sample)?;
        let extremes = *self.extremes.get_or_insert_with(|| Extremes::of(&self.values));
        Some(WindowMove {
            channel,
            grid: self.grid,
            cutoff_slot: self.last_slot(),
            oldest: left.iter().chain(self.values.range(..oldest)).copied().collect(),
            left: left.len(),
            newest: self.values.range(newest..).copied().collect(),
            entered: *entered,
            missing: self.gaps,
            lowest: extremes.lowest,
            highest: extremes.highest,
        })
    }
}

impl Extremes {
    /// Gaps do not count.
    fn of(values: &VecDeque<f64>) -> Self {
        let none = Self {
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
        };
        values.iter().fold(none, |extremes, value| extremes.widened(*value))
    }

    fn widened(self, value: f64) -> Self {
        Self {
            lowest: self.lowest.min(value),
            highest: self.highest.max(value),
        }
    }

    /// Whether they stay when a value leaves. A gap is no extreme.
    fn outlast(&self, value: f64) -> bool {
        value != self.lowest && value != self.highest
    }
}

/// Whether every slot from the first time to the last has exactly one row, on the grid to the nanosecond. Most
/// channels are so, and need no look at each row.
fn is_gapless(times: &[Timestamp], grid: &Grid) -> bool {
    let Frequency::Fixed(step) = grid.frequency else {
        return false;
    };
    let follows = |pair: &[Timestamp]| pair[1].0.wrapping_sub(pair[0].0) == step.get();
    grid.time(grid.nearest(times[0])) == times[0] && times.windows(2).all(follows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::message::series_drop::{RawRows, SeriesDrop};

    const RULES: HistoryRules = HistoryRules {
        window: 100,
        frequency: None,
        off_grid: OffGrid::Snap,
    };

    /// Rows at these times, each with its time as its value.
    fn rows(times: impl IntoIterator<Item = i64>) -> SeriesDrop {
        let rows = times.into_iter().map(|time| (Timestamp(time), time as f64)).collect();
        SeriesDrop::from_rows(RawRows {
            channels: BTreeMap::from([("a".into(), rows)]),
        })
        .0
    }

    fn extend(history: &mut ChannelHistory, times: impl IntoIterator<Item = i64>) -> bool {
        history.extend(rows(times).channels().next().expect("rows").1)
    }

    /// A settled history: slots 0, 10, …, 990.
    fn settled() -> ChannelHistory {
        let mut history = ChannelHistory::new(RULES);
        extend(&mut history, (0..100).map(|i| i * 10));
        history
    }

    fn values(history: &ChannelHistory) -> Vec<f64> {
        history.series(&"a".into()).expect("a series").values
    }

    /// Times held, oldest first; a gap is `None`.
    fn held(history: &ChannelHistory) -> (i64, Vec<Option<i64>>) {
        let series = history.series(&"a".into()).expect("a series");
        let values = series
            .values
            .iter()
            .map(|v| (!v.is_nan()).then_some(*v as i64))
            .collect();
        (series.grid.time(series.first_slot).0, values)
    }

    #[test]
    fn the_window_holds_the_newest_points_and_never_grows() {
        let mut history = settled();
        for time in (1000..5000).step_by(10) {
            assert!(extend(&mut history, [time]));
            assert_eq!(values(&history).len(), 100);
        }
        assert_eq!(held(&history).0, 4000);
        let Stage::Settled(window) = &history.stage else {
            panic!("settled")
        };
        assert!(window.values.capacity() <= 128, "{}", window.values.capacity());
    }

    #[test]
    fn gaps_are_explicit_and_closed_by_late_rows() {
        let mut history = settled();
        assert!(extend(&mut history, [1030]));
        assert_eq!(history.gaps(), 3);
        assert_eq!(
            held(&history).1[94..],
            [Some(980), Some(990), None, None, None, Some(1030)].map(|t| t)
        );
        assert!(extend(&mut history, [1010, 1000]));
        assert_eq!(history.gaps(), 1);
        assert_eq!(history.newest(), Some(Timestamp(1030)));
    }

    #[test]
    fn a_gap_at_the_front_is_cut_as_the_window_moves_on() {
        let mut history = settled();
        extend(&mut history, [1100]);
        assert_eq!(history.gaps(), 10);
        extend(&mut history, (1110..1900).step_by(10));
        assert_eq!((held(&history).0, history.gaps()), (900, 10));
        extend(&mut history, (1900..2010).step_by(10));
        assert_eq!((held(&history).0, history.gaps()), (1100, 0));
    }

    #[test]
    fn rows_behind_the_window_change_nothing_and_a_revision_changes_its_slot() {
        let mut history = settled();
        extend(&mut history, [1000]);
        assert!(!extend(&mut history, [0]));
        let revised = SeriesDrop::from_rows(RawRows {
            channels: BTreeMap::from([("a".into(), vec![(Timestamp(500), -1.0)])]),
        });
        assert!(history.extend(revised.0.channels().next().expect("rows").1));
        assert_eq!(values(&history)[49], -1.0);
    }

    #[test]
    fn rows_before_the_first_are_taken_while_there_is_room() {
        let mut history = ChannelHistory::new(RULES);
        extend(&mut history, (0..70).map(|i| i * 10));
        extend(&mut history, [-30]);
        assert_eq!((held(&history).0, history.gaps(), values(&history).len()), (-30, 2, 73));
        assert!(!extend(&mut history, [-400]));
    }

    #[test]
    fn one_row_from_a_wrong_clock_waits_and_a_feed_that_went_on_is_followed() {
        let mut history = settled();
        assert!(!extend(&mut history, [1_000_000]));
        assert!(extend(&mut history, [1000]));
        assert_eq!(history.newest(), Some(Timestamp(1000)));
        assert!(!extend(&mut history, [1_000_000]) && !extend(&mut history, [1_000_010]));
        assert!(extend(&mut history, [1_000_020]));
        assert_eq!(values(&history), [1_000_000.0, 1_000_010.0, 1_000_020.0]);
    }

    #[test]
    fn off_grid_rows_are_snapped_or_dropped_and_counted() {
        let mut history = settled();
        assert!(extend(&mut history, [1003]));
        assert_eq!((history.off_grid_rows(), history.newest()), (1, Some(Timestamp(1000))));
        let mut strict = ChannelHistory::new(HistoryRules {
            off_grid: OffGrid::Drop,
            ..RULES
        });
        extend(&mut strict, (0..100).map(|i| i * 10));
        assert!(!extend(&mut strict, [1003]));
        assert_eq!((strict.off_grid_rows(), strict.newest()), (1, Some(Timestamp(990))));
    }

    #[test]
    fn moves_are_recorded_until_they_are_forgotten_or_too_many() {
        let mut history = settled();
        let moves =
            |history: &mut ChannelHistory| history.moves(&"a".into(), 5).map(|moves| (moves.left, moves.entered));
        extend(&mut history, [1000]);
        assert_eq!(moves(&mut history), None);
        history.record_moves();
        assert_eq!(moves(&mut history), Some((0, 0)));
        extend(&mut history, (1010..=1110).step_by(10));
        assert_eq!(moves(&mut history), Some((11, 11)));
        extend(&mut history, [1140]);
        assert_eq!(moves(&mut history), None);
        history.record_moves();
        extend(&mut history, [1150]);
        assert_eq!(moves(&mut history), Some((1, 1)));
        history.forget_moves();
        assert_eq!(moves(&mut history), None);
    }

    proptest::proptest! {
        #[test]
        fn moves_lead_from_the_window_that_was_seen_to_the_one_that_is(
            rows in proptest::collection::vec((-8..30_i64, 1..4_i64, 0..10_usize), 1..40), reach in 0..20_usize,
        ) {
            let mut history = settled();
            history.record_moves();
            let mut seen = values(&history);
            for (back, count, look) in rows {
                // Mostly a little ahead, at times a gap, at times a revision.
                let last = history.newest().expect("settled").0 / 10;
                let first = if back < 0 { last + back } else { last + 1 + back / 10 };
                extend(&mut history, (first..first + count).map(|slot| slot * 10));
                let now = values(&history);
                let Some(moves) = history.moves(&"a".into(), reach) else { continue };
                let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                let entered = &moves.newest[moves.newest.len() - moves.entered..];
                let known = moves.newest.len() - moves.entered;
                let led_to = [&seen[moves.left..], entered].concat();
                proptest::prop_assert_eq!(bits(&led_to), bits(&now));
                proptest::prop_assert_eq!(bits(&moves.oldest), bits(&seen[..moves.oldest.len()]));
                proptest::prop_assert_eq!(bits(&moves.newest[..known]), bits(&seen[seen.len() - known..]));
                proptest::prop_assert!(known >= reach && moves.oldest.len() >= moves.left + reach);
                let ends = [&moves.oldest, &moves.newest].map(|ends| ends[0].is_nan() || ends[ends.len() - 1].is_nan());
                proptest::prop_assert_eq!(ends, [false, false]);
                let samples = now.iter().copied().filter(|value| !value.is_nan());
                proptest::prop_assert_eq!(moves.missing, now.len() - samples.clone().count());
                proptest::prop_assert_eq!(moves.lowest, samples.clone().fold(f64::INFINITY, f64::min));
                proptest::prop_assert_eq!(moves.highest, samples.fold(f64::NEG_INFINITY, f64::max));
                if look == 0 {
                    history.record_moves();
                    seen = now;
                }
            }
        }

        #[test]
        fn whatever_the_times_the_window_stays_bounded_and_begins_and_ends_with_a_sample(
            drops in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<i64>(), 1..80), 1..5),
            scale in 0..63,
        ) {
            let mut history = ChannelHistory::new(RULES);
            for drop in drops {
                extend(&mut history, drop.into_iter().map(|time| time >> scale));
                let Some(series) = history.series(&"a".into()) else { continue };
                proptest::prop_assert!(series.values.len() <= RULES.window);
                proptest::prop_assert!(!series.values[0].is_nan() && !series.values[series.values.len() - 1].is_nan());
                let gaps = series.values.iter().filter(|value| value.is_nan()).count();
                proptest::prop_assert_eq!(gaps, history.gaps());
            }
        }
    }

    #[test]
    fn a_run_without_a_gap_gives_the_window_that_row_by_row_insertion_gives() {
        for (first, count) in [(-70, 100), (3, 101), (0, 100_000), (i64::MIN, 64)] {
            let times = (0..count).map(|i| first + i * 10);
            let mut at_once = ChannelHistory::new(RULES);
            extend(&mut at_once, times.clone());
            let mut one_by_one = ChannelHistory::new(RULES);
            extend(&mut one_by_one, times.clone().take(64));
            times.skip(64).for_each(|time| _ = extend(&mut one_by_one, [time]));
            assert_eq!(at_once.series(&"a".into()), one_by_one.series(&"a".into()));
        }
    }

    #[test]
    fn a_young_channel_changes_its_mind_about_the_grid() {
        let mut history = ChannelHistory::new(RULES);
        assert!(extend(&mut history, [0]));
        assert_eq!(history.series(&"a".into()), None);
        extend(&mut history, [60]);
        assert_eq!(values(&history).len(), 2);
        extend(&mut history, [10, 20, 30, 40, 50]);
        assert_eq!((values(&history).len(), history.gaps()), (7, 0));
    }
}
