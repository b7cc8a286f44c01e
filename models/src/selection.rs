//! Weights of a convex combination, from how its members did where none of them was fitted.
//!
//! Stacking (Wolpert 1992; Breiman 1996: weights that are not negative and sum to one), by bands of steps, pulled
//! towards weights that are there before any error was seen: a validation stretch is one draw of what the future may be
//! like, and whoever won it narrowly is no better than the second.

use std::ops::Range;

/// Strength of the pull, in units of the best member's mean squared error. Chosen, with the weights that it pulls
/// towards and [`SCREENING`], inside the training parts of public data sets, and on whole other ones.
const PULL: f64 = 8.0;

/// How fast a member's prior part goes as its error grows, where errors are many: by `exp` of minus this, for each time
/// the least error that it is worse. So the pull goes towards an average of those that did about equally well, and a
/// strong one does no harm where some members are hopeless (the trimmed mean of forecast combinations, without its
/// edge).
const SCREENING: f64 = 3.0;

/// Independent errors that it takes to screen half as fast: of a single draw nobody should be judged.
const HALF_SCREENED: f64 = 3.0;

/// Steps after which weights may change: near and far steps have different best members.
const BAND_ENDS: [usize; 4] = [4, 24, 96, 336];

/// Rounds of the solver. The problem is as well conditioned as the pull makes it, and has a handful of unknowns.
const ROUNDS: usize = 500;

/// Bands of steps (from 0), all steps of a horizon once.
pub(crate) fn bands(horizon: usize) -> Vec<Range<usize>> {
    let ends = BAND_ENDS.iter().copied().filter(|end| *end < horizon);
    let mut start = 0;
    ends.chain([horizon])
        .map(|end| std::mem::replace(&mut start, end)..end)
        .collect()
}

/// Weights of members whose mean error products over a validation stretch are these (the lower triangle, by rows),
/// pulled towards shares in proportion to `prior`, [screened](SCREENING) as far as so many `independent`
/// errors tell. They are not negative and sum to one.
///
/// A member with an error that is not finite gets nothing. If none has one, or one of them is never wrong, the first
/// of the best gets all.
pub(crate) fn weights(products: &[Vec<f64>], prior: &[f64], independent: f64) -> Vec<f64> {
    let members = products.len();
    let finite: Vec<usize> = (0..members)
        .filter(|member| products[*member][*member].is_finite())
        .collect();
    let error = |member: &usize| products[*member][*member].max(0.0);
    let Some(best) = finite.iter().copied().min_by(|a, b| error(a).total_cmp(&error(b))) else {
        let mut weights = vec![0.0; members];
        weights[0] = 1.0;
        return weights;
    };
    let mut weights = vec![0.0; members];
    let least = error(&best);
    if least <= f64::MIN_POSITIVE {
        weights[best] = 1.0;
        return weights;
    }
    let screening = SCREENING * independent / (independent + HALF_SCREENED);
    let screened = |member: &usize| prior[*member] * (-screening * (error(member) / least - 1.0)).exp();
    let total: f64 = finite.iter().map(screened).sum();
    let pull: Vec<f64> = finite.iter().map(|member| PULL * screened(member) / total).collect();
    let entry = |a: usize, b: usize| products[a.max(b)][a.min(b)] / least;
    let quadratic: Vec<Vec<f64>> = finite
        .iter()
        .map(|a| {
            let own = |b: &usize| if a == b { PULL } else { 0.0 };
            finite.iter().map(|b| entry(*a, *b) + own(b)).collect()
        })
        .collect();
    for (member, weight) in finite.into_iter().zip(least_on_simplex(&quadratic, &pull)) {
        weights[member] = weight;
    }
    weights
}

/// The point of the simplex with the least `w'Qw − 2·pull'w`, by accelerated projected gradients (Beck and Teboulle
/// 2009).
fn least_on_simplex(quadratic: &[Vec<f64>], pull: &[f64]) -> Vec<f64> {
    let size = quadratic.len();
    // No eigenvalue is above the largest sum of magnitudes of a row.
    let sums = quadratic
        .iter()
        .map(|row| row.iter().map(|entry| entry.abs()).sum::<f64>());
    let steepest = sums.fold(f64::MIN_POSITIVE, f64::max);
    let mut weights = vec![1.0 / size as f64; size];
    let (mut ahead, mut momentum) = (weights.clone(), 1.0_f64);
    for _ in 0..ROUNDS {
        let moved: Vec<f64> = quadratic
            .iter()
            .zip(ahead.iter().zip(pull))
            .map(|(row, (weight, pull))| {
                let slope: f64 = row.iter().zip(&ahead).map(|(entry, weight)| entry * weight).sum();
                weight - (slope - pull) / steepest
            })
            .collect();
        let next = onto_simplex(&moved);
        let grown = (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0;
        ahead = next
            .iter()
            .zip(&weights)
            .map(|(next, before)| next + (momentum - 1.0) / grown * (next - before))
            .collect();
        (weights, momentum) = (next, grown);
    }
    weights
}

/// The nearest point that is nowhere negative and sums to one.
fn onto_simplex(point: &[f64]) -> Vec<f64> {
    let mut descending = point.to_vec();
    descending.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (0.0, 0.0);
    for (count, value) in (1_u32..).zip(&descending) {
        sum += value;
        let candidate = (1.0 - sum) / f64::from(count);
        if value + candidate > 0.0 {
            shift = candidate;
        }
    }
    point.iter().map(|value| (value + shift).max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(products: &[Vec<f64>], prior: &[f64]) -> Vec<f64> {
        weights(products, prior, 1e9)
    }

    #[test]
    fn bands_hold_every_step_once() {
        for horizon in [1, 4, 5, 24, 96, 97, 720] {
            let bands = bands(horizon);
            assert_eq!((bands[0].start, bands[bands.len() - 1].end), (0, horizon));
            assert!(bands.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(bands.iter().all(|band| !band.is_empty()));
        }
    }

    #[test]
    fn the_least_point_of_the_simplex_meets_the_conditions_of_karush_kuhn_and_tucker() {
        let quadratic = vec![
            vec![3.0, 1.2, 0.4, 2.0],
            vec![1.2, 2.5, 0.9, 1.0],
            vec![0.4, 0.9, 2.2, 0.3],
            vec![2.0, 1.0, 0.3, 9.0],
        ];
        let pull = [0.1, 0.0, 0.5, 0.3];
        let weights = least_on_simplex(&quadratic, &pull);
        let slope = |(row, pull): (&Vec<f64>, &f64)| row.iter().zip(&weights).map(|(q, w)| q * w).sum::<f64>() - pull;
        let slopes: Vec<f64> = quadratic.iter().zip(&pull).map(slope).collect();
        let least = slopes.iter().copied().fold(f64::INFINITY, f64::min);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        for (weight, slope) in weights.iter().zip(&slopes) {
            assert!(
                *weight >= 0.0 && (*weight == 0.0 || slope - least < 1e-9),
                "{weights:?} {slopes:?}"
            );
        }
    }

    #[test]
    fn equals_share_as_before_and_the_hopeless_get_next_to_nothing() {
        let same = many(&[vec![1.0], vec![1.0, 1.0]], &[1.0, 3.0]);
        assert!((same[0] - 0.25).abs() < 1e-9);
        let hopeless = many(&[vec![1.0], vec![1.0, 100.0]], &[1.0, 1.0]);
        assert!(hopeless[1] < 0.02, "{hopeless:?}");
        let broken = many(&[vec![1.0], vec![f64::NAN, f64::INFINITY]], &[1.0, 1.0]);
        assert_eq!(broken, [1.0, 0.0]);
        let perfect = many(&[vec![1.0], vec![0.0, 0.0]], &[1.0, 1.0]);
        assert_eq!(perfect, [0.0, 1.0]);
        assert_eq!(many(&[vec![f64::NAN]], &[1.0]), [1.0]);
    }

    #[test]
    fn members_that_err_to_opposite_sides_are_worth_more_together() {
        let second = |product: f64, error: f64| many(&[vec![1.0], vec![product, error]], &[1.0, 1.0])[1];
        assert!(second(-0.9, 1.2) > second(0.9, 1.2) + 0.02);
        assert!(second(-0.9, 2.0) > second(0.9, 2.0) + 0.02);
    }

    #[test]
    fn who_did_nearly_as_well_as_the_best_has_nearly_its_part_and_who_did_badly_has_not() {
        let parts = many(&[vec![1.0], vec![0.9, 1.02], vec![0.9, 0.9, 3.0]], &[1.0, 1.0, 1.0]);
        assert!(parts[1] > 0.9 * parts[0] && parts[2] < 0.02, "{parts:?}");
        let products = [vec![1.0], vec![0.9, 3.0]];
        let share = |independent| weights(&products, &[1.0, 1.0], independent)[1];
        assert!(
            share(0.1) > share(3.0) && share(3.0) > share(100.0),
            "a single draw screens nobody"
        );
    }
}
