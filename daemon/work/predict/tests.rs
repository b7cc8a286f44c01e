//! What is asked of networks, and what becomes of requests that they cannot answer.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use forecastd_models::Timestamp;
use forecastd_models::dasha::samples::NO_CLASS;
use forecastd_models::dasha::{ElementType, Metric};
use tokio::runtime::Runtime;

use super::*;
use crate::artifact_fixture::Artifact;
use crate::message::content_key::ContentKey;
use crate::message::inference::{InferenceAnswer, InferenceCounts, InferenceFuture, ServedModel};
use crate::message::model::{ModelFacts, ModelState};

type Answerer = Box<dyn Fn(&[u8], usize) -> Result<Outputs, InferenceError> + Send + Sync>;

/// Answers as it is told; knows the samples of each request.
struct Fake {
    /// From the samples, one byte each, and how often was asked before.
    answer: Answerer,
    asked: Mutex<Vec<Vec<u8>>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Infer for Fake {
    fn infer(&self, request: InferenceRequest) -> InferenceFuture<'_> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = (self.answer)(&request.inputs, asked.len());
        let all = request.inputs.len();
        assert_eq!(all % request.count as usize, 0, "whole samples");
        asked.push(request.inputs);
        let version = request.version.expect("a version is asked for by name");
        Box::pin(async move {
            Ok(InferenceAnswer {
                version,
                description: Arc::new(description()),
                outputs: outputs?,
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

/// A network of two classes that takes one byte.
fn description() -> ModelDescription {
    let mut description = Artifact::scoring(0.5).description;
    description.element = ElementType::U8;
    description.architecture.input.size = vec![1];
    description
}

fn version() -> ModelVersion {
    ModelVersion {
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
            metric: Metric::Accuracy,
            validation: None,
            test: None,
            data: String::new(),
            description: description(),
        }),
    }
}

struct Scene {
    fake: Arc<Fake>,
    predictor: Predictor,
    stop: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Scene {
    fn new(scores: impl Fn(&[u8], usize) -> Result<Vec<f32>, InferenceError> + Send + Sync + 'static) -> Self {
        Self::answering(move |samples, before| scores(samples, before).map(Outputs::Scores))
    }

    fn answering(answer: impl Fn(&[u8], usize) -> Result<Outputs, InferenceError> + Send + Sync + 'static) -> Self {
        let fake = Arc::new(Fake {
            answer: Box::new(answer),
            asked: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .expect("a runtime");
        let (stop, stopping) = watch::channel(false);
        let infer: Arc<dyn Infer> = Arc::<Fake>::clone(&fake);
        let mut predictor = Predictor::new(infer, runtime.handle().clone(), stopping);
        predictor.patience = Duration::from_millis(200);
        Self {
            fake,
            predictor,
            stop,
            _runtime: runtime,
        }
    }

    fn asked(&self) -> Vec<Vec<u8>> {
        self.fake.asked.lock().expect("nobody panicked").clone()
    }
}

/// Each sample twice: enough to tell whose answer it is.
fn twice(samples: &[u8]) -> Vec<f32> {
    samples.iter().flat_map(|sample| [f32::from(*sample); 2]).collect()
}

/// What comes of that.
fn scores(sample: f32) -> Answer {
    Ok(Outputs::Scores(vec![sample; 2]))
}

fn overloaded() -> InferenceError {
    InferenceError::Overloaded {
        model: "m".into(),
        waiting: 9,
    }
}

#[test]
fn every_sample_gets_its_own_answer() {
    let scene = Scene::new(|samples, _| Ok(twice(samples)));
    let answers = scene.predictor.ask(&version(), &[1, 2, 3]).expect("answered");
    assert_eq!(answers, [1.0, 2.0, 3.0].map(scores));
    assert_eq!(scene.asked(), [[1, 2, 3]]);
}

#[test]
fn a_sample_that_cannot_be_answered_is_found_and_costs_the_others_nothing() {
    let failed = |reason: &str| InferenceError::Failed {
        reason: reason.to_owned(),
    };
    let poison = || InferenceError::Poison {
        deaths: 2,
        how: "killed".to_owned(),
    };
    let scene = Scene::new(move |samples, _| match samples {
        _ if samples.contains(&6) => Err(poison()),
        _ if samples.contains(&2) => Err(failed("not finite")),
        _ => Ok(twice(samples)),
    });
    let answers = scene
        .predictor
        .ask(&version(), &[1, 2, 3, 4, 5, 6, 7])
        .expect("answered");
    let expected: Vec<Answer> = (1..=7)
        .map(|sample| match sample {
            2 => Err(Refusal::Failed),
            6 => Err(Refusal::Poison),
            _ => scores(sample as f32),
        })
        .collect();
    assert_eq!(answers, expected);
}

#[test]
fn what_is_overloaded_or_not_ready_is_asked_again_for_a_while() {
    let scene = Scene::new(|samples, before| match before {
        0 => Err(overloaded()),
        1 => Err(InferenceError::UnknownVersion {
            model: "m".into(),
            version: "1".into(),
        }),
        _ => Ok(twice(samples)),
    });
    assert_eq!(scene.predictor.ask(&version(), &[4]), Ok(vec![scores(4.0)]));
    assert_eq!(scene.asked().len(), 3);
    let scene = Scene::new(|_, _| Err(overloaded()));
    let error = scene.predictor.ask(&version(), &[4, 5]).expect_err("nobody answers");
    assert_eq!(error.fault, PredictFault::Overload);
    assert!(error.detail.contains("9 samples"), "{error}");
    assert!(scene.asked().iter().all(|samples| *samples == [4, 5]), "not halved");
}

#[test]
fn who_has_no_patience_asks_once() {
    let scene = Scene::new(|_, _| Err(overloaded()));
    let predictor = scene.predictor.without_patience();
    let error = predictor.ask(&version(), &[4, 5]).expect_err("nobody answers");
    assert_eq!((error.fault, scene.asked().len()), (PredictFault::Overload, 1));
}

#[test]
fn what_takes_too_long_is_asked_in_smaller_pieces() {
    let slow = || InferenceError::Deadline {
        stage: Stage::Computing,
    };
    let scene = Scene::new(move |samples, _| match samples.len() {
        3.. => Err(slow()),
        _ => Ok(twice(samples)),
    });
    let answers = scene.predictor.ask(&version(), &[1, 2, 3, 4]).expect("answered");
    assert_eq!(answers, [1.0, 2.0, 3.0, 4.0].map(scores));
    let scene = Scene::new(move |_, _| Err(slow()));
    let error = scene.predictor.ask(&version(), &[1]).expect_err("too slow even alone");
    assert_eq!(error.fault, PredictFault::Deadline);
}

#[test]
fn nothing_is_waited_for_once_the_daemon_stops() {
    let scene = Scene::new(|_, _| Err(overloaded()));
    scene.stop.send_replace(true);
    let error = scene.predictor.ask(&version(), &[1]).expect_err("stopping");
    assert_eq!(error.fault, PredictFault::Stopping);
}

#[test]
fn a_mask_is_an_answer_like_any_other() {
    let scene = Scene::answering(|samples, _| {
        let masks = samples.iter().flat_map(|sample| [*sample, 0, 0]);
        Ok(Outputs::Classes(masks.collect()))
    });
    let answers = scene.predictor.ask(&version(), &[1, 2]).expect("answered");
    assert_eq!(answers, [1, 2].map(|class| Ok(Outputs::Classes(vec![class, 0, 0]))));
}

#[test]
fn outputs_say_the_likeliest_class_those_that_are_there_numbers_or_what_is_in_a_mask() {
    let mut description = version().facts.description.clone();
    let mut say = |task, outputs: Outputs| {
        description.architecture.task = task;
        said(&description, &outputs)
    };
    let scores = |scores: &[f32]| Outputs::Scores(scores.to_vec());
    assert_eq!(
        say(Task::Classify, scores(&[0.25, 0.75])),
        Some((Label::Class("yes".to_owned()), Some(0.75)))
    );
    let there = Label::Classes(vec!["no".to_owned()]);
    assert_eq!(say(Task::Multilabel, scores(&[0.5, 0.25])), Some((there, None)));
    assert_eq!(
        say(Task::Regress, scores(&[1.0, -2.0])),
        Some((Label::Numbers(vec![1.0, -2.0]), None))
    );
    let mask = |mask: &[u8]| Outputs::Classes(mask.to_vec());
    let Some((Label::Mask(label), None)) = say(Task::Segment, mask(&[1, 1, 0])) else {
        panic!("a mask")
    };
    assert_eq!(label.classes, [(0, "no".to_owned(), 1), (1, "yes".to_owned(), 2)]);
    assert_eq!(say(Task::Segment, mask(&[2])), None, "a class without a name");
    let Some((Label::Mask(label), None)) = say(Task::Segment, mask(&[1, NO_CLASS, NO_CLASS])) else {
        panic!("a mask")
    };
    assert_eq!(
        label.classes,
        [(1, "yes".to_owned(), 1)],
        "nothing is said of what fills a sequence up"
    );
    let [one, other] = [mask(&[1, 1, 0, 0]), mask(&[1, 0, 0, 0])];
    assert_eq!(agreement(&one, &other, false), 0.75);
    assert_eq!(agreement(&scores(&[0.3]), &scores(&[0.4]), true), 1.0);
}

#[test]
fn a_request_is_small_in_samples_and_in_bytes() {
    let table = [(1, 32), (12_288, 32), (1 << 20, 8), (1 << 24, 1), (0, 32)];
    for (record, samples) in table {
        assert_eq!(samples_at_once(record), samples, "{record}");
    }
}

#[test]
fn samples_of_another_shape_type_or_task_are_told() {
    let text = |more: &str| {
        format!(
            "state_dir: s\ndatasets: [{{ name: d, kind: sequences, incoming: i, samples: {{ id: i, sequence: x, {more} }} }}]"
        )
    };
    let told = |more: &str| {
        let config = forecastd_config::Config::parse(&text(more), std::path::Path::new("/")).expect("a good file");
        mismatch(&config.samples[0].form, &version().facts.description)
    };
    assert_eq!(told("shape: [1], dtype: u8"), None);
    for (more, word) in [
        ("shape: [2], dtype: u8", "shape"),
        ("shape: [1], dtype: f32", "F32"),
        ("shape: [1], dtype: u8, task: regress", "Regress"),
    ] {
        let told = told(more).expect("it does not fit");
        assert!(told.contains(word), "{told}");
    }
    let mut description = version().facts.description.clone();
    description.architecture.task = Task::Segment;
    let masks = |labels: &str| {
        let text = text(&format!(
            "shape: [1], dtype: u8, task: segment, label: y, labels: {labels}"
        ));
        let config = forecastd_config::Config::parse(&text, std::path::Path::new("/")).expect("a good file");
        mismatch(&config.samples[0].form, &description)
    };
    assert_eq!(masks("[\"no\", \"yes\", more]"), None, "a class that came later");
    let told = masks("[\"yes\", \"no\"]").expect("numbers mean something else");
    assert!(told.contains("classes [\"yes\", \"no\"]"), "{told}");
}
