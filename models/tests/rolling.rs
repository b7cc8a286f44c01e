//! A fit that rolls with its window is the fit of the whole window.

use std::num::NonZeroUsize;

use forecastd_models::{ChannelFit, Decline, FitSpec, Frequency, GapPolicy, Grid, Level, RollingFit, Series};
use forecastd_models::{Timestamp, WindowMove, fit};
use proptest::prelude::*;

/// What the whole fit and the rolled one may differ by, as a share of the largest number beside it.
const TOLERANCE: f64 = 1e-9;

fn spec(max_lookback: usize, gaps: GapPolicy) -> FitSpec {
    FitSpec {
        horizon: NonZeroUsize::new(24).expect("not zero"),
        levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
        max_lookback,
        gaps,
    }
}

fn series(values: &[f64], first_slot: usize) -> Series {
    Series {
        channel: "c".into(),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(1).expect("positive"),
        },
        first_slot: first_slot as i64,
        values: values.to_vec(),
    }
}

/// The move of a window over `x` from one range of slots to another. Both begin and end with a sample.
fn window_move(x: &[f64], from: (usize, usize), to: (usize, usize), reach: usize) -> WindowMove {
    let sample = |t: &usize| !x[*t].is_nan();
    let oldest_end = (to.0 + reach..to.1)
        .find(sample)
        .expect("the window ends with a sample");
    let newest_start = (0..=from.1 - reach).rev().find(sample).expect("x begins with a sample");
    let window = &x[to.0..to.1];
    WindowMove {
        channel: "c".into(),
        grid: series(&[], 0).grid,
        cutoff_slot: to.1 as i64 - 1,
        oldest: x[from.0..=oldest_end].to_vec(),
        left: to.0 - from.0,
        newest: x[newest_start..to.1].to_vec(),
        entered: to.1 - from.1,
        missing: window.iter().filter(|value| value.is_nan()).count(),
        lowest: window.iter().copied().fold(f64::INFINITY, f64::min),
        highest: window.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}

/// Largest distances of a fit that rolled from the fit of the whole window.
#[derive(Clone, Copy, Debug, Default)]
struct Distance {
    coefficients: f64,
    intercept: f64,
    variance: f64,
    bic: f64,
    forecast: f64,
}

impl Distance {
    fn of(rolled: &ChannelFit, whole: &ChannelFit, spread: f64) -> Self {
        let largest = |values: &[f64]| values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let share = |a: Option<f64>, b: Option<f64>| (a.expect("known") / b.expect("known") - 1.0).abs();
        let coefficients = apart(&rolled.model.coefficients, &whole.model.coefficients);
        let bounds = rolled.forecast.intervals.iter().zip(&whole.forecast.intervals);
        let bounds = bounds.map(|(a, b)| apart(&a.lower, &b.lower).max(apart(&a.upper, &b.upper)));
        let forecast = bounds.fold(apart(&rolled.forecast.mean, &whole.forecast.mean), f64::max);
        Self {
            coefficients: coefficients / largest(&whole.model.coefficients).max(1.0),
            intercept: (rolled.model.intercept - whole.model.intercept).abs() / spread,
            variance: share(rolled.model.variance, whole.model.variance),
            bic: (rolled.model.bic.expect("known") - whole.model.bic.expect("known")).abs(),
            forecast: forecast / spread,
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            coefficients: self.coefficients.max(other.coefficients),
            intercept: self.intercept.max(other.intercept),
            variance: self.variance.max(other.variance),
            bic: self.bic.max(other.bic),
            forecast: self.forecast.max(other.forecast),
        }
    }

    fn largest(self) -> f64 {
        [self.coefficients, self.intercept, self.variance, self.forecast]
            .into_iter()
            .fold(0.0, f64::max)
    }
}

/// How a window went over a series.
#[derive(Debug, Default)]
struct Journey {
    rolled: usize,
    declined: Vec<Decline>,
    distance: Distance,
    num_diffs: [usize; 3],
}

/// Moves a window over `x` by these steps `(left, entered)`, as far as there is something left, and holds every fit
/// against that of the whole window. Gaps at either end of a range are given up as a history does.
fn travel(x: &[f64], start: usize, steps: impl IntoIterator<Item = (usize, usize)>, spec: &FitSpec) -> Journey {
    let whole = |(first, end): (usize, usize)| series(&x[first..end], first);
    let mut journey = Journey::default();
    let mut at = (0, start);
    while x[at.1 - 1].is_nan() {
        at.1 -= 1;
    }
    let mut rolling = RollingFit::anchor(&whole(at), spec).expect("a forecast").1;
    for (left, entered) in steps {
        let mut to = (at.0 + left, at.1 + entered);
        if to.1 > x.len() || to.0 + 20 > to.1 {
            break;
        }
        while x[to.0].is_nan() {
            to.0 += 1;
        }
        while x[to.1 - 1].is_nan() {
            to.1 -= 1;
        }
        if to.1 <= at.1 {
            continue;
        }
        let expected = fit(&whole(to), spec).expect("a forecast");
        let attempt = rolling.take().map(|rolling| {
            let moved = window_move(x, at, to, rolling.reach());
            rolling.roll(&moved, spec)
        });
        rolling = match attempt {
            Some(Ok((found, rolling))) => {
                let window = x[to.0..to.1].iter();
                let (low, high) = window.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
                let size = (high - low).max(1e-6 * high.abs().max(low.abs()));
                assert_eq!(
                    (
                        found.model.num_diff,
                        found.model.order,
                        found.model.max_order,
                        found.filled
                    ),
                    (
                        expected.model.num_diff,
                        expected.model.order,
                        expected.model.max_order,
                        expected.filled
                    )
                );
                assert_eq!(found.forecast.cutoff_slot, expected.forecast.cutoff_slot);
                journey.distance = journey.distance.max(Distance::of(&found, &expected, size));
                journey.rolled += 1;
                journey.num_diffs[found.model.num_diff] += 1;
                Some(rolling)
            }
            attempt => {
                journey.declined.extend(attempt.and_then(Result::err));
                let (found, rolling) = RollingFit::anchor(&whole(to), spec).expect("a forecast");
                assert_eq!(found, expected, "an anchor is the fit of the whole window, to the bit");
                rolling
            }
        };
        at = to;
    }
    journey
}

/// Uniform in [-0.5, 0.5), the same on every machine.
fn noise(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    (0..20).for_each(|_| _ = next());
    (0..n).map(|_| next()).collect()
}

fn summed(x: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let sums = x.iter().map(|x| {
        sum += x;
        sum
    });
    sums.collect()
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Noise,
    Autoregression,
    Season,
    Trend,
    Walk,
    SeasonalWalk,
    TwiceSummed,
    LevelShift,
}

const KINDS: [Kind; 8] = [
    Kind::Noise,
    Kind::Autoregression,
    Kind::Season,
    Kind::Trend,
    Kind::Walk,
    Kind::SeasonalWalk,
    Kind::TwiceSummed,
    Kind::LevelShift,
];

impl Kind {
    fn series(self, seed: u64, n: usize) -> Vec<f64> {
        let noise = noise(seed, n);
        let wave = |t: usize| (t as f64 * 0.2618).sin() + 0.5 * (t as f64 * 0.0374).cos();
        let of_time = |value: &dyn Fn(usize) -> f64| noise.iter().enumerate().map(|(t, e)| value(t) + e).collect();
        match self {
            Self::Noise => noise,
            Self::Autoregression => {
                let (mut before, mut last) = (0.0, 0.0);
                let next = |e: &f64| {
                    (before, last) = (last, 0.6 * last + 0.2 * before + e);
                    100.0 + last
                };
                noise.iter().map(next).collect()
            }
            Self::Season => of_time(&wave),
            Self::Trend => of_time(&|t| 0.01 * t as f64),
            Self::Walk => summed(&noise),
            Self::SeasonalWalk => summed(&noise)
                .iter()
                .enumerate()
                .map(|(t, x)| x + 3.0 * wave(t))
                .collect(),
            Self::TwiceSummed => summed(&summed(&noise)),
            Self::LevelShift => of_time(&|t| if t > n / 2 { 4.0 } else { 0.0 }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_window_that_moves_has_the_fit_of_the_whole_after_every_move(
        kind in prop::sample::select(&KINDS[..]),
        seed in any::<u64>(),
        start in 40..400_usize,
        steps in prop::collection::vec((0..9_usize, 1..9_usize), 1..60),
        max_lookback in 1..60_usize,
        policy in prop_oneof![Just(GapPolicy::Interpolate), Just(GapPolicy::Hold)],
        gap in prop_oneof![Just(usize::MAX), 3..30_usize],
        scale in prop_oneof![Just(1.0), Just(1e-200), Just(1e150), Just(3e4)],
    ) {
        let mut x: Vec<f64> = kind.series(seed, 1000).iter().map(|x| x * scale).collect();
        for t in (1..x.len()).filter(|t| t % gap < 2 && t / gap % 3 > 0) {
            x[t] = f64::NAN;
        }
        let journey = travel(&x, start, steps, &spec(max_lookback, policy));
        prop_assert!(journey.distance.largest() < TOLERANCE, "{journey:?}");
    }
}

#[test]
fn windows_of_every_kind_roll_nearly_always() {
    for kind in KINDS {
        let x = kind.series(5, 3000);
        let journey = travel(&x, 1500, [(7, 7); 200], &spec(48, GapPolicy::Interpolate));
        assert!(journey.distance.largest() < TOLERANCE, "{kind:?}: {journey:?}");
        assert!(journey.rolled >= 195, "{kind:?}: {journey:?}");
    }
}

#[test]
fn differences_of_every_number_roll() {
    let rolled_with = |kind: Kind| {
        let x = kind.series(5, 1000);
        travel(&x, 500, [(3, 3); 30], &spec(24, GapPolicy::Interpolate)).num_diffs
    };
    let num_diffs = [Kind::Season, Kind::Walk, Kind::TwiceSummed].map(rolled_with);
    assert_eq!(num_diffs, [[30, 0, 0], [0, 30, 0], [0, 0, 30]]);
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "how rounding grows is worth seeing before it is too much"
)]
fn rounding_stays_far_below_the_tolerance_until_the_next_anchor() {
    const WINDOW: usize = 4096;
    for kind in [Kind::Autoregression, Kind::Season, Kind::SeasonalWalk] {
        let x = kind.series(3, 2 * WINDOW);
        let spec = spec(128, GapPolicy::Interpolate);
        let mut rolling = RollingFit::anchor(&series(&x[..WINDOW], 0), &spec)
            .expect("a forecast")
            .1
            .expect("it rolls");
        for first in 1..WINDOW {
            let moved = window_move(
                &x,
                (first - 1, first - 1 + WINDOW),
                (first, first + WINDOW),
                rolling.reach(),
            );
            let (found, next) = rolling
                .roll(&moved, &spec)
                .unwrap_or_else(|why| panic!("{kind:?} {first}: {why}"));
            rolling = next;
            if first % 512 == 511 {
                let expected = fit(&series(&x[first..first + WINDOW], first), &spec).expect("a forecast");
                let distance = Distance::of(&found, &expected, 1.0);
                println!("{kind:?}, {first} rows: {distance:?}");
                assert!(distance.largest() < TOLERANCE, "{kind:?} {first}: {distance:?}");
            }
        }
        let moved = window_move(&x, (WINDOW - 1, 2 * WINDOW - 1), (WINDOW, 2 * WINDOW), rolling.reach());
        let rolling = rolling.roll(&moved, &spec).expect("the last row before it is old").1;
        let moved = WindowMove {
            entered: 1,
            left: 1,
            ..moved
        };
        assert_eq!(
            rolling.roll(&moved, &spec).expect_err("a whole window has entered"),
            Decline::Old
        );
    }
}

/// What the first move by `step` says of a calm series that goes on as `value` behind the window.
fn declined(value: impl Fn(usize) -> f64, window: usize, step: (usize, usize), spec: &FitSpec) -> Option<Decline> {
    let mut x = Kind::Autoregression.series(8, 2000);
    for (t, x) in x.iter_mut().enumerate().skip(window) {
        *x = value(t);
    }
    let rolling = RollingFit::anchor(&series(&x[..window], 0), spec)
        .expect("a forecast")
        .1
        .expect("it rolls");
    let to = (step.0, window + step.1);
    let moved = window_move(&x, (0, window), to, rolling.reach());
    rolling.roll(&moved, spec).err()
}

#[test]
fn what_rolling_cannot_tell_is_declined_by_name() {
    let calm = |t: usize| 100.0 + (t as f64 * 0.3).sin();
    let spec = spec(24, GapPolicy::Interpolate);
    let strict = FitSpec {
        gaps: GapPolicy::Error,
        ..spec.clone()
    };
    let gap_then_calm = |t: usize| if t == 501 { f64::NAN } else { calm(t) };
    for (name, found, reason) in [
        ("nothing is wrong", declined(calm, 500, (9, 9), &spec), None),
        (
            "too many rows",
            declined(calm, 500, (63, 63), &spec),
            Some(Decline::Far),
        ),
        (
            "a longer window bears one lag more",
            declined(calm, 80, (0, 4), &spec),
            Some(Decline::OrderCap),
        ),
        (
            "a gap where none may be",
            declined(gap_then_calm, 500, (9, 9), &strict),
            Some(Decline::Gaps),
        ),
        (
            "the same gap where it is filled",
            declined(gap_then_calm, 500, (9, 9), &spec),
            None,
        ),
        (
            "far larger",
            declined(|t| calm(t) * 1e3, 500, (9, 9), &spec),
            Some(Decline::Magnitude),
        ),
        (
            "not finite",
            declined(|_| f64::INFINITY, 500, (9, 9), &spec),
            Some(Decline::Magnitude),
        ),
        (
            "another level",
            declined(|t| calm(t) + 20.0, 500, (60, 60), &spec),
            Some(Decline::Differences),
        ),
    ] {
        assert_eq!(found, reason, "{name}");
    }
}

#[test]
fn what_cannot_roll_gives_no_statistics() {
    let rolls = |x: &[f64]| {
        RollingFit::anchor(&series(x, 0), &spec(24, GapPolicy::Hold))
            .expect("a forecast")
            .1
            .is_some()
    };
    assert!(rolls(&noise(1, 300)));
    let sine: Vec<f64> = (0..300).map(|t| (f64::from(t) * 0.3).sin()).collect();
    let exploding: Vec<f64> = (0..40).map(|t| 1.5_f64.powi(t)).collect();
    for x in [&[4.2; 100][..], &noise(1, 9), &sine, &exploding] {
        assert!(!rolls(x), "{x:?}");
    }
}
