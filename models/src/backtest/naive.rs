//! What everything is held against: the newest season, again and again.

use std::num::NonZeroUsize;
use std::ops::Range;

use crate::dense::Matrix;

/// Forecasts of the sample one season before, one row an origin as [`LinearMap::forecasts`](crate::LinearMap::forecasts)
/// has them. With a season of one it is the random walk. Before a whole season has passed, the newest sample stands for
/// what there is not.
///
/// # Panics
///
/// If the first origin has no sample before it.
pub fn seasonal_naive(
    samples: &[f64],
    origins: Range<usize>,
    stride: NonZeroUsize,
    horizon: NonZeroUsize,
    season: NonZeroUsize,
) -> Matrix {
    let rows = origins.len().div_ceil(stride.get());
    Matrix::from_fn(rows, horizon.get(), |row, step| {
        let origin = origins.start + row * stride.get();
        let back = if season.get() <= origin { season.get() } else { 1 };
        samples[origin - back + step % back]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear_map::LinearMap;

    const fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).expect("not zero")
    }

    #[test]
    fn it_is_the_map_of_that_name() {
        let samples: Vec<f64> = (0..40).map(|t| f64::from(t * t % 17)).collect();
        for season in [1, 4, 7] {
            let map = LinearMap::seasonal_naive(size(7), size(10), size(season));
            for stride in [1, 3] {
                let ours = seasonal_naive(&samples, 7..31, size(stride), size(10), size(season));
                assert_eq!(ours, map.forecasts(&samples, 7..31, size(stride)), "{season} {stride}");
            }
        }
    }

    #[test]
    fn before_a_season_has_passed_the_newest_sample_stands_for_it() {
        let row = seasonal_naive(&[1.0, 2.0], 2..3, size(1), size(2), size(3));
        assert_eq!(row.row(0), [2.0, 2.0]);
    }
}
