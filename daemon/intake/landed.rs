//! What the file system says of a folder's entry, never following it anywhere.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::message::landed_file::{Fingerprint, LandedFile};

/// What identifies this version of an entry.
pub(crate) fn fingerprint(metadata: &Metadata) -> Fingerprint {
    Fingerprint {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// What lies under the file's path, if it is still the version that landed.
pub(crate) fn unchanged(file: &LandedFile) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(&file.path) {
        Ok(metadata) => Ok(Some(metadata).filter(|metadata| fingerprint(metadata) == file.fingerprint)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an entry is, if it is anything but a file with this one name. A second name would let its owner change the
/// content behind our back, and `done` would not clear it.
pub(crate) fn irregularity(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    match () {
        () if kind.is_symlink() => Some("a symlink"),
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_fifo() => Some("a fifo"),
        () if kind.is_socket() => Some("a socket"),
        () if !kind.is_file() => Some("a device"),
        () if metadata.nlink() > 1 => Some("a file with a second hard link"),
        () => None,
    }
}

/// Opens for reading without following a symlink or waiting for the other end of a fifo.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
