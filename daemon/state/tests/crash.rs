//! The process dies at every step of a commit and of a merge: each means "do it again" or "it was done".

use super::*;

const BEFORE: [Cell; 2] = [("x", 1, 1.0), ("x", 2, 2.0)];
const DURING: [Cell; 3] = [("x", 2, 2.0), ("x", 1, 7.0), ("y", 5, 5.0)];

/// Runs `work` on fresh scenes, and lets the process die one step later each time, until it runs through. Says how
/// many deaths there were.
pub(super) fn at_every_step(
    prepare: impl Fn(&mut Scene),
    work: impl Fn(&mut Scene) -> Result<(), StateError>,
    afterwards: impl Fn(&mut Scene),
) -> u32 {
    for step in 0.. {
        let mut scene = Scene::new();
        prepare(&mut scene);
        scene.store().disk.crash_after(step);
        let outcome = work(&mut scene);
        scene.reopen();
        afterwards(&mut scene);
        scene.audit();
        match outcome {
            Ok(()) => return step,
            Err(error) => assert!(matches!(error, StateError::Crashed), "step {step}: {error}"),
        }
    }
    unreachable!("a commit has few steps")
}

/// The file of `DURING`; always the same, as it is when a restarted daemon lists the folder.
fn file(scene: &mut Scene) -> DropMeta {
    scene.files = 10;
    scene.file(&DURING)
}

#[test]
fn a_commit_that_dies_at_any_step_is_redone_or_was_done() {
    let deaths = at_every_step(
        |scene| {
            scene.drop(&BEFORE);
        },
        |scene| {
            let file = file(scene);
            scene.try_commit(&file, &DURING).map(|_| ())
        },
        |scene| {
            let file = file(scene);
            match scene.lookup(&file) {
                Lookup::New => {
                    assert_eq!(
                        scene.history(),
                        history_of(&BEFORE),
                        "nothing of it is seen before its commit"
                    );
                    let done = scene.try_commit(&file, &DURING).expect("redone");
                    assert_eq!((done.account.committed, done.account.duplicate), (2, 1));
                }
                found => assert_eq!(found, Lookup::Finished),
            }
            assert_eq!(
                scene.history(),
                history_of(&[("x", 1, 7.0), ("x", 2, 2.0), ("y", 5, 5.0)])
            );
            let rows = scene.store().totals().expect("totals")["a"].rows.clone();
            assert_eq!((rows.seen, rows.committed, rows.duplicate), (5, 4, 1));
        },
    );
    assert_eq!(deaths, 5, "written, flushed, renamed, folder flushed, recorded");
}

#[test]
fn a_merge_that_dies_at_any_step_loses_nothing_and_doubles_nothing() {
    let version = |n: i32| [("x", 1, f64::from(n)), ("x", 10 + i64::from(n), 0.5)];
    let deaths = at_every_step(
        |scene| {
            for n in 0..16 {
                scene.drop(&version(n));
            }
        },
        |scene| scene.store().maintain("a", FOREVER).map(|_| ()),
        |scene| {
            let expected: History = (0..16).flat_map(|n| history_of(&version(n))).collect();
            assert_eq!(scene.history(), expected);
            scene.maintain();
            assert_eq!(scene.segments(), 1);
            assert_eq!(scene.history(), expected);
        },
    );
    assert_eq!(deaths, 5 + 16, "as a commit, and one for each file that goes");
}

#[test]
fn a_retirement_that_dies_at_any_step_is_booked_once() {
    let retention = Duration::from_nanos(10);
    let deaths = at_every_step(
        |scene| {
            for time in [0, 5, 50] {
                scene.drop(&[("x", time, 1.0)]);
            }
        },
        |scene| scene.store().maintain("a", retention).map(|_| ()),
        |scene| {
            scene.store().maintain("a", retention).expect("maintained");
            assert_eq!(scene.history(), history_of(&[("x", 50, 1.0)]));
            assert_eq!(scene.store().totals().expect("totals")["a"].rows_retired, 2);
        },
    );
    assert_eq!(deaths, 3, "recorded, and one for each file that goes");
}

#[test]
fn a_start_removes_what_a_crash_left_and_nothing_else() {
    let mut scene = Scene::new();
    scene.drop(&BEFORE);
    scene.store = None;
    let state = scene.folder.path();
    let left = [
        "segments/a/0000000009-0-00.parquet",
        "segments/a/segment.tmp",
        "spool/copy",
    ];
    let foreign = "segments/a/notes.txt";
    for name in left.iter().chain([&foreign]) {
        fs::write(state.join(name), "x").expect("written");
    }
    let report = fsck(state).expect("checked");
    assert!(report.is_clean());
    assert_eq!(report.orphans.len(), 2, "{report}");
    scene.reopen();
    let expected = left.map(|name| scene.folder.path().join(name));
    assert_eq!(scene.store().cleaned(), expected);
    assert!(scene.folder.path().join(foreign).exists());
    assert_eq!(scene.history(), history_of(&BEFORE));
    scene.audit();
}
