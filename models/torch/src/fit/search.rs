//! The order with the least BIC, of all from 0 to the highest, from one factor a channel.

use std::f64::consts::{LN_2, PI};

use tch::{Kind, TchError, Tensor};

use super::correlation::correlation;
use super::equations::{Equations, LagProducts};
use super::factor::Factor;
use super::kpss::differenced;
use super::parts::Parts;
use super::{counted, download, mean, rows, sum};

/// Two orders whose BICs are as near as this are for the CPU to choose from.
const LEAST_GAP: f64 = 1e-7;

/// Roundings of the energy that a residual sum of squares may be off by. Generously: the CPU's own algorithm, where it
/// takes the fast one, is off by ten times what Cholesky's factor is.
const ROUNDINGS: f64 = 1000.0;

/// Arrays as long as a window that a search holds at once.
const ARRAYS: usize = 12;

/// Arrays of `order²` numbers that it holds at once.
const SQUARES: usize = 4;

/// What a value of unit one cannot be known better than, doubled.
const KNOWN_VARIANCE: f64 = f64::EPSILON * f64::EPSILON / 2.0;

/// Exponents of two beyond this are for the CPU: `2^(1023 − e)` must be a number.
const MAX_EXPONENT: i64 = 1000;

/// What the search found for one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) channel: usize,
    /// Its row of the lag products.
    pub(super) row: usize,
    pub(super) order: usize,
    pub(super) bic: f64,
    pub(super) centre: f64,
    pub(super) exponent: i32,
}

/// What the search found for channels that were searched together.
#[derive(Debug)]
pub(super) struct Search {
    /// For those of which the device is sure.
    pub(super) choices: Vec<Choice>,
    /// Of all of them, up to the highest order.
    pub(super) products: LagProducts,
}

/// Windows that are differenced, around zero and near one.
struct Stationary {
    values: Tensor,
    centre: Tensor,
    exponent: Tensor,
    /// `2^-exponent`.
    scale: Tensor,
}

/// Searches the orders of these channels up to `highest`.
pub(super) fn search(
    samples: &Tensor,
    channels: &[usize],
    num_diff: usize,
    highest: usize,
    parts: &Parts,
) -> Result<Vec<Search>, TchError> {
    let numbers = ARRAYS * samples.size()[1] as usize + SQUARES * highest * (highest + 1);
    parts.each(channels, numbers * size_of::<f64>(), |part| {
        let stationary = Stationary::new(&differenced(&rows(samples, part)?, num_diff)?)?;
        let products = stationary.products(highest as i64)?;
        let choices = choose(&stationary, &products, part)?;
        Ok(Search { choices, products })
    })
}

impl Stationary {
    fn new(y: &Tensor) -> Result<Self, TchError> {
        // In two rounds: the second removes the rounding that a large offset leaves in the first.
        let rough = mean(y)?;
        let centre = rough.f_add(&mean(&y.f_sub(&rough)?)?)?;
        let values = y.f_sub(&centre)?;
        let largest = values.f_abs()?.f_amax(1, true)?;
        let exponent = largest.f_frexp()?.1.f_to_kind(Kind::Int64)?;
        let scale = power_of_two(&exponent.f_neg()?)?;
        Ok(Self {
            values: values.f_mul(&scale)?,
            centre: centre.f_squeeze_dim(1)?,
            exponent: exponent.f_squeeze_dim(1)?,
            scale: scale.f_squeeze_dim(1)?,
        })
    }

    /// Over the rows that have all lags.
    fn products(&self, order: i64) -> Result<LagProducts, TchError> {
        let length = self.values.size()[1];
        let target = self.values.f_narrow(1, order, length - order)?;
        Ok(LagProducts {
            rows: self.scale.f_full_like((length - order) as f64)?,
            products: correlation(&target, &self.values, order)?.f_flip(1)?,
            sum: sum(&target)?,
            entering: self.values.f_narrow(1, 0, order)?.f_flip(1)?,
            leaving: self.values.f_narrow(1, length - order, order)?.f_flip(1)?,
        })
    }
}

/// Exactly, by its bits: a power by logarithms need not be exact on every device.
fn power_of_two(exponent: &Tensor) -> Result<Tensor, TchError> {
    let biased = exponent.f_clamp(-MAX_EXPONENT, MAX_EXPONENT)?.f_add_scalar(1023)?;
    biased
        .f_bitwise_left_shift_tensor_scalar(52)?
        .f_view_dtype(Kind::Double)
}

fn choose(stationary: &Stationary, products: &LagProducts, channels: &[usize]) -> Result<Vec<Choice>, TchError> {
    let equations = Equations::new(products)?;
    let factor = Factor::new(&equations.lags)?;
    let explained = factor
        .solve_lower(&equations.target)?
        .f_square()?
        .f_cumsum(1, Kind::Double)?;
    let energy = equations.energy.f_unsqueeze(1)?;
    let rss = energy.f_sub(&explained.f_constant_pad_nd([1, 0])?)?;
    let least = rss.f_select(1, -1)?;
    let (bics, orders) = bic(&rss, &products.rows)?.f_topk(2, 1, false, true)?;
    let (best, second) = (bics.f_select(1, 0)?, bics.f_select(1, 1)?);

    let known = stationary
        .scale
        .f_square()?
        .f_mul_scalar(KNOWN_VARIANCE)?
        .f_mul(&products.rows)?;
    let rounding = equations
        .energy
        .f_div(&least)?
        .f_mul(&products.rows)?
        .f_mul_scalar(ROUNDINGS * f64::EPSILON)?;
    let sure = equations
        .are_solved_surely(&factor, &least)?
        .f_logical_and(&least.f_gt_tensor(&known)?)?
        .f_logical_and(&second.f_sub(&best)?.f_gt_tensor(&rounding.f_add_scalar(LEAST_GAP)?)?)?;

    let found = download([
        &sure,
        &orders.f_select(1, 0)?,
        &best,
        &stationary.centre,
        &stationary.exponent,
    ])?;
    let numbered = found.into_iter().zip(channels).enumerate();
    let choices = numbered.map(|(row, ([sure, order, bic, centre, exponent], channel))| {
        (sure == 1.0).then_some(Choice {
            channel: *channel,
            row,
            order: order as usize,
            bic,
            centre,
            exponent: exponent as i32,
        })
    });
    Ok(choices.flatten().collect())
}

/// The BIC of each order, as `forecastd_models::order` has it.
fn bic(rss: &Tensor, rows: &Tensor) -> Result<Tensor, TchError> {
    let rows = rows.f_unsqueeze(1)?;
    let fit = rss
        .f_div(&rows)?
        .f_log()?
        .f_add_scalar(LN_2 + PI.ln() + 1.0)?
        .f_mul(&rows)?;
    let parameters = counted(rss.size()[1], rss.device())?.f_add_scalar(2.0)?; // lags, constant, variance
    fit.f_add(&rows.f_log()?.f_mul(&parameters)?)
}
