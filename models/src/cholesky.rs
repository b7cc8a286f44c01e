//! The Cholesky factor of a packed symmetric matrix, by rows: every inner loop is a contiguous dot product.
//!
//! The factor of a leading block is the leading block of the factor, so one factor solves every order, and a pivot
//! that is not safely positive only ends it early.

use crate::dot::{dot, dot4};
use crate::triangle::{Rows, Triangle};

/// Rows that are taken through the rows above together, so that each of those is read from far away once for all of
/// them; a multiple of four.
const GROUP: usize = 16;

/// A lower triangular `L` with `L·Lᵀ` equal to the leading block of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Cholesky {
    factor: Triangle,
}

impl Cholesky {
    /// Factors a matrix as far as its pivots are above `floor`: rows from the first pivot that is not are left out,
    /// since they are linear combinations of those before, as far as the numbers tell.
    pub fn new(mut matrix: Triangle, floor: f64) -> Self {
        for first in (0..matrix.size()).step_by(GROUP) {
            let group = first..matrix.size().min(first + GROUP);
            for j in (0..first).step_by(4) {
                for i in group.clone() {
                    let (above, row) = matrix.split_at_row(i);
                    eliminate_four(above, row, j);
                }
            }
            for i in group {
                let (above, row) = matrix.split_at_row(i);
                let pivot = finish(above, row, first);
                if !(pivot > floor && pivot.is_finite()) {
                    matrix.truncate(i);
                    return Self { factor: matrix };
                }
                row[i] = pivot.sqrt();
            }
        }
        Self { factor: matrix }
    }

    /// How many rows the factor has: fewer than the matrix if a pivot was not safely positive.
    pub fn size(&self) -> usize {
        self.factor.size()
    }

    /// `w = L⁻¹ z` for the leading entries of `z`. Its own leading entries solve the smaller blocks.
    ///
    /// # Panics
    ///
    /// If `z` is shorter than the factor.
    pub fn solve_lower(&self, z: &[f64]) -> Vec<f64> {
        let mut row = z[..self.size()].to_vec();
        row.push(0.0); // the place of the pivot
        let fours = self.size() / 4 * 4;
        for j in (0..fours).step_by(4) {
            eliminate_four(self.factor.rows(), &mut row, j);
        }
        finish(self.factor.rows(), &mut row, fours);
        row.pop();
        row
    }

    /// Solves `Lᵀ a = w` for the leading block as large as `w`.
    ///
    /// # Panics
    ///
    /// If `w` is longer than the factor.
    pub fn solve_upper(&self, w: &[f64]) -> Vec<f64> {
        let mut a = w.to_vec();
        for j in (0..a.len()).rev() {
            let (diagonal, row) = self.factor.row(j).split_last().expect("row j has j + 1 entries");
            let (open, solved) = a.split_at_mut(j);
            solved[0] /= diagonal;
            for (entry, factor) in open.iter_mut().zip(row) {
                *entry -= solved[0] * factor;
            }
        }
        a
    }
}

/// Turns columns `j` to `j + 3` of a row of the matrix into those of the factor, given the columns before them and the
/// rows above.
fn eliminate_four(above: Rows<'_>, row: &mut [f64], j: usize) {
    let (known, open) = row.split_at_mut(j);
    let factors = [0, 1, 2, 3].map(|c| above.row(j + c));
    let sums = dot4(known, factors);
    for c in 0..4 {
        let within: f64 = (0..c).map(|k| open[k] * factors[c][j + k]).sum();
        open[c] = (open[c] - sums[c] - within) / factors[c][j + c];
    }
}

/// Does the same for the columns from `first` on; gives the pivot, of which the root belongs in the last.
fn finish(above: Rows<'_>, row: &mut [f64], first: usize) -> f64 {
    let last = row.len() - 1;
    for j in first..last {
        let factor = above.row(j);
        row[j] = (row[j] - dot(&row[..j], factor)) / factor[j];
    }
    row[last] - dot(&row[..last], &row[..last])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A positive definite matrix with known factor: `L(i, j) = 1 + ((i + 2 j) mod 5) / 4`, diagonal `3 + i mod 3`.
    fn known_factor(size: usize) -> Triangle {
        let mut factor = Triangle::zeros(size);
        for i in 0..size {
            for j in 0..i {
                factor.row_mut(i)[j] = (1.0 + ((i + 2 * j) % 5) as f64 / 4.0) / (1 + i - j) as f64;
            }
            factor.row_mut(i)[i] = (3 + i % 3) as f64;
        }
        factor
    }

    fn product(factor: &Triangle) -> Triangle {
        let mut matrix = Triangle::zeros(factor.size());
        for i in 0..factor.size() {
            for j in 0..=i {
                matrix.row_mut(i)[j] = dot(factor.row(i), factor.row(j));
            }
        }
        matrix
    }

    #[test]
    fn the_factor_is_found_again_at_every_size_around_a_block() {
        for size in [0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 19, 32, 37, 64] {
            let known = known_factor(size);
            let found = Cholesky::new(product(&known), 0.0);
            assert_eq!(found.size(), size);
            for i in 0..size {
                for (found, known) in found.factor.row(i).iter().zip(known.row(i)) {
                    assert!((found - known).abs() < 1e-12, "{size} {i}: {found} {known}");
                }
            }
        }
    }

    #[test]
    fn both_solves_together_invert_every_leading_block() {
        let matrix = product(&known_factor(19));
        let solution: Vec<f64> = (0..19).map(|k| f64::from(k) - 4.5).collect();
        for size in 0..=19 {
            let entry = |i: usize, j: usize| matrix.row(i.max(j))[i.min(j)];
            let z: Vec<f64> = (0..19)
                .map(|i| (0..size).map(|j| entry(i, j) * solution[j]).sum())
                .collect();
            let cholesky = Cholesky::new(matrix.clone(), 0.0);
            let found = cholesky.solve_upper(&cholesky.solve_lower(&z)[..size]);
            for (found, expected) in found.iter().zip(&solution) {
                assert!((found - expected).abs() < 1e-11, "{size}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_factor_ends_before_the_first_row_that_is_a_combination_of_others() {
        for dependent in [0, 1, 3, 4, 15, 16, 18] {
            let mut factor = known_factor(20);
            factor.row_mut(dependent)[dependent] = 0.0;
            let found = Cholesky::new(product(&factor), 1e-10);
            assert_eq!(found.size(), dependent);
            assert_eq!(found.solve_lower(&[1.0; 20]).len(), dependent);
        }
    }

    #[test]
    fn a_pivot_that_is_not_a_number_ends_the_factor() {
        let mut matrix = product(&known_factor(6));
        matrix.row_mut(4)[2] = f64::NAN;
        assert_eq!(Cholesky::new(matrix, 0.0).size(), 4);
    }
}
