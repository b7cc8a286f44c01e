//! Cholesky's factor of one matrix a channel, in blocks: nearly all of its work is batched matrix products.
//!
//! The batched factor of the solver libraries is made for small matrices and leaves most of a GPU idle at 512 rows.
//! So it is asked for the diagonal blocks alone. Each is inverted once, and everything else is a product: the blocks
//! right of it, and the solves.

use tch::{Kind, TchError, Tensor};

/// Rows of a block.
pub(super) const BLOCK: i64 = 64;

/// Upper triangular `R` with `Rᵀ·R` equal to the matrix.
#[derive(Debug)]
pub(super) struct Factor {
    size: i64,
    /// `R` right of its diagonal blocks; the rest is unset.
    right: Tensor,
    /// `R[k, k]⁻ᵀ` of each diagonal block, lower triangular.
    inverses: Vec<Tensor>,
    /// The least pivot of each channel; nothing, or not a number, where a factor broke off.
    pub(super) least_pivot: Tensor,
}

impl Factor {
    /// Factors each matrix, of which only what lies on and above the diagonal is read. Overwrites them.
    pub(super) fn new(matrix: &Tensor) -> Result<Self, TchError> {
        let size = matrix.size()[1];
        let options = (Kind::Double, matrix.device());
        let right = Tensor::f_empty(matrix.size(), options)?;
        let mut inverses = Vec::new();
        let mut pivots = Vec::new();
        for (start, width) in blocks(size) {
            let after = size - start - width;
            let mut panel = matrix.f_narrow(1, start, width)?.f_narrow(2, start, size - start)?;
            if start > 0 {
                let above = right.f_narrow(1, 0, start)?;
                let minus = above.f_narrow(2, start, width)?.f_neg()?.f_mt()?;
                panel = panel.f_baddbmm_(&minus, &above.f_narrow(2, start, size - start)?)?;
            }
            let (diagonal, info) = panel.f_narrow(2, 0, width)?.f_linalg_cholesky_ex(true, false)?;
            let identity = Tensor::f_eye(width, options)?;
            let inverse = diagonal
                .f_mt()?
                .f_linalg_solve_triangular(&identity, false, true, false)?;
            if after > 0 {
                let rest = right.f_narrow(1, start, width)?.f_narrow(2, start + width, after)?;
                let _ = inverse.f_bmm_out(&rest, &panel.f_narrow(2, width, after)?)?;
            }
            let complete = info.f_eq(0)?;
            let least = diagonal.f_diagonal(0, 1, 2)?.f_square()?.f_amin(1, false)?;
            pivots.push(least.f_mul(&complete)?);
            inverses.push(inverse);
        }
        Ok(Self {
            size,
            right,
            inverses,
            least_pivot: Tensor::f_stack(&pivots, 1)?.f_amin(1, false)?,
        })
    }

    /// `w = R⁻ᵀ·z` for a row `z` a channel.
    pub(super) fn solve_lower(&self, z: &Tensor) -> Result<Tensor, TchError> {
        let z = z.f_unsqueeze(2)?;
        let mut w: Vec<Tensor> = Vec::new();
        for ((start, width), inverse) in blocks(self.size).zip(&self.inverses) {
            let mut part = z.f_narrow(1, start, width)?;
            if start > 0 {
                let above = self.right.f_narrow(1, 0, start)?.f_narrow(2, start, width)?;
                part = part.f_sub(&above.f_mt()?.f_bmm(&Tensor::f_cat(&w, 1)?)?)?;
            }
            w.push(inverse.f_bmm(&part)?);
        }
        Tensor::f_cat(&w, 1)?.f_squeeze_dim(2)
    }

    /// Solves `R·a = w` for a row `w` a channel.
    pub(super) fn solve_upper(&self, w: &Tensor) -> Result<Tensor, TchError> {
        let w = w.f_unsqueeze(2)?;
        let mut a: Option<Tensor> = None;
        let blocks: Vec<_> = blocks(self.size).zip(&self.inverses).collect();
        for ((start, width), inverse) in blocks.into_iter().rev() {
            let mut part = w.f_narrow(1, start, width)?;
            if let Some(solved) = &a {
                let right = self
                    .right
                    .f_narrow(1, start, width)?
                    .f_narrow(2, start + width, solved.size()[1])?;
                part = part.f_sub(&right.f_bmm(solved)?)?;
            }
            let solved = inverse.f_mt()?.f_bmm(&part)?;
            a = Some(match a {
                Some(after) => Tensor::f_cat(&[solved, after], 1)?,
                None => solved,
            });
        }
        a.expect("a matrix has a row").f_squeeze_dim(2)
    }
}

/// Start and width of each block.
fn blocks(size: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..size)
        .step_by(BLOCK as usize)
        .map(move |start| (start, BLOCK.min(size - start)))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const ON_CPU: (Kind, Device) = (Kind::Double, Device::Cpu);

    /// Three well-conditioned matrices `A` of a size, and `x`.
    fn system(size: i64) -> (Tensor, Tensor) {
        let wave = |count: i64| (Tensor::f_arange(count, ON_CPU).expect("numbers") * 0.731).sin();
        let square = wave(3 * size * size).reshape([3, size, size]);
        let matrix = square.mt().bmm(&square) + Tensor::eye(size, ON_CPU);
        (matrix, wave(3 * size).reshape([3, size]))
    }

    #[test]
    fn both_solves_together_invert_at_every_size_around_a_block() {
        for size in [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 5] {
            let (matrix, x) = system(size);
            let z = matrix.bmm(&x.unsqueeze(2)).squeeze_dim(2);
            let factor = Factor::new(&matrix.triu(0)).expect("a factor");
            let w = factor.solve_lower(&z).expect("a solution");
            let found = factor.solve_upper(&w).expect("a solution");
            let error = (found - &x).abs().max().double_value(&[]);
            assert!(error < 1e-10, "{size}: {error}");
            let energy = (&w * &w - &z * &x)
                .sum_dim_intlist(1, false, None)
                .abs()
                .max()
                .double_value(&[]);
            assert!(energy < 1e-8, "{size}: w'w is z'A⁻¹z, but for {energy}");
        }
    }

    #[test]
    fn a_factor_that_breaks_off_shows_in_its_own_channel_alone() {
        let (matrix, _) = system(BLOCK + 9);
        for row in [0, 5, BLOCK - 1, BLOCK, BLOCK + 8] {
            for odd in [-1e9, f64::NAN] {
                let matrix = matrix.copy();
                let _ = matrix.get(1).get(row).get(row).fill_(odd);
                let least = Factor::new(&matrix).expect("a factor").least_pivot;
                let positive: Vec<bool> = (0..3).map(|channel| least.double_value(&[channel]) > 1e-3).collect();
                assert_eq!(positive, [true, false, true], "{row} {odd}");
            }
        }
    }
}
