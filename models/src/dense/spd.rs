//! Systems with a symmetric positive definite matrix and many right-hand sides, one block of rows after the other.
//!
//! What earlier blocks explain of a block is a product; what is left meets the block's own triangle. The factor of
//! the matrix comes about in the same way: its rows are right-hand sides too.

use crate::simd::{self, Kernel};

use super::Matrix;
use super::product::Product;

/// The Cholesky factor of a symmetric positive definite matrix: `L·Lᵀ` is the matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct SpdFactor {
    /// `L` up to the diagonal, and `Lᵀ` from it on: whichever is needed stands there row by row.
    both: Matrix,
}

impl SpdFactor {
    /// Factors a matrix, of which only the upper triangle is read. `None` if a pivot is not positive and finite: the
    /// matrix is not positive definite, as far as the numbers tell.
    ///
    /// # Panics
    ///
    /// If the matrix is not square.
    pub fn new(matrix: Matrix) -> Option<Self> {
        assert_eq!(matrix.rows(), matrix.columns(), "the matrix is square");
        simd::run(Factoring { matrix })
    }

    /// `X` with `L·Lᵀ·X` equal to `rhs`, of the same shape: each column is a system of its own.
    ///
    /// # Panics
    ///
    /// If `rhs` has not as many rows as the matrix.
    pub fn solve(&self, rhs: Matrix) -> Matrix {
        assert_eq!(rhs.rows(), self.both.rows(), "rows of the right-hand side");
        simd::run(Solving { factor: self, rhs })
    }
}

/// Rows of a block: so few that the triangles on the diagonal, whose kernel is the slower one, are a small part.
const BLOCK: usize = 64;

struct Factoring {
    matrix: Matrix,
}

impl Kernel for Factoring {
    type Output = Option<SpdFactor>;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> Option<SpdFactor> {
        let mut both = self.matrix;
        let size = both.rows();
        for first in (0..size).step_by(BLOCK) {
            let end = size.min(first + BLOCK);
            let explained = Product {
                a: &both.block(first..end, 0..first),
                b: &both.block(0..first, first..size),
                columns: size - first,
            };
            let explained = explained.run::<LANES>();
            subtract(&mut both, first, first, &explained);
            let mut diagonal = diagonal(&both, first, end);
            factor_diagonal(&mut diagonal)?;
            for i in first..end {
                both.row_mut(i)[first..end].copy_from_slice(diagonal.row(i - first));
            }
            substitute(&diagonal, Half::Lower, &mut both, first, end);
            for i in end..size {
                for j in first..end {
                    both.row_mut(i)[j] = both.at(j, i);
                }
            }
        }
        Some(SpdFactor { both })
    }
}

struct Solving<'a> {
    factor: &'a SpdFactor,
    rhs: Matrix,
}

impl Kernel for Solving<'_> {
    type Output = Matrix;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> Matrix {
        let Self { factor, rhs: mut x } = self;
        let (both, size) = (&factor.both, x.rows());
        let blocks = size.div_ceil(BLOCK);
        let down = (0..blocks).map(|block| (block, Half::Lower));
        let up = (0..blocks).rev().map(|block| (block, Half::Upper));
        for (block, half) in down.chain(up) {
            let first = block * BLOCK;
            let end = size.min(first + BLOCK);
            let found = match half {
                Half::Lower => 0..first,
                Half::Upper => end..size,
            };
            let explained = Product {
                a: &both.block(first..end, found.clone()),
                b: &x.block(found, 0..x.columns()),
                columns: x.columns(),
            };
            let explained = explained.run::<LANES>();
            subtract(&mut x, first, 0, &explained);
            substitute(&diagonal(both, first, end), half, &mut x, first, 0);
        }
        x
    }
}

/// A copy of the block on the diagonal.
#[inline(always)]
fn diagonal(matrix: &Matrix, first: usize, end: usize) -> Matrix {
    Matrix::from_fn(end - first, end - first, |i, j| matrix.at(first + i, first + j))
}

/// Subtracts from the block that begins in row `first`, column `left`.
#[inline(always)]
fn subtract(from: &mut Matrix, first: usize, left: usize, other: &Matrix) {
    for i in 0..other.rows() {
        let row = &mut from.row_mut(first + i)[left..];
        row.iter_mut().zip(other.row(i)).for_each(|(x, y)| *x -= y);
    }
}

/// Makes the upper triangle of a small matrix into `Lᵀ`, and mirrors it into the lower.
#[inline(always)]
fn factor_diagonal(matrix: &mut Matrix) -> Option<()> {
    let size = matrix.rows();
    for k in 0..size {
        let pivot = matrix.at(k, k);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        let reciprocal = 1.0 / pivot.sqrt();
        let (done, open) = matrix.values.split_at_mut((k + 1) * size);
        let row = &mut done[k * size..];
        row[k..].iter_mut().for_each(|x| *x *= reciprocal);
        row[k] = pivot.sqrt();
        for (i, open) in (k + 1..size).zip(open.chunks_exact_mut(size)) {
            let factor = row[i];
            open[k] = factor;
            for (x, y) in open[i..].iter_mut().zip(&row[i..]) {
                *x -= factor * y;
            }
        }
    }
    Some(())
}

/// Which triangle of a block is solved with.
#[derive(Clone, Copy, Debug)]
enum Half {
    Lower,
    Upper,
}

/// Columns that are solved for together, in registers: several vectors, as each waits for its last subtraction.
const STRIP: usize = 16;

/// Solves with a triangle of `diagonal` for as many rows of `x` from `first` on, in place, in the columns from `left`
/// on.
#[inline(always)]
fn substitute(diagonal: &Matrix, half: Half, x: &mut Matrix, first: usize, left: usize) {
    let size = diagonal.rows();
    let mut found = [[0.0; STRIP]; BLOCK];
    let found = &mut found[..size];
    for left in (left..x.columns()).step_by(STRIP) {
        let strip = left..x.columns().min(left + STRIP);
        for (i, found) in found.iter_mut().enumerate() {
            found[..strip.len()].copy_from_slice(&x.row(first + i)[strip.clone()]);
        }
        for step in 0..size {
            let (i, before) = match half {
                Half::Lower => (step, 0..step),
                Half::Upper => (size - 1 - step, size - step..size),
            };
            let row = diagonal.row(i);
            let mut open = found[i];
            for (factor, found) in row[before.clone()].iter().zip(&found[before]) {
                for lane in 0..STRIP {
                    open[lane] -= factor * found[lane];
                }
            }
            let reciprocal = 1.0 / row[i];
            found[i] = open.map(|x| x * reciprocal);
        }
        for (i, found) in found.iter().enumerate() {
            x.row_mut(first + i)[strip.clone()].copy_from_slice(&found[..strip.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::product;
    use crate::simd::Width;

    /// Sizes around one block and two.
    const SIZES: [usize; 9] = [0, 1, 2, 63, 64, 65, 127, 128, 150];

    /// A lower triangle whose columns die away, with `3 + i mod 3` on the diagonal.
    fn known_factor(size: usize) -> Matrix {
        Matrix::from_fn(size, size, |i, j| match i.cmp(&j) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => (3 + i % 3) as f64,
            std::cmp::Ordering::Greater => (1.0 + ((i + 2 * j) % 5) as f64 / 4.0) / (1 + i - j) as f64,
        })
    }

    fn known_matrix(size: usize) -> Matrix {
        let factor = known_factor(size);
        product(&factor, &factor.transposed())
    }

    fn assert_close(found: &Matrix, expected: &Matrix, tolerance: f64) {
        assert_eq!((found.rows(), found.columns()), (expected.rows(), expected.columns()));
        for i in 0..found.rows() {
            for (found, expected) in found.row(i).iter().zip(expected.row(i)) {
                assert!((found - expected).abs() < tolerance, "{i}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_factor_is_found_again_at_every_size_around_a_block() {
        for size in SIZES {
            let known = known_factor(size);
            let found = SpdFactor::new(known_matrix(size)).expect("positive definite");
            let both = Matrix::from_fn(size, size, |i, j| known.at(i.max(j), i.min(j)));
            assert_close(&found.both, &both, 1e-12);
        }
    }

    #[test]
    fn a_solution_multiplied_back_is_the_right_hand_side() {
        for size in SIZES {
            for columns in [0, 1, 15, 16, 17, 40] {
                let matrix = known_matrix(size);
                let rhs = Matrix::from_fn(size, columns, |i, j| (i as f64 * 0.7 + j as f64).sin());
                let factor = SpdFactor::new(matrix.clone()).expect("positive definite");
                let found = factor.solve(rhs.clone());
                assert_close(&product(&matrix, &found), &rhs, 1e-11);
            }
        }
    }

    #[test]
    fn only_the_upper_triangle_is_read() {
        let matrix = known_matrix(70);
        let upper = Matrix::from_fn(70, 70, |i, j| if i <= j { matrix.at(i, j) } else { f64::NAN });
        assert_eq!(SpdFactor::new(upper), SpdFactor::new(matrix));
    }

    #[test]
    fn factor_and_solution_have_the_same_bits_at_every_width() {
        for size in [7, 64, 150] {
            let matrix = known_matrix(size);
            let rhs = Matrix::from_fn(size, 21, |i, j| (i as f64 * 0.7 + j as f64).sin());
            let solved = |width: Width| {
                let factor = width.run(Factoring { matrix: matrix.clone() })?;
                let solution = width.run(Solving {
                    factor: &factor,
                    rhs: rhs.clone(),
                });
                Some((factor, solution))
            };
            let solved: Vec<_> = Width::detected().map(solved).collect();
            assert!(solved[0].is_some(), "{size}");
            assert!(solved.windows(2).all(|pair| pair[0] == pair[1]), "{size}");
        }
    }

    #[test]
    fn a_pivot_that_is_not_positive_or_not_a_number_leaves_no_factor() {
        for place in [0, 1, 63, 64, 99] {
            for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
                let mut matrix = known_matrix(100);
                matrix.row_mut(place)[place] = bad;
                assert_eq!(SpdFactor::new(matrix), None, "{place} {bad}");
            }
        }
        for (i, j) in [(0, 1), (3, 70), (70, 80)] {
            let mut matrix = known_matrix(100);
            matrix.row_mut(i)[j] = f64::NAN;
            assert_eq!(SpdFactor::new(matrix), None, "{i} {j}");
        }
    }
}
