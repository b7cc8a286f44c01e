//! The KPSS test ([`kpss`](crate::kpss)) on a window that moves, in time and memory that do not grow with it.
//!
//! A line is taken off once, at the anchor; the test's own line, which turns a little with every move, is then a small
//! correction to sums that are kept. Let `r[m]`, `m = 1 … n`, be what the anchor's line leaves of the window, and
//! `c[m] = r[1] + … + r[m]`. Least squares fits `α + β·(m − (n+1)/2)` to `r` from `Σr` and `Σm·r`, and
//!
//! - the partial sums of its residuals are `S[m] = c[m] − p·m − q·m²` with `q = β/2`, `p = α − β·n/2`, so that `ΣS²` is
//!   a quadratic form in `p` and `q` of `Σc²`, `Σm·c`, `Σm²·c` and the sums of `m²`, `m³`, `m⁴`;
//! - with `ℓ[m]` the value of the line, the residuals' products at lag `k` are
//!   `Σ r[m]·r[m-k] − Σ ℓ[m-k]·r[m] − Σ ℓ[m]·r[m-k] + Σ ℓ[m]·ℓ[m-k]` over `m = k+1 … n`: the first sum is kept, the next
//!   two are the moments of `r` less those of its `k` oldest or newest, and the last is a polynomial.
//!
//! A row that enters adds to each sum. One that leaves, `r[1]`, takes its part off, and then every `m` falls by one and
//! every `c` by `r[1]`: `Σc² − 2·r[1]·Σc + n·r[1]²`, and so on.

use crate::dot::dot;
use crate::kpss::{CRITICAL_5_PERCENT, Kpss, automatic_lags, detrended, lags_looked_at, line, times};
use crate::lag_products::add_products;

/// What is left of larger sums is trusted down to this share of them.
const LEAST_SHARE: f64 = 1e-4;

/// Nearer to the critical value, or to another whole number of lags, rounding might decide: thousands of roundings of
/// 1e-16, divided by `LEAST_SHARE`, and room.
const LEAST_MARGIN: f64 = 1e-7;

/// Residuals that are smaller than this share of the line's rise over the window have lost digits to it.
const LEAST_STEEPNESS: f64 = 1e-6;

/// Lags kept beyond half as many again as the anchor's test needed.
const SPARE_LAGS: usize = 8;

/// What the test needs to know of a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RollingKpss {
    line: AnchorLine,
    /// The oldest sample's place, counted from the anchor's oldest.
    first: usize,
    moments: Moments,
    /// `Σ r[m]²`, `Σ r[m]·r[m-1]`, … up to the highest lag kept.
    products: Vec<f64>,
    /// The largest `Σ r[m]²` since the anchor: rounding is as large as this makes it.
    largest_energy: f64,
}

/// What is taken off: the line of least squares of the anchor's window, continued.
#[derive(Clone, Copy, Debug, PartialEq)]
struct AnchorLine {
    /// Its value at the anchor's oldest sample.
    start: f64,
    slope: f64,
}

impl AnchorLine {
    fn taken_off(self, x: &[f64], first: usize) -> Vec<f64> {
        let deviation = |(t, x): (usize, &f64)| *x - self.start - self.slope * t as f64;
        (first..).zip(x).map(deviation).collect()
    }
}

impl RollingKpss {
    /// Sums over the whole window. `None` where nothing can be tested, or the test needs more lags than are worth keeping.
    pub(crate) fn anchor(x: &[f64]) -> Option<Self> {
        let residuals = detrended(x)?;
        let n = residuals.len();
        let lags = automatic_lags(n, |lag| dot(&residuals[lag..], &residuals[..n - lag])) as usize;
        let most = most_lags(n);
        let needed = lags.max(lags_looked_at(n));
        if needed > most {
            return None;
        }
        let highest_lag = (needed + needed / 2 + SPARE_LAGS).min(most);
        let (middle, slope) = line(x, &times(n));
        let start = middle - slope * (x.len() as f64 - 1.0) / 2.0;
        let line = AnchorLine { start, slope };

        let mut deviations = vec![0.0; highest_lag];
        deviations.extend(line.taken_off(x, 0));
        let mut products = vec![0.0; highest_lag + 1];
        add_products(&mut products, &deviations, highest_lag..deviations.len(), 1.0);
        let mut moments = Moments::default();
        for r in &deviations[highest_lag..] {
            moments.enter(*r);
        }
        Some(Self {
            line,
            first: 0,
            moments,
            largest_energy: products[0],
            products,
        })
    }

    /// Samples that are needed of either end.
    pub(crate) fn reach(&self) -> usize {
        self.products.len() - 1
    }

    /// Moves the window, and tests it; `None` where rounding might decide.
    ///
    /// `oldest` are the `leaving` samples and the `reach` oldest that stay, `newest` the `reach` before the `entering`
    /// ones and these.
    pub(crate) fn roll(&mut self, oldest: &[f64], leaving: usize, newest: &[f64], entering: usize) -> Option<Kpss> {
        let reach = self.reach();
        let newest = self.line.taken_off(newest, self.first + self.moments.count - reach);
        let mut oldest = self.line.taken_off(oldest, self.first);
        add_products(&mut self.products, &newest, reach..reach + entering, 1.0);
        for r in &newest[reach..] {
            self.moments.enter(*r);
        }
        self.largest_energy = self.largest_energy.max(self.products[0]);
        for r in &oldest[..leaving] {
            self.moments.leave(*r);
        }
        self.first += leaving;
        // Backwards, a sample that leaves has those that stay before it.
        oldest.reverse();
        add_products(&mut self.products, &oldest, reach..reach + leaving, -1.0);
        oldest.truncate(reach);
        oldest.reverse();
        self.test(&oldest, &newest[entering..])
    }

    fn test(&self, oldest: &[f64], newest: &[f64]) -> Option<Kpss> {
        let n = self.moments.count as f64;
        let turned = self.moments.line();
        let products = self.residual_products(turned, oldest, newest);
        let rise = (self.line.slope * (self.first as f64 + n)).abs();
        let is_clear =
            products[0] > LEAST_SHARE * self.largest_energy && (products[0] / n).sqrt() > LEAST_STEEPNESS * rise;
        let lags = self.lags(&products).filter(|_| is_clear)?;
        let weighted = |lag: usize| 2.0 * (1.0 - lag as f64 / (lags + 1) as f64) * products[lag];
        let long_run = products[0] + (1..=lags).map(weighted).sum::<f64>();
        let magnitude = products[0] + (1..=lags).map(|lag| weighted(lag).abs()).sum::<f64>();
        let statistic = self.moments.squared_partial_sums(turned)? / (n * long_run);
        let is_sure = long_run > LEAST_SHARE * magnitude && (statistic / CRITICAL_5_PERCENT - 1.0).abs() > LEAST_MARGIN;
        is_sure.then_some(Kpss { statistic, lags })
    }

    /// The lags that the test needs, if they are kept.
    fn lags(&self, products: &[f64]) -> Option<usize> {
        let n = self.moments.count;
        if lags_looked_at(n) > self.reach() {
            return None;
        }
        let lags = automatic_lags(n, |lag| products[lag]);
        let is_sure = (lags - lags.round()).abs() > LEAST_MARGIN * lags;
        (is_sure && lags < (self.reach() + 1) as f64).then_some(lags as usize)
    }

    /// Products of the residuals around this line, at every lag kept.
    fn residual_products(&self, turned: Line, oldest: &[f64], newest: &[f64]) -> Vec<f64> {
        let Line { start: g, slope: b } = turned;
        let moments = &self.moments;
        let (mut later, mut earlier) = ((moments.r, moments.mr), (moments.r, moments.mr));
        let mut products = Vec::with_capacity(self.products.len());
        for (lag, product) in self.products.iter().enumerate() {
            if lag > 0 {
                // Without the oldest `lag`, and without the newest.
                let (m, r) = (lag as f64, oldest[lag - 1]);
                later = (later.0 - r, later.1 - m * r);
                let (m, r) = ((moments.count + 1 - lag) as f64, newest[newest.len() - lag]);
                earlier = (earlier.0 - r, earlier.1 - m * r);
            }
            let k = lag as f64;
            let n = moments.count as f64 - k;
            let of_later = (g - b * k) * later.0 + b * later.1;
            let of_earlier = (g + b * k) * earlier.0 + b * earlier.1;
            let sum = g * n + b * n * (n + 1.0) / 2.0;
            let squares = g * g * n + g * b * n * (n + 1.0) + b * b * n * (n + 1.0) * (2.0 * n + 1.0) / 6.0;
            products.push(product - of_later - of_earlier + squares + b * k * sum);
        }
        products
    }
}

/// Lags that may be kept: no more than an eighth of the window's memory, but some also of a short one; and so many that
/// the full pass over a long window does not become one about KPSS.
fn most_lags(n: usize) -> usize {
    (n / 8).clamp(64, 4096).min(n / 4)
}

/// `start + slope·m`.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: f64,
    slope: f64,
}

/// Sums over `m = 1 … count` of deviations `r` and of their running sums `c`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Moments {
    count: usize,
    /// `Σr`, which is the last `c`.
    r: f64,
    /// `Σm·r`.
    mr: f64,
    /// `Σc`.
    c: f64,
    /// `Σm·c`.
    mc: f64,
    /// `Σm²·c`.
    mmc: f64,
    /// `Σc²`.
    cc: f64,
    /// The largest `Σc²` so far: rounding is as large as this makes it.
    largest_cc: f64,
}

impl Moments {
    fn enter(&mut self, r: f64) {
        self.count += 1;
        let m = self.count as f64;
        self.r += r;
        self.mr += m * r;
        self.c += self.r;
        self.mc += m * self.r;
        self.mmc += m * m * self.r;
        self.cc += self.r * self.r;
        self.largest_cc = self.largest_cc.max(self.cc);
    }

    /// Takes the first off, `m = 1` and `c = r`, and counts the others from it.
    fn leave(&mut self, r: f64) {
        self.count -= 1;
        let n = self.count as f64;
        let (c, mc, mmc, cc) = (self.c - r, self.mc - r, self.mmc - r, self.cc - r * r);
        self.r -= r;
        self.mr -= r + self.r;
        self.c = c - n * r;
        self.mc = mc - c - r * n * (n + 1.0) / 2.0;
        self.mmc = mmc - 2.0 * mc + c - r * n * (n + 1.0) * (2.0 * n + 1.0) / 6.0;
        self.cc = cc - 2.0 * r * c + n * r * r;
        self.largest_cc = self.largest_cc.max(self.cc);
    }

    /// The line of least squares through `r`.
    fn line(&self) -> Line {
        let n = self.count as f64;
        let middle = (n + 1.0) / 2.0;
        let slope = (self.mr - middle * self.r) / (n * (n * n - 1.0) / 12.0);
        let start = self.r / n - slope * middle;
        Line { start, slope }
    }

    /// `Σ S²` for the residuals around the line of least squares; `None` where too few digits are left.
    fn squared_partial_sums(&self, line: Line) -> Option<f64> {
        let n = self.count as f64;
        let (p, q) = (line.start + line.slope / 2.0, line.slope / 2.0);
        let squares = n * (n + 1.0) * (2.0 * n + 1.0) / 6.0;
        let cubes = (n * (n + 1.0) / 2.0).powi(2);
        let fourths = squares * (3.0 * n * n + 3.0 * n - 1.0) / 5.0;
        let of_line = p * p * squares + 2.0 * p * q * cubes + q * q * fourths;
        let sum = self.cc - 2.0 * (p * self.mc + q * self.mmc) + of_line;
        let largest = self.largest_cc.max(p * p * squares).max(q * q * fourths);
        (sum > LEAST_SHARE * largest).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpss::kpss_trend;

    /// Uniform in [-0.5, 0.5), the same on every machine.
    fn noise(n: usize) -> impl Iterator<Item = f64> {
        let mut state = 9_u64;
        (0..n).map(move |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        })
    }

    fn summed(x: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut sum = 0.0;
        x.map(|x| {
            sum += x;
            sum
        })
        .collect()
    }

    /// Series of the kinds that the test tells apart.
    fn kinds(n: usize) -> Vec<(&'static str, Vec<f64>)> {
        let of_time = |value: &dyn Fn(f64) -> f64| noise(n).zip(0..).map(|(e, t)| value(f64::from(t)) + e).collect();
        vec![
            ("noise", noise(n).collect()),
            ("offset", of_time(&|_| 1e5)),
            ("walk", summed(noise(n))),
            ("walk with drift", summed(noise(n).map(|e| e + 0.1))),
            ("trend", of_time(&|t| 3.0 * t / n as f64)),
            ("season", of_time(&|t| (t * 0.26).sin() + 0.5 * (t * 0.0374).cos())),
            ("twice summed", summed(summed(noise(n)).into_iter())),
        ]
    }

    /// Moves a window of `n` over the second half of `x`, so many rows at a time; how often it could not be told, of
    /// how many moves, and the largest relative distance from the test of the whole window.
    fn rolled(x: &[f64], rows: usize) -> (usize, usize, f64) {
        let n = x.len() / 2;
        let mut kpss = RollingKpss::anchor(&x[..n]).expect("there is something to test");
        let reach = kpss.reach();
        let (mut unsure, mut moves, mut farthest) = (0, 0, 0.0_f64);
        for first in (0..n - rows).step_by(rows) {
            let oldest = &x[first..first + rows + reach];
            let newest = &x[first + n - reach..first + n + rows];
            moves += 1;
            match kpss.roll(oldest, rows, newest, rows) {
                None => unsure += 1,
                Some(found) => {
                    let whole = kpss_trend(&x[first + rows..first + rows + n]);
                    assert_eq!(found.lags, whole.lags, "{n} {first}");
                    farthest = farthest.max((found.statistic / whole.statistic - 1.0).abs());
                }
            }
        }
        (unsure, moves, farthest)
    }

    #[test]
    fn a_window_that_moved_has_the_statistic_of_the_whole() {
        for (n, rows) in [(100, 1), (100, 6), (365, 1), (1000, 7), (8192, 60)] {
            for (kind, x) in kinds(2 * n) {
                let (unsure, moves, farthest) = rolled(&x, rows);
                assert!(farthest < LEAST_MARGIN / 100.0, "{kind} {n} {rows}: {farthest:e}");
                assert!(unsure * 2 < moves, "{kind} {n} {rows}: {unsure} of {moves}");
            }
        }
    }

    #[test]
    fn a_million_samples_move_as_exactly() {
        for (kind, x) in kinds(2_000_000) {
            let (_, _, farthest) = rolled(&x, 100_000);
            assert!(farthest < LEAST_MARGIN / 10.0, "{kind}: {farthest:e}");
        }
    }
}
