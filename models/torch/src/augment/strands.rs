//! The other strand of a nucleic acid: the same molecule, read from its other end.

use forecastd_models::dasha::{ElementType, complement_bands};
use tch::{Device, Kind, Tensor};

use super::sequences::positions;

/// Reads the other strand of sequences whose letters have partners.
#[derive(Debug)]
pub struct Strands {
    /// For each letter the band of its partner.
    complement: Tensor,
}

impl Strands {
    /// None of numbers, and of letters without partners.
    pub fn of(element: &ElementType, device: Device) -> Option<Self> {
        let ElementType::Symbol { alphabet } = element else {
            return None;
        };
        let bands: Vec<i64> = complement_bands(alphabet)?
            .into_iter()
            .map(|band| band as i64)
            .collect();
        Some(Self {
            complement: Tensor::from_slice(&bands).to_device(device),
        })
    }

    /// What `forward` says of sequences, `[n, bands, length]`, as a mean over both strands: whatever the protein that
    /// binds, it reads both.
    pub fn mean(&self, sequences: &Tensor, forward: impl Fn(&Tensor) -> Tensor) -> Tensor {
        (forward(sequences) + forward(&self.other(sequences))) / 2.0
    }

    /// The sequences, read from their other end.
    fn other(&self, sequences: &Tensor) -> Tensor {
        let order = reversed(sequences).unsqueeze(1).expand_as(sequences);
        self.partners(sequences).gather(2, &order, false)
    }

    /// Each letter's partner, where the letter was.
    pub(super) fn partners(&self, sequences: &Tensor) -> Tensor {
        sequences.index_select(1, &self.complement)
    }
}

/// `[n, length]`: the last letter of each sequence first. What fills a shorter one up stays behind it, where the
/// network has seen it.
pub(super) fn reversed(sequences: &Tensor) -> Tensor {
    let positions = positions(sequences);
    let letters = sequences.sum_dim_intlist(&[1i64][..], false, Kind::Float).gt(0.0);
    let ends = letters.to_kind(Kind::Int64) * (&positions + 1);
    let end = ends.amax([1], true);
    let back: Tensor = &end - 1 - &positions;
    let behind = back.lt(0);
    positions.expand_as(&back).where_self(&behind, &back)
}
