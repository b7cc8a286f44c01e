//! The normal equations of least squares on lags and a constant, the constant eliminated: `forecastd_models::gram`,
//! one system a channel.

use tch::{Kind, TchError, Tensor};

use super::factor::Factor;

/// The least pivot and residual that are taken for more than rounding, as a share of the largest square. The CPU goes
/// on to 1e-12; but below, sums in another order give other digits.
const LEAST_SHARE: f64 = 1e-6;

/// What the equations follow from, one row a channel; see `forecastd_models::lag_products`.
#[derive(Debug)]
pub(super) struct LagProducts {
    /// Rows of the regression, as a number a channel.
    pub(super) rows: Tensor,
    /// `Σ y[t]²`, `Σ y[t]·y[t-1]`, …, `Σ y[t]·y[t-P]`.
    pub(super) products: Tensor,
    /// `Σ y[t]`.
    pub(super) sum: Tensor,
    /// The samples before the first row, newest first: what enters as lags grow.
    pub(super) entering: Tensor,
    /// The samples of the last rows, newest first: what leaves as lags grow.
    pub(super) leaving: Tensor,
}

/// One system of normal equations a channel.
#[derive(Debug)]
pub(super) struct Equations {
    /// Products of the lags with one another. Only what lies on and above the diagonal means anything.
    pub(super) lags: Tensor,
    /// Products of the target with each lag.
    pub(super) target: Tensor,
    /// Sum of squares of the target around its mean.
    pub(super) energy: Tensor,
    /// Means of the target and of each lag.
    pub(super) means: Tensor,
    /// The largest square of target or lags before the constant was taken off: what rounding is a share of.
    pub(super) largest: Tensor,
}

impl Equations {
    pub(super) fn new(from: &LagProducts) -> Result<Self, TchError> {
        let moved = from.entering.f_sub(&from.leaving)?.f_cumsum(1, Kind::Double)?;
        let sums = moved.f_constant_pad_nd([1, 0])?.f_add(&from.sum.f_unsqueeze(1)?)?;
        let means = sums.f_div(&from.rows.f_unsqueeze(1)?)?;
        let order = from.entering.size()[1];

        let diagonals = diagonals(from)?;
        let squares = diagonals.f_select(2, 0)?.f_amax(1, false)?;
        let energy = from.products.f_select(1, 0)?;
        let channels = diagonals.size()[0];
        let mut lags = diagonals.f_as_strided([channels, order, order], [order * (order + 1), order, 1], 0)?;
        let (lag_sums, lag_means) = (sums.f_narrow(1, 1, order)?, means.f_narrow(1, 1, order)?);
        lags = lags.f_baddbmm_(&lag_sums.f_neg()?.f_unsqueeze(2)?, &lag_means.f_unsqueeze(1)?)?;

        let target_sum = from.sum.f_unsqueeze(1)?;
        let of_constant = target_sum.f_mul(&means)?;
        let products = from.products.f_sub(&of_constant)?;
        Ok(Self {
            lags,
            target: products.f_narrow(1, 1, order)?,
            energy: products.f_select(1, 0)?,
            largest: squares.f_maximum(&energy)?,
            means,
        })
    }

    /// Whether a factor of these equations, and the residual sum of squares that it leaves, are more than rounding.
    pub(super) fn are_solved_surely(&self, factor: &Factor, rss: &Tensor) -> Result<Tensor, TchError> {
        let floor = self.largest.f_mul_scalar(LEAST_SHARE)?;
        let pivots = factor.least_pivot.f_gt_tensor(&floor)?;
        pivots.f_logical_and(&rss.f_gt_tensor(&floor)?)
    }
}

/// The products of lags by diagonals: row `i`, column `k` is that of lags `i + 1` and `i + 1 + k`.
///
/// Each follows from its neighbour up the diagonal, since moving both lags by one moves the window of rows by one; so
/// they are cumulative sums down the columns. A row has one entry more than there are lags: then `P` by `P` numbers
/// read one after the other from the same memory are the matrix itself, with its diagonals below one another. What
/// lies below the diagonal there comes from beyond the last lag and means nothing.
fn diagonals(from: &LagProducts) -> Result<Tensor, TchError> {
    let channels = from.entering.size()[0];
    let order = from.entering.size()[1];
    let ahead = |ends: &Tensor| {
        let padded = ends.f_constant_pad_nd([0, order])?;
        padded.f_as_strided([channels, order, order + 1], [2 * order, 1, 1], 0)
    };
    // Laid out by hand: of views that overlap, libtorch would make a result with strides of its own.
    let laid_out = Tensor::f_empty([channels, order, order + 1], (Kind::Double, from.entering.device()))?;
    let mut sums = from
        .entering
        .f_unsqueeze(2)?
        .f_mul_out(&laid_out, &ahead(&from.entering)?)?;
    sums = sums.f_addcmul_(&from.leaving.f_neg()?.f_unsqueeze(2)?, &ahead(&from.leaving)?)?;
    let _ = sums
        .f_narrow(1, 0, 1)?
        .f_squeeze_dim(1)?
        .f_narrow(1, 0, order)?
        .f_add_(&from.products.f_narrow(1, 0, order)?)?;
    sums.f_cumsum_(1, Kind::Double)
}
