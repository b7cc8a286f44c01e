//! Runs' folders with samples whose answer is known.

use std::fs;
use std::path::Path;

use forecastd_models::dasha::{
    BackboneChoice, Budget, DashaJob, ElementType, InputShape, Random, SampleSet, ScaleChoice, SearchSpace, Split,
    Task, TrainingOptions, Variation,
};
use tempfile::TempDir;

/// Samples in memory, still to be changed by a test.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) set: SampleSet,
    pub(crate) inputs: Vec<u8>,
    pub(crate) targets: Vec<u8>,
    pub(crate) splits: Vec<u8>,
}

/// A job of seconds.
pub(crate) fn job(kernel_sizes: &[u32], seed: u64) -> DashaJob {
    DashaJob {
        backbone: BackboneChoice::Auto,
        scale: ScaleChoice::Small,
        space: SearchSpace {
            kernel_sizes: kernel_sizes.to_vec(),
            dilations: vec![1],
        },
        budget: Budget {
            search_epochs: 3,
            search_part: 0.5,
            trials: 5,
            max_epochs: 2,
            retrain_epochs: 4,
            seconds: None,
        },
        network: None,
        batch: Some(32),
        training: TrainingOptions::default(),
        seed,
    }
}

/// By its words.
pub(crate) fn variation(text: &str) -> Variation {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

impl Data {
    fn new(set: SampleSet) -> Self {
        let splits = (0..set.count).map(|index| match index % 10 {
            0..=5 => Split::Train as u8,
            6 | 7 => Split::Validation as u8,
            _ => Split::Test as u8,
        });
        Self {
            splits: splits.collect(),
            set,
            inputs: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// As a run's folder.
    pub(crate) fn folder(&self, job: &DashaJob) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        self.write(folder.path(), job);
        folder
    }

    fn write(&self, folder: &Path, job: &DashaJob) {
        let json = |name: &str, text: Vec<u8>| fs::write(folder.join(name), text).expect("it is written");
        json("job.json", serde_json::to_vec(job).expect("plain data"));
        json("samples.json", serde_json::to_vec(&self.set).expect("plain data"));
        json("inputs.bin", self.inputs.clone());
        json("targets.bin", self.targets.clone());
        json("splits.bin", self.splits.clone());
    }
}

fn set(task: Task, labels: &[&str], bands: u32, size: &[u32], count: u64) -> SampleSet {
    SampleSet {
        count,
        input: InputShape {
            bands,
            size: size.to_vec(),
        },
        element: ElementType::F32,
        task,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        hash: "of the test".to_owned(),
        cells: Default::default(),
        series: None,
    }
}

/// From one bump of a planted pair to the other.
pub(crate) const GAP: u64 = 8;

/// Sequences of noise with two bumps: `GAP` apart in the one class, farther in the other.
pub(crate) fn planted(count: u64, length: u64, seed: u64) -> Data {
    planted_pair(GAP, count, length, seed)
}

/// The same with another gap.
pub(crate) fn planted_pair(gap_of_near: u64, count: u64, length: u64, seed: u64) -> Data {
    let mut random = Random::new(seed).derive("planted");
    let mut data = Data::new(set(Task::Classify, &["far", "near"], 1, &[length as u32], count));
    for _ in 0..count {
        let class = random.below(2);
        let farther = 1 + random.below(gap_of_near);
        let gap = gap_of_near + if class == 1 { 0 } else { farther };
        let first = random.below(length - 2 * gap_of_near);
        for place in 0..length {
            let noise = random.normal() * 0.3;
            let is_bump = place == first || place == first + gap;
            let value = (if is_bump { 3.0 } else { noise }) as f32;
            data.inputs.extend(value.to_le_bytes());
        }
        data.targets.extend((class as u32).to_le_bytes());
    }
    data
}

/// Tiles of 8 by 8 with two bands. Each has a bright square somewhere; the task says what is asked about it.
pub(crate) fn squares(task: Task, count: u64) -> Data {
    let labels: &[&str] = match task {
        Task::Classify => &["left", "right"],
        Task::Multilabel => &["right", "low"],
        Task::Segment => &["ground", "square"],
        Task::Regress => &["row", "column"],
    };
    let mut random = Random::new(3).derive("squares");
    let mut data = Data::new(set(task, labels, 2, &[8, 8], count));
    for _ in 0..count {
        let (row, column) = (random.below(6), random.below(6));
        let inside = |place: u64| {
            let (y, x) = (place / 8, place % 8);
            (row..row + 3).contains(&y) && (column..column + 3).contains(&x)
        };
        for place in 0..128 {
            let value = random.normal() * 0.2 + f64::from(u8::from(inside(place % 64))) * 2.0;
            data.inputs.extend((value as f32).to_le_bytes());
        }
        match task {
            Task::Classify => data.targets.extend(u32::from(column >= 3).to_le_bytes()),
            Task::Multilabel => data.targets.extend([u8::from(column >= 3), u8::from(row >= 3)]),
            Task::Segment => data.targets.extend((0..64).map(|place| u8::from(inside(place)))),
            Task::Regress => [row, column]
                .iter()
                .for_each(|side| data.targets.extend((*side as f32).to_le_bytes())),
        }
    }
    data
}
