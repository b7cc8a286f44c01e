//! The flat files of a run's folder; the description comes last, so that a folder with one is whole.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use forecastd_models::dasha::{SampleSet, Split};

use super::SamplesError;

/// A file of records in the making.
#[derive(Debug)]
pub(super) struct RecordFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl RecordFile {
    pub(super) fn create(folder: &Path, name: &str) -> Result<Self, SamplesError> {
        let path = folder.join(name);
        let file = File::create(&path).map_err(SamplesError::write(&path))?;
        Ok(Self {
            writer: BufWriter::with_capacity(1 << 20, file),
            path,
        })
    }

    pub(super) fn append(&mut self, record: &[u8]) -> Result<(), SamplesError> {
        self.writer.write_all(record).map_err(SamplesError::write(&self.path))
    }

    pub(super) fn fill(
        &mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) -> Result<(), SamplesError> {
        write(&mut self.writer).map_err(SamplesError::write(&self.path))
    }

    /// Everything on the disk.
    pub(super) fn finish(mut self) -> Result<(), SamplesError> {
        let flushed = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        flushed.map_err(SamplesError::write(&self.path))
    }
}

/// Makes the folder; what describes an earlier attempt goes first.
pub(super) fn begin(folder: &Path) -> Result<(), SamplesError> {
    fs::create_dir_all(folder).map_err(SamplesError::write(folder))?;
    let description = folder.join("samples.json");
    match fs::remove_file(&description) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(SamplesError::write(&description)(error)),
        _ => Ok(()),
    }
}

pub(super) fn write_splits(folder: &Path, splits: &[Split]) -> Result<(), SamplesError> {
    let mut file = RecordFile::create(folder, "splits.bin")?;
    let bytes: Vec<u8> = splits.iter().map(|split| *split as u8).collect();
    file.append(&bytes)?;
    file.finish()
}

/// The description, in its place at once.
pub(super) fn describe(folder: &Path, set: &SampleSet) -> Result<(), SamplesError> {
    let path = folder.join("samples.json");
    let text = serde_json::to_vec_pretty(set).map_err(|error| SamplesError::write(&path)(error.into()))?;
    let mut file = RecordFile::create(folder, "samples.json.partial")?;
    file.append(&text)?;
    file.finish()?;
    fs::rename(folder.join("samples.json.partial"), &path).map_err(SamplesError::write(&path))
}
