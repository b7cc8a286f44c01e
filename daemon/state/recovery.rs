//! After a start: what a crash left behind is removed, and the history is read back.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use forecastd_models::{ChannelName, Timestamp};

use super::error::StateError;
use super::samples::refuse_other_kind;
use super::segments::{self, Rows, Segment};
use super::{Store, registry, requests_folder};
use crate::message::model::ModelState;
use crate::message::series_drop::{RawRows, SeriesDrop};

/// Rows handed over at a time: a large segment comes in pieces.
const PIECE: usize = 1 << 16;

/// A dataset's history, from the oldest drop to the newest: of two rows for one time the later one counts.
///
/// A damaged segment is an error that names it; the iterator goes on with the next one.
#[derive(Debug)]
pub struct Recovery<'a> {
    store: &'a Store,
    folder: PathBuf,
    pending: std::vec::IntoIter<Segment>,
    current: Option<Rows>,
}

impl Store {
    /// Reads a dataset's history back, one piece of one segment at a time. Each segment is held against its hash
    /// before its first row is handed over. Rows that retention has not yet removed come too.
    pub fn recover(&self, dataset: &str) -> Result<Recovery<'_>, StateError> {
        let pending = match self.datasets.get(dataset) {
            Some(dataset) => self.ledger.segments(dataset.id)?,
            None => Vec::new(),
        };
        refuse_other_kind(dataset, &pending, false)?;
        Ok(Recovery {
            store: self,
            folder: self.folder(dataset),
            pending: pending.into_iter(),
            current: None,
        })
    }

    /// Removes segments and files of models without a commit, runs of trainings that are over, temporary files, spool
    /// copies and requests that nobody answered; says which.
    pub(super) fn clean(&self) -> Result<Vec<PathBuf>, StateError> {
        let mut live = HashSet::new();
        for (name, dataset) in &self.datasets {
            let folder = self.folder(name);
            live.extend(
                self.ledger
                    .segments(dataset.id)?
                    .into_iter()
                    .map(|segment| folder.join(segment.file)),
            );
        }
        let mut cleaned = orphans(&self.state_dir.join("segments"), &live)?;
        cleaned.extend(entries(&self.spool())?);
        cleaned.extend(registry::orphans(
            &registry::folders(&self.state_dir),
            &self.live_models()?,
        )?);
        cleaned.extend(self.orphan_runs()?);
        // Whoever asked has seen that nobody answered: what is done later would surprise.
        cleaned.extend(files(&requests_folder(&self.state_dir))?);
        for path in &cleaned {
            remove(path).map_err(StateError::io("remove", path))?;
        }
        Ok(cleaned)
    }
}

impl Store {
    /// Folders of versions that have their files.
    fn live_models(&self) -> Result<HashSet<PathBuf>, StateError> {
        let versions = self.models()?.into_iter();
        let live = versions.filter(|version| version.state != ModelState::Removed);
        Ok(live.map(|version| version.folder).collect())
    }
}

impl Iterator for Recovery<'_> {
    type Item = Result<SeriesDrop, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(rows) = &mut self.current {
                let piece = next_piece(rows);
                if !matches!(piece, Some(Ok(_))) {
                    self.current = None;
                }
                if piece.is_some() {
                    return piece;
                }
            }
            let segment = self.pending.next()?;
            match segments::open_verified(&self.folder, &segment) {
                Ok(rows) => self.current = Some(rows),
                Err(error) => return Some(Err(error)),
            }
            self.store.verified.borrow_mut().insert(segment.hash);
        }
    }
}

/// Whether there is a segment, or a version of a model, at all.
pub(super) fn holds_anything(state_dir: &Path) -> Result<bool, StateError> {
    let none = HashSet::new();
    let segments = orphans(&state_dir.join("segments"), &none)?;
    Ok(segments
        .iter()
        .any(|path| path.extension().is_some_and(|e| e == "parquet"))
        || !registry::orphans(&registry::folders(state_dir), &none)?.is_empty())
}

/// A file, or a folder with all that is in it; a link as such.
fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// The segments and temporary files of all datasets that are not among the live ones. Other files are not ours.
pub(super) fn orphans(segments: &Path, live: &HashSet<PathBuf>) -> Result<Vec<PathBuf>, StateError> {
    let mut orphans = Vec::new();
    for folder in entries(segments)?.into_iter().filter(|path| path.is_dir()) {
        let ours = |path: &PathBuf| path.extension().is_some_and(|e| e == "parquet" || e == "tmp");
        orphans.extend(
            files(&folder)?
                .into_iter()
                .filter(|path| ours(path) && !live.contains(path)),
        );
    }
    Ok(orphans)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    Ok(entries(folder)?.into_iter().filter(|path| !path.is_dir()).collect())
}

/// A folder's entries in order of name; none where there is no folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(StateError::io("list", folder))?,
    };
    let names: io::Result<Vec<OsString>> = listing.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.map_err(StateError::io("list", folder))?;
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn next_piece(rows: &mut Rows) -> Option<Result<SeriesDrop, StateError>> {
    let mut raw = RawRows::default();
    for row in rows.take(PIECE) {
        match row {
            Ok(row) => push(&mut raw, row.channel, (row.time, row.value)),
            Err(error) => return Some(Err(error)),
        }
    }
    let (piece, _) = SeriesDrop::from_rows(raw); // a segment has one row for a time
    (!piece.is_empty()).then_some(Ok(piece))
}

fn push(raw: &mut RawRows, channel: ChannelName, row: (Timestamp, f64)) {
    raw.channels.entry(channel).or_default().push(row);
}
