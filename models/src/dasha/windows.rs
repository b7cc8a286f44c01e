//! Windows of series as a network sees them: each in units of itself, so that one network serves channels of any size.

use serde::{Deserialize, Serialize};

use super::samples::Split;
use crate::backtest::{self, Standard};
use crate::time::Timestamp;

/// What makes a network one that forecasts series. Its input is a window, standardised by its own mean and deviation; its
/// outputs are the samples that follow, one after the other, in the same units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesWindows {
    /// The newest instant of what weights were fitted to or anything was chosen by. Only what comes after it can tell how
    /// good the network is.
    pub seen_until: Timestamp,
}

/// A window in units of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaledWindow {
    /// The oldest sample first.
    pub values: Vec<f32>,
    /// Brings what follows back into the channel's unit.
    pub standard: Standard,
}

impl ScaledWindow {
    /// Of samples without gaps; `None` if they do not move, or are too large for single precision to tell them apart.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let standard = Standard::of(samples)?;
        let values: Vec<f32> = samples
            .iter()
            .map(|sample| standard.standardised(*sample) as f32)
            .collect();
        let tells = values.iter().all(|value| value.is_finite());
        tells.then_some(Self { values, standard })
    }

    /// The samples that follow a window, in its units; `None` if they lie farther away than numbers reach.
    pub fn targets(&self, samples: &[f64]) -> Option<Vec<f32>> {
        let targets = samples.iter().map(|sample| self.standard.standardised(*sample) as f32);
        let targets: Vec<f32> = targets.collect();
        targets.iter().all(|target| target.is_finite()).then_some(targets)
    }
}

/// The part that a window belongs to whose first target stands in row `origin`: the one in which all its targets lie. Its
/// lookback may reach into the part before; a window with targets in two parts belongs to none.
pub fn part(split: &backtest::Split, origin: usize, horizon: usize) -> Option<Split> {
    let end = origin.checked_add(horizon)?;
    let lies_in = |from: usize, to: usize| origin >= from && end <= to;
    if lies_in(0, split.train) {
        Some(Split::Train)
    } else if lies_in(split.train, split.cutoff()) {
        Some(Split::Validation)
    } else if lies_in(split.cutoff(), split.end()) {
        Some(Split::Test)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_in_units_of_itself_whatever_the_channel_is_measured_in() {
        let samples = [1.0, 2.0, 3.0, 4.0];
        let plain = ScaledWindow::of(&samples).expect("it moves");
        for (size, offset) in [(1e6, 0.0), (1e-6, 0.0), (-2.0, 300.0)] {
            let other: Vec<f64> = samples.iter().map(|sample| sample * size + offset).collect();
            let scaled = ScaledWindow::of(&other).expect("it moves");
            for (plain, scaled) in plain.values.iter().zip(&scaled.values) {
                assert!((plain * size.signum() as f32 - scaled).abs() < 1e-5, "{size} {offset}");
            }
            let ahead = scaled.targets(&[5.0 * size + offset]).expect("near")[0];
            assert!((scaled.standard.restored(f64::from(ahead)) - (5.0 * size + offset)).abs() < size.abs() * 1e-5);
        }
    }

    #[test]
    fn what_does_not_move_has_no_units() {
        assert_eq!(ScaledWindow::of(&[3.0; 9]), None);
        let nearly = ScaledWindow::of(&[1.0, 1.0 + 1e-12]).expect("it moves");
        assert_eq!(nearly.targets(&[1e300]), None);
    }

    #[test]
    fn no_target_stands_in_two_parts() {
        let split = backtest::Split {
            train: 10,
            validation: 4,
            test: 3,
        };
        let parts: Vec<Option<Split>> = (5..17).map(|origin| part(&split, origin, 3)).collect();
        let (train, validation, test) = (Some(Split::Train), Some(Split::Validation), Some(Split::Test));
        #[rustfmt::skip]
        let expected = [
            train, train, train, None, None, // 5 to 9: from 8 on they reach beyond row 9
            validation, validation, None, None, // 10 to 13
            test, None, None, // 14 to 16
        ];
        assert_eq!(parts, expected);
    }
}
