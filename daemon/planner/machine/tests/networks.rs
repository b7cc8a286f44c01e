//! Which network a fit gets, and when a channel is fitted again for its sake.

use forecastd_models::dasha::{Metric, SeriesWindows};

use super::*;
use crate::artifact_fixture::Artifact;
use crate::message::content_key::ContentKey;
use crate::message::model::{ModelFacts, ModelState, ModelVersion};

/// An active version that forecasts so many steps.
fn version(number: u8, steps: usize) -> ModelVersion {
    let mut description = Artifact::scoring(0.5).description;
    description.labels = (1..=steps).map(|step| format!("step_{step}")).collect();
    description.series = Some(SeriesWindows {
        seen_until: Timestamp(0),
    });
    ModelVersion {
        model: "m".into(),
        version: ContentKey([number; 32]),
        state: ModelState::Active,
        since: Timestamp(0),
        reason: String::new(),
        imported: Timestamp(0),
        promotion: None,
        folder: "/models".into(),
        facts: Arc::new(ModelFacts {
            bytes: 1,
            metric: Metric::NegativeRmse,
            validation: Some(0.5),
            test: None,
            data: String::new(),
            description,
        }),
    }
}

impl Story {
    fn versions_are(&mut self, versions: &[ModelVersion]) {
        self.tell(Event::Models(ModelReport {
            done: ModelDone::Recovered,
            versions: versions.to_vec(),
            trainings: Vec::new(),
        }));
    }

    /// Answers the only job; the network could not be asked, if it is owed.
    fn answer(&mut self, owed: bool) {
        let jobs = self.take_jobs();
        let [job] = jobs.as_slice() else {
            panic!("one job: {jobs:?}");
        };
        let channel = &job.channels[0];
        self.tell(Event::Fitted(FitReport {
            dataset: Arc::clone(&job.dataset),
            epoch: job.epoch,
            outcomes: vec![FitOutcome {
                channel: Arc::clone(&channel.channel),
                version: channel.version,
                result: Ok(Arc::new(fit_of(&channel.channel, 7.0))),
                way: FitWay::Whole,
                rolling: None,
                map: None,
                owed,
            }],
            declined: vec![],
            elapsed: Duration::ZERO,
        }));
    }

    fn files(&self) -> usize {
        let is_file = |command: &&Command| matches!(command, Command::WriteForecasts(..));
        self.asked.iter().filter(is_file).count()
    }
}

/// A dataset of one channel that the networks of `m` may forecast, three steps ahead, with a fit under way.
fn story(versions: &[ModelVersion]) -> Story {
    let mut story = Story::with(&["a"], "");
    let text = "state_dir: ./state\nmodels: [{ name: m, incoming: ./m }]\ndatasets:\n  - { name: a, kind: series, \
                incoming: ./in/a, series: { time: t }, forecast: { method: dasha, model: m, horizon: 3 } }\n";
    let config = Config::parse(text, Path::new("/")).expect("a good configuration");
    story.tell(Event::Reconfigured(Arc::new(config)));
    story.versions_are(versions);
    story.list("a", &["a1"]);
    story.commit("a", "a1", &["p"], 0..40);
    story
}

fn network(job: &FitJob) -> Option<u8> {
    job.network.as_ref().map(|version| version.version.0[0])
}

#[test]
fn another_active_version_has_every_channel_fitted_anew() {
    let mut story = story(&[]);
    assert_eq!(story.last_network(), None);
    story.answer(false);
    for (versions, expected) in [
        (vec![version(1, 3)], Some(1)),
        (vec![version(2, 3)], Some(2)),
        (vec![], None),
    ] {
        story.versions_are(&versions);
        assert_eq!(story.last_network(), expected);
        story.answer(false);
        story.versions_are(&versions);
        assert!(story.take_jobs().is_empty(), "the same again");
    }
}

impl Story {
    /// The network of the job that is out.
    fn last_network(&self) -> Option<u8> {
        let mut jobs = self.asked.iter().filter_map(|command| match command {
            Command::Fit(FitWork::Fit(job)) => Some(job),
            _ => None,
        });
        network(jobs.next_back().expect("a job is out"))
    }
}

#[test]
fn a_version_that_changes_under_a_fit_has_it_done_again() {
    let mut story = story(&[]);
    story.versions_are(&[version(1, 3)]);
    assert_eq!(story.last_network(), None);
    story.answer(false);
    assert_eq!(story.last_network(), Some(1));
}

#[test]
fn a_network_that_could_not_be_asked_is_asked_again_and_no_file_is_written_for_that() {
    let mut story = story(&[version(1, 3)]);
    story.answer(true);
    story.tell(Event::Written);
    assert_eq!(story.files(), 1);
    for seconds in [2, 4, 8] {
        story.wait(Duration::from_millis(1000 * seconds - 1));
        assert!(story.take_jobs().is_empty(), "{seconds}");
        story.wait(Duration::from_millis(1));
        assert_eq!(story.last_network(), Some(1));
        story.answer(seconds < 8);
        assert_eq!(story.files(), 1);
    }
    story.wait(Duration::from_secs(1_000));
    assert!(story.take_jobs().is_empty());
}

#[test]
fn a_network_of_other_steps_competes_for_nothing_and_readers_are_told() {
    let mut story = story(&[version(1, 2)]);
    assert_eq!(story.last_network(), None);
    story.answer(false);
    story.wait(Duration::from_secs(1));
    let network = story.last_snapshot().datasets[0]
        .network
        .clone()
        .expect("it names a model");
    let held = network.held.expect("it does not fit");
    assert_eq!(
        (&*network.model, &*held),
        ("m", "it forecasts 2 steps, and forecast.horizon is 3")
    );
}
