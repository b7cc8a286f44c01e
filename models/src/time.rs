//! Time as data: instants, frequencies, and the regular grid on which a channel's samples lie.

use std::fmt;
use std::num::{NonZeroI64, NonZeroU32};
use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// An instant, in nanoseconds since 1970-01-01T00:00:00Z: the years 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

/// Nanoseconds in a day of UTC.
const DAY: i64 = 86_400_000_000_000;

impl Timestamp {
    /// Seconds since the epoch, as Prometheus wants them.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This instant moved by `nanoseconds`, held at the ends of the range.
    #[must_use]
    pub fn saturating_add(self, nanoseconds: i64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// So much later, held at the end of the range.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        self.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }

    /// So much earlier, held at the start of the range.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        self.saturating_add(-i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

/// The step of a grid: a fixed time, or whole calendar months (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Frequency {
    /// A fixed number of nanoseconds, positive.
    Fixed(NonZeroI64),
    /// Calendar months: 1 for monthly, 3 for quarterly, 12 for yearly data.
    Months(NonZeroU32),
}

impl Frequency {
    /// A fixed step, if it is positive.
    pub fn fixed(nanoseconds: i64) -> Option<Self> {
        NonZeroI64::new(nanoseconds).filter(|n| n.get() > 0).map(Self::Fixed)
    }

    /// About how long a step is; months are taken as 31 days.
    pub fn longest_step(self) -> Duration {
        match self {
            Self::Fixed(step) => Duration::from_nanos(step.get().unsigned_abs()),
            Self::Months(months) => Duration::from_nanos(DAY.unsigned_abs())
                .saturating_mul(31)
                .saturating_mul(months.get()),
        }
    }

    /// A step of whole months, if it is positive.
    pub fn months(months: u32) -> Option<Self> {
        NonZeroU32::new(months).map(Self::Months)
    }
}

/// The number of a grid point, counted from the grid's origin.
pub type Slot = i64;

/// No instant lies farther from a grid's origin than this: so the difference of two slots never overflows.
const FARTHEST: Slot = 1 << 61;

/// A regular grid: `origin + slot × frequency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// The time of slot 0.
    pub origin: Timestamp,
    /// The step from a slot to the next.
    pub frequency: Frequency,
}

impl Grid {
    /// The instant of a slot, held at the ends of the range.
    pub fn time(&self, slot: Slot) -> Timestamp {
        match self.frequency {
            Frequency::Fixed(step) => {
                let time = i128::from(self.origin.0) + i128::from(slot) * i128::from(step.get());
                Timestamp(time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
            }
            Frequency::Months(months) => self.month_time(slot, months),
        }
    }

    /// The slot nearest to an instant; an instant half way between two belongs to the later one.
    pub fn nearest(&self, time: Timestamp) -> Slot {
        match self.frequency {
            Frequency::Fixed(step) => {
                let step = i128::from(step.get());
                let offset = i128::from(time.0) - i128::from(self.origin.0);
                let slot = (offset + step / 2).div_euclid(step);
                slot.clamp(-i128::from(FARTHEST), i128::from(FARTHEST)) as Slot
            }
            Frequency::Months(months) => {
                let guess = (month_number(time) - month_number(self.origin)).div_euclid(i64::from(months.get()));
                let distance = |slot: &Slot| (i128::from(self.time(*slot).0) - i128::from(time.0)).abs();
                [guess + 1, guess, guess - 1]
                    .into_iter()
                    .min_by_key(distance)
                    .unwrap_or(guess)
            }
        }
    }

    fn month_time(&self, slot: Slot, months: NonZeroU32) -> Timestamp {
        let (origin, clock) = split(self.origin);
        let month = month_number(self.origin).saturating_add(slot.saturating_mul(i64::from(months.get())));
        let first = i16::try_from(month.div_euclid(12))
            .and_then(|year| Ok((year, i8::try_from(month.rem_euclid(12) + 1)?)))
            .ok()
            .and_then(|(year, month)| Date::new(year, month, 1).ok());
        let Some(first) = first else {
            return Timestamp(if slot < 0 { i64::MIN } else { i64::MAX });
        };
        // The last day of a shorter month stands for the 29th to the 31st; an origin on a month's last day means
        // "the last day of each".
        let day = if origin.day() == origin.days_in_month() {
            first.days_in_month()
        } else {
            origin.day().min(first.days_in_month())
        };
        let days = days_since_epoch(first) + i64::from(day) - 1;
        Timestamp(days.saturating_mul(DAY).saturating_add(clock))
    }
}

/// The civil date of an instant in UTC, and the nanoseconds since its midnight.
fn split(time: Timestamp) -> (Date, i64) {
    let days = time.0.div_euclid(DAY);
    let date = Date::new(1970, 1, 1)
        .and_then(|epoch| epoch.checked_add(jiff::Span::new().days(days)))
        .expect("every 64-bit nanosecond lies within the years 1677 to 2262");
    (date, time.0.rem_euclid(DAY))
}

fn month_number(time: Timestamp) -> i64 {
    let (date, _) = split(time);
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

fn days_since_epoch(date: Date) -> i64 {
    let epoch = Date::new(1970, 1, 1).expect("a valid date");
    i64::from((date - epoch).get_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().expect("a timestamp").as_nanosecond() as i64)
    }

    #[test]
    fn a_fixed_grid_rounds_to_the_nearest_slot_on_both_sides_of_its_origin() {
        let grid = Grid {
            origin: Timestamp(100),
            frequency: Frequency::fixed(10).expect("positive"),
        };
        for (time, slot) in [(100, 0), (104, 0), (105, 1), (96, 0), (94, -1), (-5, -10)] {
            assert_eq!(grid.nearest(Timestamp(time)), slot, "{time}");
        }
        assert_eq!(grid.time(-3), Timestamp(70));
    }

    #[test]
    fn months_follow_the_calendar_and_month_ends_stay_month_ends() {
        let monthly = Frequency::months(1).expect("positive");
        let first = Grid {
            origin: instant("2020-01-01T06:00:00Z"),
            frequency: monthly,
        };
        assert_eq!(first.time(14), instant("2021-03-01T06:00:00Z"));
        assert_eq!(first.time(-2), instant("2019-11-01T06:00:00Z"));
        let end = Grid {
            origin: instant("2020-01-31T00:00:00Z"),
            frequency: monthly,
        };
        assert_eq!(end.time(1), instant("2020-02-29T00:00:00Z"));
        assert_eq!(end.time(13), instant("2021-02-28T00:00:00Z"));
        for slot in -400..400 {
            assert_eq!(end.nearest(end.time(slot)), slot);
            assert_eq!(first.nearest(first.time(slot)), slot);
        }
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let grid = Grid {
            origin: Timestamp(i64::MIN),
            frequency: Frequency::fixed(1).expect("positive"),
        };
        assert_eq!(grid.time(i64::MAX), Timestamp(-1));
        assert_eq!(grid.nearest(Timestamp(i64::MAX)), FARTHEST);
        // Further apart than 64-bit nanoseconds can count: the years 1700 and 2026.
        let far = Grid {
            origin: instant("1700-01-01T00:00:00Z"),
            frequency: Frequency::fixed(3_600_000_000_000).expect("positive"),
        };
        let newest = instant("2026-01-01T00:00:00Z");
        assert_eq!(far.time(far.nearest(newest)), newest);
        let monthly = Grid {
            origin: Timestamp(0),
            frequency: Frequency::months(1).expect("positive"),
        };
        assert_eq!(monthly.time(i64::MAX), Timestamp(i64::MAX));
        assert!(monthly.nearest(Timestamp(i64::MAX)) > 3000);
        assert!(Timestamp(i64::MIN).to_string().starts_with("1677"));
    }
}
