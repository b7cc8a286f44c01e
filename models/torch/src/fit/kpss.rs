//! How often each channel is differenced: the test of `forecastd_models::kpss`, all channels at once.

use forecastd_models::kpss::CRITICAL_5_PERCENT;
use tch::{Kind, TchError, Tensor};

use super::correlation::correlation;
use super::parts::Parts;
use super::{counted, download, mean, rows, sum};

/// Differences that a test decides about; after that many there is one more, and no test.
const TESTED: usize = 2;

/// Arrays as long as a window that the test holds at once.
const ARRAYS: usize = 16;

/// Residuals of this many roundings of the largest sample may be nothing else. Well above what the CPU takes for it.
const ROUNDINGS: f64 = 64.0;

/// As near as this to the critical value, rounding may decide.
const NEAR_CRITICAL: f64 = 1e-9;

/// As near as this to a whole number, rounding may decide about one lag more.
const NEAR_WHOLE: f64 = 1e-6;

/// Numbers of the channels that pass after 0, 1 and 2 differences. Those that are not sure are in none.
pub(super) fn by_num_diff(samples: &Tensor, parts: &Parts) -> Result<[Vec<usize>; TESTED + 1], TchError> {
    let length = samples.size()[1] as usize;
    let mut left: Vec<usize> = (0..samples.size()[0] as usize).collect();
    let mut groups = std::array::from_fn(|_| Vec::new());
    for (num_diff, group) in groups.iter_mut().take(TESTED).enumerate() {
        let tests = parts.each(&left, ARRAYS * length * size_of::<f64>(), |part| {
            let tests = test(&differenced(&rows(samples, part)?, num_diff)?)?;
            Ok(part.iter().copied().zip(tests).collect::<Vec<_>>())
        })?;
        let decided = tests
            .into_iter()
            .flatten()
            .filter_map(|(channel, numbers)| Some((channel, verdict(numbers)?)));
        let (passed, failed): (Vec<_>, Vec<_>) = decided.partition(|(_, passes)| *passes);
        *group = passed.into_iter().map(|(channel, _)| channel).collect();
        left = failed.into_iter().map(|(channel, _)| channel).collect();
    }
    groups[TESTED] = left;
    Ok(groups)
}

/// Each row's differences, so many times.
pub(super) fn differenced(samples: &Tensor, num_diff: usize) -> Result<Tensor, TchError> {
    let mut y = samples.shallow_clone();
    for _ in 0..num_diff {
        let moves = y.size()[1] - 1;
        y = y.f_narrow(1, 1, moves)?.f_sub(&y.f_narrow(1, 0, moves)?)?;
    }
    Ok(y)
}

/// Of each row statistic, lags before they are cut to a whole number, root mean square of the residuals, and largest
/// sample.
fn test(x: &Tensor) -> Result<Vec<[f64; 4]>, TchError> {
    let n = x.size()[1] as f64;
    let residuals = detrended(x)?;
    let lags = automatic_lags(&residuals)?;
    // They become indices, which must lie within: one beyond costs a GPU its context. What is no number is no verdict.
    let whole = lags.f_nan_to_num(0.0, n, 0.0)?.f_floor()?.f_clamp(0.0, n - 1.0)?;
    let partial_sums = residuals.f_cumsum(1, Kind::Double)?.f_constant_pad_nd([1, 0])?;
    let spread = sum(&partial_sums.f_square()?)?.f_div_scalar(n * n)?;
    let statistic = spread.f_div(&long_run_variance(&partial_sums, &whole)?)?;
    let rms = mean(&residuals.f_square()?)?.f_sqrt()?.f_squeeze_dim(1)?;
    let largest = x.f_abs()?.f_amax(1, false)?;
    download([&statistic, &lags, &rms, &largest])
}

/// Whether a row passes; `None` where that is not sure.
fn verdict([statistic, lags, rms, largest]: [f64; 4]) -> Option<bool> {
    let moves = rms > ROUNDINGS * f64::EPSILON * largest;
    let clear_of_whole = (lags - lags.round()).abs() > NEAR_WHOLE * lags.max(1.0);
    let clear_of_critical = (statistic / CRITICAL_5_PERCENT - 1.0).abs() > NEAR_CRITICAL;
    (moves && clear_of_whole && clear_of_critical).then_some(statistic < CRITICAL_5_PERCENT)
}

/// In two rounds, as on the CPU, for a large offset leaves something of itself in the first.
fn detrended(x: &Tensor) -> Result<Tensor, TchError> {
    let n = x.size()[1];
    let middle = (n - 1) as f64 / 2.0;
    let times = counted(n, x.device())?.f_sub_scalar(middle)?;
    let squares = n as f64 * ((n * n) as f64 - 1.0) / 12.0;
    let mut residuals = x.shallow_clone();
    for _ in 0..2 {
        let around_mean = residuals.f_sub(&mean(&residuals)?)?;
        let slopes = around_mean.f_matmul(&times)?.f_div_scalar(squares)?;
        residuals = around_mean.f_sub(&slopes.f_unsqueeze(1)?.f_mul(&times)?)?;
    }
    Ok(residuals)
}

/// Before they are cut to a whole number.
fn automatic_lags(residuals: &Tensor) -> Result<Tensor, TchError> {
    let n = residuals.size()[1] as f64;
    let highest = n.powf(2.0 / 9.0) as i64;
    let products = correlation(residuals, residuals, highest)?;
    let weights = Tensor::f_full([highest + 1], 2.0, (Kind::Double, residuals.device()))?;
    let _ = weights.f_narrow(0, 0, 1)?.f_fill_(1.0)?;
    let s0 = products.f_matmul(&weights)?;
    let s1 = products.f_matmul(&weights.f_mul(&counted(highest + 1, residuals.device())?)?)?;
    let ratio = s1.f_div(&s0)?;
    ratio
        .f_square()?
        .f_pow_tensor_scalar(1.0 / 3.0)?
        .f_mul_scalar(1.1447 * n.powf(1.0 / 3.0))
}

/// By the sums of squares over all windows of `lags + 1` neighbours, counting those that hang over the ends. The
/// windows that end inside are found by where they begin; those that hang over the end by what lies before them.
fn long_run_variance(partial_sums: &Tensor, lags: &Tensor) -> Result<Tensor, TchError> {
    let n = partial_sums.size()[1] - 1;
    let window = lags.f_add_scalar(1.0)?.f_unsqueeze(1)?;
    let times = counted(n + 1, partial_sums.device())?;
    let begin = times
        .f_narrow(0, 1, n)?
        .f_sub(&window)?
        .f_clamp_min(0.0)?
        .f_to_kind(Kind::Int64)?;
    let inside = partial_sums
        .f_narrow(1, 1, n)?
        .f_sub(&partial_sums.f_gather(1, &begin, false)?)?;
    let hangs_over = times.f_unsqueeze(0)?.f_add(&window)?.f_gt(n as f64)?;
    let over = partial_sums
        .f_narrow(1, n, 1)?
        .f_sub(partial_sums)?
        .f_mul(&hangs_over)?;
    let squares = sum(&inside.f_square()?)?.f_add(&sum(&over.f_square()?)?)?;
    squares.f_div(&window.f_squeeze_dim(1)?.f_mul_scalar(n as f64)?)
}

#[cfg(test)]
mod tests {
    use forecastd_models::kpss::kpss_trend;

    use super::*;

    #[test]
    fn the_statistic_is_that_of_plain_rust() {
        for n in [3, 10, 41, 500] {
            let sine = |t: i64, f: f64| (t as f64 * f).sin();
            let rough: Vec<f64> = (0..n).map(|t| sine(t, 0.7) + sine(t * t, 0.013)).collect();
            let slow: Vec<f64> = (0..n).map(|t| sine(t, 0.01) + 0.1 * sine(t, 1.9)).collect();
            let lifted: Vec<f64> = rough.iter().map(|value| 1e3 + value).collect();
            let rows = [&rough, &slow, &lifted];
            let samples = Tensor::from_slice(&rows.map(Vec::as_slice).concat()).reshape([3, n]);
            for (x, [statistic, lags, ..]) in rows.into_iter().zip(test(&samples).expect("numbers")) {
                let expected = kpss_trend(x);
                assert_eq!((lags as usize).min(x.len() - 1), expected.lags, "{n}");
                let error = statistic / expected.statistic - 1.0;
                assert!(
                    error.abs() < 1e-10,
                    "{n}: {statistic} instead of {}",
                    expected.statistic
                );
            }
        }
    }

    #[test]
    fn what_rounding_could_turn_is_not_decided() {
        let sure = [0.1, 7.4, 0.3, 1.0];
        assert_eq!(verdict(sure), Some(true));
        assert_eq!(verdict([0.2, 7.4, 0.3, 1.0]), Some(false));
        let odd = [
            (0, 0.146 * (1.0 + 1e-10)),
            (0, 0.146),
            (1, 8.0 - 1e-8),
            (1, 7.0),
            (2, 1e-15),
            (0, f64::NAN),
            (1, f64::NAN),
            (3, f64::INFINITY),
        ];
        for (place, value) in odd {
            let mut numbers = sure;
            numbers[place] = value;
            assert_eq!(verdict(numbers), None, "{place} {value}");
        }
    }
}
