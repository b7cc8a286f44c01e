//! The KPSS test for stationarity around a linear trend, as statsmodels has it.
//!
//! Kwiatkowski, Phillips, Schmidt and Shin, *Testing the null hypothesis of stationarity against the alternative of a
//! unit root* (1992); number of lags after Hobijn, Franses and Ooms (1998). Numbers agree with
//! `statsmodels.tsa.stattools.kpss(x, regression="ct", nlags="auto")`.

use crate::dot::{dot, sum, sum_of};
use crate::lag_products::add_products;
use crate::simd::{self, Kernel};
use crate::unit::Unit;

/// Below this statistic the trend-stationary hypothesis stands at the 5 % level (table 1 of the paper).
pub const CRITICAL_5_PERCENT: f64 = 0.146;

/// Residuals of this many roundings of the largest sample are rounding themselves.
const ROUNDINGS: f64 = 8.0;

/// The outcome of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kpss {
    /// Large values speak for a unit root; NaN where nothing moves around the trend, so that nothing can be tested.
    pub statistic: f64,
    /// Lags in the long-run variance.
    pub lags: usize,
}

impl Kpss {
    /// Whether the series may be taken as stationary around its trend. What cannot be tested may.
    pub fn passes(&self) -> bool {
        self.statistic.is_nan() || self.statistic < CRITICAL_5_PERCENT
    }
}

/// Tests a series for stationarity around a linear trend, in O(n).
///
/// The statistic does not change with the unit or with an offset. A constant series, an exact straight line, one
/// with a value that is not finite, or one of fewer than three samples has the statistic NaN and passes.
pub fn kpss_trend(x: &[f64]) -> Kpss {
    simd::run(TrendTest { x })
}

struct TrendTest<'a> {
    x: &'a [f64],
}

impl Kernel for TrendTest<'_> {
    type Output = Kpss;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> Kpss {
        let Some(residuals) = detrended(self.x) else {
            return Kpss {
                statistic: f64::NAN,
                lags: 0,
            };
        };
        let products = products(&residuals, lags_looked_at(residuals.len()));
        let lags = automatic_lags(residuals.len(), |lag| products[lag]) as usize;
        let lags = lags.min(residuals.len() - 1);
        let n = residuals.len() as f64;
        let partial_sums = partial_sums(&residuals);
        let spread = dot(&partial_sums, &partial_sums) / (n * n);
        Kpss {
            statistic: spread / long_run_variance(&partial_sums, lags),
            lags,
        }
    }
}

/// What least squares leaves around a line; `None` where that is nothing but rounding.
#[inline(always)]
pub(crate) fn detrended(x: &[f64]) -> Option<Vec<f64>> {
    if x.len() < 3 || !x.iter().fold(true, |finite, value| finite & value.is_finite()) {
        return None;
    }
    let unit = Unit::of(x);
    let mut residuals: Vec<f64> = x.iter().map(|value| unit.strip(*value)).collect();
    let times = times(x.len());
    // The second round removes what an offset much larger than the movement has left of itself in the first.
    for _ in 0..2 {
        remove_line(&mut residuals, &times);
    }
    let rms = (dot(&residuals, &residuals) / residuals.len() as f64).sqrt();
    (rms > ROUNDINGS * f64::EPSILON).then_some(residuals)
}

/// So many steps of time, their middle at zero.
#[inline(always)]
pub(crate) fn times(n: usize) -> Vec<f64> {
    let middle = (n as f64 - 1.0) / 2.0;
    (0..n as u32).map(|t| f64::from(t) - middle).collect()
}

#[inline(always)]
fn remove_line(x: &mut [f64], times: &[f64]) {
    let (mean, slope) = line(x, times);
    for (value, time) in x.iter_mut().zip(times) {
        // The mean first: an offset then costs no digits of the slope's part.
        *value = *value - mean - slope * time;
    }
}

/// The line of least squares: its value in the middle, and its slope.
#[inline(always)]
pub(crate) fn line(x: &[f64], times: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = sum(x) / n;
    let moment = sum_of(x, times, |x, time| (x - mean) * time);
    (mean, moment / (n * (n * n - 1.0) / 12.0))
}

/// Sums of products of residuals with themselves, at lag 0 to the longest.
#[inline(always)]
fn products(residuals: &[f64], longest: usize) -> Vec<f64> {
    let mut products = vec![0.0; longest + 1];
    add_products(&mut products, residuals, longest..residuals.len(), 1.0);
    for (lag, product) in products.iter_mut().enumerate() {
        // The rows that have this lag, and lack the longest.
        *product += dot(&residuals[lag..longest], residuals);
    }
    products
}

/// Lags of the autocovariances from which [`automatic_lags`] tells how many the long-run variance needs.
pub(crate) fn lags_looked_at(n: usize) -> usize {
    (n as f64).powf(2.0 / 9.0) as usize
}

/// The data-dependent number of lags for the Bartlett kernel, before it is cut to a whole number. `product` gives the
/// sum of products of `n` residuals with themselves at a lag.
pub(crate) fn automatic_lags(length: usize, product: impl Fn(usize) -> f64) -> f64 {
    let n = length as f64;
    let mut s0 = product(0) / n;
    let mut s1 = 0.0;
    for lag in 1..=lags_looked_at(length) {
        let product = product(lag) / (n / 2.0);
        s0 += product;
        s1 += lag as f64 * product;
    }
    let ratio = s1 / s0;
    1.1447 * (ratio * ratio).powf(1.0 / 3.0) * n.powf(1.0 / 3.0)
}

/// `0, e1, e1 + e2, …`: one more than there are residuals.
///
/// By chunks of which each has sums of its own: only the sum of a whole chunk waits for those before.
#[inline(always)]
fn partial_sums(residuals: &[f64]) -> Vec<f64> {
    let mut sums = Vec::with_capacity(residuals.len() + 1);
    let mut before = 0.0;
    sums.push(before);
    for chunk in residuals.chunks(8) {
        let mut within = 0.0;
        sums.extend(chunk.iter().map(|residual| {
            within += residual;
            before + within
        }));
        before += within;
    }
    sums
}

/// The Bartlett-weighted long-run variance `(γ0 + 2 Σ_{k≤l} (1 − k/(l+1)) γk)`, `γk = Σ e[t]·e[t−k] / n`, in O(n).
///
/// Two residuals that are `k ≤ l` apart lie together in `l + 1 − k` of all windows of `l + 1` neighbours, counting
/// the windows that hang over the ends. So the weighted sum equals the sum of squares of all these window sums,
/// divided by `n (l + 1)`: one subtraction of partial sums a window, and never negative.
#[inline(always)]
fn long_run_variance(partial_sums: &[f64], lags: usize) -> f64 {
    let n = partial_sums.len() - 1;
    let window = lags + 1;
    let over_the_start = dot(&partial_sums[..window], &partial_sums[..window]);
    let within = sum_of(&partial_sums[window..], partial_sums, |end, start| {
        (end - start).powi(2)
    });
    let over_the_end = partial_sums[n - lags..n]
        .iter()
        .map(|sum| (partial_sums[n] - sum).powi(2));
    (over_the_start + within + over_the_end.sum::<f64>()) / (n as f64 * window as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Width;

    fn wave(n: usize) -> Vec<f64> {
        (0..n)
            .map(|t| (t as f64 * 0.7).sin() + (t as f64 * t as f64 * 0.013).cos())
            .collect()
    }

    #[test]
    fn window_sums_equal_the_weighted_autocovariances() {
        for (n, lags) in [(5, 0), (5, 4), (40, 7), (200, 199)] {
            let e = wave(n);
            let product = |k: usize| dot(&e[k..], &e[..n - k]);
            let weighted = |k: usize| 2.0 * (1.0 - k as f64 / (lags + 1) as f64) * product(k);
            let literal = (product(0) + (1..=lags).map(weighted).sum::<f64>()) / n as f64;
            let fast = long_run_variance(&partial_sums(&e), lags);
            assert!(
                (fast - literal).abs() <= 1e-12 * product(0),
                "{n} {lags}: {fast} {literal}"
            );
        }
    }

    #[test]
    fn the_statistic_has_the_same_bits_at_every_width() {
        for n in [3, 17, 500, 2_000] {
            let x = wave(n);
            for width in Width::detected() {
                assert_eq!(width.run(TrendTest { x: &x }), kpss_trend(&x), "{n} {width:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_tested_passes() {
        let line: Vec<f64> = (0..100).map(|t| 3e7 + 0.1 * f64::from(t)).collect();
        for x in [
            &[][..],
            &[1.0],
            &[1.0, 5.0],
            &[4.2; 50],
            &line,
            &[1.0, f64::NAN, 2.0, 5.0],
            &[f64::INFINITY; 9],
        ] {
            let kpss = kpss_trend(x);
            assert!(kpss.passes() && kpss.statistic.is_nan(), "{x:?}: {kpss:?}");
        }
    }

    #[test]
    fn neither_unit_nor_offset_changes_the_statistic() {
        let x = wave(500);
        let plain = kpss_trend(&x);
        for factor in [1e-300, 1e-9, 1e9, 1e300] {
            let scaled: Vec<f64> = x.iter().map(|value| value * factor).collect();
            let kpss = kpss_trend(&scaled);
            assert_eq!(kpss.lags, plain.lags);
            assert!(
                (kpss.statistic / plain.statistic - 1.0).abs() < 1e-12,
                "{factor}: {kpss:?}"
            );
        }
        let lifted: Vec<f64> = x.iter().map(|value| value + 1e6).collect();
        assert!((kpss_trend(&lifted).statistic / plain.statistic - 1.0).abs() < 1e-8);
    }
}
