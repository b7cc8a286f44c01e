//! What stands for a missing sample.

use serde::{Deserialize, Serialize};

/// The declared policy for gaps inside a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapPolicy {
    /// A straight line between the neighbours.
    #[default]
    Interpolate,
    /// The last sample before the gap.
    Hold,
    /// No forecast for a channel with a gap.
    Error,
}

impl GapPolicy {
    /// Fills the gaps (NaN) between the first and the last sample; says how many there were. `Error` leaves them.
    ///
    /// Equal neighbours give exactly their value, so that a constant series stays one.
    pub fn fill(self, values: &mut [f64]) -> usize {
        if self == Self::Error {
            return 0;
        }
        let samples: Vec<usize> = (0..values.len()).filter(|t| !values[*t].is_nan()).collect();
        let mut filled = 0;
        for neighbours in samples.windows(2) {
            let (before, after) = (neighbours[0], neighbours[1]);
            let rise = match self {
                Self::Interpolate => values[after] - values[before],
                Self::Hold | Self::Error => 0.0,
            };
            let steps = (after - before) as f64;
            for t in before + 1..after {
                values[t] = values[before] + rise * ((t - before) as f64 / steps);
                filled += 1;
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: f64 = f64::NAN;

    fn filled(policy: GapPolicy, values: &[f64]) -> (Vec<f64>, usize) {
        let mut values = values.to_vec();
        let count = policy.fill(&mut values);
        (values, count)
    }

    #[test]
    fn gaps_are_filled_as_the_policy_says() {
        let gappy = [1.0, GAP, GAP, 4.0, GAP, 2.0];
        assert_eq!(
            filled(GapPolicy::Interpolate, &gappy),
            (vec![1.0, 2.0, 3.0, 4.0, 3.0, 2.0], 3)
        );
        assert_eq!(filled(GapPolicy::Hold, &gappy), (vec![1.0, 1.0, 1.0, 4.0, 4.0, 2.0], 3));
        assert_eq!(filled(GapPolicy::Error, &gappy).1, 0);
    }

    #[test]
    fn a_gap_between_equals_is_filled_exactly() {
        let (values, _) = filled(GapPolicy::Interpolate, &[0.1, GAP, GAP, GAP, GAP, GAP, GAP, 0.1]);
        assert_eq!(values, [0.1; 8]);
    }

    #[test]
    fn nothing_is_made_up_beyond_the_ends() {
        for values in [&[][..], &[GAP, GAP], &[GAP, 1.0, GAP]] {
            let (after, count) = filled(GapPolicy::Interpolate, values);
            assert_eq!(count, 0);
            assert!(after.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
