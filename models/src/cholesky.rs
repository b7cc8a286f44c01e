//! The Cholesky factor of a symmetric matrix, one panel of rows after the other: most of it is sums of products of two
//! panels, in tiles that stay in registers.
//!
//! The factor of a leading block is the leading block of the factor, so one factor solves every order, and a pivot
//! that is not safely positive only ends it early.

use crate::simd::{self, Kernel};
use crate::triangle::{Column, PANEL, Triangle};

/// A lower triangular `L` with `L·Lᵀ` equal to the leading block of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Cholesky {
    factor: Triangle,
    /// Of the diagonal: a division takes four times as long as a product.
    reciprocals: Vec<f64>,
}

impl Cholesky {
    /// Factors a matrix as far as its pivots are above `floor`: rows from the first pivot that is not are left out,
    /// since they are linear combinations of those before, as far as the numbers tell.
    pub fn new(matrix: Triangle, floor: f64) -> Self {
        simd::run(Factoring { matrix, floor })
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
        simd::run(SolveLower {
            cholesky: self,
            z: &z[..self.size()],
        })
    }

    /// Solves `Lᵀ a = w` for the leading block as large as `w`.
    ///
    /// # Panics
    ///
    /// If `w` is longer than the factor.
    pub fn solve_upper(&self, w: &[f64]) -> Vec<f64> {
        simd::run(SolveUpper { cholesky: self, w })
    }
}

struct Factoring {
    matrix: Triangle,
    floor: f64,
}

impl Kernel for Factoring {
    type Output = Cholesky;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> Cholesky {
        let Self { mut matrix, floor } = self;
        let size = matrix.size();
        let mut reciprocals = Vec::with_capacity(size);
        for p in 0..matrix.panels() {
            let rows = PANEL.min(size - PANEL * p);
            let (above, panel) = matrix.split_at_panel(p);
            for q in 0..=p {
                let (done, open) = panel.split_at_mut(PANEL * q);
                let open: &mut Block = open.first_chunk_mut().expect("a panel reaches the diagonal");
                let (other, diagonal) = if q < p {
                    above.panel(q).split_at(PANEL * q)
                } else {
                    (&*done, &[][..])
                };
                // One call for both kinds of block: where a panel is known to meet itself, the compiler saves
                // multiplications by shuffles, which take longer.
                let reduced = difference(open, &products::<LANES>(done, other));
                *open = if q < p {
                    quotient(reduced, diagonal, &reciprocals[PANEL * q..])
                } else {
                    factored(reduced, rows, floor, &mut reciprocals)
                };
            }
            if reciprocals.len() < PANEL * p + rows {
                matrix.truncate(reciprocals.len());
                break;
            }
        }
        Cholesky {
            factor: matrix,
            reciprocals,
        }
    }
}

type Block = [Column; PANEL];

/// `Σ_k a[k][row]·b[k][column]` at `[column][row]`, summed in the order of `k`.
#[inline(always)]
fn products<const LANES: usize>(a: &[Column], b: &[Column]) -> Block {
    let mut block = [[0.0; PANEL]; PANEL];
    // As many columns at a time as keep their sums in registers.
    for (part, columns) in block.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sums = [[0.0; PANEL]; LANES];
        for (a, b) in a.iter().zip(b) {
            for column in 0..LANES {
                for row in 0..PANEL {
                    sums[column][row] += a[row] * b[part * LANES + column];
                }
            }
        }
        *columns = sums;
    }
    block
}

#[inline(always)]
fn difference(block: &Block, products: &Block) -> Block {
    std::array::from_fn(|column| less(block[column], products[column], 1.0))
}

/// `column − factor·other`.
#[inline(always)]
fn less(column: Column, other: Column, factor: f64) -> Column {
    std::array::from_fn(|row| column[row] - factor * other[row])
}

/// Solves `X·Lᵀ = block`, for the diagonal block `L` of another panel.
#[inline(always)]
fn quotient(mut block: Block, diagonal: &[Column], reciprocals: &[f64]) -> Block {
    let diagonal: &Block = diagonal.first_chunk().expect("a panel reaches the diagonal");
    let reciprocals: &Column = reciprocals.first_chunk().expect("of all rows above");
    for j in 0..PANEL {
        block[j] = block[j].map(|entry| entry * reciprocals[j]);
        // Over all columns, so that the compiler unrolls the loops and keeps the block in registers.
        for k in 0..PANEL {
            if k > j {
                block[k] = less(block[k], block[j], diagonal[j][k]);
            }
        }
    }
    block
}

/// Factors the first rows of a diagonal block as far as the pivots are above `floor`, and notes their reciprocals.
#[inline(always)]
fn factored(mut block: Block, rows: usize, floor: f64, reciprocals: &mut Vec<f64>) -> Block {
    for j in 0..rows {
        let pivot = block[j][j];
        if !(pivot > floor && pivot.is_finite()) {
            return block;
        }
        let root = pivot.sqrt();
        let reciprocal = 1.0 / root;
        reciprocals.push(reciprocal);
        block[j] = block[j].map(|entry| entry * reciprocal);
        block[j][j] = root;
        for k in j + 1..PANEL {
            block[k] = less(block[k], block[j], block[j][k]);
        }
    }
    block
}

struct SolveLower<'a> {
    cholesky: &'a Cholesky,
    z: &'a [f64],
}

impl Kernel for SolveLower<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> Vec<f64> {
        let Self { cholesky, z } = self;
        let mut w: Vec<f64> = Vec::with_capacity(z.len());
        for (p, z) in z.chunks(PANEL).enumerate() {
            let (done, block) = cholesky.factor.panel(p).split_at(PANEL * p);
            let explained = weighted(done, &w);
            let mut open: Column = std::array::from_fn(|row| z.get(row).map_or(0.0, |z| z - explained[row]));
            for j in 0..z.len() {
                let found = open[j] * cholesky.reciprocals[PANEL * p + j];
                open = less(open, block[j], found);
                w.push(found);
            }
        }
        w
    }
}

/// Columns times weights, summed in four parts: one alone would wait for each addition.
#[inline(always)]
fn weighted(columns: &[Column], weights: &[f64]) -> Column {
    let mut sums = [[0.0; PANEL]; 4];
    for (columns, weights) in columns.as_chunks::<4>().0.iter().zip(weights.as_chunks::<4>().0) {
        for part in 0..4 {
            for row in 0..PANEL {
                sums[part][row] += columns[part][row] * weights[part];
            }
        }
    }
    std::array::from_fn(|row| (sums[0][row] + sums[1][row]) + (sums[2][row] + sums[3][row]))
}

struct SolveUpper<'a> {
    cholesky: &'a Cholesky,
    w: &'a [f64],
}

impl Kernel for SolveUpper<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> Vec<f64> {
        let Self { cholesky, w } = self;
        let mut a = w.to_vec();
        a.resize(w.len().next_multiple_of(PANEL), 0.0);
        for p in (0..a.len() / PANEL).rev() {
            let (open, found) = a[PANEL * p..].split_at_mut(PANEL);
            let explained = cholesky.explained(p, found.as_chunks().0);
            let first = PANEL * p;
            let diagonal = &cholesky.factor.panel(p)[first..];
            for j in (0..PANEL.min(w.len() - first)).rev() {
                let within: f64 = (j + 1..PANEL).map(|row| open[row] * diagonal[j][row]).sum();
                let before: f64 = explained[j].iter().sum();
                open[j] = (open[j] - before - within) * cholesky.reciprocals[first + j];
            }
        }
        a.truncate(w.len());
        a
    }
}

impl Cholesky {
    /// For each column of panel `p`, what the entries of the solution in later panels explain of it, by their place in
    /// a panel.
    #[inline(always)]
    fn explained(&self, p: usize, found: &[Column]) -> Block {
        let mut sums = [[0.0; PANEL]; PANEL];
        for (found, q) in found.iter().zip(p + 1..) {
            let block = &self.factor.panel(q)[PANEL * p..][..PANEL];
            for column in 0..PANEL {
                for row in 0..PANEL {
                    sums[column][row] += block[column][row] * found[row];
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Width;

    /// A positive definite matrix with known factor: `L(i, j) = 1 + ((i + 2 j) mod 5) / 4`, diagonal `3 + i mod 3`.
    fn known_factor(size: usize) -> Triangle {
        lower(size, |i, j| {
            if i == j {
                (3 + i % 3) as f64
            } else {
                (1.0 + ((i + 2 * j) % 5) as f64 / 4.0) / (1 + i - j) as f64
            }
        })
    }

    fn lower(size: usize, entry: impl Fn(usize, usize) -> f64) -> Triangle {
        Triangle::from_rows(size, |i, row| {
            row.iter_mut().zip(0..).for_each(|(place, j)| *place = entry(i, j))
        })
    }

    /// `L·Lᵀ`.
    fn product(factor: &Triangle) -> Triangle {
        lower(factor.size(), |i, j| {
            (0..=j).map(|k| factor.entry(i, k) * factor.entry(j, k)).sum()
        })
    }

    #[test]
    fn the_factor_is_found_again_at_every_size_around_a_panel() {
        for size in [0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 19, 32, 37, 64, 130] {
            let known = known_factor(size);
            let found = Cholesky::new(product(&known), 0.0);
            assert_eq!(found.size(), size);
            for i in 0..size {
                for j in 0..=i {
                    let (found, known) = (found.factor.entry(i, j), known.entry(i, j));
                    assert!((found - known).abs() < 1e-12, "{size} {i} {j}: {found} {known}");
                }
            }
        }
    }

    #[test]
    fn both_solves_together_invert_every_leading_block() {
        let matrix = product(&known_factor(19));
        let solution: Vec<f64> = (0..19).map(|k| f64::from(k) - 4.5).collect();
        for size in 0..=19 {
            let entry = |i: usize, j: usize| matrix.entry(i.max(j), i.min(j));
            let z: Vec<f64> = (0..19)
                .map(|i| (0..size).map(|j| entry(i, j) * solution[j]).sum())
                .collect();
            let cholesky = Cholesky::new(matrix.clone(), 0.0);
            let found = cholesky.solve_upper(&cholesky.solve_lower(&z)[..size]);
            assert_eq!(found.len(), size);
            for (found, expected) in found.iter().zip(&solution) {
                assert!((found - expected).abs() < 1e-11, "{size}: {found} {expected}");
            }
        }
    }

    #[test]
    fn factor_and_solves_have_the_same_bits_at_every_width() {
        for size in [7, 8, 61, 130] {
            let matrix = product(&known_factor(size));
            let z: Vec<f64> = (0..size).map(|k| (k as f64 * 0.7).sin()).collect();
            let solved = |width: Width| {
                let floor = 0.0;
                let cholesky = width.run(Factoring {
                    matrix: matrix.clone(),
                    floor,
                });
                let w = width.run(SolveLower {
                    cholesky: &cholesky,
                    z: &z,
                });
                let a = width.run(SolveUpper {
                    cholesky: &cholesky,
                    w: &w,
                });
                (cholesky, w, a)
            };
            let solved: Vec<_> = Width::detected().map(solved).collect();
            assert!(solved.windows(2).all(|pair| pair[0] == pair[1]), "{size}");
        }
    }

    #[test]
    fn the_factor_ends_before_the_first_row_that_is_a_combination_of_others() {
        for dependent in [0, 1, 3, 4, 7, 8, 15, 16, 18] {
            let known = known_factor(20);
            let matrix = product(&lower(20, |i, j| {
                if (i, j) == (dependent, dependent) {
                    0.0
                } else {
                    known.entry(i, j)
                }
            }));
            let found = Cholesky::new(matrix.clone(), 1e-10);
            assert_eq!(found.size(), dependent);
            let w = found.solve_lower(&[1.0; 20]);
            assert_eq!(w.len(), dependent);
            // What is left is the factor of the rows before.
            let before = Cholesky::new(lower(dependent, |i, j| matrix.entry(i, j)), 1e-10);
            assert_eq!(w, before.solve_lower(&[1.0; 20]));
            assert_eq!(found.solve_upper(&w), before.solve_upper(&w));
        }
    }

    #[test]
    fn a_pivot_that_is_not_a_number_ends_the_factor() {
        for (i, j) in [(4, 2), (4, 4), (12, 3), (12, 10)] {
            let sound = product(&known_factor(20));
            let matrix = lower(20, |k, l| if (k, l) == (i, j) { f64::NAN } else { sound.entry(k, l) });
            let found = Cholesky::new(matrix, 0.0);
            assert_eq!(found.size(), i);
            assert!(
                found
                    .solve_upper(&found.solve_lower(&[1.0; 20]))
                    .iter()
                    .all(|a| a.is_finite())
            );
        }
    }
}
