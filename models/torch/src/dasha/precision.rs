//! How numbers lie and multiply in training: single precision, or products in bfloat16 on a GPU or a processor that has
//! instructions for it, with bands last for tiles, which their multipliers read faster.

use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};

use crate::device;
use crate::nets::innermost;

/// In which precision networks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// Everything in single precision.
    Single,
    /// Products in bfloat16, sums and normalisations in single precision, on a GPU. No loss needs scaling: the range is
    /// that of single precision.
    Mixed,
    /// The same on a processor, for training; predictions are in single precision there, as they are where they are
    /// served.
    MixedOnCpu,
}

impl Precision {
    /// The fastest that there is on this device, unless single precision is wanted.
    pub(super) fn of(device: Device, full_precision: bool) -> Self {
        if full_precision {
            Self::Single
        } else if device.is_cuda() && device::autocast_in_bfloat16() {
            Self::Mixed
        } else if device == Device::Cpu && device::cpu_multiplies_in_bfloat16() {
            Self::MixedOnCpu
        } else {
            Self::Single
        }
    }

    /// For the search, whose choices hang on small differences of gradients: on a processor rounding to bfloat16 made
    /// kernels for a narrow motif as wide as those for a wide one.
    pub(super) fn of_search(self) -> Self {
        match self {
            Self::MixedOnCpu => Self::Single,
            other => other,
        }
    }

    /// Whether products of training are in bfloat16.
    pub(super) fn is_mixed(self) -> bool {
        self != Self::Single
    }

    /// Inputs through a network.
    pub(super) fn forward(self, network: &dyn ModuleT, inputs: &Tensor, train: bool) -> Tensor {
        match self {
            Self::Mixed => tch::autocast(true, || network.forward_t(&bands_last(inputs), train)),
            Self::MixedOnCpu if train => {
                let outputs = device::autocast_on_cpu(|| network.forward_t(&bands_last(inputs), train));
                outputs.to_kind(Kind::Float)
            }
            Self::Single | Self::MixedOnCpu => network.forward_t(inputs, train),
        }
    }
}

/// The same tensor, of tiles with all bands of a pixel side by side in memory.
fn bands_last(inputs: &Tensor) -> Tensor {
    if inputs.dim() == 4 {
        return innermost(inputs);
    }
    inputs.shallow_clone()
}
