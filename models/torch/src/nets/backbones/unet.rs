//! The U-Net (arXiv 1505.04597) of sequences and of tiles.

use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

use super::{Backbone, Frame, apply_attention};
use crate::nets::convolution::Shape;
use crate::nets::head::Head;
use crate::nets::layers::{Attention, BatchNorm, Normed, double_length, halve};
use crate::nets::network::Searched;

/// Two convolutions at each level on the way down, two at each but the coarsest on the way up, where the finer level's
/// own features are put before what comes from the coarser one.
///
/// Sizes that are no multiple of 2^(levels - 1) get zeros behind, up to the next multiple; what is computed there is
/// cut off before the head.
///
/// Sequences come up by linear interpolation and leave a level with as many channels as the next finer one has; tiles
/// come up by a transposed convolution, with half as many, and leave with those of their own level.
#[derive(Debug)]
pub(super) struct UNet {
    down: Vec<Double>,
    /// From the coarsest level.
    up: Vec<Up>,
    head: Head,
    frame: Frame,
}

#[derive(Debug)]
struct Up {
    transpose: Option<nn::ConvTranspose2D>,
    double: Double,
}

/// Convolution, normalisation and activation, twice.
#[derive(Debug)]
struct Double {
    convolutions: [Normed; 2],
    attention: Option<Attention>,
    frame: Frame,
}

impl UNet {
    pub(super) fn new(path: &nn::Path, widths: &[u32], frame: Frame, searched: &mut dyn Searched) -> Self {
        let widths: Vec<i64> = widths.iter().map(|width| i64::from(*width)).collect();
        let mut channels = frame.bands;
        let mut down = Vec::new();
        for (level, width) in widths.iter().enumerate() {
            down.push(Double::new(
                &(path / "down" / level),
                (channels, *width),
                frame,
                searched,
            ));
            channels = *width;
        }
        let mut up = Vec::new();
        for level in (0..widths.len() - 1).rev() {
            let path = path / "up" / level;
            let own = widths[level];
            let outputs = if frame.axes == 1 {
                widths[level.saturating_sub(1)]
            } else {
                own
            };
            let transpose = (frame.axes == 2).then(|| transpose(&(&path / "transpose"), channels, own));
            let inputs = own + if transpose.is_some() { own } else { channels };
            let double = Double::new(&path, (inputs, outputs), frame, searched);
            up.push(Up { transpose, double });
            channels = outputs;
        }
        let head = if frame.axes == 1 {
            frame.sequence_head(path, channels)
        } else {
            Head::deep(path, channels, frame.outputs, frame.task, frame.extras.activation)
        };
        Self { down, up, head, frame }
    }

    /// Positions up to the next size that halves as often as there are levels.
    fn missing(&self, size: i64) -> i64 {
        let multiple = 1 << self.up.len();
        (multiple - size % multiple) % multiple
    }

    fn features(&self, input: &Tensor, train: bool) -> Tensor {
        let mut levels: Vec<Tensor> = Vec::new();
        for double in &self.down {
            let coarser = levels.last().map(|finer| halve(finer, self.frame.extras.antialias));
            levels.push(double.forward_t(coarser.as_ref().unwrap_or(input), train));
        }
        let mut features = levels.pop().unwrap_or_else(|| input.shallow_clone());
        for (up, own) in self.up.iter().zip(levels.iter().rev()) {
            let raised = match &up.transpose {
                Some(transpose) => transpose.forward(&features),
                None => double_length(&features),
            };
            features = up.double.forward_t(&Tensor::cat(&[own, &raised], 1), train);
        }
        features
    }
}

impl Backbone for UNet {
    fn freeze(&mut self, size: &[i64]) {
        let finest: Vec<i64> = size.iter().map(|size| size + self.missing(*size)).collect();
        let of_level = |level: usize| -> Vec<i64> { finest.iter().map(|size| size >> level).collect() };
        for (level, double) in self.down.iter_mut().enumerate() {
            double.freeze(&of_level(level));
        }
        for (level, up) in self.up.iter_mut().rev().enumerate() {
            up.double.freeze(&of_level(level));
        }
        self.head.freeze(size);
    }
}

impl ModuleT for UNet {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let size = input.size().split_off(2);
        // libtorch counts paddings from the last axis.
        let padding: Vec<i64> = size.iter().rev().flat_map(|size| [0, self.missing(*size)]).collect();
        if padding.iter().all(|missing| *missing == 0) {
            let features = self.frame.drop(self.features(input, train), train);
            return self.head.forward_t(&features, train);
        }
        let padded = self.features(&input.constant_pad_nd(padding), train);
        let features = (2..)
            .zip(&size)
            .fold(padded, |features, (axis, size)| features.narrow(axis, 0, *size));
        self.head.forward_t(&self.frame.drop(features, train), train)
    }
}

impl Double {
    fn new(path: &nn::Path, (inputs, outputs): (i64, i64), frame: Frame, searched: &mut dyn Searched) -> Self {
        let shape = |inputs| Shape {
            bias: frame.axes == 1, // the paper's U-Net of tiles has none
            ..Shape::new(frame.axes, inputs, outputs)
        };
        let mut normed = |number: i64, inputs| {
            let convolution = searched.convolution(&(path / format!("conv{number}")), shape(inputs));
            Normed::new(convolution, BatchNorm::new(&(path / format!("norm{number}")), outputs))
        };
        Self {
            convolutions: [normed(1, inputs), normed(2, outputs)],
            attention: frame.attention(path, outputs),
            frame,
        }
    }

    fn freeze(&mut self, size: &[i64]) {
        for convolution in &mut self.convolutions {
            convolution.freeze(size);
        }
    }
}

impl ModuleT for Double {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let output = self
            .convolutions
            .iter()
            .fold(input.shallow_clone(), |input, convolution| {
                self.frame.activate(&convolution.forward_t(&input, train))
            });
        apply_attention(self.attention.as_ref(), output)
    }
}

/// Twice as fine, each position becoming a square of four; it begins as PyTorch's, whose fan-in is that of the
/// outputs here.
fn transpose(path: &nn::Path, inputs: i64, outputs: i64) -> nn::ConvTranspose2D {
    let bound = 1.0 / ((4 * outputs) as f64).sqrt();
    let uniform = nn::Init::Uniform { lo: -bound, up: bound };
    let config = nn::ConvTransposeConfig {
        stride: 2,
        ws_init: uniform,
        bs_init: uniform,
        ..Default::default()
    };
    nn::conv_transpose2d(path, inputs, outputs, 2, config)
}
