//! The store as its callers see it: drops go in, the store is closed and opened, the history and the books come out.

mod crash;
mod damage;
mod masks;
mod model;
mod predictions;
mod registry;
mod samples;
mod trainings;

use std::collections::BTreeMap;

use forecastd_models::ChannelName;
use tempfile::TempDir;

use super::*;
use crate::message::rejected::RejectReason;
use crate::message::series_drop::RawRows;

const FOREVER: Duration = Duration::MAX;

/// One row of a drop: channel, time, value.
type Cell = (&'static str, i64, f64);

/// The history as a map: what counts for each channel and time.
type History = BTreeMap<(String, i64), u64>;

/// A state folder, the store on it, and what the callers of a store keep.
struct Scene {
    folder: TempDir,
    store: Option<Store>,
    rules: CommitRules,
    files: u64,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self {
            folder: tempfile::tempdir().expect("a folder"),
            store: None,
            rules: CommitRules {
                retention: FOREVER,
                max_channels: 100,
            },
            files: 0,
        };
        scene.reopen();
        scene
    }

    fn with_retention(nanoseconds: u64) -> Self {
        let mut scene = Self::new();
        scene.rules.retention = Duration::from_nanos(nanoseconds);
        scene
    }

    fn open(&self) -> Result<Store, StateError> {
        Store::open_on(self.folder.path(), Disk::unsynced())
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(self.open().expect("the store opens"));
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open")
    }

    /// A new file with these rows; files with the same rows have the same content.
    fn file(&mut self, rows: &[Cell]) -> DropMeta {
        self.files += 1;
        DropMeta {
            dataset: "a".into(),
            key: ContentKey(*blake3::hash(format!("{rows:?}").as_bytes()).as_bytes()),
            fingerprint: Fingerprint {
                device: 1,
                inode: self.files,
                size: 10,
                modified: 0,
                changed: 0,
            },
            path: format!("/incoming/{}.parquet", self.files).into(),
            bytes: 10,
            received: Timestamp(0),
        }
    }

    fn try_commit(&mut self, meta: &DropMeta, rows: &[Cell]) -> Result<Committed, StateError> {
        let (rows, account) = decoded(rows);
        let rules = self.rules;
        self.store().commit(meta, rows, account, &rules)
    }

    /// Commits a new file with these rows.
    fn drop(&mut self, rows: &[Cell]) -> Committed {
        let meta = self.file(rows);
        self.try_commit(&meta, rows).expect("committed")
    }

    fn lookup(&mut self, meta: &DropMeta) -> Lookup {
        let found = self
            .store()
            .lookup(&meta.dataset, &meta.key, &meta.fingerprint, &meta.path);
        found.expect("looked up")
    }

    fn maintain(&mut self) -> Maintenance {
        let retention = self.rules.retention;
        self.store().maintain("a", retention).expect("maintained")
    }

    fn history(&mut self) -> History {
        let mut history = History::new();
        for piece in self.store().recover("a").expect("recovers") {
            for (channel, rows) in piece.expect("a sound segment").channels() {
                history.extend(
                    rows.iter()
                        .map(|(time, value)| ((channel.to_string(), time.0), value.to_bits())),
                );
            }
        }
        history
    }

    /// The books, once they are found in order.
    fn audit(&self) -> FsckReport {
        let report = fsck(self.folder.path()).expect("checked");
        assert!(report.is_clean() && report.orphans.is_empty(), "{report}");
        report
    }

    fn segments(&self) -> usize {
        self.audit().datasets.iter().map(|dataset| dataset.segments).sum()
    }
}

/// What decoding makes of a file with these rows.
fn decoded(rows: &[Cell]) -> (SeriesDrop, RowAccount) {
    let mut raw = RawRows::default();
    for (channel, time, value) in rows {
        raw.channels
            .entry(ChannelName::from(*channel))
            .or_default()
            .push((Timestamp(*time), *value));
    }
    let (drop, duplicate) = SeriesDrop::from_rows(raw);
    let account = RowAccount {
        seen: rows.len() as u64,
        duplicate,
        ..RowAccount::default()
    };
    (drop, account)
}

fn history_of(rows: &[Cell]) -> History {
    rows.iter()
        .map(|(channel, time, value)| (((*channel).to_owned(), *time), value.to_bits()))
        .collect()
}

#[test]
fn a_store_can_be_handed_to_the_thread_that_owns_it() {
    fn is_send<T: Send>() {}
    is_send::<Store>();
}

#[test]
fn a_commit_is_there_after_a_restart() {
    let mut scene = Scene::new();
    let rows = [("y", 2, 2.5), ("x", 1, 1.5), ("x", 2, -0.0)];
    let committed = scene.drop(&rows);
    assert_eq!((committed.account.seen, committed.account.committed), (3, 3));
    scene.reopen();
    assert_eq!(scene.history(), history_of(&rows));
    assert_eq!(scene.store().cleaned(), [] as [PathBuf; 0]);
    scene.audit();
}

#[test]
fn a_file_that_was_committed_owes_only_its_post_action_after_a_restart() {
    let mut scene = Scene::new();
    let rows = [("x", 1, 1.0)];
    let file = scene.file(&rows);
    assert_eq!(scene.lookup(&file), Lookup::New);
    scene.try_commit(&file, &rows).expect("committed");
    scene.reopen();
    assert_eq!(scene.lookup(&file), Lookup::Finished);
}

#[test]
fn the_same_content_under_another_name_is_a_duplicate_of_all_its_rows() {
    let mut scene = Scene::new();
    let rows = [("x", 1, 1.0), ("x", 1, 2.0), ("x", 3, 3.0)];
    let first = scene.drop(&rows);
    let copy = scene.file(&rows);
    let Lookup::CommittedBefore { drop, account } = scene.lookup(&copy) else {
        panic!("the content is known");
    };
    assert_eq!(drop, first.drop);
    assert_eq!((account.seen, account.committed, account.duplicate), (3, 0, 3));
    scene.store().record_duplicate(&copy, drop, &account).expect("recorded");
    assert_eq!(scene.lookup(&copy), Lookup::Finished);
    let totals = scene
        .store()
        .totals()
        .expect("totals")
        .remove("a")
        .expect("the dataset");
    assert_eq!(
        (totals.drops_committed, totals.drops_duplicate, totals.rows.seen),
        (1, 1, 6)
    );
    scene.audit();
}

#[test]
fn a_content_of_which_rows_were_refused_can_be_brought_again_once_the_cause_is_mended() {
    let rows = [("m", 1, 1.0), ("z", 1, 1.0)];
    let mut scene = Scene::new();
    scene.rules.max_channels = 1;
    let first = scene.file(&rows);
    let done = scene.try_commit(&first, &rows).expect("committed");
    assert_eq!(done.account.rejected, BTreeMap::from([(RowReason::TooManyChannels, 1)]));
    assert_eq!(scene.lookup(&first), Lookup::Finished, "this very file was dealt with");

    scene.rules.max_channels = 2;
    let again = scene.file(&rows);
    assert_eq!(scene.lookup(&again), Lookup::New);
    let done = scene.try_commit(&again, &rows).expect("committed");
    assert_eq!((done.account.committed, done.account.duplicate), (1, 1));
    assert_eq!(scene.history(), history_of(&rows));
    assert_eq!(scene.lookup(&again), Lookup::Finished);

    let third = scene.file(&rows);
    assert!(
        matches!(scene.lookup(&third), Lookup::CommittedBefore { account, .. } if account.rejected.is_empty()),
        "nothing of it is missing any more"
    );
    scene.audit();
}

#[test]
fn a_ledger_of_the_version_before_is_brought_up_to_date_and_keeps_what_it_knows() {
    let rows = [("m", 1, 1.0), ("z", 1, 1.0)];
    let mut scene = Scene::new();
    scene.rules.max_channels = 1;
    scene.drop(&rows);
    scene.store = None;
    let ledger = rusqlite::Connection::open(scene.folder.path().join("ledger.sqlite")).expect("opened");
    let version_1 = "DROP TABLE predictions; DROP TABLE trainings; DROP TABLE samples;
        DROP TABLE model_transitions; DROP TABLE model_versions;
        DROP INDEX drops_by_content;
        CREATE UNIQUE INDEX drops_by_content ON drops (dataset, key) WHERE outcome = 'committed';
        PRAGMA user_version = 1;";
    ledger.execute_batch(version_1).expect("as it was");
    drop(ledger);
    scene.audit();
    for _ in 0..2 {
        scene.reopen();
        assert_eq!(scene.drop(&rows).account.duplicate, 1);
    }
    scene.audit();
}

#[test]
fn only_what_the_clock_or_the_configuration_refused_makes_a_known_content_new() {
    for reason in RowReason::all() {
        let mut scene = Scene::new();
        let rows = [("x", 1, 1.0)];
        let file = scene.file(&rows);
        let (drop, mut account) = decoded(&rows);
        account.reject(reason, 1);
        let rules = scene.rules;
        scene.store().commit(&file, drop, account, &rules).expect("committed");
        let copy = scene.file(&rows);
        let mendable = matches!(
            reason,
            RowReason::Future
                | RowReason::TooOld
                | RowReason::TooManyChannels
                | RowReason::BadLabel
                | RowReason::BadTime
                | RowReason::BadPlace
        );
        assert_eq!(scene.lookup(&copy) == Lookup::New, mendable, "{reason:?}");
    }
}

#[test]
fn a_rejected_content_is_new_again_and_is_counted_once_until_it_moves() {
    let mut scene = Scene::new();
    let rows = [("x", 1, 1.0)];
    let file = scene.file(&rows);
    let rejected = Rejected::new(RejectReason::Schema, "no column \"time\"");
    for new in [true, false] {
        let entered = scene.store().record_rejection(&file.clone().keyed(), &rejected);
        assert_eq!(entered.expect("recorded"), new);
        scene.reopen();
    }
    assert_eq!(scene.lookup(&file), Lookup::New);
    let never_read = DropMeta {
        key: None,
        ..scene.file(&[]).keyed()
    };
    let symlink = Rejected::new(RejectReason::NotARegularFile, "a symlink");
    assert!(scene.store().record_rejection(&never_read, &symlink).expect("recorded"));
    scene.try_commit(&file, &rows).expect("the configuration was mended");
    let totals = scene
        .store()
        .totals()
        .expect("totals")
        .remove("a")
        .expect("the dataset");
    let expected = BTreeMap::from([(RejectReason::Schema, 1), (RejectReason::NotARegularFile, 1)]);
    assert_eq!((totals.drops_rejected, totals.drops_committed), (expected, 1));
    scene.audit();
}

#[test]
fn rows_that_the_history_has_are_duplicates_and_changed_ones_are_revisions() {
    let first = [("x", 1, 1.0), ("x", 3, 3.0), ("y", 2, 2.0)];
    let cases: [(&str, &[Cell], u64, u64); 6] = [
        (
            "the same rows in another order of file",
            &[("y", 2, 2.0), ("x", 1, 1.0), ("x", 3, 3.0)],
            0,
            3,
        ),
        ("one changed", &[("x", 1, 1.0), ("x", 3, 4.0)], 1, 1),
        ("a late one in between", &[("x", 2, 2.0)], 1, 0),
        ("one before all others", &[("x", -5, 2.0)], 1, 0),
        ("another channel at a known time", &[("z", 1, 1.0)], 1, 0),
        (
            "zero of the other sign",
            &[("x", 1, 1.0), ("x", 9, -0.0), ("x", 9, 0.0)],
            1,
            2,
        ),
    ];
    for (case, rows, committed, duplicate) in cases {
        let mut scene = Scene::new();
        scene.drop(&first);
        let done = scene.drop(rows);
        assert_eq!(
            (done.account.committed, done.account.duplicate),
            (committed, duplicate),
            "{case}"
        );
        assert_eq!(done.fresh.rows(), committed, "{case}");
        let mut expected = history_of(&first);
        expected.extend(history_of(rows));
        assert_eq!(scene.history(), expected, "{case}");
        scene.audit();
    }
}

#[test]
fn rows_behind_the_retention_are_refused_and_no_others() {
    let mut scene = Scene::with_retention(10);
    scene.drop(&[("x", 0, 0.0), ("x", 100, 1.0)]); // nothing was committed before: all of it is taken
    let late = scene.drop(&[("x", 89, 1.0), ("x", 90, 1.0), ("x", 300, 1.0), ("y", 200, 1.0)]);
    assert_eq!(late.account.rejected, BTreeMap::from([(RowReason::TooOld, 1)]));
    assert_eq!(late.account.committed, 3);
    scene.audit();
}

#[test]
fn channels_beyond_the_limit_are_refused_and_known_ones_go_on() {
    let mut scene = Scene::new();
    scene.rules.max_channels = 2;
    scene.drop(&[("m", 1, 1.0)]);
    let done = scene.drop(&[("z", 2, 1.0), ("z", 3, 1.0), ("b", 2, 1.0), ("m", 2, 1.0)]);
    assert_eq!(done.account.rejected, BTreeMap::from([(RowReason::TooManyChannels, 2)]));
    scene.reopen();
    let done = scene.drop(&[("a", 4, 1.0), ("b", 4, 1.0)]);
    assert_eq!(done.account.rejected, BTreeMap::from([(RowReason::TooManyChannels, 1)]));
    scene.audit();
}

#[test]
fn a_channel_whose_rows_have_all_expired_makes_room_for_another() {
    let mut scene = Scene::with_retention(80);
    scene.rules.max_channels = 2;
    scene.drop(&[("old", 0, 1.0), ("x", 0, 1.0)]);
    scene.drop(&[("x", 50, 1.0)]);
    scene.drop(&[("x", 100, 1.0)]);
    assert_eq!(scene.maintain().retired, 2);
    assert_eq!(scene.drop(&[("new", 101, 1.0)]).account.committed, 1);
    scene.reopen();
    assert_eq!(scene.drop(&[("newer", 101, 1.0)]).account.committed, 0);
    scene.audit();
}

#[test]
fn a_drop_without_fresh_rows_has_a_ledger_row_and_no_segment() {
    let mut scene = Scene::new();
    scene.drop(&[("x", 1, 1.0), ("x", 2, 2.0)]);
    let file = scene.file(&[("x", 1, 1.0)]);
    let done = scene.try_commit(&file, &[("x", 1, 1.0)]).expect("committed");
    assert!(done.fresh.is_empty());
    assert_eq!((scene.segments(), scene.lookup(&file)), (1, Lookup::Finished));
    assert_eq!(scene.drop(&[]).account, RowAccount::default());
    scene.audit();
}

#[test]
fn sixteen_segments_become_one_and_the_latest_version_of_a_row_stays() {
    let mut scene = Scene::new();
    for version in 0..16 {
        scene.drop(&[("x", 1, f64::from(version)), ("x", 100 + i64::from(version), 0.0)]);
    }
    let before = scene.history();
    let done = scene.maintain();
    assert_eq!((done.merged, done.superseded, done.retired), (16, 15, 0));
    assert_eq!(scene.segments(), 1);
    assert_eq!(scene.history(), before);
    assert_eq!(scene.maintain(), Maintenance::default());
    assert_eq!(scene.drop(&[("x", 1, 15.0)]).account.duplicate, 1);
}

#[test]
fn a_merge_whose_result_equals_its_last_input_does_not_remove_it() {
    let mut scene = Scene::new();
    for version in 0..16 {
        scene.drop(&[("x", 1, f64::from(version))]);
    }
    assert_eq!(scene.maintain().superseded, 15);
    scene.reopen();
    assert_eq!(scene.history(), history_of(&[("x", 1, 15.0)]));
    scene.audit();
}

#[test]
fn expired_segments_go_whole_and_expired_rows_go_with_a_merge() {
    let mut scene = Scene::with_retention(20);
    for time in 0..16 {
        scene.drop(&[("x", 2 * time, 1.0)]);
    }
    assert_eq!(scene.maintain().retired, 5); // 0, 2, 4, 6, 8 lie more than 20 before 30
    for version in 0..7 {
        scene.drop(&[("x", 30, f64::from(version)), ("x", 11, f64::from(version))]);
    }
    scene.drop(&[("x", 35, 1.0)]);
    let done = scene.maintain();
    let expected = Maintenance {
        merged: 16,        // 16, 18, … 30, the seven revisions, 35
        superseded: 7 + 6, // of 30 and of 11
        retired: 3 + 1,    // 10, 12, 14 as segments; 11 as a row
    };
    assert_eq!(done, expected);
    assert!(scene.history().keys().all(|(_, time)| *time >= 15));
    scene.audit();
}

#[test]
fn a_thousand_tiny_drops_stay_within_a_few_dozen_segments() {
    let mut scene = Scene::new();
    let mut most = 0;
    for time in 0..1_000 {
        scene.drop(&[("x", time, 1.0), ("y", time, 2.0)]);
        scene.maintain();
        if time % 100 == 94 {
            most = most.max(scene.segments());
        }
    }
    assert!(most <= 3 * 15, "{most} segments");
    assert_eq!(scene.history().len(), 2_000);
}

#[test]
fn a_second_daemon_is_refused_by_the_pid_of_the_first() {
    let mut scene = Scene::new();
    let error = scene.open().expect_err("the folder is taken").to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    scene.reopen();
}

#[test]
fn a_ledger_of_a_later_release_is_refused_and_left_alone() {
    let mut scene = Scene::new();
    scene.store = None;
    let ledger = scene.folder.path().join("ledger.sqlite");
    let connection = rusqlite::Connection::open(&ledger).expect("open");
    connection.pragma_update(None, "user_version", 99).expect("set");
    for error in [
        scene.open().expect_err("newer"),
        fsck(scene.folder.path()).expect_err("newer"),
    ] {
        assert!(matches!(error, StateError::NewerSchema { found: 99, .. }), "{error}");
    }
}

#[test]
fn state_of_a_dataset_that_left_the_configuration_stays_and_is_listed() {
    let mut scene = Scene::new();
    scene.drop(&[("x", 1, 1.0)]);
    let elsewhere = DropMeta {
        dataset: "b".into(),
        ..scene.file(&[("x", 1, 1.0)])
    };
    assert_eq!(scene.lookup(&elsewhere), Lookup::New, "content is known by dataset");
    scene.try_commit(&elsewhere, &[("x", 1, 1.0)]).expect("committed");
    scene.reopen();
    let names: Vec<String> = scene
        .audit()
        .datasets
        .into_iter()
        .map(|dataset| dataset.dataset)
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(scene.store().recover("never heard of").expect("no rows").count(), 0);
}

#[test]
fn a_path_that_is_not_text_is_known_again() {
    use std::os::unix::ffi::OsStringExt;
    let mut scene = Scene::new();
    let file = DropMeta {
        path: std::ffi::OsString::from_vec(b"/incoming/\xff.parquet".to_vec()).into(),
        ..scene.file(&[])
    };
    scene.try_commit(&file, &[("x", 1, 1.0)]).expect("committed");
    assert_eq!(scene.lookup(&file), Lookup::Finished);
}
