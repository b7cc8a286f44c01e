//! Where a refused file goes: into a folder of its own, with the verdict beside it. It can be looked at, mended and
//! dropped again; nothing is ever lost here.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use forecastd_models::Timestamp;
use serde::Serialize;

use super::landed;
use super::relocate::relocate;
use crate::message::content_key::ContentKey;
use crate::message::landed_file::LandedFile;
use crate::message::rejected::{Labelled, Rejected};

/// The verdict as `reason.json` tells it.
#[derive(Serialize)]
struct Verdict<'a> {
    path: String,
    reason: &'a str,
    detail: &'a str,
    bytes: u64,
    key: Option<String>,
    time: String,
}

/// Bytes of a file's name that name its folder: leaves room for what makes the folder its own.
const NAME: usize = 200;

/// Moves the entry itself, a symlink or fifo as such, into `folder/<name>-<key>/`, and returns that folder. An error
/// of kind `NotFound` says that the file is no longer the one that was refused: then it stays.
pub fn quarantine<R: Labelled>(
    file: &LandedFile,
    key: Option<ContentKey>,
    verdict: &Rejected<R>,
    folder: &Path,
    now: Timestamp,
) -> io::Result<PathBuf> {
    if landed::unchanged(file)?.is_none() {
        return Err(gone(file));
    }
    let cell = folder.join(cell_name(file, key));
    let new = !cell.exists();
    fs::create_dir_all(&cell).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", cell.display())))?;
    // The verdict first: a crash in between must not leave a file that nobody can explain.
    write_verdict(file, key, verdict, &cell, now)?;
    let name = file.path.file_name().unwrap_or(OsStr::new("drop"));
    if relocate(file, &cell, name)?.is_none() {
        if new {
            fs::remove_dir_all(&cell)?;
        }
        return Err(gone(file));
    }
    sync(&cell)?;
    sync(folder)?;
    Ok(cell)
}

fn gone(file: &LandedFile) -> io::Error {
    let text = format!("{}: changed or gone before it was quarantined", file.path.display());
    io::Error::new(io::ErrorKind::NotFound, text)
}

fn cell_name(file: &LandedFile, key: Option<ContentKey>) -> OsString {
    let name = file.path.file_name().unwrap_or(OsStr::new("drop")).as_bytes();
    let mark = match key {
        Some(key) => key.to_string()[..16].to_owned(),
        None => format!("{:x}-{:x}", file.fingerprint.device, file.fingerprint.inode),
    };
    OsString::from_vec([&name[..name.len().min(NAME)], b"-", mark.as_bytes()].concat())
}

/// Under a passing name until it is durable, so that a reader finds a whole verdict or none.
fn write_verdict<R: Labelled>(
    file: &LandedFile,
    key: Option<ContentKey>,
    verdict: &Rejected<R>,
    cell: &Path,
    now: Timestamp,
) -> io::Result<()> {
    let verdict = Verdict {
        path: file.path.to_string_lossy().into_owned(),
        reason: verdict.reason.label(),
        detail: &verdict.detail,
        bytes: file.fingerprint.size,
        key: key.map(|key| key.to_string()),
        time: now.to_string(),
    };
    let passing = cell.join(".reason.json.tmp");
    let mut written = File::create(&passing)?;
    serde_json::to_writer_pretty(&mut written, &verdict)?;
    written.write_all(b"\n")?;
    written.sync_all()?;
    fs::rename(&passing, cell.join("reason.json"))
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::super::fixture::landed_file;
    use super::*;
    use crate::message::rejected::RejectReason;

    fn refused() -> Rejected {
        Rejected::new(RejectReason::Schema, "no column \"date\"")
    }

    #[test]
    fn a_refused_file_lies_beside_its_verdict() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        fs::write(&path, "content").expect("written");
        let file = landed_file(&path);
        let cell = quarantine(
            &file,
            Some(ContentKey([0xab; 32])),
            &refused(),
            &folder.path().join("quarantine"),
            Timestamp(0),
        );
        let cell = cell.expect("quarantined");
        assert!(
            cell.ends_with("quarantine/a.parquet-abababababababab"),
            "{}",
            cell.display()
        );
        assert!(!path.exists());
        assert_eq!(fs::read_to_string(cell.join("a.parquet")).expect("there"), "content");
        let verdict = fs::read_to_string(cell.join("reason.json")).expect("there");
        let verdict: serde_json::Value = serde_json::from_str(&verdict).expect("JSON");
        assert_eq!(verdict["reason"], "schema");
        assert_eq!(verdict["detail"], "no column \"date\"");
        assert_eq!(verdict["bytes"], 7);
        assert_eq!(verdict["path"], path.to_string_lossy().as_ref());
        assert_eq!(verdict["key"], "ab".repeat(32));
        assert!(verdict["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    }

    #[test]
    fn a_symlink_and_a_fifo_are_moved_as_what_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("target");
        fs::write(&target, "not ours").expect("written");
        let (link, fifo) = (folder.path().join("link.pq"), folder.path().join("fifo.pq"));
        symlink(&target, &link).expect("linked");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        for path in [link, fifo] {
            let before = fs::symlink_metadata(&path).expect("there").file_type();
            let cell = quarantine(
                &landed_file(&path),
                None,
                &refused(),
                &folder.path().join("q"),
                Timestamp(0),
            );
            let moved = cell.expect("quarantined").join(path.file_name().expect("a name"));
            assert_eq!(fs::symlink_metadata(&moved).expect("there").file_type(), before);
        }
        assert_eq!(fs::read_to_string(&target).expect("there"), "not ours");
    }

    #[test]
    fn the_same_bad_file_dropped_twice_is_kept_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let quarantined = || {
            fs::write(&path, "content").expect("written");
            let key = Some(ContentKey([1; 32]));
            quarantine(
                &landed_file(&path),
                key,
                &refused(),
                &folder.path().join("q"),
                Timestamp(0),
            )
            .expect("quarantined")
        };
        assert_eq!(quarantined(), quarantined());
        assert!(quarantined().join("a.2.parquet").exists());
    }

    #[test]
    fn another_version_under_the_same_name_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        fs::write(&path, "bad").expect("written");
        let file = landed_file(&path);
        fs::write(&path, "good by now").expect("rewritten");
        let error = quarantine(&file, None, &refused(), &folder.path().join("q"), Timestamp(0)).expect_err("changed");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_to_string(&path).expect("there"), "good by now");
        assert!(!folder.path().join("q").exists());
    }
}
