//! Sums of products of two rows of samples, one against the other moved by every lag: by FFT.
//!
//! Strided views and a matrix product would do the same in some T·P flop, of which libtorch copies the windows first;
//! transforms take O(T log T), and round to some epsilons of the energy, which is no worse than one long sum.

use tch::{Kind, TchError, Tensor};

/// `Σ_s x[s]·y[s + k]` for `k = 0 … highest` in each row; beyond its end a row counts as zero.
pub(super) fn correlation(x: &Tensor, y: &Tensor, highest: i64) -> Result<Tensor, TchError> {
    // Of the circular sums those that wrap around meet nothing but the zeros after the end of `y`.
    let length = fast_length(y.size()[1].max(x.size()[1] + highest));
    let x = x.f_fft_rfft(length, 1, "backward")?;
    let y = y.f_fft_rfft(length, 1, "backward")?;
    let product = x.f_conj()?.f_mul(&y)?;
    product
        .f_fft_irfft(length, 1, "backward")?
        .f_narrow(1, 0, highest + 1)?
        .f_to_kind(Kind::Double)
}

/// The least length from `least` on that is even and a product of twos, threes and fives.
fn fast_length(least: i64) -> i64 {
    let is_smooth = |length: &i64| {
        let mut rest = *length;
        for prime in [2, 3, 5] {
            while rest % prime == 0 {
                rest /= prime;
            }
        }
        rest == 1
    };
    (least.max(2)..)
        .filter(|length| length % 2 == 0)
        .find(is_smooth)
        .expect("a power of two is one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_even_and_smooth() {
        for (least, length) in [
            (0, 2),
            (2, 2),
            (7, 8),
            (11, 12),
            (121, 128),
            (8192, 8192),
            (10_001, 10_240),
        ] {
            assert_eq!(fast_length(least), length, "{least}");
        }
    }

    #[test]
    fn sums_are_those_of_the_definition_whichever_row_is_longer() {
        let wave = |n: i64, f: f64| -> Vec<f64> { (0..2 * n).map(|t| (t as f64 * f).sin()).collect() };
        for (n, m, highest) in [(10, 10, 9), (7, 20, 13), (20, 7, 6), (33, 40, 0)] {
            let (x, y) = (wave(n, 0.7), wave(m, 1.3));
            let rows =
                |values: &[f64], n: i64| Tensor::f_from_slice(values).and_then(|values| values.f_reshape([2, n]));
            let found = correlation(&rows(&x, n).expect("rows"), &rows(&y, m).expect("rows"), highest).expect("sums");
            let found = crate::fit::values(&found).expect("numbers");
            let (n, m, lags) = (n as usize, m as usize, highest as usize + 1);
            for row in 0..2 {
                let (x, y) = (&x[row * n..][..n], &y[row * m..][..m]);
                for lag in 0..lags {
                    let literal: f64 = x.iter().zip(y.iter().skip(lag)).map(|(x, y)| x * y).sum();
                    assert!((found[row * lags + lag] - literal).abs() < 1e-13, "{n} {m} {row} {lag}");
                }
            }
        }
    }
}
