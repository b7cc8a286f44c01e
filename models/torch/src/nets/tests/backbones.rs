//! Whole networks: outputs, gradients, counts, shapes, first weights.

use std::collections::BTreeMap;

use forecastd_models::dasha::{Activation, Architecture, Backbone, Extras, Kernel, KernelPattern, Task};
use tch::nn::ModuleT;
use tch::{Device, Tensor, nn};

use super::{Golden, architecture, assert_close, fill_variables, in_turn, sum, wave};
use crate::nets::Network;
use crate::nets::head::Head;

const ODD: [(u32, u32); 4] = [(3, 1), (5, 3), (1, 1), (7, 2)];
const EVEN: [(u32, u32); 4] = [(8, 1), (5, 2), (4, 3), (2, 2)];
const SMALL: [u32; 3] = [4, 6, 8];

fn unet(widths: &[u32]) -> Backbone {
    Backbone::UNet {
        widths: widths.to_vec(),
    }
}

/// In evaluation, frozen too, and in training, where a variable's gradient and the running moments follow too.
fn check(name: &str, architecture: Architecture, samples: i64) {
    let golden = Golden::read();
    let store = nn::VarStore::new(Device::Cpu);
    let network = Network::new(&store.root(), &architecture, 0.0).expect("it can be built");
    fill_variables(&store);
    let mut size = vec![samples, i64::from(architecture.input.bands)];
    size.extend(architecture.input.size.iter().map(|size| i64::from(*size)));
    let input = wave("input", &size);
    let outputs = tch::no_grad(|| network.forward_t(&input, false));
    golden.check(&format!("{name}/eval"), &outputs);
    golden.check(&format!("{name}/eval"), &frozen_outputs(&architecture, &input));
    let outputs = network.forward_t(&input, true);
    golden.check(&format!("{name}/train"), &outputs);
    sum(&(&outputs * wave("upstream", &outputs.size()))).backward();
    let variables = store.variables();
    let (weight, mean) = match architecture.backbone {
        Backbone::ResNet { .. } => ("blocks.0.layers.0.conv.weight", "blocks.0.layers.0.norm.running_mean"),
        Backbone::WideResNet { .. } => ("stages.0.0.conv1.weight", "stages.0.0.norm1.running_mean"),
        Backbone::UNet { .. } => ("down.0.conv1.weight", "down.0.norm1.running_mean"),
    };
    golden.check(&format!("{name}/gradient"), &variables[weight].grad().get(0));
    golden.check(&format!("{name}/running_mean"), &variables[mean]);
}

/// Of the same network, made for predictions alone.
fn frozen_outputs(architecture: &Architecture, input: &Tensor) -> Tensor {
    let store = nn::VarStore::new(Device::Cpu);
    let network = Network::new(&store.root(), architecture, 0.1).expect("it can be built");
    fill_variables(&store);
    let network = network.frozen(&input.size()[2..]);
    tch::no_grad(|| network.forward_t(input, false))
}

fn with(mut architecture: Architecture, kernels: &[(u32, u32)], extras: Extras) -> Architecture {
    architecture.pattern = in_turn(&architecture.backbone, kernels);
    architecture.extras = extras;
    architecture
}

fn extras(activation: Activation, antialias: bool) -> Extras {
    Extras {
        squeeze_excitation: true,
        activation,
        antialias,
    }
}

#[test]
fn a_resnet_is_pytorchs() {
    let plain = architecture(Backbone::ResNet { width: 4 }, 5, &[29], Task::Classify, 3);
    check("resnet", with(plain, &ODD, Extras::default()), 3);
    let even = architecture(Backbone::ResNet { width: 16 }, 2, &[17], Task::Regress, 2);
    check("resnet_even", with(even, &EVEN, extras(Activation::Gelu, false)), 2);
}

#[test]
fn a_wide_resnet_is_pytorchs() {
    let backbone = Backbone::WideResNet { depth: 16, width: 1 };
    let plain = architecture(backbone, 4, &[9, 12], Task::Classify, 3);
    check("wide_resnet", with(plain, &ODD, Extras::default()), 2);
    let backbone = Backbone::WideResNet { depth: 10, width: 2 };
    let more = architecture(backbone, 1, &[8, 7], Task::Multilabel, 2);
    check(
        "wide_resnet_extras",
        with(more, &EVEN, extras(Activation::Silu, true)),
        2,
    );
}

#[test]
fn a_unet_of_sequences_is_pytorchs() {
    let plain = architecture(unet(&[4, 6, 8, 8]), 5, &[21], Task::Classify, 3);
    check("unet_sequence", with(plain, &ODD, Extras::default()), 2);
    let dense = architecture(unet(&[4, 6]), 1, &[11], Task::Segment, 3);
    check(
        "unet_sequence_dense",
        with(dense, &EVEN, extras(Activation::Gelu, true)),
        2,
    );
}

#[test]
fn a_unet_of_tiles_is_pytorchs() {
    let plain = architecture(unet(&SMALL), 3, &[8, 12], Task::Classify, 4);
    check("unet_tiles", with(plain, &ODD, Extras::default()), 2);
    let dense = architecture(unet(&SMALL), 2, &[5, 9], Task::Segment, 3);
    check(
        "unet_tiles_dense",
        with(dense, &EVEN, extras(Activation::Silu, true)),
        2,
    );
}

#[test]
fn parameters_are_as_many_as_the_paper_counts() {
    let rounded: [(&str, Architecture, &[f64]); 5] = [
        (
            "resnet",
            architecture(Backbone::ResNet { width: 128 }, 5, &[200], Task::Classify, 2),
            &[1.22, 2.01, 2.80, 3.59, 4.37],
        ),
        (
            "unet_sequence",
            architecture(unet(&[64, 128, 256, 512, 512]), 5, &[200], Task::Classify, 2),
            &[4.47, 7.45, 10.4, 13.4, 16.4],
        ),
        (
            "wide_resnet_16_4",
            architecture(
                Backbone::WideResNet { depth: 16, width: 4 },
                13,
                &[64, 64],
                Task::Classify,
                10,
            ),
            &[2.75, 7.56, 14.8, 24.4],
        ),
        (
            "wide_resnet_22_8",
            architecture(
                Backbone::WideResNet { depth: 22, width: 8 },
                13,
                &[64, 64],
                Task::Classify,
                10,
            ),
            &[17.2, 47.3, 92.6, 153.0],
        ),
        (
            "unet_tiles",
            architecture(unet(&[64, 128, 256, 512, 1024]), 13, &[64, 64], Task::Classify, 10),
            &[31.1, 81.3, 156.6, 257.0],
        ),
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/parameters.json");
    let text = std::fs::read_to_string(path).expect("tests/reference/networks.py writes it");
    let exact: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_str(&text).expect("counts");
    for (name, mut architecture, millions) in rounded {
        for (size, millions) in [3, 5, 7, 9, 11].into_iter().zip(millions) {
            architecture.pattern = KernelPattern(vec![Kernel::new(size, 1); architecture.pattern.0.len()]);
            let found = parameters(&architecture);
            assert_eq!(found, exact[&size.to_string()][name], "{name} with kernels of {size}");
            let digits = if *millions < 10.0 { 0.005 } else { 0.05 };
            assert!(
                (found as f64 / 1e6 - millions).abs() <= digits,
                "{name}, {size}: {found}, {millions} M"
            );
        }
    }
}

fn parameters(architecture: &Architecture) -> u64 {
    let store = nn::VarStore::new(Device::Cpu);
    let _network = Network::new(&store.root(), architecture, 0.0).expect("it can be built");
    store
        .trainable_variables()
        .iter()
        .map(|variable| variable.numel() as u64)
        .sum()
}

#[test]
fn any_size_goes_in_and_every_task_has_its_shape() {
    let tiles = [Backbone::WideResNet { depth: 10, width: 1 }, unet(&SMALL)];
    let sequences = [Backbone::ResNet { width: 4 }, unet(&SMALL)];
    let sizes: [&[u32]; 3] = [&[1, 1], &[3, 3], &[7, 10]];
    for (backbone, size) in tiles.iter().flat_map(|b| sizes.iter().map(move |s| (b, *s))) {
        shapes(backbone, size);
    }
    let sizes: [&[u32]; 3] = [&[1], &[2], &[101]];
    for (backbone, size) in sequences.iter().flat_map(|b| sizes.iter().map(move |s| (b, *s))) {
        shapes(backbone, size);
    }
}

fn shapes(backbone: &Backbone, size: &[u32]) {
    for antialias in [false, true] {
        for task in [Task::Classify, Task::Multilabel, Task::Regress, Task::Segment] {
            let mut architecture = architecture(backbone.clone(), 2, size, task, 3);
            architecture.extras.antialias = antialias;
            let store = nn::VarStore::new(Device::Cpu);
            let Ok(network) = Network::new(&store.root(), &architecture, 0.1) else {
                assert_eq!(task, Task::Segment, "all else is for every backbone");
                continue;
            };
            let size: Vec<i64> = size.iter().map(|size| i64::from(*size)).collect();
            let input = wave("input", &[vec![2, 2], size.clone()].concat());
            let wanted = if task == Task::Segment {
                [vec![2, 3], size].concat()
            } else {
                vec![2, 3]
            };
            let what = format!("{backbone:?}, {task:?}");
            fill_variables(&store);
            let outputs = tch::no_grad(|| network.forward_t(&input, false));
            assert_eq!(outputs.size(), wanted, "{what}");
            assert_eq!(outputs.isfinite().all().int64_value(&[]), 1, "{what}");
            assert_close(&what, &frozen_outputs(&architecture, &input), &outputs);
        }
    }
}

#[test]
fn first_weights_have_the_spread_of_their_layer() {
    let spread = |backbone, size: &[u32], name: &str, bound: f64| {
        let store = nn::VarStore::new(Device::Cpu);
        let architecture = architecture(backbone, 8, size, Task::Classify, 4);
        Network::new(&store.root(), &architecture, 0.0).expect("it can be built");
        let largest = store.variables()[name].abs().max().double_value(&[]);
        assert!(
            largest <= bound && largest > 0.9 * bound,
            "{name}: {largest}, not {bound}"
        );
    };
    let wide = || Backbone::WideResNet { depth: 10, width: 1 };
    spread(wide(), &[8, 8], "stem.weight", (12.0_f64 / (9.0 * (8.0 + 16.0))).sqrt());
    spread(wide(), &[8, 8], "head.weight", 1.0 / 8.0);
    spread(
        Backbone::ResNet { width: 32 },
        &[64],
        "blocks.0.layers.0.conv.weight",
        1.0 / 8.0,
    );
    spread(unet(&[16, 32]), &[8, 8], "up.0.transpose.weight", 1.0 / 8.0);
}

#[test]
fn a_pattern_of_another_backbone_is_refused() {
    let mut architecture = architecture(Backbone::ResNet { width: 4 }, 5, &[29], Task::Classify, 3);
    architecture.pattern.0.pop();
    let store = nn::VarStore::new(Device::Cpu);
    let error = Network::new(&store.root(), &architecture, 0.0).expect_err("one kernel is missing");
    assert!(error.to_string().contains("9 searched convolutions, the pattern 8"));
    assert!(store.is_empty());
}

#[test]
fn a_network_that_forecasts_tells_the_newest_sample_from_the_oldest() {
    for backbone in [Backbone::ResNet { width: 4 }, unet(&[4, 6])] {
        let forecasts = Architecture {
            forecasts: true,
            ..architecture(backbone, 1, &[12], Task::Regress, 5)
        };
        let store = nn::VarStore::new(Device::Cpu);
        let network = Network::new(&store.root(), &forecasts, 0.0).expect("it can be built");
        fill_variables(&store);
        assert_eq!(store.variables()["head.ahead.weight"].size(), [5, 12]);
        let outputs = tch::no_grad(|| network.forward_t(&wave("input", &[3, 1, 12]), false));
        assert_eq!(outputs.size(), [3, 5]);
    }
    let store = nn::VarStore::new(Device::Cpu);
    let mean = Head::linear(&(store.root() / "mean"), 1, 4, 5, Task::Regress);
    let steps = Head::steps(&(store.root() / "steps"), 4, 12, 5);
    let bump = |head: &Head, position: i64| {
        let features = Tensor::zeros([1, 4, 12], (tch::Kind::Float, Device::Cpu));
        let _ = features.narrow(2, position, 1).fill_(1.0);
        tch::no_grad(|| head.forward_t(&features, false))
    };
    let apart = |head: &Head| f64::try_from((bump(head, 0) - bump(head, 11)).abs().max()).expect("a number");
    assert!(
        apart(&mean) < 1e-6 && apart(&steps) > 1e-6,
        "{} {}",
        apart(&mean),
        apart(&steps)
    );
}
