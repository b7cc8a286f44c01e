//! Which hyper-parameters trials try: the space as plain data, and what a trial draws from it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::random::Random;

/// Where one hyper-parameter comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// Its logarithm is uniform.
    Loguniform {
        /// The least, greater than 0.
        low: f64,
        /// Its upper end, left out.
        high: f64,
    },
    /// Each number as likely.
    Uniform {
        /// The least.
        low: f64,
        /// Its upper end, left out.
        high: f64,
    },
    /// Each of these as likely. A single one is a value that stays.
    Choice(Vec<f64>),
    /// Each whole number as likely.
    Randint {
        /// The least.
        low: u32,
        /// Its upper end, left out.
        high: u32,
    },
}

impl Distribution {
    fn sample(&self, random: &mut Random) -> f64 {
        match self {
            Self::Loguniform { low, high } => {
                let value = random.uniform_in(low.ln(), high.ln()).exp();
                // The exponential may round beyond either end.
                value.max(*low).min(high.next_down())
            }
            Self::Uniform { low, high } => random.uniform_in(*low, *high),
            Self::Choice(values) => *random.choice(values).expect("checked: there is one"),
            Self::Randint { low, high } => f64::from(*low) + random.below(u64::from(high - low)) as f64,
        }
    }

    /// What is wrong with the distribution itself.
    fn fault(&self) -> Option<String> {
        let bounds = |low: f64, high: f64| {
            (!(low.is_finite() && high.is_finite() && low < high))
                .then(|| format!("low is {low} and high {high}; low must be less, and both finite"))
        };
        match self {
            Self::Loguniform { low, .. } if *low <= 0.0 => Some(format!("low is {low}; a logarithm takes more than 0")),
            Self::Loguniform { low, high } | Self::Uniform { low, high } => bounds(*low, *high),
            Self::Randint { low, high } => bounds(f64::from(*low), f64::from(*high)),
            Self::Choice(values) if values.is_empty() => Some("there is nothing to choose from".to_owned()),
            Self::Choice(_) => None,
        }
    }

    /// A value that can be drawn and that `is_allowed` does not allow. It must allow an interval, open above.
    fn outside(&self, is_allowed: impl Fn(f64) -> bool) -> Option<f64> {
        let ends = match self {
            Self::Loguniform { low, high } | Self::Uniform { low, high } => vec![*low, high.next_down()],
            Self::Randint { low, high } => vec![f64::from(*low), f64::from(*high) - 1.0],
            Self::Choice(values) => values.clone(),
        };
        ends.into_iter().find(|value| !is_allowed(*value))
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::Randint { .. } => true,
            Self::Choice(values) => values.iter().all(|value| value.fract() == 0.0),
            _ => false,
        }
    }
}

/// The hyper-parameters of a trial. The default is what the search for kernels trains with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HyperParameters {
    /// Of the initial weights, the order of samples, dropout and augmentation.
    pub seed: u64,
    /// Before the schedule.
    pub learning_rate: f64,
    /// The part of activations that is dropped.
    pub dropout: f64,
    /// Pull of the weights to zero.
    pub weight_decay: f64,
    /// Of stochastic gradient descent, with Nesterov's step.
    pub momentum: f64,
}

impl Default for HyperParameters {
    fn default() -> Self {
        Self {
            seed: 0,
            learning_rate: 0.1,
            dropout: 0.0,
            weight_decay: 5e-4,
            momentum: 0.9,
        }
    }
}

/// What trials draw from. The default is the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrialSpace {
    /// Whole numbers.
    pub seed: Distribution,
    /// Greater than 0.
    pub learning_rate: Distribution,
    /// In [0, 1).
    pub dropout: Distribution,
    /// 0 or greater.
    pub weight_decay: Distribution,
    /// In [0, 1).
    pub momentum: Distribution,
}

impl Default for TrialSpace {
    fn default() -> Self {
        Self {
            seed: Distribution::Randint { low: 0, high: 500 },
            learning_rate: Distribution::Loguniform { low: 1e-5, high: 0.5 },
            dropout: Distribution::Choice(vec![0.0, 0.05, 0.1]),
            weight_decay: Distribution::Loguniform { low: 5e-7, high: 5e-3 },
            momentum: Distribution::Uniform { low: 0.9, high: 1.0 },
        }
    }
}

/// Why nothing can be drawn from a space.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{parameter}: {reason}")]
pub struct TrialSpaceError {
    /// The hyper-parameter's key.
    pub parameter: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl TrialSpace {
    /// Whether every trial would get values that can be trained with.
    ///
    /// # Errors
    ///
    /// The first hyper-parameter of which that is not so.
    pub fn check(&self) -> Result<(), TrialSpaceError> {
        let at_least_zero = |value: f64| value >= 0.0 && value.is_finite();
        let part = |value: f64| (0.0..1.0).contains(&value);
        let whole = |value: f64| (0.0..=f64::from(u32::MAX)).contains(&value);
        check("seed", &self.seed, whole, "in 0..=4294967295")?;
        if !self.seed.is_whole() {
            let reason = "it must be a whole number: a randint or a choice".to_owned();
            let parameter = "seed";
            return Err(TrialSpaceError { parameter, reason });
        }
        let positive = |value: f64| value > 0.0 && value.is_finite();
        check("learning_rate", &self.learning_rate, positive, "greater than 0")?;
        check("dropout", &self.dropout, part, "in [0, 1)")?;
        check("weight_decay", &self.weight_decay, at_least_zero, "0 or greater")?;
        check("momentum", &self.momentum, part, "in [0, 1)")
    }

    /// What trial `trial` of a run with `seed` draws: told by the two numbers alone, and each hyper-parameter by its
    /// own stream, so that another distribution of one leaves the others as they were. The space must be
    /// [sound](Self::check).
    pub fn sample(&self, seed: u64, trial: u32) -> HyperParameters {
        let random = Random::new(seed).derive(&format!("trial {trial}"));
        let draw = |parameter, distribution: &Distribution| distribution.sample(&mut random.derive(parameter));
        HyperParameters {
            seed: draw("seed", &self.seed) as u64,
            learning_rate: draw("learning_rate", &self.learning_rate),
            dropout: draw("dropout", &self.dropout),
            weight_decay: draw("weight_decay", &self.weight_decay),
            momentum: draw("momentum", &self.momentum),
        }
    }
}

fn check(
    parameter: &'static str,
    distribution: &Distribution,
    is_allowed: impl Fn(f64) -> bool,
    bounds: &str,
) -> Result<(), TrialSpaceError> {
    let outside = || {
        let value = distribution.outside(is_allowed)?;
        Some(format!("{value} may be drawn; it must be {bounds}"))
    };
    match distribution.fault().or_else(outside) {
        Some(reason) => Err(TrialSpaceError { parameter, reason }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn space(json: &str) -> TrialSpace {
        serde_json::from_str(json).expect("it parses")
    }

    #[test]
    fn a_space_is_data_and_its_faults_are_told_with_their_key() {
        assert_eq!(TrialSpace::default().check(), Ok(()));
        let fixed =
            space(r#"{"momentum": {"choice": [0.9]}, "learning_rate": {"loguniform": {"low": 0.01, "high": 1}}}"#);
        assert_eq!(fixed.check(), Ok(()));
        assert_eq!(fixed.sample(1, 2).momentum, 0.9);
        for (json, told) in [
            (
                r#"{"dropout": {"choice": []}}"#,
                "dropout: there is nothing to choose from",
            ),
            (
                r#"{"dropout": {"choice": [0, 1]}}"#,
                "dropout: 1 may be drawn; it must be in [0, 1)",
            ),
            (
                r#"{"learning_rate": {"loguniform": {"low": 0, "high": 1}}}"#,
                "learning_rate: low is 0",
            ),
            (
                r#"{"momentum": {"uniform": {"low": 0.9, "high": 1.1}}}"#,
                "momentum: 1.0999999999999999 may be drawn",
            ),
            (
                r#"{"weight_decay": {"uniform": {"low": 1, "high": 0}}}"#,
                "weight_decay: low is 1 and high 0",
            ),
            (
                r#"{"seed": {"randint": {"low": 5, "high": 5}}}"#,
                "seed: low is 5 and high 5",
            ),
            (
                r#"{"seed": {"uniform": {"low": 0, "high": 5}}}"#,
                "seed: it must be a whole number",
            ),
        ] {
            let found = space(json).check().expect_err("it is not sound").to_string();
            assert!(found.contains(told), "{found}");
        }
        assert!(serde_json::from_str::<TrialSpace>(r#"{"lr": {"choice": [1]}}"#).is_err());
    }

    #[test]
    fn another_distribution_of_one_leaves_the_others() {
        let paper = TrialSpace::default().sample(3, 11);
        let fixed = space(r#"{"dropout": {"choice": [0.5]}}"#).sample(3, 11);
        assert_eq!(fixed, HyperParameters { dropout: 0.5, ..paper });
        assert_ne!(TrialSpace::default().sample(3, 12), paper);
        assert_ne!(TrialSpace::default().sample(4, 11), paper);
    }

    #[test]
    fn each_decade_of_the_learning_rate_gets_its_part() {
        let space = TrialSpace::default();
        let rates: Vec<f64> = (0..4000).map(|trial| space.sample(0, trial).learning_rate).collect();
        let below = rates.iter().filter(|rate| **rate < 1e-3).count() as f64 / 4000.0;
        // Two of 4.7 decades; four standard errors.
        assert!((below - 2.0 / 50_000f64.log10()).abs() < 0.032, "{below}");
    }

    proptest! {
        #[test]
        fn whatever_is_drawn_lies_in_the_papers_bounds(seed: u64, trial: u32) {
            let drawn = TrialSpace::default().sample(seed, trial);
            prop_assert!(drawn.seed < 500);
            prop_assert!((1e-5..0.5).contains(&drawn.learning_rate));
            prop_assert!([0.0, 0.05, 0.1].contains(&drawn.dropout));
            prop_assert!((5e-7..5e-3).contains(&drawn.weight_decay));
            prop_assert!((0.9..1.0).contains(&drawn.momentum));
            prop_assert_eq!(drawn, TrialSpace::default().sample(seed, trial));
        }
    }
}
