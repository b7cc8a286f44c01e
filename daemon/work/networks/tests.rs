//! When a network is asked about a channel, and what becomes of the channel when it does not answer.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use forecastd_models::dasha::{Metric, ModelDescription, SeriesWindows};
use forecastd_models::{Frequency, GapPolicy, Grid, Level, Method, Timestamp};
use tokio::runtime::Runtime;

use super::*;
use crate::artifact_fixture::Artifact;
use crate::message::content_key::ContentKey;
use crate::message::inference::{InferenceAnswer, InferenceCounts, InferenceFuture, ServedModel, Stage};
use crate::message::model::{ModelFacts, ModelState};

const LOOKBACK: usize = 16;
const HORIZON: usize = 2;
const SAMPLES: usize = 300;

/// Knows what comes after each window of [`rough`], unless it is to fail.
#[derive(Debug, Default)]
struct Oracle {
    failure: Option<InferenceError>,
    /// Windows and deadline of each request.
    asked: Mutex<Vec<(u32, Instant)>>,
}

impl Infer for Oracle {
    fn infer(&self, request: InferenceRequest) -> InferenceFuture<'_> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((request.count, request.deadline));
        let windows = request
            .inputs
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes));
        let windows: Vec<f32> = windows.collect();
        let scores: Vec<f32> = windows.chunks(LOOKBACK).flat_map(what_follows).collect();
        let outcome = self.failure.clone().map_or(Ok(scores), Err);
        Box::pin(async move {
            Ok(InferenceAnswer {
                version: "v".into(),
                description: Arc::new(description()),
                outputs: Outputs::Scores(outcome?),
                queue: Duration::ZERO,
                compute: Duration::ZERO,
                batch: request.count,
            })
        })
    }

    fn served(&self) -> Vec<ServedModel> {
        Vec::new()
    }

    fn counts(&self) -> InferenceCounts {
        InferenceCounts::default()
    }
}

/// The logistic map, which no linear method foresees.
fn rough(n: usize) -> Vec<f64> {
    let mut state = 0.372_f64;
    let next = |_| {
        state = 3.99 * state * (1.0 - state);
        state
    };
    (0..n).map(next).collect()
}

fn what_follows(window: &[f32]) -> Vec<f32> {
    let values = rough(SAMPLES + HORIZON);
    let found = (LOOKBACK..=SAMPLES).find_map(|origin| {
        let scaled = ScaledWindow::of(&values[origin - LOOKBACK..origin])?;
        (scaled.values == window).then(|| scaled.targets(&values[origin..origin + HORIZON]))?
    });
    found.expect("a window of the series, in units of itself")
}

fn description() -> ModelDescription {
    let mut description = Artifact::scoring(0.5).description;
    description.architecture.input.size = vec![LOOKBACK as u32];
    description.series = Some(SeriesWindows {
        seen_until: Timestamp(0),
    });
    description
}

fn version() -> Arc<ModelVersion> {
    Arc::new(ModelVersion {
        model: "m".into(),
        version: ContentKey([1; 32]),
        state: ModelState::Active,
        since: Timestamp(0),
        reason: String::new(),
        imported: Timestamp(0),
        promotion: None,
        folder: "/models".into(),
        facts: Arc::new(ModelFacts {
            bytes: 1,
            metric: Metric::NegativeRmse,
            validation: None,
            test: None,
            data: String::new(),
            description: description(),
        }),
    })
}

fn spec() -> FitSpec {
    FitSpec {
        horizon: NonZeroUsize::new(HORIZON).expect("two"),
        levels: Level::new(0.8).into_iter().collect(),
        max_lookback: 32,
        gaps: GapPolicy::Interpolate,
    }
}

fn series() -> Series {
    Series {
        channel: "c".into(),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(1).expect("positive"),
        },
        first_slot: 10,
        values: rough(SAMPLES),
    }
}

fn mapped() -> (ChannelFit, Arc<ChannelMap>) {
    let found = ChannelMap::fit(&series(), &spec(), Method::Auto, None).expect("no failure");
    let (fit, map) = found.expect("a map");
    (fit, Arc::new(map))
}

struct Scene {
    oracle: Arc<Oracle>,
    networks: Networks,
    _runtime: Runtime,
}

impl Scene {
    fn new(failure: Option<InferenceError>) -> Self {
        let oracle = Arc::new(Oracle {
            failure,
            asked: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let infer: Arc<dyn Infer> = Arc::<Oracle>::clone(&oracle);
        Self {
            oracle,
            networks: Networks::new(infer, runtime.handle().clone()),
            _runtime: runtime,
        }
    }

    fn asked(&self) -> Vec<(u32, Instant)> {
        self.oracle.asked.lock().expect("nobody panicked").clone()
    }
}

#[test]
fn a_network_is_tried_once_and_then_asked_for_forecasts_alone() {
    let scene = Scene::new(None);
    let (fit, map) = mapped();
    let mut job = scene.networks.for_job(version());
    let heard = job.beside(&series(), &spec(), fit.clone(), map);
    let truth = &rough(SAMPLES + HORIZON)[SAMPLES..];
    for (mean, truth) in heard.fit.forecast.mean.iter().zip(truth) {
        assert!((mean - truth).abs() < 1e-4, "{mean} {truth}");
    }
    assert_eq!((heard.fit.leading(), heard.owed), ("dasha", false));
    let mut job = scene.networks.for_job(version());
    let again = job.beside(&series(), &spec(), fit, heard.map);
    assert_eq!(again.fit, heard.fit);
    let counts: Vec<u32> = scene.asked().iter().map(|(count, _)| *count).collect();
    assert_eq!(counts, [30, 1, 1], "a trial, and a forecast at each fit");
}

#[test]
fn a_network_that_does_not_answer_costs_a_job_one_question_and_no_forecast() {
    for (failure, owed, questions) in [
        (
            InferenceError::Deadline {
                stage: Stage::Computing,
            },
            true,
            1,
        ),
        (InferenceError::Unavailable { reason: String::new() }, true, 1),
        (InferenceError::Stopping, true, 1),
        // These are about the windows of one channel: the next one may fare better, and nothing is gained by waiting.
        (InferenceError::Failed { reason: String::new() }, false, 3),
    ] {
        let scene = Scene::new(Some(failure.clone()));
        let (fit, map) = mapped();
        let mut job = scene.networks.for_job(version());
        for _ in 0..3 {
            let heard = job.beside(&series(), &spec(), fit.clone(), Arc::clone(&map));
            assert_eq!((heard.fit, heard.owed), (fit.clone(), owed), "{failure}");
        }
        let asked = scene.asked();
        assert_eq!(asked.len(), questions, "{failure}");
        assert!(
            asked.iter().all(|(_, deadline)| *deadline == asked[0].1),
            "of the whole job"
        );
    }
}

#[test]
fn a_network_that_has_seen_everything_is_not_asked() {
    let scene = Scene::new(None);
    let (fit, map) = mapped();
    let mut all_seen = (*version()).clone();
    let mut facts = (*all_seen.facts).clone();
    facts.description.series = Some(SeriesWindows {
        seen_until: Timestamp(1_000),
    });
    all_seen.facts = Arc::new(facts);
    let mut job = scene.networks.for_job(Arc::new(all_seen));
    let heard = job.beside(&series(), &spec(), fit.clone(), map);
    assert_eq!((heard.fit, heard.owed, scene.asked().len()), (fit, false, 0));
}
