//! The mixed convolution alone, with given weights and noise.

use forecastd_models::dasha::{Kernel, SearchSpace};
use tch::{Device, Tensor, nn};

use super::{Golden, assert_close, fill, sum, wave};
use crate::nets::convolution::{Convolution, Shape, Step};
use crate::nets::form::{Form, Forms};
use crate::nets::mixed::MixedConvolution;
use crate::nets::placement::grouped;

/// A layer and how it is stored.
struct Case {
    name: &'static str,
    axes: usize,
    sizes: &'static [u32],
    dilations: &'static [u32],
    inputs: i64,
    outputs: i64,
    size: i64,
    stride: i64,
    depthwise: bool,
}

#[rustfmt::skip]
const CASES: [Case; 6] = [
    Case { name: "mixed_sequence_full", axes: 1, sizes: &[3, 5], dilations: &[1, 2, 3], inputs: 3, outputs: 4, size: 12, stride: 1, depthwise: false },
    Case { name: "mixed_sequence_depthwise", axes: 1, sizes: &[3, 7], dilations: &[1, 3], inputs: 4, outputs: 4, size: 25, stride: 1, depthwise: true },
    Case { name: "mixed_sequence_even", axes: 1, sizes: &[1, 2, 4, 5], dilations: &[1, 2, 3], inputs: 2, outputs: 3, size: 16, stride: 1, depthwise: false },
    Case { name: "mixed_tiles_full", axes: 2, sizes: &[3, 5], dilations: &[1, 3], inputs: 3, outputs: 2, size: 9, stride: 2, depthwise: false },
    Case { name: "mixed_tiles_depthwise", axes: 2, sizes: &[3, 5], dilations: &[1, 2], inputs: 3, outputs: 3, size: 8, stride: 1, depthwise: true },
    Case { name: "mixed_tiles_even", axes: 2, sizes: &[2, 3, 4], dilations: &[1, 2], inputs: 2, outputs: 2, size: 7, stride: 2, depthwise: false },
];

impl Case {
    fn kernels(&self) -> Vec<Kernel> {
        let space = SearchSpace {
            kernel_sizes: self.sizes.to_vec(),
            dilations: self.dilations.to_vec(),
        };
        space.kernels()
    }

    fn shape(&self) -> Shape {
        Shape {
            stride: self.stride,
            bias: false,
            ..Shape::new(self.axes, self.inputs, self.outputs)
        }
    }

    fn input(&self) -> Tensor {
        let mut dims = vec![2, self.inputs];
        dims.resize(2 + self.axes, self.size);
        wave("input", &dims)
    }

    fn weight(&self, kernel: &Kernel) -> Tensor {
        let mut dims = vec![self.outputs, if self.depthwise { 1 } else { self.inputs }];
        dims.resize(2 + self.axes, i64::from(kernel.size));
        fill(&kernel.to_string(), &dims, 0.1, 0.0)
    }

    /// Built, with every candidate's weights where the layer has them.
    fn build(&self, store: &nn::VarStore, form: Form) -> (MixedConvolution, Tensor) {
        let kernels = self.kernels();
        let choice = MixedConvolution::choice(&store.root(), "choice", kernels.len());
        let forms = Forms::default();
        forms.force(Some(form));
        let (root, shape) = (store.root(), self.shape());
        let mixed = MixedConvolution::new(&root, choice.shallow_clone(), shape, &kernels, self.depthwise, forms);
        let order = grouped(&kernels, self.axes).concat();
        let rows: Vec<Tensor> = order
            .iter()
            .map(|index| self.weight(&kernels[*index]).flatten(2, -1))
            .collect();
        let weight = Tensor::cat(&rows, 2);
        tch::no_grad(|| {
            store.variables()["weight"].shallow_clone().copy_(&weight);
            choice.shallow_clone().copy_(&wave("alpha", &[kernels.len() as i64]));
        });
        (mixed, choice)
    }
}

#[test]
fn a_mixed_convolution_and_its_gradients_are_pytorchs_in_both_forms() {
    let golden = Golden::read();
    for (case, form) in CASES
        .iter()
        .flat_map(|case| [Form::Direct, Form::Fourier].map(|form| (case, form)))
    {
        let store = nn::VarStore::new(Device::Cpu);
        let (mixed, choice) = case.build(&store, form);
        let kernels = case.kernels();
        let coefficients = mixed.coefficients(&wave("noise", &[kernels.len() as i64]));
        let check = |what: &str, found: &Tensor| golden.check(&format!("{}/{what}", case.name), found);
        let kernel = mixed.kernel(&coefficients);
        check(
            "kernel_sum",
            &kernel.sum_dim_intlist([0, 1].as_slice(), false, tch::Kind::Float),
        );
        let input = case.input().set_requires_grad(true);
        let output = mixed.forward_with(&input, &coefficients);
        check("output", &output);
        sum(&(&output * wave("upstream", &output.size()))).backward();
        check("input_gradient", &input.grad());
        check("choice_gradient", &choice.grad());
        let gradient = store.variables()["weight"].grad();
        let mut first = 0;
        for index in grouped(&kernels, case.axes).concat() {
            let kernel = kernels[index];
            let wanted = case.weight(&kernel).get(0);
            let taps = wanted.get(0).numel() as i64;
            let found = gradient.get(0).narrow(1, first, taps).reshape(wanted.size());
            check(&format!("weight_gradient/{}", kernel), &found);
            first += taps;
        }
    }
}

#[test]
fn a_mixture_of_one_is_that_convolution() {
    for case in CASES.iter().filter(|case| !case.depthwise) {
        for kernel in case.kernels() {
            let store = nn::VarStore::new(Device::Cpu);
            let (mixed, _) = case.build(&store, Form::Direct);
            let kernels = case.kernels();
            let one: Vec<f32> = kernels.iter().map(|other| f32::from(*other == kernel)).collect();
            let found = mixed.forward_with(&case.input(), &Tensor::from_slice(&one));
            let alone = nn::VarStore::new(Device::Cpu);
            let convolution = Convolution::new(&alone.root(), case.shape(), kernel);
            tch::no_grad(|| alone.variables()["weight"].shallow_clone().copy_(&case.weight(&kernel)));
            assert_close(case.name, &found, &nn::Module::forward(&convolution, &case.input()));
        }
    }
}

/// Inputs that the widest kernels reach far beyond, with nobody's golden numbers: libtorch's convolution says what is
/// right.
#[rustfmt::skip]
const SMALL: [Case; 3] = [
    Case { name: "short sequence", axes: 1, sizes: &[3, 4, 5], dilations: &[1, 3, 7], inputs: 2, outputs: 3, size: 4, stride: 1, depthwise: false },
    Case { name: "small tile", axes: 2, sizes: &[3, 5], dilations: &[1, 5], inputs: 2, outputs: 2, size: 4, stride: 2, depthwise: false },
    Case { name: "one pixel", axes: 2, sizes: &[2, 3], dilations: &[1, 2], inputs: 2, outputs: 2, size: 1, stride: 1, depthwise: false },
];

#[test]
fn taps_beyond_the_reach_of_an_input_change_nothing_in_either_form() {
    for (case, form) in SMALL
        .iter()
        .flat_map(|case| [Form::Direct, Form::Fourier].map(|form| (case, form)))
    {
        let mut dims = vec![2, case.inputs, case.size];
        dims.resize(2 + case.axes, case.size + 2); // no square
        let input = wave("input", &dims);
        for kernel in case.kernels() {
            let store = nn::VarStore::new(Device::Cpu);
            let (mixed, _) = case.build(&store, form);
            let kernels = case.kernels();
            let one: Vec<f32> = kernels.iter().map(|other| f32::from(*other == kernel)).collect();
            let found = mixed.forward_with(&input, &Tensor::from_slice(&one));
            let weight = case.weight(&kernel);
            let step = Step {
                extent: i64::from(kernel.extent()),
                stride: case.stride,
                dilation: i64::from(kernel.dilation),
                groups: 1,
            };
            assert_close(case.name, &found, &step.correlate(&input, &weight, None));
        }
    }
}
