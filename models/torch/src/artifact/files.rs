//! Files of an artifact: read whole and bounded, written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

use super::ArtifactError;

/// A regular file of at most so many bytes. Links are not followed: they lead out of the folder.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, ArtifactError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK; // a pipe that nobody writes would be waited for
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .map_err(ArtifactError::io(path))?;
    let found = file.metadata().map_err(ArtifactError::io(path))?;
    if !found.is_file() {
        return Err(ArtifactError::in_file(path, "not a regular file".to_owned()));
    }
    let too_long = |length| ArtifactError::in_file(path, format!("{length} bytes; at most {most} are read"));
    if found.len() > most {
        return Err(too_long(found.len()));
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    let read = file
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(ArtifactError::io(path))?;
    if read as u64 > most {
        return Err(too_long(read as u64)); // it grew meanwhile
    }
    Ok(bytes)
}

/// A file with these bytes, in place of an older one, at once.
pub(crate) fn replace_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let partial = beside(path);
    let mut file = File::create(&partial)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    sync_parent(path)
}

/// A folder with these files, in place of an older one, at once.
pub(super) fn replace_folder(folder: &Path, contents: &[(&str, &[u8])]) -> Result<(), ArtifactError> {
    let partial = beside(folder);
    fill(&partial, contents).map_err(ArtifactError::io(&partial))?;
    put_in_place(&partial, folder).map_err(ArtifactError::io(folder))
}

fn fill(partial: &Path, contents: &[(&str, &[u8])]) -> io::Result<()> {
    remove(partial)?; // what a killed process left
    fs::create_dir(partial)?;
    for (name, bytes) in contents {
        let mut file = File::create_new(partial.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(partial)?.sync_all()
}

fn put_in_place(partial: &Path, folder: &Path) -> io::Result<()> {
    if folder.exists() {
        renameat_with(CWD, partial, CWD, folder, RenameFlags::EXCHANGE)?;
        sync_parent(folder)?;
        return remove(partial); // now the old one
    }
    fs::rename(partial, folder)?;
    sync_parent(folder)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The same folder's `.NAME.partial`.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".partial");
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
