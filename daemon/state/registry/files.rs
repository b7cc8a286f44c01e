//! The files of versions: whether they are what was imported, and which are nobody's.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use forecastd_models::dasha::artifact::ARTIFACT_FILES;

use crate::message::content_key::ContentKey;
use crate::state::error::StateError;
use crate::state::recovery::entries;

/// The file that has the sums of the others.
const SUMS: &str = "BLAKE3SUMS";

/// Bytes of that file, at most: a line for each of the others.
const MOST_SUMS: u64 = 4096;

/// Digits of a version's name.
const DIGITS: usize = 64;

/// Reads all of a version's folder, and holds it against its name.
pub(in crate::state) fn verify(folder: &Path, key: &ContentKey) -> Result<(), StateError> {
    let damaged = |detail: String| Err(StateError::damaged(folder, detail));
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default();
        if !ARTIFACT_FILES.iter().any(|known| name == *known) {
            return damaged(format!("{}: nothing that was imported", path.display()));
        }
    }
    let sums = match read_sums(&folder.join(SUMS)) {
        Ok(sums) => sums,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return damaged(format!("{SUMS}: it is gone")),
        Err(error) => return Err(StateError::io("read", &folder.join(SUMS))(error)),
    };
    if blake3::hash(sums.as_bytes()).as_bytes() != &key.0 {
        return damaged(format!("{SUMS}: it is not what was imported"));
    }
    for name in ARTIFACT_FILES.into_iter().filter(|name| *name != SUMS) {
        let path = folder.join(name);
        let sum = match sum(&path) {
            Ok(sum) => sum,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return damaged(format!("{name}: it is gone")),
            Err(error) => return Err(StateError::io("read", &path)(error)),
        };
        if !sums.lines().any(|line| line == format!("{sum}  {name}")) {
            return damaged(format!("{name}: its BLAKE3 is {sum}, {SUMS} says otherwise"));
        }
    }
    Ok(())
}

/// Folders of versions that are not among the live ones. Other entries are not ours.
pub(in crate::state) fn orphans(folders: &Path, live: &HashSet<PathBuf>) -> Result<Vec<PathBuf>, StateError> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.len() == DIGITS && name.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    let found = entries(folders)?.into_iter();
    Ok(found.filter(|path| ours(path) && !live.contains(path)).collect())
}

fn read_sums(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > MOST_SUMS {
        return Ok(String::new()); // surely not what was imported
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

fn sum(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}
