//! What holds for every series: fast forms equal their definitions, and nothing that comes out is not a number.

use std::num::NonZeroUsize;

use forecastd_models::gram::LagGram;
use forecastd_models::lag_products::LagProducts;
use forecastd_models::order::OrderPath;
use forecastd_models::{ChannelFit, FitFailure, FitSpec, ForecastMap, Frequency, GapPolicy, Grid, Level, Series};
use forecastd_models::{Timestamp, fit};
use proptest::collection::vec;
use proptest::prelude::*;

fn steps(horizon: usize) -> NonZeroUsize {
    NonZeroUsize::new(horizon).expect("horizons here start at one")
}

/// Residual sum of squares of `y[t]` on a constant and `order` lags over `t = top …`: each column made orthogonal to
/// those before it, twice, which is all that least squares is.
fn naive_rss(y: &[f64], top: usize, order: usize) -> f64 {
    let lagged = |lag: usize| y[top - lag..y.len() - lag].to_vec();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let columns = std::iter::once(vec![1.0; y.len() - top]).chain((1..=order).map(lagged));
    for mut column in columns.chain([lagged(0)]) {
        for direction in basis.iter().chain(&basis) {
            let share = product(&column, direction) / product(direction, direction);
            column
                .iter_mut()
                .zip(direction)
                .for_each(|(entry, direction)| *entry -= share * direction);
        }
        basis.push(column);
    }
    product(&basis[order + 1], &basis[order + 1])
}

/// Forecasts by the definition: difference, apply the coefficients, take the differences off again, append, repeat.
fn recursion(samples: &[f64], coefficients: &[f64], num_diff: usize, intercept: f64, horizon: usize) -> Vec<f64> {
    let mut x = samples.to_vec();
    for _ in 0..horizon {
        let mut levels = vec![x.clone()];
        for d in 0..num_diff {
            levels.push(levels[d].windows(2).map(|pair| pair[1] - pair[0]).collect());
        }
        let y = &levels[num_diff];
        let lags = coefficients
            .iter()
            .zip(y.iter().rev())
            .map(|(coefficient, y)| coefficient * y);
        let ends = levels[..num_diff].iter().map(|level| level[level.len() - 1]);
        x.push(intercept + lags.sum::<f64>() + ends.sum::<f64>());
    }
    x.split_off(samples.len())
}

fn fit_values(
    values: Vec<f64>,
    horizon: usize,
    max_lookback: usize,
    gaps: GapPolicy,
) -> Result<ChannelFit, FitFailure> {
    let series = Series {
        channel: "any".into(),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(1).expect("positive"),
        },
        first_slot: -3,
        values,
    };
    let spec = FitSpec {
        horizon: steps(horizon),
        levels: [0.8, 0.999].into_iter().filter_map(Level::new).collect(),
        max_lookback,
        gaps,
    };
    fit(&series, &spec)
}

/// Runs of all that a column may hold.
fn awkward_values() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        4 => -10.0..10.0,
        2 => any::<f64>(),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::MAX), Just(-f64::MAX), Just(1e300), Just(-1e300)],
        1 => prop_oneof![Just(5e-324), Just(-5e-324), Just(1e-308), Just(0.0), Just(-0.0)],
        2 => 1e6..1.000_001e6,
    ];
    let run = prop_oneof![
        (value.clone(), 1..30_usize).prop_map(|(value, length)| vec![value; length]),
        vec(value, 1..30),
        (any::<f64>(), -1.1..1.1, 1..60)
            .prop_map(|(start, growth, length)| { (0..length).map(|t| start * f64::powi(growth, t)).collect() }),
        (-1e3..1e3, 0.0..3.0, 1..60)
            .prop_map(|(size, pace, length)| { (0..length).map(|t| size * f64::sin(pace * f64::from(t))).collect() }),
    ];
    vec(run, 0..6).prop_map(|runs| runs.concat())
}

fn policies() -> impl Strategy<Value = GapPolicy> {
    prop_oneof![
        Just(GapPolicy::Interpolate),
        Just(GapPolicy::Hold),
        Just(GapPolicy::Error)
    ]
}

fn is_sound(fit: &ChannelFit, horizon: usize) -> bool {
    let ChannelFit { model, forecast, .. } = fit;
    let bounds = forecast
        .intervals
        .iter()
        .flat_map(|interval| [&interval.lower, &interval.upper]);
    let mut vectors = bounds.chain([&forecast.mean]);
    let single = [Some(model.intercept), model.variance, model.bic];
    vectors.all(|vector| vector.len() == horizon && vector.iter().all(|value| value.is_finite()))
        && model.coefficients.len() == model.order
        && model.coefficients.iter().all(|coefficient| coefficient.is_finite())
        && single.into_iter().flatten().all(f64::is_finite)
}

proptest! {
    #[test]
    fn the_displacement_gram_equals_the_sums_of_products(y in vec(-1.0..1.0, 1..120), order in 0..40_usize) {
        let order = order.min(y.len() - 1);
        let gram = LagGram::new(&LagProducts::new(&y, order));
        let largest: f64 = y.iter().map(|y| y * y).sum();
        for i in 0..=order {
            for j in 0..=order {
                let literal: f64 = (order..y.len()).map(|t| y[t - i] * y[t - j]).sum();
                prop_assert!((gram.product(i, j) - literal).abs() <= 1e-10 * largest, "{i} {j}");
            }
        }
    }

    #[test]
    fn every_order_leaves_the_residual_of_its_own_least_squares(y in vec(-1.0..1.0, 60..150), order in 0..15_usize) {
        let path = OrderPath::new(&LagProducts::new(&y, order), 0.0);
        prop_assert_eq!(path.highest(), order);
        for p in 0..=order {
            let naive = naive_rss(&y, order, p);
            prop_assert!((path.rss(p) - naive).abs() <= 1e-9 * naive, "{}: {} {}", p, path.rss(p), naive);
        }
    }

    #[test]
    fn the_forecast_map_equals_the_recursion(
        samples in vec(-5.0..5.0, 12..30),
        coefficients in vec(-0.4..0.4, 0..9),
        num_diff in 0..3_usize,
        intercept in -1.0..1.0,
        horizon in 1..25_usize,
    ) {
        let map = ForecastMap::new(&coefficients, num_diff, steps(horizon));
        let literal = recursion(&samples, &coefficients, num_diff, intercept, horizon);
        let size = literal.iter().fold(1.0, |size: f64, value| size.max(value.abs()));
        for (found, expected) in map.mean(&samples, 0.0, intercept).iter().zip(&literal) {
            prop_assert!((found - expected).abs() <= 1e-10 * size, "{found} {expected}");
        }
    }

    #[test]
    fn a_fit_never_panics_and_never_gives_what_is_not_a_number(
        values in awkward_values(), horizon in 1..100_usize, max_lookback in 0..70_usize, gaps in policies(),
    ) {
        match fit_values(values.clone(), horizon, max_lookback, gaps) {
            Ok(fit) => prop_assert!(is_sound(&fit, horizon), "{fit:?}"),
            Err(FitFailure::NoSamples) => prop_assert!(values.iter().all(|value| value.is_nan())),
            Err(FitFailure::Gaps { missing }) => {
                prop_assert!(gaps == GapPolicy::Error && values.iter().filter(|value| value.is_nan()).count() >= missing);
            }
            Err(FitFailure::NotFinite) => {
                prop_assert!(values.iter().any(|value| value.is_infinite() || value.abs() > 1e290), "{values:?}");
            }
            Err(FitFailure::Panicked { message }) => prop_assert!(false, "{message}"),
        }
    }

    #[test]
    fn the_same_series_gives_the_same_bits(values in awkward_values(), horizon in 1..40_usize) {
        let again = fit_values(values.clone(), horizon, 24, GapPolicy::Hold);
        prop_assert_eq!(fit_values(values, horizon, 24, GapPolicy::Hold), again);
    }
}
