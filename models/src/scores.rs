//! The scores of forecasting competitions: MASE, sMAPE, and OWA against Naive2.
//!
//! Definitions are those of M4 (Makridakis, Spiliotis and Assimakopoulos, *The M4 Competition: 100,000 time series and
//! 61 forecasting methods*, 2020), as its published code has them. A NaN in what came true is a cell that nobody knows,
//! and no score looks at it.

use std::num::NonZeroUsize;

/// The 95 % quantile of the normal distribution, as M4 has it: a two-sided test at 90 %.
const SEASONALITY_QUANTILE: f64 = 1.645;

/// Seasons that a series must have before the test is made.
const SEASONS_TESTED: usize = 3;

/// The symmetric mean absolute percentage error, from 0 to 200. `None` if nothing of the truth is known.
///
/// A forecast of zero for a zero is right, though both halves of its fraction vanish.
pub fn smape(truth: &[f64], forecast: &[f64]) -> Option<f64> {
    mean_of_known(truth, forecast, |truth, forecast| {
        let size = truth.abs() + forecast.abs();
        if size > 0.0 {
            200.0 * (truth - forecast).abs() / size
        } else {
            0.0
        }
    })
}

/// The mean absolute error, in units of [`mase_scale`]. `None` if nothing of the truth is known.
pub fn mase(truth: &[f64], forecast: &[f64], scale: f64) -> Option<f64> {
    mean_of_known(truth, forecast, |truth, forecast| (truth - forecast).abs() / scale)
}

fn mean_of_known(truth: &[f64], forecast: &[f64], term: impl Fn(f64, f64) -> f64) -> Option<f64> {
    let known = truth.iter().zip(forecast).filter(|(truth, _)| !truth.is_nan());
    let terms: Vec<f64> = known.map(|(truth, forecast)| term(*truth, *forecast)).collect();
    (!terms.is_empty()).then(|| terms.iter().sum::<f64>() / terms.len() as f64)
}

/// The mean absolute error of the seasonal naive within the samples. `None` if they have not more than a season, or it
/// is never wrong: such a series cannot be scored by MASE.
pub fn mase_scale(train: &[f64], season: NonZeroUsize) -> Option<f64> {
    let later = train.get(season.get()..)?;
    let sum: f64 = later.iter().zip(train).map(|(now, before)| (now - before).abs()).sum();
    let scale = sum / later.len() as f64;
    (scale > 0.0 && scale.is_finite()).then_some(scale)
}

/// The overall weighted average: the mean of both scores, each as a share of Naive2's. Arguments are MASE and sMAPE,
/// averaged over the series first. `None` if Naive2 is never wrong.
pub fn owa((mase, smape): (f64, f64), naive2: (f64, f64)) -> Option<f64> {
    (naive2.0 > 0.0 && naive2.1 > 0.0).then(|| (mase / naive2.0 + smape / naive2.1) / 2.0)
}

/// Naive2: the newest sample without its season's share, times the shares of the seasons to come. Without a season
/// that shows, the newest sample.
///
/// # Panics
///
/// If there is no sample.
pub fn naive2(train: &[f64], season: NonZeroUsize, horizon: usize) -> Vec<f64> {
    let newest = *train.last().expect("a naive forecast repeats a sample");
    let indices = is_seasonal(train, season)
        .then(|| seasonal_indices(train, season))
        .flatten();
    let Some(indices) = indices else {
        return vec![newest; horizon];
    };
    let phase = |time: usize| indices[time % season.get()];
    let adjusted = newest / phase(train.len() - 1);
    (0..horizon).map(|step| adjusted * phase(train.len() + step)).collect()
}

/// Whether the autocorrelation at the season is beyond what chance allows in nine of ten cases, given those before it.
fn is_seasonal(train: &[f64], season: NonZeroUsize) -> bool {
    let (n, season) = (train.len(), season.get());
    if season == 1 || n < SEASONS_TESTED * season {
        return false;
    }
    let correlations = autocorrelations(train, season);
    let before: f64 = correlations[..season - 1].iter().map(|r| r * r).sum();
    let limit = SEASONALITY_QUANTILE * ((1.0 + 2.0 * before) / n as f64).sqrt();
    correlations[season - 1].abs() > limit // never so where they are NaN: nothing moves
}

/// Of lags 1 to `most`.
fn autocorrelations(x: &[f64], most: usize) -> Vec<f64> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let deviations: Vec<f64> = x.iter().map(|x| x - mean).collect();
    let product = |lag: usize| -> f64 {
        let pairs = deviations[lag..].iter().zip(&deviations);
        pairs.map(|(now, before)| now * before).sum()
    };
    let energy = product(0);
    (1..=most).map(|lag| product(lag) / energy).collect()
}

/// Classical multiplicative decomposition: each phase's mean share of the centred moving average, scaled to a mean of
/// one. `None` where a share is not positive and finite, and dividing by it would mean nothing.
///
/// # Panics
///
/// If there are not two seasons.
fn seasonal_indices(train: &[f64], season: NonZeroUsize) -> Option<Vec<f64>> {
    let season = season.get();
    let half = season / 2;
    // An even season has no middle: the two ends count half each.
    let end_weight = if season.is_multiple_of(2) { 0.5 } else { 1.0 };
    let mut sums = vec![(0.0, 0.0); season];
    for (centre, around) in (half..).zip(train.windows(2 * half + 1)) {
        let inner: f64 = around[1..2 * half].iter().sum();
        let trend = (inner + end_weight * (around[0] + around[2 * half])) / season as f64;
        let (sum, count) = &mut sums[centre % season];
        *sum += train[centre] / trend;
        *count += 1.0;
    }
    let shares: Vec<f64> = sums.iter().map(|(sum, count)| sum / count).collect();
    let mean = shares.iter().sum::<f64>() / season as f64;
    let indices: Vec<f64> = shares.iter().map(|share| share / mean).collect();
    let usable = indices.iter().all(|index| *index > 0.0 && index.is_finite());
    usable.then_some(indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).expect("not zero")
    }

    #[test]
    fn scores_are_what_can_be_reckoned_by_hand() {
        assert_eq!(smape(&[1.0, 3.0], &[3.0, 1.0]), Some(100.0));
        assert_eq!(smape(&[0.0, 1.0], &[0.0, -1.0]), Some(100.0));
        assert_eq!(mase_scale(&[1.0, 2.0, 4.0, 7.0], size(1)), Some(2.0));
        assert_eq!(mase_scale(&[1.0, 2.0, 4.0, 7.0], size(2)), Some(4.0));
        assert_eq!(mase(&[1.0, 3.0], &[3.0, 1.0], 4.0), Some(0.5));
        assert_eq!(owa((1.0, 5.0), (2.0, 5.0)), Some(0.75));
    }

    #[test]
    fn what_nobody_knows_is_left_out_and_what_cannot_be_scored_has_no_score() {
        assert_eq!(smape(&[f64::NAN, 3.0], &[9.0, 1.0]), Some(100.0));
        assert_eq!(smape(&[f64::NAN], &[9.0]), None);
        assert_eq!(mase(&[], &[], 1.0), None);
        for train in [&[][..], &[1.0, 2.0], &[1.0, 2.0, 1.0, 2.0]] {
            assert_eq!(mase_scale(train, size(2)), None, "{train:?}");
        }
        assert_eq!(owa((1.0, 5.0), (0.0, 0.0)), None);
    }

    #[test]
    fn naive2_knows_a_season_that_shows_and_no_other() {
        let seasonal: Vec<f64> = (0..40).map(|t| [1.0, 2.0, 3.0, 2.0][t % 4]).collect();
        for (step, forecast) in naive2(&seasonal, size(4), 6).iter().enumerate() {
            assert!((forecast - [1.0, 2.0, 3.0, 2.0][step % 4]).abs() < 1e-12);
        }
        assert_eq!(
            naive2(&seasonal[..11], size(4), 2),
            [3.0; 2],
            "fewer than three seasons"
        );
        assert_eq!(naive2(&seasonal, size(1), 2), [2.0; 2]);
        assert_eq!(naive2(&[5.0; 40], size(4), 2), [5.0; 2], "nothing moves");
        let around_zero: Vec<f64> = (0..40).map(|t| [1.0, -1.0, -1.0, 1.0][t % 4]).collect();
        assert_eq!(naive2(&around_zero, size(4), 1), [1.0], "there is no share of nothing");
    }
}
