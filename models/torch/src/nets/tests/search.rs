use forecastd_models::dasha::{Backbone, Kernel, SearchSpace, Task};
use tch::nn::{ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor, nn};

use super::{Golden, architecture, assert_close, seeded, wave};
use crate::nets::{Form, LossOptions, Supernet, loss, search_backbone};

fn space(kernel_sizes: &[u32], dilations: &[u32]) -> SearchSpace {
    SearchSpace {
        kernel_sizes: kernel_sizes.to_vec(),
        dilations: dilations.to_vec(),
    }
}

/// A supernet with its two kinds of variables and their optimisers, as the method has them.
struct Search {
    supernet: Supernet,
    optimizers: [nn::Optimizer; 2],
}

impl Search {
    fn new(backbone: Backbone, (bands, size): (u32, &[u32]), space: &SearchSpace, depthwise: bool) -> Self {
        let (weights, choices) = (nn::VarStore::new(Device::Cpu), nn::VarStore::new(Device::Cpu));
        let architecture = architecture(backbone, bands, size, Task::Classify, 2);
        let supernet = Supernet::new(&weights.root(), &choices.root(), &architecture, space, depthwise);
        let sgd = nn::Sgd {
            momentum: 0.9,
            dampening: 0.0,
            wd: 5e-4,
            nesterov: true,
        };
        let optimizer = |store, rate| sgd.build(store, rate).expect("an optimiser");
        let optimizers = [optimizer(&weights, 0.1), optimizer(&choices, 0.05)];
        Self {
            supernet: supernet.expect("it can be built"),
            optimizers,
        }
    }

    fn step(&mut self, inputs: &Tensor, targets: &Tensor) -> f64 {
        let outputs = self.supernet.forward_t(inputs, true);
        let loss = loss(Task::Classify, &outputs, targets, &LossOptions::default());
        self.optimizers.iter_mut().for_each(nn::Optimizer::zero_grad);
        loss.backward();
        self.supernet.gradient_rule(100.0);
        self.optimizers
            .iter_mut()
            .for_each(|optimizer| optimizer.clip_grad_norm(1.0));
        self.optimizers.iter_mut().for_each(nn::Optimizer::step);
        loss.double_value(&[])
    }
}

#[test]
fn a_choices_gradient_is_scaled_and_pushed_from_wide_kernels() {
    let choices = nn::VarStore::new(Device::Cpu);
    let weights = nn::VarStore::new(Device::Cpu);
    let backbone = Backbone::ResNet { width: 2 };
    let architecture = architecture(backbone, 1, &[8], Task::Classify, 2);
    let (root, choice) = (weights.root(), choices.root());
    let supernet = Supernet::new(&root, &choice, &architecture, &space(&[3, 5], &[1, 3]), true).expect("a supernet");
    supernet.gradient_rule(100.0); // no gradient yet: nothing to do
    let wanted = wave("gradient", &[4]);
    let total = supernet
        .choices()
        .iter()
        .map(|choice| (choice * &wanted).sum(Kind::Float));
    total.reduce(|sum, part| sum + part).expect("nine choices").backward();
    supernet.gradient_rule(100.0);
    for choice in supernet.choices() {
        Golden::read().check("gradient_rule", &choice.grad());
    }
}

#[test]
fn every_backbone_is_searched_by_a_frame_of_as_many_convolutions() {
    let tiles: (u32, &[u32]) = (3, &[9, 10]);
    let sequence: (u32, &[u32]) = (3, &[33]);
    let widths = vec![64, 128, 256];
    let backbones = [
        (Backbone::WideResNet { depth: 10, width: 4 }, tiles),
        (Backbone::UNet { widths: widths.clone() }, tiles),
        (Backbone::UNet { widths: vec![4, 8, 8] }, sequence),
        (Backbone::ResNet { width: 8 }, sequence),
    ];
    for (backbone, (bands, size)) in backbones {
        let small = search_backbone(&backbone, size.len());
        for depthwise in [true, false] {
            let mut search = Search::new(small.clone(), (bands, size), &space(&[3, 5], &[1, 2]), depthwise);
            let dims: Vec<i64> = [2, bands].iter().chain(size).map(|size| i64::from(*size)).collect();
            let loss = search.step(&wave("input", &dims), &Tensor::from_slice(&[0_i64, 1]));
            assert!(loss.is_finite(), "{small:?}");
            assert_eq!(search.supernet.pattern().0.len(), backbone.searched_convolutions());
        }
    }
    let small = search_backbone(&Backbone::UNet { widths }, 2);
    assert_eq!(
        small,
        Backbone::UNet {
            widths: vec![25, 25, 50]
        }
    );
}

#[test]
fn the_pattern_is_what_each_choice_prefers() {
    let search = Search::new(Backbone::ResNet { width: 2 }, (1, &[8]), &space(&[3, 5], &[1, 3]), true);
    tch::no_grad(|| {
        for (place, choice) in search.supernet.choices().iter().enumerate() {
            let mut choice = choice.shallow_clone();
            let _ = choice.zero_();
            let _ = choice.get(place as i64 % 4).fill_(1.0);
        }
    });
    let kernels = search.supernet.kernels();
    assert_eq!(kernels[2], Kernel::new(5, 1));
    let wanted: Vec<Kernel> = (0..9).map(|place| kernels[place % 4]).collect();
    assert_eq!(search.supernet.pattern().0, wanted);
}

#[test]
fn an_empty_space_is_refused() {
    let (weights, choices) = (nn::VarStore::new(Device::Cpu), nn::VarStore::new(Device::Cpu));
    let architecture = architecture(Backbone::ResNet { width: 2 }, 1, &[8], Task::Classify, 2);
    let error = Supernet::new(&weights.root(), &choices.root(), &architecture, &space(&[], &[1]), true);
    assert!(
        error
            .expect_err("no kernel")
            .to_string()
            .contains("kernels to choose from is 0")
    );
}

#[test]
fn a_seed_makes_a_search_again_to_the_last_bit() {
    let once = || {
        let _alone = seeded(11);
        let mut search = Search::new(
            Backbone::ResNet { width: 4 },
            (4, &[30]),
            &space(&[3, 5], &[1, 3]),
            true,
        );
        search.supernet.force_form(Some(Form::Direct));
        let inputs = wave("input", &[8, 4, 30]);
        let targets = Tensor::from_slice(&[0_i64, 1, 0, 1, 1, 1, 0, 0]);
        let losses: Vec<f64> = (0..5).map(|_| search.step(&inputs, &targets)).collect();
        let choices = Tensor::stack(search.supernet.choices(), 0).flatten(0, -1);
        (losses, Vec::<f32>::try_from(choices).expect("numbers"))
    };
    assert_eq!(once(), once());
}

#[test]
fn forms_are_measured_once_and_an_earlier_runs_are_kept() {
    let make = || {
        Search::new(
            Backbone::ResNet { width: 4 },
            (4, &[30]),
            &space(&[3, 5], &[1, 3]),
            true,
        )
    };
    let first = make();
    first.supernet.forward_t(&wave("input", &[8, 4, 30]), true);
    let measured = first.supernet.forms();
    assert_eq!(measured.len(), 3); // 4 to 4 and 8 to 8 channels, each seeing its own, and 4 to 8
    first.supernet.forward_t(&wave("input", &[3, 4, 30]), true);
    assert_eq!(first.supernet.forms(), measured);
    let other = |form| {
        if form == Form::Direct {
            Form::Fourier
        } else {
            Form::Direct
        }
    };
    let told: Vec<_> = measured.into_iter().map(|(key, form)| (key, other(form))).collect();
    let second = make();
    second.supernet.set_forms(told.clone());
    second.supernet.forward_t(&wave("input", &[8, 4, 30]), true);
    assert_eq!(second.supernet.forms(), told);
}

#[test]
fn both_forms_make_the_same_network() {
    let forward = |form| {
        let _alone = seeded(3);
        let backbone = Backbone::WideResNet { depth: 10, width: 1 };
        let search = Search::new(backbone, (2, &[11, 14]), &SearchSpace::images(), false);
        search.supernet.force_form(Some(form));
        search.supernet.forward_t(&wave("input", &[2, 2, 11, 14]), true)
    };
    assert_close("the outputs", &forward(Form::Fourier), &forward(Form::Direct));
}

#[test]
fn memory_stays_flat_over_two_hundred_steps() {
    let _alone = seeded(4);
    let mut search = Search::new(
        Backbone::ResNet { width: 8 },
        (4, &[64]),
        &SearchSpace::sequences(),
        true,
    );
    let inputs = wave("input", &[16, 4, 64]);
    let targets = Tensor::from_slice(&[0_i64, 1].repeat(8));
    let mut steps = |count| (0..count).for_each(|_| drop(search.step(&inputs, &targets)));
    steps(40);
    let before = resident();
    steps(200);
    let grown = resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more"); // smaller tests share the process
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let resident = pages.split(' ').nth(1).expect("the second number");
    resident.parse::<usize>().expect("pages") * 4096
}

/// Two classes of noise: in one, equal steps lie `GAP` apart; in the other the same steps lie anywhere.
fn planted(samples: i64, length: i64) -> (Tensor, Tensor) {
    const GAP: i64 = 9;
    let noise = Tensor::randn([samples, 1, length], (Kind::Float, Device::Cpu)) * 0.5;
    let targets = Tensor::randint(2, [samples], (Kind::Int64, Device::Cpu));
    for sample in 0..samples {
        let class = targets.int64_value(&[sample]);
        let first = (sample * 37) % (length - 2 * GAP);
        let second = if class == 1 {
            first + GAP
        } else {
            (first + 2 * GAP + sample % 11) % length
        };
        for place in [first, second] {
            let _ = noise.get(sample).get(0).get(place).fill_(4.0);
        }
    }
    (noise, targets)
}

#[test]
fn the_search_prefers_a_kernel_that_covers_a_planted_motif() {
    let _alone = seeded(2);
    let candidates = space(&[3, 11], &[1]);
    let mut search = Search::new(Backbone::ResNet { width: 8 }, (1, &[64]), &candidates, true);
    search.supernet.force_form(Some(Form::Direct));
    let (inputs, targets) = planted(512, 64);
    for step in 0..240 {
        let first = step * 64 % 512;
        search.step(&inputs.narrow(0, first, 64), &targets.narrow(0, first, 64));
    }
    let pattern = search.supernet.pattern();
    let wide = pattern.0.iter().filter(|kernel| kernel.extent() > 9).count();
    assert!(wide >= 3, "{pattern}");
}
