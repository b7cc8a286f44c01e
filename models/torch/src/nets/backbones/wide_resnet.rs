//! The Wide ResNet of tiles (arXiv 1605.07146).

use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

use super::{Backbone, Frame, apply_attention};
use crate::nets::head::{Head, xavier};
use crate::nets::layers::{Attention, BatchNorm, Normed, blur};
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
    norm: BatchNorm,
    first: Normed,
    second: AnyConvolution,
    attention: Option<Attention>,
    shortcut: Option<AnyConvolution>,
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

impl Backbone for WideResNet {
    fn freeze(&mut self, size: &[i64]) {
        let stem = self.stem.freeze(None, size);
        let outputs = self.blocks.iter_mut().fold(stem, |size, block| block.freeze(&size));
        self.head.freeze(&outputs);
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
        let norm1 = BatchNorm::new(&(path / "norm1"), inputs);
        let conv1 = searched.convolution(&(path / "conv1"), xavier(inputs, outputs, 1));
        let norm2 = BatchNorm::new(&(path / "norm2"), outputs);
        Self {
            norm: norm1,
            first: Normed::new(conv1, norm2).with_dropout(frame.dropout),
            second: searched.convolution(&(path / "conv2"), xavier(outputs, outputs, stride)),
            attention: frame.attention(path, outputs),
            shortcut: changed
                .then(|| AnyConvolution::pointwise(&(path / "shortcut"), xavier(inputs, outputs, shortcut_stride))),
            stride,
            frame,
        }
    }

    /// The size of the outputs.
    fn freeze(&mut self, size: &[i64]) -> Vec<i64> {
        let middle = self.first.freeze(size);
        let outputs = self.second.freeze(None, &middle);
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.freeze(None, if self.frame.extras.antialias { &outputs } else { size });
        }
        outputs
    }

    /// Anti-aliased, what a stride would drop is blurred into what it keeps.
    fn blurs(&self) -> bool {
        self.stride > 1 && self.frame.extras.antialias
    }
}

impl ModuleT for Block {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let frame = &self.frame;
        let own = frame.activate(&self.norm.forward_t(input, train));
        let mut middle = frame.activate(&self.first.forward_t(&own, train));
        if self.blurs() {
            middle = blur(&middle, 1);
        }
        let output = apply_attention(self.attention.as_ref(), self.second.forward(&middle));
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
