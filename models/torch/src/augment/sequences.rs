//! Sequences read from the other strand, and moved, labels of their positions with them.

use forecastd_models::dasha::samples::NO_CLASS;
use tch::{Kind, Tensor};

use super::{Augmenter, Draw, choose};
use crate::samples::Batch;

impl Augmenter {
    pub(super) fn vary_sequences(&self, batch: Batch, draw: &mut Draw) -> Batch {
        let batch = match &self.complement {
            Some(complement) if self.augmentation.reverse_complement > 0.0 => {
                let chosen = draw.chance(self.augmentation.reverse_complement);
                self.reverse_some(batch, complement, &chosen)
            }
            _ => batch,
        };
        if self.augmentation.shift == 0 {
            return batch;
        }
        let moved = positions(&batch.inputs) - draw.whole(self.augmentation.shift).unsqueeze(1);
        self.read_from(batch, &moved)
    }

    fn reverse_some(&self, batch: Batch, complement: &Tensor, chosen: &Tensor) -> Batch {
        let order = positions(&batch.inputs);
        let order = choose(
            chosen,
            &reversed(&batch.inputs),
            &order.expand_as(&reversed(&batch.inputs)),
        );
        let other_strand = batch.inputs.index_select(1, complement);
        let inputs = choose(chosen, &other_strand, &batch.inputs);
        self.read_from(Batch { inputs, ..batch }, &order)
    }

    /// Each position's content from where `order`, `[n, length]`, says; nothing from outside.
    pub(super) fn read_from(&self, batch: Batch, order: &Tensor) -> Batch {
        let length = batch.inputs.size()[2];
        let inside = order.ge(0).logical_and(&order.lt(length));
        let order = order.clamp(0, length - 1);
        let each_band = order.unsqueeze(1).expand_as(&batch.inputs);
        let inputs = batch.inputs.gather(2, &each_band, false) * inside.unsqueeze(1).to_kind(Kind::Float);
        let targets = match self.has_masks(&batch) {
            true => batch
                .targets
                .gather(1, &order, false)
                .masked_fill(&inside.logical_not(), i64::from(NO_CLASS)),
            false => batch.targets,
        };
        Batch { inputs, targets }
    }
}

/// `[1, length]`: 0, 1, 2, …
fn positions(sequences: &Tensor) -> Tensor {
    Tensor::arange(sequences.size()[2], (Kind::Int64, sequences.device())).unsqueeze(0)
}

/// `[n, length]`: the last letter of each sequence first. What fills a shorter one up stays behind it, where the
/// network has seen it.
fn reversed(sequences: &Tensor) -> Tensor {
    let positions = positions(sequences);
    let letters = sequences.sum_dim_intlist(&[1i64][..], false, Kind::Float).gt(0.0);
    let ends = letters.to_kind(Kind::Int64) * (&positions + 1);
    let end = ends.amax([1], true);
    let back: Tensor = &end - 1 - &positions;
    let behind = back.lt(0);
    positions.expand_as(&back).where_self(&behind, &back)
}
