//! A network, told by plain numbers: enough to build it again, anywhere, from its weights.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::kernel_pattern::{Kernel, KernelPattern};

/// What a network is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One class of several for each sample.
    Classify,
    /// Any number of classes for each sample.
    Multilabel,
    /// One class for each pixel, or each position of a sequence.
    Segment,
    /// Numbers for each sample.
    Regress,
}

/// The shape of one sample: bands, then one size for each axis along which convolutions go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputShape {
    /// Bands of a tile, letters of an alphabet, or variables of a series.
    pub bands: u32,
    /// `[length]` of a sequence, `[height, width]` of a tile.
    pub size: Vec<u32>,
}

impl InputShape {
    /// Positions of one band.
    pub fn positions(&self) -> u64 {
        self.size.iter().map(|size| u64::from(*size)).product()
    }

    /// Whether convolutions go along one axis only.
    pub fn is_sequence(&self) -> bool {
        self.size.len() == 1
    }
}

/// The frame of a network, without its kernels. What each is exactly, `forecastd_torch::nets` says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(clippy::enum_variant_names, reason = "they are called so")]
pub enum Backbone {
    /// A Wide ResNet for tiles (arXiv 1605.07146): `depth` is 6 n + 4, widths are 16, 32 and 64 times `width`.
    WideResNet {
        /// Layers, as the paper counts them.
        depth: u32,
        /// The widening factor.
        width: u32,
    },
    /// A ResNet for sequences (arXiv 1909.04939): three blocks of three convolutions, `width` channels in the first
    /// and twice as many in the others.
    ResNet {
        /// Channels of the first block.
        width: u32,
    },
    /// A U-Net (arXiv 1505.04597) of tiles or sequences: channels at each level, each half as fine as the one before.
    UNet {
        /// Channels from the finest level to the coarsest, at least two levels.
        widths: Vec<u32>,
    },
}

impl Backbone {
    /// How many convolutions have a kernel of their own: 6 n + 1 of a Wide ResNet, 9 of a ResNet, of a U-Net two for
    /// each level on the way down and two for each on the way up.
    pub fn searched_convolutions(&self) -> usize {
        match self {
            Self::WideResNet { depth, .. } => depth.saturating_sub(3) as usize,
            Self::ResNet { .. } => 9,
            Self::UNet { widths } => (4 * widths.len()).saturating_sub(2),
        }
    }

    /// Channels in and out of each searched convolution, in the pattern's order.
    fn searched_channels(&self, input: &InputShape) -> Vec<(u64, u64)> {
        let widths: Vec<u64> = match self {
            Self::WideResNet { depth, width } => {
                let of_group = (depth.saturating_sub(4) / 3) as usize;
                let groups = [16, 32, 64].map(|channels| channels * u64::from(*width));
                std::iter::once(16)
                    .chain(groups.into_iter().flat_map(|channels| vec![channels; of_group]))
                    .collect()
            }
            Self::ResNet { width } => {
                let width = u64::from(*width);
                [width, 2 * width, 2 * width]
                    .into_iter()
                    .flat_map(|channels| [channels; 3])
                    .collect()
            }
            Self::UNet { widths } => return unet_channels(widths, input),
        };
        let from = std::iter::once(u64::from(input.bands)).chain(widths.iter().copied());
        from.zip(widths.iter().copied()).collect()
    }

    /// The kernels of the frame as its own paper has it: the plain baseline.
    pub fn plain_pattern(&self) -> KernelPattern {
        let sizes = match self {
            Self::ResNet { .. } => [8, 5, 3].repeat(3),
            _ => vec![3; self.searched_convolutions()],
        };
        KernelPattern(sizes.into_iter().map(|size| Kernel::new(size, 1)).collect())
    }

    /// How many positions of the input become one at the coarsest level of a U-Net, along each axis. Any size goes
    /// in: a U-Net fills it with zeros up to a multiple of this, and cuts what becomes of them off again.
    pub fn stride(&self) -> u32 {
        match self {
            Self::WideResNet { .. } => 1,
            Self::ResNet { .. } => 1,
            Self::UNet { widths } => 1 << widths.len().saturating_sub(1).min(31),
        }
    }

    /// Whether it strides or pools anywhere: a place for a blur before it.
    pub fn has_strides(&self) -> bool {
        !matches!(self, Self::ResNet { .. })
    }

    /// As results name it: `wide_resnet_16_4`, `resnet_128`, `unet_64`.
    pub fn name(&self) -> String {
        match self {
            Self::WideResNet { depth, width } => format!("wide_resnet_{depth}_{width}"),
            Self::ResNet { width } => format!("resnet_{width}"),
            Self::UNet { widths } => format!("unet_{}", widths.first().copied().unwrap_or(0)),
        }
    }
}

/// Two convolutions a level, as `forecastd_torch::nets` has them: sequences leave a level on the way up with the
/// channels of the next finer one, tiles come to it by a transposed convolution with its own.
fn unet_channels(widths: &[u32], input: &InputShape) -> Vec<(u64, u64)> {
    let widths: Vec<u64> = widths.iter().copied().map(u64::from).collect();
    let mut channels = u64::from(input.bands);
    let mut pairs = Vec::new();
    for own in &widths {
        pairs.extend([(channels, *own), (*own, *own)]);
        channels = *own;
    }
    for level in (0..widths.len().saturating_sub(1)).rev() {
        let own = widths[level];
        let (raised, outputs) = match input.is_sequence() {
            true => (channels, widths[level.saturating_sub(1)]),
            false => (own, own),
        };
        pairs.extend([(own + raised, outputs), (outputs, outputs)]);
        channels = outputs;
    }
    pairs
}

/// The non-linearity after a normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The positive part.
    #[default]
    Relu,
    /// `x * sigmoid(x)` (arXiv 1606.08415).
    Silu,
    /// `x * Phi(x)` (arXiv 1606.08415).
    Gelu,
}

/// What a frame may have beyond its paper. The default has none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extras {
    /// Channels weighed by what the whole sample shows (arXiv 1709.01507), reduced sixteen-fold in between.
    pub squeeze_excitation: bool,
    /// The non-linearity.
    pub activation: Activation,
    /// A binomial blur before every stride and pooling (arXiv 1904.11486).
    pub antialias: bool,
}

/// A whole network but for its weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The frame.
    pub backbone: Backbone,
    /// A kernel for each of its searched convolutions.
    pub pattern: KernelPattern,
    /// What goes in.
    pub input: InputShape,
    /// What is asked for.
    pub task: Task,
    /// Classes, or numbers to regress.
    pub outputs: u32,
    /// Beyond the frame's own paper.
    #[serde(default)]
    pub extras: Extras,
    /// Whether it forecasts: a number of each position and a map from all of them to the outputs, in the place of a mean
    /// over positions, which would not know the newest sample from the oldest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forecasts: bool,
}

/// Why there is no such network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArchitectureError {
    /// Only numbers that follow a sequence are forecast.
    #[error("forecasts, but it does not regress from sequences")]
    Forecasts,
    /// The pattern is for another backbone.
    #[error("{backbone} has {expected} searched convolutions, the pattern {found} kernels")]
    Pattern {
        /// The backbone's name.
        backbone: String,
        /// Kernels that it takes.
        expected: usize,
        /// Kernels that were given.
        found: usize,
    },
    /// Tiles in a backbone of sequences, or the other way round.
    #[error("{backbone} takes no input with {axes} axes")]
    Axes {
        /// The backbone's name.
        backbone: String,
        /// The input's.
        axes: usize,
    },
    /// Something is counted that must not be zero, or so large that no machine would hold it.
    #[error("{what} is {found}; it must lie in 1..={most}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// So many.
        found: u64,
        /// The most that is built.
        most: u64,
    },
    /// A Wide ResNet's depth is not 6 n + 4.
    #[error("a Wide ResNet has 10, 16, 22, ... layers (6 n + 4), not {0}")]
    Depth(u32),
    /// This backbone has no output for each position.
    #[error("{0} has no output for each position; segment with a U-Net")]
    NotDense(String),
}

impl Architecture {
    /// The frame's name, and what it has beyond its paper: `resnet_32`, `resnet_32+squeeze_excitation+silu`.
    pub fn name(&self) -> String {
        match self.extras == Extras::default() {
            true => self.backbone.name(),
            false => format!("{}+{}", self.backbone.name(), self.extras),
        }
    }

    /// Weights of all searched convolutions, which are most of the network: what a reader of an untrusted file holds
    /// against the file's length before anything is allocated.
    pub fn searched_weights(&self) -> u128 {
        let axes = self.input.size.len() as u32;
        let channels = self.backbone.searched_channels(&self.input);
        let kernels = self.pattern.0.iter();
        kernels
            .zip(channels)
            .map(|(kernel, (from, to))| u128::from(kernel.size).pow(axes) * u128::from(from) * u128::from(to))
            .sum()
    }

    /// Whether such a network can be built: everything a reader of an untrusted file must ask first.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ArchitectureError> {
        let count = |what, found: u32, most: u32| {
            if (1..=most).contains(&found) {
                return Ok(());
            }
            let (found, most) = (u64::from(found), u64::from(most));
            Err(ArchitectureError::Count { what, found, most })
        };
        let axes = self.input.size.len();
        let fits = match &self.backbone {
            Backbone::WideResNet { depth, width } => {
                if *depth < 10 || *depth > 100 || (depth - 4) % 6 != 0 {
                    return Err(ArchitectureError::Depth(*depth));
                }
                count("the widening factor", *width, 32)?;
                axes == 2
            }
            Backbone::ResNet { width } => {
                count("the width", *width, 4096)?;
                axes == 1
            }
            Backbone::UNet { widths } => {
                count(
                    "the number of levels, less one,",
                    widths.len().saturating_sub(1) as u32,
                    8,
                )?;
                widths
                    .iter()
                    .try_for_each(|width| count("a level's width", *width, 4096))?;
                axes == 1 || axes == 2
            }
        };
        let backbone = || self.backbone.name();
        if !fits {
            let backbone = backbone();
            return Err(ArchitectureError::Axes { backbone, axes });
        }
        if self.forecasts && (self.task != Task::Regress || axes != 1) {
            return Err(ArchitectureError::Forecasts);
        }
        if self.task == Task::Segment && !matches!(self.backbone, Backbone::UNet { .. }) {
            return Err(ArchitectureError::NotDense(backbone()));
        }
        count("the number of bands", self.input.bands, 4096)?;
        count("the number of outputs", self.outputs, 65_536)?;
        for size in &self.input.size {
            count("a size of the input", *size, 1 << 20)?;
        }
        for kernel in &self.pattern.0 {
            count("a kernel size", kernel.size, 255)?;
            count("a dilation", kernel.dilation, 255)?;
        }
        let (expected, found) = (self.backbone.searched_convolutions(), self.pattern.0.len());
        if expected != found {
            let backbone = backbone();
            return Err(ArchitectureError::Pattern {
                backbone,
                expected,
                found,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searched_convolutions_are_the_papers() {
        let searched = |backbone: Backbone| backbone.searched_convolutions();
        assert_eq!(searched(Backbone::WideResNet { depth: 16, width: 4 }), 13);
        assert_eq!(searched(Backbone::WideResNet { depth: 22, width: 8 }), 19);
        assert_eq!(searched(Backbone::ResNet { width: 128 }), 9);
        let widths = vec![64, 128, 256, 512, 512];
        assert_eq!(searched(Backbone::UNet { widths }), 18);
    }

    #[test]
    fn what_cannot_be_built_is_told() {
        let backbone = Backbone::WideResNet { depth: 16, width: 1 };
        let sound = Architecture {
            pattern: backbone.plain_pattern(),
            backbone,
            input: InputShape {
                bands: 3,
                size: vec![64, 64],
            },
            task: Task::Classify,
            outputs: 7,
            extras: Extras::default(),
            forecasts: false,
        };
        assert_eq!(sound.check(), Ok(()));
        let told = |change: fn(&mut Architecture)| {
            let mut changed = sound.clone();
            change(&mut changed);
            changed.check().expect_err("it cannot be built").to_string()
        };
        assert!(told(|a| a.backbone = Backbone::WideResNet { depth: 17, width: 1 }).contains("17"));
        assert!(told(|a| a.pattern.0.truncate(3)).contains("13 searched convolutions, the pattern 3 kernels"));
        assert!(told(|a| a.input.size = vec![64]).contains("1 axes"));
        assert!(told(|a| a.outputs = 0).contains("outputs is 0"));
        assert!(told(|a| a.forecasts = true).contains("does not regress"));
        assert!(told(|a| a.task = Task::Segment).contains("U-Net"));
        assert!(told(|a| a.pattern.0[0].size = 0).contains("kernel size is 0"));
    }
}
