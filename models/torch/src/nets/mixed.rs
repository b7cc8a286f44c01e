//! The convolution of a supernet: all candidates at once, for the price of one.

use forecastd_models::dasha::Kernel;
use tch::nn::Module;
use tch::{Kind, Tensor, nn};

use super::convolution::Shape;
use super::form::{Correlation, Forms, within_reach};
use super::placement::Placement;

/// Deviation of the first weights.
const WEIGHT_DEVIATION: f64 = 0.01;

/// Deviation of the first choices: all candidates nearly alike.
const CHOICE_DEVIATION: f64 = 1e-3;

/// One convolution whose kernel is the sum of every candidate's, each times its coefficient (arXiv 2204.07554).
///
/// Every candidate has weights of its own. The coefficients are `softmax(choice + g)`, in which `g` has Gumbel's
/// distribution and is drawn anew for every batch, in training and after it, from libtorch's generator of the device:
/// `tch::manual_seed` makes them again. (The publication takes the softmax of `log_softmax(choice) + g`, which is the
/// same.)
#[derive(Debug)]
pub(super) struct MixedConvolution {
    weight: Tensor,
    bias: Option<Tensor>,
    choice: Tensor,
    placement: Placement,
    stride: i64,
    depthwise: bool,
    forms: Forms,
}

impl MixedConvolution {
    /// `depthwise` holds only where as many channels come out as go in; then no channel sees another.
    pub(super) fn new(
        path: &nn::Path,
        choice: Tensor,
        shape: Shape,
        kernels: &[Kernel],
        depthwise: bool,
        forms: Forms,
    ) -> Self {
        let placement = Placement::new(kernels, shape.axes, path.device());
        let depthwise = depthwise && shape.inputs == shape.outputs;
        let inputs = if depthwise { 1 } else { shape.inputs };
        let dims = [shape.outputs, inputs, placement.taps()];
        Self {
            weight: path.randn("weight", &dims, 0.0, WEIGHT_DEVIATION),
            bias: shape.bias.then(|| path.zeros("bias", &[shape.outputs])),
            choice,
            placement,
            stride: shape.stride,
            depthwise,
            forms,
        }
    }

    /// The variable that chooses: one number for each candidate.
    pub(super) fn choice(path: &nn::Path, name: &str, candidates: usize) -> Tensor {
        path.randn(name, &[candidates as i64], 0.0, CHOICE_DEVIATION)
    }

    /// The taps of all candidates, `[outputs, inputs, taps]`.
    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// What each candidate's kernel is multiplied by, given the noise.
    pub(super) fn coefficients(&self, noise: &Tensor) -> Tensor {
        (&self.choice + noise).softmax(0, Kind::Float)
    }

    /// The one kernel.
    pub(super) fn kernel(&self, coefficients: &Tensor) -> Tensor {
        tch::autocast(false, || self.placement.mix(&self.weight, coefficients))
    }

    /// The convolution with given coefficients.
    pub(super) fn forward_with(&self, input: &Tensor, coefficients: &Tensor) -> Tensor {
        let kernel = within_reach(&self.kernel(coefficients), &input.size()[2..]);
        let correlation = Correlation::new(input, &kernel, self.stride, self.depthwise);
        let form = self.forms.of(&correlation, input, &kernel);
        let output = correlation.compute(form, input, &kernel);
        let Some(bias) = &self.bias else { return output };
        let mut dims = vec![1; input.dim()];
        dims[1] = -1;
        output + bias.view(dims.as_slice())
    }
}

impl Module for MixedConvolution {
    fn forward(&self, input: &Tensor) -> Tensor {
        let noise = -self.choice.detach().empty_like().exponential_(1.0).log();
        self.forward_with(input, &self.coefficients(&noise))
    }
}
