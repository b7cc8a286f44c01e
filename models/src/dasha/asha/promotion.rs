//! The paper's own rule, Algorithm 2: who is free asks for a job, and gets the next rung of a good trial, or a new one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{AshaError, Decision, Settings, score};

/// What a free worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// From 0, in the order in which they were begun.
    pub trial: u32,
    /// From 0. Above 0 the trial goes on from its weights at the rung before.
    pub rung: u32,
    /// Epochs in all that the trial will have had then.
    pub iterations: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Rung {
    /// By trial, oriented so that greater is better.
    #[serde(with = "score")]
    recorded: BTreeMap<u32, f64>,
    promoted: BTreeSet<u32>,
}

impl Rung {
    /// The best trial of the top `1 / factor` that has not gone on yet. Of equals the one begun first; a score that is
    /// not a number counts among the trials but is never good.
    fn promotable(&self, factor: usize) -> Option<u32> {
        let scores = self.recorded.iter().filter(|(_, score)| !score.is_nan());
        let mut ranked: Vec<(u32, f64)> = scores.map(|(trial, score)| (*trial, *score)).collect();
        // Zeros of both signs are equal, which `total_cmp` would not have.
        ranked.sort_by(|(_, a), (_, b)| b.partial_cmp(a).expect("NaN was left out"));
        let top = ranked.iter().take(self.recorded.len() / factor);
        top.map(|(trial, _)| *trial)
            .find(|trial| !self.promoted.contains(trial))
    }
}

/// Asynchronous successive halving with promotion, one bracket (`s = 0`).
///
/// The farthest rung is the last one of `grace_period * reduction_factor ^ k` that is not beyond `max_t`; no trial
/// trains longer than to there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promotion {
    settings: Settings,
    factor: u32,
    /// The nearest first.
    rungs: Vec<Rung>,
    next_trial: u32,
    /// Handed out, not reported: the rung that each will reach.
    running: BTreeMap<u32, u32>,
}

impl Promotion {
    /// Before the first trial.
    ///
    /// # Errors
    ///
    /// The first parameter that is out of bounds; the reduction factor must be a whole number here.
    pub fn new(settings: Settings) -> Result<Self, AshaError> {
        settings.check()?;
        let factor = settings.reduction_factor as u32;
        if f64::from(factor) != settings.reduction_factor {
            return Err(AshaError::WholeReductionFactor(settings.reduction_factor));
        }
        let times = u64::from(settings.max_t / settings.grace_period);
        let rungs = vec![Rung::default(); times.ilog(u64::from(factor)) as usize + 1];
        Ok(Self {
            settings,
            factor,
            rungs,
            next_trial: 0,
            running: BTreeMap::new(),
        })
    }

    /// `get_job` of the paper: a promotion from the highest rung that has one, else a new trial, as long as fewer than
    /// `trials` have begun. None means that only reports can bring more; with no job running, that all is done.
    pub fn job(&mut self, trials: u32) -> Option<Job> {
        let job = self.promote().or_else(|| self.begin(trials))?;
        self.running.insert(job.trial, job.rung);
        Some(job)
    }

    fn promote(&mut self) -> Option<Job> {
        let below_last = 0..self.rungs.len() - 1;
        for rung in below_last.rev() {
            if let Some(trial) = self.rungs[rung].promotable(self.factor as usize) {
                self.rungs[rung].promoted.insert(trial);
                return Some(self.job_of(trial, rung as u32 + 1));
            }
        }
        None
    }

    fn begin(&mut self, trials: u32) -> Option<Job> {
        let trial = self.next_trial;
        if trial >= trials {
            return None;
        }
        self.next_trial += 1;
        Some(self.job_of(trial, 0))
    }

    fn job_of(&self, trial: u32, rung: u32) -> Job {
        let iterations = self.iterations(rung);
        Job {
            trial,
            rung,
            iterations,
        }
    }

    fn iterations(&self, rung: u32) -> u32 {
        // Not beyond `max_t`, so within `u32`.
        self.settings.grace_period * self.factor.pow(rung)
    }

    /// Takes down what a trial has reached after `iteration` epochs. It goes on to the end of its job; there it is
    /// recorded, and rests, or is over at the last rung.
    ///
    /// # Errors
    ///
    /// [`AshaError::NoJob`] of a trial that nobody asked to run.
    pub fn report(&mut self, trial: u32, iteration: u32, score: f64) -> Result<Decision, AshaError> {
        let rung = *self.running.get(&trial).ok_or(AshaError::NoJob(trial))?;
        if iteration < self.iterations(rung) {
            return Ok(Decision::Continue);
        }
        self.running.remove(&trial);
        let score = self.settings.mode.orient(score);
        self.rungs[rung as usize].recorded.insert(trial, score);
        let is_last = rung as usize + 1 == self.rungs.len();
        Ok(if is_last { Decision::Stop } else { Decision::Pause })
    }

    /// Jobs without a report yet: what a process does first that goes on from a checkpoint.
    pub fn running(&self) -> impl Iterator<Item = Job> + '_ {
        self.running.iter().map(|(trial, rung)| self.job_of(*trial, *rung))
    }

    /// The rule's parameters.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Of each rung, the nearest first: its epochs, and trials with their scores as they were reported.
    pub fn rungs(&self) -> impl Iterator<Item = (u32, Vec<(u32, f64)>)> + '_ {
        let mode = self.settings.mode;
        self.rungs.iter().zip(0..).map(move |(rung, number)| {
            let scores = rung.recorded.iter();
            let scores = scores.map(|(trial, score)| (*trial, mode.orient(*score)));
            (self.iterations(number), scores.collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Mode;
    use super::*;

    fn promotion(max_t: u32, reduction_factor: f64) -> Promotion {
        let settings = Settings {
            max_t,
            reduction_factor,
            ..Settings::default()
        };
        Promotion::new(settings).expect("sound settings")
    }

    /// One worker: each trial's score stands beforehand. The jobs as (trial, epochs).
    fn alone(mut asha: Promotion, scores: &[f64]) -> Vec<(u32, u32)> {
        let mut jobs = Vec::new();
        while let Some(job) = asha.job(scores.len() as u32) {
            jobs.push((job.trial, job.iterations));
            let decision = asha.report(job.trial, job.iterations, scores[job.trial as usize]);
            assert_ne!(decision, Ok(Decision::Continue));
        }
        jobs
    }

    /// Algorithm 2 step by step with r = 1, R = 9 and a factor of three.
    #[test]
    fn nine_trials_thirded_twice_by_hand() {
        let scores = [5.0, 6.0, 4.0, 1.0, 2.0, 3.0, 7.0, 8.0, 9.0];
        let expected = [
            (0, 1),
            (1, 1),
            (2, 1),
            // The best of three.
            (1, 3),
            (3, 1),
            (4, 1),
            (5, 1),
            // The best two of six.
            (0, 3),
            (6, 1),
            // Of seven still two go on: trial 6 is of them now.
            (6, 3),
            // Three have come to the second rung: the best of them.
            (6, 9),
            (7, 1),
            // Still two of eight, and 7 is the best of them.
            (7, 3),
            // One of the four at the second rung goes on, and that is 7 now: a rung gives up more than its share where
            // the later trials are better.
            (7, 9),
            (8, 1),
            (8, 3),
            (8, 9),
        ];
        assert_eq!(alone(promotion(9, 3.0), &scores), expected);
    }

    #[test]
    fn halves_of_four_by_hand() {
        let scores = [1.0, 2.0, 3.0, 4.0];
        let expected = [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 4), (3, 1), (3, 2), (3, 4)];
        assert_eq!(alone(promotion(4, 2.0), &scores), expected);
    }

    #[test]
    fn of_equals_the_first_goes_on_and_none_that_is_not_a_number() {
        assert_eq!(alone(promotion(3, 2.0), &[1.0, 1.0]), [(0, 1), (1, 1), (0, 2)]);
        assert_eq!(alone(promotion(3, 2.0), &[f64::NAN; 2]), [(0, 1), (1, 1)]);
        assert_eq!(alone(promotion(3, 2.0), &[0.0, -0.0]), [(0, 1), (1, 1), (0, 2)]);
    }

    #[test]
    fn a_report_without_a_job_and_a_broken_factor_are_told() {
        let mut asha = promotion(4, 2.0);
        assert_eq!(asha.report(3, 1, 0.0), Err(AshaError::NoJob(3)));
        let settings = Settings {
            reduction_factor: 2.5,
            ..Settings::default()
        };
        assert!(
            Promotion::new(settings)
                .expect_err("broken")
                .to_string()
                .contains("2.5")
        );
    }

    proptest! {
        #[test]
        fn whatever_the_order_each_rung_gives_up_its_share_once_and_a_checkpoint_changes_nothing(
            factor in 2u32..5,
            grace_period in 1u32..4,
            max_t in 4u32..60,
            workers in 1usize..5,
            is_min in any::<bool>(),
            events in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![
                9 => (-3i32..3).prop_map(f64::from),
                1 => Just(f64::NAN),
                1 => Just(f64::NEG_INFINITY),
            ]), 1..120),
        ) {
            let mode = if is_min { Mode::Min } else { Mode::Max };
            let settings = Settings { grace_period, max_t, reduction_factor: f64::from(factor), mode };
            let mut asha = Promotion::new(settings).expect("sound settings");
            let mut jobs: Vec<Job> = Vec::new();
            let mut given = BTreeSet::new();
            for (index, score) in events {
                while jobs.len() < workers {
                    let Some(job) = asha.job(30) else { break };
                    prop_assert!(job.iterations <= max_t);
                    prop_assert!(given.insert((job.trial, job.rung)), "{job:?} twice");
                    jobs.push(job);
                }
                if jobs.is_empty() {
                    break;
                }
                let json = serde_json::to_string(&asha).expect("plain data");
                let restored: Promotion = serde_json::from_str(&json).expect("what was written");
                prop_assert_eq!(serde_json::to_string(&restored).expect("plain data"), json);
                asha = restored;
                let job = jobs.remove(index.index(jobs.len()));
                asha.report(job.trial, job.iterations, score).expect("it has a job");
                for rung in &asha.rungs {
                    // What was promoted among fewer trials stays so; the share is of those there at the time.
                    prop_assert!(rung.promoted.is_subset(&rung.recorded.keys().copied().collect()));
                    prop_assert!(rung.promoted.iter().all(|trial| !rung.recorded[trial].is_nan()));
                }
                let running: BTreeSet<u32> = asha.running().map(|job| job.trial).collect();
                prop_assert_eq!(running, jobs.iter().map(|job| job.trial).collect());
            }
        }

        #[test]
        fn no_promotion_is_outside_the_top_share_of_its_moment(
            scores in proptest::collection::vec(-9i32..9, 1..60),
            factor in 2u32..5,
        ) {
            let mut asha = promotion(64, f64::from(factor));
            loop {
                let before = asha.clone();
                let Some(job) = asha.job(scores.len() as u32) else { break };
                let score = f64::from(scores[job.trial as usize]);
                if let Some(rung) = job.rung.checked_sub(1) {
                    let rung = &before.rungs[rung as usize];
                    let better = rung.recorded.values().filter(|other| **other > score).count();
                    prop_assert!(better < rung.recorded.len() / factor as usize);
                }
                asha.report(job.trial, job.iterations, score).expect("it has a job");
            }
        }
    }
}
