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
        // Without a way out in the middle, which would be a look at each value by itself.
        let gaps = values.iter().fold(false, |gaps, value| gaps | value.is_nan());
        if self == Self::Error || !gaps {
            return 0;
        }
        let mut filled = 0;
        let mut before = 0;
        for after in 0..values.len() {
            if values[after].is_nan() {
                continue;
            }
            if after - before > 1 && !values[before].is_nan() {
                filled += self.bridge(&mut values[before..=after]);
            }
            before = after;
        }
        filled
    }

    /// Fills all between the ends; says how many that were.
    fn bridge(self, values: &mut [f64]) -> usize {
        let steps = values.len() - 1;
        let (first, last) = (values[0], values[steps]);
        let rise = match self {
            Self::Interpolate => last - first,
            Self::Hold | Self::Error => 0.0,
        };
        for (step, value) in values.iter_mut().enumerate().take(steps).skip(1) {
            *value = first + rise * (step as f64 / steps as f64);
        }
        steps - 1
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
