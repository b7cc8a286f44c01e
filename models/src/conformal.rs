//! Intervals from errors that were seen, whatever their distribution.

use std::num::NonZeroUsize;
use std::ops::Range;

use crate::dense::Matrix;
use crate::forecast::Level;
use crate::normal::normal_half_width;

/// Origins whose errors are looked at, at most: neighbours tell nearly the same.
const ORIGINS: usize = 2_048;

/// The magnitudes of the errors of forecasts from these origins, one row an origin. `forecasts` is asked for every so
/// manieth origin.
///
/// # Panics
///
/// If there is no origin, or one has not all its targets.
pub(crate) fn magnitudes(
    samples: &[f64],
    origins: Range<usize>,
    forecasts: impl Fn(Range<usize>, NonZeroUsize) -> Matrix,
) -> Matrix {
    let stride = NonZeroUsize::new(origins.len().div_ceil(ORIGINS)).expect("there is an origin");
    let mut errors = forecasts(origins.clone(), stride);
    for row in 0..errors.rows() {
        let truth = &samples[origins.start + row * stride.get()..];
        for (error, truth) in errors.row_mut(row).iter_mut().zip(truth) {
            *error = (*error - truth).abs();
        }
    }
    errors
}

/// Half the width of the interval at each level and step, from the magnitudes of errors: one row a forecast, from one
/// origin after the other, one column a step.
///
/// Split conformal prediction (Papadopoulos et al. 2002; Lei et al. 2018): of `n` errors the `⌈(n + 1)·level⌉`-th
/// smallest, so that an exchangeable next one lies within at least as often as promised. Errors of step `h` from
/// neighbouring origins share all but one of `h` surprises, though: `n` of them are worth `n / h`. Where these are too
/// few for the level, the width is at least that of a normal distribution with the deviation that `spare` knows for the
/// step.
pub(crate) fn half_widths(magnitudes: &Matrix, levels: &[Level], spare: impl Fn(usize) -> f64) -> Vec<Vec<f64>> {
    let mut widths = vec![Vec::with_capacity(magnitudes.columns()); levels.len()];
    for step in 0..magnitudes.columns() {
        let mut errors: Vec<f64> = (0..magnitudes.rows()).map(|row| magnitudes.at(row, step)).collect();
        errors.sort_unstable_by(f64::total_cmp);
        let worth = errors.len() as f64 / (step + 1) as f64;
        for (widths, level) in widths.iter_mut().zip(levels) {
            let rank = ((errors.len() + 1) as f64 * level.share()).ceil() as usize;
            let width = errors[rank.clamp(1, errors.len()) - 1];
            let tells = (worth + 1.0) * level.share() <= worth;
            let least = || normal_half_width(level.share()) * spare(step);
            widths.push(if tells { width } else { width.max(least()) });
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> Vec<Level> {
        [0.5, 0.8, 0.95].into_iter().filter_map(Level::new).collect()
    }

    #[test]
    fn the_rank_is_that_of_split_conformal_prediction() {
        // Nineteen errors in no order: 1, …, 19. Ranks 10, 16 and 19.
        let errors = Matrix::from_fn(19, 1, |row, _| f64::from((row as u32 * 7) % 19 + 1));
        assert_eq!(half_widths(&errors, &levels(), |_| 1e9), [[10.0], [16.0], [19.0]]);
    }

    #[test]
    fn where_errors_are_too_few_for_a_level_a_known_deviation_is_the_least() {
        // Step 2: nineteen errors are worth nine and a half, which tell 80 % and not 95 %.
        let errors = Matrix::from_fn(19, 2, |row, _| (row + 1) as f64);
        let widths = half_widths(&errors, &levels(), |step| if step == 1 { 100.0 } else { 1e9 });
        assert_eq!((widths[1][1], widths[2][0]), (16.0, 19.0));
        assert!((widths[2][1] - 195.996_398_454_005_4).abs() < 1e-9);
        let narrow = half_widths(&errors, &levels(), |_| 1.0);
        assert_eq!(narrow[2][1], 19.0);
    }
}
