//! How far predicted numbers are off.

use super::mean_of_defined;

fn squared_error<'a>(pairs: impl Iterator<Item = (&'a f32, &'a f32)>) -> f64 {
    pairs
        .map(|(prediction, target)| (f64::from(*prediction) - f64::from(*target)).powi(2))
        .sum()
}

/// The root of the mean squared error over all numbers. None of nothing, or where one is not finite.
pub fn rmse(predictions: &[f32], targets: &[f32]) -> Option<f64> {
    assert_eq!(predictions.len(), targets.len(), "a prediction for each target");
    let sum = squared_error(predictions.iter().zip(targets));
    (!targets.is_empty() && sum.is_finite()).then(|| (sum / targets.len() as f64).sqrt())
}

/// The part of the variance that is explained, the mean over the outputs. An output whose targets are all the same
/// has no variance and is left out; none where that is every one, or where a number is not finite.
pub fn r2(predictions: &[f32], targets: &[f32], outputs: usize) -> Option<f64> {
    rmse(predictions, targets)?;
    mean_of_defined((0..outputs).map(|output| {
        let of_output = || targets.iter().skip(output).step_by(outputs);
        let first = of_output().next()?;
        // Told from the numbers themselves: their mean may round.
        if of_output().all(|target| target == first) {
            return None;
        }
        let mean = of_output().map(|target| f64::from(*target)).sum::<f64>() / of_output().count() as f64;
        let variance: f64 = of_output().map(|target| (f64::from(*target) - mean).powi(2)).sum();
        let error = squared_error(predictions.iter().skip(output).step_by(outputs).zip(of_output()));
        Some(1.0 - error / variance)
    }))
}
