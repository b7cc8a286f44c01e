//! Masks, and when and where samples were taken: what is the same, what is a revision, what a training gets of them, and
//! what a state from before keeps.

use std::fs::File;

use arrow::record_batch::RecordBatch;
use forecastd_config::{Config, SampleForm};
use forecastd_models::dasha::mask::pack;
use forecastd_models::dasha::{SampleSet, Split};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::samples::{Given, commit, give};
use super::*;
use crate::message::prediction::{Predictions, Said};
use crate::message::sample::{Label, MaskLabel, Place, Sample, SampleEntry, Taken};

const VERSION: ContentKey = ContentKey([7; 32]);
const SHADOW: ContentKey = ContentKey([8; 32]);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn label(mask: &[u8], classes: &[&str]) -> Label {
    Label::Mask(MaskLabel::of(mask, &names(classes)).expect("it has no other class"))
}

/// A sample of two positions.
fn sample(id: &str, mask: Option<[u8; 2]>) -> Sample {
    Sample {
        id: id.to_owned(),
        split: Split::Train,
        label: mask.map(|mask| label(&mask, &["land", "road"]).to_json()),
        mask: mask.map(Vec::from),
        taken: Taken::default(),
        elements: vec![1, 2],
    }
}

fn at(id: &str, taken: Taken) -> Sample {
    Sample {
        taken,
        ..sample(id, None)
    }
}

/// How many of these samples were committed, and how many were duplicates.
fn counted(scene: &mut Scene, number: u64, samples: Vec<Sample>) -> (u64, u64) {
    let account = give(scene, number, samples).expect("committed").account;
    scene.audit();
    (account.committed, account.duplicate)
}

fn entries(scene: &mut Scene) -> Vec<SampleEntry> {
    scene.reopen();
    scene.store().recover_samples(&"a".into()).expect("recovered").entries
}

#[test]
fn a_mask_is_a_label_like_any_other() {
    let mut scene = Scene::new();
    assert_eq!(
        counted(&mut scene, 1, vec![sample("a", Some([0, 1])), sample("b", None)]),
        (2, 0)
    );
    assert_eq!(
        counted(&mut scene, 2, vec![sample("a", Some([0, 1])), sample("a", None)]),
        (0, 2)
    );
    assert_eq!(
        counted(&mut scene, 3, vec![sample("b", Some([1, 1]))]),
        (1, 0),
        "a late mask"
    );
    assert_eq!(
        counted(&mut scene, 4, vec![sample("a", Some([1, 0]))]),
        (1, 0),
        "a better mask"
    );
    let renamed = Sample {
        label: Some(label(&[1, 0], &["sea", "road"]).to_json()),
        ..sample("a", Some([1, 0]))
    };
    assert_eq!(
        counted(&mut scene, 5, vec![renamed]),
        (1, 0),
        "the same bytes of other classes"
    );
    let labels: Vec<_> = entries(&mut scene)
        .into_iter()
        .map(|entry| (entry.id.to_string(), entry.label))
        .collect();
    let expected = [
        ("b", label(&[1, 1], &["land", "road"])),
        ("a", label(&[1, 0], &["sea", "road"])),
    ];
    assert_eq!(labels, expected.map(|(id, label)| (id.to_owned(), Some(label))));
}

#[test]
fn a_row_without_a_label_takes_none_away_whatever_else_it_says() {
    let mut scene = Scene::new();
    let (now, here) = (Some(Timestamp(7)), Place::new(1.0, 2.0));
    let taken = Taken { time: now, place: here };
    let named = |id: &str, class: Option<&str>| Sample {
        label: class.map(|class| Label::Class(class.to_owned()).to_json()),
        ..sample(id, None)
    };
    let classes = vec![named("a", Some("land")), sample("b", Some([0, 1]))];
    assert_eq!(counted(&mut scene, 1, classes), (2, 0));
    let moved = |id: &str| Sample {
        split: Split::Test,
        ..at(id, taken)
    };
    let told = counted(&mut scene, 2, vec![moved("a"), moved("b")]);
    assert_eq!(told, (1, 1), "a mask would be lost, so nothing is taken in its place");
    let found = entries(&mut scene);
    let labels: Vec<_> = found
        .iter()
        .map(|entry| (&*entry.id, entry.label.clone(), entry.split))
        .collect();
    let mask = label(&[0, 1], &["land", "road"]);
    let class = Label::Class("land".to_owned());
    assert_eq!(
        labels,
        [("b", Some(mask), Split::Train), ("a", Some(class), Split::Test)]
    );
    assert_eq!((found[0].taken, found[1].taken), (Taken::default(), taken));
    let with_mask = Sample {
        split: Split::Test,
        taken,
        ..sample("b", Some([0, 1]))
    };
    assert_eq!(counted(&mut scene, 3, vec![with_mask]), (1, 0));
    assert_eq!(entries(&mut scene)[1].taken, taken);
}

#[test]
fn another_time_or_place_is_a_revision_and_an_unknown_one_takes_none_away() {
    let mut scene = Scene::new();
    let [here, there] = [Place::new(1.5, -2.5), Place::new(1.5, 2.5)];
    let taken = |time, place| Taken {
        time: Some(Timestamp(time)),
        place,
    };
    assert_eq!(counted(&mut scene, 1, vec![at("a", taken(7, here))]), (1, 0));
    assert_eq!(
        counted(&mut scene, 2, vec![at("a", taken(7, here)), at("a", Taken::default())]),
        (0, 2)
    );
    assert_eq!(
        counted(&mut scene, 3, vec![at("a", taken(8, None))]),
        (1, 0),
        "a better time"
    );
    let known = |scene: &mut Scene| entries(scene)[0].taken;
    assert_eq!(known(&mut scene), taken(8, here), "the place is still known");
    assert_eq!(
        counted(&mut scene, 4, vec![at("a", taken(8, there))]),
        (1, 0),
        "another place"
    );
    assert_eq!(
        counted(&mut scene, 5, vec![sample("a", Some([0, 1]))]),
        (1, 0),
        "a late mask"
    );
    assert_eq!(
        known(&mut scene),
        taken(8, there),
        "which says nothing of time and place"
    );
    let other = Sample {
        elements: vec![9, 9],
        ..sample("a", None)
    };
    assert_eq!(counted(&mut scene, 6, vec![other]), (1, 0));
    assert_eq!(
        known(&mut scene),
        Taken::default(),
        "other elements are of another time and place"
    );
    let reader = SampleReader::open(scene.folder.path()).expect("opened");
    let mut read = Vec::new();
    let done = reader.read::<StateError>("a", 3, &[0], |kept| {
        read.push(kept.taken);
        Ok(())
    });
    done.expect("a sound segment");
    assert_eq!(read, [taken(8, here)], "what goes into files of predictions");
}

fn form(labels: &str) -> SampleForm {
    let text = format!(
        "state_dir: s\ndatasets: [{{ name: a, kind: tiles, incoming: i, samples: {{ id: i, image: x, label: y, \
         shape: [1, 1, 2], task: segment, labels: {labels} }} }}]"
    );
    let config = Config::parse(&text, std::path::Path::new("/")).expect("a good file");
    config.samples[0].form.clone()
}

#[test]
fn a_run_gets_masks_as_long_as_their_numbers_are_called_what_they_were() {
    let mut scene = Scene::new();
    let test = Sample {
        split: Split::Test,
        ..sample("c", Some([1, 255]))
    };
    counted(&mut scene, 1, vec![sample("a", Some([0, 1])), sample("b", None), test]);
    counted(&mut scene, 2, vec![sample("b", Some([0, 0]))]);
    let folder = tempfile::tempdir().expect("a folder");
    let export = SampleExport::open(scene.folder.path()).expect("beside the writer");
    let read = |name: &str| fs::read(folder.path().join(name)).expect("written");
    let write = |labels: &str| {
        let written = export.write(&"a".into(), &form(labels), i64::MAX, folder.path(), &|| true);
        let Exported { set, left_out, .. } = written.expect("exported");
        assert_eq!(set.count + left_out, 3, "nothing is left out in silence");
        set
    };
    let set: SampleSet = write("[land, road]");
    assert_eq!((set.count, set.labels), (3, names(&["land", "road"])));
    assert_eq!(
        (read("targets.bin"), read("splits.bin")),
        (vec![0, 1, 1, 255, 0, 0], vec![0, 2, 0])
    );
    assert_eq!(read("inputs.bin"), [1, 2, 1, 2, 1, 2]);
    assert_eq!(write("[land, road, water]").count, 3, "a class that came later");
    assert_eq!(
        write("[sea, road]").count,
        1,
        "only what has none of the class that is called otherwise"
    );
    assert_eq!(read("targets.bin"), [1, 255]);
    assert_eq!(write("[road, land]").count, 0, "the numbers mean something else");
}

#[test]
fn a_mask_that_comes_later_is_compared_with_what_was_said_of_the_same_elements() {
    let mut scene = Scene::new();
    counted(&mut scene, 1, vec![sample("a", None), sample("b", None)]);
    let both = all(vec![said("a", 0, Some([1, 0])), said("b", 1, None)]);
    let late = scene.store().keep_predictions(&"a".into(), &both).expect("kept");
    assert_eq!(late, BTreeMap::new(), "nobody has told what is true");
    scene.reopen();
    let other = Sample {
        elements: vec![9, 9],
        ..sample("b", Some([0, 1]))
    };
    let fresh = give(&mut scene, 2, vec![sample("a", Some([0, 1])), other])
        .expect("committed")
        .fresh;
    let compared: Vec<_> = fresh[0]
        .compared
        .iter()
        .map(|of| (of.version, of.named().collect()))
        .collect();
    let by_active = vec![("land", "land", 1), ("land", "road", 1)];
    let by_shadow = vec![("land", "land", 1), ("street", "road", 1)];
    assert_eq!(compared, [(VERSION, by_active), (SHADOW, by_shadow)]);
    assert_eq!(fresh[1].compared, [], "of other elements");
    assert_eq!(masks_said(&scene), 0, "of what is told nothing is kept any longer");
    let again = all(vec![said("a", 0, None), said("b", 1, None)]);
    let late = scene.store().keep_predictions(&"a".into(), &again).expect("kept");
    let late: Vec<_> = late
        .iter()
        .map(|(id, compared)| (&**id, compared[0].named().collect()))
        .collect();
    assert_eq!(
        late,
        [("a", vec![("land", "land", 1), ("land", "road", 1)])],
        "a mask that was there before what was said of its sample"
    );
    assert_eq!(masks_said(&scene), 1, "of b's other elements");
    scene.audit();
}

/// What both versions say of a sample.
fn said(id: &str, row: u32, shadow: Option<[u8; 2]>) -> Said {
    Said {
        id: id.into(),
        row,
        content: *blake3::hash(&[1, 2]).as_bytes(),
        label: Some(label(&[0, 0], &["land", "road"])),
        probability: None,
        shadow: shadow.map(|mask| label(&mask, &["street", "land"])),
        agreement: None,
        mask: Some(pack(&[0, 0])),
        shadow_mask: shadow.map(|mask| pack(&mask)),
    }
}

fn all(said: Vec<Said>) -> Predictions {
    Predictions {
        version: VERSION,
        shadow: Some(SHADOW),
        said,
        refused: BTreeMap::new(),
        shadow_fault: None,
        bands: Default::default(),
    }
}

/// Masks that were said and are kept.
fn masks_said(scene: &Scene) -> i64 {
    let ledger = rusqlite::Connection::open(scene.folder.path().join("ledger.sqlite")).expect("opened");
    let counted = ledger.query_row("SELECT count(mask) + count(shadow_mask) FROM predictions", [], |row| {
        row.get(0)
    });
    counted.expect("counted")
}

#[test]
fn what_was_said_is_kept_though_a_mask_that_came_meanwhile_cannot_be_read() {
    let mut scene = Scene::new();
    counted(&mut scene, 1, vec![sample("a", Some([0, 1]))]);
    let unreadable = only_segment(&scene);
    counted(&mut scene, 2, vec![sample("b", Some([0, 1]))]);
    fs::remove_file(&unreadable).expect("removed");
    fs::create_dir(&unreadable).expect("nothing that can be read");
    let both = all(vec![said("a", 0, None), said("b", 0, None)]);
    let late = scene.store().keep_predictions(&"a".into(), &both).expect("kept");
    let compared: Vec<&str> = late.keys().map(|id| &**id).collect();
    assert_eq!(compared, ["b"], "the segments after it are read");
    let kept = scene.store().recover_predictions(&"a".into()).expect("recovered");
    assert_eq!(kept.len(), 2);
}

#[test]
fn names_of_classes_are_kept_once_for_all_masks_of_a_drop() {
    let mut scene = Scene::new();
    counted(&mut scene, 1, vec![sample("a", None), sample("b", None)]);
    let both = all(vec![said("a", 0, None), said("b", 1, None)]);
    scene.store().keep_predictions(&"a".into(), &both).expect("kept");
    let masks = vec![sample("a", Some([0, 1])), sample("b", Some([1, 0]))];
    let fresh = give(&mut scene, 2, masks).expect("committed").fresh;
    let [one, other] = [&fresh[0].compared[0], &fresh[1].compared[0]];
    assert!(std::sync::Arc::ptr_eq(&one.truth, &other.truth));
    assert!(std::sync::Arc::ptr_eq(&one.said, &other.said));
}

#[test]
fn the_same_content_is_read_again_for_the_configuration_says_what_a_mask_is() {
    let mut scene = Scene::new();
    let meta = |scene: &mut Scene, name: &str| DropMeta {
        key: ContentKey([1; 32]),
        path: name.into(),
        ..scene.file(&[])
    };
    let commit = |scene: &mut Scene, meta: &DropMeta, mask| {
        let account = RowAccount {
            seen: 1,
            ..RowAccount::default()
        };
        let mut samples = Given::from(vec![sample("a", Some(mask))]);
        let committed = scene.store().commit_samples(meta, &mut samples, account);
        let account = committed.expect("committed").account;
        (account.committed, account.duplicate)
    };
    let known = |scene: &mut Scene, meta: &DropMeta| {
        let (dataset, key, fingerprint) = (&meta.dataset, &meta.key, &meta.fingerprint);
        let found = scene.store().lookup_samples(dataset, key, fingerprint, &meta.path);
        found.expect("looked up")
    };
    let first = meta(&mut scene, "/incoming/first");
    assert_eq!(commit(&mut scene, &first, [0, 0]), (1, 0), "by a wrong threshold");
    assert_eq!(
        known(&mut scene, &first),
        Lookup::Finished,
        "only its post-action is owed"
    );
    let again = meta(&mut scene, "/incoming/again");
    assert_eq!(known(&mut scene, &again), Lookup::New);
    assert_eq!(commit(&mut scene, &again, [0, 1]), (1, 0), "by the right one");
    let third = meta(&mut scene, "/incoming/third");
    assert_eq!(known(&mut scene, &third), Lookup::New);
    assert_eq!(commit(&mut scene, &third, [0, 1]), (0, 1), "a row that is there");
    scene.audit();
    let right = label(&[0, 1], &["land", "road"]);
    assert_eq!(entries(&mut scene)[0].label, Some(right));
}

#[test]
fn a_mask_that_is_not_what_was_committed_is_damage() {
    let mut scene = Scene::new();
    counted(&mut scene, 1, vec![sample("a", Some([0, 1]))]);
    let path = only_segment(&scene);
    rewrite(&path, |batch| {
        let mut columns = batch.columns().to_vec();
        columns[5] = std::sync::Arc::new(arrow::array::BinaryArray::from_iter_values([[1_u8, 1]]));
        RecordBatch::try_new(batch.schema(), columns).expect("of the same types")
    });
    enter(&scene, &path);
    let report = fsck(scene.folder.path()).expect("checked");
    assert!(
        report.to_string().contains("row 0: its mask is not what the hash says"),
        "{report}"
    );
}

fn only_segment(scene: &Scene) -> std::path::PathBuf {
    let folder = scene.folder.path().join("segments/a");
    let mut entries = fs::read_dir(folder).expect("a folder").flatten();
    entries.next().expect("a segment").path()
}

fn rewrite(path: &std::path::Path, change: impl Fn(RecordBatch) -> RecordBatch) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("there")).expect("parquet");
    let batches: Vec<RecordBatch> = reader
        .build()
        .expect("a reader")
        .map(|batch| change(batch.expect("rows")))
        .collect();
    let file = File::create(path).expect("created");
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), None).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.close().expect("closed");
}

/// Has the ledger say of the only segment what it is now.
fn enter(scene: &Scene, path: &std::path::Path) {
    let bytes = fs::read(path).expect("there");
    let ledger = rusqlite::Connection::open(scene.folder.path().join("ledger.sqlite")).expect("opened");
    let hash = blake3::hash(&bytes);
    let changed = ledger.execute(
        "UPDATE segments SET bytes = ?1, hash = ?2",
        rusqlite::params![bytes.len() as i64, &hash.as_bytes()[..]],
    );
    assert_eq!(changed.expect("entered"), 1);
}

#[test]
fn samples_from_before_there_were_masks_stay_and_may_get_one() {
    let mut scene = Scene::new();
    commit(&mut scene, 1, &[("a", [1, 2], None), ("b", [2, 2], Some("x"))]);
    scene.store = None;
    let path = only_segment(&scene);
    rewrite(&path, |batch| batch.project(&[0, 1, 2, 3, 4]).expect("it had these"));
    enter(&scene, &path);
    let ledger = rusqlite::Connection::open(scene.folder.path().join("ledger.sqlite")).expect("opened");
    let version_6 = "ALTER TABLE samples DROP COLUMN longitude; ALTER TABLE samples DROP COLUMN latitude;
        ALTER TABLE samples DROP COLUMN time;
        ALTER TABLE predictions DROP COLUMN mask; ALTER TABLE predictions DROP COLUMN shadow_mask;
        PRAGMA user_version = 6;";
    ledger.execute_batch(version_6).expect("as it was");
    drop(ledger);
    scene.reopen();
    scene.audit();
    let here = Taken {
        time: Some(Timestamp(7)),
        place: Place::new(1.0, 2.0),
    };
    let masked = Sample {
        taken: here,
        ..sample("a", Some([0, 1]))
    };
    assert_eq!(counted(&mut scene, 2, vec![masked]), (1, 0));
    let found: Vec<_> = entries(&mut scene)
        .into_iter()
        .map(|entry| (entry.id.to_string(), entry.taken))
        .collect();
    assert_eq!(found, [("b".to_owned(), Taken::default()), ("a".to_owned(), here)]);
}
