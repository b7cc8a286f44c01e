//! What is asked of files before they are trusted, and what batches look like.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use forecastd_models::dasha::{Augmentation, InputShape, Normalisation, Scaling};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use super::*;

/// A description with classes named by numbers.
pub(crate) fn described(
    count: u64,
    bands: u32,
    size: &[u32],
    element: ElementType,
    task: Task,
    outputs: u32,
) -> SampleSet {
    SampleSet {
        count,
        input: InputShape {
            bands,
            size: size.to_vec(),
        },
        element,
        task,
        labels: (0..outputs).map(|label| label.to_string()).collect(),
        hash: String::new(),
        cells: Default::default(),
        series: None,
    }
}

/// A run's folder with these files; those without bytes are left out.
pub(crate) fn folder(set: &SampleSet, inputs: &[u8], targets: &[u8], splits: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("it is written");
    write("samples.json", &serde_json::to_vec(set).expect("plain data"));
    for (name, bytes) in [("inputs.bin", inputs), ("targets.bin", targets), ("splits.bin", splits)] {
        if !bytes.is_empty() {
            write(name, bytes);
        }
    }
    folder
}

fn open(folder: &TempDir) -> Samples {
    Samples::open(folder.path()).expect("sound samples")
}

fn refused(folder: &Path) -> String {
    Samples::open(folder).expect_err("something is wrong").to_string()
}

fn letters(alphabet: &str) -> ElementType {
    let alphabet = alphabet.to_owned();
    ElementType::Symbol { alphabet }
}

fn little_endian(classes: &[u32]) -> Vec<u8> {
    classes.iter().flat_map(|class| class.to_le_bytes()).collect()
}

fn singles(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn plain(batch: usize) -> LoaderOptions {
    LoaderOptions {
        batch,
        training: false,
        part: 1.0,
        seed: 7,
        augmentation: Augmentation::default(),
        threads: 1,
    }
}

fn training(batch: usize, threads: usize) -> LoaderOptions {
    LoaderOptions {
        training: true,
        threads,
        ..plain(batch)
    }
}

fn loader(samples: &Arc<Samples>, options: LoaderOptions) -> Loader {
    let scaling = samples.scaling().expect("sound inputs");
    Loader::new(samples, samples.of(Split::Train), &scaling, options, Device::Cpu).expect("it fits")
}

/// Classes of each batch.
fn classes(loader: &Loader, epoch: u64) -> Vec<Vec<i64>> {
    let batches = loader.epoch(epoch).expect("threads start");
    batches
        .map(|batch| Vec::try_from(&batch.targets).expect("whole numbers"))
        .collect()
}

/// So many training samples of one byte, each of a class of its own.
fn numbered(count: u32) -> (TempDir, Arc<Samples>) {
    let set = described(u64::from(count), 1, &[1], ElementType::U8, Task::Classify, count);
    let numbers: Vec<u32> = (0..count).collect();
    let inputs: Vec<u8> = numbers.iter().map(|number| *number as u8).collect();
    let folder = folder(&set, &inputs, &little_endian(&numbers), &vec![0; count as usize]);
    let samples = Arc::new(open(&folder));
    (folder, samples)
}

#[test]
fn samples_are_sorted_by_split_and_classes_counted() {
    let set = described(5, 1, &[2], ElementType::U8, Task::Classify, 3);
    let folder = folder(&set, &[0; 10], &little_endian(&[0, 2, 2, 1, 2]), &[0, 1, 0, 2, 0]);
    let samples = open(&folder);
    assert_eq!(samples.of(Split::Train), [0, 2, 4]);
    assert_eq!(samples.of(Split::Validation), [1]);
    assert_eq!(samples.of(Split::Test), [3]);
    assert_eq!(samples.class_counts(Split::Train), [1, 0, 2]);
}

#[test]
fn pixels_without_a_class_are_not_counted() {
    let set = described(1, 1, &[2, 2], ElementType::U8, Task::Segment, 2);
    let folder = folder(&set, &[0; 4], &[1, 1, NO_CLASS, 0], &[0]);
    assert_eq!(open(&folder).class_counts(Split::Train), [1, 2]);
}

#[test]
fn the_wrong_file_and_sample_are_told() {
    let set = described(2, 1, &[2], ElementType::U8, Task::Classify, 2);
    let classes = little_endian(&[0, 1]);
    let told = |inputs: &[u8], targets: &[u8], splits: &[u8]| refused(folder(&set, inputs, targets, splits).path());
    assert!(told(&[0; 3], &classes, &[0, 0]).contains("inputs.bin: 3 bytes, where 2 samples need 4"));
    assert!(told(&[], &classes, &[0, 0]).contains("inputs.bin"));
    assert!(told(&[0; 4], &classes[1..], &[0, 0]).contains("targets.bin: 7 bytes"));
    assert!(told(&[0; 4], &classes, &[0, 3]).contains("splits.bin: sample 1: 3 is no split"));
    let told = told(&[0; 4], &little_endian(&[0, 2]), &[0, 0]);
    assert!(told.contains("targets.bin: sample 1: class 2 of 2"), "{told}");
    assert!(refused(Path::new("/nowhere")).contains("/nowhere/samples.json"));
}

#[test]
fn targets_of_every_task_are_checked() {
    let told = |task, size: &[u32], targets: &[u8]| {
        let set = described(1, 1, size, ElementType::U8, task, 2);
        let inputs = vec![0; size.iter().product::<u32>() as usize];
        refused(folder(&set, &inputs, targets, &[0]).path())
    };
    assert!(told(Task::Multilabel, &[1], &[1, 2]).contains("label 1: 2"));
    assert!(told(Task::Segment, &[2, 1], &[255, 2]).contains("position 1: class 2"));
    assert!(told(Task::Regress, &[1], &singles(&[0.0, f32::NAN])).contains("output 1: NaN"));
}

#[test]
fn a_description_of_what_cannot_be_is_refused() {
    let told = |change: fn(&mut SampleSet)| {
        let mut set = described(1, 1, &[1], ElementType::U8, Task::Classify, 1);
        change(&mut set);
        refused(folder(&set, &[0], &little_endian(&[0]), &[0]).path())
    };
    assert!(told(|set| set.count = 0).contains("count is 0"));
    assert!(told(|set| set.count = u64::MAX).contains("count"));
    assert!(told(|set| set.input.size = vec![u32::MAX; 2]).contains("2^30"));
    assert!(told(|set| set.input.size = vec![]).contains("0 axes"));
    assert!(told(|set| set.labels.clear()).contains("0 labels"));
    assert!(told(|set| set.element = letters("ACGT")).contains("4 letters for 1 bands"));
}

#[test]
fn bands_are_scaled_by_the_training_samples_alone() {
    let set = described(3, 2, &[2], ElementType::U16, Task::Classify, 1);
    let values: [u16; 12] = [1, 3, 40_000, 60_000, 5, 7, 40_000, 60_000, 9999, 9999, 0, 0];
    let inputs: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let folder = folder(&set, &inputs, &little_endian(&[0; 3]), &[0, 0, 2]);
    let samples = Arc::new(open(&folder));
    let scales = samples.scaling().expect("sound").inputs.0;
    assert_eq!(
        (scales[0].mean, scales[1].mean, scales[1].deviation),
        (4.0, 50_000.0, 10_000.0)
    );
    assert!((scales[0].deviation - 5.0_f64.sqrt()).abs() < 1e-12);

    let loader = loader(&samples, plain(2));
    let batch = loader.epoch(0).expect("threads start").next().expect("one batch");
    let expected = Tensor::from_slice(&[-3.0_f32, -1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0]).view([2, 2, 2]);
    let scale = Tensor::from_slice(&[5.0_f32.sqrt(), 1.0]).view([1, 2, 1]);
    let ends = Tensor::from_slice(&[0.0_f32, 0.0, -1.0, 1.0]).view([1, 2, 2]);
    let difference = (batch.inputs - (expected / scale + ends)).abs().max();
    assert!(f64::try_from(difference).expect("a number") < 1e-6);
}

#[test]
fn numbers_to_regress_are_scaled_too_and_signed_inputs_keep_their_sign() {
    let set = described(2, 1, &[1], ElementType::I16, Task::Regress, 1);
    let inputs: Vec<u8> = [-300_i16, 300].iter().flat_map(|value| value.to_le_bytes()).collect();
    let folder = folder(&set, &inputs, &singles(&[10.0, 30.0]), &[0, 0]);
    let loader = loader(&Arc::new(open(&folder)), plain(2));
    let batch = loader.epoch(0).expect("threads start").next().expect("one batch");
    assert_eq!(batch.inputs, Tensor::from_slice(&[-1.0_f32, 1.0]).view([2, 1, 1]));
    assert_eq!(batch.targets, Tensor::from_slice(&[-1.0_f32, 1.0]).view([2, 1]));
}

#[test]
fn a_value_that_is_not_finite_is_told_with_its_band_even_in_test() {
    let set = described(2, 2, &[2], ElementType::F32, Task::Classify, 1);
    let inputs = singles(&[0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, f32::INFINITY]);
    let folder = folder(&set, &inputs, &little_endian(&[0, 0]), &[0, 2]);
    let told = open(&folder).scaling().expect_err("infinite").to_string();
    assert!(
        told.ends_with("inputs.bin: sample 1: band 1, position 1: inf"),
        "{told}"
    );
}

#[test]
fn nothing_to_train_on_and_strange_letters_are_told() {
    let set = described(1, 4, &[3], letters("ACGT"), Task::Classify, 1);
    let told = |inputs: &[u8], split: u8| {
        let folder = folder(&set, inputs, &little_endian(&[0]), &[split]);
        open(&folder)
            .scaling()
            .expect_err("it cannot be trained on")
            .to_string()
    };
    assert!(told(&[0, 1, 2], 1).contains("no sample is for training"));
    assert!(told(&[0, 4, 2], 0).contains("position 1: letter 4 of an alphabet of 4"));
}

#[test]
fn letters_become_bands_and_no_letter_none() {
    let set = described(1, 3, &[4], letters("abc"), Task::Multilabel, 2);
    let folder = folder(&set, &[2, 0, 255, 1], &[0, 1], &[0]);
    let loader = loader(&Arc::new(open(&folder)), plain(1));
    let batch = loader.epoch(0).expect("threads start").next().expect("one batch");
    let expected = [0.0_f32, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    assert_eq!(batch.inputs, Tensor::from_slice(&expected).view([1, 3, 4]));
    assert_eq!(batch.targets, Tensor::from_slice(&[0.0_f32, 1.0]).view([1, 2]));
}

#[test]
fn masks_keep_their_shape() {
    let set = described(1, 1, &[2, 2], ElementType::U8, Task::Segment, 2);
    let folder = folder(&set, &[9; 4], &[0, 1, 255, 0], &[0]);
    let loader = loader(&Arc::new(open(&folder)), plain(1));
    let batch = loader.epoch(0).expect("threads start").next().expect("one batch");
    assert_eq!(batch.targets, Tensor::from_slice(&[0_i64, 1, 255, 0]).view([1, 2, 2]));
}

#[test]
fn every_epoch_has_each_sample_once_in_an_order_of_its_own() {
    let (_folder, samples) = numbered(100);
    let loader = loader(&samples, training(8, 1));
    let first = classes(&loader, 0);
    assert_eq!(
        first.iter().map(Vec::len).collect::<Vec<_>>(),
        [vec![8; 12], vec![4]].concat()
    );
    let mut all = first.concat();
    assert_ne!(all, classes(&loader, 1).concat());
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<i64>>());
}

#[test]
fn the_order_hangs_on_seed_and_epoch_only() {
    let (_folder, samples) = numbered(50);
    let of = |options| classes(&loader(&samples, options), 3);
    let one = of(training(4, 1));
    assert_eq!(one, of(training(4, 3)), "whatever the number of threads");
    let other = LoaderOptions {
        seed: 8,
        ..training(4, 1)
    };
    assert_ne!(one, of(other));
}

#[test]
fn a_last_batch_of_one_is_left_out_of_training_alone() {
    let (_folder, samples) = numbered(9);
    assert_eq!(loader(&samples, training(4, 1)).batches(), 2);
    assert_eq!(classes(&loader(&samples, training(4, 2)), 0).len(), 2);
    let all = classes(&loader(&samples, plain(4)), 0);
    assert_eq!(all.concat(), (0..9).collect::<Vec<i64>>());
}

#[test]
fn part_of_an_epoch_is_one_batch_more_than_the_part_rounded_down() {
    let (_folder, samples) = numbered(80);
    let batches = |part| {
        let options = LoaderOptions { part, ..training(8, 1) };
        let loader = loader(&samples, options);
        assert_eq!(classes(&loader, 0).len(), loader.batches());
        loader.batches()
    };
    assert_eq!([0.2, 0.25, 0.01, 1.0].map(batches), [3, 3, 1, 10]);
}

#[test]
fn an_epoch_that_is_given_up_ends_its_threads() {
    let (_folder, samples) = numbered(200);
    let loader = loader(&samples, training(2, 2));
    let mut epoch = loader.epoch(0).expect("threads start");
    assert!(epoch.next().is_some());
    drop(epoch); // returns only when they have ended
    assert_eq!(Arc::strong_count(&samples), 2, "the loader's and ours");
}

#[test]
fn samples_to_predict_have_no_targets() {
    let set = described(2, 1, &[1], ElementType::U8, Task::Classify, 2);
    let folder = folder(&set, &[1, 2], &[], &[]);
    let samples = Arc::new(open(&folder));
    assert!(!samples.has_targets() && samples.of(Split::Train).is_empty());
    let scaling = Scaling {
        inputs: Normalisation::identity(1),
        targets: None,
    };
    let loader = Loader::new(&samples, &[0, 1], &scaling, plain(2), Device::Cpu).expect("it fits");
    let batch = loader.epoch(0).expect("threads start").next().expect("one batch");
    assert_eq!((batch.targets.numel(), batch.inputs.kind()), (0, Kind::Float));
}

/// Not a test of time: it prints how many tiles a second one thread makes ready, `--nocapture --ignored`.
#[test]
#[ignore = "a measurement"]
fn tiles_a_second() {
    let set = described(4096, 3, &[64, 64], ElementType::U8, Task::Classify, 2);
    let folder = folder(&set, &vec![7; 4096 * 3 * 64 * 64], &vec![0; 4 * 4096], &vec![0; 4096]);
    let samples = Arc::new(open(&folder));
    for (name, augmentation) in [
        ("plain", Augmentation::default()),
        ("paper", Augmentation::paper(&set.input)),
    ] {
        let options = LoaderOptions {
            augmentation,
            ..training(64, 1)
        };
        let loader = loader(&samples, options);
        let started = std::time::Instant::now();
        let tiles: i64 = loader
            .epoch(0)
            .expect("threads start")
            .map(|batch| batch.inputs.size()[0])
            .sum();
        eprintln!("{name}: {:.0} tiles/s", tiles as f64 / started.elapsed().as_secs_f64());
    }
}
