//! How long a page takes: forecasts rendered anew, and a scrape of what was rendered before.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use forecastd::message::snapshot::{ChannelView, DatasetView, Snapshot};
use forecastd::publish::exposition::Format;
use forecastd::publish::{Exposition, Metrics, Readiness};
use forecastd_config::{AfterIngest, Columns, Dataset, History, Landing, Layout, Limits, OffGrid};
use forecastd_models::{
    ChannelFit, FitSpec, FittedAr, Forecast, Frequency, GapPolicy, Grid, Interval, Level, Method, Timestamp,
};
use tokio::sync::watch;

/// 3 steps of a mean and two pairs of bounds, and 3 of the model: 18 samples a channel, 100,008 in all.
const CHANNELS: usize = 5_556;

const SAMPLES: usize = CHANNELS * 18;

fn main() {
    divan::main();
}

#[divan::bench]
fn a_page_of_a_hundred_thousand_samples(bencher: Bencher) {
    let exposition = exposition();
    let bytes = page(&exposition);
    bencher
        .counter(ItemsCount::new(SAMPLES))
        .counter(BytesCount::new(bytes))
        .bench(|| {
            exposition.set_max_series(usize::MAX); // forgets what was rendered
            page(&exposition)
        });
}

#[divan::bench]
fn a_scrape_of_a_rendered_page(bencher: Bencher) {
    let exposition = exposition();
    bencher.bench(|| page(&exposition));
}

fn page(exposition: &Exposition) -> usize {
    let page = exposition.page(Format::OpenMetrics, None).expect("the whole page");
    page.forecasts.len() + page.service.len()
}

fn exposition() -> Exposition {
    let view = DatasetView {
        config: Arc::new(dataset()),
        channels: (0..CHANNELS).map(channel).collect::<BTreeMap<_, _>>(),
        newest: None,
        due: 0,
        files_waiting: 0,
        gap_points: 0,
        off_grid_rows: 0,
        accuracy: Vec::new(),
        anomalies: 0,
        network: None,
    };
    let datasets = vec![view];
    let (_, snapshot) = watch::channel(Arc::new(Snapshot {
        generation: 1,
        datasets,
        samples: Vec::new(),
        models: Vec::new(),
        trainings: Vec::new(),
    }));
    let (_, readiness) = watch::channel(Readiness::Ready);
    Exposition::new(snapshot, readiness, Arc::new(Metrics::new(Timestamp(0))), usize::MAX)
}

fn channel(number: usize) -> (Arc<str>, ChannelView) {
    let name: Arc<str> = format!("sensor-{number:05}/temperature").into();
    let mean: Vec<f64> = (0..96).map(|step| ((number * 96 + step) as f64).sin() * 20.0).collect();
    let interval = |share: f64| Interval {
        level: Level::new(share).expect("a share"),
        lower: mean.iter().map(|m| m - share).collect(),
        upper: mean.iter().map(|m| m + share).collect(),
    };
    let forecast = Forecast {
        channel: Arc::clone(&name),
        grid: Grid {
            origin: Timestamp(0),
            frequency: Frequency::fixed(1_000_000_000).expect("positive"),
        },
        cutoff_slot: 0,
        intervals: vec![interval(0.8), interval(0.95)],
        mean,
    };
    let model = FittedAr {
        order: 1,
        num_diff: 0,
        coefficients: vec![0.5],
        intercept: 0.0,
        variance: Some(1.0),
        bic: Some(0.0),
        max_order: 512,
        fallback: None,
    };
    let filled = 0;
    let fit = Some(Arc::new(ChannelFit {
        model,
        choice: None,
        network: None,
        forecast,
        filled,
    }));
    (
        name,
        ChannelView {
            fit,
            failure: None,
            anomaly: None,
        },
    )
}

fn dataset() -> Dataset {
    let count = |n| NonZeroUsize::new(n).expect("positive");
    Dataset {
        name: "bench".into(),
        incoming: "incoming".into(),
        outgoing: "outgoing".into(),
        quarantine: "quarantine".into(),
        after: AfterIngest::Keep,
        landing: Landing {
            scan_interval: Duration::ZERO,
            settle: Duration::ZERO,
            patience: Duration::ZERO,
        },
        columns: Columns {
            time: "time".into(),
            layout: Layout::Wide { only: None },
        },
        frequency: None,
        off_grid: OffGrid::Snap,
        history: History {
            window: count(1),
            retention: Duration::ZERO,
            max_future: Duration::ZERO,
        },
        fit: FitSpec {
            horizon: count(96),
            levels: Vec::new(),
            max_lookback: 1,
            gaps: GapPolicy::Hold,
        },
        method: Method::default(),
        network: None,
        steps: vec![1, 24, 96],
        max_age: None,
        refit_interval: Duration::ZERO,
        keep_files: count(1),
        limits: Limits {
            file_bytes: 1,
            file_values: 1,
            channels: 1,
            decode_memory: 1,
        },
    }
}
