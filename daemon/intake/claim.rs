//! A landed file becomes ours: a private copy, read through one descriptor, with its content's key.
//!
//! Everything later reads the copy, so that no rename, link or rewrite in the folder can slip other bytes in between.
//! The copy has no name and is gone with its last descriptor. What stands in it is for `decode`.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::footer::Shape;
use super::landed;
use crate::message::content_key::ContentKey;
use crate::message::landed_file::LandedFile;
use crate::message::rejected::{RejectReason, Rejected};

/// A private copy of a landed file, which has a whole footer.
#[derive(Debug)]
pub struct Claimed {
    /// The copy, nameless, at its beginning.
    pub file: File,
    /// BLAKE3 of its content.
    pub key: ContentKey,
    /// Its length.
    pub bytes: u64,
}

/// Why a landed file was not claimed.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// The file is at fault, and stays so.
    #[error("{}: {}", .0.reason.label(), .0.detail)]
    Rejected(Rejected),
    /// The file is not the one that was listed: the next listing tells.
    #[error("the file changed or went away before it was claimed")]
    Withdrawn,
    /// The machine is at fault: a later attempt may succeed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

impl From<Rejected> for ClaimError {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

/// Bytes copied at once.
const PIECE: usize = 1 << 20;

/// Copies the file into the folder `spool`, if it is still the one that was listed.
pub fn claim(file: &LandedFile, spool: &Path, file_bytes: u64) -> Result<Claimed, ClaimError> {
    let mut source = open(file, file_bytes)?;
    let mut copy = tempfile::tempfile_in(spool).map_err(at(spool))?;
    let (key, bytes) = copy_hashed(&mut source, &mut copy, file, spool)?;
    let after = source.metadata().map_err(at(&file.path))?;
    if landed::fingerprint(&after) != file.fingerprint || bytes != file.fingerprint.size {
        return Err(ClaimError::Withdrawn);
    }
    // Once more, now that nobody can change it: the listing's look at the ends may be from before the last write.
    let shape = Shape::of(&copy, bytes).map_err(at(spool))?;
    if let Some(rejected) = shape.verdict() {
        return Err(rejected.into());
    }
    copy.rewind().map_err(at(spool))?;
    Ok(Claimed { file: copy, key, bytes })
}

/// Opens the very file that was listed, if it is one that we take.
fn open(file: &LandedFile, file_bytes: u64) -> Result<File, ClaimError> {
    let listed = landed::unchanged(file).map_err(at(&file.path))?;
    let listed = listed.ok_or(ClaimError::Withdrawn)?;
    if let Some(kind) = landed::irregularity(&listed) {
        let detail = format!("{kind} is not taken: put a plain file there, by writing or renaming it");
        return Err(Rejected::new(RejectReason::NotARegularFile, detail).into());
    }
    if listed.len() > file_bytes {
        let detail = format!("{} bytes; limits.file_bytes allows {}", listed.len(), file_bytes);
        return Err(Rejected::new(RejectReason::TooLarge, detail).into());
    }
    let opened = landed::open(&file.path).map_err(|error| refused(file, error))?;
    let metadata = opened.metadata().map_err(at(&file.path))?;
    // Another file may have taken the name since the look above; O_NOFOLLOW kept us from being led away.
    if landed::fingerprint(&metadata) != file.fingerprint {
        return Err(ClaimError::Withdrawn);
    }
    Ok(opened)
}

fn refused(file: &LandedFile, error: io::Error) -> ClaimError {
    match Errno::from_io_error(&error) {
        // Gone, or by now a symlink or a socket.
        Some(Errno::NOENT | Errno::LOOP | Errno::NXIO) => ClaimError::Withdrawn,
        Some(Errno::ACCESS | Errno::PERM) => {
            let detail = "permission denied: let the service's user read the file, and drop it again";
            Rejected::new(RejectReason::Unreadable, detail).into()
        }
        _ => at(&file.path)(error),
    }
}

/// Copies no more than one piece beyond the size that was listed: a file that grows is not to fill the spool.
fn copy_hashed(
    from: &mut File,
    to: &mut File,
    file: &LandedFile,
    spool: &Path,
) -> Result<(ContentKey, u64), ClaimError> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    while bytes <= file.fingerprint.size {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(at(&file.path)(error)),
        };
        hasher.update(&piece[..read]);
        to.write_all(&piece[..read]).map_err(at(spool))?;
        bytes += read as u64;
    }
    Ok((ContentKey(*hasher.finalize().as_bytes()), bytes))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::super::fixture::{LIMITS, landed_file};
    use super::*;

    const WHOLE: &[u8] = b"PAR1\0\0\0\0PAR1";

    type Make<'a> = &'a dyn Fn(&Path);

    /// Lets `make` put something at a path, then claims it.
    fn claimed(make: impl FnOnce(&Path)) -> Result<Claimed, ClaimError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        make(&path);
        claim(&landed_file(&path), folder.path(), LIMITS.file_bytes)
    }

    fn reason(result: Result<Claimed, ClaimError>) -> RejectReason {
        match result {
            Err(ClaimError::Rejected(rejected)) => rejected.reason,
            other => panic!("not rejected: {other:?}"),
        }
    }

    #[test]
    fn a_claim_is_a_private_copy_under_the_hash_of_its_content() {
        let mut claimed = claimed(|path| fs::write(path, WHOLE).expect("written")).expect("claimed");
        let mut content = Vec::new();
        claimed.file.read_to_end(&mut content).expect("read");
        assert_eq!((content.as_slice(), claimed.bytes), (WHOLE, WHOLE.len() as u64));
        assert_eq!(claimed.key, ContentKey(*blake3::hash(WHOLE).as_bytes()));
    }

    #[test]
    fn a_file_of_many_pieces_is_copied_whole() {
        let content = [&b"PAR1"[..], &vec![7; 3 * PIECE + 5], b"\0\0\0\0PAR1"].concat();
        let claimed = claimed(|path| fs::write(path, &content).expect("written")).expect("claimed");
        assert_eq!(claimed.key, ContentKey(*blake3::hash(&content).as_bytes()));
    }

    #[test]
    fn what_is_no_whole_parquet_file_is_rejected_by_its_ends() {
        let cases: [(&[u8], RejectReason); 4] = [
            (b"", RejectReason::Empty),
            (b"PAR1 half of it", RejectReason::Truncated),
            (b"time,value\n1,2\n", RejectReason::NotParquet),
            (b"PAREx\x01\0\0\0PARE", RejectReason::Schema),
        ];
        for (content, expected) in cases {
            let result = claimed(|path| fs::write(path, content).expect("written"));
            assert_eq!(reason(result), expected, "{content:?}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_rejected_unopened() {
        let link = |path: &Path| symlink("/etc/hostname", path).expect("linked");
        let fifo = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        let folder = |path: &Path| fs::create_dir(path).expect("a folder");
        let twice = |path: &Path| {
            fs::write(path, WHOLE).expect("written");
            fs::hard_link(path, path.with_extension("kept")).expect("linked");
        };
        let cases: [(&str, Make<'_>); 4] = [
            ("symlink", &link),
            ("fifo", &fifo),
            ("folder", &folder),
            ("second hard link", &twice),
        ];
        for (kind, make) in cases {
            match claimed(make) {
                Err(ClaimError::Rejected(rejected)) => {
                    assert_eq!(rejected.reason, RejectReason::NotARegularFile);
                    assert!(rejected.detail.contains(kind), "{}", rejected.detail);
                }
                other => panic!("{kind}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_beyond_the_limit_is_rejected_without_a_copy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        fs::write(&path, WHOLE).expect("written");
        let nowhere = Path::new("/nowhere");
        assert_eq!(reason(claim(&landed_file(&path), nowhere, 11)), RejectReason::TooLarge);
        let deferred = claim(&landed_file(&path), nowhere, LIMITS.file_bytes);
        assert!(matches!(deferred, Err(ClaimError::Io { path, .. }) if path == nowhere));
    }

    #[test]
    fn a_file_that_may_not_be_read_is_at_fault_but_a_failing_disk_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = landed_file(folder.path());
        let unreadable = refused(&file, Errno::ACCESS.into());
        assert_eq!(reason(Err(unreadable)), RejectReason::Unreadable);
        assert!(matches!(refused(&file, Errno::IO.into()), ClaimError::Io { .. }));
        assert!(matches!(refused(&file, Errno::MFILE.into()), ClaimError::Io { .. }));
    }

    #[test]
    fn a_file_that_changed_or_went_away_since_the_listing_is_withdrawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&path, b"PAR1x\x01\0\0\0PAR1").expect("rewritten"),
            &|| fs::remove_file(&path).expect("removed"),
            &|| {
                fs::write(path.with_extension("new"), WHOLE).expect("written");
                fs::rename(path.with_extension("new"), &path).expect("replaced");
            },
            &|| {
                fs::remove_file(&path).expect("removed");
                symlink("/etc/hostname", &path).expect("linked");
            },
        ];
        for change in changes {
            let _ = fs::remove_file(&path);
            fs::write(&path, WHOLE).expect("written");
            let file = landed_file(&path);
            change();
            assert!(matches!(
                claim(&file, folder.path(), LIMITS.file_bytes),
                Err(ClaimError::Withdrawn)
            ));
        }
    }
}
