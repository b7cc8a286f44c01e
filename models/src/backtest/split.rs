//! Which rows are for fitting, for choosing and for judging.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

/// Rows of each part, one part after the other from the first row on. Rows beyond are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Split {
    /// Rows that members are fitted on, and whose mean and deviation standardise all others.
    pub train: usize,
    /// Rows that tell the members apart.
    pub validation: usize,
    /// Rows that nothing is told from.
    pub test: usize,
}

impl Split {
    /// Where the test part begins: a model may have seen everything before.
    pub fn cutoff(&self) -> usize {
        self.train + self.validation
    }

    /// Where the test part ends.
    pub fn end(&self) -> usize {
        self.cutoff() + self.test
    }

    /// The first target row of every window whose targets all lie in the test part.
    pub fn origins(&self, horizon: NonZeroUsize) -> Range<usize> {
        let end = (self.end() + 1).saturating_sub(horizon.get());
        self.cutoff()..end.max(self.cutoff())
    }

    /// Whether each part has a window for this lookback and horizon. A lookback may reach into the part before.
    pub fn holds(&self, lookback: NonZeroUsize, horizon: NonZeroUsize) -> bool {
        let horizon = horizon.get();
        self.train >= lookback.get().saturating_add(horizon) && self.validation >= horizon && self.test >= horizon
    }
}

/// How a file's rows are cut in three.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SplitRule {
    /// Twelve, four and four months of hours, a month having thirty days.
    EttHour,
    /// The same in quarters of an hour.
    EttMinute,
    /// Shares of the rows. Train and test are rounded down, and validation is what is left.
    Shares {
        /// Of the train part.
        train: f64,
        /// Of the validation part.
        validation: f64,
        /// Of the test part.
        test: f64,
    },
}

/// A text that is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("ett_hour, ett_minute, or three shares that sum to one, such as 0.7/0.1/0.2")]
pub struct BadSplit;

const MONTH: usize = 30 * 24;

impl SplitRule {
    /// What the literature takes where nobody says otherwise.
    pub const USUAL: Self = Self::Shares {
        train: 0.7,
        validation: 0.1,
        test: 0.2,
    };

    /// The parts of so many rows; `None` if they are too few for a rule of fixed lengths.
    pub fn of(self, rows: usize) -> Option<Split> {
        let split = match self {
            Self::EttHour => months(1),
            Self::EttMinute => months(4),
            Self::Shares { train, test, .. } => {
                let share = |share: f64| (share * rows as f64) as usize;
                let (train, test) = (share(train), share(test));
                let validation = rows.saturating_sub(train + test);
                Split {
                    train,
                    validation,
                    test,
                }
            }
        };
        (split.end() <= rows).then_some(split)
    }

    /// A number of rows from which on every part holds a window; `None` if there is none.
    ///
    /// For shares a few rows less may do by luck: what train and test are rounded down by, validation has.
    pub fn rows_needed(self, lookback: NonZeroUsize, horizon: NonZeroUsize) -> Option<usize> {
        let Self::Shares {
            train,
            validation,
            test,
        } = self
        else {
            let split = self.of(usize::MAX)?;
            return split.holds(lookback, horizon).then_some(split.end());
        };
        let (window, horizon_rows) = ((lookback.get() + horizon.get()) as f64, horizon.get() as f64);
        let rows = (window / train).max(horizon_rows / validation).max(horizon_rows / test);
        let holds = |rows: &usize| self.of(*rows).is_some_and(|split| split.holds(lookback, horizon));
        (rows.round() as usize..).find(holds) // rounded: 720 / 0.1 is 7200 and a trace
    }
}

fn months(rows_an_hour: usize) -> Split {
    Split {
        train: 12 * MONTH * rows_an_hour,
        validation: 4 * MONTH * rows_an_hour,
        test: 4 * MONTH * rows_an_hour,
    }
}

impl fmt::Display for SplitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EttHour => f.write_str("ett_hour"),
            Self::EttMinute => f.write_str("ett_minute"),
            Self::Shares {
                train,
                validation,
                test,
            } => write!(f, "{train}/{validation}/{test}"),
        }
    }
}

impl FromStr for SplitRule {
    type Err = BadSplit;

    fn from_str(text: &str) -> Result<Self, BadSplit> {
        match text {
            "ett_hour" => return Ok(Self::EttHour),
            "ett_minute" => return Ok(Self::EttMinute),
            _ => {}
        }
        let shares: Result<Vec<f64>, _> = text.split('/').map(str::parse).collect();
        let [train, validation, test] = shares.map_err(|_| BadSplit)?[..] else {
            return Err(BadSplit);
        };
        let positive = [train, validation, test].iter().all(|share| *share > 0.0);
        let whole = (train + validation + test - 1.0).abs() < 1e-9;
        (positive && whole)
            .then_some(Self::Shares {
                train,
                validation,
                test,
            })
            .ok_or(BadSplit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).expect("not zero")
    }

    fn parts(rule: SplitRule, rows: usize) -> Option<(usize, usize, usize)> {
        let split = rule.of(rows)?;
        Some((split.train, split.validation, split.test))
    }

    /// Numbers of rows as the literature's loaders have them.
    #[test]
    fn parts_are_those_of_the_literature() {
        assert_eq!(parts(SplitRule::EttHour, 17_420), Some((8_640, 2_880, 2_880)));
        assert_eq!(parts(SplitRule::EttMinute, 69_680), Some((34_560, 11_520, 11_520)));
        assert_eq!(parts(SplitRule::EttHour, 14_399), None);
        assert_eq!(parts(SplitRule::USUAL, 52_696), Some((36_887, 5_270, 10_539)));
        assert_eq!(parts(SplitRule::USUAL, 966), Some((676, 97, 193)));
        assert_eq!(parts(SplitRule::USUAL, 0), Some((0, 0, 0)));
    }

    #[test]
    fn all_windows_of_the_test_part_and_no_other_are_origins() {
        let split = SplitRule::EttHour.of(17_420).expect("long enough");
        assert_eq!(split.origins(size(96)), 11_520..14_305); // 2785 windows, as the published code has them
        let short = Split {
            train: 9,
            validation: 3,
            test: 2,
        };
        assert!(short.origins(size(3)).is_empty());
        assert_eq!(short.origins(size(2)), 12..13);
    }

    #[test]
    fn from_the_rows_needed_on_each_part_holds_a_window() {
        for (lookback, horizon) in [(512, 720), (96, 60), (2, 1), (512, 1)] {
            let (lookback, horizon) = (size(lookback), size(horizon));
            for rule in ["0.7/0.1/0.2", "0.5/0.25/0.25", "0.1/0.1/0.8"] {
                let rule: SplitRule = rule.parse().expect("a rule");
                let needed = rule.rows_needed(lookback, horizon).expect("some number");
                let holds = |rows| rule.of(rows).is_some_and(|split| split.holds(lookback, horizon));
                assert!(
                    (needed..needed + 100).all(holds),
                    "{rule} {lookback} {horizon}: {needed}"
                );
                assert!(
                    !(needed - needed.min(20)..needed).all(holds),
                    "{rule} {lookback} {horizon}: {needed}"
                );
            }
        }
        assert_eq!(SplitRule::USUAL.rows_needed(size(512), size(720)), Some(7_200));
        assert_eq!(SplitRule::EttHour.rows_needed(size(512), size(720)), Some(14_400));
        assert_eq!(SplitRule::EttHour.rows_needed(size(512), size(2_881)), None);
    }

    #[test]
    fn a_rule_reads_as_it_is_written() {
        for text in ["ett_hour", "ett_minute", "0.7/0.1/0.2", "0.6/0.2/0.2"] {
            assert_eq!(
                text.parse::<SplitRule>().map(|rule| rule.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "etth",
            "0.7/0.3",
            "0.7/0.1/0.3",
            "0.8/0/0.2",
            "1.2/-0.4/0.2",
            "a/b/c",
            "NaN/0.5/0.5",
        ] {
            assert_eq!(text.parse::<SplitRule>(), Err(BadSplit), "{text}");
        }
    }
}
