//! Convolutions of a network that predicts and learns no more.

use forecastd_models::dasha::Kernel;
use tch::{Device, Tensor};

use super::convolution::around;
use super::layers::BatchNorm;

/// Up to so many multiplications of a batch, one product of matrices is faster than libtorch's convolution, which
/// orders inputs and weights anew at every call. Measured on a processor with AVX-512, where both take as long at
/// about this number.
const FEW: i64 = 4 << 20;

/// A convolution and the normalisation of what comes out of it in one, for inputs of one size.
///
/// A normalisation by moments that no longer move is a factor and a constant for each output channel, which go into
/// weights and bias. Taps that meet nothing but the zeros around an input of this size are left out. On a CPU, channels
/// lie innermost in memory, where its convolutions are fastest. Which of two ways is taken follows from sizes alone, so
/// that the same batch has the same answer to the last bit.
#[derive(Debug)]
pub(super) struct Frozen {
    /// `[outputs, inputs, rows, columns]`
    weight: Tensor,
    /// `[rows × columns × inputs, outputs]`, where the multiplications of one sample are few.
    matrix: Option<Tensor>,
    /// `[outputs]`
    bias: Tensor,
    /// Rows and columns; a sequence is a tile of one row.
    axes: [Axis; 2],
    is_sequence: bool,
    /// Of one sample.
    multiplications: i64,
}

/// What a convolution does along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    /// Positions of the input.
    size: i64,
    /// Taps that are left, and from one to the next.
    taps: i64,
    dilation: i64,
    /// Taps that were left out at either end.
    dropped: i64,
    /// From one output to the next.
    stride: i64,
    /// Zeros before and after the input.
    around: (i64, i64),
}

impl Frozen {
    /// Of these weights and that bias, for inputs of this size along each axis.
    pub(super) fn new(
        (weight, bias): (&Tensor, Option<&Tensor>),
        norm: Option<&BatchNorm>,
        (kernel, stride): (Kernel, i64),
        size: &[i64],
    ) -> Self {
        let _guard = tch::no_grad_guard();
        let outputs = weight.size()[0];
        let zeros = || Tensor::zeros([outputs], (weight.kind(), weight.device()));
        let bias = bias.map_or_else(zeros, Tensor::shallow_clone);
        let (weight, bias) = norm.map_or_else(|| (weight.copy(), bias.copy()), |norm| norm.folded(weight, &bias));
        let axis = |size: &i64| Axis::new(*size, kernel, stride);
        let (axes, is_sequence) = match size {
            [length] => ([Axis::NONE, axis(length)], true),
            [rows, columns] => ([axis(rows), axis(columns)], false),
            _ => unreachable!("an architecture that was checked has one or two axes"),
        };
        let weight = if is_sequence { weight.unsqueeze(2) } else { weight };
        let [rows, columns] = axes;
        let weight = weight
            .narrow(2, rows.dropped, rows.taps)
            .narrow(3, columns.dropped, columns.taps);
        let multiplications = weight.numel() as i64 * rows.outputs() * columns.outputs();
        let on_cpu = weight.device() == Device::Cpu;
        let matrix = || weight.permute([2, 3, 1, 0]).flatten(0, 2).contiguous();
        Self {
            matrix: (on_cpu && multiplications <= FEW).then(matrix),
            weight: if on_cpu {
                innermost(&weight)
            } else {
                weight.contiguous()
            },
            bias,
            axes,
            is_sequence,
            multiplications,
        }
    }

    /// Size of the outputs along each axis.
    pub(super) fn outputs(&self) -> Vec<i64> {
        let axes = if self.is_sequence { &self.axes[1..] } else { &self.axes };
        axes.iter().map(Axis::outputs).collect()
    }

    pub(super) fn forward(&self, input: &Tensor) -> Tensor {
        let tiles = if self.is_sequence {
            input.unsqueeze(2)
        } else {
            input.shallow_clone()
        };
        debug_assert_eq!(tiles.size()[2..], self.axes.map(|axis| axis.size), "of another size");
        let output = match &self.matrix {
            Some(matrix) if tiles.size()[0] * self.multiplications <= FEW => self.multiply(&tiles, matrix),
            _ => self.convolve(&tiles),
        };
        if self.is_sequence {
            output.squeeze_dim(2)
        } else {
            output
        }
    }

    /// All that an output sees in a row of a matrix, times the weights.
    fn multiply(&self, input: &Tensor, matrix: &Tensor) -> Tensor {
        let [rows, columns] = self.axes;
        let (samples, channels) = (input.size()[0], input.size()[1]);
        let padded = self.padded(&innermost(input)).permute([0, 2, 3, 1]);
        let strides = padded.stride();
        let seen = padded.as_strided(
            [
                samples,
                rows.outputs(),
                columns.outputs(),
                rows.taps,
                columns.taps,
                channels,
            ],
            [
                strides[0],
                strides[1] * rows.stride,
                strides[2] * columns.stride,
                strides[1] * rows.dilation,
                strides[2] * columns.dilation,
                strides[3],
            ],
            None,
        );
        let output = self.bias.addmm(&seen.reshape([-1, matrix.size()[0]]), matrix);
        output
            .view([samples, rows.outputs(), columns.outputs(), matrix.size()[1]])
            .permute([0, 3, 1, 2])
    }

    fn convolve(&self, input: &Tensor) -> Tensor {
        let input = if self.weight.device() == Device::Cpu {
            innermost(input)
        } else {
            input.shallow_clone()
        };
        let is_even = self.axes.iter().all(|axis| axis.around.0 == axis.around.1);
        let (padded, padding) = if is_even {
            (input, self.axes.map(|axis| axis.around.0))
        } else {
            (self.padded(&input), [0, 0])
        };
        let (strides, dilations) = (self.axes.map(|axis| axis.stride), self.axes.map(|axis| axis.dilation));
        padded.conv2d(&self.weight, Some(&self.bias), strides, padding, dilations, 1)
    }

    fn padded(&self, input: &Tensor) -> Tensor {
        // libtorch counts paddings from the last axis.
        let [above_below, left_right] = self.axes.map(|axis| axis.around);
        let zeros = [left_right.0, left_right.1, above_below.0, above_below.1];
        if zeros == [0; 4] {
            return input.shallow_clone();
        }
        input.constant_pad_nd(zeros)
    }
}

impl Axis {
    /// That of the rows of a sequence.
    const NONE: Self = Self {
        size: 1,
        taps: 1,
        dilation: 1,
        dropped: 0,
        stride: 1,
        around: (0, 0),
    };

    /// Whatever keeps the size but for the stride.
    fn new(size: i64, kernel: Kernel, stride: i64) -> Self {
        let (taps, dilation) = (i64::from(kernel.size), i64::from(kernel.dilation));
        let is_centred = taps % 2 == 1; // else an end would be left that reaches over the other
        let side = taps / 2;
        let dropped = if is_centred {
            side - side.min((size - 1) / dilation)
        } else {
            0
        };
        let (before, after) = around(i64::from(kernel.extent()));
        let beyond = dropped * dilation;
        Self {
            size,
            taps: taps - 2 * dropped,
            dilation,
            dropped,
            stride,
            around: (before - beyond, after - beyond),
        }
    }

    /// Positions of the output.
    fn outputs(&self) -> i64 {
        (self.size - 1) / self.stride + 1
    }
}

/// The same tiles, or weights, with the channels of a position side by side in memory.
pub(crate) fn innermost(tiles: &Tensor) -> Tensor {
    tiles.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use tch::nn::{Module, ModuleT, VarStore};
    use tch::{Kind, Tensor};

    use super::super::convolution::{Convolution, Shape};
    use super::*;

    /// A convolution and a normalisation with moments of its own, and what both say of an input.
    fn alone_and_frozen(axes: usize, (kernel, stride): (Kernel, i64), size: &[i64], samples: i64) -> [Tensor; 3] {
        let store = VarStore::new(Device::Cpu);
        let shape = Shape {
            stride,
            ..Shape::new(axes, 3, 5)
        };
        let convolution = Convolution::new(&(store.root() / "conv"), shape, kernel);
        let norm = BatchNorm::new(&(store.root() / "norm"), 5);
        let input = Tensor::randn([&[samples, 3], size].concat(), (Kind::Float, Device::Cpu));
        tch::no_grad(|| {
            for (name, mut values) in store.variables() {
                if name.starts_with("norm") {
                    let _ = values.uniform_(0.5, 1.5);
                }
            }
            let frozen = convolution.frozen(Some(&norm), size);
            let tiles = if axes == 1 {
                input.unsqueeze(2)
            } else {
                input.shallow_clone()
            };
            let matrix = frozen.matrix.as_ref().expect("there is little to multiply");
            let plain = norm.forward_t(&convolution.forward(&input), false);
            [
                frozen.multiply(&tiles, matrix).reshape_as(&plain),
                frozen.convolve(&tiles).reshape_as(&plain),
                plain,
            ]
        })
    }

    #[test]
    fn both_ways_are_the_convolution_and_its_normalisation() {
        let kernels = [(1, 1), (3, 1), (3, 5), (11, 5), (7, 2), (4, 3), (2, 1)];
        let sizes: [&[i64]; 6] = [&[1], &[12], &[101], &[1, 1], &[7, 10], &[16, 3]];
        for (taps, dilation) in kernels {
            for (stride, size) in [1, 2].into_iter().flat_map(|stride| sizes.map(|size| (stride, size))) {
                let kernel = (Kernel::new(taps, dilation), stride);
                let [multiplied, convolved, plain] = alone_and_frozen(size.len(), kernel, size, 3);
                for (way, outputs) in [("multiplied", multiplied), ("convolved", convolved)] {
                    let error = (outputs - &plain).abs().max().double_value(&[]);
                    assert!(error < 1e-5, "{way} {kernel:?} {size:?}: off by {error:.1e}");
                }
            }
        }
    }

    fn axis(size: i64, taps: u32, dilation: u32) -> (i64, i64, (i64, i64)) {
        let axis = Axis::new(size, Kernel::new(taps, dilation), 1);
        (axis.dropped, axis.taps, axis.around)
    }

    #[test]
    fn taps_are_left_out_where_they_meet_nothing_but_zeros() {
        assert_eq!(axis(12, 11, 5), (3, 5, (10, 10)));
        assert_eq!(axis(12, 11, 1), (0, 11, (5, 5)));
        assert_eq!(axis(1, 7, 3), (3, 1, (0, 0)));
        assert_eq!(axis(2, 4, 3), (0, 4, (4, 5)), "an even kernel is left as it is");
    }
}
