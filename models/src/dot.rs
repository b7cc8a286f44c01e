//! Sums and extremes of slices: the inner loops that run over samples.
//!
//! A compiler may not reorder floating-point sums, so the partial sums that let it use vector registers are written
//! out. Their number is fixed: the same bits on every machine. All are inlined into the kernels (`simd`) that call them.

use std::array::from_fn;

/// Enough for two of the widest vectors: an addition takes longer than it is from one to the next.
const LANES: usize = 16;

/// Σ `x[k]·y[k]` over the shorter length.
#[inline(always)]
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    sum_of(x, y, |x, y| x * y)
}

/// Σ `x[k]`.
#[inline(always)]
pub(crate) fn sum(x: &[f64]) -> f64 {
    sum_of(x, x, |x, _| x)
}

/// Σ `term(x[k], y[k])` over the shorter length.
#[inline(always)]
pub(crate) fn sum_of(x: &[f64], y: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let length = x.len().min(y.len());
    let (x, x_tail) = x[..length].as_chunks::<LANES>();
    let (y, y_tail) = y[..length].as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        sums = from_fn(|lane| sums[lane] + term(x[lane], y[lane]));
    }
    let tail: f64 = x_tail.iter().zip(y_tail).map(|(x, y)| term(*x, *y)).sum();
    let pairs: [f64; LANES / 2] = from_fn(|lane| sums[lane] + sums[lane + LANES / 2]);
    pairs.iter().sum::<f64>() + tail
}

/// The least and the largest value; NaN does not count. Infinite the wrong way round where there is none.
#[inline(always)]
pub(crate) fn extremes(values: &[f64]) -> (f64, f64) {
    let (chunks, tail) = values.as_chunks::<LANES>();
    let mut lowest = [f64::INFINITY; LANES];
    let mut highest = [f64::NEG_INFINITY; LANES];
    for chunk in chunks {
        // Not `f64::min`, which takes three instructions to ignore NaN on either side.
        lowest = from_fn(|lane| {
            if chunk[lane] < lowest[lane] {
                chunk[lane]
            } else {
                lowest[lane]
            }
        });
        highest = from_fn(|lane| {
            if chunk[lane] > highest[lane] {
                chunk[lane]
            } else {
                highest[lane]
            }
        });
    }
    (
        lowest.iter().chain(tail).copied().fold(f64::INFINITY, f64::min),
        highest.iter().chain(tail).copied().fold(f64::NEG_INFINITY, f64::max),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_around_a_chunk_sums_what_it_should() {
        // Small integers: exact in whatever order.
        let x: Vec<f64> = (0..40).map(|k| f64::from(k % 7 - 3)).collect();
        let y: Vec<f64> = (0..43).map(|k| f64::from(k % 5 - 2)).collect();
        for length in 0..40 {
            let literal = |term: fn(f64, f64) -> f64| (0..length).map(|k| term(x[k], y[k])).sum::<f64>();
            assert_eq!(dot(&x[..length], &y), literal(|x, y| x * y), "{length}");
            assert_eq!(
                sum_of(&x[..length], &y, |x, y| x - y),
                literal(|x, y| x - y),
                "{length}"
            );
            assert_eq!(sum(&x[..length]), literal(|x, _| x), "{length}");
        }
    }

    #[test]
    fn extremes_are_found_wherever_they_stand_and_gaps_do_not_count() {
        for length in 2..35 {
            for place in 0..length {
                let mut values = vec![f64::NAN; length];
                values[place] = -7.0;
                assert_eq!(extremes(&values), (-7.0, -7.0));
                values[(place + 1) % length] = 3.0;
                assert_eq!(extremes(&values), (-7.0, 3.0), "{length} {place}");
            }
        }
        assert_eq!(extremes(&[f64::NAN; 40]), (f64::INFINITY, f64::NEG_INFINITY));
        assert_eq!(extremes(&[f64::NEG_INFINITY, 1.0]), (f64::NEG_INFINITY, 1.0));
    }
}
