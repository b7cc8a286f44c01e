//! Seasons that people and machines live by, on a grid; which of them a channel follows shows in its samples.

use std::num::NonZeroUsize;

use crate::time::Frequency;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
/// Of 365.25 days, so many weeks are a year.
const WEEKS_A_YEAR: i64 = 52;
const MONTHS_A_YEAR: u32 = 12;

/// Samples of a season, the shortest first: a minute, an hour, a day, a week, a year, as far as the step divides them.
pub fn natural_seasons(frequency: Frequency) -> Vec<NonZeroUsize> {
    let lengths: Vec<i64> = match frequency {
        Frequency::Months(months) => {
            let divides = MONTHS_A_YEAR.is_multiple_of(months.get());
            vec![if divides {
                i64::from(MONTHS_A_YEAR / months.get())
            } else {
                0
            }]
        }
        Frequency::Fixed(step) => {
            let step = step.get();
            let year = if step == WEEK { WEEKS_A_YEAR } else { 0 };
            let whole = |period: i64| if period % step == 0 { period / step } else { 0 };
            [MINUTE, HOUR, DAY, WEEK].map(whole).into_iter().chain([year]).collect()
        }
    };
    let seasons = lengths.into_iter().filter_map(|length| usize::try_from(length).ok());
    seasons
        .filter(|length| *length > 1)
        .filter_map(NonZeroUsize::new)
        .collect()
}

/// That of the seasons after which the samples repeat themselves best. `None` where fewer than three of each are there.
pub fn season_of(values: &[f64], seasons: &[NonZeroUsize]) -> Option<NonZeroUsize> {
    let change = |season: &NonZeroUsize| {
        let season = season.get();
        let pairs = values.iter().zip(&values[season..]);
        pairs.map(|(before, after)| (after - before).powi(2)).sum::<f64>() / (values.len() - season) as f64
    };
    let told = seasons.iter().filter(|season| season.get() * 3 <= values.len());
    told.map(|season| (*season, change(season)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(season, _)| season)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(step: &str, frequency: Option<Frequency>) -> Vec<usize> {
        let frequency = frequency.unwrap_or_else(|| panic!("{step}"));
        natural_seasons(frequency).iter().map(|season| season.get()).collect()
    }

    #[test]
    fn a_step_has_the_seasons_that_it_divides() {
        for (step, frequency, seasons) in [
            ("1s", Frequency::fixed(SECOND), vec![60, 3_600, 86_400, 604_800]),
            ("10m", Frequency::fixed(10 * MINUTE), vec![6, 144, 1_008]),
            ("1h", Frequency::fixed(HOUR), vec![24, 168]),
            ("7h", Frequency::fixed(7 * HOUR), vec![24]),
            ("1d", Frequency::fixed(DAY), vec![7]),
            ("1w", Frequency::fixed(WEEK), vec![52]),
            ("1mo", Frequency::months(1), vec![12]),
            ("3mo", Frequency::months(3), vec![4]),
            ("5mo", Frequency::months(5), vec![]),
            ("1y", Frequency::months(12), vec![]),
        ] {
            assert_eq!(lengths(step, frequency), seasons, "{step}");
        }
    }

    #[test]
    fn a_channel_follows_the_season_after_which_it_repeats_itself() {
        let seasons: Vec<NonZeroUsize> = [4, 28].into_iter().filter_map(NonZeroUsize::new).collect();
        let weekly: Vec<f64> = (0..200)
            .map(|t| f64::from(t % 4) + 5.0 * f64::from(u8::from(t % 28 < 8)))
            .collect();
        let daily: Vec<f64> = (0..200).map(|t| f64::from(t % 4) + 0.01 * f64::from(t)).collect();
        assert_eq!(season_of(&weekly, &seasons).map(NonZeroUsize::get), Some(28));
        assert_eq!(season_of(&daily, &seasons).map(NonZeroUsize::get), Some(4));
        assert_eq!(season_of(&daily[..20], &seasons).map(NonZeroUsize::get), Some(4));
        assert_eq!(season_of(&daily[..11], &seasons), None);
    }
}
