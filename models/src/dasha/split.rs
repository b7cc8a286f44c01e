//! Which samples are for training, validation and test, told by each sample's id alone: rows may come in another
//! order, or more of them later, and none moves from one split to another.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::samples::Split;
use super::sip_hash::sip_hash;

/// The seed of splits that nobody gives one: those of the daemon.
pub const SPLIT_SEED: u64 = 0;

/// Whether validation gets a sample that was told to be for training, where samples are told their splits and none is for
/// validation. It gets its usual part, 15 %.
pub fn is_cut(seed: u64, id: &[u8]) -> bool {
    let fractions = SplitFractions {
        test: 0.0,
        ..SplitFractions::default()
    };
    fractions.split_of(seed, id) == Split::Validation
}

/// The parts that validation and test get; training has the rest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitFractions {
    /// In [0, 1).
    pub validation: f64,
    /// In [0, 1).
    pub test: f64,
}

impl Default for SplitFractions {
    fn default() -> Self {
        Self {
            validation: 0.15,
            test: 0.15,
        }
    }
}

/// Why there are no such splits.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SplitError {
    /// Not a fraction.
    #[error("{name} is {found}; it must lie in [0, 1)")]
    Fraction {
        /// `validation` or `test`.
        name: &'static str,
        /// What it is.
        found: f64,
    },
    /// Nothing is left to learn from.
    #[error("validation and test together are {0}; they must leave something to train on")]
    NothingLeft(f64),
}

impl SplitFractions {
    /// Whether these leave something to train on.
    ///
    /// # Errors
    ///
    /// What is out of bounds.
    pub fn check(&self) -> Result<(), SplitError> {
        for (name, found) in [("validation", self.validation), ("test", self.test)] {
            if !(0.0..1.0).contains(&found) {
                return Err(SplitError::Fraction { name, found });
            }
        }
        let held_out = self.validation + self.test;
        if held_out >= 1.0 {
            return Err(SplitError::NothingLeft(held_out));
        }
        Ok(())
    }

    /// The split of a sample. With `u` the upper 53 bits of SipHash-2-4 of the id's bytes, the key being the seed and
    /// a word of zeros, over 2^53: test where `u < test`, validation where `u < test + validation`, else training. So
    /// test stays the same when the part for validation changes.
    pub fn split_of(&self, seed: u64, id: &[u8]) -> Split {
        let part = (sip_hash([seed, 0], id) >> 11) as f64 / (1u64 << 53) as f64;
        if part < self.test {
            Split::Test
        } else if part < self.test + self.validation {
            Split::Validation
        } else {
            Split::Train
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whoever changes this moves every user's samples between training and test. The hashes are those of OpenSSL's
    /// SipHash with a key of zeros.
    #[test]
    fn the_split_of_an_id_never_changes() {
        let fractions = SplitFractions::default();
        let splits: Vec<u8> = (0..24)
            .map(|row: u32| fractions.split_of(0, row.to_string().as_bytes()) as u8)
            .collect();
        assert_eq!(splits, VECTORS);
    }

    const VECTORS: [u8; 24] = [0, 1, 0, 1, 1, 0, 2, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];

    #[test]
    fn parts_are_as_large_as_asked() {
        let fractions = SplitFractions {
            validation: 0.1,
            test: 0.3,
        };
        let mut counts = [0u32; 3];
        for row in 0..20_000u32 {
            counts[fractions.split_of(5, row.to_string().as_bytes()) as usize] += 1;
        }
        assert!(counts[0].abs_diff(12_000) < 400, "{counts:?}");
        assert!(counts[1].abs_diff(2_000) < 250, "{counts:?}");
        assert!(counts[2].abs_diff(6_000) < 400, "{counts:?}");
    }

    #[test]
    fn fractions_that_leave_nothing_are_told() {
        let told = |validation, test| {
            let fractions = SplitFractions { validation, test };
            fractions.check().expect_err("nothing is left").to_string()
        };
        assert!(told(0.5, 0.5).contains("together are 1"));
        assert!(told(-0.1, 0.5).contains("validation is -0.1"));
        assert!(told(0.1, f64::NAN).contains("test is NaN"));
        assert_eq!(SplitFractions::default().check(), Ok(()));
    }

    proptest! {
        #[test]
        fn a_larger_validation_moves_no_sample_of_test(seed: u64, id: Vec<u8>, test in 0.0..0.5f64, more in 0.0..0.4f64) {
            let of = |validation| SplitFractions { validation, test }.split_of(seed, &id);
            prop_assert_eq!(of(0.05) == Split::Test, of(0.05 + more) == Split::Test);
            prop_assert!(of(0.05) != Split::Validation || of(0.05 + more) == Split::Validation);
        }
    }
}
