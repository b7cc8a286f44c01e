//! What somebody asks of a running daemon: a file in a folder of the state, and the answer beside it.
//!
//! The state has one writer, so whoever wants something done while a daemon runs asks the daemon. Who may write into the
//! state's folder may ask. A request is `NAME.request.json`; whoever takes it renames it first, so that it is either
//! taken or can be withdrawn, and answers with `NAME.answer.json`. A daemon that starts forgets what nobody answered.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::landed;

const REQUEST: &str = ".request.json";

/// Bytes of a request, at most.
const MOST: u64 = 1 << 16;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub done: bool,
    /// Why not.
    pub detail: String,
}

/// A request that is out.
#[derive(Debug)]
pub struct Asked {
    request: PathBuf,
}

/// How it stands with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has taken it.
    Waiting,
    /// It is being carried out.
    Taken,
    /// It was answered.
    Answered(Answer),
    /// It is gone without an answer: the daemon started anew meanwhile.
    Forgotten,
}

impl Asked {
    /// Puts a request into the folder.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub fn ask(folder: &Path, wish: &impl Serialize) -> io::Result<Self> {
        let mut file = NamedTempFile::with_prefix_in(".", folder)?;
        serde_json::to_writer(&mut file, wish)?;
        file.flush()?;
        // The service's user reads it, whoever asks; there is nothing secret in it.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        let name = file.path().file_name().unwrap_or_default().to_string_lossy();
        let request = folder.join(format!("{}{REQUEST}", name.trim_start_matches('.')));
        file.persist_noclobber(&request).map_err(|error| error.error)?;
        Ok(Self { request })
    }

    /// How it stands with it. An answer is given once.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn standing(&self) -> io::Result<Standing> {
        // In the order in which they come to be: what is missed here is found by the next look.
        if self.request.exists() {
            return Ok(Standing::Waiting);
        }
        let is_taken = beside(&self.request, ".taken").exists();
        let answer = beside(&self.request, ".answer.json");
        match fs::read(&answer) {
            Ok(bytes) => {
                fs::remove_file(&answer)?;
                Ok(Standing::Answered(serde_json::from_slice(&bytes)?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_taken => Ok(Standing::Taken),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Standing::Forgotten),
            Err(error) => Err(error),
        }
    }

    /// Takes it back; says whether that was in time.
    pub fn withdraw(&self) -> bool {
        fs::remove_file(&self.request).is_ok()
    }
}

/// A request that was taken, and is owed an answer.
#[derive(Debug)]
pub struct Taken<T> {
    request: PathBuf,
    /// What is asked for, or what is wrong with it.
    pub wish: Result<T, String>,
}

/// Takes a request; none if it was withdrawn meanwhile.
///
/// # Errors
/// When it cannot be taken or read.
pub fn take<T: DeserializeOwned>(request: &Path) -> io::Result<Option<Taken<T>>> {
    let taken = beside(request, ".taken");
    match fs::rename(request, &taken) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        renamed => renamed?,
    }
    let mut text = Vec::new();
    landed::open(&taken)?.take(MOST).read_to_end(&mut text)?;
    let wish = serde_json::from_slice(&text).map_err(|error| format!("the request cannot be read: {error}"));
    Ok(Some(Taken {
        request: request.to_owned(),
        wish,
    }))
}

impl<T> Taken<T> {
    /// Answers it.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub fn answer(self, answer: &Answer) -> io::Result<()> {
        let path = beside(&self.request, ".answer.json");
        let mut file = NamedTempFile::with_prefix_in(".", path.parent().unwrap_or(Path::new(".")))?;
        serde_json::to_writer(&mut file, answer)?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(&path).map_err(|error| error.error)?;
        fs::remove_file(beside(&self.request, ".taken"))
    }
}

/// Whether an entry is a request by its name.
pub(crate) fn is_request(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.ends_with(REQUEST) && !name.starts_with('.'))
}

fn beside(request: &Path, suffix: &str) -> PathBuf {
    let name = request.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(REQUEST).unwrap_or(&name);
    request.with_file_name(format!("{stem}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_and_answered_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let asked = Asked::ask(folder.path(), &"promote").expect("asked");
        assert_eq!(asked.standing().expect("a look"), Standing::Waiting);
        assert!(is_request(asked.request.file_name().expect("a name")));
        let taken = take::<String>(&asked.request).expect("taken").expect("it is there");
        assert_eq!(taken.wish.as_deref(), Ok("promote"));
        assert!(take::<String>(&asked.request).expect("a look").is_none());
        assert!(!asked.withdraw(), "it is too late");
        assert_eq!(asked.standing().expect("a look"), Standing::Taken);
        let answer = Answer {
            done: false,
            detail: "no such version".to_owned(),
        };
        taken.answer(&answer).expect("answered");
        assert_eq!(asked.standing().expect("a look"), Standing::Answered(answer));
        assert_eq!(asked.standing().expect("a look"), Standing::Forgotten);
        assert_eq!(
            fs::read_dir(folder.path()).expect("a folder").count(),
            0,
            "nothing stays"
        );
    }

    #[test]
    fn a_request_that_is_withdrawn_in_time_is_never_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let asked = Asked::ask(folder.path(), &1).expect("asked");
        assert!(asked.withdraw());
        assert!(take::<u32>(&asked.request).expect("a look").is_none());
    }

    #[test]
    fn a_request_that_says_nothing_is_taken_and_told_so() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "{", "\"a word\"", "[[[[[["] {
            let request = folder.path().join("x.request.json");
            fs::write(&request, text).expect("written");
            let taken = take::<u32>(&request).expect("taken").expect("it is there");
            let wrong = taken.wish.as_ref().expect_err("nothing to do").clone();
            assert!(wrong.starts_with("the request cannot be read"), "{wrong}");
            let answer = Answer {
                done: false,
                detail: wrong,
            };
            taken.answer(&answer).expect("answered");
        }
    }
}
