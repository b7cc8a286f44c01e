//! The chosen order on its own longer sample: statsmodels' `AutoReg(y, order)`, as
//! `forecastd_models::lag_products` has it in `narrowed`.

use forecastd_models::device_fit::DeviceFit;
use tch::{Kind, TchError, Tensor};

use super::correlation::correlation;
use super::equations::{Equations, LagProducts};
use super::factor::{BLOCK, Factor};
use super::parts::Parts;
use super::search::{Choice, Search};
use super::{counted, download, rows, sum, values};

/// Arrays of `order²` numbers that an estimate holds at once.
const SQUARES: usize = 4;

/// Arrays as long as the highest order that it holds at once.
const ARRAYS: usize = 24;

/// Estimates what the search chose; channels of which the device is not sure are left out.
pub(super) fn estimate(found: &Search, num_diff: usize, parts: &Parts) -> Result<Vec<(usize, DeviceFit)>, TchError> {
    let blocks = |choice: &Choice| choice.order.div_ceil(BLOCK as usize);
    let mut choices = found.choices.clone();
    choices.sort_by_key(blocks);
    let mut fits = Vec::new();
    for choices in choices.chunk_by(|one, other| blocks(one) == blocks(other)) {
        let size = blocks(&choices[0]) * BLOCK as usize;
        let highest = found.products.entering.size()[1] as usize;
        let numbers = SQUARES * size * size + ARRAYS * highest;
        let parts = parts.each(choices, numbers * size_of::<f64>(), |part| {
            regress(&found.products, part, num_diff)
        })?;
        fits.extend(parts.into_iter().flatten());
    }
    Ok(fits)
}

fn regress(products: &LagProducts, choices: &[Choice], num_diff: usize) -> Result<Vec<(usize, DeviceFit)>, TchError> {
    let orders: Vec<f64> = choices.iter().map(|choice| choice.order as f64).collect();
    let orders = Tensor::f_from_slice(&orders)?.f_to_device(products.sum.device())?;
    let size = choices.iter().map(|choice| choice.order).max().unwrap_or(0).max(1);
    let chosen: Vec<usize> = choices.iter().map(|choice| choice.row).collect();
    let narrowed = products.select(&chosen)?.narrowed(&orders, size as i64)?;
    let equations = Equations::new(&narrowed)?.padded(&orders)?;
    let factor = Factor::new(&equations.lags)?;
    let w = factor.solve_lower(&equations.target)?;
    let coefficients = factor.solve_upper(&w)?;

    let rss = equations.energy.f_sub(&sum(&w.f_square()?)?)?;
    let degrees = narrowed.rows.f_sub(&orders)?.f_sub_scalar(1.0)?;
    let means = equations.means.f_narrow(1, 1, size as i64)?;
    let intercept = equations
        .means
        .f_select(1, 0)?
        .f_sub(&sum(&coefficients.f_mul(&means)?)?)?;
    let sure = equations.are_solved_surely(&factor, &rss)?;
    let numbers = download([&sure, &intercept, &rss.f_div(&degrees)?])?;
    let coefficients = values(&coefficients)?;

    let rows = choices.iter().zip(numbers).zip(coefficients.chunks(size));
    let fits = rows.map(|((choice, [sure, intercept, variance]), coefficients)| {
        let fit = DeviceFit {
            num_diff,
            centre: choice.centre,
            exponent: choice.exponent,
            coefficients: coefficients[..choice.order].to_vec(),
            intercept,
            variance,
            bic: choice.bic,
        };
        (sure == 1.0).then_some((choice.channel, fit))
    });
    Ok(fits.flatten().collect())
}

impl LagProducts {
    fn select(&self, chosen: &[usize]) -> Result<Self, TchError> {
        Ok(Self {
            rows: rows(&self.rows, chosen)?,
            products: rows(&self.products, chosen)?,
            sum: rows(&self.sum, chosen)?,
            entering: rows(&self.entering, chosen)?,
            leaving: rows(&self.leaving, chosen)?,
        })
    }

    /// The same for a lower order a channel, over every row that has its lags; none above `size`, which is as many
    /// lags as are given for all. Those beyond a channel's order mean nothing, but are finite and small.
    fn narrowed(&self, orders: &Tensor, size: i64) -> Result<Self, TchError> {
        let highest = self.entering.size()[1];
        let column = orders.f_unsqueeze(1)?;
        let oldest = self.entering.f_flip(1)?;
        let times = counted(highest, oldest.device())?;
        // Rows that lack a lag of the highest order, and have all of this one.
        let regained = oldest.f_mul(&times.f_unsqueeze(0)?.f_ge_tensor(&column)?)?;
        let more = correlation(&oldest, &regained, size)?;
        let later = times
            .f_narrow(0, 0, size)?
            .f_sub(&column)?
            .f_add_scalar(highest as f64)?;
        let place = later.f_clamp(0.0, (highest - 1) as f64)?.f_to_kind(Kind::Int64)?;
        Ok(Self {
            rows: self.rows.f_sub(orders)?.f_add_scalar(highest as f64)?,
            products: self.products.f_narrow(1, 0, size + 1)?.f_add(&more)?,
            sum: self.sum.f_add(&sum(&regained)?)?,
            entering: self
                .entering
                .f_gather(1, &place, false)?
                .f_mul(&later.f_lt(highest as f64)?)?,
            leaving: self.leaving.f_narrow(1, 0, size)?,
        })
    }
}

impl Equations {
    /// Puts the identity in the place of the lags beyond each channel's order: they then take no part.
    fn padded(mut self, orders: &Tensor) -> Result<Self, TchError> {
        let size = self.target.size()[1];
        let lags = counted(size, orders.device())?.f_unsqueeze(0)?;
        let within = lags.f_lt_tensor(&orders.f_unsqueeze(1)?)?.f_to_kind(Kind::Double)?;
        let beyond = within
            .f_neg()?
            .f_add_scalar(1.0)?
            .f_mul(&self.largest.f_unsqueeze(1)?)?;
        // Above the diagonal, a row beyond the order lies in columns beyond it.
        self.lags = self.lags.f_mul_(&within.f_unsqueeze(1)?)?;
        let _ = self.lags.f_diagonal(0, 1, 2)?.f_add_(&beyond)?;
        self.target = self.target.f_mul(&within)?;
        Ok(self)
    }
}
