//! Who carries out changes of models, for the rooms that know only messages.

use std::fmt;
use std::pin::Pin;

use thiserror::Error;

use super::model::ModelChange;

/// What can be asked to change a version.
pub trait ChangeModels: fmt::Debug + Send + Sync {
    /// Has a change carried out, or told why it cannot be.
    fn change(&self, change: ModelChange) -> ChangeFuture<'_>;
}

/// A change that is still to come.
pub type ChangeFuture<'a> = Pin<Box<dyn Future<Output = Result<(), ChangeError>> + Send + 'a>>;

/// Why nothing was changed, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// It must not be.
    #[error("{0}")]
    Refused(String),
    /// It was not taken in time, or nobody says what became of it.
    #[error("{0}")]
    Unanswered(String),
}
