//! The folder of a run, `.run` in that of the artifact: whose run it is, and whether the same command may go on.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use forecastd_models::dasha::DashaJob;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::intake::samples::{SampleRequest, SeriesRequest};
use crate::work::train::folder;

/// What makes two runs the same.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// BLAKE3 of the file.
    pub(super) hash: String,
    /// How it is read.
    pub(super) reading: SampleRequest,
    /// How windows are made of it, if it is one of series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) series: Option<SeriesRequest>,
    /// What is done with it.
    pub(super) job: DashaJob,
}

/// The folder, held against other processes.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    /// Whether the folder of the artifact was made for this run.
    made: bool,
    _lock: File,
}

const REQUEST: &str = "request.json";
const LOCK: &str = "lock";

impl RunFolder {
    /// Opens the folder of an earlier run that was asked for the same, or makes one.
    pub(super) fn open(out: &Path, request: &Request, restart: bool) -> anyhow::Result<Self> {
        let path = out.join(".run");
        let made = !out.exists();
        if !restart {
            check_place(out)?;
        }
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        let lock = lock(&path)?;
        if restart {
            empty(&path)?;
        }
        let folder = Self {
            path,
            made,
            _lock: lock,
        };
        let wanted = serde_json::to_value(request)?;
        match folder.earlier()? {
            Some(earlier) => folder.compare(&earlier, &wanted)?,
            None => {
                folder.write(folder::JOB, &serde_json::to_value(&request.job)?)?;
                folder.write(REQUEST, &wanted)?;
            }
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the samples are there; their description is written last.
    pub(super) fn is_prepared(&self) -> bool {
        folder::is_prepared(&self.path)
    }

    /// Clears away a run that has not begun, since its file cannot be used.
    pub(super) fn forget(&self) {
        let _ = fs::remove_dir_all(&self.path); // what is left is in nobody's way
        if self.made {
            let _ = self.path.parent().map(fs::remove_dir);
        }
    }

    /// Clears away a run that is over.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.path).with_context(|| format!("remove {}", self.path.display()))
    }

    fn earlier(&self) -> anyhow::Result<Option<Value>> {
        let path = self.path.join(REQUEST);
        match fs::read(&path) {
            Ok(text) => {
                let earlier = serde_json::from_slice(&text);
                Ok(Some(earlier.with_context(|| {
                    format!("{}: --restart begins anew", path.display())
                })?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn compare(&self, earlier: &Value, wanted: &Value) -> anyhow::Result<()> {
        let mut differences = Vec::new();
        differ("", earlier, wanted, &mut differences);
        if differences.is_empty() {
            return Ok(());
        }
        bail!(
            "{} holds a run that was asked for something else: {}; ask for the same to go on with it, give another \
             --out, or --restart to begin anew",
            self.path.display(),
            differences.join(", ")
        )
    }

    fn write(&self, name: &str, value: &Value) -> anyhow::Result<()> {
        folder::write(&self.path, name, value).with_context(|| format!("write {}", self.path.join(name).display()))
    }
}

/// Refuses a folder that holds anything but a run.
fn check_place(out: &Path) -> anyhow::Result<()> {
    if out.join("card.json").exists() {
        bail!(
            "{} holds an artifact; give another --out, or --restart to replace it",
            out.display()
        );
    }
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("--out {}", out.display())),
    };
    let mut others = entries.flatten().filter(|entry| entry.file_name() != ".run");
    // A process that was killed at the very end may have left some of the artifact beside its run.
    if !out.join(".run").exists()
        && let Some(other) = others.next()
    {
        let other = other.file_name();
        bail!(
            "{} holds other files, such as {other:?}; give a folder of its own",
            out.display()
        );
    }
    Ok(())
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let name = path.join(LOCK);
    let file = File::create(&name).with_context(|| format!("make {}", name.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{}: another process is at work on this run", path.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", name.display())),
    }
}

/// Everything but the lock, which is held.
fn empty(path: &Path) -> anyhow::Result<()> {
    let gone = || -> std::io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name() == LOCK {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    gone().with_context(|| format!("clear {}", path.display()))
}

/// What is not the same, as `key: earlier instead of wanted`.
fn differ(key: &str, earlier: &Value, wanted: &Value, found: &mut Vec<String>) {
    if let (Value::Object(earlier), Value::Object(wanted)) = (earlier, wanted) {
        let mut keys: Vec<&String> = earlier.keys().chain(wanted.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for inner in keys {
            let path = if key.is_empty() {
                inner.clone()
            } else {
                format!("{key}.{inner}")
            };
            let of = |object: &serde_json::Map<String, Value>| object.get(inner).cloned().unwrap_or_default();
            differ(&path, &of(earlier), &of(wanted), found);
        }
    } else if earlier != wanted {
        found.push(match key {
            "hash" => "the file has another content".to_owned(),
            _ => format!("{key} was {earlier} and is {wanted}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use forecastd_models::dasha::{
        BackboneChoice, Budget, CellFormat, ScaleChoice, SearchSpace, Task, TrainingOptions,
    };

    use super::*;
    use crate::intake::samples::{ColumnNames, InputKind};

    fn request(seed: u64) -> Request {
        Request {
            hash: "00".to_owned(),
            reading: SampleRequest {
                task: Task::Classify,
                input: InputKind::Image,
                shape: None,
                pixel: None,
                cells: CellFormat::default(),
                alphabet: "ACGTN".to_owned(),
                columns: ColumnNames::default(),
                seed,
            },
            job: DashaJob {
                backbone: BackboneChoice::Auto,
                scale: ScaleChoice::Auto,
                space: SearchSpace::images(),
                budget: Budget::default(),
                network: None,
                batch: None,
                training: TrainingOptions::default(),
                seed,
            },
            series: None,
        }
    }

    fn told(out: &Path, request: &Request) -> String {
        RunFolder::open(out, request, false).expect_err("refused").to_string()
    }

    #[test]
    fn the_same_goes_on_and_anything_else_is_told_apart() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("out");
        let folder = RunFolder::open(&out, &request(1), false).expect("made");
        assert!(!folder.is_prepared());
        assert!(told(&out, &request(1)).contains("another process is at work"));
        fs::write(folder.path().join("samples.json"), "{}").expect("written");
        drop(folder);
        let folder = RunFolder::open(&out, &request(1), false).expect("opened again");
        assert!(folder.is_prepared());
        drop(folder);
        let other = Request {
            hash: "01".to_owned(),
            ..request(2)
        };
        let told = told(&out, &other);
        for words in [
            "the file has another content",
            "job.seed was 1 and is 2",
            "reading.seed",
            "--restart",
        ] {
            assert!(told.contains(words), "{told}");
        }
        let folder = RunFolder::open(&out, &other, true).expect("begun anew");
        assert!(!folder.is_prepared());
        folder.forget();
        assert!(out.exists(), "the folder was there before");
    }

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("thesis.txt"), "").expect("written");
        assert!(told(dir.path(), &request(1)).contains("holds other files, such as \"thesis.txt\""));
        fs::write(dir.path().join("card.json"), "{}").expect("written");
        assert!(told(dir.path(), &request(1)).contains("holds an artifact"));
        let out = dir.path().join("new");
        RunFolder::open(&out, &request(1), false).expect("made").forget();
        assert!(!out.exists(), "what was made for nothing is gone");
    }
}
