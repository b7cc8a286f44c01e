//! Cross products of a series with its own lags, all of them: the matrix of least squares on lags.
//!
//! The normal equations of every order from 0 to the highest are leading blocks of these.

use std::ops::AddAssign;

use crate::lag_products::LagProducts;
use crate::triangle::{PANEL, Triangle};

/// The share of the largest cross product that rounding may have spoilt. What is smaller is not known.
const ROUNDING: f64 = 1e-12;

/// Cross products of the target `y[t]` and its lags `y[t-1] … y[t-P]` over the rows `t = P … T-1`.
#[derive(Clone, Debug, PartialEq)]
pub struct LagGram {
    rows: usize,
    /// `Σ y[t]²`.
    energy: f64,
    /// `Σ y[t]·y[t-1]`, …, `Σ y[t]·y[t-P]`.
    target: Vec<f64>,
    /// `Σ y[t-i]·y[t-j]` at row `i - 1`, column `j - 1`.
    lags: Triangle,
    /// `Σ y[t]`, `Σ y[t-1]`, …, `Σ y[t-P]`.
    sums: Vec<f64>,
}

impl LagGram {
    /// Completes the products with the target to all cross products, in O(P²), where a matrix product would take
    /// O(T·P²).
    ///
    /// Each follows from its neighbour up the diagonal, since moving both lags by one moves the window of rows by one:
    /// `φ(i+1, j+1) = φ(i, j) + y[P-1-i]·y[P-1-j] − y[T-1-i]·y[T-1-j]`.
    pub fn new(products: &LagProducts) -> Self {
        let newest_first = |ends: &[f64]| ends.iter().rev().copied().collect::<Vec<f64>>();
        let (entering, leaving) = (newest_first(&products.oldest), newest_first(&products.newest));
        let (energy, target) = products.products.split_first().expect("lag 0 is always there");
        Self {
            rows: products.rows,
            energy: *energy,
            target: target.to_vec(),
            lags: lag_products(*energy, target, &entering, &leaving),
            sums: products.sums(),
        }
    }

    /// `Σ y[t-i]·y[t-j]`; lag 0 is the target.
    pub fn product(&self, i: usize, j: usize) -> f64 {
        match (i.max(j), i.min(j)) {
            (0, 0) => self.energy,
            (lag, 0) => self.target[lag - 1],
            (i, j) => self.lags.entry(i - 1, j - 1),
        }
    }

    /// Eliminates the constant exactly, as a Schur complement: `φ(i, j) − S(i)·S(j) / rows`.
    pub fn without_constant(self) -> NormalEquations {
        let Self {
            rows,
            mut energy,
            mut target,
            mut lags,
            sums,
        } = self;
        let order = target.len();
        let largest = (0..order).map(|i| lags.entry(i, i)).fold(energy, f64::max);
        let means: Vec<f64> = sums.iter().map(|sum| sum / rows as f64).collect();
        energy -= sums[0] * means[0];
        for i in 0..order {
            target[i] -= sums[0] * means[i + 1];
        }
        for (p, sums) in sums[1..].chunks(PANEL).enumerate() {
            for (products, mean) in lags.panel_mut(p).iter_mut().zip(&means[1..]) {
                for (product, sum) in products.iter_mut().zip(sums) {
                    *product -= sum * mean;
                }
            }
        }
        NormalEquations {
            rows,
            energy,
            target,
            lags,
            means,
            floor: largest * ROUNDING,
        }
    }
}

/// Rows of other series are more rows: one regression for all of them.
impl AddAssign<&Self> for LagGram {
    fn add_assign(&mut self, other: &Self) {
        self.rows += other.rows;
        self.energy += other.energy;
        self.lags.add(&other.lags);
        for (sums, more) in [(&mut self.target, &other.target), (&mut self.sums, &other.sums)] {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
        }
    }
}

/// The normal equations of a regression on lags and a constant, the constant eliminated.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalEquations {
    /// Rows of the regression.
    pub rows: usize,
    /// Sum of squares of the target around its mean: the residual of order 0.
    pub energy: f64,
    /// Products of the target with each lag.
    pub target: Vec<f64>,
    /// Products of the lags with one another.
    pub lags: Triangle,
    /// Means of the target and of each lag over the rows.
    pub means: Vec<f64>,
    /// Pivots and residuals up to here are rounding.
    pub floor: f64,
}

fn lag_products(energy: f64, target: &[f64], entering: &[f64], leaving: &[f64]) -> Triangle {
    let order = target.len();
    // A row begins one place before the row above, so that the entries of a diagonal follow one another in one place.
    let mut diagonals = vec![0.0; order];
    Triangle::from_rows(order, |i, row| {
        let diagonals = &mut diagonals[order - 1 - i..];
        diagonals[0] = if i == 0 { energy } else { target[i - 1] };
        let (entering_i, leaving_i) = (entering[i], leaving[i]);
        for ((product, entering_j), leaving_j) in diagonals.iter_mut().zip(entering).zip(leaving) {
            *product += entering_i * entering_j - leaving_i * leaving_j;
        }
        row.copy_from_slice(diagonals);
    })
}
