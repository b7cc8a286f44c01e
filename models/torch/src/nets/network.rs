//! A network whose kernels are known.

use std::vec;

use forecastd_models::dasha::{Architecture, ArchitectureError, Kernel};
use tch::nn::{Module, ModuleT};
use tch::{Tensor, nn};

use super::backbones::{self, Frame};
use super::convolution::{Convolution, Shape};
use super::mixed::MixedConvolution;

/// What [`Architecture`] tells of, with weights.
#[derive(Debug)]
pub struct Network(Box<dyn ModuleT>);

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

/// A searched convolution, before or after the search.
#[derive(Debug)]
pub(super) enum AnyConvolution {
    Plain(Convolution),
    Mixed(Box<MixedConvolution>),
}

impl Module for AnyConvolution {
    fn forward(&self, input: &Tensor) -> Tensor {
        match self {
            Self::Plain(convolution) => convolution.forward(input),
            Self::Mixed(convolution) => convolution.forward(input),
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
