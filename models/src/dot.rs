//! Dot products: the one inner loop of Gram, factor and forecast.
//!
//! A compiler may not reorder floating-point sums, so the partial sums that let it use vector registers are written
//! out. Their number is fixed: the same bits on every machine.

const LANES: usize = 8;
const NARROW: usize = 4;

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

/// Four dot products with one vector, which is read once. Every `y` is at least as long as `x`.
pub(crate) fn dot4(x: &[f64], y: [&[f64]; 4]) -> [f64; 4] {
    let y = y.map(|y| &y[..x.len()]);
    let (head, tail) = x.as_chunks::<NARROW>();
    let [a, b, c, d] = y.map(|y| y.as_chunks::<NARROW>().0);
    let mut sums = [[0.0; NARROW]; 4];
    for ((((x, a), b), c), d) in head.iter().zip(a).zip(b).zip(c).zip(d) {
        for lane in 0..NARROW {
            sums[0][lane] += x[lane] * a[lane];
            sums[1][lane] += x[lane] * b[lane];
            sums[2][lane] += x[lane] * c[lane];
            sums[3][lane] += x[lane] * d[lane];
        }
    }
    let start = x.len() - tail.len();
    std::array::from_fn(|k| {
        let rest: f64 = tail.iter().zip(&y[k][start..]).map(|(x, y)| x * y).sum();
        sums[k].iter().sum::<f64>() + rest
    })
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
            let literal = |shift: usize| (0..length).map(|k| x[k] * y[k + shift]).sum::<f64>();
            assert_eq!(dot(&x[..length], &y), literal(0), "{length}");
            let four = dot4(&x[..length], [&y, &y[1..], &y[2..], &y[3..]]);
            assert_eq!(four, [0, 1, 2, 3].map(literal), "{length}");
        }
    }
}
