//! The convolution of a plain network, and what it shares with the mixed one.

use forecastd_models::dasha::Kernel;
use tch::{Tensor, nn};

use super::frozen::Frozen;
use super::layers::BatchNorm;

/// How a convolution's weights begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Initial {
    /// As PyTorch's own layers: weight and bias uniform in ±1/√fan-in.
    Torch,
    /// Xavier's uniform with gain √2 and no bias, as the Wide ResNet of the paper.
    Xavier,
}

/// What a layer is, whatever its kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// 1 or 2.
    pub(super) axes: usize,
    /// Channels.
    pub(super) inputs: i64,
    /// Channels.
    pub(super) outputs: i64,
    /// From one output to the next, along each axis.
    pub(super) stride: i64,
    /// Whether each output channel has a constant.
    pub(super) bias: bool,
    /// How a plain one begins.
    pub(super) initial: Initial,
}

impl Shape {
    /// From `inputs` to `outputs` channels, position by position, as PyTorch has it.
    pub(super) fn new(axes: usize, inputs: i64, outputs: i64) -> Self {
        Self {
            axes,
            inputs,
            outputs,
            stride: 1,
            bias: true,
            initial: Initial::Torch,
        }
    }
}

/// A convolution that keeps the size of its input, or divides it by the stride, rounding up.
#[derive(Debug)]
pub(super) struct Convolution {
    weight: Tensor,
    bias: Option<Tensor>,
    kernel: Kernel,
    stride: i64,
}

impl Convolution {
    pub(super) fn new(path: &nn::Path, shape: Shape, kernel: Kernel) -> Self {
        let mut dims = vec![shape.outputs, shape.inputs];
        dims.resize(2 + shape.axes, i64::from(kernel.size));
        let taps: i64 = dims[2..].iter().product();
        let (into, out) = ((shape.inputs * taps) as f64, (shape.outputs * taps) as f64);
        let torch = 1.0 / into.sqrt();
        let (bound, bias_bound) = match shape.initial {
            Initial::Torch => (torch, torch),
            Initial::Xavier => ((12.0 / (into + out)).sqrt(), 0.0),
        };
        Self {
            weight: path.uniform("weight", &dims, -bound, bound),
            bias: shape
                .bias
                .then(|| path.uniform("bias", &[shape.outputs], -bias_bound, bias_bound)),
            kernel,
            stride: shape.stride,
        }
    }

    /// A convolution with a kernel of one tap.
    pub(super) fn pointwise(path: &nn::Path, shape: Shape) -> Self {
        Self::new(path, shape, Kernel::new(1, 1))
    }

    /// The same for predictions alone, the normalisation that follows included, of inputs of this size.
    pub(super) fn frozen(&self, norm: Option<&BatchNorm>, size: &[i64]) -> Frozen {
        let weights = (&self.weight, self.bias.as_ref());
        Frozen::new(weights, norm, (self.kernel, self.stride), size)
    }
}

impl nn::Module for Convolution {
    fn forward(&self, input: &Tensor) -> Tensor {
        let dilation = i64::from(self.kernel.dilation);
        let step = Step {
            extent: i64::from(self.kernel.extent()),
            stride: self.stride,
            dilation,
            groups: 1,
        };
        step.correlate(input, &self.weight, self.bias.as_ref())
    }
}

/// One call of libtorch's convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Positions from a kernel's first to its last tap, both counted.
    pub(super) extent: i64,
    /// From one output to the next.
    pub(super) stride: i64,
    /// From one tap to the next.
    pub(super) dilation: i64,
    /// As libtorch has it.
    pub(super) groups: i64,
}

impl Step {
    /// Zeros around, then the convolution.
    pub(super) fn correlate(self, input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let axes = input.dim() - 2;
        let (before, after) = around(self.extent);
        let (padding, padded) = if before == after {
            (before, input.shallow_clone())
        } else {
            (0, input.constant_pad_nd([before, after].repeat(axes)))
        };
        let each = |number: i64| vec![number; axes];
        let (stride, padding, dilation) = (each(self.stride), each(padding), each(self.dilation));
        if axes == 1 {
            padded.conv1d(weight, bias, stride, padding, dilation, self.groups)
        } else {
            padded.conv2d(weight, bias, stride, padding, dilation, self.groups)
        }
    }
}

/// How many positions before and after its own a kernel of this extent sees.
pub(super) fn around(extent: i64) -> (i64, i64) {
    ((extent - 1) / 2, extent / 2)
}
