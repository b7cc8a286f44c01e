//! The supernet: its frames, its rule for gradients, its choices and its forms.

use forecastd_models::dasha::{Backbone, Kernel, SearchSpace, Task};
use tch::nn::ModuleT;
use tch::{Device, Kind, nn};

use super::{Golden, architecture, wave};
use crate::nets::{Form, Supernet, search_backbone};

fn space(kernel_sizes: &[u32], dilations: &[u32]) -> SearchSpace {
    SearchSpace {
        kernel_sizes: kernel_sizes.to_vec(),
        dilations: dilations.to_vec(),
    }
}

/// For sequences or tiles of two classes.
fn supernet(backbone: Backbone, (bands, size): (u32, &[u32]), space: &SearchSpace, depthwise: bool) -> Supernet {
    let (weights, choices) = (nn::VarStore::new(Device::Cpu), nn::VarStore::new(Device::Cpu));
    let architecture = architecture(backbone, bands, size, Task::Classify, 2);
    let (weights, choices) = (weights.root(), choices.root());
    Supernet::new(&weights, &choices, &architecture, space, depthwise).expect("it can be built")
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
            let supernet = supernet(small.clone(), (bands, size), &space(&[3, 5], &[1, 2]), depthwise);
            let dims: Vec<i64> = [2, bands].iter().chain(size).map(|size| i64::from(*size)).collect();
            let outputs = supernet.forward_t(&wave("input", &dims), true);
            assert_eq!(outputs.isfinite().all().int64_value(&[]), 1, "{small:?}");
            assert_eq!(outputs.size(), [2, 2]);
            assert_eq!(supernet.pattern().0.len(), backbone.searched_convolutions());
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
    let supernet = supernet(Backbone::ResNet { width: 2 }, (1, &[8]), &space(&[3, 5], &[1, 3]), true);
    tch::no_grad(|| {
        for (place, choice) in supernet.choices().iter().enumerate() {
            let mut choice = choice.shallow_clone();
            let _ = choice.zero_();
            let _ = choice.get(place as i64 % 4).fill_(1.0);
        }
    });
    let kernels = supernet.kernels();
    assert_eq!(kernels[2], Kernel::new(5, 1));
    let wanted: Vec<Kernel> = (0..9).map(|place| kernels[place % 4]).collect();
    assert_eq!(supernet.pattern().0, wanted);
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
fn forms_are_measured_once_and_an_earlier_runs_are_kept() {
    let make = || {
        supernet(
            Backbone::ResNet { width: 4 },
            (4, &[30]),
            &space(&[3, 5], &[1, 3]),
            true,
        )
    };
    let first = make();
    let _ = first.forward_t(&wave("input", &[8, 4, 30]), true);
    let measured = first.forms();
    assert_eq!(measured.len(), 3); // 4 to 4 and 8 to 8 channels, each seeing its own, and 4 to 8
    let _ = first.forward_t(&wave("input", &[3, 4, 30]), true);
    assert_eq!(first.forms(), measured);
    let other = |form| {
        if form == Form::Direct {
            Form::Fourier
        } else {
            Form::Direct
        }
    };
    let told: Vec<_> = measured.into_iter().map(|(key, form)| (key, other(form))).collect();
    let second = make();
    second.set_forms(told.clone());
    let _ = second.forward_t(&wave("input", &[8, 4, 30]), true);
    assert_eq!(second.forms(), told);
}
