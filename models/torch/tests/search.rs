//! Searches as a run makes them: again from a seed, in flat memory, for what the data ask for.
//!
//! One process of their own: libtorch's generator of random numbers and the memory are the process's, so that every
//! test here has them to itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use forecastd_models::dasha::{Architecture, Backbone, Extras, InputShape, SearchSpace, Task};
use forecastd_torch::nets::{Form, LossOptions, Network, Supernet, loss};
use tch::nn::{ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor, nn};

/// Alone, and from this seed on.
fn seeded(seed: i64) -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner); // a failed test leaves it no worse
    tch::set_num_threads(1); // two threads that wait for each other are slower where others compute too
    tch::manual_seed(seed);
    guard
}

fn architecture(backbone: Backbone, bands: u32, size: &[u32]) -> Architecture {
    Architecture {
        pattern: backbone.plain_pattern(),
        backbone,
        input: InputShape {
            bands,
            size: size.to_vec(),
        },
        task: Task::Classify,
        outputs: 2,
        extras: Extras::default(),
        forecasts: false,
    }
}

fn space(kernel_sizes: &[u32], dilations: &[u32]) -> SearchSpace {
    SearchSpace {
        kernel_sizes: kernel_sizes.to_vec(),
        dilations: dilations.to_vec(),
    }
}

fn wave(size: &[i64]) -> Tensor {
    let count = size.iter().product::<i64>();
    (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.37)
        .sin()
        .reshape(size)
}

/// A supernet with its two kinds of variables and their optimisers, as the method has them.
struct Search {
    supernet: Supernet,
    optimizers: [nn::Optimizer; 2],
}

impl Search {
    fn new(backbone: Backbone, (bands, size): (u32, &[u32]), space: &SearchSpace, depthwise: bool) -> Self {
        let (weights, choices) = (nn::VarStore::new(Device::Cpu), nn::VarStore::new(Device::Cpu));
        let architecture = architecture(backbone, bands, size);
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
fn a_seed_makes_a_network_and_its_dropout_again() {
    let once = || {
        let _alone = seeded(5);
        let store = nn::VarStore::new(Device::Cpu);
        let architecture = architecture(Backbone::WideResNet { depth: 10, width: 1 }, 3, &[9, 9]);
        let network = Network::new(&store.root(), &architecture, 0.3).expect("it can be built");
        let outputs = network.forward_t(&wave(&[4, 3, 9, 9]), true);
        Vec::<f32>::try_from(outputs.flatten(0, -1)).expect("numbers")
    };
    assert_eq!(once(), once());
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
        let inputs = wave(&[8, 4, 30]);
        let targets = Tensor::from_slice(&[0_i64, 1, 0, 1, 1, 1, 0, 0]);
        let losses: Vec<f64> = (0..5).map(|_| search.step(&inputs, &targets)).collect();
        let choices = Tensor::stack(search.supernet.choices(), 0).flatten(0, -1);
        (losses, Vec::<f32>::try_from(choices).expect("numbers"))
    };
    assert_eq!(once(), once());
}

#[test]
fn both_forms_make_the_same_network() {
    let forward = |form| {
        let _alone = seeded(3);
        let backbone = Backbone::WideResNet { depth: 10, width: 1 };
        let search = Search::new(backbone, (2, &[11, 14]), &SearchSpace::images(), false);
        search.supernet.force_form(Some(form));
        search.supernet.forward_t(&wave(&[2, 2, 11, 14]), true)
    };
    let difference = (forward(Form::Fourier) - forward(Form::Direct))
        .abs()
        .max()
        .double_value(&[]);
    assert!(difference < 1e-5, "{difference}");
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
    let inputs = wave(&[16, 4, 64]);
    let targets = Tensor::from_slice(&[0_i64, 1].repeat(8));
    let mut steps = |count| (0..count).for_each(|_| assert!(search.step(&inputs, &targets).is_finite()));
    steps(40);
    let before = resident();
    steps(200);
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let resident = pages.split(' ').nth(1).expect("the second number");
    resident.parse::<usize>().expect("pages") * 4096
}

/// From one bump of a planted pair to the other.
const GAP: i64 = 8;

/// Two classes of noise, each sample with two bumps somewhere: `GAP` apart in the one, at any other distance in the
/// other.
fn planted(samples: i64, length: i64) -> (Tensor, Tensor) {
    let inputs = Tensor::randn([samples, 1, length], (Kind::Float, Device::Cpu)) * 0.3;
    let targets = Tensor::randint(2, [samples], (Kind::Int64, Device::Cpu));
    let draws = Tensor::randint(length - 2 * GAP, [samples, 2], (Kind::Int64, Device::Cpu));
    for sample in 0..samples {
        let first = draws.int64_value(&[sample, 0]);
        let other = (GAP + 1 + draws.int64_value(&[sample, 1]) % GAP, GAP);
        let gap = if targets.int64_value(&[sample]) == 1 {
            other.1
        } else {
            other.0
        };
        for place in [first, first + gap] {
            let _ = inputs.get(sample).get(0).get(place).fill_(3.0);
        }
    }
    (inputs, targets)
}

#[test]
fn the_search_prefers_kernels_that_cover_a_planted_motif() {
    for seed in [1, 2] {
        let _alone = seeded(seed);
        let candidates = space(&[3, 11], &[1]);
        let mut search = Search::new(Backbone::ResNet { width: 8 }, (1, &[64]), &candidates, true);
        search.supernet.force_form(Some(Form::Direct));
        let (inputs, targets) = planted(512, 64);
        for step in 0..80 {
            let first = step * 64 % 512;
            search.step(&inputs.narrow(0, first, 64), &targets.narrow(0, first, 64));
        }
        let pattern = search.supernet.pattern();
        let covering = pattern.0.iter().filter(|kernel| i64::from(kernel.extent()) > GAP);
        assert!(covering.count() >= 7, "seed {seed}: {pattern}"); // half of nine where nothing is preferred
    }
}
