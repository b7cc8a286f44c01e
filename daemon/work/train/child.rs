//! A run of the libtorch child from its first word to its last: what it says, and how it ended.

use std::time::Duration;

use forecastd_models::dasha::DashaEvent;

use crate::work::torch_process::{Errand, Heard, TorchError};

/// From one look at what the caller wants to the next.
const GLANCE: Duration = Duration::from_millis(100);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The artifact is in the folder of the run.
    Finished,
    /// It says why it cannot be done.
    Failed(String),
    /// It ended otherwise, and how. From its checkpoint another child goes on.
    Died(String),
    /// The caller wanted it no more; it was ended.
    Stopped,
}

/// Something that a run says.
#[derive(Debug)]
pub enum Said {
    /// What has happened.
    Event(DashaEvent),
    /// A line of whatever library prints.
    Line(String),
}

/// Follows a run. `goes_on` is asked now and then, and ends it.
///
/// # Errors
/// When it cannot be told how the child ended.
pub fn follow(errand: Errand, goes_on: impl Fn() -> bool, mut take: impl FnMut(Said)) -> Result<RunEnd, TorchError> {
    let mut failure = None;
    loop {
        if !goes_on() {
            return Ok(RunEnd::Stopped);
        }
        match errand.hear(GLANCE) {
            Heard::Nothing => {}
            Heard::Line(line) => match serde_json::from_str(&line) {
                Ok(DashaEvent::Failed { message }) => failure = Some(message),
                Ok(event) => take(Said::Event(event)),
                Err(_) => take(Said::Line(line)), // a library that prints is no reason to stop
            },
            Heard::End => break,
        }
    }
    let (status, complaint) = errand.end()?;
    Ok(match failure {
        Some(message) => RunEnd::Failed(message),
        None if status.success() => RunEnd::Finished,
        None if complaint.is_empty() => RunEnd::Died(format!("forecastd-torch ended with {status}")),
        None => RunEnd::Died(format!(
            "forecastd-torch ended with {status}; its last words: {complaint}"
        )),
    })
}
