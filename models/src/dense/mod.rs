//! Dense matrices of some hundred to some thousand rows: their products, and systems that are symmetric positive
//! definite. All of the work is one kernel, the product.

mod product;
mod spd;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use product::{product, window_products};
pub use spd::SpdFactor;

/// A matrix, one row after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            values: vec![0.0; rows * columns],
        }
    }

    /// A matrix with `entry(i, j)` in row `i`, column `j`; asked row by row.
    pub fn from_fn(rows: usize, columns: usize, mut entry: impl FnMut(usize, usize) -> f64) -> Self {
        let mut matrix = Self::zeros(rows, columns);
        for i in 0..rows {
            for (j, place) in matrix.row_mut(i).iter_mut().enumerate() {
                *place = entry(i, j);
            }
        }
        matrix
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Row `i`, as long as there are columns.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..][..self.columns]
    }

    /// Row `i`, to write.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.columns..][..self.columns]
    }

    /// The entry in row `i`, column `j`.
    ///
    /// # Panics
    ///
    /// If there is no such row or column.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.row(i)[j]
    }

    /// Rows become columns: `columns × rows`.
    pub fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows, |i, j| self.at(j, i))
    }

    /// A part of some rows.
    fn block(&self, rows: Range<usize>, columns: Range<usize>) -> Vec<&[f64]> {
        rows.map(|i| &self.row(i)[columns.clone()]).collect()
    }
}
