//! A lower triangle, stored as the kernels read it: panels of eight rows, and in a panel column after column.
//!
//! Eight entries of a column stand side by side, in one vector or a few. The leading block of any size is a prefix,
//! but for rows of its last panel, which is what lets one factor serve every order.

/// Rows of a panel.
pub(crate) const PANEL: usize = 8;

/// One column of a panel.
pub(crate) type Column = [f64; PANEL];

/// The lower triangle of a symmetric or triangular matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Triangle {
    size: usize,
    /// Panel `p` has `PANEL·(p + 1)` of them. Entries below the last row are zero; those above the diagonal mean
    /// nothing.
    columns: Vec<Column>,
}

/// Where panel `p` begins.
fn start(p: usize) -> usize {
    PANEL * p * (p + 1) / 2
}

impl Triangle {
    /// A triangle of so many rows, from the first to the last. `fill` is given a row's number and its place, up to and
    /// with the diagonal, and writes all of it.
    pub fn from_rows(size: usize, mut fill: impl FnMut(usize, &mut [f64])) -> Self {
        let mut columns = vec![[0.0; PANEL]; start(size.div_ceil(PANEL))];
        let mut row = vec![0.0; size];
        for i in 0..size {
            let row = &mut row[..=i];
            fill(i, row);
            let panel = &mut columns[start(i / PANEL)..];
            for (column, entry) in panel.iter_mut().zip(row) {
                column[i % PANEL] = *entry;
            }
        }
        Self { size, columns }
    }

    /// Number of rows.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The entry at row `i`, column `j ≤ i`.
    pub fn entry(&self, i: usize, j: usize) -> f64 {
        self.panel(i / PANEL)[j][i % PANEL]
    }

    /// Adds another triangle of the same size.
    pub(crate) fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.size, other.size);
        for (sum, column) in self.columns.iter_mut().zip(&other.columns) {
            for (sum, entry) in sum.iter_mut().zip(column) {
                *sum += entry;
            }
        }
    }

    pub(crate) fn panels(&self) -> usize {
        self.size.div_ceil(PANEL)
    }

    /// Rows from `PANEL·p` on.
    pub(crate) fn panel(&self, p: usize) -> &[Column] {
        &self.columns[start(p)..start(p + 1)]
    }

    pub(crate) fn panel_mut(&mut self, p: usize) -> &mut [Column] {
        &mut self.columns[start(p)..start(p + 1)]
    }

    /// The panels before panel `p` to read, and panel `p` to write.
    pub(crate) fn split_at_panel(&mut self, p: usize) -> (Panels<'_>, &mut [Column]) {
        let (above, rest) = self.columns.split_at_mut(start(p));
        (Panels(above), &mut rest[..PANEL * (p + 1)])
    }

    /// Drops all rows from row `size` on.
    pub(crate) fn truncate(&mut self, size: usize) {
        self.size = self.size.min(size);
        self.columns.truncate(start(self.panels()));
        let kept = self.size % PANEL;
        if kept > 0 {
            for column in self.panel_mut(self.size / PANEL) {
                column[kept..].fill(0.0);
            }
        }
    }
}

/// Leading panels of a triangle, to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a>(&'a [Column]);

impl<'a> Panels<'a> {
    pub(crate) fn panel(self, p: usize) -> &'a [Column] {
        &self.0[start(p)..start(p + 1)]
    }
}
