//! A network whose kernels are known.

use std::vec;

use forecastd_models::dasha::{Architecture, ArchitectureError, Kernel};
use tch::nn::{Module, ModuleT};
use tch::{Tensor, nn};

use super::backbones::{self, Backbone, Frame};
use super::convolution::{Convolution, Shape};
use super::frozen::Frozen;
use super::layers::BatchNorm;
use super::mixed::MixedConvolution;

/// What [`Architecture`] tells of, with weights.
#[derive(Debug)]
pub struct Network(Box<dyn Backbone>);

impl Network {
    /// Adds its variables to `path`. In training each activation is dropped with probability `dropout`: after a
    /// ResNet's convolutions, after the first of each block of a Wide ResNet, and before the head of a U-Net.
    ///
    /// # Errors
    ///
    /// What [`Architecture::check`] says.
    pub fn new(path: &nn::Path, architecture: &Architecture, dropout: f64) -> Result<Self, ArchitectureError> {
        architecture.check()?;
        let mut kernels = Kernels(architecture.pattern.0.clone().into_iter());
        let frame = Frame::new(architecture, dropout);
        Ok(Self(backbones::build(
            path,
            &architecture.backbone,
            frame,
            &mut kernels,
        )))
    }

    /// The network for predictions alone, of inputs of this size along each axis: the same function up to rounding,
    /// faster. Variables that are loaded later change parts of it only.
    #[must_use]
    pub fn frozen(mut self, size: &[i64]) -> Self {
        self.0.freeze(size);
        self
    }
}

impl ModuleT for Network {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        self.0.forward_t(input, train)
    }
}

/// Where a backbone gets its searched convolutions from, in forward order.
pub(super) trait Searched {
    /// The next.
    fn convolution(&mut self, path: &nn::Path, shape: Shape) -> AnyConvolution;
}

/// A convolution in each stage of its life.
#[derive(Debug)]
pub(super) enum AnyConvolution {
    /// While it is searched.
    Mixed(Box<MixedConvolution>),
    /// While it learns.
    Plain(Convolution),
    /// Once it only predicts.
    Frozen(Box<Frozen>),
}

impl AnyConvolution {
    /// One that has nothing to be searched: a kernel of one tap.
    pub(super) fn pointwise(path: &nn::Path, shape: Shape) -> Self {
        Self::Plain(Convolution::pointwise(path, shape))
    }

    /// Takes the normalisation of its outputs in, for inputs of this size. The size of the outputs.
    ///
    /// # Panics
    ///
    /// While it is searched, or if it was frozen before.
    pub(super) fn freeze(&mut self, norm: Option<BatchNorm>, size: &[i64]) -> Vec<i64> {
        let Self::Plain(convolution) = self else {
            unreachable!("a network of known kernels is frozen, and once")
        };
        let frozen = convolution.frozen(norm.as_ref(), size);
        let outputs = frozen.outputs();
        *self = Self::Frozen(Box::new(frozen));
        outputs
    }
}

impl Module for AnyConvolution {
    fn forward(&self, input: &Tensor) -> Tensor {
        match self {
            Self::Mixed(convolution) => convolution.forward(input),
            Self::Plain(convolution) => convolution.forward(input),
            Self::Frozen(convolution) => convolution.forward(input),
        }
    }
}

struct Kernels(vec::IntoIter<Kernel>);

impl Searched for Kernels {
    fn convolution(&mut self, path: &nn::Path, shape: Shape) -> AnyConvolution {
        let kernel = self.0.next().expect("the pattern was checked against the backbone");
        AnyConvolution::Plain(Convolution::new(path, shape, kernel))
    }
}
