//! The default method: a convex combination of a small family, chosen by validation, channel by channel.
//!
//! A map for all channels wins where channels are alike, one for each where they are not, a random walk where nothing
//! can be foreseen; which it is shows on a stretch that precedes the cutoff. Every member is fitted on what comes before
//! that stretch, weights are told from its errors on it (`selection`), and the members are fitted again on everything.
//! Nothing after the cutoff has a part in it. Channels of a pool are each cut at their own stretch: where these lie at
//! different times, a common map has seen the time of another's.
//!
//! All of it follows from second moments of windows (`moments`) but the intervals, for which the residuals themselves
//! are needed.

mod choice;
mod family;
mod member;
mod pool;
#[cfg(test)]
mod tests;
mod training;

use crate::conformal::{half_widths, magnitudes};
use crate::estimate::Extent;
use crate::forecast::Level;
use crate::linear_map::LinearMap;

pub use choice::{Band, Choice};
use choice::{chosen, combined};
use family::Family;
pub use member::Member;
pub(crate) use pool::pooled_regression;
pub use pool::{Pool, PoolBuilder};
pub(crate) use training::VALIDATION_SHARE;
pub use training::{AutoSpec, Training};

/// Independent errors that it takes to believe half of what a stretch says about how much can be foreseen.
const WORTH_OF_NOTHING: f64 = 4.0;

/// A channel's map, how sure it is, and how it was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelModel {
    /// In the unit of the training samples.
    pub map: LinearMap,
    /// Half the width of the interval, by level and step, in the unit of the training samples: split conformal, from
    /// the errors on the validation stretch of the combination fitted before it.
    pub half_widths: Vec<Vec<f64>>,
    /// How it was chosen.
    pub choice: Choice,
    /// How far the combination fitted before the stretch was off on it.
    pub(crate) errors: StretchErrors,
}

/// Mean squared errors over the validation stretch, by origin, for others to be held against.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StretchErrors {
    /// The place of the first target of the first window among the training samples.
    pub(crate) first: usize,
    /// From one origin to the next.
    pub(crate) stride: usize,
    /// In the unit of the training samples.
    pub(crate) mse: Vec<f32>,
}

impl ChannelModel {
    /// Chooses by the validation stretch, and fits what was chosen to all samples.
    pub fn fit(training: &Training<'_>, pool: Option<&Pool>, spec: &AutoSpec) -> Self {
        let shared = pool.and_then(|pool| pool.maps.get(&training.lookback));
        let family = |values, common| Family {
            values,
            moments: training.moments(values, spec.horizon),
            common,
            lookback: training.lookback,
            spec,
        };
        let before = family(training.before(), shared.map(|shared| &shared.before));
        let candidates = before.candidates();
        let stretch = training.moments(training.stretch(), spec.horizon);
        let chosen = chosen(&candidates, &stretch, training.lookback, spec);
        let tried = combined(&candidates, &chosen, training.lookback, spec.horizon);
        let (half_widths, errors) = widths(training, &tried, &chosen, &spec.levels);
        let all = family(training.values, shared.map(|shared| &shared.all));
        let own = all.own_auto_regression();
        let members = chosen
            .iter()
            .flat_map(|band| band.weights.iter().map(|(member, _)| *member));
        let mut wanted: Vec<Member> = members.collect();
        wanted.sort_unstable();
        wanted.dedup();
        let fitted = all.fitted(&wanted, own.as_ref());
        Self {
            map: reined(
                combined(&fitted, &chosen, training.lookback, spec.horizon),
                training.values,
            ),
            half_widths,
            errors,
            choice: Choice {
                lookback: training.lookback.get(),
                windows: stretch.windows(),
                bands: chosen,
                order: own.as_ref().map(|own| own.coefficients.len()),
                num_diff: own.as_ref().map(|own| own.num_diff),
            },
        }
    }
}

/// Half widths of the intervals from the errors of a map on the validation stretch, and these errors by origin.
fn widths(
    training: &Training<'_>,
    map: &LinearMap,
    chosen: &[Band],
    levels: &[Level],
) -> (Vec<Vec<f64>>, StretchErrors) {
    let horizon = map.horizon();
    let values = training.values;
    let origins = training.validation..values.len() - horizon + 1;
    let residuals = magnitudes(values, origins.clone(), |origins, stride| {
        map.forecasts(values, origins, stride)
    });
    let squares = |row: usize| residuals.row(row).iter().map(|error| error * error).sum::<f64>();
    let errors = StretchErrors {
        first: training.validation,
        stride: origins.len().div_ceil(residuals.rows()),
        mse: (0..residuals.rows())
            .map(|row| (squares(row) / horizon as f64) as f32)
            .collect(),
    };
    // What the channel has ever moved in so many steps, less what the combination foresees of it, as far as the stretch
    // is long enough to tell.
    let spare = |step: usize| {
        let moves = values
            .windows(step + 2)
            .map(|window| (window[step + 1] - window[0]).powi(2));
        let mean_square = moves.sum::<f64>() / (values.len() - step - 1) as f64;
        let band = chosen.iter().find(|band| band.last > step);
        let left = band.map_or(1.0, |band| band.mse / band.random_walk_mse);
        let left = if left < 1.0 { left } else { 1.0 };
        let worth = origins.len() as f64 / (step + 1) as f64;
        (mean_square * (left * worth + WORTH_OF_NOTHING) / (worth + WORTH_OF_NOTHING)).sqrt()
    };
    (half_widths(&residuals, levels, spare), errors)
}

/// Reins a map in that leads farther away from the newest sample than the channel has ever ranged, and as many times
/// farther as the horizon is longer than the samples: all its steps alike, towards a random walk. Few samples can tell
/// of a growth that they do not bear out.
fn reined(map: LinearMap, values: &[f64]) -> LinearMap {
    let Extent { lowest, highest, count } = Extent::of(values);
    let bound = (highest - lowest) * (1.0 + map.horizon() as f64 / count as f64);
    let newest = values[count - 1];
    let farthest = map
        .forecast(values)
        .iter()
        .map(|forecast| (forecast - newest).abs())
        .fold(0.0, f64::max);
    if farthest <= bound {
        return map;
    }
    let share = vec![bound / farthest; map.horizon()];
    LinearMap::combined(&[&map], &[share])
}
