//! What a network ends with.

use forecastd_models::dasha::{Activation, Task};
use tch::nn::Module;
use tch::{Tensor, nn};

use super::convolution::{Convolution, Initial, Shape};
use super::layers::{BatchNorm, Normed, activate};
use super::network::AnyConvolution;

/// From the features of each position to what the task asks for.
#[derive(Debug)]
pub(super) enum Head {
    /// The mean over all positions, then a linear map.
    Mean(nn::Linear),
    /// A linear map of each position.
    Dense(Convolution),
    /// A number of each position, then a linear map of all of them.
    Steps { project: Convolution, ahead: nn::Linear },
    /// A map of each position with one layer in between; the mean over all positions unless it is a segmentation.
    Deep {
        expand: Normed,
        activation: Activation,
        project: Convolution,
        dense: bool,
    },
}

/// How many times wider the middle of a [`Head::Deep`] is: 64 channels become 256.
const EXPANSION: i64 = 4;

impl Head {
    pub(super) fn linear(path: &nn::Path, axes: usize, inputs: i64, outputs: i64, task: Task) -> Self {
        let path = path / "head";
        if task == Task::Segment {
            return Self::Dense(Convolution::pointwise(&path, Shape::new(axes, inputs, outputs)));
        }
        Self::Mean(linear(&path, inputs, outputs))
    }

    /// As DASHA has it for time series.
    pub(super) fn steps(path: &nn::Path, inputs: i64, positions: i64, outputs: i64) -> Self {
        let path = path / "head";
        Self::Steps {
            project: Convolution::pointwise(&(&path / "project"), Shape::new(1, inputs, 1)),
            ahead: linear(&(&path / "ahead"), positions, outputs),
        }
    }

    pub(super) fn deep(path: &nn::Path, inputs: i64, outputs: i64, task: Task, activation: Activation) -> Self {
        let path = path / "head";
        let middle = EXPANSION * inputs;
        Self::Deep {
            expand: Normed::new(
                AnyConvolution::pointwise(&(&path / "expand"), Shape::new(2, inputs, middle)),
                BatchNorm::new(&(&path / "norm"), middle),
            ),
            activation,
            project: Convolution::pointwise(&(&path / "project"), Shape::new(2, middle, outputs)),
            dense: task == Task::Segment,
        }
    }

    /// For predictions alone, of features of this size.
    pub(super) fn freeze(&mut self, size: &[i64]) {
        if let Self::Deep { expand, .. } = self {
            expand.freeze(size);
        }
    }
}

/// A linear map that begins as PyTorch's.
fn linear(path: &nn::Path, inputs: i64, outputs: i64) -> nn::Linear {
    let bound = 1.0 / (inputs as f64).sqrt();
    let uniform = nn::Init::Uniform { lo: -bound, up: bound };
    let config = nn::LinearConfig {
        ws_init: uniform,
        bs_init: Some(uniform),
        bias: true,
    };
    nn::linear(path, inputs, outputs, config)
}

impl nn::ModuleT for Head {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        match self {
            Self::Mean(linear) => linear.forward(&mean(input)),
            Self::Dense(project) => project.forward(input),
            Self::Steps { project, ahead } => ahead.forward(&project.forward(input).squeeze_dim(1)),
            Self::Deep {
                expand,
                activation,
                project,
                dense,
            } => {
                let middle = activate(&input.apply_t(expand, train), *activation);
                let outputs = middle.apply(project);
                if *dense { outputs } else { mean(&outputs) }
            }
        }
    }
}

fn mean(input: &Tensor) -> Tensor {
    let axes: Vec<i64> = (2..input.dim() as i64).collect();
    input.mean_dim(axes, false, None)
}

/// The shape of a layer of a Wide ResNet, whose weights begin in their own way.
pub(super) fn xavier(inputs: i64, outputs: i64, stride: i64) -> Shape {
    Shape {
        stride,
        initial: Initial::Xavier,
        ..Shape::new(2, inputs, outputs)
    }
}
