//! What training makes small, for each task.

use forecastd_models::dasha::Task;
use forecastd_models::dasha::samples::NO_CLASS;
use tch::{Kind, Reduction, Tensor};

/// Beyond the plain loss. The default has none of it.
#[derive(Debug, Default)]
pub struct LossOptions {
    /// The part of a target that is spread over all classes (arXiv 1512.00567); of several labels each goes that far
    /// towards 1/2.
    pub label_smoothing: f64,
    /// One for each class.
    pub class_weights: Option<Tensor>,
    /// How much of 1 - Dice is added in a segmentation (arXiv 1606.04797).
    pub dice: f64,
}

/// Keeps a class that occurs nowhere, and is found nowhere, at a Dice of 1.
const DICE_SMOOTHING: f64 = 1.0;

/// Keeps a batch without one pixel of a class from dividing by zero.
const SMALLEST_TOTAL: f64 = 1e-8;

/// The mean loss of a batch.
///
/// | task | outputs | targets | loss |
/// |---|---|---|---|
/// | classify | `[n, classes]` | `i64 [n]`, or parts of each class `f32 [n, classes]` (from MixUp and CutMix) | cross-entropy |
/// | multilabel | `[n, classes]` | `f32 [n, classes]` in 0..=1 | PyTorch's `MultiLabelSoftMarginLoss` |
/// | segment | `[n, classes, *size]` | `i64 [n, *size]`, [`NO_CLASS`] where none is known | cross-entropy over known pixels |
/// | regress | `[n, outputs]` | `f32 [n, outputs]` | mean squared error |
///
/// As in PyTorch, class weights make the cross-entropy a weighted mean, but parts of classes are divided by `n`.
/// A batch of pixels none of which is known has no loss, 0, and moves no weight.
pub fn loss(task: Task, outputs: &Tensor, targets: &Tensor, options: &LossOptions) -> Tensor {
    let outputs = &outputs.to_kind(Kind::Float); // a sum of many halves would lose its small parts
    match task {
        Task::Classify => cross_entropy(outputs, targets, options, Reduction::Mean, NOTHING_IGNORED),
        Task::Multilabel => multilabel(outputs, targets, options),
        Task::Segment => segment(outputs, targets, options),
        Task::Regress => outputs.mse_loss(targets, Reduction::Mean),
    }
}

/// PyTorch's default for the class to leave out: none.
const NOTHING_IGNORED: i64 = -100;

fn cross_entropy(
    outputs: &Tensor,
    targets: &Tensor,
    options: &LossOptions,
    reduction: Reduction,
    ignored: i64,
) -> Tensor {
    let weights = options.class_weights.as_ref();
    outputs.cross_entropy_loss(targets, weights, reduction, ignored, options.label_smoothing)
}

fn multilabel(outputs: &Tensor, targets: &Tensor, options: &LossOptions) -> Tensor {
    let smoothing = options.label_smoothing;
    let targets = targets * (1.0 - smoothing) + 0.5 * smoothing;
    let present = &targets * outputs.log_sigmoid();
    let absent: Tensor = (1.0 - &targets) * (-outputs).log_sigmoid();
    let losses = (present + absent).neg();
    match &options.class_weights {
        Some(weights) => (losses * weights).mean(Kind::Float),
        None => losses.mean(Kind::Float),
    }
}

/// Summed here rather than by libtorch, which on a GPU adds up pixels in no fixed order.
fn segment(outputs: &Tensor, targets: &Tensor, options: &LossOptions) -> Tensor {
    let known = targets.not_equal(i64::from(NO_CLASS));
    let classes = targets.masked_fill(&targets.eq(i64::from(NO_CLASS)), 0);
    let losses = cross_entropy(outputs, targets, options, Reduction::None, i64::from(NO_CLASS));
    let known = known.to_kind(Kind::Float);
    let total = match &options.class_weights {
        Some(weights) => (weights.take(&classes) * &known).sum(Kind::Float),
        None => known.sum(Kind::Float),
    };
    let mean = losses.sum(Kind::Float) / total.clamp_min(SMALLEST_TOTAL);
    if options.dice == 0.0 {
        return mean;
    }
    mean + (1.0 - dice(outputs, &classes, &known)) * options.dice
}

/// The mean over the classes of `2 |A ∩ B| / (|A| + |B|)`, with probabilities for the one of them.
fn dice(outputs: &Tensor, classes: &Tensor, known: &Tensor) -> Tensor {
    let known = known.unsqueeze(1);
    let found = outputs.softmax(1, Kind::Float) * &known;
    let wanted = classes
        .one_hot(outputs.size()[1])
        .movedim_int(-1, 1)
        .to_kind(Kind::Float)
        * &known;
    let mut axes: Vec<i64> = (0..outputs.dim() as i64).collect();
    axes.remove(1);
    let sum = |values: &Tensor| values.sum_dim_intlist(axes.clone(), false, Kind::Float);
    let both = sum(&(&found * &wanted));
    let scores = (both * 2.0 + DICE_SMOOTHING) / (sum(&found) + sum(&wanted) + DICE_SMOOTHING);
    scores.mean(Kind::Float)
}
