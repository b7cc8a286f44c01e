//! A landed artifact becomes ours: a private copy of its files, read through descriptors, checked, under its content's
//! key. Everything later uses the copy.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use forecastd_config::ModelName;
use forecastd_models::dasha::artifact::ARTIFACT_FILES;
use forecastd_models::dasha::card::{CARD_FORMAT, Card};
use forecastd_models::dasha::{ModelDescription, Task};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use thiserror::Error;

use super::weights::read_head;
use super::{CARD, MODEL, SUMMED, SUMS, WEIGHTS, is_known, most};
use crate::intake::landed;
use crate::message::content_key::ContentKey;
use crate::message::landed_file::LandedFile;
use crate::message::model::ModelFacts;
use crate::message::rejected::{ArtifactFault, Rejected};

/// A private copy of an artifact that is sound as far as that can be told without libtorch.
#[derive(Debug)]
pub struct ClaimedArtifact {
    /// Where the copy lies, under the names of the artifact; gone with this value.
    pub folder: TempDir,
    /// BLAKE3 of its `BLAKE3SUMS`.
    pub key: ContentKey,
    /// What it says of itself.
    pub facts: ModelFacts,
    /// Samples that it was trained, chosen and tested on.
    pub samples: [u64; 3],
}

/// Why a landed artifact was not claimed.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The artifact is at fault, and stays so.
    #[error("{}: {}", .0.reason.label(), .0.detail)]
    Rejected(Rejected<ArtifactFault>),
    /// The folder is not the one that was listed: the next listing tells.
    #[error("the artifact changed or went away before it was claimed")]
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

/// Bytes copied at once.
const PIECE: usize = 1 << 20;

/// A folder that lies still, for it is our own: nobody has to wait for it.
///
/// # Errors
/// When it cannot be looked at.
pub fn landed_here(model: &ModelName, folder: &Path) -> io::Result<LandedFile> {
    Ok(LandedFile {
        dataset: ModelName::clone(model),
        path: folder.to_owned(),
        fingerprint: landed::fingerprint(&fs::symlink_metadata(folder)?),
    })
}

/// Copies the artifact into a folder of its own in `spool`, if it is still the one that was listed, and checks it.
///
/// # Errors
/// See [`ArtifactError`].
pub fn claim(file: &LandedFile, spool: &Path) -> Result<ClaimedArtifact, ArtifactError> {
    let folder = open(file)?;
    check_names(&folder, file)?;
    let copy = tempfile::Builder::new()
        .prefix("model-")
        .tempdir_in(spool)
        .map_err(at(spool))?;
    let mut bytes = 0;
    let mut sums = Vec::new();
    for name in ARTIFACT_FILES {
        let (length, sum) = copy_file(&folder, file, name, copy.path())?;
        bytes += length;
        sums.push((name, sum));
    }
    // A folder that somebody still writes to is not to be blamed for what it is not yet.
    let after = File::from(folder).metadata().map_err(at(&file.path))?;
    if landed::fingerprint(&after) != file.fingerprint {
        return Err(ArtifactError::Withdrawn);
    }
    let key = check_sums(copy.path(), &sums)?;
    let (facts, samples) = check_content(copy.path(), &sums, bytes)?;
    Ok(ClaimedArtifact {
        folder: copy,
        key,
        facts,
        samples,
    })
}

/// Opens the very folder that was listed.
fn open(file: &LandedFile) -> Result<OwnedFd, ArtifactError> {
    let listed = landed::unchanged(file).map_err(at(&file.path))?;
    let listed = listed.ok_or(ArtifactError::Withdrawn)?;
    if !listed.is_dir() {
        let kind = landed::irregularity(&listed).unwrap_or("a file");
        return rejected(ArtifactFault::NotPlain, format!("{kind} is not taken: drop a folder"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(&file.path, flags, Mode::empty()) {
        Ok(folder) => Ok(folder),
        Err(errno) => refused(file, &file.path, errno),
    }
}

/// Nothing else may lie there: what is not known cannot be checked.
fn check_names(folder: &OwnedFd, file: &LandedFile) -> Result<(), ArtifactError> {
    let entries = Dir::read_from(folder).map_err(|errno| at(&file.path)(errno.into()))?;
    for entry in entries {
        let entry = entry.map_err(|errno| at(&file.path)(errno.into()))?;
        let name = entry.file_name().to_string_lossy();
        if name == "." || name == ".." || is_known(&name) {
            continue;
        }
        let detail = format!("{name:?} belongs to no artifact: only {} do", ARTIFACT_FILES.join(", "));
        return rejected(ArtifactFault::UnknownFile, detail);
    }
    Ok(())
}

/// Copies one file; its length and its sum.
fn copy_file(
    folder: &OwnedFd,
    file: &LandedFile,
    name: &str,
    copy: &Path,
) -> Result<(u64, blake3::Hash), ArtifactError> {
    let path = file.path.join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut source = match openat(folder, name, flags, Mode::empty()) {
        Ok(source) => File::from(source),
        Err(Errno::NOENT) => return rejected(ArtifactFault::Incomplete, format!("there is no {name}")),
        Err(errno) => return refused(file, &path, errno),
    };
    let before = source.metadata().map_err(at(&path))?;
    if let Some(kind) = landed::irregularity(&before) {
        return rejected(ArtifactFault::NotPlain, format!("{name} is {kind}"));
    }
    let most = most(name);
    if before.len() > most {
        let detail = format!("{name}: {} bytes; at most {most} are taken", before.len());
        return rejected(ArtifactFault::TooLarge, detail);
    }
    let target = copy.join(name);
    let mut written = File::create_new(&target).map_err(at(&target))?;
    let (length, sum) = copy_hashed(&mut source, &mut written, before.len(), &path, &target)?;
    let after = source.metadata().map_err(at(&path))?;
    if landed::fingerprint(&after) != landed::fingerprint(&before) || length != before.len() {
        return Err(ArtifactError::Withdrawn);
    }
    Ok((length, sum))
}

/// Copies no more than one piece beyond the size that was seen: a file that grows is not to fill the spool.
fn copy_hashed(
    from: &mut File,
    to: &mut File,
    size: u64,
    from_path: &Path,
    to_path: &Path,
) -> Result<(u64, blake3::Hash), ArtifactError> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    while length <= size {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(at(from_path)(error)),
        };
        hasher.update(&piece[..read]);
        to.write_all(&piece[..read]).map_err(at(to_path))?;
        length += read as u64;
    }
    Ok((length, hasher.finalize()))
}

/// Holds the copies against `BLAKE3SUMS`, which must be what `forecastd dasha` writes to the byte: the version's name is
/// its sum, and no two names are to mean the same files.
fn check_sums(copy: &Path, sums: &[(&str, blake3::Hash)]) -> Result<ContentKey, ArtifactError> {
    let sum = |name| sums.iter().find(|(known, _)| *known == name).map(|(_, sum)| *sum);
    let lines = SUMMED
        .into_iter()
        .filter_map(|name| Some(format!("{}  {name}\n", sum(name)?)));
    let expected: String = lines.collect();
    let stored = read(copy, SUMS)?;
    if stored != expected.as_bytes() {
        let stored = String::from_utf8_lossy(&stored);
        let mut differing = SUMMED.into_iter().zip(expected.lines());
        let differs = differing.find(|(_, line)| !stored.lines().any(|stored| stored == *line));
        let detail = match differs {
            Some((name, _)) => format!("{name}: its BLAKE3 is not that of {SUMS}"),
            None => format!("{SUMS}: more than a line for each file, or in another order"),
        };
        return rejected(ArtifactFault::Sums, detail);
    }
    Ok(ContentKey(*blake3::hash(&stored).as_bytes()))
}

/// Whether description, card and weights are of one network, and what they say of it.
fn check_content(
    copy: &Path,
    sums: &[(&str, blake3::Hash)],
    bytes: u64,
) -> Result<(ModelFacts, [u64; 3]), ArtifactError> {
    let description: ModelDescription = parse(copy, MODEL, ArtifactFault::Description)?;
    if let Err(error) = description.check() {
        return rejected(ArtifactFault::Description, format!("{MODEL}: {error}"));
    }
    let weights = sums
        .iter()
        .find(|(name, _)| *name == WEIGHTS)
        .map(|(_, sum)| sum.to_hex());
    if !weights.is_some_and(|sum| sum.as_str().eq_ignore_ascii_case(&description.weights_hash)) {
        let detail = format!("{MODEL} has the hash of other weights");
        return rejected(ArtifactFault::Description, detail);
    }
    let path = copy.join(WEIGHTS);
    let mut file = File::open(&path).map_err(at(&path))?;
    let length = file.metadata().map_err(at(&path))?.len();
    let numbers = match read_head(&mut file, length).map_err(at(&path))? {
        Ok(head) => head.numbers(),
        Err(detail) => return rejected(ArtifactFault::Weights, format!("{WEIGHTS}: {detail}")),
    };
    let needed = description.architecture.searched_weights();
    if needed > u128::from(numbers) {
        let detail = format!("{WEIGHTS}: {numbers} weights, where the convolutions alone have {needed}");
        return rejected(ArtifactFault::Weights, detail);
    }
    let card: Card = parse(copy, CARD, ArtifactFault::Card)?;
    if let Some(detail) = mismatch(&card, &description) {
        return rejected(ArtifactFault::Card, format!("{CARD}: {detail}"));
    }
    let metric = card.metric;
    let samples = [card.data.train, card.data.validation, card.data.test];
    let facts = ModelFacts {
        bytes,
        metric,
        validation: card.validation.scores.get(&metric).copied(),
        test: card.test.as_ref().and_then(|test| test.scores.get(&metric).copied()),
        data: card.data.hash,
        description,
    };
    Ok((facts, samples))
}

/// Why a card is not this network's.
fn mismatch(card: &Card, description: &ModelDescription) -> Option<String> {
    let task: Task = description.architecture.task;
    if card.format != CARD_FORMAT {
        return Some(format!("format {}; this version reads {CARD_FORMAT}", card.format));
    }
    if card.architecture != description.architecture {
        return Some(format!("its architecture is not that of {MODEL}"));
    }
    if card.data.labels != description.labels {
        return Some(format!("its labels are not those of {MODEL}"));
    }
    (!card.metric.suits(task)).then(|| format!("{} does not score {task:?}", card.metric.name()))
}

fn parse<T: DeserializeOwned>(copy: &Path, name: &str, fault: ArtifactFault) -> Result<T, ArtifactError> {
    serde_json::from_slice(&read(copy, name)?).or_else(|error| {
        let error = error.to_string();
        // What a key means that is not known here cannot be left out either.
        let hint = error
            .starts_with("unknown")
            .then_some("; a newer forecastd may have written it: update this one");
        rejected(fault, format!("{name}: {error}{}", hint.unwrap_or_default()))
    })
}

/// A file of the copy, which nobody else can change.
fn read(copy: &Path, name: &str) -> Result<Vec<u8>, ArtifactError> {
    let path = copy.join(name);
    fs::read(&path).map_err(at(&path))
}

fn rejected<T>(reason: ArtifactFault, detail: impl Into<String>) -> Result<T, ArtifactError> {
    Err(ArtifactError::Rejected(Rejected::new(reason, detail)))
}

/// Why something of an artifact cannot be opened.
fn refused<T>(file: &LandedFile, path: &Path, errno: Errno) -> Result<T, ArtifactError> {
    let name = path.strip_prefix(&file.path).unwrap_or(path).display();
    match errno {
        Errno::NOENT => Err(ArtifactError::Withdrawn),
        // A link or a socket; of the folder itself, one that took its place since it was listed.
        Errno::LOOP | Errno::NXIO | Errno::NOTDIR if path != file.path => {
            rejected(ArtifactFault::NotPlain, format!("{name} is a link or a socket"))
        }
        Errno::LOOP | Errno::NOTDIR => Err(ArtifactError::Withdrawn),
        Errno::ACCESS | Errno::PERM => {
            let detail = format!("{}: permission denied: let the service's user read it", path.display());
            rejected(ArtifactFault::Unreadable, detail)
        }
        _ => Err(at(path)(errno.into())),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ArtifactError + use<> {
    let path = path.to_owned();
    move |source| ArtifactError::Io { path, source }
}
