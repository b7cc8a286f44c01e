//! Cells become samples that can be fitted and judged, or the reason why not.

use forecastd_models::GapPolicy;
use forecastd_models::backtest::Standard;
use serde::Serialize;

/// A channel or series that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Skipped {
    pub(super) channel: String,
    /// For programs.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) detail: String,
}

/// Why a channel is left out.
pub(super) type Skip = (&'static str, String);

/// Samples without gaps, standardised.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) values: Vec<f64>,
    pub(super) standard: Standard,
    /// Cells that had no number.
    pub(super) filled: usize,
}

impl Samples {
    /// Standardises by the first `train` of the cells. Gaps (NaN) become straight lines between their neighbours;
    /// before the first number and after the last one, that one stands.
    pub(super) fn new(mut values: Vec<f64>, train: usize) -> Result<Self, Skip> {
        check_finite(&values)?;
        if all_missing(&values[..train]) {
            return Err(("train_missing", format!("none of its {train} train rows has a number")));
        }
        let filled = fill(&mut values);
        let Some(standard) = Standard::of(&values[..train]) else {
            return Err((
                "constant",
                format!("its {train} train rows do not vary, which leaves no scale"),
            ));
        };
        values
            .iter_mut()
            .for_each(|value| *value = standard.standardised(*value));
        check_finite(&values)?;
        Ok(Self {
            values,
            standard,
            filled,
        })
    }
}

pub(super) fn all_missing(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_nan())
}

pub(super) fn check_finite(values: &[f64]) -> Result<(), Skip> {
    match values.iter().position(|value| value.is_infinite()) {
        Some(row) => Err(("infinite", format!("row {row} (from 0) holds an infinite number"))),
        None => Ok(()),
    }
}

/// Fills gaps; says how many there were.
pub(super) fn fill(values: &mut [f64]) -> usize {
    let known = |value: &f64| !value.is_nan();
    let (Some(first), Some(last)) = (values.iter().position(known), values.iter().rposition(known)) else {
        return 0;
    };
    let inside = GapPolicy::Interpolate.fill(&mut values[first..=last]);
    let (before, after) = (first, values.len() - 1 - last);
    let (head, tail) = (values[first], values[last]);
    values[..before].fill(head);
    values[last + 1..].fill(tail);
    before + inside + after
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: f64 = f64::NAN;

    #[test]
    fn gaps_are_lines_between_neighbours_and_the_nearest_number_at_the_ends() {
        let mut values = [GAP, 1.0, GAP, GAP, 4.0, GAP, GAP];
        assert_eq!(fill(&mut values), 5);
        assert_eq!(values, [1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0]);
        assert_eq!(fill(&mut [GAP, GAP]), 0);
    }

    #[test]
    fn what_cannot_be_scaled_is_left_out_by_name() {
        let cases: [(&[f64], &str); 5] = [
            (&[GAP, GAP, 1.0, 2.0], "train_missing"),
            (&[3.0, 3.0, 1.0, 2.0], "constant"),
            (&[3.0, GAP, 3.0, 2.0], "constant"),
            (&[3.0, f64::INFINITY, 3.0, 2.0], "infinite"),
            (&[0.0, 1e-300, 1e300, 2.0], "infinite"),
        ];
        for (values, expected) in cases {
            let skip = Samples::new(values.to_vec(), 2).expect_err("left out");
            assert_eq!(skip.0, expected, "{values:?}");
        }
        let samples = Samples::new(vec![1.0, 3.0, GAP, 5.0], 2).expect("it varies");
        assert_eq!((samples.values, samples.filled), (vec![-1.0, 1.0, 2.0, 3.0], 1));
    }
}
