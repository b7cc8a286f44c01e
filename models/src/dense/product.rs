//! Products of matrices, in tiles that stay in registers.
//!
//! Both factors are laid out anew, part by part, as a tile reads them: from end to end. So it does not matter where
//! their rows lie; they may overlap, as the windows of a series do.

use crate::simd::{self, Kernel};

use super::Matrix;

/// `A·B`, an `m × n` matrix of `A`, `m × k`, and `B`, `k × n`.
///
/// # Panics
///
/// If `A` has not as many columns as `B` has rows.
pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
    assert_eq!(a.columns(), b.rows(), "columns of A, rows of B");
    simd::run(Product {
        a: &a.block(0..a.rows(), 0..a.columns()),
        b: &b.block(0..b.rows(), 0..b.columns()),
        columns: b.columns(),
    })
}

/// For each `t` of `starts`, the window `samples[t]`, `samples[t+1]`, …, as long as `map` has rows, times `map`: one
/// row per start, as wide as `map`. The matrix of the windows, a Hankel matrix if the starts are neighbours, is never
/// laid out.
///
/// # Panics
///
/// If a window reaches beyond `samples`.
pub fn window_products(samples: &[f64], starts: impl IntoIterator<Item = usize>, map: &Matrix) -> Matrix {
    let windows: Vec<_> = starts.into_iter().map(|t| &samples[t..][..map.rows()]).collect();
    simd::run(Product {
        a: &windows,
        b: &map.block(0..map.rows(), 0..map.columns()),
        columns: map.columns(),
    })
}

/// Rows of a tile: with two vectors each, twelve sums, which hide the time that an addition takes and leave four of
/// AVX2's registers for their terms.
const ROWS: usize = 6;

/// Vectors of a tile's row.
const VECTORS: usize = 2;

/// Terms that are summed from zero before they are added to the rest. What a tile reads, 28 KiB at AVX2, stays in the
/// first cache.
const DEPTH: usize = 256;

/// Rows of the left factor that meet a panel of the right before the next panel does: they stay in the second cache.
const BAND: usize = 16 * ROWS;

/// The product of matrices that are given by their rows.
pub(super) struct Product<'a> {
    pub(super) a: &'a [&'a [f64]],
    pub(super) b: &'a [&'a [f64]],
    /// Of the right factor, which need not have a row.
    pub(super) columns: usize,
}

impl Kernel for Product<'_> {
    type Output = Matrix;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> Matrix {
        let Self { a, b, columns } = self;
        let mut product = Matrix::zeros(a.len(), columns);
        let width = VECTORS * LANES;
        let depth = DEPTH.min(b.len());
        let mut panels = vec![[[0.0; LANES]; VECTORS]; columns.div_ceil(width) * depth];
        let mut slabs = vec![[0.0; ROWS]; a.len().min(BAND).div_ceil(ROWS) * depth];
        for (b, start) in b.chunks(DEPTH).zip((0..).step_by(DEPTH)) {
            let depth = b.len();
            for (panel, left) in panels.chunks_exact_mut(depth).zip((0..columns).step_by(width)) {
                pack_columns(panel, b, left);
            }
            for (a, first) in a.chunks(BAND).zip((0..).step_by(BAND)) {
                for (slab, rows) in slabs.chunks_exact_mut(depth).zip(a.chunks(ROWS)) {
                    pack_rows(slab, rows, start);
                }
                for (panel, left) in panels.chunks_exact(depth).zip((0..columns).step_by(width)) {
                    for (slab, i) in slabs.chunks_exact(depth).zip((0..a.len()).step_by(ROWS)) {
                        let sums = tile(slab, panel);
                        for (i, sums) in (first + i..first + a.len()).zip(&sums) {
                            let open = product.row_mut(i)[left..].iter_mut();
                            open.zip(sums.as_flattened()).for_each(|(open, sum)| *open += sum);
                        }
                    }
                }
            }
        }
        product
    }
}

/// Lays out the columns from `left` on. Where there are fewer than a panel is wide, the rest of it keeps what it had:
/// those sums are dropped.
#[inline(always)]
fn pack_columns<const LANES: usize>(panel: &mut [[[f64; LANES]; VECTORS]], b: &[&[f64]], left: usize) {
    for (packed, row) in panel.iter_mut().zip(b) {
        let row = &row[left..];
        match row.as_chunks().0.first_chunk() {
            Some(vectors) => *packed = *vectors,
            None => packed.as_flattened_mut()[..row.len()].copy_from_slice(row),
        }
    }
}

/// Lays out rows from column `start` on. Where there are fewer than in a tile, the rest keeps what it had, as above.
#[inline(always)]
fn pack_rows(slab: &mut [[f64; ROWS]], rows: &[&[f64]], start: usize) {
    for (place, row) in rows.iter().enumerate() {
        for (packed, entry) in slab.iter_mut().zip(&row[start..]) {
            packed[place] = *entry;
        }
    }
}

/// `Σ_k a[k][row]·b[k]` for each row, summed in the order of `k`.
#[inline(always)]
fn tile<const LANES: usize>(a: &[[f64; ROWS]], b: &[[[f64; LANES]; VECTORS]]) -> [[[f64; LANES]; VECTORS]; ROWS] {
    let mut sums = [[[0.0; LANES]; VECTORS]; ROWS];
    for (a, b) in a.iter().zip(b) {
        for row in 0..ROWS {
            for vector in 0..VECTORS {
                for lane in 0..LANES {
                    sums[row][vector][lane] += a[row] * b[vector][lane];
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

    /// Small integers: exact in whatever order.
    fn whole(rows: usize, columns: usize) -> Matrix {
        Matrix::from_fn(rows, columns, |i, j| ((i * i + 7 * i * j + 3 * j) % 11) as f64 - 5.0)
    }

    /// Numbers of all sizes between −1 and 1.
    fn rough(rows: usize, columns: usize) -> Matrix {
        Matrix::from_fn(rows, columns, |i, j| ((i * columns + j).pow(2) as f64 * 0.013).sin())
    }

    fn literal(a: &Matrix, b: &Matrix) -> Matrix {
        Matrix::from_fn(a.rows(), b.columns(), |i, j| {
            (0..b.rows()).map(|k| a.at(i, k) * b.at(k, j)).sum()
        })
    }

    #[test]
    fn products_of_every_shape_around_a_tile_are_what_they_should_be() {
        for m in [0, 1, 5, 6, 7, 95, 96, 97, 103] {
            for k in [0, 1, 255, 256, 257, 513] {
                for n in [0, 1, 3, 4, 5, 7, 8, 9, 16, 17, 33] {
                    let (a, b) = (whole(m, k), whole(k, n));
                    assert_eq!(product(&a, &b), literal(&a, &b), "{m} {k} {n}");
                }
            }
        }
    }

    #[test]
    fn windows_times_a_map_are_the_product_with_their_laid_out_matrix() {
        let samples = rough(1, 700);
        let samples = samples.row(0);
        for (length, step) in [(1, 1), (30, 1), (30, 7), (300, 24)] {
            let map = rough(length, 19);
            let starts = || (5..=700 - length).step_by(step);
            let laid_out = Matrix::from_fn(starts().count(), length, |i, j| samples[5 + i * step + j]);
            let found = window_products(samples, starts(), &map);
            assert_eq!(found, product(&laid_out, &map), "{length} {step}");
        }
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_window_beyond_the_samples_is_refused() {
        window_products(&[0.0; 10], [7], &Matrix::zeros(4, 1));
    }

    #[test]
    fn a_product_has_the_same_bits_at_every_width() {
        for (m, k, n) in [(1, 1, 1), (7, 300, 13), (64, 600, 65), (100, 256, 96)] {
            let (a, b) = (rough(m, k), rough(k, n));
            let product = |width: Width| {
                width.run(Product {
                    a: &a.block(0..m, 0..k),
                    b: &b.block(0..k, 0..n),
                    columns: n,
                })
            };
            let products: Vec<_> = Width::detected().map(product).collect();
            assert!(products.windows(2).all(|pair| pair[0] == pair[1]), "{m} {k} {n}");
        }
    }
}
