//! What least squares on lags needs to know of a window, in memory that does not grow with it: the products of the
//! target with its lags, and the samples at both ends.
//!
//! Everything else, for every order up to the highest, follows from these: the whole Gram by displacement (`gram`),
//! and the same products over the longer sample that a lower order leaves.

use crate::dot::{dot, dot4};

/// Products of the target `y[t]` with itself and its lags `y[t-1] … y[t-P]` over the rows `t = P … T-1`.
///
/// The caller centres and scales `y` first: an offset much larger than the movement would drown it.
#[derive(Clone, Debug, PartialEq)]
pub struct LagProducts {
    pub(crate) rows: usize,
    /// `Σ y[t]²`, `Σ y[t]·y[t-1]`, …, `Σ y[t]·y[t-P]`.
    pub(crate) products: Vec<f64>,
    /// `Σ y[t]`.
    pub(crate) sum: f64,
    /// `y[0] … y[P-1]`.
    pub(crate) oldest: Vec<f64>,
    /// `y[T-P] … y[T-1]`.
    pub(crate) newest: Vec<f64>,
}

impl LagProducts {
    /// Sums over the rows, in O(T·P).
    ///
    /// # Panics
    ///
    /// If `order` is not below the length of `y`.
    pub fn new(y: &[f64], order: usize) -> Self {
        assert!(order < y.len(), "order {order} leaves no row of {} samples", y.len());
        Self {
            rows: y.len() - order,
            products: products_with_target(y, order),
            sum: y[order..].iter().sum(),
            oldest: y[..order].to_vec(),
            newest: y[y.len() - order..].to_vec(),
        }
    }

    /// The highest order `P`.
    pub fn order(&self) -> usize {
        self.oldest.len()
    }

    /// Rows of the regression, `T - P`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The same for a lower order, over every row that has its lags: `t = order … T-1`. In O(P²).
    ///
    /// # Panics
    ///
    /// If `order` is above the highest.
    pub fn narrowed(&self, order: usize) -> Self {
        let highest = self.order();
        // Rows that lack a lag of the highest order, and have all of this one.
        let regained = &self.oldest[order..];
        let lagged = |lag: usize| &self.oldest[order - lag..highest - lag];
        let product = |lag: usize| self.products[lag] + dot(regained, lagged(lag));
        Self {
            rows: self.rows + regained.len(),
            products: (0..=order).map(product).collect(),
            sum: self.sum + regained.iter().sum::<f64>(),
            oldest: self.oldest[..order].to_vec(),
            newest: self.newest[highest - order..].to_vec(),
        }
    }

    /// `Σ y[t]`, `Σ y[t-1]`, …, `Σ y[t-P]`.
    pub(crate) fn sums(&self) -> Vec<f64> {
        let mut sum = self.sum;
        // Moving the rows back by one takes the sample before them in and leaves the last out.
        let ends = self.oldest.iter().rev().zip(self.newest.iter().rev());
        let moved = ends.map(|(entering, leaving)| {
            sum += entering - leaving;
            sum
        });
        std::iter::once(self.sum).chain(moved).collect()
    }
}

fn products_with_target(y: &[f64], order: usize) -> Vec<f64> {
    let target = &y[order..];
    let lagged = |lag: usize| &y[order - lag..y.len() - lag];
    let mut products = vec![dot(target, target)];
    products.extend((1..=order / 4).flat_map(|four| dot4(target, [3, 2, 1, 0].map(|back| lagged(4 * four - back)))));
    products.extend((products.len()..=order).map(|lag| dot(target, lagged(lag))));
    products
}
