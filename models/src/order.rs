//! The order by BIC: every order from 0 to the highest, from one factor.

use std::f64::consts::{LN_2, PI};

use crate::cholesky::Cholesky;
use crate::gram::{LagGram, NormalEquations};
use crate::lag_products::LagProducts;
use crate::schur;

/// The residual of every order on one common sample.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderPath {
    rows: usize,
    rss: Vec<f64>,
    end: PathEnd,
}

/// Why the path of orders ended where it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEnd {
    /// At the highest order asked for.
    Highest,
    /// At an order whose residual is rounding: the series is its own continuation, and more lags would fit noise of
    /// the arithmetic.
    PerfectFit,
    /// Before a lag that is a linear combination of those before it.
    DependentLag,
}

impl OrderPath {
    /// Computes the residual sum of squares of each order.
    ///
    /// With `w = L⁻¹ z`, `z` the products of lags and target, order `p` leaves `RSS(p) = y'y − w1² − … − wp²`.
    /// `known_variance` is the variance that the samples cannot be known better than; no residual falls below it.
    pub fn new(products: &LagProducts, known_variance: f64) -> Self {
        let known = known_variance * products.rows() as f64;
        match schur::path(products, known) {
            Some(solved) => Self::comfortable(products.rows(), &solved),
            None => Self::careful(LagGram::new(products).without_constant(), known),
        }
    }

    fn comfortable(rows: usize, solved: &schur::Solved) -> Self {
        let mut rss = solved.energy;
        let left = solved.w.iter().map(|w| {
            rss -= w * w;
            rss
        });
        Self {
            rows,
            rss: std::iter::once(solved.energy).chain(left).collect(),
            end: PathEnd::Highest,
        }
    }

    /// By Cholesky's factor, as far as the pivots and residuals are more than rounding.
    fn careful(equations: NormalEquations, known: f64) -> Self {
        let floor = equations.floor.max(known);
        let mut path = Self {
            rows: equations.rows,
            rss: vec![equations.energy.max(floor)],
            end: PathEnd::PerfectFit,
        };
        if equations.energy <= floor {
            return path;
        }
        let factor = Cholesky::new(equations.lags, equations.floor);
        let mut rss = equations.energy;
        for w in factor.solve_lower(&equations.target) {
            rss -= w * w;
            path.rss.push(rss.max(floor));
            if rss <= floor {
                return path;
            }
        }
        let complete = factor.size() == equations.target.len();
        path.end = if complete {
            PathEnd::Highest
        } else {
            PathEnd::DependentLag
        };
        path
    }

    /// The highest order on the path.
    pub fn highest(&self) -> usize {
        self.rss.len() - 1
    }

    /// Why the path ended there.
    pub fn end(&self) -> PathEnd {
        self.end
    }

    /// Rows of the common sample.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The residual sum of squares of an order on the path.
    pub fn rss(&self, order: usize) -> f64 {
        self.rss[order]
    }

    /// The BIC of an order on the path, as statsmodels has it in `AutoReg(y, order, hold_back=P).fit().bic`:
    /// `−2·llf + (order + 2)·ln N`, `llf = −N/2·(ln 2π + ln(RSS/N) + 1)`, in the unit of the equations.
    ///
    /// Finite also for a perfect fit, whose residual counts as what rounding cannot tell from zero.
    pub fn bic(&self, order: usize) -> f64 {
        let n = self.rows as f64;
        let parameters = (order + 2) as f64; // lags, constant, variance
        n * (LN_2 + PI.ln() + (self.rss[order] / n).ln() + 1.0) + parameters * n.ln()
    }

    /// The order with the least BIC; of equals the lowest.
    pub fn best(&self) -> usize {
        let mut best = (0, self.bic(0));
        for order in 1..=self.highest() {
            let bic = self.bic(order);
            if bic < best.1 {
                best = (order, bic);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sine waves with periods of which none divides another, around zero.
    fn waves(n: usize, count: usize) -> Vec<f64> {
        (0..n)
            .map(|t| (1..=count).map(|k| (t as f64 * 0.9 / (k as f64).sqrt()).sin()).sum())
            .collect()
    }

    fn path(y: &[f64], order: usize) -> OrderPath {
        OrderPath::new(&LagProducts::new(y, order), 1e-32)
    }

    #[test]
    fn a_sine_wave_is_a_perfect_fit_of_order_two_and_its_bic_is_finite() {
        for count in 1..=3 {
            let path = path(&waves(400, count), 40);
            assert_eq!(
                (path.end(), path.highest(), path.best()),
                (PathEnd::PerfectFit, 2 * count, 2 * count)
            );
            assert!(path.bic(2 * count).is_finite());
        }
    }

    #[test]
    fn a_series_that_does_not_move_is_a_perfect_fit_of_order_zero() {
        let path = path(&[0.0; 50], 10);
        assert_eq!((path.end(), path.highest(), path.best()), (PathEnd::PerfectFit, 0, 0));
        assert!(path.bic(0).is_finite());
    }

    #[test]
    fn lags_that_say_nothing_new_end_the_path_and_leave_the_lower_orders() {
        // A single jump in the last row: no lag ever moves.
        let mut y = vec![0.0; 60];
        y[59] = 5.0;
        let path = path(&y, 10);
        assert_eq!((path.end(), path.highest()), (PathEnd::DependentLag, 0));
    }
}
