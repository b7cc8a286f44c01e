//! How well scores put the positive before the negative: ROC AUC and average precision.

use super::mean_of_defined;

/// Positive where the byte is not 0.
pub(super) fn flags(targets: &[u8]) -> Vec<bool> {
    targets.iter().map(|target| *target != 0).collect()
}

/// Positions from the greatest score down; none where one is not a number.
fn descending(scores: &[f32]) -> Option<Vec<usize>> {
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).expect("no NaN"));
    Some(order)
}

/// Positives and negatives of each run of equal scores, from the greatest down.
fn runs(scores: &[f32], positive: &[bool]) -> Option<Vec<(u64, u64)>> {
    assert_eq!(scores.len(), positive.len(), "a flag for each score");
    let order = descending(scores)?;
    let equal = order.chunk_by(|a, b| scores[*a] == scores[*b]);
    let counted = equal.map(|run| {
        let positives = run.iter().filter(|at| positive[**at]).count();
        (positives as u64, (run.len() - positives) as u64)
    });
    Some(counted.collect())
}

/// The area under the ROC curve: how likely a positive has a greater score than a negative, equal scores counting
/// half (midranks). None without a positive or without a negative.
pub fn roc_auc(scores: &[f32], positive: &[bool]) -> Option<f64> {
    let (mut above, mut negatives, mut halves) = (0u64, 0u64, 0u128);
    for (run_positives, run_negatives) in runs(scores, positive)? {
        halves += u128::from(run_negatives) * u128::from(2 * above + run_positives);
        above += run_positives;
        negatives += run_negatives;
    }
    let pairs = u128::from(above) * u128::from(negatives);
    (pairs > 0).then(|| halves as f64 / (2.0 * pairs as f64))
}

/// Average precision: the sum over the thresholds of precision times the recall gained there, without interpolation.
/// None without a positive.
pub fn average_precision(scores: &[f32], positive: &[bool]) -> Option<f64> {
    let (mut found, mut seen, mut sum) = (0u64, 0u64, 0.0);
    for (run_positives, run_negatives) in runs(scores, positive)? {
        found += run_positives;
        seen += run_positives + run_negatives;
        sum += run_positives as f64 * (found as f64 / seen as f64);
    }
    (found > 0).then(|| sum / found as f64)
}

/// ROC AUC of one class of each sample. Of two classes that of the second, by how much its score exceeds the first's;
/// of more the mean of each against the rest, over the classes that are there. None where one class only is.
pub fn roc_auc_of_classes(scores: &[f32], labels: &[u32], classes: usize) -> Option<f64> {
    assert_eq!(
        scores.len(),
        labels.len() * classes,
        "a score for each class of each sample"
    );
    let of_class = |class: usize| {
        labels
            .iter()
            .map(|label| *label as usize == class)
            .collect::<Vec<bool>>()
    };
    if classes == 2 {
        let differences: Vec<f32> = scores.chunks_exact(2).map(|row| row[1] - row[0]).collect();
        return roc_auc(&differences, &of_class(1));
    }
    of_each_class(scores, classes, |class, scores| roc_auc(scores, &of_class(class)))
}

/// The mean of the classes' ROC AUC, over those of which some samples have the class and some do not.
pub fn macro_roc_auc(scores: &[f32], targets: &[u8], classes: usize) -> Option<f64> {
    let column = |class| column(targets, classes, class);
    of_each_class(scores, classes, |class, scores| roc_auc(scores, &flags(&column(class))))
}

/// The mean of the classes' average precision, over those that any sample has.
pub fn macro_average_precision(scores: &[f32], targets: &[u8], classes: usize) -> Option<f64> {
    let column = |class| column(targets, classes, class);
    of_each_class(scores, classes, |class, scores| {
        average_precision(scores, &flags(&column(class)))
    })
}

/// A score that is not a number makes the whole undefined, not its class only.
fn of_each_class(scores: &[f32], classes: usize, of: impl Fn(usize, &[f32]) -> Option<f64>) -> Option<f64> {
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    mean_of_defined((0..classes).map(|class| of(class, &column(scores, classes, class))))
}

fn column<T: Copy>(rows: &[T], classes: usize, class: usize) -> Vec<T> {
    rows.iter().skip(class).step_by(classes).copied().collect()
}
