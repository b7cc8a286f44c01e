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
    let numbers = form("sequences", "sequence: x, shape: [2, 9], dtype: f32");
    assert_eq!((numbers.element, numbers.shape.bands), (ElementType::F32, 2));
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
                "samples: { id: i, image: x, shape: [3, 8, 8], task: segment }",
                "samples.task: drops with masks are not taken yet (`forecastd dasha --task segment` learns from a file of them)",
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
