//! The Wide ResNet of tiles (arXiv 1605.07146).

use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

use super::{Frame, apply_attention};
use crate::nets::convolution::Convolution;
use crate::nets::head::{Head, xavier};
use crate::nets::layers::{Attention, BatchNorm, blur};
use crate::nets::network::{AnyConvolution, Searched};

/// A stem, three stages of `(depth - 4) / 6` blocks of two convolutions, and a last normalisation. The second and the
/// third stage halve the size, in the second convolution of their first block.
#[derive(Debug)]
pub(super) struct WideResNet {
    stem: AnyConvolution,
    blocks: Vec<Block>,
    norm: BatchNorm,
    head: Head,
    frame: Frame,
}

#[derive(Debug)]
struct Block {
    norm1: BatchNorm,
    conv1: AnyConvolution,
    norm2: BatchNorm,
    conv2: AnyConvolution,
    attention: Option<Attention>,
    shortcut: Option<Convolution>,
    stride: i64,
    frame: Frame,
}

/// Channels after the stem, and of the first stage at width 1.
const STEM: i64 = 16;

/// Of the last normalisation: nearly the last batch alone, as in the code that DASHA took its network from.
const LAST_MOMENTUM: f64 = 0.9;

impl WideResNet {
    pub(super) fn new(path: &nn::Path, depth: u32, width: u32, frame: Frame, searched: &mut dyn Searched) -> Self {
        let stem = searched.convolution(&(path / "stem"), xavier(frame.bands, STEM, 1));
        let mut channels = STEM;
        let mut blocks = Vec::new();
        for stage in 0..3 {
            let outputs = (STEM * i64::from(width)) << stage;
            for number in 0..(depth - 4) / 6 {
                let stride = if stage > 0 && number == 0 { 2 } else { 1 };
                let path = path / "stages" / stage / number;
                blocks.push(Block::new(&path, (channels, outputs), stride, frame, searched));
                channels = outputs;
            }
        }
        Self {
            stem,
            blocks,
            norm: BatchNorm::new(&(path / "norm"), channels).with_momentum(LAST_MOMENTUM),
            head: Head::linear(path, 2, channels, frame.outputs, frame.task),
            frame,
        }
    }
}

impl ModuleT for WideResNet {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let stem = self.stem.forward(input);
        let features = self
            .blocks
            .iter()
            .fold(stem, |input, block| block.forward_t(&input, train));
        let features = self.frame.activate(&self.norm.forward_t(&features, train));
        self.head.forward_t(&features, train)
    }
}

impl Block {
    fn new(
        path: &nn::Path,
        (inputs, outputs): (i64, i64),
        stride: i64,
        frame: Frame,
        searched: &mut dyn Searched,
    ) -> Self {
        // A blurred input needs no stride of the convolution that follows at its own place.
        let changed = stride != 1 || inputs != outputs;
        let shortcut_stride = if frame.extras.antialias { 1 } else { stride };
        Self {
            norm1: BatchNorm::new(&(path / "norm1"), inputs),
            conv1: searched.convolution(&(path / "conv1"), xavier(inputs, outputs, 1)),
            norm2: BatchNorm::new(&(path / "norm2"), outputs),
            conv2: searched.convolution(&(path / "conv2"), xavier(outputs, outputs, stride)),
            attention: frame.attention(path, outputs),
            shortcut: changed
                .then(|| Convolution::pointwise(&(path / "shortcut"), xavier(inputs, outputs, shortcut_stride))),
            stride,
            frame,
        }
    }

    /// Anti-aliased, what a stride would drop is blurred into what it keeps.
    fn blurs(&self) -> bool {
        self.stride > 1 && self.frame.extras.antialias
    }
}

impl ModuleT for Block {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let frame = &self.frame;
        let first = self.conv1.forward(&frame.activate(&self.norm1.forward_t(input, train)));
        let middle = self.norm2.forward_t(&frame.drop(first, train), train);
        let mut middle = frame.activate(&middle);
        if self.blurs() {
            middle = blur(&middle, 1);
        }
        let output = apply_attention(self.attention.as_ref(), self.conv2.forward(&middle));
        output + self.around(input)
    }
}

impl Block {
    /// The way around the convolutions.
    fn around(&self, input: &Tensor) -> Tensor {
        match &self.shortcut {
            Some(shortcut) if self.blurs() => shortcut.forward(&blur(input, self.stride)),
            Some(shortcut) => shortcut.forward(input),
            None => input.shallow_clone(),
        }
    }
}
