//! Networks: plain ones with a [`KernelPattern`](forecastd_models::dasha::KernelPattern), the [`Supernet`] that finds the pattern, and the [`loss`] of a task.
//!
//! Everything is built from the plain data of `forecastd_models::dasha`, and its variables are named as PyTorch would
//! name them in a `state_dict` (`stages.0.1.conv2.weight`), so that either side reads the other's weights. Variables
//! are drawn from libtorch's generator of their device: `tch::manual_seed` before building makes a network again.
//!
//! | backbone | per layer | searched | head |
//! |---|---|---|---|
//! | 1-D ResNet | conv, dropout, norm, activation | 9 | mean over positions, linear |
//! | Wide ResNet | norm, activation, conv, dropout, norm, activation, conv | 6 n + 1 | mean over positions, linear |
//! | 1-D U-Net | (conv, norm, activation) twice | 4 levels - 2 | dropout, mean over positions, linear |
//! | 2-D U-Net | the same, without bias | 4 levels - 2 | dropout, 1x1 conv, norm, activation, 1x1 conv, mean over positions |
//!
//! Of a segmentation, the mean over positions is left out, and a linear head becomes a 1x1 convolution.
//!
//! **Padding.** Every convolution keeps the size of its input, or halves it rounding up, with zeros around: a kernel
//! of extent `e` sees `(e - 1) / 2` positions before and `e / 2` after its own, so that of an even extent one more
//! lies behind, as with PyTorch's `padding='same'`. Search and retraining see the same positions; the published code
//! searches centred kernels of sequences and retrains causal ones.
//!
//! **Initial weights.** PyTorch's defaults, uniform in ±1/√fan-in, but for a Wide ResNet's convolutions: uniform in
//! ±√2 √(6 / (fan-in + fan-out)), biases 0. Mixed convolutions: normal with deviation 0.01, biases 0; their choices
//! normal with deviation 0.001.

mod backbones;
mod convolution;
mod form;
mod frozen;
mod head;
mod layers;
mod loss;
mod mixed;
mod network;
mod placement;
mod supernet;
#[cfg(test)]
mod tests;
mod ways;

pub use form::{Correlation, Form};
pub(crate) use frozen::innermost;
pub use loss::{LossOptions, loss};
pub use network::Network;
pub use supernet::{Supernet, check_space, search_backbone};
pub use ways::{Layer, Sum, WayTime, time_ways};
