//! What was said of samples: kept once, dropped with other elements, and found again after a death at any step.

use super::crash::at_every_step;
use super::samples::{commit, try_commit};
use super::*;
use crate::message::prediction::{KeptPrediction, Predictions, Said};
use crate::message::sample::Label;

const VERSION: ContentKey = ContentKey([7; 32]);
const SHADOW: ContentKey = ContentKey([8; 32]);

fn class(text: &str) -> Label {
    Label::Class(text.to_owned())
}

/// A sample's id and elements, and what active and shadow say of it.
type Row<'a> = (&'a str, [u8; 2], Option<&'a str>, Option<&'a str>);

/// What the versions say of these samples.
fn said(rows: &[Row<'_>]) -> Predictions {
    let said = rows.iter().zip(0..).map(|((id, elements, label, shadow), row)| Said {
        id: (*id).into(),
        row,
        content: *blake3::hash(elements).as_bytes(),
        label: label.map(class),
        probability: None,
        shadow: shadow.map(class),
        agreement: None,
        mask: None,
        shadow_mask: None,
    });
    Predictions {
        version: VERSION,
        shadow: Some(SHADOW),
        said: said.collect(),
        refused: BTreeMap::new(),
        shadow_fault: None,
        bands: Default::default(),
    }
}

fn kept(scene: &mut Scene) -> Vec<KeptPrediction> {
    let mut kept = scene.store().recover_predictions(&"a".into()).expect("recovered");
    kept.sort_by(|a, b| a.id.cmp(&b.id));
    kept
}

fn expected(id: &str, label: Option<&str>, shadow: Option<&str>) -> KeptPrediction {
    KeptPrediction {
        id: id.into(),
        version: VERSION,
        label: label.map(class),
        shadow: shadow.map(|shadow| (SHADOW, class(shadow))),
    }
}

#[test]
fn what_was_said_is_kept_until_other_elements_come_and_survives_a_label() {
    let mut scene = Scene::new();
    assert_eq!(kept(&mut scene), []);
    commit(
        &mut scene,
        1,
        &[("a", [1, 1], None), ("b", [2, 2], None), ("c", [3, 3], None)],
    );
    let all = said(&[
        ("a", [1, 1], Some("x"), Some("y")),
        ("b", [2, 2], Some("x"), None),
        ("c", [3, 3], None, None),
    ]);
    scene.store().keep_predictions(&"a".into(), &all).expect("kept");
    commit(&mut scene, 2, &[("a", [1, 1], Some("y")), ("b", [9, 9], None)]);
    scene.reopen();
    assert_eq!(
        kept(&mut scene),
        [expected("a", Some("x"), Some("y")), expected("c", None, None)]
    );
    let again = said(&[("b", [9, 9], Some("y"), None)]);
    scene.store().keep_predictions(&"a".into(), &again).expect("kept");
    assert_eq!(kept(&mut scene)[1], expected("b", Some("y"), None));
    scene.audit();
}

#[test]
fn predictions_that_die_at_any_step_were_kept_or_are_to_be_made_again() {
    let told = [("a", [1, 1], None), ("b", [2, 2], None)];
    let all = said(&[("a", [1, 1], Some("x"), None), ("b", [2, 2], Some("y"), None)]);
    let deaths = at_every_step(
        |scene| {
            commit(scene, 1, &told);
        },
        |scene| scene.store().keep_predictions(&"a".into(), &all).map(drop),
        |scene| assert!(matches!(kept(scene).len(), 0 | 2), "all or none"),
    );
    assert_eq!(deaths, 2, "before and after the transaction");
}

#[test]
fn a_committed_sample_tells_whether_its_elements_were_there_before() {
    let mut scene = Scene::new();
    commit(&mut scene, 1, &[("a", [1, 1], None), ("b", [2, 2], None)]);
    let told = [
        ("a", [1, 1], Some("x")),
        ("b", [9, 9], Some("x")),
        ("c", [3, 3], Some("x")),
    ];
    let fresh = try_commit(&mut scene, 2, &told).expect("committed").fresh;
    let same: Vec<bool> = fresh.iter().map(|entry| entry.same_elements).collect();
    assert_eq!(same, [true, false, false]);
}

#[test]
fn samples_are_read_beside_the_writer_by_drop_and_row() {
    let mut scene = Scene::new();
    commit(
        &mut scene,
        1,
        &[("a", [1, 1], None), ("b", [2, 2], None), ("c", [3, 3], None)],
    );
    let reader = SampleReader::open(scene.folder.path()).expect("opened beside the store");
    let sequence = scene.store().recover_samples(&"a".into()).expect("recovered").entries[0]
        .place
        .sequence;
    let mut found = Vec::new();
    let read = reader.read("a", sequence, &[0, 2], |sample| -> Result<(), StateError> {
        assert_eq!(sample.content, blake3::hash(sample.elements).as_bytes());
        found.push((sample.row, sample.id.to_owned(), sample.elements.to_vec()));
        Ok(())
    });
    read.expect("sound");
    assert_eq!(
        found,
        [(0, "a".to_owned(), vec![1, 1]), (2, "c".to_owned(), vec![3, 3])]
    );
    let path = reader.drop_path(sequence).expect("entered");
    assert_eq!(path, Path::new("/incoming/2.parquet"));
}
