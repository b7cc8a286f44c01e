//! A learner on a handful of samples.

use std::rc::Rc;
use std::sync::Arc;

use forecastd_models::dasha::{
    Architecture, Augmentation, Backbone, Extras, HyperParameters, InputShape, Random, SampleSet, Split, Task,
    TrainingOptions,
};
use tch::Device;
use tempfile::TempDir;

use super::super::learner::{Learner, Recipe};
use super::super::precision::Precision;
use crate::nets::LossOptions;
use crate::samples::{Loader, LoaderOptions, Samples};

const COUNT: u64 = 16;
const LENGTH: u32 = 24;

/// Noise with a class each that nothing in it tells.
fn noise() -> (TempDir, Loader) {
    let folder = tempfile::tempdir().expect("a folder");
    let set = SampleSet {
        count: COUNT,
        input: InputShape {
            bands: 1,
            size: vec![LENGTH],
        },
        element: forecastd_models::dasha::ElementType::F32,
        task: Task::Classify,
        labels: vec!["a".to_owned(), "b".to_owned()],
        hash: String::new(),
        cells: Default::default(),
        series: None,
    };
    let mut random = Random::new(1);
    let values = (0..COUNT * u64::from(LENGTH)).flat_map(|_| (random.normal() as f32).to_le_bytes());
    let inputs: Vec<u8> = values.collect();
    let targets: Vec<u8> = (0..COUNT)
        .flat_map(|sample| ((sample % 2) as u32).to_le_bytes())
        .collect();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it is written");
    write("samples.json", &serde_json::to_vec(&set).expect("plain data"));
    write("inputs.bin", &inputs);
    write("targets.bin", &targets);
    write("splits.bin", &[Split::Train as u8; COUNT as usize]);
    let samples = Arc::new(Samples::open(folder.path()).expect("they are sound"));
    let options = LoaderOptions {
        batch: 8,
        training: true,
        part: 1.0,
        seed: 1,
        augmentation: Augmentation::default(),
        threads: 1,
    };
    let scaling = samples.scaling().expect("they are finite");
    let all = samples.of(Split::Train).to_vec();
    let loader = Loader::new(&samples, &all, &scaling, options, Device::Cpu).expect("a loader");
    (folder, loader)
}

fn learner() -> Learner {
    let backbone = Backbone::ResNet { width: 8 };
    let architecture = Architecture {
        pattern: backbone.plain_pattern(),
        backbone,
        input: InputShape {
            bands: 1,
            size: vec![LENGTH],
        },
        task: Task::Classify,
        outputs: 2,
        extras: Extras::default(),
        forecasts: false,
    };
    let recipe = Rc::new(Recipe {
        strands: None,
        task: Task::Classify,
        device: Device::Cpu,
        precision: Precision::Single,
        loss: LossOptions::default(),
        training: TrainingOptions::default(),
    });
    Learner::new(&recipe, &architecture, &HyperParameters::default(), true).expect("it can be built")
}

#[test]
fn a_handful_of_samples_is_learnt_by_heart() {
    let (_folder, loader) = noise();
    let mut learner = learner();
    let losses = (0..60).map(|epoch| learner.train(&loader, epoch, 0.05).expect("it trains"));
    let losses: Vec<f64> = losses.map(|loss| loss.expect("it is finite")).collect();
    assert!(losses[59] < 0.02, "{losses:?}");
}

#[test]
fn a_loss_that_is_not_finite_is_told() {
    let (_folder, loader) = noise();
    let mut learner = learner();
    let diverged = (0..5).any(|epoch| learner.train(&loader, epoch, 1e30).expect("it trains").is_none());
    assert!(diverged);
}

#[test]
fn the_average_is_seen_in_the_networks_place_and_leaves_it_as_it_was() {
    let (_folder, loader) = noise();
    let mut learner = learner();
    learner.train(&loader, 0, 0.05).expect("it trains");
    let sum = |learner: &Learner| {
        let weights = learner.weights(false);
        weights
            .values()
            .map(|weight| weight.sum(tch::Kind::Double).double_value(&[]))
            .sum::<f64>()
    };
    let before = sum(&learner);
    let within = learner.with_average(sum).expect("there is an average");
    assert_ne!(within, before);
    assert_eq!(sum(&learner), before);
}
