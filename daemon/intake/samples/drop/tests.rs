//! Files of samples as strangers write them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray,
    StringArray, TimestampSecondArray,
};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, UInt8Type};
use forecastd_config::Config;

use super::super::super::fixture::{column, parquet};
use super::super::encoded::tests::{grey_png, png};
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

/// No sample was taken later.
const LATEST: Timestamp = Timestamp(4_000_000_000_000_000_000);

fn ids(count: i32) -> (&'static str, ArrayRef) {
    ("id", column(Int32Array::from_iter_values(0..count)))
}

fn read(columns: Vec<(&str, ArrayRef)>, form: &SampleForm) -> Result<(Vec<Sample>, Found), Rejected> {
    let mut samples = Vec::new();
    let mut give = |sample| {
        samples.push(sample);
        Ok(())
    };
    let found = read_samples(parquet(columns), form, &LIMITS, LATEST, &mut give).expect("nothing fails");
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

/// Tiles of 2x2 pixels with masks, read with these keys.
fn masked(masks: ArrayRef, keys: &str) -> Result<(Vec<Sample>, Found), Rejected> {
    let rows = masks.len() as i32;
    let tiles = BinaryArray::from_iter_values(vec![[7_u8; 4]; rows as usize]);
    let form = form(
        "tiles",
        &format!("image: x, label: m, shape: [1, 2, 2], task: segment, {keys}"),
    );
    read(vec![ids(rows), ("x", column(tiles)), ("m", masks)], &form)
}

/// What is in a sample's mask.
fn in_mask(sample: &Sample) -> Vec<(String, u64)> {
    match sample.label.as_deref().and_then(Label::from_json) {
        Some(Label::Mask(label)) => label
            .classes
            .into_iter()
            .map(|(_, class, count)| (class, count))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn counts(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts
        .iter()
        .map(|(class, count)| ((*class).to_owned(), *count))
        .collect()
}

#[test]
fn masks_are_numbers_of_classes_or_greys_and_an_empty_cell_is_none() {
    let bytes = BinaryArray::from(vec![Some(&[0_u8, 1, 1, 255][..]), None]);
    let (samples, found) = masked(column(bytes), "labels: [land, road]").expect("samples");
    assert_eq!((found.account.seen, samples.len()), (2, 2), "{:?}", found.told);
    assert_eq!(samples[0].mask.as_deref(), Some(&[0, 1, 1, 255][..]));
    assert_eq!(in_mask(&samples[0]), counts(&[("land", 1), ("road", 2)]));
    assert_eq!((&samples[1].label, &samples[1].mask), (&None, &None));

    let greys = [grey_png(2, 2, 200), vec![0, 127, 128, 255]];
    let (samples, _) = masked(column(BinaryArray::from_iter_values(greys)), "mask_threshold: 127").expect("samples");
    assert_eq!(in_mask(&samples[0]), counts(&[("above 127", 4)]), "a picture");
    assert_eq!(samples[1].mask.as_deref(), Some(&[0, 0, 1, 1][..]));

    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([0, 1, 1, 1].map(Some))]);
    let (samples, _) = masked(column(lists), "labels: [land, road]").expect("samples");
    assert_eq!(in_mask(&samples[0]), counts(&[("land", 1), ("road", 3)]));

    let nothing = BinaryArray::from_iter_values([[].as_slice(), &[0, 1, 1, 1]]);
    let lists =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![]), Some([0, 1, 1, 1].map(Some).to_vec())]);
    for masks in [column(nothing), column(lists)] {
        let (samples, found) = masked(masks, "labels: [land, road]").expect("samples");
        assert_eq!(samples.len(), 2, "{:?}", found.told);
        assert_eq!((&samples[0].label, samples[1].label.is_some()), (&None, true));
    }
}

#[test]
fn a_picture_of_a_mask_is_one_however_many_positions_its_tile_has() {
    let width = (1..500).find(|width| grey_png(*width, 1, 1).len() == *width as usize);
    let width = width.expect("pictures grow more slowly than tiles");
    let form = |keys: &str| {
        form(
            "tiles",
            &format!("image: x, label: m, shape: [1, 1, {width}], task: segment, {keys}"),
        )
    };
    let read = |mask: Vec<u8>, keys: &str| {
        let tiles = column(BinaryArray::from_iter_values([vec![7_u8; width as usize]]));
        let masks = column(BinaryArray::from_iter_values([mask]));
        let (samples, found) = read(vec![ids(1), ("x", tiles), ("m", masks)], &form(keys)).expect("a sample");
        assert_eq!(samples.len(), 1, "{:?}", found.told);
        in_mask(&samples[0])
    };
    let all = u64::from(width);
    let picture = grey_png(width, 1, 1);
    assert_eq!(read(picture.clone(), "labels: [land, road]"), counts(&[("road", all)]));
    assert_eq!(read(picture, "mask_threshold: 0"), counts(&[("above 0", all)]));
    let mut greys = vec![0; width as usize];
    greys[..3].copy_from_slice(&[0xff, 0xd8, 0xff]);
    let expected = counts(&[("up to 127", all - 3), ("above 127", 3)]);
    assert_eq!(
        read(greys, "mask_threshold: 127"),
        expected,
        "greys that begin as JPEG does"
    );
}

#[test]
fn a_mask_of_another_size_or_class_refuses_its_row_and_no_other() {
    let rows: [&[u8]; 5] = [
        &[0, 1, 1],
        &[0, 1, 2, 1],
        &[255; 4],
        &[0, 0, 0, 1],
        b"\x89PNG\r\n\x1a\n",
    ];
    let (samples, found) = masked(column(BinaryArray::from_iter_values(rows)), "labels: [land, road]").expect("one");
    assert_eq!((samples.len(), found.account.rejected[&RowReason::BadLabel]), (1, 4));
    for (told, expected) in found.told.iter().zip([
        "row 0, column \"m\": a mask of 3 positions for an input of 4",
        "row 1, column \"m\": position 2 has class 2, where `labels` name 2, from 0; if masks are grey pictures, set \
         `mask_threshold`",
        "row 2, column \"m\": no position of the mask has a class: leave its cell empty",
        "row 4, column \"m\": ",
    ]) {
        assert!(told.starts_with(expected), "{told}");
    }
    let wide = FixedSizeBinaryArray::try_from_iter([[0_u8; 9]].iter()).expect("one");
    let verdict = masked(column(wide), "labels: [land, road]").expect_err("all are too large");
    assert_eq!(
        verdict.detail,
        "column \"m\" is of type FixedSizeBinary(9), where a mask has 4 positions"
    );
    let words = masked(column(StringArray::from(vec!["road"])), "labels: [land, road]").expect_err("no masks");
    assert!(
        words.detail.contains("samples.task segment takes bytes"),
        "{}",
        words.detail
    );
}

#[test]
fn a_shorter_sequence_has_a_shorter_mask_and_what_fills_it_up_has_no_class() {
    let form = form(
        "sequences",
        "sequence: x, label: m, shape: [4], alphabet: AC, task: segment, labels: [no, yes]",
    );
    let texts = column(StringArray::from(vec!["ACCA", "AC"]));
    let rows: [&[u8]; 2] = [&[0, 1, 1, 0], &[0, 1]];
    let masks = column(BinaryArray::from_iter_values(rows));
    let (samples, found) = read(vec![ids(2), ("x", texts), ("m", masks)], &form).expect("samples");
    assert_eq!(samples.len(), 2, "{:?}", found.told);
    assert_eq!(samples[1].mask.as_deref(), Some(&[0, 1, 255, 255][..]));
    assert_eq!(in_mask(&samples[1]), counts(&[("no", 1), ("yes", 1)]));
}

/// Tiles with these columns of time, latitude and longitude.
fn taken(time: ArrayRef, latitude: ArrayRef, longitude: ArrayRef) -> Result<(Vec<Sample>, Found), Rejected> {
    let rows = time.len() as i32;
    let tiles = BinaryArray::from_iter_values(vec![[7_u8; 4]; rows as usize]);
    let form = form(
        "tiles",
        "image: x, shape: [1, 2, 2], time: t, latitude: lat, longitude: lon",
    );
    let columns = [("t", time), ("lat", latitude), ("lon", longitude)];
    read([vec![ids(rows), ("x", column(tiles))], columns.into()].concat(), &form)
}

#[test]
fn a_sample_knows_when_and_where_it_was_taken_if_the_file_says_so() {
    let times = column(TimestampSecondArray::from(vec![Some(5), None]));
    let (latitudes, longitudes) = (
        column(Float32Array::from(vec![Some(-33.5), Some(f32::NAN)])),
        column(Float64Array::from(vec![Some(151.25), None])),
    );
    let (samples, found) = taken(times, latitudes, longitudes).expect("samples");
    assert_eq!(samples.len(), 2, "{:?}", found.told);
    let known = Taken {
        time: Some(Timestamp(5_000_000_000)),
        place: Place::new(-33.5, 151.25),
    };
    assert_eq!((samples[0].taken, samples[1].taken), (known, Taken::default()));
    let form = form(
        "tiles",
        "image: x, shape: [1, 2, 2], time: t, latitude: lat, longitude: lon",
    );
    let tiles = || column(BinaryArray::from_iter_values([[7_u8; 4]]));
    let (samples, _) = read(vec![ids(1), ("x", tiles())], &form).expect("without the columns");
    assert_eq!(samples[0].taken, Taken::default());
    let half = read(
        vec![ids(1), ("x", tiles()), ("lat", column(Float64Array::from(vec![1.0])))],
        &form,
    );
    assert!(half.expect_err("half a place").detail.starts_with("no column \"lon\""));
}

#[test]
fn a_time_ahead_of_the_clock_refuses_its_row_for_it_would_be_the_newest_for_ever() {
    let latest = LATEST.0 / 1_000_000_000;
    let times = column(TimestampSecondArray::from(vec![latest, latest + 1]));
    let degrees = || column(Float64Array::from(vec![None, None]));
    let (samples, found) = taken(times, degrees(), degrees()).expect("samples");
    assert_eq!((samples.len(), samples[0].taken.time), (1, Some(LATEST)));
    assert_eq!(found.account.rejected[&RowReason::Future], 1);
    let told = &found.told[0];
    assert!(told.starts_with("row 1, column \"t\": 2096-10-02T"), "{told}");
}

#[test]
fn times_and_places_that_cannot_be_refuse_their_row_by_name_and_other_types_the_file() {
    let times = column(StringArray::from(vec![
        Some("soon"),
        Some(""),
        None,
        Some("2024-05-01T10:00:00Z"),
        None,
    ]));
    let (latitudes, longitudes) = (
        column(Float64Array::from(vec![None, Some(90.5), Some(1.0), Some(1.0), None])),
        column(Float64Array::from(vec![
            None,
            Some(0.0),
            Some(f64::INFINITY),
            None,
            Some(2.0),
        ])),
    );
    let (samples, found) = taken(times, latitudes, longitudes).expect("no verdict on the file");
    assert_eq!(samples, []);
    let rejected = &found.account.rejected;
    assert_eq!((rejected[&RowReason::BadTime], rejected[&RowReason::BadPlace]), (1, 4));
    assert_eq!(
        found.told,
        [
            "row 0, column \"t\": \"soon\" is no ISO 8601 time between the years 1677 and 2262",
            "row 1, column \"lat\": 90.5 is no latitude: from -90 to 90 degrees",
            "row 2, column \"lon\": inf is no longitude: from -180 to 180 degrees",
            "row 3, column \"lon\": no longitude beside latitude 1",
            "row 4, column \"lat\": no latitude beside longitude 2",
        ]
    );
    let late = column(TimestampSecondArray::from(vec![i64::MAX]));
    let none = || column(Float64Array::from(vec![None]));
    let (_, found) = taken(late, none(), none()).expect("no verdict on the file");
    assert!(
        found.told[0].ends_with("the time lies outside the years 1677 to 2262"),
        "{:?}",
        found.told
    );
    let number = taken(column(Int64Array::from(vec![5])), none(), none()).expect_err("a number is no time");
    assert!(
        number.detail.contains("column \"t\" is of type Int64"),
        "{}",
        number.detail
    );
    let times = || column(TimestampSecondArray::from(vec![5]));
    let text = taken(times(), column(StringArray::from(vec!["1N"])), none()).expect_err("a text is no latitude");
    assert!(text.detail.contains("column \"lat\""), "{}", text.detail);
}
