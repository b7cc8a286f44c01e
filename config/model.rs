//! A model as the program needs it: one name, one folder that artifacts land in, one rule of who becomes active.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Landing, Training};

/// A model's name, shared: `[a-z0-9_-]`, at most 64 bytes.
pub type ModelName = Arc<str>;

/// One model, of which there may be many versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Label in metrics, key in the state, and part of addresses.
    pub name: ModelName,
    /// The folder that artifacts are dropped into, each a folder of its own.
    pub incoming: PathBuf,
    /// Where a dropped folder goes once it is imported; on the same filesystem as `incoming`.
    pub done: PathBuf,
    /// Where a dropped folder goes that is refused, with the reason beside it.
    pub quarantine: PathBuf,
    /// When a dropped folder counts as complete.
    pub landing: Landing,
    /// Which version becomes active.
    pub promotion: Promotion,
    /// Which versions are kept.
    pub retention: Retention,
    /// When it is trained here; `None`: by others only.
    pub training: Option<Training>,
}

/// Which version becomes active.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promotion {
    /// What becomes of a version that is better than the active one.
    pub to: PromoteTo,
    /// By how much its score on validation must exceed the active one's.
    pub margin: f64,
}

/// What becomes of a version that is better than the active one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromoteTo {
    /// It is active at once.
    Active,
    /// It predicts in the shadow of the active one until somebody promotes it. Where none is active, it is at once.
    Shadow,
    /// Nothing: it stays a candidate until somebody promotes it.
    Candidate,
}

/// Which versions are kept. The active one, the one in its shadow, and the one that a rollback would take always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many others, the newest first.
    pub versions: usize,
    /// How long others stay after they were last promoted, retired or refused; `None`: for ever.
    pub age: Option<Duration>,
}
