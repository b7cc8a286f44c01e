//! The ResNet of sequences (arXiv 1909.04939): three blocks of three convolutions.

use tch::Tensor;
use tch::nn::{self, ModuleT};

use super::{Backbone, Frame, apply_attention};
use crate::nets::convolution::Shape;
use crate::nets::head::Head;
use crate::nets::layers::{Attention, BatchNorm, Normed};
use crate::nets::network::{AnyConvolution, Searched};

/// As DASHA has it: no non-linearity after a sum, and no way around a block that has as many channels before as after.
#[derive(Debug)]
pub(super) struct ResNet {
    blocks: Vec<Block>,
    head: Head,
}

#[derive(Debug)]
struct Block {
    layers: Vec<Normed>,
    attention: Option<Attention>,
    skip: Option<Normed>,
    frame: Frame,
}

/// Convolutions of a block.
const LAYERS: usize = 3;

impl ResNet {
    pub(super) fn new(path: &nn::Path, width: u32, frame: Frame, searched: &mut dyn Searched) -> Self {
        let width = i64::from(width);
        let mut channels = frame.bands;
        let blocks = [width, 2 * width, 2 * width]
            .into_iter()
            .enumerate()
            .map(|(number, outputs)| {
                let path = path / "blocks" / number;
                Block::new(
                    &path,
                    std::mem::replace(&mut channels, outputs),
                    outputs,
                    frame,
                    searched,
                )
            });
        Self {
            blocks: blocks.collect(),
            head: frame.sequence_head(path, 2 * width),
        }
    }
}

impl Backbone for ResNet {
    fn freeze(&mut self, size: &[i64]) {
        for block in &mut self.blocks {
            block.freeze(size);
        }
        self.head.freeze(size);
    }
}

impl ModuleT for ResNet {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let blocks = self.blocks.iter();
        let features = blocks.fold(input.shallow_clone(), |input, block| block.forward_t(&input, train));
        self.head.forward_t(&features, train)
    }
}

impl Block {
    fn new(path: &nn::Path, inputs: i64, outputs: i64, frame: Frame, searched: &mut dyn Searched) -> Self {
        let layers = (0..LAYERS).map(|number| {
            let path = path / "layers" / number;
            let inputs = if number == 0 { inputs } else { outputs };
            let convolution = searched.convolution(&(&path / "conv"), Shape::new(1, inputs, outputs));
            Normed::new(convolution, BatchNorm::new(&(&path / "norm"), outputs)).with_dropout(frame.dropout)
        });
        let layers = layers.collect();
        let skip = (inputs != outputs).then(|| {
            let path = path / "skip";
            let convolution = AnyConvolution::pointwise(&(&path / "conv"), Shape::new(1, inputs, outputs));
            Normed::new(convolution, BatchNorm::new(&(&path / "norm"), outputs))
        });
        Self {
            layers,
            attention: frame.attention(path, outputs),
            skip,
            frame,
        }
    }

    fn freeze(&mut self, size: &[i64]) {
        for convolution in self.layers.iter_mut().chain(&mut self.skip) {
            convolution.freeze(size);
        }
    }
}

impl ModuleT for Block {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        let layers = self.layers.iter();
        let output = layers.fold(input.shallow_clone(), |input, layer| {
            self.frame.activate(&layer.forward_t(&input, train))
        });
        let output = apply_attention(self.attention.as_ref(), output);
        match &self.skip {
            Some(skip) => output + skip.forward_t(input, train),
            None => output,
        }
    }
}
