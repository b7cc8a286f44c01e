//! A small service to look at: datasets, fits, and an endpoint over a snapshot that a test changes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forecastd_config::{
    AfterIngest, Columns, Dataset, History, Http, InferenceHttp, Landing, Layout, Limits, Model, OffGrid, PromoteTo,
    Promotion, Retention,
};
use forecastd_models::dasha::Metric;
use forecastd_models::{
    Band, ChannelFit, Choice, Fallback, FitSpec, FittedAr, Forecast, Frequency, GapPolicy, Grid, Interval, Level,
    Member, Method, Timestamp,
};
use tokio::sync::watch;

use super::exposition::{Exposition, Format, Readiness};
use super::http::Sources;
use super::metrics::Metrics;
use crate::artifact_fixture::Artifact;
use crate::message::change_models::{ChangeError, ChangeFuture, ChangeModels};
use crate::message::content_key::ContentKey;
use crate::message::inference::{
    Infer, InferenceAnswer, InferenceCounts, InferenceError, InferenceFuture, InferenceRequest, ServedModel,
};
use crate::message::model::{ModelChange, ModelFacts, ModelState, ModelVersion};
use crate::message::snapshot::{ChannelView, DatasetView, ModelView, Snapshot, StepAccuracy};

/// 2026-11-23T18:15:00Z.
pub(super) const NOW: Timestamp = Timestamp(1_795_457_700_000_000_000);

/// A nanosecond clock's hour.
const HOUR: i64 = 3_600_000_000_000;

pub(super) fn level(share: f64) -> Level {
    Level::new(share).expect("a share")
}

/// A dataset with a horizon of 24, steps 1, 6 and 24, and levels 0.8 and 0.95.
pub(super) fn dataset(name: &str) -> Dataset {
    let count = |n| NonZeroUsize::new(n).expect("positive");
    Dataset {
        name: name.into(),
        incoming: "incoming".into(),
        outgoing: "outgoing".into(),
        quarantine: "quarantine".into(),
        after: AfterIngest::Keep,
        landing: Landing {
            scan_interval: Duration::from_secs(5),
            settle: Duration::from_secs(2),
            patience: Duration::from_secs(60),
        },
        columns: Columns {
            time: "time".into(),
            layout: Layout::Wide { only: None },
        },
        frequency: None,
        off_grid: OffGrid::Snap,
        history: History {
            window: count(1000),
            retention: Duration::from_secs(86_400),
            max_future: Duration::from_secs(60),
        },
        fit: FitSpec {
            horizon: count(24),
            levels: vec![level(0.8), level(0.95)],
            max_lookback: 512,
            gaps: GapPolicy::Interpolate,
        },
        method: Method::default(),
        network: None,
        steps: vec![1, 6, 24],
        max_age: None,
        refit_interval: Duration::ZERO,
        keep_files: count(2),
        limits: Limits {
            file_bytes: 1,
            file_values: 1,
            channels: 1,
            decode_memory: 1,
        },
    }
}

/// A model whose better versions become active by themselves.
pub(super) fn model(name: &str) -> Model {
    Model {
        name: name.into(),
        incoming: "in".into(),
        done: "done".into(),
        quarantine: "quarantine".into(),
        landing: Landing {
            scan_interval: Duration::ZERO,
            settle: Duration::ZERO,
            patience: Duration::ZERO,
        },
        promotion: Promotion {
            to: PromoteTo::Active,
            margin: 0.0,
        },
        retention: Retention { versions: 1, age: None },
        training: None,
    }
}

/// A version of the model `m`.
pub(super) fn version(number: u8, state: ModelState) -> ModelVersion {
    ModelVersion {
        model: "m".into(),
        version: ContentKey([number; 32]),
        state,
        since: Timestamp(0),
        reason: String::new(),
        imported: Timestamp(0),
        promotion: None,
        folder: "models".into(),
        facts: Arc::new(ModelFacts {
            bytes: 0,
            metric: Metric::Accuracy,
            validation: None,
            test: None,
            data: String::new(),
            description: Artifact::scoring(0.5).description,
        }),
    }
}

/// A fit of AR(3), d = 1, hourly, up to an hour before [`NOW`]. Step `s` is expected at `base + s/8`, give or take
/// the level.
pub(super) fn fit(channel: &str, base: f64, levels: &[f64]) -> ChannelFit {
    let mean: Vec<f64> = (1..=24).map(|step| base + f64::from(step) / 8.0).collect();
    let interval = |share: &f64| Interval {
        level: level(*share),
        lower: mean.iter().map(|m| m - share).collect(),
        upper: mean.iter().map(|m| m + share).collect(),
    };
    let model = FittedAr {
        order: 3,
        num_diff: 1,
        coefficients: vec![0.5, 0.25, 0.125],
        intercept: 0.0,
        variance: Some(1.0),
        bic: Some(1.0),
        max_order: 512,
        fallback: None,
    };
    let forecast = Forecast {
        channel: channel.into(),
        grid: Grid {
            origin: NOW,
            frequency: Frequency::fixed(HOUR).expect("positive"),
        },
        cutoff_slot: -1,
        intervals: levels.iter().map(interval).collect(),
        mean,
    };
    ChannelFit {
        model,
        choice: None,
        network: None,
        forecast,
        filled: 2,
    }
}

/// The same by a map of which three parts in four are one ridge for all channels, and one is the channel's own.
pub(super) fn mapped(fit: ChannelFit) -> ChannelFit {
    let band = Band {
        first: 1,
        last: fit.forecast.horizon(),
        weights: vec![(Member::PooledDirect, 0.75), (Member::Direct, 0.25)],
        mse: 0.5,
        best: Member::PooledDirect,
        best_mse: 0.625,
        random_walk_mse: 1.0,
    };
    let choice = Choice {
        lookback: 512,
        windows: 100,
        bands: vec![band],
        order: Some(3),
        num_diff: Some(1),
    };
    ChannelFit {
        choice: Some(Arc::new(choice)),
        ..fit
    }
}

/// A random walk that stands in, without intervals.
pub(super) fn fallback(channel: &str, fallback: Fallback) -> ChannelFit {
    let mut fit = fit(channel, 7.0, &[]);
    fit.model = FittedAr {
        order: 0,
        coefficients: Vec::new(),
        variance: None,
        bic: None,
        fallback: Some(fallback),
        ..fit.model
    };
    fit
}

pub(super) fn view(config: Dataset, fits: Vec<ChannelFit>) -> DatasetView {
    let channels: BTreeMap<_, _> = fits
        .into_iter()
        .map(|fit| {
            let (name, fit) = (Arc::clone(&fit.forecast.channel), Some(Arc::new(fit)));
            (
                name,
                ChannelView {
                    fit,
                    failure: None,
                    anomaly: None,
                },
            )
        })
        .collect();
    DatasetView {
        config: Arc::new(config),
        newest: channels.first_key_value().map(|_| Timestamp(NOW.0 - HOUR)),
        channels,
        due: 1,
        files_waiting: 3,
        gap_points: 5,
        off_grid_rows: 3,
        accuracy: Vec::new(),
        anomalies: 0,
        network: None,
    }
}

/// The same, of which forecasts of steps 1 and 6 have been scored, and none of step 24.
pub(super) fn scored(mut view: DatasetView) -> DatasetView {
    let step = |step, scored, mae: f64| StepAccuracy {
        step,
        scored,
        mae: Some(mae),
        rmse: Some(mae * 1.25),
        skill: Some(0.5 - mae / 4.0),
        coverage: vec![(level(0.8), 0.8125), (level(0.95), 0.9375)],
    };
    let none_yet = StepAccuracy {
        step: 24,
        scored: 0,
        mae: None,
        rmse: None,
        skill: None,
        coverage: Vec::new(),
    };
    view.accuracy = vec![step(1, 40, 0.75), step(6, 35, 2.5), none_yet];
    view.anomalies = 3;
    view
}

/// An endpoint, and all of its inputs.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) exposition: Arc<Exposition>,
    pub(super) networks: Arc<Networks>,
    pub(super) changes: Arc<Changes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(super) readiness: watch::Sender<Readiness>,
}

impl Stage {
    pub(super) fn new(max_series: usize) -> Self {
        let (snapshots, snapshot) = watch::channel(Arc::default());
        let doing = "restoring the state".to_owned();
        let (readiness, ready) = watch::channel(Readiness::Starting { doing });
        let metrics = Arc::new(Metrics::new(NOW));
        let exposition = Exposition::new(snapshot, ready, Arc::clone(&metrics), max_series);
        Self {
            exposition: Arc::new(exposition),
            networks: Arc::default(),
            changes: Arc::default(),
            metrics,
            snapshots,
            readiness,
        }
    }

    /// What the endpoint over all this is made of.
    pub(super) fn sources(&self) -> Sources {
        Sources {
            exposition: Arc::clone(&self.exposition),
            infer: Arc::clone(&self.networks) as Arc<dyn Infer>,
            changes: Arc::clone(&self.changes) as Arc<dyn ChangeModels>,
            config: Http {
                listen: ([127, 0, 0, 1], 0).into(),
                max_series: 1000,
                inference: InferenceHttp {
                    timeout: Duration::from_secs(10),
                    max_timeout: Duration::from_secs(20),
                    body_bytes: 1 << 20,
                    samples: 8,
                    requests: 2,
                },
                admin_token_file: None,
            },
        }
    }

    /// Publishes these models, beside what there is.
    pub(super) fn publish_models(&self, models: Vec<ModelView>) {
        let before = self.snapshots.borrow().as_ref().clone();
        let snapshot = Snapshot {
            generation: before.generation + 1,
            models,
            ..before
        };
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Publishes the next generation, as the service does it.
    pub(super) fn publish(&self, datasets: Vec<DatasetView>) {
        let generation = self.snapshots.borrow().generation + 1;
        for view in &datasets {
            self.metrics.dataset_added(&view.config.name);
        }
        let models = self.snapshots.borrow().models.clone();
        let snapshot = Snapshot {
            generation,
            datasets,
            samples: Vec::new(),
            models,
            trainings: Vec::new(),
        };
        self.metrics.published(&snapshot);
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    pub(super) fn page(&self, format: Format) -> String {
        self.exposition.page(format, None).expect("the whole page").text()
    }

    /// Every sample of the page by its name and labels.
    pub(super) fn samples(&self) -> BTreeMap<String, f64> {
        let page = self.page(Format::Text);
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').expect("a sample");
                (series.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }
}

/// Networks that say what a test wants.
#[derive(Debug, Default)]
pub(super) struct Networks {
    pub(super) served: Mutex<Vec<ServedModel>>,
    pub(super) counts: Mutex<InferenceCounts>,
    /// What every request is told; with none it waits until its caller goes.
    pub(super) outcome: Mutex<Option<Result<InferenceAnswer, InferenceError>>>,
    /// What was asked.
    pub(super) asked: Mutex<Vec<InferenceRequest>>,
    /// Requests whose callers went first.
    pub(super) cancelled: Arc<Mutex<usize>>,
}

/// Counts itself when it is dropped.
struct Cancelled(Arc<Mutex<usize>>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        *self.0.lock().expect("no panic") += 1;
    }
}

impl Infer for Networks {
    fn infer(&self, request: InferenceRequest) -> InferenceFuture<'_> {
        self.asked.lock().expect("no panic").push(request);
        let outcome = self.outcome.lock().expect("no panic").clone();
        let cancelled = Arc::clone(&self.cancelled);
        Box::pin(async move {
            match outcome {
                Some(outcome) => outcome,
                None => {
                    let _counts = Cancelled(cancelled);
                    std::future::pending().await
                }
            }
        })
    }

    fn served(&self) -> Vec<ServedModel> {
        self.served.lock().expect("no panic").clone()
    }

    fn counts(&self) -> InferenceCounts {
        self.counts.lock().expect("no panic").clone()
    }
}

/// Takes every change, unless it is to refuse.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) asked: Mutex<Vec<ModelChange>>,
    pub(super) refusal: Mutex<Option<String>>,
}

impl ChangeModels for Changes {
    fn change(&self, change: ModelChange) -> ChangeFuture<'_> {
        self.asked.lock().expect("no panic").push(change);
        let refusal = self.refusal.lock().expect("no panic").clone();
        Box::pin(async { refusal.map_or(Ok(()), |why| Err(ChangeError::Refused(why))) })
    }
}
