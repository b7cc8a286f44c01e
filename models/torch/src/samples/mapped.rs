//! Files of equal records as memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

use super::SamplesError;

/// Maps a file of so many records; none if there is no such file.
#[expect(
    unsafe_code,
    reason = "a mapped file may change under its readers; see the reason beside the call"
)]
pub(super) fn map_records(path: &Path, count: u64, record: usize) -> Result<Option<Mmap>, SamplesError> {
    let unreadable = |source| SamplesError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let found = file.metadata().map_err(unreadable)?.len();
    let expected = count.saturating_mul(record as u64);
    if found != expected {
        let path = path.to_owned();
        return Err(SamplesError::Length {
            path,
            found,
            count,
            expected,
        });
    }
    // SAFETY: the run's folder belongs to this run: whoever wrote these files renamed them into place and does not
    // write them again. Bytes that change all the same give other numbers, never an index: nothing but plain numbers
    // is read from them, and what is one is checked where it is used.
    let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
    Ok(Some(map))
}
