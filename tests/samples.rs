//! Tiles and sequences: they land, with and without labels, are counted once, and survive.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, StringArray, TimestampSecondArray};

use crate::support::network::write;
use crate::support::{Daemon, Environment, Page, data, fixed_tiles, sequences, tiles, wait_for};

const TILES: &str = "{ id: name, image: image, label: label, shape: [1, 2, 2] }";

fn dataset(kind: &str, samples: &str) -> String {
    format!(
        "  - name: d\n    kind: {kind}\n    incoming: ./incoming/d\n    landing: {{ scan_interval: 200ms, settle: 300ms, \
         patience: 1s }}\n    samples: {samples}\n"
    )
}

fn environment(kind: &str, samples: &str) -> Environment {
    Environment::with_datasets(&dataset(kind, samples))
}

/// Samples without and with a label.
fn counts(page: &Page) -> (f64, f64) {
    let of = |labelled: &str| {
        let label = format!("labelled=\"{labelled}\"");
        let samples = page
            .samples("forecastd_samples")
            .filter(|(labels, _)| labels.contains(&label));
        samples.map(|(_, value)| value).sum()
    };
    (of("no"), of("yes"))
}

fn class(page: &Page, class: &str) -> Option<f64> {
    page.get("forecastd_class_samples", &[("dataset", "d"), ("class", class)])
}

/// Scrapes once so many samples are there.
fn with_samples(daemon: &Daemon, expected: (f64, f64)) -> Page {
    daemon.scrape_until(&format!("{expected:?} samples"), |page| counts(page) == expected)
}

#[test]
fn tiles_come_without_labels_get_them_later_and_are_there_after_a_restart() {
    let environment = environment("tiles", TILES);
    let daemon = environment.start();
    let first = tiles(&[
        ("a", vec![1; 4], None),
        ("b", vec![2; 4], Some("water")),
        ("c", vec![3; 4], None),
    ]);
    environment.drop_bytes("first.parquet", &first);
    daemon.after_drops(1);
    let page = with_samples(&daemon, (2.0, 1.0));
    assert_eq!((page.rows(), class(&page, "water")), ((3, 3, 0, 0), Some(1.0)));

    environment.drop_bytes("again.parquet", &first);
    let late = tiles(&[("a", vec![1; 4], Some("land")), ("b", vec![2; 4], Some("land"))]);
    environment.drop_bytes("late.parquet", &late);
    daemon.after_drops(3);
    let page = with_samples(&daemon, (1.0, 2.0));
    assert_eq!(page.rows(), (8, 5, 3, 0));
    assert_eq!((class(&page, "land"), class(&page, "water")), (Some(2.0), None));
    let (status, html) = daemon.get("/");
    assert!(
        status == 200 && html.contains("Tiles and sequences") && html.contains("land 2"),
        "{html}"
    );
    assert!(daemon.stop().success());
    environment.fsck();

    let daemon = environment.start();
    let page = with_samples(&daemon, (1.0, 2.0));
    assert_eq!((page.rows(), class(&page, "land")), ((8, 5, 3, 0), Some(2.0)));
    assert!(environment.path("incoming/d/done").exists());
}

#[test]
fn rows_that_cannot_be_used_are_counted_and_told_and_the_others_are_taken() {
    let mut corrupt = b"\x89PNG\r\n\x1a\n".to_vec();
    corrupt.extend([0; 20]);
    let samples = "{ id: name, image: image, label: label, shape: [1, 2, 2], labels: [water] }";
    let environment = environment("tiles", samples);
    let daemon = environment.start();
    environment.drop_bytes(
        "a.parquet",
        &tiles(&[
            ("corrupt", corrupt, None),
            ("good", vec![1; 4], Some("water")),
            ("short", vec![1; 3], None),
            ("other", vec![1; 4], Some("sand")),
            ("good", vec![2; 4], None),
            ("", vec![2; 4], None),
        ]),
    );
    daemon.after_drops(1);
    let page = with_samples(&daemon, (0.0, 1.0));
    assert_eq!(page.rows(), (6, 1, 0, 5));
    for (reason, rows) in [
        ("bad_input", 2.0),
        ("bad_label", 1.0),
        ("duplicate_id", 1.0),
        ("no_id", 1.0),
    ] {
        let labels = [("dataset", "d"), ("reason", reason)];
        assert_eq!(
            page.get("forecastd_rows_rejected_total", &labels),
            Some(rows),
            "{reason}"
        );
    }
    let log = daemon.log();
    for told in ["row 0", "row 3", "none of `labels`", "image that cannot be decoded"] {
        assert!(log.contains(told), "{told}\n{log}");
    }
    assert!(daemon.stop().success());
    environment.fsck();
}

#[test]
fn files_of_another_shape_or_schema_go_to_quarantine() {
    let environment = environment("tiles", TILES);
    let daemon = environment.start();
    environment.drop_bytes("fixed.parquet", &fixed_tiles(&[("a", vec![1; 9], None)]));
    environment.drop_bytes(
        "none.parquet",
        &tiles(&[("a", vec![1; 5], None), ("b", vec![1; 6], None)]),
    );
    environment.drop_bytes("columns.parquet", &sequences(&[("a", "ACGT", None)]));
    environment.drop_bytes("text.parquet", b"no parquet");
    daemon.after_drops(4);
    let expected = [
        ("columns.parquet", "schema"),
        ("fixed.parquet", "schema"),
        ("none.parquet", "schema"),
        ("text.parquet", "not_parquet"),
    ];
    let expected = expected.map(|(name, reason)| (name.to_owned(), reason.to_owned()));
    assert_eq!(environment.quarantined(), expected);
    environment.drop_bytes("good.parquet", &fixed_tiles(&[("a", vec![1; 4], None)]));
    daemon.after_drops(5);
    with_samples(&daemon, (1.0, 0.0));
    assert!(daemon.stop().success());
    environment.fsck();
}

#[test]
fn sequences_are_taken_and_letters_of_another_alphabet_are_not() {
    let samples = "{ id: name, sequence: sequence, label: label, shape: [6], alphabet: ACGT }";
    let environment = environment("sequences", samples);
    let daemon = environment.start();
    environment.drop_bytes(
        "a.parquet",
        &sequences(&[("a", "ACGT", Some("x")), ("b", "acgtac", None), ("c", "ACGTACG", None)]),
    );
    environment.drop_bytes("protein.parquet", &sequences(&[("p", "MKVL", None)]));
    daemon.after_drops(2);
    let page = with_samples(&daemon, (1.0, 1.0));
    assert_eq!(page.rows(), (3, 2, 0, 1));
    let expected = [("protein.parquet".to_owned(), "schema".to_owned())];
    assert_eq!(environment.quarantined(), expected);
    assert!(daemon.stop().success());
    environment.fsck();
}

#[test]
fn a_kill_in_the_middle_of_drops_of_tiles_loses_none_and_doubles_none() {
    let environment = environment("tiles", TILES);
    let (drops, rows) = (8_u8, 50_u8);
    for moment in 0..6 {
        let daemon = environment.start();
        if moment == 0 {
            for drop in 0..drops {
                let ids: Vec<String> = (0..rows).map(|row| format!("{drop}-{row}")).collect();
                let rows: Vec<_> = (0..rows)
                    .zip(&ids)
                    .map(|(row, id)| (id.as_str(), vec![drop, row, 0, 0], Some("x")))
                    .collect();
                environment.drop_bytes(&format!("{drop}.parquet"), &tiles(&rows));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(150 * moment));
        daemon.kill();
        environment.fsck();
    }
    let daemon = environment.start();
    daemon.after_drops(drops.into());
    let all = f64::from(drops) * f64::from(rows);
    let page = with_samples(&daemon, (0.0, all));
    assert_eq!(page.rows(), (all as u64, all as u64, 0, 0));
    assert!(daemon.stop().success());
    environment.fsck();
}

#[test]
fn the_tiles_of_rsscn7_land() {
    let Some(path) = data("satellite/rsscn7_64.parquet") else {
        return;
    };
    let environment = environment(
        "tiles",
        "{ id: name, image: image, label: label_name, split: split, shape: [3, 64, 64] }",
    );
    let daemon = environment.start();
    environment.drop_bytes("rsscn7.parquet", &std::fs::read(&path).unwrap());
    daemon.after_drops(1);
    let page = with_samples(&daemon, (0.0, 2240.0));
    assert_eq!(page.count("forecastd_class_samples"), 7);
    assert!(page.samples("forecastd_class_samples").all(|(_, count)| count == 320.0));
    let labels = [("dataset", "d"), ("split", "train"), ("labelled", "yes")];
    assert_eq!(page.get("forecastd_samples", &labels), Some(1792.0));
    assert_eq!(page.rows(), (2240, 2240, 0, 0));
    assert!(daemon.stop().success());
    environment.fsck();
    exported(&environment.path("state"), &path);
}

/// What a run would get is what stands in the file.
fn exported(state: &Path, file: &Path) {
    let export = forecastd::state::SampleExport::open(state).unwrap();
    let text = format!(
        "state_dir: s\ndatasets:\n{}",
        dataset(
            "tiles",
            "{ id: name, image: image, label: label_name, shape: [3, 64, 64] }"
        )
    );
    let config = forecastd_config::Config::parse(&text, Path::new("/")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let form = &config.samples[0].form;
    let forecastd::state::Exported { set, left_out, .. } = export
        .write(&"d".into(), form, i64::MAX, folder.path(), &|| true)
        .unwrap();
    assert_eq!((set.count, set.labels.len(), left_out), (2240, 7, 0));
    let inputs = std::fs::read(folder.path().join("inputs.bin")).unwrap();
    assert_eq!(inputs.len(), 2240 * 12_288);
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap());
    let batch = reader.unwrap().build().unwrap().next().unwrap().unwrap();
    let images = batch.column_by_name("image").unwrap();
    let images = arrow::array::AsArray::as_fixed_size_binary(images);
    let (first, pixels) = (&inputs[..4096], images.value(0));
    assert!(
        (0..4096).all(|place| first[place] == pixels[3 * place]),
        "the red band of the first tile"
    );
}

#[test]
fn a_reload_brings_a_dataset_of_tiles_and_takes_it_away() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    environment.configure(&dataset("tiles", TILES));
    daemon.signal(rustix::process::Signal::HUP);
    wait_for("the reload", || {
        daemon.log().contains("configuration reloaded").then_some(())
    });
    environment.drop_bytes("a.parquet", &tiles(&[("a", vec![1; 4], None)]));
    daemon.after_drops(1);
    let page = with_samples(&daemon, (1.0, 0.0));
    assert_eq!(page.count("forecastd_samples"), 6);
    let series = Environment::dataset("e", "{ time: time }", "forecast: { horizon: 3 }");
    environment.configure(&series);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.scrape_until("no tiles", |page| page.count("forecastd_samples") == 0);
}

#[test]
fn the_same_file_under_a_mended_threshold_mends_the_masks_that_are_there() {
    let masks = |threshold: u8| {
        let samples = format!(
            "{{ id: name, sequence: sequence, shape: [4], task: segment, label: mask, labels: [other, road], \
             mask_threshold: {threshold} }}"
        );
        dataset("sequences", &samples)
    };
    let environment = Environment::with_datasets(&masks(250));
    let daemon = environment.start();
    let made = environment.path("made.parquet");
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let greys = Arc::new(BinaryArray::from_iter_values([[0_u8, 0, 240, 240]]));
    let columns = vec![("name", text("a")), ("sequence", text("ACGT")), ("mask", greys)];
    write(&made, columns);
    let file = std::fs::read(made).unwrap();
    environment.drop_bytes("first.parquet", &file);
    daemon.after_drops(1);
    let page = with_samples(&daemon, (0.0, 1.0));
    assert_eq!((class(&page, "other"), class(&page, "road")), (Some(1.0), None));

    environment.configure(&masks(127));
    daemon.signal(rustix::process::Signal::HUP);
    wait_for("the reload", || {
        daemon.log().contains("configuration reloaded").then_some(())
    });
    environment.drop_bytes("again.parquet", &file);
    let page = daemon.scrape_until("the road", |page| class(page, "road").is_some());
    assert_eq!(page.rows(), (2, 2, 0, 0), "a revision");
    environment.drop_bytes("third.parquet", &file);
    let page = daemon.after_drops(3);
    assert_eq!(page.rows(), (3, 2, 1, 0), "what is there by now is a duplicate");
    assert!(daemon.stop().success());
    environment.fsck();
}

/// A sequence: its name, when it was taken in seconds, and its latitude and longitude.
type Taken<'a> = (&'a str, Option<i64>, [Option<f64>; 2]);

/// Sequences that say when and where they were taken.
fn taken(environment: &Environment, rows: &[Taken<'_>]) -> Vec<u8> {
    let texts = |text: fn(&Taken<'_>) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(text)));
    let degrees = |axis: usize| Arc::new(rows.iter().map(|row| row.2[axis]).collect::<Float64Array>());
    let made = environment.path("made.parquet");
    write(
        &made,
        vec![
            ("name", texts(|row| row.0.to_owned())),
            ("sequence", texts(|_| "ACGT".to_owned())),
            (
                "taken",
                Arc::new(rows.iter().map(|row| row.1).collect::<TimestampSecondArray>()),
            ),
            ("lat", degrees(0)),
            ("lon", degrees(1)),
        ],
    );
    std::fs::read(made).unwrap()
}

#[test]
fn when_and_where_a_sample_was_taken_counts_until_a_later_drop_knows_better() {
    let samples = "{ id: name, sequence: sequence, shape: [4], time: taken, latitude: lat, longitude: lon }";
    let environment = environment("sequences", samples);
    let daemon = environment.start();
    let newest = |page: &Page| page.get("forecastd_sample_newest_timestamp_seconds", &[("dataset", "d")]);
    let (here, there, nowhere) = ([Some(1.5), Some(-2.5)], [Some(1.5), Some(2.5)], [None; 2]);
    let first = [
        ("a", Some(50), here),
        ("b", None, nowhere),
        ("north", Some(90), [Some(90.5), Some(0.0)]),
        ("half", Some(90), [Some(1.0), None]),
    ];
    environment.drop_bytes("first.parquet", &taken(&environment, &first));
    daemon.after_drops(1);
    let page = with_samples(&daemon, (2.0, 0.0));
    assert_eq!((page.rows(), newest(&page)), ((4, 2, 0, 2), Some(50.0)));
    let labels = [("dataset", "d"), ("reason", "bad_place")];
    assert_eq!(page.get("forecastd_rows_rejected_total", &labels), Some(2.0));
    let log = daemon.log().replace('\\', "");
    assert!(log.contains("row 2, column \"lat\": 90.5 is no latitude"), "{log}");

    let again = [("a", Some(50), there), ("b", Some(40), nowhere)];
    environment.drop_bytes("revised.parquet", &taken(&environment, &again));
    environment.drop_bytes(
        "unknown.parquet",
        &sequences(&[("a", "ACGT", None), ("b", "ACGT", None)]),
    );
    daemon.after_drops(3);
    let page = daemon.scrape_until("all drops", |page| page.rows().0 == 8);
    assert_eq!(
        (page.rows(), newest(&page)),
        ((8, 4, 2, 2), Some(50.0)),
        "who knows nothing takes nothing away"
    );
    let earlier = [("a", Some(30), there)];
    environment.drop_bytes("earlier.parquet", &taken(&environment, &earlier));
    daemon.scrape_until("the newest of those that count", |page| newest(page) == Some(40.0));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![5]));
    let made = environment.path("made.parquet");
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    write(
        &made,
        vec![("name", text("c")), ("sequence", text("ACGT")), ("taken", numbers)],
    );
    environment.drop_bytes("number.parquet", &std::fs::read(made).unwrap());
    daemon.after_drops(5);
    assert_eq!(
        environment.quarantined(),
        [("number.parquet".to_owned(), "schema".to_owned())]
    );
    daemon.kill();
    let daemon = environment.start();
    daemon.scrape_until("the newest after a restart", |page| newest(page) == Some(40.0));
    assert!(daemon.stop().success());
    environment.fsck();
}
