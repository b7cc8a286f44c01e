//! Least squares of a series on its own lags and a constant, at one order.

use crate::cholesky::Cholesky;
use crate::dot::dot;
use crate::gram::LagGram;

/// `y[t] = intercept + Σ_j coefficients[j-1]·y[t-j] + e[t]` over `t = P … T-1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// Lag 1 first.
    pub coefficients: Vec<f64>,
    /// The constant term.
    pub intercept: f64,
    /// Residual variance, one degree of freedom taken off for each coefficient and one for the intercept; `None`
    /// where no degree is left.
    pub variance: Option<f64>,
}

impl Regression {
    /// Regresses on lags `1 … order`, every row that has them all: the estimate of statsmodels' `AutoReg(y, order)`.
    ///
    /// Lags from the first that is a linear combination of those before it are left out.
    ///
    /// # Panics
    ///
    /// If `order` is not below the length of `y`.
    pub fn new(y: &[f64], order: usize) -> Self {
        let equations = LagGram::new(y, order).without_constant();
        let factor = Cholesky::new(equations.lags, equations.floor);
        let coefficients = factor.solve_upper(&factor.solve_lower(&equations.target));
        let intercept = equations.means[0] - dot(&coefficients, &equations.means[1..]);
        let rows = equations.rows;
        let variance = rows
            .checked_sub(coefficients.len() + 1)
            .filter(|degrees| *degrees > 0)
            .map(|degrees| residual_sum(y, order, &coefficients, intercept) / degrees as f64);
        Self {
            coefficients,
            intercept,
            variance,
        }
    }
}

/// The residual sum of squares, from the residuals themselves: the difference `y'y − Σ w²` of the factor loses its
/// digits where the fit is good.
fn residual_sum(y: &[f64], order: usize, coefficients: &[f64], intercept: f64) -> f64 {
    let oldest_first: Vec<f64> = coefficients.iter().rev().copied().collect();
    (order..y.len())
        .map(|t| y[t] - intercept - dot(&oldest_first, &y[t - coefficients.len()..t]))
        .map(|residual| residual * residual)
        .sum()
}
