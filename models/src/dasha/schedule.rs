//! Learning-rate schedules: what the rate is multiplied by in each epoch.
//!
//! The paper's milestones are for its own number of epochs; with another number they move in proportion, rounded
//! down. With the paper's number they are the paper's.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::architecture::Backbone;

/// A learning rate's course.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Times `factor` once for each of the epochs in `after` that is over. Epochs count from 0: with 30 in `after`,
    /// epoch 31 is the first that is slower, as in the paper's code.
    Steps {
        /// What each step multiplies by.
        factor: f64,
        /// The last epoch before each step.
        after: Vec<u32>,
    },
    /// Up from 0 in `warm_up` epochs, then down by a line that would reach 0 `decay` epochs later.
    WarmUpLinear {
        /// Epochs on the way up; the first of them has rate 0.
        warm_up: u32,
        /// Epochs on the way down.
        decay: u32,
    },
    /// Half a wave, from 1 in epoch 0 to 0 in epoch `epochs` (arXiv 1608.03983).
    Cosine {
        /// All epochs.
        epochs: u32,
    },
}

/// Which training a schedule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The search for kernels: 100 epochs in the paper, 60 with a U-Net of tiles.
    Search,
    /// A trial of hyper-parameters: 20 epochs.
    Trial,
    /// The last training: 200 epochs, 100 with a U-Net of tiles.
    Retrain,
}

impl Schedule {
    /// The paper's for this stage, frame and number of axes of the input, fitted to `epochs` epochs.
    pub fn paper(stage: Stage, backbone: &Backbone, axes: usize, epochs: u32) -> Self {
        let is_unet = matches!(backbone, Backbone::UNet { .. });
        match (stage, is_unet, axes == 1) {
            (Stage::Search, true, false) => warm_up_linear(5, 60, 60, epochs),
            (Stage::Search, ..) => steps(&[30, 60, 80], 100, epochs),
            // The paper's code decays as if there were 80 epochs, so that a trial ends while it is fast.
            (Stage::Trial, true, false) => warm_up_linear(5, 80, 20, epochs),
            (Stage::Trial, true, true) => steps(&[3, 6, 9, 12, 16], 20, epochs),
            (Stage::Trial, false, true) => steps(&[6, 12, 18], 20, epochs),
            (Stage::Trial, false, false) => steps(&[12], 20, epochs),
            (Stage::Retrain, true, false) => warm_up_linear(5, 100, 100, epochs),
            (Stage::Retrain, _, true) => steps(&[30, 60, 90, 120, 160], 200, epochs),
            (Stage::Retrain, false, false) => steps(&[60, 120, 160], 200, epochs),
        }
    }

    /// What the learning rate is multiplied by in an epoch, from 0; never negative.
    pub fn factor(&self, epoch: u32) -> f64 {
        match self {
            Self::Steps { factor, after } => {
                let taken = after.iter().filter(|last| epoch > **last).count();
                factor.powi(taken as i32)
            }
            Self::WarmUpLinear { warm_up, .. } if epoch < *warm_up => f64::from(epoch) / f64::from(*warm_up),
            Self::WarmUpLinear { warm_up, decay } => {
                let past = epoch - warm_up;
                f64::from(decay.saturating_sub(past)) / f64::from((*decay).max(1))
            }
            Self::Cosine { epochs } => {
                let part = f64::from(epoch.min(*epochs)) / f64::from((*epochs).max(1));
                (1.0 + (PI * part).cos()) / 2.0
            }
        }
    }
}

/// `count` of `of` epochs, where there are `epochs` in all, rounded down.
fn scaled(count: u32, of: u32, epochs: u32) -> u32 {
    (u64::from(count) * u64::from(epochs) / u64::from(of)) as u32
}

fn steps(after: &[u32], of: u32, epochs: u32) -> Schedule {
    let after = after.iter().map(|last| scaled(*last, of, epochs)).collect();
    Schedule::Steps { factor: 0.2, after }
}

fn warm_up_linear(warm_up: u32, decay: u32, of: u32, epochs: u32) -> Schedule {
    Schedule::WarmUpLinear {
        warm_up: scaled(warm_up, of, epochs),
        decay: scaled(decay, of, epochs).max(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESNET: Backbone = Backbone::ResNet { width: 128 };
    const WIDE: Backbone = Backbone::WideResNet { depth: 16, width: 4 };

    fn unet() -> Backbone {
        let widths = vec![64, 128];
        Backbone::UNet { widths }
    }

    fn after(schedule: Schedule) -> Vec<u32> {
        match schedule {
            Schedule::Steps { after, .. } => after,
            other => panic!("{other:?} has no steps"),
        }
    }

    #[test]
    fn with_the_papers_epochs_milestones_are_the_papers() {
        use Stage::{Retrain, Search, Trial};
        assert_eq!(after(Schedule::paper(Search, &WIDE, 2, 100)), [30, 60, 80]);
        assert_eq!(after(Schedule::paper(Search, &unet(), 1, 100)), [30, 60, 80]);
        assert_eq!(after(Schedule::paper(Trial, &RESNET, 1, 20)), [6, 12, 18]);
        assert_eq!(after(Schedule::paper(Trial, &unet(), 1, 20)), [3, 6, 9, 12, 16]);
        assert_eq!(after(Schedule::paper(Trial, &WIDE, 2, 20)), [12]);
        assert_eq!(after(Schedule::paper(Retrain, &RESNET, 1, 200)), [30, 60, 90, 120, 160]);
        assert_eq!(after(Schedule::paper(Retrain, &unet(), 1, 200)), [30, 60, 90, 120, 160]);
        assert_eq!(after(Schedule::paper(Retrain, &WIDE, 2, 200)), [60, 120, 160]);
        let decay = |stage, epochs| match Schedule::paper(stage, &unet(), 2, epochs) {
            Schedule::WarmUpLinear { warm_up, decay } => (warm_up, decay),
            other => panic!("{other:?} does not warm up"),
        };
        assert_eq!(
            [decay(Search, 60), decay(Trial, 20), decay(Retrain, 100)],
            [(5, 60), (5, 80), (5, 100)]
        );
    }

    #[test]
    fn a_step_comes_the_epoch_after_its_milestone() {
        let schedule = Schedule::paper(Stage::Search, &WIDE, 2, 10);
        let factors: Vec<f64> = (0..10).map(|epoch| schedule.factor(epoch)).collect();
        assert_eq!(factors[..4], [1.0; 4]);
        assert!((factors[4] - 0.2).abs() < 1e-15 && (factors[9] - 0.008).abs() < 1e-15);
    }

    #[test]
    fn warm_up_and_cosine_by_hand() {
        let schedule = Schedule::paper(Stage::Search, &unet(), 2, 60);
        let factor = |epoch| schedule.factor(epoch);
        assert_eq!(
            [factor(0), factor(1), factor(5), factor(35), factor(65), factor(99)],
            [0.0, 0.2, 1.0, 0.5, 0.0, 0.0]
        );
        let cosine = Schedule::Cosine { epochs: 4 };
        assert_eq!((cosine.factor(0), cosine.factor(4), cosine.factor(9)), (1.0, 0.0, 0.0));
        assert!((cosine.factor(2) - 0.5).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn no_factor_leaves_zero_to_one_and_steps_only_fall(epochs in 0u32..5000, epoch in 0u32..6000) {
            for stage in [Stage::Search, Stage::Trial, Stage::Retrain] {
                for (backbone, axes) in [(RESNET, 1), (WIDE, 2), (unet(), 1), (unet(), 2)] {
                    let schedule = Schedule::paper(stage, &backbone, axes, epochs);
                    let factor = schedule.factor(epoch);
                    prop_assert!((0.0..=1.0).contains(&factor));
                    let is_falling = matches!(schedule, Schedule::Steps { .. });
                    prop_assert!(!is_falling || schedule.factor(epoch + 1) <= factor);
                }
            }
        }
    }
}
