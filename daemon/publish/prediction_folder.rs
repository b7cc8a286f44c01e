//! The files of predictions in a dataset's `outgoing` folder: one a drop, named after it, the newest of them kept.
//!
//! A drop that is predicted again, after a crash, gets a file of the same name, so nothing stands in two of them. Only files
//! that bear our own names are ever removed; what stands in one is `prediction_file`'s.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use forecastd_config::SampleDataset;

use super::prediction_file::{PredictionFile, PredictionFileError, PredictionLayout};

const PREFIX: &str = "predictions-";
const SUFFIX: &str = ".parquet";

/// Digits of a drop's number, so that names sort by it.
const DIGITS: usize = 10;

/// Bytes of a drop's own name: a file's name may have 255, and there is something before and behind it.
const LONGEST_STEM: usize = 160;

/// Writes the files of predictions of one dataset. The only writer in its folder.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionFolder {
    folder: PathBuf,
    keep_files: NonZeroUsize,
}

impl PredictionFolder {
    /// The dataset's `outgoing` folder, which is made with the first file.
    pub fn of(dataset: &SampleDataset) -> Self {
        Self {
            folder: dataset.outgoing.clone(),
            keep_files: dataset.predictions.keep_files,
        }
    }

    /// Begins the file of a drop, which lay at `drop`. What an earlier process left unfinished goes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(
        &self,
        sequence: i64,
        drop: &Path,
        layout: PredictionLayout,
    ) -> Result<PredictionFile, PredictionFileError> {
        fs::create_dir_all(&self.folder).map_err(|error| self.failed(&error))?;
        PredictionFile::create(&self.folder.join(name(sequence, drop)), layout)
    }

    /// Removes the oldest files beyond `keep_files`, and what was never finished. To be called while none is in the making.
    ///
    /// # Errors
    /// When the folder cannot be listed, or one of them cannot be removed.
    pub fn prune(&self) -> Result<(), PredictionFileError> {
        self.try_prune().map_err(|error| self.failed(&error))
    }

    fn try_prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if is_unfinished(&name) {
                remove(&entry.path())?;
            }
            files.extend(sequence_of(&name).map(|sequence| (sequence, entry.path())));
        }
        files.sort_unstable();
        let old = files.len().saturating_sub(self.keep_files.get());
        files[..old].iter().try_for_each(|(_, path)| remove(path))
    }

    fn failed(&self, error: &io::Error) -> PredictionFileError {
        PredictionFileError {
            path: self.folder.clone(),
            reason: error.to_string(),
        }
    }
}

fn name(sequence: i64, drop: &Path) -> String {
    let stem = drop.file_stem().unwrap_or_default().to_string_lossy();
    let ends = stem.char_indices().map(|(start, letter)| start + letter.len_utf8());
    let length = ends.take_while(|end| *end <= LONGEST_STEM).last().unwrap_or(0);
    format!("{PREFIX}{sequence:0DIGITS$}-{}{SUFFIX}", &stem[..length])
}

/// The drop of a file that this module named; `None` for any other.
fn sequence_of(file: &str) -> Option<i64> {
    let (digits, _) = file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-')?;
    let are_digits = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| are_digits)
}

/// Whether this is a file of ours that was never put in its place.
fn is_unfinished(file: &str) -> bool {
    let inner = file.strip_prefix('.').and_then(|file| file.strip_suffix(".tmp"));
    let target = inner.and_then(|inner| inner.rsplit_once('-'));
    target.is_some_and(|(target, _)| sequence_of(target).is_some())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use forecastd_models::dasha::Task;

    use super::super::prediction_file::Rows;
    use super::*;

    fn layout() -> PredictionLayout {
        PredictionLayout {
            task: Task::Classify,
            labels: vec!["a".to_owned(), "b".to_owned()],
            positions: 1,
            id: Some("id".to_owned()),
            time: None,
            place: None,
            scores: true,
            version: None,
        }
    }

    struct Outgoing {
        folder: tempfile::TempDir,
        files: PredictionFolder,
    }

    impl Outgoing {
        /// Keeps two files.
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let files = PredictionFolder {
                folder: folder.path().join("made/when/needed"),
                keep_files: NonZeroUsize::new(2).expect("two"),
            };
            Self { folder, files }
        }

        fn write(&self, sequence: i64, drop: &str) {
            let mut file = self.files.begin(sequence, Path::new(drop), layout()).expect("begun");
            let rows = Rows {
                ids: vec!["x".to_owned()],
                scores: vec![0.5, 0.5],
                ..Rows::default()
            };
            file.append(&rows).expect("a row");
            file.finish().expect("finished");
            self.files.prune().expect("pruned");
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.files.folder).expect("listed");
            let mut names: Vec<String> = entries
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_file_is_named_after_its_drop_and_one_that_is_written_again_takes_its_own_place() {
        let outgoing = Outgoing::new();
        outgoing.write(7, "/incoming/d/scene a.parquet");
        outgoing.write(7, "/incoming/d/scene a.parquet");
        assert_eq!(outgoing.names(), ["predictions-0000000007-scene a.parquet"]);
        assert!(outgoing.folder.path().join("made").is_dir());
        let long = format!("/incoming/{}.parquet", "é".repeat(120));
        assert!(name(1, Path::new(&long)).len() < 200);
    }

    #[test]
    fn only_the_newest_of_our_own_files_are_kept() {
        let outgoing = Outgoing::new();
        outgoing.write(1, "a.parquet");
        let strangers = [
            ".hidden.tmp",
            "forecasts-1.parquet",
            "predictions-12-a.parquet",
            "notes.txt",
        ];
        for name in strangers
            .into_iter()
            .chain([".predictions-0000000001-a.parquet-AbC123.tmp"])
        {
            fs::write(outgoing.files.folder.join(name), "x").expect("written");
        }
        outgoing.write(20, "c.parquet");
        outgoing.write(3, "b.parquet");
        let kept = ["predictions-0000000003-b.parquet", "predictions-0000000020-c.parquet"];
        let mut expected: Vec<&str> = strangers.into_iter().chain(kept).collect();
        expected.sort_unstable();
        assert_eq!(outgoing.names(), expected);
    }
}
