//! Disks rot and operators slip: what is damaged is named, the rest goes on.

use super::*;

/// Changes one byte in the middle of the n-th segment, in order of name, and says which file it was.
fn flip_a_byte(scene: &Scene, n: usize) -> PathBuf {
    let path = segment_files(scene).swap_remove(n);
    let mut bytes = fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&path, bytes).expect("written");
    path
}

fn segment_files(scene: &Scene) -> Vec<PathBuf> {
    let folder = fs::read_dir(scene.folder.path().join("segments/a")).expect("the folder");
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn a_flipped_byte_is_named_by_fsck_and_by_recovery_which_goes_on() {
    let mut scene = Scene::new();
    for time in 1..=3 {
        scene.drop(&[("x", time, 1.0)]);
    }
    let damaged = flip_a_byte(&scene, 1).display().to_string();
    let report = fsck(scene.folder.path()).expect("checked");
    assert!(
        report.problems.len() == 1 && report.problems[0].contains(&damaged),
        "{report}"
    );
    let pieces: Vec<_> = scene.store().recover("a").expect("recovers").collect();
    let outcomes: Vec<bool> = pieces.iter().map(Result::is_ok).collect();
    assert_eq!(outcomes, [true, false, true]);
    let error = pieces[1].as_ref().expect_err("damaged").to_string();
    assert!(error.contains(&damaged), "{error}");
}

#[test]
fn a_lost_segment_is_named_and_its_rows_can_be_brought_again() {
    let mut scene = Scene::new();
    scene.drop(&[("x", 1, 1.0), ("x", 9, 9.0)]);
    let lost = segment_files(&scene).swap_remove(0);
    fs::remove_file(&lost).expect("removed");
    let report = fsck(scene.folder.path()).expect("checked");
    assert!(report.problems[0].contains("it is gone"), "{report}");
    assert_eq!(scene.drop(&[("x", 1, 1.0)]).account.committed, 1);
}

#[test]
fn merges_report_a_damaged_segment_once_and_then_go_around_it() {
    let mut scene = Scene::new();
    for time in 0..40 {
        scene.drop(&[("x", time, 1.0)]);
    }
    let damaged = flip_a_byte(&scene, 7);
    let error = scene.store().maintain("a", FOREVER).expect_err("damaged");
    assert!(
        matches!(&error, StateError::Damaged { file, .. } if *file == damaged),
        "{error}"
    );
    assert_eq!(scene.maintain().merged, 32, "of the 32 behind it");
    assert!(damaged.exists(), "it is kept for whoever can mend it");
    assert_eq!(
        scene
            .store()
            .recover("a")
            .expect("recovers")
            .filter(Result::is_err)
            .count(),
        1
    );
}

#[test]
fn segments_without_a_ledger_are_not_thrown_away() {
    let mut scene = Scene::new();
    scene.drop(&[("x", 1, 1.0)]);
    scene.store = None;
    let ledger = scene.folder.path().join("ledger.sqlite");
    let gone: fn(&Path) = |ledger| fs::remove_file(ledger).expect("removed");
    let emptied: fn(&Path) = |ledger| fs::write(ledger, "").expect("emptied"); // a restore that broke off
    for harm in [gone, emptied] {
        harm(&ledger);
        let error = scene.open().expect_err("refused");
        assert!(matches!(error, StateError::LedgerMissing { .. }), "{error}");
        assert_eq!(segment_files(&scene).len(), 1);
    }
}

#[test]
fn cooked_books_are_found() {
    let cases = [
        ("UPDATE drops SET committed = committed + 1", "drop 1: "),
        ("UPDATE refused_rows SET rows = rows + 1", "drop 4: "),
        (
            "UPDATE totals SET value = value + 1 WHERE counter = 'rows_seen'",
            "the totals say",
        ),
        (
            "INSERT INTO totals VALUES (1, 'rows_superseded', '', 3)",
            "in segments + 3 superseded",
        ),
        (
            "UPDATE segments SET rows = rows + 1 WHERE sequence = 3",
            "the manifest says",
        ),
        (
            "UPDATE segments SET oldest = oldest - 1 WHERE sequence = 3",
            "the manifest says",
        ),
        ("UPDATE datasets SET newest = 0", "the newest row is said to be"),
        ("DELETE FROM segments WHERE sequence = 3", "in segments"),
        (
            "PRAGMA foreign_keys = OFF; UPDATE segments SET dataset = 5",
            "refers to nothing",
        ),
    ];
    let mut scene = Scene::with_retention(100);
    scene.drop(&[("x", 1, 1.0)]);
    scene.drop(&[("x", 1, 2.0)]);
    scene.drop(&[("x", 200, 2.0), ("x", 199, 1.0)]);
    let old = scene.drop(&[("x", 201, 2.0), ("x", 1, 1.0)]);
    assert_eq!(old.account.rejected_total(), 1);
    for (cooked, expected) in cases {
        scene.store = None;
        let honest = fs::read(scene.folder.path().join("ledger.sqlite")).expect("read");
        let ledger = rusqlite::Connection::open(scene.folder.path().join("ledger.sqlite")).expect("open");
        ledger
            .execute_batch("PRAGMA ignore_check_constraints = ON")
            .expect("set");
        ledger.execute_batch(cooked).expect("cooked");
        drop(ledger);
        let report = fsck(scene.folder.path()).expect("checked");
        assert!(
            report.problems.iter().any(|problem| problem.contains(expected)),
            "{cooked}: {report}"
        );
        fs::write(scene.folder.path().join("ledger.sqlite"), honest).expect("restored");
        scene.audit();
    }
}
