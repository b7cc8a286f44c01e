//! What a run's wall time is enough for. Without a time limit a plan is what was asked for, and no clock is asked.

use serde::{Deserialize, Serialize};

use super::job::Budget;

/// Parts of the time for search, trials and the last training.
const SHARES: [f64; 3] = [0.15, 0.25, 0.6];

/// Time that is kept for the test, and for writing the artifact.
const RESERVE: f64 = 0.03;

/// Trials below which fewer epochs of each are the lesser evil.
const FEW_TRIALS: u32 = 8;

/// Epochs of the longest trial below which a single trial of each candidate is the lesser evil.
const FEW_TRIAL_EPOCHS: u32 = 8;

/// Epochs of every trial where not even that many are to be had: nobody is stopped, and whoever has learnt most by then
/// goes on.
const RACE_EPOCHS: u32 = 3;

/// Epochs below which a schedule cannot do its work, so that shorter ones are the lesser evil.
const FEW_EPOCHS: f64 = 12.0;

/// The least part of the training samples that an epoch has.
const SMALLEST_PART: f64 = 0.02;

/// Seconds for each stage; what one does not need goes to those after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageTimes {
    /// For the search of all frames.
    pub search: f64,
    /// For all trials.
    pub trials: f64,
    /// For the last training.
    pub retrain: f64,
}

impl StageTimes {
    /// Shares among the stages that there are; none without a limit.
    pub fn of(budget: &Budget, searches: bool, tries: bool) -> Option<Self> {
        let seconds = budget.seconds? * (1.0 - RESERVE);
        let wanted = [searches, tries, true];
        let share = |stage: usize| if wanted[stage] { SHARES[stage] } else { 0.0 };
        let whole: f64 = (0..3).map(share).sum();
        let of = |stage| seconds * share(stage) / whole;
        Some(Self {
            search: of(0),
            trials: of(1),
            retrain: of(2),
        })
    }
}

/// Epochs, and the part of the training samples in each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochPlan {
    /// So many in all.
    pub epochs: u32,
    /// In (0, 1].
    pub part: f64,
}

impl EpochPlan {
    /// `asked`, as far as `seconds` allow where an epoch of all samples takes `epoch_seconds`: first fewer epochs,
    /// then shorter ones.
    pub fn within(asked: Self, epoch_seconds: f64, seconds: f64) -> Self {
        let affordable = seconds / epoch_seconds.max(1e-9);
        let (epochs, part) = (f64::from(asked.epochs), asked.part);
        if affordable >= epochs * part {
            return asked;
        }
        let epochs = epochs.min((affordable / part).max(FEW_EPOCHS)).floor().max(1.0);
        let part = (affordable / epochs).clamp(SMALLEST_PART.min(part), part);
        Self {
            epochs: epochs as u32,
            part,
        }
    }

    /// The plan anew after `done` epochs, of which each takes `each` seconds: as many more as fit into those `left`.
    pub fn replanned(self, asked: u32, done: u32, each: f64, left: f64) -> Self {
        let more = (left / each.max(1e-9)).max(0.0).min(f64::from(asked)) as u32;
        Self {
            epochs: done.saturating_add(more).min(asked).max(done),
            ..self
        }
    }
}

/// How many trials of how many epochs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialPlan {
    /// So many trials, if the time lasts.
    pub trials: u32,
    /// Epochs of the longest, and the part of the training samples in each; of shorter ones see [`Self::part`].
    pub each: EpochPlan,
}

impl TrialPlan {
    /// What was asked for, as far as `seconds` allow: fewer trials first, but at least one for each of the
    /// `candidates` and eight in all; then shorter ones; then one for each candidate alone; at last a race of few and
    /// short epochs: eight trials of a sixth of the samples each said nothing, and cost the last training its time.
    pub fn within(asked: Self, candidates: u32, epoch_seconds: f64, seconds: f64) -> Self {
        let mut plan = asked;
        let cost = |plan: &Self| epochs_of_trials(plan.trials, plan.each.epochs) * plan.each.part * epoch_seconds;
        let fewest = FEW_TRIALS.max(candidates).min(asked.trials);
        if cost(&plan) > seconds {
            let each = cost(&plan) / f64::from(plan.trials.max(1));
            plan.trials = ((seconds / each) as u32).clamp(fewest, asked.trials);
        }
        while cost(&plan) > seconds && plan.each.epochs > FEW_TRIAL_EPOCHS {
            plan.each.epochs = (plan.each.epochs / 2).max(FEW_TRIAL_EPOCHS);
        }
        if cost(&plan) > seconds {
            plan.trials = candidates.clamp(1, asked.trials);
        }
        if cost(&plan) > seconds {
            plan.each.epochs = RACE_EPOCHS.min(plan.each.epochs);
            let whole = f64::from(plan.trials * plan.each.epochs) * epoch_seconds;
            plan.each.part = (seconds / whole.max(1e-9)).clamp(SMALLEST_PART.min(asked.each.part), asked.each.part);
        }
        plan
    }

    /// Epochs before a trial may be stopped, where `limited` says whether there is a time limit. With one trial for each
    /// network, one that is thrown out after its first epoch, in which rates that warm up have taught nothing yet, is
    /// not tried again.
    pub fn grace(&self, limited: bool) -> u32 {
        let grace = match (limited, self.is_race(), self.trials < FEW_TRIALS) {
            (true, true, _) => self.each.epochs,
            (true, false, true) => 2,
            _ => 1,
        };
        grace.min(self.each.epochs)
    }

    fn is_race(&self) -> bool {
        self.trials < FEW_TRIALS && self.each.epochs <= RACE_EPOCHS
    }

    /// The part of the training samples in each epoch of a network of which a whole epoch takes `seconds`, where it
    /// takes `mean` for all networks on average. Epochs of a race take all networks equally long: what is asked then is
    /// which of them has learnt most by a given time, and a slow one must not spend the time of the others.
    pub fn part(&self, seconds: f64, mean: f64) -> f64 {
        if !self.is_race() {
            return self.each.part;
        }
        (self.each.part * mean / seconds.max(1e-9)).clamp(SMALLEST_PART, 1.0)
    }
}

/// Epochs that so many trials get from successive halving by two: one each, and at every rung as many again for half
/// of those that came to it; the first trial meets no cutoff. That few trials are let be for two epochs adds little.
fn epochs_of_trials(trials: u32, max_epochs: u32) -> f64 {
    let rungs = f64::from(max_epochs.max(1).ilog2());
    f64::from(trials) * (1.0 + rungs / 2.0) + f64::from(max_epochs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAPER: TrialPlan = TrialPlan {
        trials: 120,
        each: EpochPlan { epochs: 20, part: 1.0 },
    };

    fn epochs(epochs: u32) -> EpochPlan {
        EpochPlan { epochs, part: 1.0 }
    }

    #[test]
    fn stages_that_there_are_not_leave_their_time_to_the_others() {
        let budget = Budget {
            seconds: Some(1000.0),
            ..Budget::default()
        };
        let times = StageTimes::of(&budget, true, true).expect("there is a limit");
        assert!((times.search - 145.5).abs() < 1e-9 && (times.retrain - 582.0).abs() < 1e-9);
        let times = StageTimes::of(&budget, false, false).expect("there is a limit");
        assert_eq!((times.search, times.trials), (0.0, 0.0));
        assert!((times.retrain - 970.0).abs() < 1e-9);
        assert_eq!(StageTimes::of(&Budget::default(), true, true), None);
    }

    #[test]
    fn little_time_makes_fewer_epochs_and_then_shorter_ones() {
        assert_eq!(EpochPlan::within(epochs(200), 1.0, 1000.0), epochs(200));
        assert_eq!(EpochPlan::within(epochs(200), 1.0, 50.0), epochs(50));
        let short = EpochPlan::within(epochs(200), 10.0, 50.0);
        assert_eq!(short.epochs, 12);
        assert!((short.part - 5.0 / 12.0).abs() < 1e-12);
    }

    #[test]
    fn little_time_makes_fewer_trials_then_shorter_ones() {
        assert_eq!(TrialPlan::within(PAPER, 4, 1.0, 1e6), PAPER);
        let fewer = TrialPlan::within(PAPER, 4, 1.0, 100.0);
        assert!(
            fewer.trials < 120 && fewer.trials >= 8 && fewer.each.part == 1.0,
            "{fewer:?}"
        );
        let race = TrialPlan::within(PAPER, 4, 10.0, 60.0);
        assert_eq!((race.trials, race.each.epochs, race.each.part), (4, 3, 0.5));
        assert_eq!(
            (race.grace(true), fewer.grace(true)),
            (3, 1),
            "nobody is stopped in a race"
        );
        assert_eq!(
            TrialPlan { trials: 5, ..PAPER }.grace(false),
            1,
            "the paper's, where no time is limited"
        );
    }

    #[test]
    fn a_race_takes_slow_networks_no_longer_than_fast_ones() {
        let race = TrialPlan::within(PAPER, 4, 10.0, 60.0);
        let (fast, slow) = (race.part(5.0, 10.0), race.part(20.0, 10.0));
        assert!((fast * 5.0 - slow * 20.0).abs() < 1e-9, "{fast} {slow}");
        assert_eq!(race.part(1e-3, 10.0), 1.0, "an epoch has no sample twice");
        assert_eq!(PAPER.part(20.0, 10.0), 1.0, "with time enough all see all");
    }

    #[test]
    fn a_plan_follows_what_epochs_have_taken() {
        assert_eq!(epochs(50).replanned(200, 10, 2.0, 80.0), epochs(50));
        assert_eq!(epochs(50).replanned(200, 10, 4.0, 60.0), epochs(25));
        assert_eq!(epochs(50).replanned(200, 10, 1.0, 500.0), epochs(200));
        assert_eq!(epochs(50).replanned(200, 10, 10.0, -1.0), epochs(10));
    }

    proptest! {
        #[test]
        fn no_plan_is_empty_or_more_than_was_asked(
            asked in 1u32..500, part in 0.01f64..1.0, each in 1e-6f64..1e4, seconds in 0f64..1e5, candidates in 1u32..9
        ) {
            let wanted = EpochPlan { epochs: asked, part };
            let plan = EpochPlan::within(wanted, each, seconds);
            prop_assert!(plan.epochs >= 1 && plan.epochs <= asked && plan.part > 0.0 && plan.part <= part);
            let wanted = TrialPlan { trials: asked, each: wanted };
            let plan = TrialPlan::within(wanted, candidates, each, seconds);
            prop_assert!(plan.trials >= 1 && plan.trials <= asked);
            prop_assert!(plan.each.epochs >= 1 && plan.each.part > 0.0 && plan.each.part <= part.max(SMALLEST_PART));
        }
    }
}
