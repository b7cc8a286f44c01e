//! What a multi-channel fit asks of dense matrices: a product, windows of a series times a map, a factor, a solve.

use divan::Bencher;
use forecastd_models::dense::{Matrix, SpdFactor, product, window_products};

const ORDER: usize = 512;

fn main() {
    divan::main();
}

/// Numbers of all sizes between −1 and 1.
fn rough(rows: usize, columns: usize) -> Matrix {
    Matrix::from_fn(rows, columns, |i, j| ((i * columns + j).pow(2) as f64 * 0.013).sin())
}

/// Positive definite: its diagonal outweighs its rows.
fn definite() -> Matrix {
    Matrix::from_fn(ORDER, ORDER, |i, j| match i.abs_diff(j) {
        0 => 10.0,
        lag => 1.0 / (lag * lag) as f64,
    })
}

#[divan::bench]
fn product_512_512_720(bencher: Bencher) {
    let (a, b) = (rough(ORDER, ORDER), rough(ORDER, 720));
    bencher.bench(|| product(&a, &b));
}

#[divan::bench]
fn windows_10000_512_96(bencher: Bencher) {
    let (samples, map) = (rough(1, 10_000 + ORDER), rough(ORDER, 96));
    bencher.bench(|| window_products(samples.row(0), 0..10_000, &map));
}

#[divan::bench]
fn factor_512(bencher: Bencher) {
    let matrix = definite();
    bencher.with_inputs(|| matrix.clone()).bench_values(SpdFactor::new);
}

#[divan::bench]
fn solve_512_720(bencher: Bencher) {
    let factor = SpdFactor::new(definite()).expect("positive definite");
    let rhs = rough(ORDER, 720);
    bencher
        .with_inputs(|| rhs.clone())
        .bench_values(|rhs| factor.solve(rhs));
}
