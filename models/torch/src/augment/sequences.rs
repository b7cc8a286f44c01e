//! Sequences read from the other strand, and moved, labels of their positions with them.

use forecastd_models::dasha::samples::NO_CLASS;
use tch::{Kind, Tensor};

use super::strands::{Strands, reversed};
use super::{Augmenter, Draw, choose};
use crate::samples::Batch;

impl Augmenter {
    pub(super) fn vary_sequences(&self, batch: Batch, draw: &mut Draw) -> Batch {
        let batch = match &self.strands {
            Some(strands) if self.augmentation.reverse_complement > 0.0 => {
                let chosen = draw.chance(self.augmentation.reverse_complement);
                self.reverse_some(batch, strands, &chosen)
            }
            _ => batch,
        };
        if self.augmentation.shift == 0 {
            return batch;
        }
        let moved = positions(&batch.inputs) - draw.whole(self.augmentation.shift).unsqueeze(1);
        self.read_from(batch, &moved)
    }

    fn reverse_some(&self, batch: Batch, strands: &Strands, chosen: &Tensor) -> Batch {
        let backwards = reversed(&batch.inputs);
        let order = choose(chosen, &backwards, &positions(&batch.inputs).expand_as(&backwards));
        let inputs = choose(chosen, &strands.partners(&batch.inputs), &batch.inputs);
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
pub(super) fn positions(sequences: &Tensor) -> Tensor {
    Tensor::arange(sequences.size()[2], (Kind::Int64, sequences.device())).unsqueeze(0)
}
