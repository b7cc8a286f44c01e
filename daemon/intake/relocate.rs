//! Moving a landed file out of its folder: never over another file, never anything but the version that landed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::landed;
use crate::message::landed_file::{Fingerprint, LandedFile};

/// The longest name that a file system takes, in bytes.
const NAME: usize = 255;

/// Moves the file into `folder` under `name`, or a number added to it. `None`: what lies under its path now is
/// another version, or nothing; it stays.
pub(crate) fn relocate(file: &LandedFile, folder: &Path, name: &OsStr) -> io::Result<Option<PathBuf>> {
    if landed::unchanged(file)?.is_none() {
        return Ok(None);
    }
    let mut number = 0;
    loop {
        let target = folder.join(numbered(name, number, &file.fingerprint));
        match rename_to_new(&file.path, &target) {
            Ok(()) => return confirm(file, target),
            Err(Errno::EXIST) => number += 1,
            Err(Errno::NOENT) if fs::symlink_metadata(&file.path).is_err() => return Ok(None),
            Err(errno) => return Err(explain(file, folder, errno)),
        }
    }
}

/// A new version may have taken the name between look and rename; then it goes back, to be listed as what it is.
fn confirm(file: &LandedFile, target: PathBuf) -> io::Result<Option<PathBuf>> {
    let moved = landed::fingerprint(&fs::symlink_metadata(&target)?);
    let changed = file.fingerprint.changed; // renaming changes it
    if (Fingerprint { changed, ..moved }) == file.fingerprint {
        return Ok(Some(target));
    }
    match rename_to_new(&target, &file.path) {
        Ok(()) | Err(Errno::EXIST) => Ok(None), // a yet newer version replaces the one that was moved
        Err(errno) => Err(errno.into()),
    }
}

fn rename_to_new(from: &Path, to: &Path) -> Result<(), Errno> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Network file systems know no NOREPLACE. The folder is ours alone, so a look before is nearly as good.
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_ok() => Err(Errno::EXIST),
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(from, to),
        result => result,
    }
}

/// `a.parquet`, `a.1.parquet` … `a.9.parquet`, then with the time of the last change: a writer that uses one name
/// for ever must not make us try every number for ever.
fn numbered(name: &OsStr, number: u32, fingerprint: &Fingerprint) -> OsString {
    let path = Path::new(name);
    let mark = match number {
        0 => String::new(),
        1..10 => format!(".{number}"),
        10 => format!(".{:x}", fingerprint.modified),
        _ => format!(".{:x}.{number}", fingerprint.modified),
    };
    let suffix = path
        .extension()
        .map_or_else(Vec::new, |suffix| [b".", suffix.as_bytes()].concat());
    let stem = path.file_stem().unwrap_or(name).as_bytes();
    let room = NAME.saturating_sub(mark.len() + suffix.len());
    OsString::from_vec([&stem[..stem.len().min(room)], mark.as_bytes(), &suffix].concat())
}

fn explain(file: &LandedFile, folder: &Path, errno: Errno) -> io::Error {
    let (from, to) = (file.path.display(), folder.display());
    let text = match errno {
        Errno::XDEV => format!("{from}: {to} is on another filesystem; name a folder on the same one"),
        _ => format!("{from}: cannot be moved to {to}: {}", io::Error::from(errno)),
    };
    io::Error::new(io::Error::from(errno).kind(), text)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::landed_file;
    use super::*;

    #[test]
    fn names_are_numbered_before_the_suffix_and_never_too_long() {
        let fingerprint = Fingerprint {
            device: 0,
            inode: 0,
            size: 0,
            modified: 0xabc,
            changed: 0,
        };
        let long = "é".repeat(200) + ".parquet";
        for (name, number, expected) in [
            ("a.parquet", 0, "a.parquet"),
            ("a.b.parquet", 2, "a.b.2.parquet"),
            ("a", 1, "a.1"),
            ("a.pq", 10, "a.abc.pq"),
            ("a.pq", 11, "a.abc.11.pq"),
        ] {
            assert_eq!(numbered(OsStr::new(name), number, &fingerprint), expected);
        }
        assert_eq!(numbered(OsStr::new(&long), 12, &fingerprint).len(), NAME);
    }

    #[test]
    fn a_version_that_came_between_look_and_move_goes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        fs::write(&path, "old").expect("written");
        let file = landed_file(&path);
        fs::remove_file(&path).expect("removed");
        let target = folder.path().join("taken");
        fs::write(&target, "newer").expect("written");
        assert_eq!(confirm(&file, target).expect("put back"), None);
        assert_eq!(fs::read_to_string(&path).expect("there"), "newer");
    }
}
