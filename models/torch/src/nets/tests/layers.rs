//! What networks are made of.

use forecastd_models::dasha::{Activation, Kernel};
use tch::nn::{Module, ModuleT};
use tch::{Device, nn};

use super::{Golden, fill_variables, wave};
use crate::nets::convolution::{Convolution, Shape};
use crate::nets::layers::{Attention, BatchNorm, activate, blur, double_length};

#[test]
fn a_convolution_keeps_the_size_and_has_one_more_position_behind_than_before() {
    let golden = Golden::read();
    for (axes, size) in [(1, vec![2, 3, 9]), (2, vec![2, 3, 5, 6])] {
        let input = wave("input", &size);
        for (size, dilation, stride) in every(&[1, 2, 3, 4], &[1, 2, 3], &[1, 2]) {
            let store = nn::VarStore::new(Device::Cpu);
            let shape = Shape {
                stride: i64::from(stride),
                ..Shape::new(axes, 3, 2)
            };
            let convolution = Convolution::new(&store.root(), shape, Kernel::new(size, dilation));
            fill_variables(&store);
            let name = format!("convolution/{axes}/{size}/{dilation}/{stride}");
            golden.check(&name, &convolution.forward(&input));
        }
    }
}

fn every(sizes: &[u32], dilations: &[u32], strides: &[u32]) -> Vec<(u32, u32, u32)> {
    let mut all = Vec::new();
    for size in sizes {
        for dilation in dilations {
            all.extend(strides.iter().map(|stride| (*size, *dilation, *stride)));
        }
    }
    all
}

#[test]
fn what_lies_between_convolutions_is_pytorchs() {
    let golden = Golden::read();
    for (axes, size) in [(1, vec![9]), (2, vec![5, 6])] {
        let shaped = |channels| [vec![2, channels], size.clone()].concat();
        let input = wave("input", &shaped(3));
        for stride in [1, 2] {
            golden.check(&format!("blur/{axes}/{stride}"), &blur(&input, stride));
        }
        let named = [
            ("relu", Activation::Relu),
            ("silu", Activation::Silu),
            ("gelu", Activation::Gelu),
        ];
        for (name, activation) in named {
            golden.check(&format!("activation/{axes}/{name}"), &activate(&input, activation));
        }
        let store = nn::VarStore::new(Device::Cpu);
        let attention = Attention::new(&store.root(), 32, axes);
        fill_variables(&store);
        let weighed = attention.forward(&wave("input", &shaped(32)));
        golden.check(&format!("attention/{axes}"), &weighed);
        let store = nn::VarStore::new(Device::Cpu);
        let norm = BatchNorm::new(&store.root(), 3);
        fill_variables(&store);
        golden.check(&format!("norm/{axes}/eval"), &norm.forward_t(&input, false));
        golden.check(&format!("norm/{axes}/train"), &norm.forward_t(&input, true));
        golden.check(&format!("norm/{axes}/running_var"), &store.variables()["running_var"]);
    }
    for size in [1, 2, 7] {
        let doubled = double_length(&wave("input", &[2, 3, size]));
        golden.check(&format!("double_length/{size}"), &doubled);
    }
}
