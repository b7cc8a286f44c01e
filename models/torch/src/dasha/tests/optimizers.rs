//! Steps against PyTorch's, and steps that are gone on with.

use std::collections::BTreeMap;

use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::super::{Optimizer, Rule, clip_gradients};

#[derive(Deserialize)]
struct Golden {
    rates: Vec<f64>,
    rules: BTreeMap<String, Vec<Vec<f32>>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/optimizers.json")).expect("the script wrote it")
}

fn rules() -> [(&'static str, Rule); 3] {
    let sgd = |momentum, weight_decay| Rule::Sgd { momentum, weight_decay };
    [
        ("sgd", sgd(0.9, 5e-4)),
        ("sgd_without_momentum", sgd(0.0, 0.01)),
        ("adam_w", Rule::AdamW { weight_decay: 0.05 }),
    ]
}

fn wave(count: i64, phase: f64) -> Tensor {
    (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.7 + phase).sin()
}

fn start(rule: Rule) -> Optimizer {
    let parameters = [wave(6, 0.0).reshape([2, 3]), wave(3, 1.0)];
    let parameters = parameters.into_iter().map(|values| values.set_requires_grad(true));
    Optimizer::new(rule, parameters.collect())
}

/// The formula's gradient, as backward leaves it: of the sum of products with it.
fn leave_gradients(optimizer: &mut Optimizer, step: usize) {
    optimizer.zero_grad();
    for (index, parameter) in optimizer.parameters().iter().enumerate() {
        let gradient = wave(parameter.numel() as i64, step as f64 + 3.0 * index as f64) * 2.0;
        (parameter * gradient.reshape(parameter.size()))
            .sum(Kind::Float)
            .backward();
    }
}

fn take_step(optimizer: &mut Optimizer, step: usize, rates: &[f64]) {
    leave_gradients(optimizer, step);
    if step + 1 == rates.len() {
        clip_gradients(optimizer.parameters().iter(), 0.5);
    }
    optimizer.step(rates[step]);
}

fn values(optimizer: &Optimizer) -> Vec<f32> {
    let flat: Vec<Tensor> = optimizer
        .parameters()
        .iter()
        .map(|parameter| parameter.flatten(0, -1))
        .collect();
    Vec::try_from(Tensor::cat(&flat, 0)).expect("numbers")
}

#[test]
fn steps_are_those_of_pytorch() {
    let golden = golden();
    for (name, rule) in rules() {
        let mut optimizer = start(rule);
        for (step, expected) in golden.rules[name].iter().enumerate() {
            take_step(&mut optimizer, step, &golden.rates);
            for (found, expected) in values(&optimizer).iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{name}, step {step}: {found}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn a_restored_optimiser_goes_on_to_the_bit() {
    let rates = golden().rates;
    for (name, rule) in rules() {
        let mut whole = start(rule);
        (0..6).for_each(|step| take_step(&mut whole, step, &rates));

        let mut first = start(rule);
        (0..3).for_each(|step| take_step(&mut first, step, &rates));
        let state: BTreeMap<String, Tensor> = first
            .state()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.copy()))
            .collect();
        let mut second = Optimizer::new(rule, first.parameters().iter().map(Tensor::shallow_clone).collect());
        second
            .restore(&|name| state.get(name).map(Tensor::shallow_clone))
            .expect("it is all there");
        (3..6).for_each(|step| take_step(&mut second, step, &rates));
        assert_eq!(values(&second), values(&whole), "{name}");

        let error = start(rule).restore(&|_| None).expect_err("nothing is there");
        assert_eq!(error, "steps");
    }
}

#[test]
fn short_gradients_stay_as_they_are() {
    let mut optimizer = start(rules()[0].1);
    leave_gradients(&mut optimizer, 0);
    let before: Vec<f32> = Vec::try_from(optimizer.parameters()[1].grad()).expect("numbers");
    clip_gradients(optimizer.parameters().iter(), 100.0);
    let after: Vec<f32> = Vec::try_from(optimizer.parameters()[1].grad()).expect("numbers");
    assert_eq!(before, after);
}
