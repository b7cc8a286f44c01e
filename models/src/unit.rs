//! Powers of two as units: numbers of any size are brought near one without a rounding error.
//!
//! Squares of 1e300 overflow and squares of 1e-300 vanish, so no sum of squares is taken before the unit is off.

use std::f64::consts::LN_2;

use crate::dot::extremes;

/// A power of two that a channel is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    exponent: i32,
}

impl Unit {
    /// The unit in which the largest magnitude is about one. Gaps do not count.
    pub(crate) fn of(values: &[f64]) -> Self {
        let (lowest, highest) = extremes(values);
        let largest = highest.max(-lowest);
        let exponent = if largest > 0.0 {
            largest.log2().floor() as i32 + 1
        } else {
            0
        };
        Self { exponent }
    }

    /// This power of two.
    pub(crate) fn power_of_two(exponent: i32) -> Self {
        Self { exponent }
    }

    /// Takes the unit off.
    pub(crate) fn strip(self, value: f64) -> f64 {
        times_power_of_two(value, -self.exponent)
    }

    /// Puts the unit back; infinite where the number is beyond `f64`.
    pub(crate) fn restore(self, value: f64) -> f64 {
        times_power_of_two(value, self.exponent)
    }

    /// Puts the unit back on a square.
    pub(crate) fn restore_square(self, value: f64) -> f64 {
        self.restore(self.restore(value))
    }

    /// How many powers of two this is away from another.
    pub(crate) fn distance(self, other: Self) -> u32 {
        self.exponent.abs_diff(other.exponent)
    }

    /// The natural logarithm of the unit.
    pub(crate) fn ln(self) -> f64 {
        f64::from(self.exponent) * LN_2
    }
}

/// In two halves, since 2^1074 itself is no `f64`.
fn times_power_of_two(value: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    value * power_of_two(half) * power_of_two(exponent - half)
}

/// Put together from its bits, which costs nothing, and nothing at all once a compiler has moved it out of a loop.
fn power_of_two(exponent: i32) -> f64 {
    debug_assert!((-1022..=1023).contains(&exponent), "2^{exponent} is no normal number");
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_comes_off_and_goes_back_without_a_trace() {
        for value in [1.0, -3.5, 1e300, f64::MAX, 1e-300, f64::MIN_POSITIVE, 5e-324, 0.0] {
            let unit = Unit::of(&[f64::NAN, value, value / 3.0]);
            let stripped = unit.strip(value);
            assert!(
                value == 0.0 || (0.25..=1.0).contains(&stripped.abs()),
                "{value} became {stripped}"
            );
            assert_eq!(unit.restore(stripped), value);
        }
    }
}
