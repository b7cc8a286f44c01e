//! The wish for a version, and what came of it.

use std::path::PathBuf;
use std::sync::Arc;

use forecastd_models::dasha::ModelDescription;
use thiserror::Error;
use tokio::sync::oneshot;

/// Why a version is not served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The artifact is of no use.
    #[error("model {name:?} version {version:?} is refused: {reason}")]
    Refused {
        /// The served name.
        name: Arc<str>,
        /// The version that it would have been.
        version: Arc<str>,
        /// The file, and what is wrong with it.
        reason: String,
    },
    /// Somebody wanted another version, or none, before this one was warm.
    #[error("model {name:?} version {version:?} was given up while it was loading")]
    GivenUp {
        /// The served name.
        name: Arc<str>,
        /// The version that was wanted.
        version: Arc<str>,
    },
    /// There is no child, and none can be started.
    #[error("nothing can be loaded: {reason}")]
    Unavailable {
        /// Why not.
        reason: String,
    },
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// What came of an order.
pub(super) type Loaded = Result<Arc<ModelDescription>, LoadError>;

/// A version that somebody waits for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) name: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) folder: PathBuf,
    /// Whether it is to be the active one of its name.
    pub(super) activate: bool,
    pub(super) done: oneshot::Sender<Loaded>,
}

impl Order {
    pub(super) fn new(name: &str, version: &str, folder: PathBuf, activate: bool) -> (Self, oneshot::Receiver<Loaded>) {
        let (done, loaded) = oneshot::channel();
        let order = Self {
            name: name.into(),
            version: version.into(),
            folder,
            activate,
            done,
        };
        (order, loaded)
    }
}
