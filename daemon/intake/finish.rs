//! What happens to a drop in its folder once its rows are durable. Doing it twice, or after a crash, does no harm.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

use forecastd_config::AfterIngest;

use super::relocate::relocate;
use crate::message::landed_file::LandedFile;

/// Moves the file away, removes it or leaves it; what lies under its path by now but is another version, stays.
pub fn finish(file: &LandedFile, after: &AfterIngest) -> io::Result<()> {
    match after {
        AfterIngest::Keep => Ok(()),
        AfterIngest::Move(folder) => move_to(file, folder),
        AfterIngest::Delete => delete(file),
    }
}

fn move_to(file: &LandedFile, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
    relocate(file, folder, name(file)).map(drop)
}

/// By way of a hidden name: what is removed is surely the version that landed, not one that just replaced it.
fn delete(file: &LandedFile) -> io::Result<()> {
    let mut hidden = OsString::from(".");
    hidden.push(name(file));
    hidden.push(".deleting");
    let folder = file.path.parent().unwrap_or(Path::new("."));
    match relocate(file, folder, &hidden)? {
        Some(moved) => fs::remove_file(moved),
        None => Ok(()),
    }
}

fn name(file: &LandedFile) -> &OsStr {
    file.path.file_name().unwrap_or(OsStr::new("drop"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::fixture::landed_file;
    use super::*;

    /// An incoming folder with `a.parquet` in it, and a `done` folder that is not there yet.
    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        fs::write(&path, "rows").expect("written");
        let done = folder.path().join("deep/done");
        (folder, path, done)
    }

    fn entries(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_finished_drop_is_moved_and_never_replaces_an_earlier_one() {
        let (_folder, path, done) = folders();
        for content in ["first", "second", "third"] {
            fs::write(&path, content).expect("written");
            finish(&landed_file(&path), &AfterIngest::Move(done.clone())).expect("moved");
            assert!(!path.exists());
        }
        assert_eq!(entries(&done), ["a.1.parquet", "a.2.parquet", "a.parquet"]);
        assert_eq!(fs::read_to_string(done.join("a.1.parquet")).expect("there"), "second");
    }

    #[test]
    fn a_deleted_drop_leaves_nothing_and_a_kept_one_stays() {
        let (folder, path, _) = folders();
        finish(&landed_file(&path), &AfterIngest::Keep).expect("kept");
        assert_eq!(entries(folder.path()), ["a.parquet"]);
        finish(&landed_file(&path), &AfterIngest::Delete).expect("deleted");
        assert!(entries(folder.path()).is_empty());
    }

    #[test]
    fn another_version_under_the_same_name_is_left_alone() {
        for action in [|_| AfterIngest::Delete, AfterIngest::Move] {
            let (_folder, path, done) = folders();
            let after = action(done);
            let file = landed_file(&path);
            fs::write(path.with_extension("new"), "newer rows").expect("written");
            fs::rename(path.with_extension("new"), &path).expect("replaced");
            finish(&file, &after).expect("nothing to do");
            assert_eq!(fs::read_to_string(&path).expect("there"), "newer rows");
            fs::remove_file(&path).expect("removed");
            finish(&file, &after).expect("done twice does no harm");
        }
    }

    #[test]
    fn a_folder_on_another_filesystem_is_a_clear_error() {
        let (_folder, path, _) = folders();
        let elsewhere = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let error = finish(&landed_file(&path), &AfterIngest::Move(elsewhere.path().to_owned()));
        let error = error.expect_err("two filesystems");
        assert_eq!(error.kind(), io::ErrorKind::CrossesDevices);
        assert!(error.to_string().contains("another filesystem"), "{error}");
        assert!(path.exists());
    }
}
