//! Drops of samples: duplicates, revisions, every step at which the process can die, damage, and what a run gets.

use std::collections::VecDeque;
use std::io;

use forecastd_config::{Config, SampleForm};
use forecastd_models::dasha::{Split, is_cut};

use super::crash::at_every_step;
use super::*;
use crate::message::sample::{Label, Sample, SampleDrop, SamplePlace, Taken};

/// A sample of two bytes: id, elements, label.
pub(super) type Told = (&'static str, [u8; 2], Option<&'static str>);

pub(super) struct Given(VecDeque<Sample>);

impl From<Vec<Sample>> for Given {
    fn from(samples: Vec<Sample>) -> Self {
        Self(samples.into())
    }
}

impl SampleDrop for Given {
    fn next(&mut self) -> io::Result<Option<Sample>> {
        Ok(self.0.pop_front())
    }
}

fn class(text: &str) -> Label {
    Label::Class(text.to_owned())
}

fn file(scene: &mut Scene, number: u64) -> DropMeta {
    scene.files = number;
    DropMeta {
        key: ContentKey(*blake3::hash(&number.to_le_bytes()).as_bytes()),
        ..scene.file(&[])
    }
}

/// Commits these samples as the drop of this number.
pub(super) fn give(scene: &mut Scene, number: u64, samples: Vec<Sample>) -> Result<CommittedSamples, StateError> {
    let meta = file(scene, number);
    let account = RowAccount {
        seen: samples.len() as u64,
        ..RowAccount::default()
    };
    scene.store().commit_samples(&meta, &mut Given::from(samples), account)
}

pub(super) fn try_commit(scene: &mut Scene, number: u64, told: &[Told]) -> Result<CommittedSamples, StateError> {
    let sample = |(id, elements, label): &Told| Sample {
        id: (*id).to_owned(),
        split: match id.as_bytes()[0] {
            b't' => Split::Test,
            b'v' => Split::Validation,
            _ => Split::Train,
        },
        label: label.map(|label| class(label).to_json()),
        mask: None,
        taken: Taken::default(),
        elements: elements.to_vec(),
    };
    give(scene, number, told.iter().map(sample).collect())
}

pub(super) fn commit(scene: &mut Scene, number: u64, told: &[Told]) -> RowAccount {
    let account = try_commit(scene, number, told).expect("committed").account;
    scene.audit();
    account
}

/// Id, elements and label of all that counts.
fn all(scene: &mut Scene) -> Vec<(String, Vec<u8>, Option<Label>)> {
    let name: DatasetName = "a".into();
    let entries = scene.store().recover_samples(&name).expect("recovered").entries;
    let places: Vec<SamplePlace> = entries.iter().map(|entry| entry.place).collect();
    let mut elements = BTreeMap::new();
    let read = scene.store().read_samples(&name, &places, |place, bytes| {
        elements.insert(place, bytes.to_vec());
        Ok(())
    });
    read.expect("sound segments");
    let mut all: Vec<_> = entries
        .into_iter()
        .map(|entry| (entry.id.to_string(), elements[&entry.place].clone(), entry.label))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn equal_samples_are_duplicates_and_a_new_label_or_other_elements_are_a_revision() {
    let mut scene = Scene::new();
    let counts = |account: RowAccount| (account.committed, account.duplicate);
    let first = [("a", [1, 1], None), ("b", [2, 2], Some("x")), ("t", [3, 3], Some("y"))];
    assert_eq!(counts(commit(&mut scene, 1, &first)), (3, 0));
    assert_eq!(counts(commit(&mut scene, 2, &first)), (0, 3));
    assert_eq!(
        counts(commit(&mut scene, 3, &[("a", [1, 1], Some("y"))])),
        (1, 0),
        "a late label"
    );
    assert_eq!(
        counts(commit(&mut scene, 4, &[("a", [1, 1], None)])),
        (0, 1),
        "takes no label away"
    );
    assert_eq!(
        counts(commit(&mut scene, 5, &[("b", [2, 2], Some("y"))])),
        (1, 0),
        "a better label"
    );
    assert_eq!(
        counts(commit(&mut scene, 6, &[("t", [9, 9], None)])),
        (1, 0),
        "other elements"
    );
    scene.reopen();
    let expected = [
        ("a", vec![1, 1], Some(class("y"))),
        ("b", vec![2, 2], Some(class("y"))),
        ("t", vec![9, 9], None),
    ];
    assert_eq!(
        all(&mut scene),
        expected.map(|(id, elements, label)| (id.to_owned(), elements, label))
    );
    assert_eq!(scene.segments(), 4, "a drop without anything new has no segment");
}

#[test]
fn a_drop_of_samples_that_dies_at_any_step_is_redone_or_was_done() {
    let before = [("a", [1, 1], None), ("b", [2, 2], Some("x"))];
    let during = [("b", [2, 2], Some("x")), ("a", [1, 1], Some("y")), ("c", [5, 5], None)];
    let deaths = at_every_step(
        |scene| {
            commit(scene, 1, &before);
        },
        |scene| try_commit(scene, 2, &during).map(|_| ()),
        |scene| {
            let meta = file(scene, 2);
            match scene.lookup(&meta) {
                Lookup::New => {
                    assert_eq!(all(scene).len(), 2, "nothing of it is seen before its commit");
                    let account = commit(scene, 2, &during);
                    assert_eq!((account.committed, account.duplicate), (2, 1));
                }
                found => assert_eq!(found, Lookup::Finished),
            }
            let labels: Vec<_> = all(scene).into_iter().map(|(_, _, label)| label).collect();
            assert_eq!(labels, [Some(class("y")), Some(class("x")), None]);
            let rows = scene.store().totals().expect("totals")["a"].rows.clone();
            assert_eq!((rows.seen, rows.committed, rows.duplicate), (5, 4, 1));
        },
    );
    assert_eq!(deaths, 5, "written, flushed, renamed, folder flushed, recorded");
}

#[test]
fn a_damaged_segment_is_told_and_healed_by_whoever_brings_its_samples_again() {
    let mut scene = Scene::new();
    commit(&mut scene, 1, &[("a", [1, 1], Some("x"))]);
    commit(&mut scene, 2, &[("b", [2, 2], Some("x"))]);
    let folder = scene.folder.path().join("segments/a");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.sort();
    fs::write(&names[0], "short").expect("damaged");
    scene.reopen();
    let recovered = scene.store().recover_samples(&"a".into()).expect("recovered");
    assert_eq!((recovered.entries.len(), recovered.damaged.len()), (1, 1));
    assert!(!fsck(scene.folder.path()).expect("checked").is_clean());
    let again = try_commit(&mut scene, 3, &[("a", [1, 1], Some("x")), ("b", [2, 2], Some("x"))]).expect("committed");
    assert_eq!((again.account.committed, again.account.duplicate), (1, 1));
}

#[test]
fn a_name_is_for_series_or_for_samples() {
    let mut scene = Scene::new();
    commit(&mut scene, 1, &[("a", [1, 1], None)]);
    let refused = scene.store().recover("a").map(|_| ()).expect_err("samples");
    assert!(refused.to_string().contains("choose another name"), "{refused}");
    let mut scene = Scene::new();
    scene.drop(&[("x", 1, 1.0)]);
    assert!(matches!(
        scene.store().recover_samples(&"a".into()),
        Err(StateError::OtherKind { .. })
    ));
}

fn form() -> SampleForm {
    let text = "state_dir: s\ndatasets: [{ name: a, kind: tiles, incoming: i, samples: { id: i, image: x, label: y, shape: [2, 1, 1] } }]";
    let config = Config::parse(text, std::path::Path::new("/")).expect("a good file");
    config.samples[0].form.clone()
}

#[test]
fn a_run_whose_samples_are_none_for_validation_gets_a_part_of_those_for_training() {
    let mut scene = Scene::new();
    let ids: Vec<String> = (0..40).map(|row| format!("{row}")).collect();
    let samples = |ids: &[String], split| {
        let samples = ids.iter().map(|id| Sample {
            id: id.clone(),
            split,
            label: Some(class(if id.len() == 1 { "x" } else { "y" }).to_json()),
            mask: None,
            taken: Taken::default(),
            elements: vec![1, 2],
        });
        samples.collect::<Vec<Sample>>()
    };
    give(&mut scene, 1, samples(&ids[..30], Split::Train)).expect("committed");
    give(&mut scene, 2, samples(&ids[30..], Split::Test)).expect("committed");
    let folder = tempfile::tempdir().expect("a folder");
    let export = SampleExport::open(scene.folder.path()).expect("beside the writer");
    let splits = |labels: Option<&[&str]>| {
        let labels = labels.map(|labels| labels.iter().map(|label| (*label).to_owned()).collect());
        let form = SampleForm { labels, ..form() };
        let exported = export.write(&"a".into(), &form, i64::MAX, folder.path(), &|| true);
        let splits = fs::read(folder.path().join("splits.bin")).expect("written");
        (exported.expect("exported").cuts, splits)
    };
    let expected = ids.iter().enumerate().map(|(row, id)| match row {
        30.. => Split::Test as u8,
        _ => u8::from(is_cut(0, id.as_bytes())),
    });
    let expected: Vec<u8> = expected.collect();
    assert_eq!(splits(None), (true, expected.clone()));
    assert!(expected.contains(&1), "{expected:?}");
    let told = ["v".to_owned(), "vv".to_owned()];
    give(&mut scene, 3, samples(&told[1..], Split::Validation)).expect("committed");
    let (cuts, found) = splits(None);
    assert!(!cuts, "one is for validation now");
    assert_eq!(found[..30], [0; 30]);
    assert!(splits(Some(&["x"])).0, "it is of a class that is not learnt");
}

#[test]
fn a_run_gets_the_labelled_samples_and_the_classes_that_can_be_learnt() {
    let mut scene = Scene::new();
    let told = [
        ("a", [1, 2], Some("y")),
        ("b", [3, 4], None),
        ("c", [5, 6], Some("x")),
        ("t", [7, 8], Some("x")),
        ("t2", [9, 9], Some("only in test")),
        ("v", [7, 7], Some("x")),
    ];
    commit(&mut scene, 1, &told);
    commit(&mut scene, 2, &[("a", [1, 2], Some("x")), ("d", [8, 8], Some("y"))]);
    let folder = tempfile::tempdir().expect("a folder");
    let export = SampleExport::open(scene.folder.path()).expect("beside the writer");
    let write = |form: &_, through, goes_on: bool| export.write(&"a".into(), form, through, folder.path(), &|| goes_on);
    let Exported { set, left_out, cuts } = write(&form(), i64::MAX, true).expect("exported");
    assert_eq!(
        (set.count, set.labels, cuts),
        (5, vec!["x".to_owned(), "y".to_owned()], false)
    );
    assert_eq!(left_out, 1, "of a class that is only in test");
    let read = |name: &str| fs::read(folder.path().join(name)).expect("written");
    assert_eq!(read("inputs.bin"), [5, 6, 7, 8, 7, 7, 1, 2, 8, 8]);
    assert_eq!(read("splits.bin"), [0, 2, 1, 0, 0]);
    assert_eq!(read("targets.bin"), [0_u32, 0, 0, 0, 1].map(u32::to_le_bytes).concat());
    let described = serde_json::from_slice::<forecastd_models::dasha::SampleSet>(&read("samples.json"));
    assert_eq!(described.expect("a description").count, 5);
    commit(&mut scene, 3, &[("e", [1, 1], Some("x"))]);
    let mut other = form();
    other.shape.bands = 3;
    let earlier = write(&form(), 1, true).expect("exported");
    assert_eq!(
        earlier.set.count, 3,
        "what a later drop says otherwise is not of the first"
    );
    assert!(matches!(write(&form(), i64::MAX, false), Err(StateError::GivenUp)));
    let refused = write(&other, i64::MAX, true);
    let told = refused.expect_err("two bytes are not three").to_string();
    assert!(told.contains("2 bytes") && told.contains("now states 3"), "{told}");
    assert!(
        !folder.path().join("samples.json").exists(),
        "what is not whole is not described"
    );
}
