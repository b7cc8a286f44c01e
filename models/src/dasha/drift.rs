//! How far samples that arrive lie from those that a network was trained on, band by band.
//!
//! Values are standardised by the network's own scaling, so training values have mean 0 and deviation 1. Of values that
//! arrive with mean m and deviation s in that unit, a band's drift is the greater of |m| and |ln s|: how many training
//! deviations the mean has moved, or the logarithm of how many times wider or narrower the values lie. The drift of samples
//! is the greatest of their bands'. Letters have no such scale, and no drift.

use super::artifact::ModelDescription;
use super::samples::{ElementType, numbers};

/// Samples after which one counts half.
const HALF_LIFE: f64 = 1024.0;

/// Samples, as they count by then, before anything is said: a few are always apart from the rest.
const FEWEST: f64 = 32.0;

/// A band without any change would be infinitely far from one with some.
const LEAST_DEVIATION: f64 = 1e-3;

/// Sums over the standardised values of some samples, band by band.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BandSums {
    samples: f64,
    /// Of each band the number of its values, their sum, and that of their squares.
    bands: Vec<[f64; 3]>,
}

impl BandSums {
    /// Takes a sample's record, as the network takes it.
    pub fn add(&mut self, description: &ModelDescription, record: &[u8]) {
        if matches!(description.element, ElementType::Symbol { .. }) {
            return;
        }
        let scales = &description.scaling.inputs.0;
        let band_bytes = description.input_bytes() / scales.len().max(1);
        self.samples += 1.0;
        self.bands.resize(scales.len(), [0.0; 3]);
        for ((sums, scale), band) in self.bands.iter_mut().zip(scales).zip(record.chunks_exact(band_bytes)) {
            for value in numbers(&description.element, band) {
                let value = (value - scale.mean) / scale.deviation;
                sums[0] += 1.0;
                sums[1] += value;
                sums[2] += value * value;
            }
        }
    }

    /// Takes samples in that came later.
    pub fn follow(&mut self, later: &Self) {
        let keep = (-later.samples / HALF_LIFE).exp2();
        self.samples = self.samples * keep + later.samples;
        self.bands.resize(later.bands.len().max(self.bands.len()), [0.0; 3]);
        for (sums, later) in self.bands.iter_mut().zip(&later.bands) {
            for (sum, later) in sums.iter_mut().zip(later) {
                *sum = *sum * keep + later;
            }
        }
    }

    /// The drift of these samples; `None` while they are too few, or have no numbers.
    pub fn drift(&self) -> Option<f64> {
        if self.samples < FEWEST {
            return None;
        }
        let drifts = self.bands.iter().filter(|[count, ..]| *count > 0.0);
        drifts.map(|sums| drift(*sums)).reduce(f64::max)
    }
}

fn drift([count, sum, squares]: [f64; 3]) -> f64 {
    let mean = sum / count;
    let deviation = (squares / count - mean * mean).max(0.0).sqrt();
    mean.abs().max(deviation.max(LEAST_DEVIATION).ln().abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dasha::normalisation::{Normalisation, Scale};

    /// Two bands of two values; the second was trained at mean 10 and deviation 2.
    fn description() -> ModelDescription {
        let mut description = crate::dasha::artifact::tests::sound();
        description.element = ElementType::F32;
        description.architecture.input.bands = 2;
        description.architecture.input.size = vec![2];
        let second = Scale {
            mean: 10.0,
            deviation: 2.0,
        };
        description.scaling.inputs = Normalisation(vec![Scale::IDENTITY, second]);
        description
    }

    fn sums(samples: usize, values: [f32; 4]) -> BandSums {
        let record: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        let mut sums = BandSums::default();
        (0..samples).for_each(|_| sums.add(&description(), &record));
        sums
    }

    #[test]
    fn samples_like_those_of_the_training_have_none() {
        assert_eq!(sums(32, [-1.0, 1.0, 8.0, 12.0]).drift(), Some(0.0));
        assert_eq!(sums(31, [-1.0, 1.0, 8.0, 12.0]).drift(), None, "too few");
    }

    #[test]
    fn a_moved_mean_and_another_spread_are_told_in_the_units_of_the_training() {
        assert_eq!(
            sums(32, [-1.0, 1.0, 14.0, 18.0]).drift(),
            Some(3.0),
            "three deviations of the second band"
        );
        let wider = sums(32, [-5.0, 5.0, 8.0, 12.0]).drift().expect("a drift");
        let narrower = sums(32, [-0.2, 0.2, 8.0, 12.0]).drift().expect("a drift");
        assert!(
            (wider - 5.0_f64.ln()).abs() < 1e-6 && (narrower - wider).abs() < 1e-6,
            "{wider} {narrower}"
        );
        let still = sums(32, [0.0, 0.0, 8.0, 12.0]).drift().expect("a drift");
        assert!((still - 1000.0_f64.ln()).abs() < 1e-9, "{still}");
    }

    #[test]
    fn what_came_a_half_life_ago_counts_half() {
        let mut all = sums(1_000_000, [-1.0, 1.0, 8.0, 12.0]);
        all.follow(&sums(1024, [-1.0, 1.0, 14.0, 18.0]));
        let drift = all.drift().expect("a drift");
        assert!(drift > 0.0 && drift < 0.01, "a million before it: {drift}");
        let mut all = sums(1024, [-1.0, 1.0, 8.0, 12.0]);
        all.follow(&sums(1024, [-1.0, 1.0, 14.0, 18.0]));
        let drift = all.drift().expect("a drift");
        assert!((drift - 2.0).abs() < 1e-9, "{drift}"); // (0 · 1 + 3 · 2) / 3
    }

    #[test]
    fn letters_have_no_drift() {
        let mut description = description();
        description.element = ElementType::Symbol {
            alphabet: "AC".to_owned(),
        };
        let mut sums = BandSums::default();
        (0..100).for_each(|_| sums.add(&description, &[0, 1]));
        assert_eq!(sums.drift(), None);
    }
}
