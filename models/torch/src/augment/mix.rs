//! Samples mixed with others of their batch, and targets in the same shares.

use forecastd_models::dasha::{Random, Task};
use tch::{Kind, Tensor};

use super::{Augmenter, Draw};
use crate::samples::Batch;

/// Part of a tile or a sequence: where it begins and how long it is, along each axis.
pub(super) type Part = Vec<(i64, i64)>;

impl Augmenter {
    /// One way of mixing for the whole batch, as the paper's code has it.
    pub(super) fn mix(&self, batch: Batch, draw: &mut Draw) -> Batch {
        let (cut_mix, mix_up) = (self.augmentation.cut_mix, self.augmentation.mix_up);
        let cuts = match (cut_mix > 0.0, mix_up > 0.0) {
            (false, false) => return batch,
            (true, true) => draw.random.below(2) == 0,
            (cuts, _) => cuts,
        };
        let partners = draw.partners();
        if cuts {
            let others = 1.0 - beta(&mut draw.random, cut_mix);
            let part = part_of(&batch.inputs.size()[2..], others, &mut draw.random);
            return self.cut(batch, &partners, &part);
        }
        let own = beta(&mut draw.random, mix_up);
        let inputs = mean(&batch.inputs, &partners, own);
        let targets = self.mean_of_targets(&batch.targets, &partners, own);
        Batch { inputs, targets }
    }

    /// Puts the same part of a partner into each sample.
    pub(super) fn cut(&self, batch: Batch, partners: &Tensor, part: &Part) -> Batch {
        let inputs = with_part(&batch.inputs, partners, part, 2);
        if self.has_masks(&batch) {
            let targets = with_part(&batch.targets, partners, part, 1);
            return Batch { inputs, targets };
        }
        let whole: i64 = batch.inputs.size()[2..].iter().product();
        let others: i64 = part.iter().map(|(_, length)| length).product();
        let own = 1.0 - others as f64 / whole as f64;
        let targets = self.mean_of_targets(&batch.targets, partners, own);
        Batch { inputs, targets }
    }

    /// Classes become a share of each.
    pub(super) fn mean_of_targets(&self, targets: &Tensor, partners: &Tensor, own: f64) -> Tensor {
        match self.task {
            _ if targets.numel() == 0 => targets.shallow_clone(),
            Task::Classify => mean(&targets.one_hot(self.classes).to_kind(Kind::Float), partners, own),
            _ => mean(targets, partners, own),
        }
    }
}

fn mean(values: &Tensor, partners: &Tensor, own: f64) -> Tensor {
    values * own + values.index_select(0, partners) * (1.0 - own)
}

fn with_part(values: &Tensor, partners: &Tensor, part: &Part, first_axis: i64) -> Tensor {
    let narrow = |tensor: &Tensor| {
        let axes = (first_axis..).zip(part);
        axes.fold(tensor.shallow_clone(), |tensor, (axis, (start, length))| {
            tensor.narrow(axis, *start, *length)
        })
    };
    let mixed = values.copy();
    narrow(&mixed).copy_(&narrow(values).index_select(0, partners));
    mixed
}

/// A part of about this share of the whole, of the whole's proportions, its middle anywhere; cut off at the edges.
pub(super) fn part_of(size: &[i64], share: f64, random: &mut Random) -> Part {
    let side = share.powf(1.0 / size.len() as f64);
    size.iter()
        .map(|whole| {
            let middle = random.below(whole.unsigned_abs()) as i64;
            let length = (*whole as f64 * side) as i64;
            let start = (middle - length / 2).max(0);
            let end = (middle - length / 2 + length).min(*whole);
            (start, end - start)
        })
        .collect()
}

/// Beta distributed with both parameters `alpha`.
fn beta(random: &mut Random, alpha: f64) -> f64 {
    let (one, other) = (gamma(random, alpha), gamma(random, alpha));
    let share = one / (one + other);
    if share.is_finite() { share } else { 1.0 } // both so small that they are zero: nothing is mixed
}

/// Gamma distributed (Marsaglia and Tsang, 2000), below 1 by a power of a uniform.
fn gamma(random: &mut Random, alpha: f64) -> f64 {
    if alpha < 1.0 {
        return gamma(random, alpha + 1.0) * (1.0 - random.uniform()).powf(1.0 / alpha);
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = random.normal();
        let cube = (1.0 + c * normal).powi(3);
        let uniform = 1.0 - random.uniform();
        if cube > 0.0 && uniform.ln() < 0.5 * normal * normal + d - d * cube + d * cube.ln() {
            return d * cube;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_moments_of_a_beta_distribution() {
        let mut random = Random::new(1);
        for alpha in [0.2, 0.8, 1.0, 3.0] {
            let shares: Vec<f64> = (0..20_000).map(|_| beta(&mut random, alpha)).collect();
            let mean = shares.iter().sum::<f64>() / 20_000.0;
            let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.01, "alpha {alpha}: {mean}");
            assert!((variance - expected).abs() < 0.005, "alpha {alpha}: {variance}");
        }
    }

    #[test]
    fn a_part_lies_inside_whatever_is_drawn() {
        let mut random = Random::new(2);
        for share in [0.0, 0.3, 1.0] {
            for _ in 0..1000 {
                for ((start, length), whole) in part_of(&[7, 9], share, &mut random).into_iter().zip([7, 9]) {
                    assert!(start >= 0 && length >= 0 && start + length <= whole);
                }
            }
        }
    }
}
