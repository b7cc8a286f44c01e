//! The search for the order against statsmodels, on a thousand channels of every kind: `golden/order_search.txt`,
//! written by `tests/reference/order_search.py`, which says what stands in it.
//!
//! The channels are made here again, of integers with `+`, `-` and `*` alone; their hashes stand in the file.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use forecastd_models::lag_products::LagProducts;
use forecastd_models::order::{OrderPath, PathEnd};
use forecastd_models::{FitSpec, FittedAr, Frequency, GapPolicy, Grid, Series, Timestamp, fit};

/// How far a BIC may be from the truth.
const TOLERANCE: f64 = 1e-6;

/// Families whose residuals may be less than a millionth of the sum of squares. The search goes by sums of squares, and
/// the rounding of the whole sum is that of the little that is left: where that is a share `s`, a BIC over `N` rows
/// moves by `N·ε/s` for each rounding.
const HARD: [&str; 3] = ["steep_trend", "two_unit_roots", "quiet_seasonal"];

/// So many roundings, that is, beyond which the BIC of a hard family may not be.
const ROUNDINGS: f64 = 128.0;

/// What the file says of a channel.
struct Truth {
    family: String,
    number: u64,
    samples: usize,
    max_order: usize,
    hash: u64,
    /// The order that statsmodels chose, where it could tell.
    order: Option<usize>,
    /// Of every order; from the first that leaves no residual, minus infinity, and none after it.
    bic: Vec<f64>,
}

impl Truth {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let [family, number, samples, max_order, hash, _source, order, bic @ ..] = &words[..] else {
            panic!("seven words and the BICs: {line}");
        };
        Self {
            family: (*family).to_owned(),
            number: number.parse().expect("a number"),
            samples: samples.parse().expect("a count"),
            max_order: max_order.parse().expect("an order"),
            hash: u64::from_str_radix(hash, 16).expect("hexadecimal"),
            order: order.parse().ok(),
            bic: bic.iter().map(|bic| bic.parse().expect("a BIC")).collect(),
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.family, self.number)
    }

    fn values(&self) -> Vec<f64> {
        families::values(&self.family, self.number, self.samples)
    }

    /// Whether an order leaves no residual.
    fn is_perfect(&self) -> bool {
        self.bic.last().is_some_and(|bic| bic.is_infinite())
    }

    fn tolerance(&self, order: usize) -> f64 {
        if !HARD.contains(&self.family.as_str()) {
            return TOLERANCE;
        }
        let rows = (self.samples - self.max_order) as f64;
        let gained = self.bic[order] - self.bic[0] - order as f64 * rows.ln();
        let residual_share = (gained / rows).exp();
        TOLERANCE.max(rows * ROUNDINGS * f64::EPSILON / residual_share)
    }

    fn best(&self) -> usize {
        (1..self.bic.len()).fold(
            0,
            |best, order| if self.bic[order] < self.bic[best] { order } else { best },
        )
    }
}

fn truths() -> Vec<Truth> {
    include_str!("golden/order_search.txt")
        .lines()
        .map(Truth::parse)
        .collect()
}

/// What the search finds for a channel of which no difference is taken, and what its unit adds to a BIC.
fn search(values: &[f64], max_order: usize) -> (OrderPath, f64) {
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let exponent = largest.log2() as i32;
    let near_one = |value: &f64| value * 2f64.powi(-exponent / 2) * 2f64.powi(-exponent + exponent / 2);
    let near_one: Vec<f64> = values.iter().map(near_one).collect();
    let mean = |y: &[f64]| y.iter().sum::<f64>() / y.len() as f64;
    let rough = mean(&near_one);
    let rest: Vec<f64> = near_one.iter().map(|value| value - rough).collect();
    let centre = rough + mean(&rest);
    let centred: Vec<f64> = near_one.iter().map(|value| value - centre).collect();
    let path = OrderPath::new(&LagProducts::new(&centred, max_order), f64::EPSILON.powi(2) / 4.0);
    let of_unit = 2.0 * path.rows() as f64 * f64::from(exponent) * std::f64::consts::LN_2;
    (path, of_unit)
}

/// The BIC of each family that is farthest from the truth for what it is allowed.
#[derive(Default)]
struct Worst(BTreeMap<String, (f64, String)>);

impl Worst {
    fn note(&mut self, truth: &Truth, order: usize, found: f64) {
        let expected = truth.bic[order];
        let distance = (found - expected).abs();
        let share = distance / truth.tolerance(order);
        let (largest, text) = self.0.entry(truth.family.clone()).or_default();
        if share >= *largest || share.is_nan() {
            let (number, max_order) = (truth.number, truth.max_order);
            *largest = share;
            *text =
                format!("{distance:.1e} at channel {number}, order {order} of {max_order}: {found}, not {expected}");
        }
    }

    #[track_caller]
    fn assert_within_tolerance(&self) {
        let lines = self.0.iter().map(|(family, (_, text))| format!("{family:15} {text}"));
        let lines = lines.collect::<Vec<_>>().join("\n");
        assert!(self.0.values().all(|(share, _)| *share <= 1.0), "{lines}");
    }
}

#[test]
fn the_channels_are_those_of_the_reference_to_the_bit() {
    let truths = truths();
    assert!(truths.len() >= 1000);
    for truth in truths {
        assert_eq!(families::hash(&truth.values()), truth.hash, "{}", truth.name());
    }
}

#[test]
fn the_bic_of_every_order_of_a_thousand_channels_is_that_of_statsmodels() {
    let mut worst = Worst::default();
    for truth in truths() {
        let (path, of_unit) = search(&truth.values(), truth.max_order);
        for order in (0..truth.bic.len()).filter(|order| truth.bic[*order].is_finite()) {
            assert!(
                order <= path.highest(),
                "{}: {:?} before {order}",
                truth.name(),
                path.end()
            );
            worst.note(&truth, order, path.bic(order) + of_unit);
        }
    }
    worst.assert_within_tolerance();
}

#[test]
fn the_order_is_that_of_statsmodels_wherever_it_can_tell_one() {
    for truth in truths() {
        let best = search(&truth.values(), truth.max_order).0.best();
        assert_eq!(best, truth.best(), "{}", truth.name());
        assert!(
            truth.order.is_none_or(|order| order == best),
            "{}: {best}",
            truth.name()
        );
    }
}

#[test]
fn the_path_ends_at_the_order_that_leaves_nothing_and_only_there() {
    for truth in truths() {
        let (path, _) = search(&truth.values(), truth.max_order);
        let end = if truth.is_perfect() {
            PathEnd::PerfectFit
        } else {
            PathEnd::Highest
        };
        assert_eq!(
            (path.highest(), path.end()),
            (truth.bic.len() - 1, end),
            "{}",
            truth.name()
        );
    }
}

/// The whole fit, on the channels that KPSS takes no difference of.
#[test]
fn a_fit_without_differences_has_the_order_and_the_bic_of_the_reference() {
    let mut worst = Worst::default();
    let mut seen = 0;
    for truth in truths().into_iter().filter(|truth| !truth.is_perfect()) {
        let model = fitted(&truth);
        let Some(bic) = model.bic.filter(|_| model.num_diff == 0) else {
            continue;
        };
        seen += 1;
        let found = (model.order, model.max_order);
        assert_eq!(found, (truth.best(), truth.max_order), "{}", truth.name());
        worst.note(&truth, model.order, bic);
    }
    assert!(seen > 500, "only {seen} channels had no difference taken");
    worst.assert_within_tolerance();
}

fn fitted(truth: &Truth) -> FittedAr {
    let series = Series {
        channel: truth.name().into(),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(1).expect("positive"),
        },
        first_slot: 0,
        values: truth.values(),
    };
    let spec = FitSpec {
        horizon: NonZeroUsize::MIN,
        levels: Vec::new(),
        max_lookback: truth.max_order,
        gaps: GapPolicy::Error,
    };
    fit(&series, &spec).expect("a finite series has a forecast").model
}

/// The same channels as in `tests/reference/order_search.py`, line for line.
mod families {
    pub(crate) fn values(family: &str, number: u64, n: usize) -> Vec<f64> {
        let (place, make) = FAMILIES
            .iter()
            .enumerate()
            .find_map(|(place, (name, make))| (*name == family).then_some((place as u64, make)))
            .expect("a family of the reference");
        let mut numbers = Numbers::new(place * 1000 + number);
        // The reference draws the number of samples and the order first.
        numbers.uniform();
        numbers.uniform();
        if family == "short" {
            numbers.uniform();
        }
        make(&mut numbers, n)
    }

    /// FNV-1a, a sample's 64 bits at a time.
    pub(crate) fn hash(values: &[f64]) -> u64 {
        values.iter().fold(0xcbf2_9ce4_8422_2325, |state: u64, value| {
            (state ^ value.to_bits()).wrapping_mul(0x0100_0000_01b3)
        })
    }

    type Family = fn(&mut Numbers, usize) -> Vec<f64>;

    const FAMILIES: [(&str, Family); 17] = [
        ("ar", ar),
        ("seasonal", seasonal),
        ("unit_root", unit_root),
        ("trend", trend),
        ("constant", constant),
        ("short", ar),
        ("offset", |numbers, n| plus(ar(numbers, n), vec![1e6; n])),
        ("tiny", |numbers, n| times(ar(numbers, n), 1e-300)),
        ("huge", |numbers, n| times(ar(numbers, n), 1e300)),
        ("near_unit_root", near_unit_root),
        ("heavy_tails", heavy_tails),
        ("counts", counts),
        ("spikes", spikes),
        ("steps", steps),
        ("steep_trend", steep_trend),
        ("two_unit_roots", |numbers, n| total(&unit_root(numbers, n))),
        ("quiet_seasonal", quiet_seasonal),
    ];

    struct Numbers {
        state: u64,
    }

    impl Numbers {
        fn new(seed: u64) -> Self {
            let mut numbers = Self { state: seed };
            for _ in 0..4 {
                numbers.uniform();
            }
            numbers
        }

        fn uniform(&mut self) -> f64 {
            let product = self.state.wrapping_mul(6_364_136_223_846_793_005);
            self.state = product.wrapping_add(1_442_695_040_888_963_407);
            (self.state >> 11) as f64 * 2f64.powi(-53)
        }

        fn below(&mut self, n: usize) -> usize {
            (self.uniform() * n as f64) as usize
        }

        fn between(&mut self, low: f64, high: f64) -> f64 {
            low + (high - low) * self.uniform()
        }

        fn noise(&mut self) -> f64 {
            self.uniform() + self.uniform() + self.uniform() + self.uniform() - 2.0
        }

        fn noises(&mut self, n: usize) -> Vec<f64> {
            (0..n).map(|_| self.noise()).collect()
        }
    }

    fn recursion(noise: &[f64], coefficients: &[(usize, f64)]) -> Vec<f64> {
        let mut y: Vec<f64> = Vec::with_capacity(noise.len());
        for (t, noise) in noise.iter().enumerate() {
            let mut value = *noise;
            for (lag, coefficient) in coefficients.iter().filter(|(lag, _)| *lag <= t) {
                value += coefficient * y[t - lag];
            }
            y.push(value);
        }
        y
    }

    fn memory(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let first = numbers.between(-0.6, 0.6);
        let second = numbers.between(-0.3, 0.3);
        recursion(&numbers.noises(n), &[(1, first), (2, second)])
    }

    fn total(values: &[f64]) -> Vec<f64> {
        recursion(values, &[(1, 1.0)])
    }

    fn bump(t: usize, period: usize) -> f64 {
        let phase = t % period;
        (phase * (period - phase)) as f64
    }

    fn plus(a: Vec<f64>, b: Vec<f64>) -> Vec<f64> {
        a.into_iter().zip(b).map(|(a, b)| a + b).collect()
    }

    fn times(values: Vec<f64>, factor: f64) -> Vec<f64> {
        values.into_iter().map(|value| value * factor).collect()
    }

    fn ar(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let lag = 3 + numbers.below(22);
        let weight = numbers.between(-0.4, 0.4);
        recursion(&memory(numbers, n), &[(lag, weight)])
    }

    fn seasonal(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let period = 4 + numbers.below(21);
        let height = numbers.between(0.01, 0.2);
        plus((0..n).map(|t| bump(t, period) * height).collect(), memory(numbers, n))
    }

    fn unit_root(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        total(&memory(numbers, n))
    }

    fn trend(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let slope = numbers.between(-0.5, 0.5);
        plus((0..n).map(|t| t as f64 * slope).collect(), memory(numbers, n))
    }

    fn constant(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let value = numbers.between(-100.0, 100.0);
        let slope = (1 + numbers.below(9)) as f64;
        let is_level = numbers.state % 2 == 1;
        (0..n)
            .map(|t| if is_level { value } else { t as f64 * slope })
            .collect()
    }

    fn near_unit_root(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let noise = numbers.noises(n);
        recursion(&noise, &[(1, numbers.between(1.92, 1.94)), (2, -0.999)])
    }

    fn heavy_tails(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let noise: Vec<f64> = numbers.noises(n).into_iter().map(|e| e * e * e * e * e).collect();
        recursion(&noise, &[(1, numbers.between(-0.8, 0.8))])
    }

    fn counts(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let most = 2 + numbers.below(9);
        let busy = numbers.between(0.1, 1.0);
        let mut count = || {
            if numbers.uniform() < busy {
                numbers.below(most)
            } else {
                0
            }
        };
        (0..n).map(|_| count() as f64).collect()
    }

    fn spikes(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let height = numbers.between(10.0, 1000.0);
        let rest = memory(numbers, n).into_iter();
        rest.map(|value| if numbers.below(40) == 0 { value + height } else { value })
            .collect()
    }

    fn steps(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let mut step = || {
            if numbers.below(50) == 0 {
                numbers.between(-5.0, 5.0)
            } else {
                0.0
            }
        };
        let steps: Vec<f64> = (0..n).map(|_| step()).collect();
        plus(total(&steps), seasonal(numbers, n))
    }

    fn steep_trend(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let slope = numbers.between(1.0, 50.0);
        plus((0..n).map(|t| t as f64 * slope).collect(), memory(numbers, n))
    }

    fn quiet_seasonal(numbers: &mut Numbers, n: usize) -> Vec<f64> {
        let period = 4 + numbers.below(21);
        let season = (0..n).map(|t| bump(t, period)).collect();
        plus(season, times(memory(numbers, n), 1e-3))
    }
}
