//! A lower triangle, packed by rows: row `i` is a contiguous slice of `i + 1` numbers.
//!
//! The leading block of any size is a prefix, which is what lets one factor serve every order.

/// The lower triangle of a symmetric or triangular matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Triangle {
    size: usize,
    packed: Vec<f64>,
}

/// Where row `i` begins.
fn start(i: usize) -> usize {
    i * (i + 1) / 2
}

impl Triangle {
    /// A triangle of zeros with this many rows.
    pub fn zeros(size: usize) -> Self {
        Self {
            size,
            packed: vec![0.0; start(size)],
        }
    }

    /// Number of rows.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Row `i`, up to and with the diagonal.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.packed[start(i)..start(i + 1)]
    }

    /// Row `i`, up to and with the diagonal.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.packed[start(i)..start(i + 1)]
    }

    /// Row `i` to write, and the one above it, if there is one, to read.
    pub(crate) fn split_row(&mut self, i: usize) -> (Option<&[f64]>, &mut [f64]) {
        let (above, rest) = self.packed.split_at_mut(start(i));
        (
            i.checked_sub(1).map(|above_i| &above[start(above_i)..]),
            &mut rest[..=i],
        )
    }

    /// The rows before row `i` as a view, and row `i` to write.
    pub(crate) fn split_at_row(&mut self, i: usize) -> (Rows<'_>, &mut [f64]) {
        let (above, rest) = self.packed.split_at_mut(start(i));
        (Rows(above), &mut rest[..=i])
    }

    /// All rows, to read.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows(&self.packed)
    }

    /// Drops all rows from row `size` on.
    pub(crate) fn truncate(&mut self, size: usize) {
        self.size = self.size.min(size);
        self.packed.truncate(start(self.size));
    }
}

/// Leading rows of a triangle, to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a>(&'a [f64]);

impl<'a> Rows<'a> {
    /// Row `i`, up to and with the diagonal.
    pub(crate) fn row(self, i: usize) -> &'a [f64] {
        &self.0[start(i)..start(i + 1)]
    }
}
