//! The network that finds its own kernels.

use forecastd_models::dasha::{Architecture, ArchitectureError, Backbone, Kernel, KernelPattern, SearchSpace};
use tch::nn::ModuleT;
use tch::{Tensor, nn};

use super::backbones::{self, Frame};
use super::convolution::Shape;
use super::form::{Correlation, Form, Forms};
use super::mixed::MixedConvolution;
use super::network::{AnyConvolution, Searched};

/// How much the width of a candidate weighs beside what the data say: enough to choose between equals.
const EXTENT_PENALTY: f64 = 1e-5;

/// Keeps a gradient of zero from being divided by itself.
const SMALLEST_NORM: f64 = 1e-8;

/// Widths of the U-Net that a 2-D U-Net is searched with, and of its last level.
const SMALL_UNET: (u32, u32) = (25, 50);

/// A backbone in which every searched convolution is mixed from all candidates: one kernel, the sum of every
/// candidate's own, each times its coefficient (arXiv 2204.07554).
///
/// The coefficients are `softmax(choice + g)`, with `g` of Gumbel's distribution drawn anew for every batch, in
/// training and after it, from libtorch's generator of the device: `tch::manual_seed` makes them again.
#[derive(Debug)]
pub struct Supernet {
    body: Box<dyn ModuleT>,
    choices: Vec<Tensor>,
    kernels: Vec<Kernel>,
    forms: Forms,
}

impl Supernet {
    /// Adds its weights to one place and its choices to another, since different optimisers move them. The
    /// `architecture`'s own pattern is not looked at, but must be one: [`Backbone::plain_pattern`] is. `depthwise`
    /// layers, wherever as many channels come out as go in, are the method's; without, all are full.
    ///
    /// # Errors
    ///
    /// What [`Architecture::check`] says, of the space too.
    pub fn new(
        weights: &nn::Path,
        choices: &nn::Path,
        architecture: &Architecture,
        space: &SearchSpace,
        depthwise: bool,
    ) -> Result<Self, ArchitectureError> {
        architecture.check()?;
        check_space(space)?;
        let kernels = space.kernels();
        let mut mixed = Mixed {
            path: choices,
            choices: Vec::new(),
            kernels: &kernels,
            depthwise,
            forms: Forms::default(),
        };
        let frame = Frame::new(architecture, 0.0);
        let body = backbones::build(weights, &architecture.backbone, frame, &mut mixed);
        let (choices, forms) = (mixed.choices, mixed.forms);
        Ok(Self {
            body,
            choices,
            kernels,
            forms,
        })
    }

    /// One number for each candidate, for each searched convolution.
    pub fn choices(&self) -> &[Tensor] {
        &self.choices
    }

    /// The candidates, in the order of a choice's numbers.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The preferred candidate of each convolution; the first of equals.
    pub fn pattern(&self) -> KernelPattern {
        let best = |choice: &Tensor| self.kernels[choice.argmax(0, false).int64_value(&[]) as usize];
        KernelPattern(self.choices.iter().map(best).collect())
    }

    /// How each convolution is computed: what was measured at its first use, or [set](Self::set_forms).
    pub fn forms(&self) -> Vec<(Correlation, Form)> {
        self.forms.known()
    }

    /// As an earlier run has measured. Two forms round differently and two measurements may choose differently, so
    /// that what must be the same to the last bit needs this, or [`Self::force_form`].
    pub fn set_forms(&self, known: impl IntoIterator<Item = (Correlation, Form)>) {
        self.forms.learn(known);
    }

    /// One form for all, whatever is faster; `None` goes back to the faster.
    pub fn force_form(&self, form: Option<Form>) {
        self.forms.force(form);
    }

    /// Between backward and the optimisers' step: each choice's gradient gets length 1 / `grad_scale`, and a push
    /// away from wide kernels, 1e-5 times their extent.
    pub fn gradient_rule(&self, grad_scale: f64) {
        let extents: Vec<f32> = self.kernels.iter().map(|kernel| kernel.extent() as f32).collect();
        let penalty = Tensor::from_slice(&extents) * EXTENT_PENALTY;
        let _guard = tch::no_grad_guard();
        for choice in &self.choices {
            let mut gradient = choice.grad();
            if !gradient.defined() {
                continue;
            }
            let length = (gradient.norm() + SMALLEST_NORM) * grad_scale;
            let ruled = &gradient / length + penalty.to_device(choice.device());
            gradient.copy_(&ruled);
        }
    }
}

impl ModuleT for Supernet {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        self.body.forward_t(input, train)
    }
}

/// The frame that is searched for the one that is trained: a Wide ResNet of width 1, a narrow U-Net of tiles, and of
/// sequences the very same. As many convolutions, so that the pattern fits.
pub fn search_backbone(backbone: &Backbone, axes: usize) -> Backbone {
    match backbone {
        Backbone::WideResNet { depth, .. } => Backbone::WideResNet {
            depth: *depth,
            width: 1,
        },
        Backbone::UNet { widths } if axes == 2 => {
            let last = widths.len().saturating_sub(1);
            let small = |(level, width): (usize, &u32)| {
                let most = if level == last { SMALL_UNET.1 } else { SMALL_UNET.0 };
                most.min(*width)
            };
            Backbone::UNet {
                widths: widths.iter().enumerate().map(small).collect(),
            }
        }
        same => same.clone(),
    }
}

/// Whether a supernet can be made of a space, which may come from anywhere.
///
/// # Errors
///
/// There is no kernel in it, too many, or one that cannot be.
pub fn check_space(space: &SearchSpace) -> Result<(), ArchitectureError> {
    let count = |what, found: u64, most: u64| {
        if (1..=most).contains(&found) {
            return Ok(());
        }
        Err(ArchitectureError::Count { what, found, most })
    };
    let pairs = space.kernel_sizes.len() as u64 * space.dilations.len() as u64;
    count("the number of kernels to choose from", pairs, 1024)?;
    for kernel in space.kernels() {
        count("a kernel size", u64::from(kernel.size), 255)?;
        count("a dilation", u64::from(kernel.dilation), 255)?;
    }
    Ok(())
}

/// Makes mixed convolutions, and keeps their choices.
struct Mixed<'a> {
    path: &'a nn::Path<'a>,
    choices: Vec<Tensor>,
    kernels: &'a [Kernel],
    depthwise: bool,
    forms: Forms,
}

impl Searched for Mixed<'_> {
    fn convolution(&mut self, path: &nn::Path, shape: Shape) -> AnyConvolution {
        let name = self.choices.len().to_string();
        let choice = MixedConvolution::choice(self.path, &name, self.kernels.len());
        self.choices.push(choice.shallow_clone());
        let forms = self.forms.clone();
        let mixed = MixedConvolution::new(path, choice, shape, self.kernels, self.depthwise, forms);
        AnyConvolution::Mixed(Box::new(mixed))
    }
}
