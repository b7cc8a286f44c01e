//! Dot products: the inner loop of tests and forecasts.
//!
//! A compiler may not reorder floating-point sums, so the partial sums that let it use vector registers are written
//! out. Their number is fixed: the same bits on every machine.

const LANES: usize = 8;

/// Σ `x[k]·y[k]` over the shorter length.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let length = x.len().min(y.len());
    let (x, x_tail) = x[..length].as_chunks::<LANES>();
    let (y, y_tail) = y[..length].as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let tail: f64 = x_tail.iter().zip(y_tail).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + tail
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
            let literal: f64 = (0..length).map(|k| x[k] * y[k]).sum();
            assert_eq!(dot(&x[..length], &y), literal, "{length}");
        }
    }
}
