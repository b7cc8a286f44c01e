//! Random numbers that are the same everywhere and for ever: xoshiro256++ (Blackman and Vigna, arXiv 1805.01407), its
//! state filled by SplitMix64 as its authors advise.
//!
//! Whole numbers, shuffles and [`Random::uniform`] are the same to the bit on every machine; what goes through a
//! logarithm or a cosine is so up to the last digit of the machine's own.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::sip_hash::sip_hash;

/// SplitMix64 (Steele, Lea and Flood, 2014): moves the state and gives its next number.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A stream of random numbers. Kept in a checkpoint it goes on where it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random {
    seed: u64,
    state: [u64; 4],
}

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut filler = seed;
        let state = std::array::from_fn(|_| split_mix(&mut filler));
        Self { seed, state }
    }

    /// Another stream for a part of the work, told by the seed and the label alone: what has been drawn here, or from
    /// other parts, does not change it.
    pub fn derive(&self, label: &str) -> Self {
        Self::new(sip_hash([self.seed, 0], label.as_bytes()))
    }

    /// Sixty-four random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let word = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        word
    }

    /// In [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// In [low, high), or `low` where they are equal.
    pub fn uniform_in(&mut self, low: f64, high: f64) -> f64 {
        let value = low + (high - low) * self.uniform();
        // The sum can round up to the end that is left out.
        if value < high { value } else { high.next_down().max(low) }
    }

    /// A whole number below `bound`, each as likely (Lemire, arXiv 1805.10941).
    ///
    /// # Panics
    ///
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        // So many products would make the small results too likely.
        let excess = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= excess {
                return (product >> 64) as u64;
            }
        }
    }

    /// One of these; none of nothing.
    pub fn choice<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        (!items.is_empty()).then(|| &items[self.below(items.len() as u64) as usize])
    }

    /// Standard normal (Box and Muller, 1958): two draws for each.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Every order as likely (Fisher and Yates, from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As in the tests of other people's implementations, made with the authors' C code.
    #[test]
    fn split_mix_gives_the_published_numbers() {
        let mut state = 1_234_567;
        let numbers: [u64; 5] = std::array::from_fn(|_| split_mix(&mut state));
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(numbers, published);
    }

    /// From the tests of `rand_xoshiro`, made with the authors' C code.
    #[test]
    fn xoshiro_gives_the_published_numbers() {
        let mut random = Random {
            seed: 0,
            state: [1, 2, 3, 4],
        };
        let published = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
            14_011_001_112_246_962_877,
            12_406_186_145_184_390_807,
            15_849_039_046_786_891_736,
            10_450_023_813_501_588_000,
        ];
        assert_eq!(published.map(|_| random.next_u64()), published);
    }

    #[test]
    fn a_derived_stream_hangs_on_seed_and_label_only() {
        let mut random = Random::new(7);
        let before = random.derive("augment");
        random.next_u64();
        assert_eq!(random.derive("augment"), before);
        assert_ne!(random.derive("shuffle"), before);
        assert_ne!(Random::new(8).derive("augment"), before);
    }

    /// Six standard errors of a hundred thousand draws.
    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = Random::new(1);
        let mut moments = |draw: fn(&mut Random) -> f64| {
            let draws: Vec<f64> = (0..100_000).map(|_| draw(&mut random)).collect();
            let mean = draws.iter().sum::<f64>() / 1e5;
            let square = draws.iter().map(|draw| draw * draw).sum::<f64>() / 1e5;
            (mean, square - mean * mean)
        };
        let (mean, variance) = moments(Random::uniform);
        assert!((mean - 0.5).abs() < 0.006 && (variance - 1.0 / 12.0).abs() < 0.002);
        let (mean, variance) = moments(Random::normal);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03);
        let (mean, _) = moments(|random| random.below(7) as f64);
        assert!((mean - 3.0).abs() < 0.04);
    }

    #[test]
    fn every_order_of_three_is_as_likely() {
        let mut random = Random::new(3);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (820..1180).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn draws_stay_within_their_bounds(
            seed: u64, bound in 1u64.., low in -1e6..1e6f64, width in 1e-12..1e6f64, mut items: Vec<u8>,
        ) {
            let mut random = Random::new(seed);
            prop_assert!(random.below(bound) < bound);
            let high = low + width;
            let value = random.uniform_in(low, high);
            prop_assert!(low <= value && (value < high || low == high));
            prop_assert!(random.normal().is_finite());
            let mut sorted = items.clone();
            random.shuffle(&mut items);
            items.sort_unstable();
            sorted.sort_unstable();
            prop_assert_eq!(items, sorted);
        }

        #[test]
        fn a_stream_goes_on_after_a_checkpoint(seed: u64) {
            let mut random = Random::new(seed);
            random.next_u64();
            let json = serde_json::to_string(&random).expect("plain data");
            let mut restored: Random = serde_json::from_str(&json).expect("what was written");
            prop_assert_eq!(random.next_u64(), restored.next_u64());
        }
    }
}
