//! What least squares on lags needs to know of a window, in memory that does not grow with it: the products of the
//! target with its lags, and the samples at both ends.
//!
//! Everything else, for every order up to the highest, follows from these: the whole Gram by displacement (`gram`),
//! and the same products over the longer sample that a lower order leaves.

use std::ops::Range;

use crate::simd::{self, Kernel};

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
        let mut products = vec![0.0; order + 1];
        add_products(&mut products, y, order..y.len(), 1.0);
        Self {
            rows: y.len() - order,
            products,
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
        let mut products = self.products[..=order].to_vec();
        add_products(&mut products, &self.oldest, order..highest, 1.0);
        Self {
            rows: self.rows + regained.len(),
            products,
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

/// Adds `sign · Σ y[t]·y[t-j]` over these rows `t` to each `products[j]`, `j = 0, 1, …`.
///
/// # Panics
///
/// If a row lacks a lag, or lies beyond `y`.
pub(crate) fn add_products(products: &mut [f64], y: &[f64], rows: Range<usize>, sign: f64) {
    let sums = simd::run(RowSums::new(y, rows, products.len() - 1));
    for (lag, product) in products.iter_mut().enumerate() {
        *product += sign * sums.of_lag(lag);
    }
}

/// So many neighbouring rows go through the lags together, each with sums of its own: a sample that is loaded once is
/// multiplied so many times.
const PHASES: usize = 4;

/// Rows that are summed from zero before they are added to the rest: rounding grows with the number of blocks, not of
/// rows.
const BLOCK: usize = 256;

/// Samples that are multiplied by a row of targets at a time, at most: a multiple of every tile.
const WIDEST_TILE: usize = 16;

/// The outer product of targets and the samples before them, summed over every `PHASES`-th row.
struct RowSums {
    order: usize,
    /// From the first row's highest lag to the last row, and zeros: targets that add nothing, and samples that belong
    /// to no lag.
    samples: Vec<f64>,
    rows: usize,
    /// At `[phase][i]`: row `t + phase` times sample `t - order + i`, which is its lag `order + phase - i`.
    sums: [Vec<f64>; PHASES],
}

impl RowSums {
    fn new(y: &[f64], rows: Range<usize>, order: usize) -> Self {
        let width = (order + PHASES).next_multiple_of(WIDEST_TILE);
        let mut samples = y[rows.start - order..rows.end].to_vec();
        samples.resize(rows.len().next_multiple_of(PHASES) + width, 0.0);
        Self {
            order,
            samples,
            rows: rows.len(),
            sums: std::array::from_fn(|_| vec![0.0; width]),
        }
    }

    fn of_lag(&self, lag: usize) -> f64 {
        let phases = self.sums.iter().enumerate();
        phases.map(|(phase, sums)| sums[self.order + phase - lag]).sum()
    }
}

impl Kernel for RowSums {
    type Output = Self;

    #[inline(always)]
    fn run<const LANES: usize>(mut self) -> Self {
        let (targets, _) = self.samples[self.order..].as_chunks();
        let targets = &targets[..self.rows.div_ceil(PHASES)];
        let [a, b, c, d] = self.sums.each_mut().map(|sums| sums.as_chunks_mut::<LANES>().0);
        for (block, targets) in targets.chunks(BLOCK / PHASES).enumerate() {
            let samples = &self.samples[block * BLOCK..];
            for i in (0..a.len()).step_by(2) {
                let tile = tile::<LANES>(targets, &samples[i * LANES..]);
                for (sums, tile) in [&mut *a, b, c, d].into_iter().zip(tile) {
                    for half in 0..2 {
                        for lane in 0..LANES {
                            sums[i + half][lane] += tile[half][lane];
                        }
                    }
                }
            }
        }
        self
    }
}

/// Each phase of the targets times two vectors of samples, which move on by `PHASES` with the targets.
#[inline(always)]
fn tile<const LANES: usize>(targets: &[[f64; PHASES]], samples: &[f64]) -> [[[f64; LANES]; 2]; PHASES] {
    let mut sums = [[[0.0; LANES]; 2]; PHASES];
    for (target, samples) in targets.iter().zip(samples.windows(2 * LANES).step_by(PHASES)) {
        let (samples, _) = samples.as_chunks::<LANES>();
        for phase in 0..PHASES {
            for half in 0..2 {
                for lane in 0..LANES {
                    sums[phase][half][lane] += target[phase] * samples[half][lane];
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Width;

    /// Numbers of all sizes between −1 and 1.
    fn rough(n: usize) -> Vec<f64> {
        (0..n).map(|t| (t as f64 * t as f64 * 0.013).sin()).collect()
    }

    /// Σ `x[k]·y[k]` as if in twice the precision: Ogita, Rump and Oishi, *Accurate sum and dot product* (2005).
    fn compensated_dot(x: &[f64], y: &[f64]) -> f64 {
        let (mut sum, mut lost) = (0.0, 0.0);
        for (x, y) in x.iter().zip(y) {
            let product = x * y;
            let larger: f64 = sum + product;
            let added = larger - sum;
            lost += (sum - (larger - added)) + (product - added) + x.mul_add(*y, -product);
            sum = larger;
        }
        sum + lost
    }

    #[test]
    fn every_lag_of_every_window_sums_what_it_should() {
        // Small integers: exact in whatever order.
        let y: Vec<f64> = (0..700_i32).map(|t| f64::from(t * t % 11 - 5)).collect();
        for order in [0, 1, 12, 13, 14, 28, 29, 40] {
            for rows in [40..40, 40..41, 41..44, 43..99, 40..295, 40..296, 40..297, 100..700] {
                let mut products = vec![1.0; order + 1];
                add_products(&mut products, &y, rows.clone(), -1.0);
                let literal = |lag: usize| 1.0 - rows.clone().map(|t| y[t] * y[t - lag]).sum::<f64>();
                let literal: Vec<f64> = (0..=order).map(literal).collect();
                assert_eq!(products, literal, "{order} {rows:?}");
            }
        }
    }

    #[test]
    fn the_sums_have_the_same_bits_at_every_width() {
        let y = rough(1_500);
        for (order, rows) in [(0, 9..1_000), (7, 7..8), (61, 100..1_500), (512, 512..1_201)] {
            let sums = Width::detected().map(|width| width.run(RowSums::new(&y, rows.clone(), order)).sums);
            let sums: Vec<_> = sums.collect();
            assert!(sums.windows(2).all(|pair| pair[0] == pair[1]), "{order} {rows:?}");
        }
    }

    #[test]
    fn rounding_stays_at_a_few_units_in_the_last_place_of_the_energy() {
        let y = rough(1_000_000);
        let products = LagProducts::new(&y, 8).products;
        for (lag, product) in products.iter().enumerate() {
            let exact = compensated_dot(&y[8..], &y[8 - lag..]);
            assert!(
                (product - exact).abs() <= 4.0 * f64::EPSILON * products[0],
                "{lag}: {product} {exact}"
            );
        }
    }
}
