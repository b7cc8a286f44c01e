//! Files of every kind, and everything that can be wrong with one.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, UInt16Array,
};
use arrow::datatypes::{Float32Type, Int32Type, UInt16Type};
use forecastd_models::dasha::samples::{NO_CLASS, NO_SYMBOL};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::*;

/// A file and the folder that becomes of it.
struct Case {
    dir: TempDir,
    request: SampleRequest,
}

fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn integers(numbers: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(numbers.to_vec()))
}

fn bytes(cells: &[&[u8]]) -> ArrayRef {
    Arc::new(BinaryArray::from(cells.to_vec()))
}

/// Two rows to train on, one to choose by, one to test.
fn splits() -> ArrayRef {
    texts(&["train", "train", "val", "test"])
}

fn images(task: Task) -> Case {
    Case::new(task, InputKind::Image, Some(vec![1, 1, 2]))
}

fn sequences() -> Case {
    Case::new(Task::Classify, InputKind::Sequence, None)
}

impl Case {
    fn new(task: Task, input: InputKind, shape: Option<Vec<u32>>) -> Self {
        let request = SampleRequest {
            task,
            input,
            shape,
            pixel: None,
            cells: CellFormat::default(),
            alphabet: "ACGTN".to_owned(),
            columns: ColumnNames::default(),
            seed: 0,
        };
        let dir = TempDir::new().expect("a folder");
        Self { dir, request }
    }

    fn asking(mut self, change: impl FnOnce(&mut SampleRequest)) -> Self {
        change(&mut self.request);
        self
    }

    /// Two rows a row group, so that rows are counted over several.
    fn file(&self, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let path = self.dir.path().join("a.parquet");
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
        let file = File::create(&path).expect("made");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        path
    }

    fn try_read(&self, columns: Vec<(&str, ArrayRef)>) -> Result<Prepared, SamplesError> {
        let path = self.file(columns);
        prepare(&path, &self.request, &self.folder(), &mut |_| ControlFlow::Continue(()))
    }

    fn read(&self, columns: Vec<(&str, ArrayRef)>) -> Prepared {
        self.try_read(columns).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What is said of a file that cannot be used.
    fn told(&self, columns: Vec<(&str, ArrayRef)>) -> String {
        let told = self.try_read(columns).expect_err("a bad file").to_string();
        assert!(told.contains("a.parquet: "), "{told}");
        assert!(
            !self.folder().join("samples.json").exists(),
            "nothing is described that is not whole"
        );
        told
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn written(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder().join(name)).expect("written")
    }
}

#[track_caller]
fn assert_told(told: &str, words: &str) {
    assert!(told.contains(words), "{told}");
}

fn tiles() -> ArrayRef {
    let tiles: [&[u8]; 4] = [&[1, 2], &[3, 4], &[5, 6], &[7, 8]];
    Arc::new(FixedSizeBinaryArray::try_from_iter(tiles.into_iter()).expect("of one size"))
}

#[test]
fn raw_tiles_become_flat_files() {
    let case = images(Task::Classify);
    let prepared = case.read(vec![
        ("image", tiles()),
        ("label", integers(&[7, 3, 3, 7])),
        ("label_name", texts(&["sea", "land", "land", "sea"])),
        ("split", splits()),
    ]);
    assert_eq!(case.written("inputs.bin"), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        case.written("targets.bin"),
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    );
    assert_eq!(case.written("splits.bin"), [0, 0, 1, 2]);
    assert_eq!(prepared.set.labels, ["land", "sea"]);
    assert_eq!((prepared.splits, prepared.set.count), ([2, 1, 1], 4));
    assert_eq!(
        prepared.set.hash,
        content_hash(&case.dir.path().join("a.parquet")).expect("read")
    );
    let described: SampleSet = serde_json::from_slice(&case.written("samples.json")).expect("its description");
    assert_eq!(described, prepared.set);
}

#[test]
fn labels_may_be_texts_booleans_or_several() {
    let case = images(Task::Classify);
    let labels: [(ArrayRef, [&str; 2]); 2] = [
        (texts(&["b", "a", "a", "b"]), ["a", "b"]),
        (
            Arc::new(BooleanArray::from(vec![true, false, false, true])),
            ["false", "true"],
        ),
    ];
    for (column, names) in labels {
        let prepared = case.read(vec![("image", tiles()), ("class", column), ("split", splits())]);
        assert_eq!(prepared.set.labels, names);
        assert_eq!(case.written("targets.bin")[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    }
    let case = images(Task::Multilabel);
    let list = |items: &[i32]| Some(items.iter().copied().map(Some).collect::<Vec<_>>());
    let lists = [list(&[5, 9, 5]), list(&[]), list(&[9]), list(&[5])];
    let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    let prepared = case.read(vec![("image", tiles()), ("labels", column), ("split", splits())]);
    assert_eq!(prepared.set.labels, ["5", "9"]);
    assert_eq!(case.written("targets.bin"), [1, 1, 0, 0, 0, 1, 1, 0]);
}

#[test]
fn numbers_to_regress_are_kept_as_they_are() {
    let case = images(Task::Regress);
    let column: ArrayRef = Arc::new(Float64Array::from(vec![0.5, -1.0, 2.0, 3.0]));
    let prepared = case.read(vec![("image", tiles()), ("target", column), ("split", splits())]);
    assert_eq!(prepared.set.labels, ["target"]);
    assert_eq!(case.written("targets.bin")[..8], [0, 0, 0, 63, 0, 0, 128, 191]);
    let case = images(Task::Regress);
    let column: ArrayRef = Arc::new(Float64Array::from(vec![0.5, f64::INFINITY, 2.0, 3.0]));
    let told = case.told(vec![("image", tiles()), ("target", column), ("split", splits())]);
    assert_told(&told, "row 1, column \"target\": inf is no finite number");
}

#[test]
fn masks_are_classes_or_greys_with_a_threshold() {
    let case = images(Task::Segment);
    let mask = bytes(&[&[0, 1], &[1, 255], &[0, 0], &[1, 1]]);
    let prepared = case.read(vec![("image", tiles()), ("mask", mask), ("split", splits())]);
    assert_eq!(prepared.set.labels, ["0", "1"]);
    assert_eq!(case.written("targets.bin"), [0, 1, 1, NO_CLASS, 0, 0, 1, 1]);

    let grey = bytes(&[&[0, 200], &[127, 128], &[0, 0], &[255, 255]]);
    let columns = || vec![("image", tiles()), ("mask", Arc::clone(&grey)), ("split", splits())];
    assert_told(&case.told(columns()), "--mask-threshold");
    let case = case.asking(|request| request.cells.mask_threshold = Some(127));
    assert_eq!(case.read(columns()).set.labels, ["up to 127", "above 127"]);
    assert_eq!(case.written("targets.bin"), [0, 1, 0, 1, 0, 0, 1, 1]);

    let case = images(Task::Segment);
    let beyond = bytes(&[&[0, 1], &[1, 0], &[0, 2], &[1, 1]]);
    let told = case.told(vec![("image", tiles()), ("mask", beyond), ("split", splits())]);
    assert_told(&told, "row 2, column \"mask\": class 2 is in no training mask");
    let short = bytes(&[&[0, 1], &[1], &[0, 0], &[1, 1]]);
    let told = case.told(vec![("image", tiles()), ("mask", short), ("split", splits())]);
    assert_told(&told, "row 1, column \"mask\": a mask of 1 positions for an input of 2");
}

#[test]
fn sequences_become_places_in_the_alphabet() {
    let case = sequences();
    let prepared = case.read(vec![
        ("sequence", texts(&["acgt", "A", "NN", "TTT"])),
        ("label", integers(&[0, 1, 0, 1])),
        ("split", splits()),
    ]);
    assert_eq!(
        (prepared.set.input.bands, prepared.set.input.size.as_slice()),
        (5, &[4][..])
    );
    const NO: u8 = NO_SYMBOL;
    assert_eq!(
        case.written("inputs.bin"),
        [0, 1, 2, 3, 0, NO, NO, NO, 4, 4, NO, NO, 3, 3, 3, NO]
    );
}

#[test]
fn lists_of_numbers_keep_their_type() {
    let case = Case::new(Task::Classify, InputKind::Sequence, Some(vec![2, 2]));
    let row = |first: u16| Some((first..first + 4).map(Some).collect::<Vec<_>>());
    let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<UInt16Type, _, _>([
        row(1),
        row(300),
        row(3),
        row(4),
    ]));
    let labels = || integers(&[0, 1, 0, 1]);
    let prepared = case.read(vec![("ndvi", column), ("label", labels()), ("split", splits())]);
    assert_eq!(prepared.set.element, ElementType::U16);
    assert_eq!(case.written("inputs.bin")[8..16], [44, 1, 45, 1, 46, 1, 47, 1]);
    let row = |value: f32| Some(vec![Some(1.0), Some(value)]);
    let lists = [row(1.0), row(2.0), row(f32::NAN), row(1.0)];
    let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
    let case = sequences();
    let told = case.told(vec![("ndvi", column), ("label", labels()), ("split", splits())]);
    assert_told(&told, "row 2, column \"ndvi\": value 1 is NaN");
    let lists = [row(1.0), Some(vec![Some(1.0)]), row(2.0), row(1.0)];
    let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
    let told = case.told(vec![("ndvi", column), ("label", labels()), ("split", splits())]);
    assert_told(&told, "row 1, column \"ndvi\": 1 numbers do not fit shape 1,2");
    let lists = [row(1.0), row(1.0), Some(vec![]), row(1.0)];
    let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
    let told = case.told(vec![("ndvi", column), ("label", labels()), ("split", splits())]);
    assert_told(&told, "row 2, column \"ndvi\": an empty list");
}

#[test]
fn encoded_tiles_have_the_shape_of_the_first() {
    let case = images(Task::Classify).asking(|request| request.shape = None);
    let png = |width, height| encoded::tests::png(width, height, 200);
    let (small, other) = (png(3, 2), png(2, 2));
    let labels = || integers(&[0, 1, 0, 1]);
    let column = bytes(&[&small, &small, &small, &small]);
    let prepared = case.read(vec![("image", column), ("label", labels()), ("split", splits())]);
    assert_eq!(
        (prepared.set.input.bands, prepared.set.input.size.as_slice()),
        (3, &[2, 3][..])
    );
    let column = bytes(&[&small, &small, &other, &small]);
    let told = case.told(vec![("image", column), ("label", labels()), ("split", splits())]);
    assert_told(
        &told,
        "row 2, column \"image\": an image of 2x2 pixels, where 2x3 is expected",
    );
    let column = bytes(&[&small, &small, &small, &small[..40]]);
    let told = case.told(vec![("image", column), ("label", labels()), ("split", splits())]);
    assert_told(&told, "row 3, column \"image\": an image that cannot be decoded");
}

#[test]
fn bad_inputs_are_told_by_row_and_column() {
    let case = images(Task::Classify);
    let labels = || integers(&[0, 1, 0, 1]);
    let told = |image: ArrayRef| case.told(vec![("image", image), ("label", labels()), ("split", splits())]);
    assert_told(
        &told(bytes(&[&[1, 2], &[1, 2], &[1, 2, 3, 4], &[1, 2]])),
        "row 2, column \"image\": 4 bytes do not fit shape 1,1,2 of u8, which takes 2; --dtype u16 would",
    );
    let missing: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![
        Some(&[1, 2]),
        Some(&[1, 2]),
        Some(&[1, 2]),
        None,
    ]));
    assert_told(&told(missing), "row 3, column \"image\": it is empty");
    let floats: Vec<u8> = [1.0_f32, f32::NAN]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let sound: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let case = images(Task::Classify).asking(|request| request.pixel = Some(PixelType::F32));
    let image = bytes(&[&sound, &floats, &sound, &sound]);
    let told = case.told(vec![("image", image), ("label", labels()), ("split", splits())]);
    assert_told(&told, "row 1, column \"image\": value 1 is not finite");
    let case = images(Task::Classify).asking(|request| request.shape = None);
    let told = case.told(vec![("image", tiles()), ("label", labels()), ("split", splits())]);
    assert_told(&told, "raw pixels need --shape C,H,W");
}

#[test]
fn bad_labels_are_told_by_row_and_column() {
    let case = images(Task::Classify);
    let told = |label: ArrayRef| case.told(vec![("image", tiles()), ("label", label), ("split", splits())]);
    assert_told(
        &told(integers(&[0, 1, -2, 1])),
        "row 2, column \"label\": label -2 is negative",
    );
    assert_told(
        &told(integers(&[0, 1, 2, 1])),
        "row 2, column \"label\": label \"2\" is in no training row",
    );
    assert_told(&told(integers(&[1, 1, 1, 0])), "every training row has the class \"1\"");
    let missing: ArrayRef = Arc::new(Int32Array::from(vec![Some(0), Some(1), Some(0), None]));
    assert_told(&told(missing), "row 3, column \"label\": no label");
    let numbers: ArrayRef = Arc::new(Float32Array::from(vec![0.0, 1.0, 0.0, 1.0]));
    let case = images(Task::Classify).asking(|request| request.columns.label = Some("label".to_owned()));
    let told = case.told(vec![("image", tiles()), ("label", numbers), ("split", splits())]);
    assert_told(&told, "--task classify takes integers, text or booleans");
    let names = texts(&["a", "b", "c", "b"]);
    let label = integers(&[0, 1, 0, 1]);
    let told = case.told(vec![
        ("image", tiles()),
        ("label", label),
        ("label_name", names),
        ("split", splits()),
    ]);
    assert_told(
        &told,
        "row 2, column \"label\": label 0 is called \"c\" here and \"a\" before",
    );
}

#[test]
fn bad_splits_are_told() {
    let case = images(Task::Classify);
    let told = |words: &[&str]| {
        case.told(vec![
            ("image", tiles()),
            ("label", integers(&[0, 1, 0, 1])),
            ("split", texts(words)),
        ])
    };
    assert_told(
        &told(&["train", "train", "val", "holdout"]),
        "row 3, column \"split\": unknown split \"holdout\"",
    );
    assert_told(
        &told(&["dev", "test", "dev", "test"]),
        "no row is for training (splits are by column \"split\")",
    );
    let none = images(Task::Classify).asking(|request| request.columns.split = Some("spilt".to_owned()));
    let told = none.told(vec![
        ("image", tiles()),
        ("label", integers(&[0, 1, 0, 1])),
        ("split", splits()),
    ]);
    assert_told(
        &told,
        "no column \"spilt\"; the file has \"image\", \"label\", \"split\"",
    );
    let numbers: ArrayRef = Arc::new(UInt16Array::from(vec![0, 0, 1, 2]));
    let case = images(Task::Classify).asking(|request| request.columns.split = Some("split".to_owned()));
    let told = case.told(vec![
        ("image", tiles()),
        ("label", integers(&[0, 1, 0, 1])),
        ("split", numbers),
    ]);
    assert_told(&told, "should be text");
}

#[test]
fn bad_sequences_are_told() {
    let case = sequences();
    let told = |texts: ArrayRef| {
        case.told(vec![
            ("sequence", texts),
            ("label", integers(&[0, 1, 0, 1])),
            ("split", splits()),
        ])
    };
    assert_told(
        &told(texts(&["A", "C", "", "T"])),
        "row 2, column \"sequence\": an empty sequence",
    );
    assert_told(
        &told(texts(&["A", "XX", "C", "T"])),
        "row 1, column \"sequence\": letter 'X' is not in the alphabet",
    );
    let case = sequences().asking(|request| request.shape = Some(vec![2]));
    let columns = vec![
        ("sequence", texts(&["A", "C", "ACG", "T"])),
        ("label", integers(&[0, 1, 0, 1])),
        ("split", splits()),
    ];
    let told = case.told(columns);
    assert_told(&told, "row 2, column \"sequence\": 3 letters; at most 2 are taken");
}

#[test]
fn files_that_are_none_are_told() {
    let case = images(Task::Classify);
    let path = case.dir.path().join("a.parquet");
    let told = || {
        let read = prepare(&path, &case.request, &case.folder(), &mut |_| ControlFlow::Continue(()));
        read.expect_err("no file").to_string()
    };
    assert_told(&told(), "a.parquet: No such file");
    fs::write(&path, "name,label\n").expect("written");
    assert_told(&told(), "not a parquet file that can be read");
    case.file(vec![("image", bytes(&[])), ("label", integers(&[]))]);
    assert_told(&told(), "it has no rows");
}

#[test]
fn an_interruption_ends_it() {
    let case = images(Task::Classify);
    let path = case.file(vec![
        ("image", tiles()),
        ("label", integers(&[0, 1, 0, 1])),
        ("split", splits()),
    ]);
    let read = prepare(&path, &case.request, &case.folder(), &mut |_| ControlFlow::Break(()));
    assert!(matches!(read, Err(SamplesError::Interrupted)));
}

#[test]
fn samples_to_predict_need_no_labels_and_keep_those_that_fit() {
    let trained = Trained {
        input: InputShape {
            bands: 1,
            size: vec![1, 2],
        },
        element: ElementType::U8,
        task: Task::Classify,
        labels: vec!["a".to_owned(), "b".to_owned()],
    };
    let read = |case: &Case, columns| {
        let path = case.file(columns);
        prepare_for(&trained, &path, &case.request, &case.folder(), &mut |_| {
            ControlFlow::Continue(())
        })
    };
    let case = images(Task::Classify);
    let prepared = read(&case, vec![("image", tiles())]).expect("no labels are needed");
    assert!(!prepared.labelled && !case.folder().join(TRUTH).exists());
    let labels = || texts(&["b", "a", "a", "b"]);
    let prepared = read(&case, vec![("image", tiles()), ("label", labels())]).expect("labels that fit");
    assert!(prepared.labelled);
    assert_eq!(case.written(TRUTH)[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(!case.folder().join("targets.bin").exists());
    let unfit = || vec![("image", tiles()), ("label", texts(&["b", "a", "c", "b"]))];
    let prepared = read(&case, unfit()).expect("labels that nobody asked for");
    assert!(!prepared.labelled && prepared.notes[0].contains("row 2, column \"label\": label \"c\""));
    let case = case.asking(|request| request.columns.label = Some("label".to_owned()));
    let told = read(&case, unfit())
        .expect_err("labels that were asked for")
        .to_string();
    assert_told(
        &told,
        "row 2, column \"label\": label \"c\" is none of the network's: a, b",
    );
}
