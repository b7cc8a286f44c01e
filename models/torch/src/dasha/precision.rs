//! How numbers lie and multiply: single precision on a CPU; on a GPU in bfloat16 where that loses nothing, and tiles
//! with their bands last, which its multipliers read faster.

use tch::nn::ModuleT;
use tch::{Device, Tensor};

use crate::device;

/// In which precision networks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// Everything in single precision.
    Single,
    /// Products in bfloat16, sums and normalisations in single precision. No loss needs scaling: the range is that of
    /// single precision.
    Mixed,
}

impl Precision {
    /// The faster that there is on this device, unless single precision is wanted.
    pub(super) fn of(device: Device, full_precision: bool) -> Self {
        let is_mixed = device.is_cuda() && !full_precision && device::autocast_in_bfloat16();
        if is_mixed { Self::Mixed } else { Self::Single }
    }

    /// Inputs through a network.
    pub(super) fn forward(self, network: &dyn ModuleT, inputs: &Tensor, train: bool) -> Tensor {
        match self {
            Self::Single => network.forward_t(inputs, train),
            Self::Mixed => tch::autocast(true, || network.forward_t(&bands_last(inputs), train)),
        }
    }
}

/// The same tensor, of tiles with all bands of a pixel side by side in memory.
fn bands_last(inputs: &Tensor) -> Tensor {
    if inputs.dim() == 4 {
        return inputs.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
    }
    inputs.shallow_clone()
}
