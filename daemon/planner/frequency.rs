//! Which grid a channel's rows lie on, told from the rows themselves.

use std::collections::HashMap;

use forecastd_models::{Frequency, Grid, Timestamp};

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Steps that clocks and people use; a jittering feed is taken to mean the nearest of them.
const ROUND_STEPS: [i64; 38] = [
    MILLISECOND,
    2 * MILLISECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    20 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    200 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    20 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    3 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    4 * HOUR,
    6 * HOUR,
    8 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
];

/// A share of deltas that are equal to the nanosecond makes them the step; below it the feed jitters.
const EXACT_SHARE: f64 = 0.3;

/// A jittering feed's median delta may be this far, relatively, from the round step that it means.
const ROUND_TOLERANCE: f64 = 0.02;

/// The grid of rows at these strictly ascending times, or `None` for fewer than two.
///
/// The step is `given`, or the most common delta; for a feed that jitters, the median delta, as a round number
/// where one is near. Deltas of 28 to 31 days (and their multiples up to a year) between equal days of the month,
/// or between month ends, are calendar months.
pub fn grid_of(times: &[Timestamp], given: Option<Frequency>) -> Option<Grid> {
    let first = *times.first()?;
    let frequency = match given {
        Some(frequency) => frequency,
        None => calendar_months(times).or_else(|| fixed_step(times))?,
    };
    let origin = match frequency {
        Frequency::Fixed(step) => first.saturating_add(common_phase(times, step.get())),
        Frequency::Months(_) => first,
    };
    Some(Grid { origin, frequency })
}

fn fixed_step(times: &[Timestamp]) -> Option<Frequency> {
    let mut deltas: Vec<i64> = times
        .windows(2)
        .map(|pair| pair[1].0.saturating_sub(pair[0].0))
        .collect();
    if deltas.is_empty() {
        return None;
    }
    deltas.sort_unstable();
    let (delta, count) = most_common(&deltas);
    if count as f64 >= EXACT_SHARE * deltas.len() as f64 && (count > 1 || deltas.len() == 1) {
        return Frequency::fixed(delta);
    }
    let median = deltas[deltas.len() / 2];
    let near = |step: &i64| (step - median).abs() as f64 <= ROUND_TOLERANCE * *step as f64;
    Frequency::fixed(ROUND_STEPS.into_iter().find(near).unwrap_or(median))
}

/// The most common of sorted values, the smallest of equals, and how often it occurs.
fn most_common(sorted: &[i64]) -> (i64, usize) {
    let mut best = (0, 0);
    for run in sorted.chunk_by(|a, b| a == b) {
        if run.len() > best.1 {
            best = (run[0], run.len());
        }
    }
    best
}

/// Whether all times are equal days of some months (or all are month ends), and how many months lie between.
fn calendar_months(times: &[Timestamp]) -> Option<Frequency> {
    let (first, second) = (*times.first()?, *times.get(1)?);
    if second.0.saturating_sub(first.0) < 28 * DAY {
        return None;
    }
    let monthly = Grid {
        origin: first,
        frequency: Frequency::months(1)?,
    };
    let mut steps: HashMap<i64, usize> = HashMap::new();
    for pair in times.windows(2) {
        let (from, to) = (monthly.nearest(pair[0]), monthly.nearest(pair[1]));
        if monthly.time(to) != pair[1] || to <= from {
            return None;
        }
        *steps.entry(to - from).or_default() += 1;
    }
    let (months, _) = steps.into_iter().max_by_key(|(months, count)| (*count, -months))?;
    Frequency::months(u32::try_from(months).ok().filter(|months| *months <= 12)?)
}

/// How far after the first time the grid's origin lies, so that most rows are nearest to their own slot: zero
/// where the first row agrees with most others, else the median of all rows' offsets.
fn common_phase(times: &[Timestamp], step: i64) -> i64 {
    if times.windows(2).all(|pair| pair[1].0.wrapping_sub(pair[0].0) == step) {
        return 0; // nearly every channel, and 128-bit remainders are dear
    }
    let first = i128::from(times[0].0);
    let step = i128::from(step);
    let mut offsets: Vec<i64> = times
        .iter()
        .map(|time| ((i128::from(time.0) - first + step / 2).rem_euclid(step) - step / 2) as i64)
        .collect();
    if offsets.iter().filter(|offset| **offset == 0).count() * 2 > offsets.len() {
        return 0;
    }
    offsets.sort_unstable();
    offsets[offsets.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &[&str]) -> Vec<Timestamp> {
        let parse = |t: &&str| Timestamp(t.parse::<jiff::Timestamp>().expect("a time").as_nanosecond() as i64);
        text.iter().map(parse).collect()
    }

    fn every(step: i64, slots: &[i64]) -> Vec<Timestamp> {
        slots
            .iter()
            .map(|slot| Timestamp(1_600_000_000 * SECOND + slot * step))
            .collect()
    }

    #[test]
    fn the_most_common_delta_is_the_step_whatever_is_missing() {
        for slots in [vec![0, 1], vec![0, 1, 2, 5, 6, 20, 21], vec![0, 3, 4, 5, 9, 10]] {
            let grid = grid_of(&every(5 * MINUTE, &slots), None).expect("a grid");
            assert_eq!(
                grid.frequency,
                Frequency::fixed(5 * MINUTE).expect("positive"),
                "{slots:?}"
            );
        }
        assert_eq!(grid_of(&every(1, &[7]), None), None);
    }

    #[test]
    fn a_jittering_feed_means_the_round_step_and_no_row_leaves_its_slot() {
        let jitter = [3, -2, 1, 0, -4, 2, -1, 4, -3, 1, 2, -2];
        let rows: Vec<_> = (0..)
            .zip(jitter)
            .map(|(i, j)| Timestamp(i * 100 * MILLISECOND + j * 100_003))
            .collect();
        let grid = grid_of(&rows, None).expect("a grid");
        assert_eq!(grid.frequency, Frequency::fixed(100 * MILLISECOND).expect("positive"));
        let slots: Vec<_> = rows.iter().map(|time| grid.nearest(*time)).collect();
        assert_eq!(slots, (slots[0]..slots[0] + rows.len() as i64).collect::<Vec<_>>());
    }

    #[test]
    fn calendar_months_are_told_from_thirty_days() {
        let cases: [(&[&str], u32); 4] = [
            (
                &[
                    "2020-01-01T00:00:00Z",
                    "2020-02-01T00:00:00Z",
                    "2020-03-01T00:00:00Z",
                    "2020-05-01T00:00:00Z",
                ],
                1,
            ),
            (
                &["2020-01-31T00:00:00Z", "2020-02-29T00:00:00Z", "2020-03-31T00:00:00Z"],
                1,
            ),
            (
                &["2020-03-31T00:00:00Z", "2020-06-30T00:00:00Z", "2020-09-30T00:00:00Z"],
                3,
            ),
            (
                &["1990-01-01T00:00:00Z", "1991-01-01T00:00:00Z", "1992-01-01T00:00:00Z"],
                12,
            ),
        ];
        for (rows, months) in cases {
            let grid = grid_of(&times(rows), None).expect("a grid");
            assert_eq!(grid.frequency, Frequency::months(months).expect("positive"), "{rows:?}");
        }
        let thirty_days = grid_of(&every(30 * DAY, &[0, 1, 2, 3]), None).expect("a grid");
        assert_eq!(thirty_days.frequency, Frequency::fixed(30 * DAY).expect("positive"));
    }

    #[test]
    fn a_given_frequency_needs_one_row_only() {
        let hourly = Frequency::fixed(HOUR);
        assert_eq!(
            grid_of(&every(1, &[0]), hourly).map(|grid| Some(grid.frequency)),
            Some(hourly)
        );
    }
}
