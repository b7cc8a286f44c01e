//! Fits by libtorch against `forecastd_models::fit`, on whatever device this machine has.

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use forecastd_models::device_fit::{DeviceBatch, DeviceFit, DeviceWindow};
use forecastd_models::{ChannelFit, FitSpec, Frequency, GapPolicy, Grid, Series, Timestamp};
use forecastd_torch::device::{self, Placement};
use forecastd_torch::{fit, job};
use tch::Tensor;

/// Channels of one kind and length.
const COPIES: u64 = 4;

/// Makes so many samples.
type Make = fn(&mut Noise, usize) -> Vec<f64>;

const KINDS: [(&str, Make); 12] = [
    ("white noise", |noise, n| noise.many(n)),
    ("an AR(2) with a period", |noise, n| noise.filtered(n, &[1.6, -0.9])),
    ("a near unit root", |noise, n| noise.filtered(n, &[0.995])),
    ("a seasonal AR", |noise, n| {
        let mut lags = [0.0; 24];
        (lags[0], lags[23]) = (0.3, 0.6);
        noise.filtered(n, &lags)
    }),
    ("a wave under noise", |noise, n| {
        let wave = |(t, noise): (usize, f64)| (t as f64 * 0.261_799).sin() + 0.3 * noise;
        noise.many(n).into_iter().enumerate().map(wave).collect()
    }),
    ("a random walk", |noise, n| summed(&noise.many(n))),
    ("a walk with a memory", |noise, n| {
        summed(&noise.filtered(n, &[0.5, 0.3]))
    }),
    ("twice summed noise", |noise, n| summed(&summed(&noise.many(n)))),
    ("a cubic under noise", |noise, n| {
        let cubic = |(t, noise): (usize, f64)| (t as f64 / n as f64 * 4.0 - 2.0).powi(3) * 50.0 + noise;
        noise.many(n).into_iter().enumerate().map(cubic).collect()
    }),
    ("a trend", |noise, n| {
        let trend = |(t, noise): (usize, f64)| 0.01 * t as f64 + noise;
        noise.filtered(n, &[0.7]).into_iter().enumerate().map(trend).collect()
    }),
    ("small moves on a large level", |noise, n| {
        noise.filtered(n, &[0.6, 0.2]).iter().map(|value| 1e6 + value).collect()
    }),
    ("small counts", |noise, n| {
        noise
            .many(n)
            .iter()
            .map(|value| (value + 1.0).max(0.0).floor())
            .collect()
    }),
];

/// Numbers that look drawn from a normal distribution; the same on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        let mut uniform = || {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    fn many(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }

    fn filtered(&mut self, n: usize, lags: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; lags.len()];
        for _ in 0..n {
            let memory: f64 = lags.iter().zip(y.iter().rev()).map(|(lag, y)| lag * y).sum();
            y.push(memory + self.next());
        }
        y.split_off(lags.len())
    }
}

fn summed(values: &[f64]) -> Vec<f64> {
    let mut level = 0.0;
    values
        .iter()
        .map(|value| {
            level += value;
            level
        })
        .collect()
}

/// libtorch looks for CUDA once, before its first tensor.
fn placement() -> &'static Placement {
    static PLACEMENT: OnceLock<Placement> = OnceLock::new();
    PLACEMENT.get_or_init(device::find)
}

fn series(values: Vec<f64>) -> Series {
    let frequency = Frequency::fixed(1).expect("positive");
    let origin = Timestamp(0);
    Series {
        channel: "c".into(),
        grid: Grid { origin, frequency },
        first_slot: 0,
        values,
    }
}

fn spec(max_lookback: usize) -> FitSpec {
    FitSpec {
        horizon: NonZeroUsize::new(12).expect("not zero"),
        levels: Vec::new(),
        max_lookback,
        gaps: GapPolicy::Interpolate,
    }
}

/// Channels of every kind.
fn mixture(length: usize) -> Vec<(&'static str, Series)> {
    let kinds = KINDS.iter().enumerate();
    let channels = kinds.flat_map(|(number, (kind, make))| {
        let seeds = (0..COPIES).map(move |copy| 1 + copy + 100 * number as u64 + 10_000 * length as u64);
        seeds.map(move |seed| (*kind, series(make(&mut Noise(seed), length))))
    });
    channels.collect()
}

/// What the job answers, as the daemon reads it.
fn answered(windows: &[DeviceWindow<'_>], max_lookback: usize, memory: usize) -> Vec<Option<DeviceFit>> {
    let (batch, request) = DeviceBatch::request(windows, max_lookback);
    let placement = Placement {
        memory,
        ..placement().clone()
    };
    let reply = job::answer(&request.header, &request.slices, &placement).expect("libtorch works");
    batch.read(&reply).expect("an answer that can be true")
}

fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: {found} instead of {expected}"
    );
}

fn assert_same(found: &ChannelFit, expected: &ChannelFit, what: &str) {
    let (model, by_cpu) = (&found.model, &expected.model);
    assert_eq!(
        (model.num_diff, model.order, model.max_order, model.fallback),
        (by_cpu.num_diff, by_cpu.order, by_cpu.max_order, by_cpu.fallback),
        "{what}"
    );
    for (found, expected) in model.coefficients.iter().zip(&by_cpu.coefficients) {
        assert_near(*found, *expected, 1e-9, what);
    }
    let (variance, expected_variance) = (model.variance.expect("known"), by_cpu.variance.expect("known"));
    assert_near(variance, expected_variance, 1e-9 * expected_variance, what);
    if let (Some(found), Some(expected)) = (model.bic, by_cpu.bic) {
        assert_near(found, expected, 1e-6, what);
    }
    for (mean, expected_mean) in found.forecast.mean.iter().zip(&expected.forecast.mean) {
        assert_near(
            *mean,
            *expected_mean,
            1e-8 * expected_mean.abs().max(expected_variance.sqrt()), // errors of the coefficients add up along the steps
            what,
        );
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the share that is left to the CPU is worth a look")]
fn every_channel_of_which_the_device_is_sure_has_the_fit_of_the_cpu() {
    let (mut all, mut unsure, mut seen) = (0, Vec::new(), [0; 3]);
    for (length, max_lookback) in [
        (10, 8),
        (13, 64),
        (60, 3),
        (60, 64),
        (257, 100),
        (600, 64),
        (2000, 130),
        (3000, 512),
    ] {
        let spec = spec(max_lookback);
        let channels = mixture(length);
        let windows: Vec<_> = channels
            .iter()
            .filter_map(|(_, series)| DeviceWindow::new(series, &spec))
            .collect();
        assert_eq!(windows.len(), channels.len(), "none is constant");
        let answers = answered(&windows, max_lookback, placement().memory);
        for (((kind, series), window), answer) in channels.iter().zip(&windows).zip(answers) {
            let what = format!("{kind}, {length} samples");
            let expected = forecastd_models::fit(series, &spec).expect("finite");
            all += 1;
            seen[expected.model.num_diff] += 1;
            match answer {
                Some(answer) => assert_same(&window.conclude(answer, &spec).expect("finite"), &expected, &what),
                None => unsure.push(what),
            }
        }
    }
    println!(
        "on {:?}: sure of {} of {all}; not of {unsure:?}",
        placement().described,
        all - unsure.len()
    );
    assert!(unsure.len() * 20 < all, "not sure of {unsure:?}");
    assert!(
        seen.iter().all(|channels| *channels > 0),
        "some of every number of differences: {seen:?}"
    );
}

#[test]
fn what_rounding_decides_is_left_to_the_cpu() {
    let n = 400;
    let wave: Vec<f64> = (0..n).map(|t| (f64::from(t) * 0.9).sin()).collect();
    let line: Vec<f64> = (0..n).map(|t| 3.0 + 0.25 * f64::from(t)).collect();
    let mut jump = vec![0.0; n as usize];
    jump[n as usize - 1] = 5.0;
    let mut noise = Noise(5);
    let plain = noise.many(n as usize);
    let rounded: Vec<f64> = plain.iter().map(|value| 1e9 + value * 1e-7).collect();
    let odd = [wave, line, jump, rounded].map(series);
    let spec = spec(40);
    let mut windows: Vec<_> = odd
        .iter()
        .filter_map(|series| DeviceWindow::new(series, &spec))
        .collect();
    let plain = series(plain);
    windows.extend(DeviceWindow::new(&plain, &spec));
    let answers = answered(&windows, 40, placement().memory);
    assert_eq!(answers.len(), 5);
    assert!(answers[..4].iter().all(Option::is_none), "{answers:?}");
    assert!(answers[4].is_some(), "a neighbour of theirs is not spoilt");
}

#[test]
fn the_answer_does_not_depend_on_how_many_channels_memory_holds() {
    let spec = spec(80);
    let channels = mixture(500);
    let windows: Vec<_> = channels
        .iter()
        .filter_map(|(_, series)| DeviceWindow::new(series, &spec))
        .collect();
    let together = answered(&windows, 80, placement().memory);
    for memory in [0, 1 << 20] {
        for (found, expected) in answered(&windows, 80, memory).iter().zip(&together) {
            let orders = |fit: &Option<DeviceFit>| fit.as_ref().map(|fit| (fit.num_diff, fit.coefficients.len()));
            assert_eq!(orders(found), orders(expected));
        }
    }
}

#[test]
fn samples_that_are_not_finite_spoil_nobody_elses_answer() {
    let length = 200;
    let batch = DeviceBatch {
        channels: 4,
        length,
        max_lookback: 20,
    };
    let mut samples = Noise(7).many(4 * length);
    samples[length + 3] = f64::NAN;
    samples[2 * length + 199] = f64::INFINITY;
    let samples = Tensor::from_slice(&samples)
        .reshape([4, length as i64])
        .to_device(placement().device);
    let fits = fit::fit(&samples, &batch, placement().memory).expect("libtorch works");
    let sure: Vec<bool> = fits.iter().map(Option::is_some).collect();
    assert_eq!(sure, [true, false, false, true]);
}

#[test]
fn a_batch_that_is_none_is_refused_in_words() {
    let batch = DeviceBatch {
        channels: 2,
        length: 2,
        max_lookback: 1,
    };
    let samples = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0])
        .reshape([2, 2])
        .to_device(placement().device);
    let short = fit::fit(&samples, &batch, placement().memory).expect("nothing to search");
    assert_eq!(short, [None, None]);
    let reply = job::answer(
        &forecastd_models::torch_job::RequestBody::Fit {
            channels: 3,
            max_lookback: 4,
        },
        &[vec![0; 16]],
        placement(),
    );
    let said = format!("{:?}", reply.expect("an answer").header);
    assert!(said.contains("16 bytes of samples for 3 windows"), "{said}");
}
