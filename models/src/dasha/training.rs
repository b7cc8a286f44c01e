//! How networks are trained beyond hyper-parameters, as a part of [`DashaJob`](super::DashaJob).

use serde::{Deserialize, Serialize};

use super::architecture::{InputShape, Task};
use super::augmentation::Augmentation;
use super::trial::{Distribution, HyperParameters, TrialSpace};
use super::variation::Variation;

/// Trials from which on the paper's space can be afforded: most of what it draws learns nothing.
const MANY_TRIALS: u32 = 60;

/// Pixels below which a tile is small.
const SMALL_TILE: u64 = 256;

/// How trials and the last training go. Every default is for a run of which nothing more is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingOptions {
    /// The part of a target that goes to the other classes; none takes the paper's, 0.1 for tiles with one class each
    /// and 0 otherwise.
    pub label_smoothing: Option<f64>,
    /// Whether the loss weighs each class by the inverse of its frequency in training.
    pub class_weights: bool,
    /// How much of 1 - Dice is added to the loss of a segmentation.
    pub dice: f64,
    /// The longest gradient of a step; 0 for any. The paper's has none outside of the search, but it also lets trials
    /// diverge at no cost to itself.
    pub clip: f64,
    /// How much of the averaged weights stays at each step, after a start; 0 for no average.
    pub ema: f64,
    /// Epochs without a better score after which the last training ends; 0 for never.
    pub patience: u32,
    /// Variations of training samples; none takes the paper's.
    pub augmentation: Option<Augmentation>,
    /// What trials draw from; none takes the paper's, or a narrower one where there are few trials.
    pub space: Option<TrialSpace>,
    /// What trials may change about frames, beyond the paper: each is tried by name once, and then drawn as
    /// hyper-parameters are. The default is the frame as it is, alone.
    pub variations: Vec<Variation>,
    /// Single precision everywhere; otherwise a GPU multiplies in bfloat16.
    pub full_precision: bool,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            label_smoothing: None,
            class_weights: false,
            dice: 0.0,
            clip: 5.0,
            ema: 0.999,
            patience: 60,
            augmentation: None,
            space: None,
            variations: vec![Variation::default()],
            full_precision: false,
        }
    }
}

impl TrainingOptions {
    /// The first option with which nothing can be trained, in words.
    pub fn fault(&self) -> Option<String> {
        let part = |value: f64| (0.0..1.0).contains(&value);
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let smoothing = self.label_smoothing.unwrap_or(0.0);
        let numbers = [
            ("label_smoothing", smoothing, part(smoothing), "in [0, 1)"),
            ("dice", self.dice, not_negative(self.dice), "0 or greater"),
            ("clip", self.clip, not_negative(self.clip), "0 or greater"),
            ("ema", self.ema, part(self.ema), "in [0, 1)"),
        ];
        if let Some((name, value, _, bounds)) = numbers.into_iter().find(|(_, _, sound, _)| !sound) {
            return Some(format!("training.{name} is {value}; it must be {bounds}"));
        }
        if self.variations.is_empty() || !self.variations.iter().all(Variation::is_sound) {
            return Some("training.variations must name one at least, each with a width in (0, 16]".to_owned());
        }
        let space = self.space.as_ref().map(TrialSpace::check)?;
        space.err().map(|error| format!("training.space.{error}"))
    }

    /// The part of a target that goes to the other classes.
    pub fn smoothing(&self, input: &InputShape, task: Task) -> f64 {
        let of_paper = if task == Task::Classify && !input.is_sequence() {
            0.1
        } else {
            0.0
        };
        self.label_smoothing.unwrap_or(of_paper)
    }

    /// How training samples are varied. Of small tiles a free rotation would leave too little: they are turned by
    /// quarters.
    pub fn augmentation(&self, input: &InputShape) -> Augmentation {
        let is_small = !input.is_sequence() && input.positions() < SMALL_TILE;
        let of_paper = Augmentation::paper(input);
        let default = if is_small {
            Augmentation {
                rotation: 0.0,
                quarter_turns: input.size.windows(2).all(|sides| sides[0] == sides[1]),
                ..of_paper
            }
        } else {
            of_paper
        };
        self.augmentation.unwrap_or(default)
    }

    /// What so many trials draw from, by AdamW or by stochastic gradient descent.
    pub fn trial_space(&self, trials: u32, adam: bool) -> TrialSpace {
        let default = || match (trials < MANY_TRIALS, adam) {
            (false, _) => TrialSpace::default(),
            (true, false) => narrow_space(),
            (true, true) => narrow_space_of_adam(),
        };
        self.space.clone().unwrap_or_else(default)
    }
}

/// For few trials: around what trains most networks with batch normalisation.
fn narrow_space() -> TrialSpace {
    TrialSpace {
        learning_rate: Distribution::Loguniform { low: 0.005, high: 0.4 },
        dropout: Distribution::Choice(vec![0.0, 0.05, 0.1, 0.2]),
        weight_decay: Distribution::Loguniform { low: 1e-5, high: 5e-3 },
        momentum: Distribution::Uniform { low: 0.85, high: 0.97 },
        ..TrialSpace::default()
    }
}

/// The same for AdamW, whose steps are as long as the rate whatever the gradient.
fn narrow_space_of_adam() -> TrialSpace {
    TrialSpace {
        learning_rate: Distribution::Loguniform { low: 1e-4, high: 0.01 },
        weight_decay: Distribution::Loguniform { low: 1e-3, high: 0.2 },
        ..narrow_space()
    }
}

/// Hyper-parameters that nothing had to be tried for: those of the search for kernels, by stochastic gradient descent
/// or, for a U-Net of tiles, by AdamW.
pub fn default_hyper_parameters(adam: bool, task: Task) -> HyperParameters {
    let plain = HyperParameters::default();
    if adam {
        return HyperParameters {
            learning_rate: 1e-3,
            weight_decay: 0.05,
            ..plain
        };
    }
    match task {
        Task::Regress => HyperParameters {
            learning_rate: 0.02, // a squared error's gradient has no bound
            ..plain
        },
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_faults_have_their_key() {
        let options = TrainingOptions::default();
        assert_eq!(options.fault(), None);
        assert_eq!(serde_json::from_str::<TrainingOptions>("{}").ok(), Some(options));
        for (json, told) in [
            (r#"{"ema": 1}"#, "training.ema is 1"),
            (r#"{"clip": -1}"#, "training.clip is -1"),
            (r#"{"variations": []}"#, "training.variations"),
            (r#"{"space": {"dropout": {"choice": []}}}"#, "training.space.dropout"),
        ] {
            let options: TrainingOptions = serde_json::from_str(json).expect("it parses");
            let fault = options.fault().expect("it is not sound");
            assert!(fault.contains(told), "{fault}");
        }
    }

    #[test]
    fn small_tiles_are_turned_by_quarters_and_large_ones_freely() {
        let turned = |size: &[u32]| {
            let input = InputShape {
                bands: 4,
                size: size.to_vec(),
            };
            let augmentation = TrainingOptions::default().augmentation(&input);
            (augmentation.rotation, augmentation.quarter_turns)
        };
        assert_eq!(turned(&[64, 64]), (90.0, false));
        assert_eq!(turned(&[3, 3]), (0.0, true));
        assert_eq!(turned(&[3, 4]), (0.0, false));
        assert_eq!(turned(&[500]), (0.0, false));
    }

    #[test]
    fn few_trials_draw_from_a_narrow_space_and_many_from_the_papers() {
        let options = TrainingOptions::default();
        for adam in [false, true] {
            assert_eq!(options.trial_space(120, adam), TrialSpace::default());
            assert_eq!(options.trial_space(12, adam).check(), Ok(()));
            assert_ne!(options.trial_space(12, adam), TrialSpace::default());
        }
    }
}
