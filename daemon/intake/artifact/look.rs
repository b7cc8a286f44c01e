//! Whether a folder that lies among artifacts is one yet: for whoever waits for it to be copied.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use forecastd_models::dasha::artifact::ARTIFACT_FILES;

use super::weights::read_head;
use super::{CARD, MODEL, SUMS, WEIGHTS, is_known, most};
use crate::intake::landed;
use crate::intake::scan::{Look, is_hidden};

/// Entries of a folder that are looked at: an artifact has ten at most.
const ENTRIES: usize = 64;

/// What lies in a folder where artifacts are dropped, and how many entries are none: plain files. Folders where
/// artifacts go afterwards are neither.
pub(crate) fn list(folder: &Path, aside: &[PathBuf]) -> io::Result<(Vec<(OsString, Metadata)>, usize)> {
    let (mut found, mut ignored) = (Vec::new(), 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_hidden(&name) || aside.contains(&entry.path()) {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => ignored += 1,
            Ok(metadata) => found.push((name, metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // gone since readdir
            Err(error) => return Err(error),
        }
    }
    Ok((found, ignored))
}

/// What tells a folder from itself after a change of what lies in it. The same twice while somebody copies is no more
/// than a hint: `settle` decides.
pub(crate) fn inside(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let mut seen: Vec<_> = entries
        .take(ENTRIES)
        .flatten()
        .map(|entry| {
            let fingerprint = entry.metadata().ok().map(|metadata| landed::fingerprint(&metadata));
            (entry.file_name(), fingerprint)
        })
        .collect();
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hasher = DefaultHasher::new();
    seen.hash(&mut hasher);
    hasher.finish()
}

/// What a folder looks like. `None` when it cannot be looked at just now.
pub(crate) fn look(path: &Path, metadata: &Metadata) -> Option<Look> {
    if !metadata.is_dir() {
        return Some(Look::Hopeless);
    }
    for entry in fs::read_dir(path).ok()?.take(ENTRIES) {
        let entry = entry.ok()?;
        let metadata = entry.metadata().ok()?;
        if landed::irregularity(&metadata).is_some() {
            return Some(Look::Hopeless);
        }
        // A copier's passing name, perhaps.
        if !entry.file_name().to_str().is_some_and(is_known) {
            return Some(Look::Unfinished);
        }
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| metadata.len() > most(name))
        {
            return Some(Look::Hopeless);
        }
    }
    Some(if is_whole(path).unwrap_or(false) {
        Look::Whole
    } else {
        Look::Unfinished
    })
}

/// Whether all files are there, the weights as long as their header says, and the others as they were summed. Weights
/// are summed once only, when they are claimed.
fn is_whole(folder: &Path) -> io::Result<bool> {
    for name in ARTIFACT_FILES {
        fs::symlink_metadata(folder.join(name))?;
    }
    let mut weights = landed::open(&folder.join(WEIGHTS))?;
    let length = weights.metadata()?.len();
    if read_head(&mut weights, length)?.is_err() {
        return Ok(false);
    }
    let sums = fs::read_to_string(folder.join(SUMS))?;
    for name in [MODEL, CARD] {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(landed::open(&folder.join(name))?)?;
        let line = format!("{}  {name}", hasher.finalize());
        if !sums.lines().any(|stored| stored == line) {
            return Ok(false);
        }
    }
    Ok(true)
}
