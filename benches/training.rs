//! Refits beside a training: what a network in the making costs those who wait for forecasts, and what it gets itself.
//!
//! `FORECASTD_TORCH=… cargo bench --bench training`. Under `cargo test` it looks for a moment, so that it cannot rot.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports by printing and fails by panicking"
)]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the stories use more of it")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use forecastd::message::series_drop::{RawRows, SeriesDrop};
use forecastd::message::training::TrainJob;
use forecastd::planner::history::{ChannelHistory, HistoryRules};
use forecastd::work::train::{Setting, Trainer};
use forecastd_config::{Config, OffGrid};
use forecastd_models::dasha::{
    BackboneChoice, Budget, DashaJob, Random, SampleSet, ScaleChoice, SearchSpace, TrainingOptions,
};
use forecastd_models::{FitSpec, GapPolicy, Series, Timestamp};
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use support::network::executable;
use support::{child_of, wait_for, wait_idly_for};

/// Points of the channel that is fitted again and again, and the order that it is searched up to.
const POINTS: i64 = 8192;
const LOOKBACK: usize = 512;

/// Tiles that the network is trained on.
const TILES: u64 = 400;

fn main() {
    // Cargo tells a bench that it is to measure; of a test it says nothing.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let Some(executable) = executable() else { return };
    let measured = Duration::from_millis(if is_bench { 20_000 } else { 200 });
    let series = series();
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let alone = fit(&series, processors, measured);
    println!("{processors} fit threads alone: {alone:.1} fits a second of wall time");

    let folder = tempfile::tempdir().unwrap();
    let trainer = train(&executable, folder.path(), processors);
    let child = wait_for("the child", || child_of(std::process::id(), "forecastd-torch"));
    wait_idly_for("its first epoch", || {
        folder.path().join("1/checkpoint/state.json").exists().then_some(())
    });
    for threads in [processors, 1] {
        let (started, before, ours) = (Instant::now(), cpu_of(child), cpu_seconds());
        let rate = fit(&series, threads, measured);
        let (theirs, ours) = (cpu_of(child) - before, cpu_seconds() - ours);
        println!(
            "{threads} fit threads beside a training with {processors}: {rate:.1} fits a second of wall time; CPU in \
             {:.1} s: fits {ours:.1} s, training {theirs:.1} s",
            started.elapsed().as_secs_f64()
        );
    }
    drop(trainer);
}

/// Whole fits on so many threads together, as the service has its fit threads.
fn fit(series: &Series, threads: usize, measured: Duration) -> f64 {
    let spec = FitSpec {
        horizon: NonZeroUsize::new(96).unwrap(),
        levels: Vec::new(),
        max_lookback: LOOKBACK,
        gaps: GapPolicy::Interpolate,
    };
    let started = Instant::now();
    let fits: usize = thread::scope(|scope| {
        let work = || {
            let mut fits = 0;
            while started.elapsed() < measured {
                black_box(forecastd_models::fit(series, &spec)).unwrap();
                fits += 1;
            }
            fits
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    fits as f64 / started.elapsed().as_secs_f64()
}

/// A random walk with a season.
fn series() -> Series {
    let (mut random, mut level) = (Random::new(1), 0.0);
    let mut value = |hour: i64| {
        level += 0.1 * random.normal();
        level + (hour as f64 * 0.26).sin()
    };
    let rows: Vec<_> = (0..POINTS)
        .map(|hour| (Timestamp(hour * 3_600_000_000_000), value(hour)))
        .collect();
    let mut history = ChannelHistory::new(HistoryRules {
        window: POINTS as usize,
        frequency: None,
        off_grid: OffGrid::Snap,
    });
    let channels = BTreeMap::from([("a".into(), rows)]);
    let (drop, _) = SeriesDrop::from_rows(RawRows { channels });
    let (channel, rows) = drop.channels().next().unwrap();
    history.extend(rows);
    history.series(channel).unwrap()
}

/// A training of minutes, on as many threads as there are processors.
fn train(executable: &str, folder: &Path, threads: usize) -> Trainer {
    let text = "state_dir: /s\ndatasets: [{ name: a, kind: tiles, incoming: /in, samples: { id: i, image: x, label: y, \
                shape: [3, 32, 32] } }]\n";
    let config = Config::parse(text, Path::new("/")).unwrap();
    let dataset = Arc::new(config.samples[0].clone());
    let job = TrainJob {
        id: 1,
        model: "m".into(),
        dataset,
        through: 0,
        job: DashaJob {
            backbone: BackboneChoice::WideResnet,
            scale: ScaleChoice::Small,
            space: SearchSpace::images(),
            budget: Budget {
                search_epochs: 0,
                seconds: Some(600.0),
                ..Budget::default()
            },
            network: None,
            batch: None,
            training: TrainingOptions::default(),
            seed: 0,
        },
        threads: NonZeroUsize::new(threads),
    };
    let setting = Setting {
        executable: Some(executable.into()),
        threads: NonZeroUsize::MIN,
    };
    let runs = folder.to_owned();
    let trainer = Trainer::start(
        setting,
        move |id| runs.join(id.to_string()),
        Box::new(|job, folder, _| {
            lay_out(job, folder);
            Ok(())
        }),
        |_| {},
        |_, _| {},
        |_, panic| panic!("{panic}"),
    )
    .unwrap();
    assert!(trainer.send(job));
    trainer
}

/// Tiles of noise: what is learnt does not matter here.
fn lay_out(job: &TrainJob, folder: &Path) {
    let form = &job.dataset.form;
    let set = SampleSet {
        count: TILES,
        input: form.shape.clone(),
        element: form.element.clone(),
        task: form.task,
        labels: vec!["no".to_owned(), "yes".to_owned()],
        hash: "noise".to_owned(),
        cells: Default::default(),
        series: None,
    };
    let mut random = Random::new(2);
    let bytes = set.input_bytes() * TILES as usize;
    let inputs: Vec<u8> = (0..bytes).map(|_| random.below(256) as u8).collect();
    let targets: Vec<u8> = (0..TILES as u32).flat_map(|tile| (tile % 2).to_le_bytes()).collect();
    let splits: Vec<u8> = (0..TILES).map(|tile| u8::from(tile % 8 > 5)).collect();
    for (name, bytes) in [("inputs.bin", inputs), ("targets.bin", targets), ("splits.bin", splits)] {
        fs::write(folder.join(name), bytes).unwrap();
    }
    fs::write(folder.join("samples.json"), serde_json::to_vec(&set).unwrap()).unwrap();
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// CPU seconds that another process has used.
fn cpu_of(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / clock_ticks_per_second() as f64
}
