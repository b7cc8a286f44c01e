//! What lies between the convolutions.

use forecastd_models::dasha::Activation;
use tch::nn::Module;
use tch::{Kind, Tensor, nn};

use super::convolution::{Convolution, Shape};
use super::network::AnyConvolution;

/// Of PyTorch's batch norm.
const MOMENTUM: f64 = 0.1;

/// Keeps a channel of one value finite; PyTorch's.
const EPSILON: f64 = 1e-5;

/// How much narrower the middle of an [`Attention`] is than its ends (arXiv 1709.01507).
const REDUCTION: i64 = 16;

/// Batch normalisation (arXiv 1502.03167): by the batch's own moments in training, by running ones afterwards.
#[derive(Debug)]
pub(super) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: f64,
}

impl BatchNorm {
    /// Changes nothing at first but the scale.
    pub(super) fn new(path: &nn::Path, channels: i64) -> Self {
        Self {
            weight: path.ones("weight", &[channels]),
            bias: path.zeros("bias", &[channels]),
            running_mean: path.zeros_no_train("running_mean", &[channels]),
            running_var: path.ones_no_train("running_var", &[channels]),
            momentum: MOMENTUM,
        }
    }

    /// The same with another part of each batch in its running moments.
    #[must_use]
    pub(super) fn with_momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// Weights `[outputs, …]` and bias of a convolution that does after this what both did before it.
    pub(super) fn folded(&self, weight: &Tensor, bias: &Tensor) -> (Tensor, Tensor) {
        let double = |values: &Tensor| values.to_kind(Kind::Double);
        let factor = double(&self.weight) / (double(&self.running_var) + EPSILON).sqrt();
        let mut each = vec![1; weight.dim()];
        each[0] = -1;
        let weights = double(weight) * factor.view(each.as_slice());
        let biases = (double(bias) - double(&self.running_mean)) * factor + double(&self.bias);
        (weights.to_kind(weight.kind()), biases.to_kind(bias.kind()))
    }
}

impl nn::ModuleT for BatchNorm {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let running = (Some(&self.running_mean), Some(&self.running_var));
        let affine = (Some(&self.weight), Some(&self.bias));
        let (momentum, epsilon) = (self.momentum, EPSILON);
        Tensor::batch_norm(
            input, affine.0, affine.1, running.0, running.1, train, momentum, epsilon, true,
        )
    }
}

/// A convolution, dropout, and the normalisation of what is left.
#[derive(Debug)]
pub(super) struct Normed {
    convolution: AnyConvolution,
    dropout: f64,
    /// None once it is part of the convolution.
    norm: Option<BatchNorm>,
}

impl Normed {
    pub(super) fn new(convolution: AnyConvolution, norm: BatchNorm) -> Self {
        Self {
            convolution,
            dropout: 0.0,
            norm: Some(norm),
        }
    }

    /// The same with a part of the convolution's outputs dropped in training.
    #[must_use]
    pub(super) fn with_dropout(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }

    /// Both in one from now on, for inputs of this size. The size of the outputs.
    pub(super) fn freeze(&mut self, size: &[i64]) -> Vec<i64> {
        self.convolution.freeze(self.norm.take(), size)
    }
}

impl nn::ModuleT for Normed {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let output = drop_out(self.convolution.forward(input), self.dropout, train);
        match &self.norm {
            Some(norm) => norm.forward_t(&output, train),
            None => output,
        }
    }
}

/// In training, each value becomes zero with this probability.
pub(super) fn drop_out(input: Tensor, probability: f64, train: bool) -> Tensor {
    if train && probability > 0.0 {
        input.dropout(probability, true)
    } else {
        input
    }
}

/// The non-linearity.
pub(super) fn activate(input: &Tensor, activation: Activation) -> Tensor {
    match activation {
        Activation::Relu => input.relu(),
        Activation::Silu => input.silu(),
        Activation::Gelu => input.gelu("none"), // exact, not by the hyperbolic tangent
    }
}

/// Squeeze and excitation (arXiv 1709.01507): each channel is multiplied by a number in 0..1 that follows from the
/// means of all.
#[derive(Debug)]
pub(super) struct Attention {
    reduce: Convolution,
    expand: Convolution,
}

impl Attention {
    /// For inputs with so many channels and axes.
    pub(super) fn new(path: &nn::Path, channels: i64, axes: usize) -> Self {
        let middle = (channels / REDUCTION).max(1);
        Self {
            reduce: Convolution::pointwise(&(path / "reduce"), Shape::new(axes, channels, middle)),
            expand: Convolution::pointwise(&(path / "expand"), Shape::new(axes, middle, channels)),
        }
    }
}

impl nn::Module for Attention {
    fn forward(&self, input: &Tensor) -> Tensor {
        let axes: Vec<i64> = (2..input.dim() as i64).collect();
        let means = input.mean_dim(axes, true, None);
        let gate = means.apply(&self.reduce).relu().apply(&self.expand).sigmoid();
        input * gate
    }
}

/// The binomial blur 1/4, 1/2, 1/4 along each axis, of which every `stride`-th position is kept (arXiv 1904.11486).
/// Edges are repeated outwards.
///
/// Of slices, not of libtorch's paddings: the gradients of those add up in no fixed order on a GPU.
pub(super) fn blur(input: &Tensor, stride: i64) -> Tensor {
    (2..input.dim() as i64).fold(input.shallow_clone(), |input, axis| blur_along(&input, axis, stride))
}

fn blur_along(input: &Tensor, axis: i64, stride: i64) -> Tensor {
    let size = input.size()[axis as usize];
    let (first, last) = (input.narrow(axis, 0, 1), input.narrow(axis, size - 1, 1));
    let padded = Tensor::cat(&[&first, input, &last], axis);
    let kept = (size - 1) / stride + 1;
    let tap = |offset: i64| padded.slice(axis, offset, offset + (kept - 1) * stride + 1, stride);
    (tap(0) + tap(1) * 2.0 + tap(2)) * 0.25
}

/// The greatest of each two neighbours along each axis: half the size, which must be even. With `antialias` the
/// greatest of every two neighbours, blurred before half of them are dropped.
pub(super) fn halve(input: &Tensor, antialias: bool) -> Tensor {
    if antialias {
        return blur(&max_pool(input, 1), 2);
    }
    max_pool(input, 2)
}

fn max_pool(input: &Tensor, stride: i64) -> Tensor {
    let axes = input.dim() - 2;
    let each = |number: i64| vec![number; axes];
    if axes == 1 {
        input.max_pool1d(each(2), each(stride), each(0), each(1), false)
    } else {
        input.max_pool2d(each(2), each(stride), each(0), each(1), false)
    }
}

/// Twice as many positions, linear in between, the first and the last kept: PyTorch's `Upsample(scale_factor=2,
/// mode='linear', align_corners=True)`.
///
/// Written out, since the gradient of PyTorch's adds up in no fixed order on a GPU. With `n` positions, output `2 i`
/// lies at `i - i / (2 n - 1)`, and the others mirror these.
pub(super) fn double_length(input: &Tensor) -> Tensor {
    let size = input.size()[2];
    let options = (input.kind(), input.device());
    let from_neighbour = Tensor::arange(size, options) / (2 * size - 1) as f64;
    let from_next = from_neighbour.flip([0]);
    let even = input + (input.roll([1], [2]) - input) * from_neighbour;
    let odd = input + (input.roll([-1], [2]) - input) * from_next;
    Tensor::stack(&[even, odd], 3).flatten(2, 3)
}
