//! Changes of models that are asked for over HTTP go the way of those that the commands ask for: by a file in the
//! folder of requests, which the watch sees and the one writer carries out.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::intake::request::{Asked, Standing};
use crate::message::change_models::{ChangeError, ChangeFuture, ChangeModels};
use crate::message::model::ModelChange;

/// How long a request may wait for what the ingest thread has at hand.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) folder: PathBuf,
}

impl ChangeModels for Requests {
    fn change(&self, change: ModelChange) -> ChangeFuture<'_> {
        Box::pin(self.ask(change))
    }
}

impl Requests {
    async fn ask(&self, change: ModelChange) -> Result<(), ChangeError> {
        let io = |error| ChangeError::Unanswered(format!("{}: {error}", self.folder.display()));
        let asked = Asked::ask(&self.folder, &change).map_err(io)?;
        let started = Instant::now();
        loop {
            let is_late = started.elapsed() > PATIENCE;
            match asked.standing().map_err(io)? {
                Standing::Answered(answer) if answer.done => return Ok(()),
                Standing::Answered(answer) => return Err(ChangeError::Refused(answer.detail)),
                Standing::Forgotten => return Err(unanswered("the request was forgotten")),
                Standing::Waiting if is_late && asked.withdraw() => {
                    return Err(unanswered("it was not taken in time, and nothing was changed"));
                }
                Standing::Taken if is_late => return Err(unanswered("it was taken and not answered yet")),
                Standing::Waiting | Standing::Taken => sleep(PAUSE).await,
            }
        }
    }
}

fn unanswered(what: &str) -> ChangeError {
    ChangeError::Unanswered(what.to_owned())
}
