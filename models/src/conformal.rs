//! Intervals from errors that were seen, whatever their distribution.

use crate::dense::Matrix;
use crate::forecast::Level;

/// Half the width of the interval at each level and step, from the magnitudes of errors: one row a forecast, one column
/// a step.
///
/// Split conformal prediction (Papadopoulos et al. 2002; Lei et al. 2018): of `n` errors the `⌈(n + 1)·level⌉`-th
/// smallest, so that an exchangeable next one lies within at least as often as promised. With too few errors for that,
/// the largest.
pub(crate) fn half_widths(magnitudes: &Matrix, levels: &[Level]) -> Vec<Vec<f64>> {
    let mut widths = vec![Vec::with_capacity(magnitudes.columns()); levels.len()];
    for step in 0..magnitudes.columns() {
        let mut errors: Vec<f64> = (0..magnitudes.rows()).map(|row| magnitudes.at(row, step)).collect();
        errors.sort_unstable_by(f64::total_cmp);
        for (widths, level) in widths.iter_mut().zip(levels) {
            let rank = ((errors.len() + 1) as f64 * level.share()).ceil() as usize;
            widths.push(errors[rank.clamp(1, errors.len()) - 1]);
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_that_of_split_conformal_prediction() {
        let levels: Vec<Level> = [0.5, 0.8, 0.95].into_iter().filter_map(Level::new).collect();
        // Nineteen errors in no order: 1, …, 19. Ranks 10, 16 and 19.
        let errors = Matrix::from_fn(19, 1, |row, _| f64::from((row as u32 * 7) % 19 + 1));
        assert_eq!(half_widths(&errors, &levels), [[10.0], [16.0], [19.0]]);
        // Nine cannot tell 95 %: the largest.
        let few = Matrix::from_fn(9, 1, |row, _| f64::from(row as u32));
        assert_eq!(half_widths(&few, &levels), [[4.0], [7.0], [8.0]]);
    }
}
