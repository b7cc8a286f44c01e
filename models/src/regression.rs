//! Least squares of a series on its own lags and a constant, at one order.

use crate::cholesky::Cholesky;
use crate::dot::dot;
use crate::gram::LagGram;
use crate::lag_products::LagProducts;
use crate::schur;

/// The difference `y'y − Σ w²` is exact to some roundings of `y'y`. Where less than this share of it is left, too few
/// digits are.
pub const LEAST_SHARE: f64 = 1e-6;

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
        let oldest_first: Vec<f64> = self.coefficients.iter().rev().copied().collect();
        (self.order..y.len())
            .map(|t| y[t] - self.intercept - dot(&oldest_first, &y[t - oldest_first.len()..t]))
            .map(|residual| residual * residual)
            .sum()
    }

    /// The residual variance; `None` where no degree of freedom is left.
    pub fn variance(&self, rss: f64) -> Option<f64> {
        (self.degrees > 0).then(|| rss / self.degrees as f64)
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
