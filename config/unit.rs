//! Numbers with a unit: durations, sizes, frequencies. Text in, value or complaint out.

use std::time::Duration;

use bytesize::ByteSize;
use forecastd_models::Frequency;

use crate::error::Complaint;
use crate::yaml::quoted;

/// A duration: `90s`, `5m`, `1h 30m`, `400d`.
pub(crate) fn duration(text: &str) -> Result<Duration, Complaint> {
    // humantime takes `M` for a month of 30.44 days; whoever writes `1M` means a minute or a calendar month.
    if units(text).any(|unit| unit == "M") {
        let complaint = Complaint::new(format!("`{}` has the unit `M`", quoted(text)));
        return Err(complaint.hint("write `m` for minutes, `d` for days"));
    }
    humantime::parse_duration(text).map_err(|_| {
        Complaint::new(format!("expected a duration, found the text `{}`", quoted(text))).hint(DURATION_HINT)
    })
}

/// A number of bytes: `2GiB`, `500MB`, `4096`.
pub(crate) fn size(text: &str) -> Result<u64, Complaint> {
    text.trim().parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| {
        Complaint::new(format!("expected a size, found the text `{}`", quoted(text)))
            .hint("a number and a unit, like `2GiB` or `500MB`")
    })
}

/// The step of a grid: `15m`, `1h`, `1d`; calendar months as `1mo`, `3mo`, `1y`.
pub(crate) fn frequency(text: &str) -> Result<Frequency, Complaint> {
    let calendar = units(text).any(|unit| months_in(unit).is_some());
    let frequency = if calendar { months(text) } else { fixed(text) };
    frequency.ok_or_else(|| {
        let complaint = Complaint::new(format!("`{}` is not a frequency", quoted(text)));
        if calendar || units(text).any(|unit| unit == "M") {
            complaint.hint("whole months or years alone, like `1mo`, `3mo` or `1y`; minutes are `m`")
        } else {
            complaint.hint(FREQUENCY_HINT)
        }
    })
}

/// What to write for a duration.
pub(crate) const DURATION_HINT: &str = "a number and a unit, like `90s`, `5m`, `1h 30m` or `400d`";

/// What to write for a frequency.
pub(crate) const FREQUENCY_HINT: &str = "`auto`, a duration like `15m`, `1h` or `1d`, or months like `1mo`";

fn fixed(text: &str) -> Option<Frequency> {
    let nanoseconds = i64::try_from(duration(text).ok()?.as_nanos()).ok()?;
    Frequency::fixed(nanoseconds)
}

fn months(text: &str) -> Option<Frequency> {
    let text = text.trim();
    let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let months = count.parse::<u32>().ok()?.checked_mul(months_in(unit.trim_start())?)?;
    Frequency::months(months)
}

/// The calendar months of a unit, if it is one of months.
fn months_in(unit: &str) -> Option<u32> {
    match unit {
        "mo" | "month" | "months" => Some(1),
        "y" | "year" | "years" => Some(12),
        _ => None,
    }
}

/// The words between the digits.
fn units(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_sizes_and_frequencies_read_as_they_are_meant() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h 30m", 5400),
            ("400d", 34_560_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for (text, bytes) in [
            ("2GiB", 2 << 30),
            ("500 MB", 500_000_000),
            ("4096", 4096),
            ("1.5kib", 1536),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, minutes) in [("15m", 15), ("1h", 60), ("1h 30m", 90), ("1d", 1440), ("1w", 10_080)] {
            assert_eq!(
                frequency(text).ok(),
                Frequency::fixed(minutes * 60_000_000_000),
                "{text}"
            );
        }
        for (text, months) in [("1mo", 1), ("3 months", 3), ("1y", 12), ("2years", 24)] {
            assert_eq!(frequency(text).ok(), Frequency::months(months), "{text}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for text in [
            "",
            "5",
            "5 apples",
            "-5s",
            "1M",
            "1.5.5s",
            "s",
            "９s",
            "99999999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text:?} as a duration");
        }
        for text in ["", "2 giga", "-1GiB", "GiB", "1e3", "NaNGiB"] {
            assert!(size(text).is_err(), "{text:?} as a size");
        }
        for text in [
            "",
            "0s",
            "0mo",
            "1mo 2d",
            "1.5mo",
            "1M",
            "mo",
            "hourly",
            "300y1s",
            "4294967295y",
            "20000000000m",
        ] {
            assert!(frequency(text).is_err(), "{text:?} as a frequency");
        }
    }

    #[test]
    fn a_capital_m_is_answered_with_both_its_meanings() {
        let hint = frequency("1M").expect_err("refused").hint.expect("a hint");
        assert!(hint.contains("`1mo`") && hint.contains("`m`"), "{hint}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-zA-Zµ. _-]{0,12}|\\PC{0,8}") {
            let _ = (duration(&text), size(&text), frequency(&text));
        }
    }
}
