//! What a run's wall time is enough for. Without a time limit a plan is what was asked for, and no clock is asked.

use serde::{Deserialize, Serialize};

use super::job::Budget;

/// Parts of the time for search, trials and the last training.
const SHARES: [f64; 3] = [0.2, 0.4, 0.4];

/// Time that is kept for the test, and for writing the artifact.
const RESERVE: f64 = 0.03;

/// Trials below which fewer epochs of each are the lesser evil.
const FEW_TRIALS: u32 = 8;

/// Epochs of the longest trial below which a single trial of each candidate is the lesser evil.
const FEW_TRIAL_EPOCHS: u32 = 8;

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
    /// Epochs of the longest, and the part of the training samples in each.
    pub each: EpochPlan,
}

impl TrialPlan {
    /// What was asked for, as far as `seconds` allow: fewer trials first, but at least one for each of the
    /// `candidates` and eight in all; then shorter ones; then one for each candidate alone, and shorter epochs at last:
    /// eight trials of a sixth of the samples each said nothing, and cost the last training its time.
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
            plan.each.part = (plan.each.part * seconds / cost(&plan)).max(SMALLEST_PART);
        }
        plan
    }
}

/// Epochs that so many trials get from successive halving by two: one each, and at every rung as many again for half
/// of those that came to it; the first trial meets no cutoff.
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
        assert!((times.search - 194.0).abs() < 1e-9 && (times.retrain - 388.0).abs() < 1e-9);
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
        let short = TrialPlan::within(PAPER, 4, 10.0, 60.0);
        assert_eq!((short.trials, short.each.epochs), (4, 8));
        assert!(short.each.part < 0.5, "{short:?}");
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
