//! Datasets of tiles and sequences.

use std::path::Path;

use forecastd_models::dasha::{ElementType, InputShape, PixelLayout, Task};

use super::{dataset, good, refused, samples};
use crate::SampleForm;

fn form(kind: &str, keys: &str) -> SampleForm {
    let mut config = good(&samples(kind, &format!("samples: {{ id: i, {keys} }}")));
    config.samples.remove(0).form
}

#[track_caller]
fn assert_told(kind: &str, table: &[(&str, &str)]) {
    for (line, told) in table {
        assert_eq!(
            refused(&samples(kind, line)).replace("datasets[0].", ""),
            *told,
            "{line}"
        );
    }
}

#[test]
fn tiles_and_sequences_are_set_as_written() {
    let config = good(&samples("tiles", "after: keep"));
    assert!(config.datasets.is_empty());
    assert_eq!(config.samples[0].limits.file_samples, 1_000_000);
    let tiles = form(
        "tiles",
        "image: x, label: y, split: s, shape: [4, 5, 6], dtype: u16, layout: chw, labels: [0, b]",
    );
    assert_eq!(
        (tiles.element, tiles.layout, tiles.task),
        (ElementType::U16, PixelLayout::Chw, Task::Classify)
    );
    assert_eq!((tiles.shape.bands, tiles.shape.size.as_slice()), (4, &[5, 6][..]));
    assert_eq!(tiles.labels, Some(vec!["0".to_owned(), "b".to_owned()]));
    let letters = form("sequences", "sequence: x, shape: [9], alphabet: AC, task: regress");
    let shape = InputShape {
        bands: 2,
        size: vec![9],
    };
    assert_eq!((letters.shape, letters.task), (shape, Task::Regress));
    assert_eq!(tiles.columns.place, None);
    let numbers = form("sequences", "sequence: x, shape: [2, 9], dtype: f32");
    assert_eq!((numbers.element, numbers.shape.bands), (ElementType::F32, 2));
}

#[test]
fn masks_have_classes_by_their_numbers_or_by_a_threshold() {
    let masks = |keys: &str| {
        form(
            "tiles",
            &format!("image: x, label: m, shape: [3, 8, 8], task: segment, {keys}"),
        )
    };
    let named = masks("labels: [land, road, water]");
    let names = ["land", "road", "water"].map(str::to_owned).to_vec();
    assert_eq!((named.labels, named.mask_threshold), (Some(names), None));
    let greys = masks("mask_threshold: 127");
    let names = ["up to 127", "above 127"].map(str::to_owned).to_vec();
    assert_eq!((greys.labels, greys.mask_threshold), (Some(names), Some(127)));
    let both = masks("mask_threshold: 127, labels: [land, road]");
    assert_eq!(both.labels, Some(vec!["land".to_owned(), "road".to_owned()]));
    let unlabelled = form("tiles", "image: x, shape: [3, 8, 8], task: segment");
    assert_eq!(unlabelled.labels, None, "whatever the model says");
}

#[test]
fn when_and_where_a_sample_was_taken_may_have_columns() {
    let columns = form(
        "sequences",
        "sequence: x, shape: [9], time: t, latitude: lat, longitude: lon",
    )
    .columns;
    assert_eq!(columns.time.as_deref(), Some("t"));
    let place = columns.place.expect("both are named");
    assert_eq!((place.latitude.as_str(), place.longitude.as_str()), ("lat", "lon"));
}

#[test]
fn predictions_go_into_a_folder_of_their_own_unless_told_otherwise() {
    let told = |line: &str| good(&samples("tiles", line)).samples.remove(0);
    let left_out = told("after: keep");
    assert_eq!(left_out.outgoing, Path::new("/etc/forecastd/state/outgoing/a"));
    assert_eq!(
        (left_out.predictions.keep_files.get(), left_out.predictions.scores),
        (100, true)
    );
    let set = told("predictions: { keep_files: 3, scores: none }");
    assert_eq!((set.predictions.keep_files.get(), set.predictions.scores), (3, false));
    assert_eq!(
        told("outgoing: elsewhere").outgoing,
        Path::new("/etc/forecastd/elsewhere")
    );
}

#[test]
fn what_samples_cannot_be_is_told() {
    assert_told(
        "tiles",
        &[
            (
                "samples: { image: x, shape: [3, 8, 8] }",
                "samples.id: is required (the column of what identifies a sample)",
            ),
            (
                "samples: { id: i, image: i, shape: [3, 8, 8] }",
                "samples.image: the column `i` is named twice (each column has one meaning)",
            ),
            (
                "samples: { id: i, image: x, shape: [8, 8] }",
                "samples.shape: 2 sizes (bands, height and width of every tile, like `[3, 64, 64]`)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 0] }",
                "samples.shape[2]: expected a whole number from 1 to 16777216, found the number 0",
            ),
            (
                "samples: { id: i, image: x, shape: [9, 9999, 9999] }",
                "samples.shape: every sample would have 899820009 bytes (at most 33554432)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], alphabet: AC }",
                "samples.alphabet: is for `kind: sequences` (leave it out here)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], task: segment, label: m }",
                "samples.labels: is required for masks (the names of their classes, in the order of their numbers from 0; \
                 or `mask_threshold`, such as 127, if masks are grey pictures)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], task: segment, label: m, labels: [a] }",
                "samples.labels: 1 classes (masks tell from 2 to 64 apart)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], task: segment, label: m, labels: [a, b, c], mask_threshold: 9 }",
                "samples.labels: 3 classes beside `mask_threshold` (two: what greys up to the threshold are, and what those \
                 above it are)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], task: segment, label: m, mask_threshold: 255 }",
                "samples.mask_threshold: expected a whole number from 0 to 254, found the number 255",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], label: m, mask_threshold: 127 }",
                "samples.mask_threshold: is for `task: segment` (leave it out here)",
            ),
            (
                "samples: { id: i, image: x, shape: [1, 4096, 8192], task: segment, label: m, mask_threshold: 127 }",
                "samples.shape: every sample would have 67108864 bytes (at most 33554432)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], latitude: y }",
                "samples.longitude: is required beside `latitude` (a place has both)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], time: t, latitude: t, longitude: u }",
                "samples.latitude: the column `t` is named twice (each column has one meaning)",
            ),
            (
                "samples: { image: x, shape: [8, 8], task: segment, label: m, latitude: y }",
                "samples.id: is required (the column of what identifies a sample)\n\
                 samples.longitude: is required beside `latitude` (a place has both)\n\
                 samples.labels: is required for masks (the names of their classes, in the order of their \
                 numbers from 0; or `mask_threshold`, such as 127, if masks are grey pictures)\n\
                 samples.shape: 2 sizes (bands, height and width of every tile, like `[3, 64, 64]`)",
            ),
            (
                "samples: { id: i, image: x, shape: [3, 8, 8], labels: [a, a] }",
                "samples.labels[1]: `a` is there already",
            ),
            (
                "forecast: { horizon: 3 }",
                "forecast: is for `kind: series` (leave it out here)",
            ),
            (
                "limits: { channels: 3 }",
                "limits.channels: is for `kind: series` (leave it out here)",
            ),
            (
                "outgoing: in",
                "outgoing: `/etc/forecastd/in` is already `incoming` (every folder has one purpose)",
            ),
            (
                "predictions: { keep_files: 0 }",
                "predictions.keep_files: expected a whole number from 1 to 1000000, found the number 0",
            ),
            (
                "predictions: { scores: some }",
                "predictions.scores: expected `all` or `none`, found the text `some`",
            ),
            (
                "model: m",
                "model: there is no model `m` (one of the names under `models`)",
            ),
        ],
    );
    assert_told(
        "sequences",
        &[
            (
                "samples: { id: i, image: x, sequence: y, shape: [9] }",
                "samples.image: is for `kind: tiles` (leave it out here)",
            ),
            (
                "samples: { id: i, sequence: x, shape: [9], alphabet: ACa }",
                "samples.alphabet: `ACa` is no alphabet (plain letters, each once, like `ACGTN`)",
            ),
            (
                "samples: { id: i, sequence: x, shape: [9], alphabet: AC, dtype: f32 }",
                "samples.alphabet: does not go with `dtype` (letters have an alphabet, numbers a type)",
            ),
        ],
    );
    let predicted = refused(&dataset("predictions: {}"));
    assert_eq!(
        predicted,
        "datasets[0].predictions: is for `kind: tiles` (leave it out here)"
    );
    let series = refused(&dataset("samples: { id: i }"));
    assert_eq!(series, "datasets[0].samples: is for `kind: tiles` (leave it out here)");
}

#[test]
fn a_dataset_finds_its_model_wherever_it_stands() {
    let text = samples("tiles", "model: m") + "models: [{ name: m, incoming: elsewhere }]\n";
    assert_eq!(good(&text).samples[0].model.as_deref(), Some("m"));
}

/// What is told of a model with this `train`, beside a dataset of tiles with these keys.
fn train(train: &str, dataset: &str, top: &str) -> String {
    let text = format!(
        "{top}\nstate_dir: state\ndatasets:\n  - {{ name: a, kind: tiles, incoming: in, {dataset} }}\n\
         models: [{{ name: m, incoming: elsewhere, train: {train} }}]\n"
    );
    refused(&text)
}

const LABELLED: &str = "model: m, samples: { id: i, image: x, label: y, shape: [3, 8, 8] }";

#[test]
fn a_model_is_trained_as_written() {
    let trained = |train: &str| {
        let text = format!(
            "state_dir: state\ndatasets: [{{ name: a, kind: tiles, incoming: in, {LABELLED} }}]\n\
             models: [{{ name: m, incoming: elsewhere, {train} }}]\n"
        );
        good(&text).models.remove(0).training
    };
    assert_eq!(trained("promotion: { margin: 0 }"), None);
    let usual = trained("train: {}").expect("it is trained");
    assert_eq!((usual.first, usual.again, usual.every), (500, Some(200), None));
    let other = trained("train: { again: never, every: 7d, accuracy_drop: never, threads: 3, augment: \"none\" }");
    let other = other.expect("it is trained");
    assert_eq!((other.again, other.accuracy_drop), (None, None));
    assert_eq!(other.every.map(|time| time.as_secs()), Some(7 * 86_400));
    assert_eq!(other.threads.map(std::num::NonZeroUsize::get), Some(3));
    assert_eq!(other.augmentation, Some(Default::default()));
}

#[test]
fn what_cannot_be_trained_is_told() {
    let unlabelled = "model: m, samples: { id: i, image: x, shape: [3, 8, 8] }";
    for (keys, dataset, top, told) in [
        (
            "{ first: 3 }",
            LABELLED,
            "",
            "models[0].train.first: expected a whole number from 10 to 1000000000, found the number 3",
        ),
        (
            "{ accuracy_drop: 5 }",
            LABELLED,
            "",
            "models[0].train.accuracy_drop: expected a number between 0 and 1, or `never`, found the number 5 \
             (0.05 is one sample in twenty)",
        ),
        (
            "{ class_weights: 1 }",
            LABELLED,
            "",
            "models[0].train.class_weights: expected `true` or `false`, found the number 1",
        ),
        (
            "{ augment: upside-down }",
            LABELLED,
            "",
            "models[0].train.augment: \"upside-down\" is none of none, horizontal-flip, vertical-flip, quarter-turns, \
             rotation=90, shift=4, brightness=0.2, reverse-complement=0.5, cut-mix=1, mix-up=0.2",
        ),
        (
            "{ augment: reverse-complement }",
            LABELLED,
            "",
            "models[0].train: augment: reverse_complement is for sequences of letters only",
        ),
        (
            "{}",
            unlabelled,
            "",
            "models[0].train: no sample of dataset `a` has a label (name their column there: `samples.label`)",
        ),
        (
            "{}",
            "samples: { id: i, image: x, shape: [3, 8, 8] }",
            "",
            "models[0].train: no dataset says `model` of this one (write it in the dataset of kind `tiles` or \
             `sequences` whose samples it learns from)",
        ),
        (
            "{}",
            LABELLED,
            "torch: { start: never }",
            "models[0].train: there is no child to train anything: `torch.start` is `never` (start it `on_demand`, or \
             leave `train` out)",
        ),
    ] {
        assert_eq!(train(keys, dataset, top), told);
    }
}
