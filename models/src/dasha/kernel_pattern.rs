//! What is searched for: a kernel size and a dilation for each convolution of a backbone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kernel size and dilation of one convolution, the same along every axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kernel {
    /// Taps along each axis, at least 1.
    pub size: u32,
    /// Samples from one tap to the next, at least 1.
    pub dilation: u32,
}

impl Kernel {
    /// A kernel of `size` taps, `dilation` apart.
    pub const fn new(size: u32, dilation: u32) -> Self {
        Self { size, dilation }
    }

    /// Samples from the first to the last tap, both counted: `dilation * (size - 1) + 1`.
    pub const fn extent(self) -> u32 {
        self.dilation * (self.size - 1) + 1
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.size, self.dilation)
    }
}

/// One [`Kernel`] for each searched convolution of a backbone, in the order in which the input passes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KernelPattern(pub Vec<Kernel>);

impl fmt::Display for KernelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernels: Vec<String> = self.0.iter().map(Kernel::to_string).collect();
        f.write_str(&kernels.join(" "))
    }
}

/// The kernels from which each convolution gets one: every size with every dilation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSpace {
    /// The sizes to choose from.
    pub kernel_sizes: Vec<u32>,
    /// The dilations to choose from.
    pub dilations: Vec<u32>,
}

impl SearchSpace {
    /// The paper's for sequences: sizes 3, 5, 7, 9, 11, dilations 1, 3, 5, 7.
    pub fn sequences() -> Self {
        Self {
            kernel_sizes: vec![3, 5, 7, 9, 11],
            dilations: vec![1, 3, 5, 7],
        }
    }

    /// The paper's for images: sizes 3, 5, 7, 9, dilations 1, 3, 5, 7.
    pub fn images() -> Self {
        Self {
            kernel_sizes: vec![3, 5, 7, 9],
            dilations: vec![1, 3, 5, 7],
        }
    }

    /// Every pair, all dilations of the first size first. A network's weights have this order.
    pub fn kernels(&self) -> Vec<Kernel> {
        let sizes = self.kernel_sizes.iter();
        let pairs = sizes.flat_map(|size| self.dilations.iter().map(|dilation| Kernel::new(*size, *dilation)));
        pairs.collect()
    }

    /// The largest [extent](Kernel::extent) of any pair; 0 of an empty space.
    pub fn extent(&self) -> u32 {
        self.kernels().into_iter().map(Kernel::extent).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_go_through_the_dilations_of_a_size_first() {
        let space = SearchSpace {
            kernel_sizes: vec![3, 5],
            dilations: vec![1, 3],
        };
        let pairs: Vec<String> = space.kernels().iter().map(Kernel::to_string).collect();
        assert_eq!(pairs, ["3/1", "3/3", "5/1", "5/3"]);
        assert_eq!(space.extent(), 13);
        assert_eq!(SearchSpace::sequences().extent(), 71);
    }
}
