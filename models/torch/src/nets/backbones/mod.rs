//! The frames: everything of a network but the kernels of its searched convolutions.

use forecastd_models::dasha::{self, Architecture, Extras, Task};
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

use super::head::Head;
use super::layers::{Attention, activate, drop_out};
use super::network::Searched;

mod resnet;
mod unet;
mod wide_resnet;

use resnet::ResNet;
use unet::UNet;
use wide_resnet::WideResNet;

/// What is the same all over a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    axes: usize,
    bands: i64,
    outputs: i64,
    task: Task,
    /// Positions of the input, where a head is to know them apart.
    forecast_from: Option<i64>,
    extras: Extras,
    dropout: f64,
}

impl Frame {
    pub(super) fn new(architecture: &Architecture, dropout: f64) -> Self {
        Self {
            axes: architecture.input.size.len(),
            bands: i64::from(architecture.input.bands),
            outputs: i64::from(architecture.outputs),
            task: architecture.task,
            forecast_from: architecture.forecasts.then_some(architecture.input.positions() as i64),
            extras: architecture.extras,
            dropout,
        }
    }

    fn activate(&self, input: &Tensor) -> Tensor {
        activate(input, self.extras.activation)
    }

    fn drop(&self, input: Tensor, train: bool) -> Tensor {
        drop_out(input, self.dropout, train)
    }

    /// What a network of sequences ends with.
    fn sequence_head(&self, path: &nn::Path, channels: i64) -> Head {
        match self.forecast_from {
            Some(positions) => Head::steps(path, channels, positions, self.outputs),
            None => Head::linear(path, 1, channels, self.outputs, self.task),
        }
    }

    /// Squeeze and excitation at this place, if it is wanted.
    fn attention(&self, path: &nn::Path, channels: i64) -> Option<Attention> {
        let wanted = self.extras.squeeze_excitation;
        wanted.then(|| Attention::new(&(path / "attention"), channels, self.axes))
    }
}

/// A frame with its convolutions.
pub(super) trait Backbone: ModuleT {
    /// From now on for predictions alone, of inputs of this size along each axis.
    fn freeze(&mut self, size: &[i64]);
}

/// The network of a checked architecture.
pub(super) fn build(
    path: &nn::Path,
    backbone: &dasha::Backbone,
    frame: Frame,
    searched: &mut dyn Searched,
) -> Box<dyn Backbone> {
    match backbone {
        dasha::Backbone::WideResNet { depth, width } => {
            Box::new(WideResNet::new(path, *depth, *width, frame, searched))
        }
        dasha::Backbone::ResNet { width } => Box::new(ResNet::new(path, *width, frame, searched)),
        dasha::Backbone::UNet { widths } => Box::new(UNet::new(path, widths, frame, searched)),
    }
}

fn apply_attention(attention: Option<&Attention>, input: Tensor) -> Tensor {
    attention.map_or(input.shallow_clone(), |attention| attention.forward(&input))
}
