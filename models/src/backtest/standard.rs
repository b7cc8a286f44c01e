//! The scale of a channel: what makes errors of different channels comparable.

use serde::Serialize;

use crate::unit::Unit;

/// Mean and population standard deviation of a train part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Standard {
    /// What becomes zero.
    pub mean: f64,
    /// What becomes one.
    pub deviation: f64,
}

impl Standard {
    /// Of samples without gaps; `None` if they do not move, or farther than numbers reach.
    pub fn of(train: &[f64]) -> Option<Self> {
        if train.windows(2).all(|pair| pair[0] == pair[1]) {
            return None; // rounding would leave a deviation
        }
        let unit = Unit::of(train);
        let n = train.len() as f64;
        let mean = train.iter().map(|value| unit.strip(*value)).sum::<f64>() / n;
        let squares = train.iter().map(|value| (unit.strip(*value) - mean).powi(2));
        let deviation = unit.restore((squares.sum::<f64>() / n).sqrt());
        let mean = unit.restore(mean);
        (mean.is_finite() && deviation.is_normal()).then_some(Self { mean, deviation })
    }

    /// A value in this scale.
    pub fn standardised(self, value: f64) -> f64 {
        (value - self.mean) / self.deviation
    }

    /// A standardised value in the unit it came in.
    pub fn restored(self, value: f64) -> f64 {
        value * self.deviation + self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_part_has_mean_zero_and_population_deviation_one() {
        let standard = Standard::of(&[1.0, 2.0, 3.0, 4.0]).expect("it moves");
        assert_eq!(standard.mean, 2.5);
        assert!((standard.deviation - 1.25_f64.sqrt()).abs() < 1e-15);
        assert_eq!(standard.restored(standard.standardised(7.0)), 7.0);
    }

    #[test]
    fn what_does_not_move_has_no_scale_and_size_does_not_matter() {
        for constant in [&[][..], &[3.0], &[0.1, 0.1, 0.1]] {
            assert_eq!(Standard::of(constant), None);
        }
        for size in [1e300, 1e-300] {
            let standard = Standard::of(&[size, 2.0 * size, 3.0 * size]).expect("it moves");
            assert!(
                (standard.standardised(3.0 * size) - 1.5_f64.sqrt()).abs() < 1e-12,
                "{standard:?}"
            );
        }
    }
}
