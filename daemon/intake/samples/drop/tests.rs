//! Files of samples as strangers write them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float32Array, Int32Array, ListArray, StringArray};
use arrow::datatypes::{Float32Type, Float64Type, UInt8Type};
use forecastd_config::Config;

use super::super::super::fixture::{column, parquet};
use super::super::encoded::tests::png;
use super::*;

/// The form of a dataset with these keys in its section `samples`.
fn form(kind: &str, keys: &str) -> SampleForm {
    let text =
        format!("state_dir: s\ndatasets: [{{ name: a, kind: {kind}, incoming: i, samples: {{ id: id, {keys} }} }}]");
    let config = Config::parse(&text, std::path::Path::new("/")).expect("a good file");
    config.samples[0].form.clone()
}

const LIMITS: SampleLimits = SampleLimits {
    file_bytes: 1 << 30,
    file_samples: 10,
    decode_memory: 1 << 30,
};

fn ids(count: i32) -> (&'static str, ArrayRef) {
    ("id", column(Int32Array::from_iter_values(0..count)))
}

fn read(columns: Vec<(&str, ArrayRef)>, form: &SampleForm) -> Result<(Vec<Sample>, Found), Rejected> {
    let mut samples = Vec::new();
    let mut give = |sample| {
        samples.push(sample);
        Ok(())
    };
    let found = read_samples(parquet(columns), form, &LIMITS, &mut give).expect("nothing fails");
    found.map(|found| (samples, found))
}

fn labels(label: ArrayRef, keys: &str) -> Vec<Option<String>> {
    let rows = label.len() as i32;
    let tiles = BinaryArray::from_iter_values(vec![[7_u8; 4]; rows as usize]);
    let form = form("tiles", &format!("image: x, label: y, shape: [1, 2, 2], {keys}"));
    let (samples, _) = read(vec![ids(rows), ("x", column(tiles)), ("y", label)], &form).expect("samples");
    samples.into_iter().map(|sample| sample.label).collect()
}

#[test]
fn labels_are_those_of_the_task_and_an_empty_cell_is_none() {
    let some =
        |texts: &[Option<&str>]| -> Vec<Option<String>> { texts.iter().map(|text| text.map(str::to_owned)).collect() };
    let numbers = column(Int32Array::from(vec![Some(3), None]));
    assert_eq!(labels(numbers, "task: classify"), some(&[Some("\"3\""), None]));
    let texts = column(StringArray::from(vec![Some("b"), Some(""), None]));
    assert_eq!(labels(texts, "task: classify"), some(&[Some("\"b\""), None, None]));
    let numbers = column(Float32Array::from(vec![Some(0.5), None]));
    assert_eq!(labels(numbers, "task: regress"), some(&[Some("[0.5]"), None]));
    let lists =
        ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.0), Some(2.0)]), Some(vec![Some(1.0)])]);
    assert_eq!(
        labels(column(lists), "task: regress, labels: [a, b]"),
        some(&[Some("[1.0,2.0]")])
    );
    let lists =
        ListArray::from_iter_primitive::<UInt8Type, _, _>([Some(vec![Some(2), Some(1), Some(2)]), None, Some(vec![])]);
    assert_eq!(
        labels(column(lists), "task: multilabel"),
        some(&[Some("[\"1\",\"2\"]"), None, Some("[]")])
    );
}

#[test]
fn splits_are_those_of_the_column_and_else_follow_from_the_id_alone() {
    let tiles = || column(BinaryArray::from_iter_values(vec![[7_u8; 4]; 3]));
    let splits = column(StringArray::from(vec![Some("dev"), Some("holdout"), None]));
    let with = form("tiles", "image: x, split: s, shape: [1, 2, 2]");
    let (samples, found) = read(vec![ids(3), ("x", tiles()), ("s", splits)], &with).expect("samples");
    assert_eq!((samples[0].split, samples.len()), (Split::Validation, 2));
    assert_eq!(found.account.rejected[&RowReason::BadSplit], 1);
    assert!(
        found.told[0].starts_with("row 1, column \"s\": unknown split \"holdout\""),
        "{:?}",
        found.told
    );
    let without = form("tiles", "image: x, shape: [1, 2, 2]");
    let (others, _) = read(vec![ids(3), ("x", tiles())], &without).expect("samples");
    assert_eq!(others[2].split, samples[1].split);
}

#[test]
fn a_drop_without_the_columns_of_label_and_split_is_one_whose_cells_are_empty() {
    let form = form("tiles", "image: x, label: label_name, split: part, shape: [1, 2, 2]");
    let tiles = || column(BinaryArray::from_iter_values(vec![[7_u8; 4]; 3]));
    let empty = || column(StringArray::from(vec![None::<&str>; 3]));
    let with = read(
        vec![ids(3), ("x", tiles()), ("label_name", empty()), ("part", empty())],
        &form,
    );
    let without = read(vec![ids(3), ("x", tiles())], &form);
    let (samples, found) = without.expect("unlabelled samples");
    assert_eq!((samples.len(), found.account.seen), (3, 3));
    assert_eq!((samples, found), with.expect("unlabelled samples"));
}

#[test]
fn a_column_whose_name_is_nearly_that_of_the_label_is_a_slip() {
    let form = form("tiles", "image: x, label: label_name, split: part, shape: [1, 2, 2]");
    let tiles = || column(BinaryArray::from_iter_values(vec![[7_u8; 4]; 2]));
    let classes = || column(StringArray::from(vec!["a", "b"]));
    for (name, configured) in [("label_names", "label_name"), ("Part", "part")] {
        let verdict = read(vec![ids(2), ("x", tiles()), (name, classes())], &form).expect_err("a slip");
        assert_eq!(verdict.reason, RejectReason::Schema);
        let told = format!("no column {configured:?}");
        assert!(verdict.detail.starts_with(&told), "{}", verdict.detail);
        assert!(
            verdict.detail.ends_with(&format!("did you mean {name:?}?")),
            "{}",
            verdict.detail
        );
    }
}

#[test]
fn pictures_are_decoded_to_bands_and_a_corrupt_first_one_spoils_no_other() {
    let form = form("tiles", "image: x, shape: [3, 2, 3]");
    let mut corrupt = png(3, 2, 9);
    corrupt.truncate(40);
    let rows = [corrupt, png(3, 2, 9), vec![1; 18], png(2, 3, 9)];
    let images = column(BinaryArray::from_iter_values(&rows));
    let (samples, found) = read(vec![ids(4), ("x", images)], &form).expect("samples");
    assert_eq!(samples.len(), 1, "{:?}", found.told);
    assert_eq!(samples[0].elements[..6], [9; 6]);
    assert_eq!(
        (found.account.seen, found.account.rejected[&RowReason::BadInput]),
        (4, 3)
    );
}

#[test]
fn numbers_that_are_not_finite_are_refused_and_lists_of_another_type_are_another_schema() {
    let sequences = form("sequences", "sequence: x, shape: [2], dtype: f32");
    let lists = |second: f32| {
        let rows = [Some(vec![Some(1.0), Some(2.0)]), Some(vec![Some(1.0), Some(second)])];
        column(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
    };
    let (samples, found) = read(vec![ids(2), ("x", lists(f32::NAN))], &sequences).expect("samples");
    assert_eq!(samples[0].elements, [1.0_f32, 2.0].map(f32::to_le_bytes).concat());
    assert!(
        found.told[0].contains("row 1, column \"x\": value 1 is NaN"),
        "{:?}",
        found.told
    );
    for keys in ["dtype: u8", "alphabet: AC"] {
        let other = form("sequences", &format!("sequence: x, shape: [2], {keys}"));
        let verdict = read(vec![ids(2), ("x", lists(0.0))], &other).expect_err("other numbers");
        assert_eq!(verdict.reason, RejectReason::Schema, "{}", verdict.detail);
    }
}

#[test]
fn more_than_the_limits_allow_is_refused_before_it_is_read() {
    let form = form("tiles", "image: x, shape: [1, 2, 2]");
    let tiles = column(BinaryArray::from_iter_values(vec![[7_u8; 4]; 11]));
    let verdict = read(vec![ids(11), ("x", tiles)], &form).expect_err("too many");
    assert_eq!(verdict.reason, RejectReason::TooLarge);
    let large = self::form("tiles", "image: x, shape: [8, 2048, 2048]");
    let tiles = column(BinaryArray::from_iter_values(vec![[7_u8; 4]; 9]));
    let verdict = read(vec![ids(9), ("x", tiles)], &large).expect_err("too large");
    assert!(
        verdict.detail.contains("9 samples of 33554432 bytes"),
        "{}",
        verdict.detail
    );
}

#[test]
fn shapes_are_told_with_the_keys_of_the_configuration() {
    let form = form("tiles", "image: x, shape: [1, 2, 2]");
    let tiles = column(BinaryArray::from_iter_values(vec![[7_u8; 8]; 2]));
    let verdict = read(vec![ids(2), ("x", Arc::clone(&tiles))], &form).expect_err("none fits");
    let told = "no row of column \"x\" can be used; the first: 8 bytes do not fit shape 1,2,2 of u8, which takes 4; \
                samples.dtype u16 would";
    assert_eq!(verdict.detail, told);
}
