//! The family and the choice on series whose nature is known.

use std::num::NonZeroUsize;

use super::*;
use crate::moments::WindowMoments;

const fn size(size: usize) -> NonZeroUsize {
    NonZeroUsize::new(size).expect("not zero")
}

fn spec(members: &[Member]) -> AutoSpec {
    AutoSpec {
        horizon: size(8),
        lookback: size(32),
        season: Some(size(12)),
        members: members.to_vec(),
        levels: [0.8, 0.95].into_iter().filter_map(Level::new).collect(),
    }
}

/// Uniform in [-0.5, 0.5).
fn noise(mut seed: u64) -> impl Iterator<Item = f64> {
    std::iter::repeat_with(move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    })
}

fn walk(n: usize, seed: u64) -> Vec<f64> {
    let steps = noise(seed).take(n);
    steps
        .scan(0.0, |level, step| {
            Some(*{
                *level += step;
                level
            })
        })
        .collect()
}

fn wave(n: usize, seed: u64) -> Vec<f64> {
    let noise = noise(seed).take(n).enumerate();
    noise
        .map(|(t, noise)| (t as f64 * std::f64::consts::TAU / 12.0).sin() + noise)
        .collect()
}

fn fitted(values: &[f64], pool: Option<&Pool>, spec: &AutoSpec) -> ChannelModel {
    let training = Training::with_last_fifth(values, spec).expect("long enough");
    ChannelModel::fit(&training, pool, spec)
}

/// Of windows after the cutoff.
fn error(model: &ChannelModel, values: &[f64], cutoff: usize) -> f64 {
    let seen = &values[cutoff - model.map.lookback()..];
    let moments = WindowMoments::new(seen, size(model.map.lookback()), size(8)).expect("long enough");
    moments.squared_errors(&model.map).iter().sum::<f64>() / (8 * moments.windows()) as f64
}

#[test]
fn the_same_samples_give_the_same_bits() {
    let values = wave(900, 1);
    let spec = spec(&Member::AUTO);
    assert_eq!(fitted(&values[..600], None, &spec), fitted(&values[..600], None, &spec));
}

#[test]
fn a_combination_is_about_as_good_as_its_best_member_on_samples_it_has_not_seen() {
    for values in [wave(3_000, 2), walk(3_000, 3)] {
        let alone = |member| error(&fitted(&values[..1_000], None, &spec(&[member])), &values, 1_000);
        let own = [
            Member::AutoAr,
            Member::Direct,
            Member::DirectLevel,
            Member::RandomWalk,
            Member::SeasonalNaive,
        ];
        let best = own.into_iter().map(alone).fold(f64::INFINITY, f64::min);
        let together = error(&fitted(&values[..1_000], None, &spec(&Member::AUTO)), &values, 1_000);
        assert!(together < best * 1.1, "{together} {best}");
    }
}

#[test]
fn one_member_has_all_of_it_and_one_that_cannot_be_fitted_leaves_a_random_walk() {
    let values = wave(300, 4);
    let only = fitted(&values, None, &spec(&[Member::SeasonalNaive]));
    assert_eq!(only.map, LinearMap::seasonal_naive(size(32), size(8), size(12)));
    assert!(
        only.choice
            .bands
            .iter()
            .all(|band| band.weights == [(Member::SeasonalNaive, 1.0)])
    );
    let none = fitted(&values, None, &spec(&[Member::PooledDirect]));
    assert_eq!(none.map, LinearMap::random_walk(size(32), size(8)));
}

#[test]
fn a_pool_tells_a_channel_more_than_its_own_few_samples() {
    let channels: Vec<Vec<f64>> = (0..40).map(|seed| wave(1_000, 100 + seed)).collect();
    let spec = spec(&[Member::PooledDirect]);
    let mut pool = PoolBuilder::new(&spec);
    let trainings = channels
        .iter()
        .map(|values| Training::with_last_fifth(&values[..120], &spec).expect("enough"));
    trainings.for_each(|training| pool.add(&training));
    let pool = pool.finish();
    let own = AutoSpec {
        members: vec![Member::Direct],
        ..spec.clone()
    };
    let sum = |pool: Option<&Pool>, spec: &AutoSpec| -> f64 {
        channels
            .iter()
            .map(|values| error(&fitted(&values[..120], pool, spec), values, 120))
            .sum()
    };
    assert!(sum(Some(&pool), &spec) < sum(None, &own));
}

#[test]
fn parts_of_a_pool_put_together_are_the_pool() {
    let spec = spec(&Member::AUTO);
    let channels: Vec<Vec<f64>> = (0..4).map(|seed| wave(300, seed)).collect();
    let builder = |channels: &[Vec<f64>]| {
        let mut builder = PoolBuilder::new(&spec);
        for values in channels {
            builder.add(&Training::with_last_fifth(values, &spec).expect("enough"));
        }
        builder
    };
    let mut parts = builder(&channels[..1]);
    parts.merge(builder(&channels[1..2]));
    parts.merge(builder(&channels[2..3]));
    parts.merge(builder(&channels[3..]));
    assert_eq!(parts.finish(), builder(&channels).finish());
    assert_eq!(
        builder(&channels[..1]).finish(),
        Pool::default(),
        "one channel has nothing in common"
    );
}

#[test]
fn intervals_hold_what_they_promise() {
    let values = wave(6_000, 7);
    let model = fitted(&values[..2_000], None, &spec(&Member::AUTO));
    for (widths, level) in model.half_widths.iter().zip([0.8, 0.95]) {
        let forecasts = model.map.forecasts(&values, 2_000..5_990, size(1));
        for (step, width) in widths.iter().enumerate() {
            let held = (0..forecasts.rows())
                .filter(|row| (forecasts.at(*row, step) - values[2_000 + row + step]).abs() <= *width)
                .count();
            let share = held as f64 / forecasts.rows() as f64;
            assert!((share - level).abs() < 0.04, "{level} {step}: {share}");
        }
    }
}

#[test]
fn too_few_samples_leave_nothing_to_choose_by() {
    let spec = spec(&Member::AUTO);
    for (samples, enough) in [(0, false), (8, false), (17, false), (18, true), (400, true)] {
        assert_eq!(
            Training::with_last_fifth(&wave(samples, 1), &spec).is_some(),
            enough,
            "{samples}"
        );
    }
    let far = AutoSpec {
        horizon: size(2_559),
        ..spec
    };
    assert!(
        Training::with_last_fifth(&wave(20_000, 1), &far).is_none(),
        "no window of 2,560 has two samples before"
    );
}

#[test]
fn a_growth_that_leads_nowhere_is_reined_in() {
    let grown: Vec<f64> = (0..60).map(|t| 1.2_f64.powi(t)).collect();
    let spec = AutoSpec {
        members: vec![Member::AutoAr],
        horizon: size(12),
        season: None,
        ..spec(&[])
    };
    let model = fitted(&grown, None, &spec);
    let newest = grown[59];
    let farthest = model.map.forecast(&grown)[11];
    assert!(
        farthest > newest && farthest - newest <= newest * 1.2 + 1e-6 * newest,
        "{farthest} {newest}"
    );
}
