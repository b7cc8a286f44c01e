//! The auto-regression that least squares and BIC choose, in the unit of the stationary values.

use crate::lag_products::LagProducts;
use crate::order::OrderPath;
use crate::regression::Regression;

/// `y[t] = intercept + Σ_j coefficients[j-1]·y[t-j] + e[t]` for stationary values `y`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ArSolution {
    pub(crate) coefficients: Vec<f64>,
    pub(crate) intercept: f64,
    /// Of the residuals, degrees of freedom taken off; `None` where none is left.
    pub(crate) variance: Option<f64>,
    /// At the chosen order, on the common sample of all orders.
    pub(crate) bic: f64,
    /// Rows of the common sample.
    pub(crate) rows: usize,
    /// The highest order that was tried.
    pub(crate) max_order: usize,
    /// The residual sum of squares as a share of the target's, where the products tell it.
    pub(crate) residual_share: Option<f64>,
}

impl ArSolution {
    /// Chooses the order with the least BIC on the common sample, and estimates it on all rows that have its lags.
    ///
    /// `residual_sum` is asked where the products do not tell the residual sum of squares.
    pub(crate) fn new(
        products: &LagProducts,
        known_variance: f64,
        residual_sum: impl FnOnce(&Regression) -> f64,
    ) -> Self {
        let path = OrderPath::new(products, known_variance);
        let products = products.narrowed(path.best());
        let regression = Regression::new(&products);
        let rss = regression.rss.unwrap_or_else(|| residual_sum(&regression));
        Self {
            residual_share: regression.rss.map(|rss| rss / products.products[0]),
            variance: regression.variance(rss),
            coefficients: regression.coefficients,
            intercept: regression.intercept,
            bic: path.bic(path.best()),
            rows: path.rows(),
            max_order: path.highest(),
        }
    }
}
