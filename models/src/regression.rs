//! Least squares of a series on its own lags and a constant, at one order.

use crate::cholesky::Cholesky;
use crate::dot::{dot, sum_of};
use crate::gram::LagGram;
use crate::lag_products::LagProducts;
use crate::schur;
use crate::simd::{self, Kernel};

/// The difference `y'y − Σ w²` is exact to some roundings of `y'y`. Where less than this share of it is left, too few
/// digits are.
const LEAST_SHARE: f64 = 1e-6;

/// `y[t] = intercept + Σ_j coefficients[j-1]·y[t-j] + e[t]` over `t = P … T-1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// Lag 1 first.
    pub coefficients: Vec<f64>,
    /// The constant term.
    pub intercept: f64,
    /// Rows less one for each coefficient and one for the intercept.
    pub degrees: usize,
    /// The residual sum of squares, `y'y − Σ w²`; `None` where this difference has lost its digits, and only the
    /// [residuals themselves](Self::residual_sum) can tell.
    pub rss: Option<f64>,
    order: usize,
}

impl Regression {
    /// Regresses on all lags of the products: with all rows that have them, the estimate of statsmodels'
    /// `AutoReg(y, order)`.
    ///
    /// Lags from the first that is a linear combination of those before it are left out.
    pub fn new(products: &LagProducts) -> Self {
        let (energy, w, coefficients) = match schur::regress(products, 0.0) {
            Some(solved) => (solved.energy, solved.w, solved.coefficients),
            None => carefully(products),
        };
        let rows = products.rows();
        let means: Vec<f64> = products.sums().iter().map(|sum| sum / rows as f64).collect();
        let rss = energy - dot(&w, &w);
        Self {
            intercept: means[0] - dot(&coefficients, &means[1..]),
            degrees: rows.saturating_sub(coefficients.len() + 1),
            rss: (rss > energy * LEAST_SHARE).then_some(rss),
            order: products.order(),
            coefficients,
        }
    }

    /// The residual sum of squares on the samples that the products were taken of, from the residuals themselves.
    pub fn residual_sum(&self, y: &[f64]) -> f64 {
        simd::run(self.residuals(y))
    }

    fn residuals<'a>(&self, y: &'a [f64]) -> ResidualSum<'a> {
        ResidualSum {
            oldest_first: self.coefficients.iter().rev().copied().collect(),
            intercept: self.intercept,
            explained: &y[self.order..],
            samples: &y[self.order - self.coefficients.len()..],
        }
    }

    /// The residual variance; `None` where no degree of freedom is left.
    pub fn variance(&self, rss: f64) -> Option<f64> {
        (self.degrees > 0).then(|| rss / self.degrees as f64)
    }
}

struct ResidualSum<'a> {
    /// The coefficients, that of the longest lag first.
    oldest_first: Vec<f64>,
    intercept: f64,
    explained: &'a [f64],
    /// From the longest lag of the first that is explained.
    samples: &'a [f64],
}

/// Vectors of rows that go through the coefficients together.
const TILE: usize = 4;

impl Kernel for ResidualSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> f64 {
        let rows = self.explained.len();
        let mut samples = self.samples.to_vec();
        samples.resize(samples.len() + TILE * LANES, 0.0); // the last tile reaches beyond the last row
        let mut by_lags = Vec::with_capacity(rows + TILE * LANES);
        for first in (0..rows).step_by(TILE * LANES) {
            let mut sums = [[0.0; LANES]; TILE];
            let windows = samples[first..].windows(TILE * LANES);
            for (coefficient, samples) in self.oldest_first.iter().zip(windows) {
                let (samples, _) = samples.as_chunks::<LANES>();
                for part in 0..TILE {
                    for lane in 0..LANES {
                        sums[part][lane] += coefficient * samples[part][lane];
                    }
                }
            }
            by_lags.extend_from_slice(sums.as_flattened());
        }
        sum_of(self.explained, &by_lags, |y, by_lags| {
            (y - self.intercept - by_lags).powi(2)
        })
    }
}

/// By Cholesky's factor: the target's energy, `w`, and as many coefficients as there are independent lags.
fn carefully(products: &LagProducts) -> (f64, Vec<f64>, Vec<f64>) {
    let equations = LagGram::new(products).without_constant();
    let factor = Cholesky::new(equations.lags, equations.floor);
    let w = factor.solve_lower(&equations.target);
    let coefficients = factor.solve_upper(&w);
    (equations.energy, w, coefficients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Width;

    #[test]
    fn the_residual_sum_is_that_of_the_definition_and_has_the_same_bits_at_every_width() {
        let y: Vec<f64> = (0..300).map(|t| f64::from(t * t % 31) * 0.1 - 1.5).collect();
        // Of order 20 are as many coefficients as there are independent lags.
        for (lags, rows) in [(0, 280), (1, 280), (7, 1), (20, 31), (20, 33), (20, 280)] {
            let coefficients: Vec<f64> = (0..lags).map(|j| 0.5 / f64::from(j + 1)).collect();
            let regression = Regression {
                coefficients: coefficients.clone(),
                intercept: 0.25,
                degrees: 1,
                rss: None,
                order: 20,
            };
            let y = &y[..20 + rows];
            let residual = |t: usize| {
                let lagged = coefficients
                    .iter()
                    .zip(1..)
                    .map(|(coefficient, lag)| coefficient * y[t - lag]);
                y[t] - 0.25 - lagged.sum::<f64>()
            };
            let literal: f64 = (20..y.len()).map(|t| residual(t).powi(2)).sum();
            let sums = Width::detected().map(|width| width.run(regression.residuals(y)));
            for found in sums {
                assert!(
                    (found - literal).abs() <= 1e-13 * literal,
                    "{lags} {rows}: {found} {literal}"
                );
                assert_eq!(found, regression.residual_sum(y), "{lags} {rows}");
            }
        }
    }
}
