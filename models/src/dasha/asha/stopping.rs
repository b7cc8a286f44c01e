//! The stopping type: a trial is never paused, it ends at the first rung where it is below the others' cutoff.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AshaError, Decision, Settings, score};

/// One rung: what trials had reached when they first came to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// The iteration from which a report counts here; whole where the reduction factor is.
    milestone: f64,
    /// By trial, oriented so that greater is better.
    #[serde(with = "score")]
    recorded: BTreeMap<u32, f64>,
}

impl Rung {
    /// The iteration from which a report counts here.
    pub fn milestone(&self) -> f64 {
        self.milestone
    }

    /// What must be reached: NumPy's `nanpercentile` of the scores so far; none before the first.
    fn cutoff(&self, reduction_factor: f64) -> Option<f64> {
        // In NumPy's own order of operations: a percentage that is divided by a hundred again.
        let quantile = ((1.0 - 1.0 / reduction_factor) * 100.0) / 100.0;
        (!self.recorded.is_empty()).then(|| nan_quantile(self.recorded.values().copied(), quantile))
    }
}

/// Ray Tune's `AsyncHyperBandScheduler` with one bracket: for the same reports the same decisions.
///
/// Report the best score of the trial so far, as DASHA does, or that of the epoch: the rule asks for neither.
///
/// ```
/// use forecastd_models::dasha::asha::{Decision, Settings, Stopping};
///
/// let mut asha = Stopping::new(Settings::default())?;
/// assert_eq!(asha.report(0, 1, 0.8), Decision::Continue); // nobody to be compared with
/// assert_eq!(asha.report(1, 1, 0.7), Decision::Stop);
/// assert_eq!(asha.report(2, 1, 0.9), Decision::Continue);
/// # Ok::<(), forecastd_models::dasha::asha::AshaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stopping {
    settings: Settings,
    /// The farthest first, the order in which a report looks for its own.
    rungs: Vec<Rung>,
}

impl Stopping {
    /// Rungs at `grace_period * reduction_factor ^ k` up to `max_t`.
    ///
    /// # Errors
    ///
    /// The first parameter that is out of bounds.
    pub fn new(settings: Settings) -> Result<Self, AshaError> {
        settings.check()?;
        let (first, last) = (f64::from(settings.grace_period), f64::from(settings.max_t));
        let factor = settings.reduction_factor;
        // Rounded as Ray Tune rounds: with a factor of ten, rungs to 1000 are 1, 10 and 100, for want of one bit.
        let count = ((last / first).ln() / factor.ln() + 1.0) as u32;
        let rungs = (0..count).rev().map(|rung| Rung {
            milestone: first * factor.powf(f64::from(rung)),
            recorded: BTreeMap::new(),
        });
        let rungs = rungs.collect();
        Ok(Self { settings, rungs })
    }

    /// Takes down what a trial has reached after `iteration` epochs, and says whether it goes on.
    ///
    /// A report counts at the highest rung that it has come to and that does not know the trial yet. There the trial
    /// ends if it is below the cutoff of those before it; it is recorded either way. A report from `max_t` on ends
    /// the trial and is not recorded. A score that is not a number is recorded, but neither stops its trial nor
    /// counts for others.
    pub fn report(&mut self, trial: u32, iteration: u32, score: f64) -> Decision {
        if iteration >= self.settings.max_t {
            return Decision::Stop;
        }
        let score = self.settings.mode.orient(score);
        let open = |rung: &&mut Rung| f64::from(iteration) >= rung.milestone && !rung.recorded.contains_key(&trial);
        let Some(rung) = self.rungs.iter_mut().find(open) else {
            return Decision::Continue;
        };
        let cutoff = rung.cutoff(self.settings.reduction_factor);
        rung.recorded.insert(trial, score);
        if cutoff.is_some_and(|cutoff| score < cutoff) {
            Decision::Stop
        } else {
            Decision::Continue
        }
    }

    /// The rule's parameters.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rungs, the farthest first.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// Trials and scores of a rung, as they were reported, by trial.
    pub fn recorded<'a>(&'a self, rung: &'a Rung) -> impl Iterator<Item = (u32, f64)> + 'a {
        let mode = self.settings.mode;
        rung.recorded
            .iter()
            .map(move |(trial, score)| (*trial, mode.orient(*score)))
    }
}

/// NumPy's `nanquantile`, method `linear`, to the last bit; NaN where all are.
fn nan_quantile(values: impl Iterator<Item = f64>, quantile: f64) -> f64 {
    let mut sorted: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = last as f64 * quantile;
    let below = position.floor();
    let (low, high) = (sorted[below as usize], sorted[(below as usize + 1).min(last)]);
    let part = position - below;
    // From the nearer end, as NumPy does.
    if part >= 0.5 {
        high - (high - low) * (1.0 - part)
    } else {
        low + (high - low) * part
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    fn milestones(settings: Settings) -> Vec<f64> {
        let asha = Stopping::new(settings).expect("sound settings");
        asha.rungs().iter().map(Rung::milestone).collect()
    }

    #[test]
    fn rungs_of_the_paper_are_five() {
        assert_eq!(milestones(Settings::default()), [16.0, 8.0, 4.0, 2.0, 1.0]);
    }

    #[test]
    fn settings_without_rungs_are_told() {
        let told = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            Stopping::new(settings).expect_err("no rungs").to_string()
        };
        assert!(told(|s| s.grace_period = 0).contains("grace_period is 0"));
        assert!(told(|s| s.grace_period = 21).contains("max_t is 20"));
        assert!(told(|s| s.reduction_factor = 1.0).contains("reduction_factor is 1"));
        assert!(told(|s| s.reduction_factor = f64::NAN).contains("NaN"));
    }

    #[test]
    fn a_skipped_rung_is_filled_by_the_next_report_but_one() {
        let mut asha = Stopping::new(Settings::default()).expect("sound settings");
        asha.report(0, 4, 0.5);
        asha.report(0, 5, 0.6);
        let at = |milestone: f64| {
            let rung = asha.rungs().iter().find(|rung| rung.milestone() == milestone);
            asha.recorded(rung.expect("a rung")).collect::<Vec<_>>()
        };
        assert_eq!(at(4.0), [(0, 0.5)]);
        assert_eq!(at(2.0), [(0, 0.6)]);
        assert_eq!(at(1.0), []);
    }

    #[test]
    fn a_loss_is_better_when_small() {
        let mode = Mode::Min;
        let mut asha = Stopping::new(Settings {
            mode,
            ..Settings::default()
        })
        .expect("sound settings");
        assert_eq!(asha.report(0, 1, 0.5), Decision::Continue);
        assert_eq!(asha.report(1, 1, 0.6), Decision::Stop);
        assert_eq!(asha.report(2, 1, f64::NAN), Decision::Continue);
    }
}
