//! The U-Net (arXiv 1505.04597) of sequences and of tiles.

use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

use super::{Frame, apply_attention};
use crate::nets::convolution::Shape;
use crate::nets::head::Head;
use crate::nets::layers::{Attention, BatchNorm, double_length, halve};
use crate::nets::network::{AnyConvolution, Searched};

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
    conv1: AnyConvolution,
    norm1: BatchNorm,
    conv2: AnyConvolution,
    norm2: BatchNorm,
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

impl ModuleT for UNet {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let size = input.size().split_off(2);
        let multiple = 1 << self.up.len();
        let missing = |size: &i64| (multiple - size % multiple) % multiple;
        // libtorch counts paddings from the last axis.
        let padding: Vec<i64> = size.iter().rev().flat_map(|size| [0, missing(size)]).collect();
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
        Self {
            conv1: searched.convolution(&(path / "conv1"), shape(inputs)),
            norm1: BatchNorm::new(&(path / "norm1"), outputs),
            conv2: searched.convolution(&(path / "conv2"), shape(outputs)),
            norm2: BatchNorm::new(&(path / "norm2"), outputs),
            attention: frame.attention(path, outputs),
            frame,
        }
    }
}

impl ModuleT for Double {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let frame = &self.frame;
        let middle = frame.activate(&self.norm1.forward_t(&self.conv1.forward(input), train));
        let output = frame.activate(&self.norm2.forward_t(&self.conv2.forward(&middle), train));
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
