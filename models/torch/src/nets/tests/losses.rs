//! The loss of each task.

use forecastd_models::dasha::Task;
use forecastd_models::dasha::samples::NO_CLASS;
use tch::{Kind, Tensor};

use super::{Golden, fill, wave};
use crate::nets::{LossOptions, loss};

#[test]
fn each_loss_is_pytorchs() {
    let golden = Golden::read();
    let outputs = fill("outputs", &[6, 4], 2.0, 0.0);
    let hard = Tensor::from_slice(&[0_i64, 1, 2, 3, 1, 0]);
    let soft = fill("targets", &[6, 4], 3.0, 0.0).softmax(1, Kind::Float);
    let labels = soft.greater(0.3).to_kind(Kind::Float);
    let pixels = fill("pixels", &[2, 4, 3, 5], 2.0, 0.0);
    let no_class = i64::from(NO_CLASS);
    let classes: Vec<i64> = (0..30)
        .map(|i| i * 7 % 5)
        .map(|c| if c == 4 { no_class } else { c })
        .collect();
    let classes = Tensor::from_slice(&classes).reshape([2, 3, 5]);
    for smoothing in [0.0, 0.1] {
        for weighted in [false, true] {
            let with = |dice| LossOptions {
                label_smoothing: smoothing,
                class_weights: weighted.then(|| Tensor::from_slice(&[0.5_f32, 1.0, 2.0, 1.5])),
                dice,
            };
            let plain = with(0.0);
            let case = format!("{smoothing:.1}/{}", if weighted { "weighted" } else { "plain" });
            let check = |name: &str, found: Tensor| golden.check(&format!("loss/{name}/{case}"), &found);
            check("hard", loss(Task::Classify, &outputs, &hard, &plain));
            check("soft", loss(Task::Classify, &outputs, &soft, &plain));
            check("multilabel", loss(Task::Multilabel, &outputs, &labels, &plain));
            check("segment", loss(Task::Segment, &pixels, &classes, &plain));
            check("segment_dice", loss(Task::Segment, &pixels, &classes, &with(0.5)));
        }
    }
    let squared = loss(Task::Regress, &outputs, &soft, &LossOptions::default());
    golden.check("loss/regress", &squared);
}

#[test]
fn pixels_of_which_none_is_known_move_no_weight() {
    let outputs = wave("outputs", &[1, 3, 4, 4]).set_requires_grad(true);
    let unknown = Tensor::full([1, 4, 4], i64::from(NO_CLASS), (Kind::Int64, outputs.device()));
    let found = loss(Task::Segment, &outputs, &unknown, &LossOptions::default());
    found.backward();
    assert_eq!(found.double_value(&[]), 0.0);
    assert_eq!(outputs.grad().abs().max().double_value(&[]), 0.0);
}

#[test]
fn a_class_with_the_number_that_pixels_leave_out_is_a_class_of_a_sample() {
    let outputs = Tensor::zeros([1, 300], (Kind::Float, tch::Device::Cpu));
    let found = loss(
        Task::Classify,
        &outputs,
        &Tensor::from_slice(&[255_i64]),
        &LossOptions::default(),
    );
    assert!((found.double_value(&[]) - 300_f64.ln()).abs() < 1e-5);
}
