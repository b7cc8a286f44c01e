//! How a run is shown: a bar on a terminal, plain lines elsewhere.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use forecastd_models::dasha::DashaEvent;
use indicatif::ProgressBar;

use crate::cli::bar::{bar, style};

/// Stages, each with a bar of its own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Read,
    Search,
    Trials,
    Retrain,
}

/// The bar, and what must be remembered from event to event.
pub(super) struct Progress {
    bar: ProgressBar,
    stage: RefCell<(Stage, String)>,
    stopped: RefCell<Vec<u32>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            bar: bar("{spinner} {human_pos} rows read"),
            stage: RefCell::new((Stage::Read, String::new())),
            stopped: RefCell::new(Vec::new()),
        }
    }

    /// Rows that were read; says whether to go on.
    pub(super) fn rows(&self, rows: u64, stop: &AtomicBool) -> ControlFlow<()> {
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        self.bar.inc(rows);
        ControlFlow::Continue(())
    }

    /// A sentence that stays on the screen.
    pub(super) fn say(&self, sentence: &str) {
        self.bar.suspend(|| eprintln!("{sentence}"));
    }

    /// Leaves the terminal as it was.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// What has happened.
    pub(super) fn show(&self, event: &DashaEvent) {
        if let DashaEvent::TrialEpoch {
            epoch,
            epochs,
            stopped: true,
            ..
        } = event
            && epoch < epochs
        {
            self.count_stopped(*epoch);
        }
        self.move_bar(event);
        let line = line(event);
        // A bar shows epochs; lines in a file show what is worth keeping.
        if let Some(line) = line.filter(|_| self.bar.is_hidden() || !is_epoch(event)) {
            self.say(&line);
        }
    }

    fn count_stopped(&self, epoch: u32) {
        let mut stopped = self.stopped.borrow_mut();
        let rung = epoch.max(1).ilog2() as usize;
        if stopped.len() <= rung {
            stopped.resize(rung + 1, 0);
        }
        stopped[rung] += 1;
    }

    fn move_bar(&self, event: &DashaEvent) {
        match event {
            DashaEvent::SearchEpoch {
                backbone,
                epoch,
                epochs,
                loss,
            } => {
                self.enter(Stage::Search, backbone, u64::from(*epochs));
                self.at(u64::from(*epoch), format!("loss {loss:.4}"));
            }
            DashaEvent::TrialEpoch {
                trial,
                trials,
                epoch,
                epochs,
                best,
                stopped,
                ..
            } => {
                self.enter(Stage::Trials, "", u64::from(*trials));
                let done = u64::from(*trial) + u64::from(*stopped || epoch == epochs);
                let rungs = rungs(&self.stopped.borrow());
                self.at(
                    done,
                    format!("trial {trial}, epoch {epoch}/{epochs}  best {best:.4}{rungs}"),
                );
            }
            DashaEvent::RetrainEpoch {
                epoch,
                epochs,
                loss,
                best,
                ..
            } => {
                self.enter(Stage::Retrain, "", u64::from(*epochs));
                self.at(u64::from(*epoch), format!("loss {loss:.4}  best {best:.4}"));
            }
            _ => {}
        }
    }

    /// A stage with its own length and its own time left.
    fn enter(&self, stage: Stage, what: &str, length: u64) {
        if *self.stage.borrow() != (stage, what.to_owned()) {
            *self.stage.borrow_mut() = (stage, what.to_owned());
            let name = match stage {
                Stage::Read => "rows",
                Stage::Search => "search",
                Stage::Trials => "trials",
                Stage::Retrain => "training",
            };
            let template = format!("{name} {what} {{bar:30}} {{human_pos}}/{{human_len}}  {{msg}}  {{eta}} left");
            // Nothing of the stage before may stand beside the new one's name.
            self.bar.set_message(String::new());
            self.bar.set_length(length);
            self.bar.reset();
            self.bar.set_style(style(&template));
        }
        self.bar.set_length(length);
    }

    fn at(&self, position: u64, message: String) {
        self.bar.set_position(position);
        self.bar.set_message(message);
    }
}

/// How many trials ended at each rung; rungs double.
fn rungs(stopped: &[u32]) -> String {
    let ended = stopped.iter().enumerate().filter(|(_, trials)| **trials > 0);
    let rungs: Vec<String> = ended
        .map(|(rung, trials)| format!("{trials} after {}", 1_u64 << rung))
        .collect();
    match rungs.is_empty() {
        true => String::new(),
        false => format!("  ended: {}", rungs.join(", ")),
    }
}

fn is_epoch(event: &DashaEvent) -> bool {
    use DashaEvent::{RetrainEpoch, SearchEpoch, TrialEpoch};
    matches!(event, SearchEpoch { .. } | TrialEpoch { .. } | RetrainEpoch { .. })
}

/// The event as a line; of a trial only its end.
fn line(event: &DashaEvent) -> Option<String> {
    Some(match event {
        DashaEvent::Started {
            device,
            threads,
            resumed,
            advice,
        } => {
            let how = if *resumed { "going on" } else { "starting" };
            let slow = advice.as_ref().map(|advice| format!("; {advice}"));
            format!("{how} on {device}, {threads} CPU threads{}", slow.unwrap_or_default())
        }
        DashaEvent::SearchEpoch {
            backbone,
            epoch,
            epochs,
            loss,
        } => {
            format!("search {backbone}: epoch {epoch}/{epochs}, loss {loss:.4}")
        }
        DashaEvent::NotSearched { backbone } => {
            format!("search {backbone}: there is no time for it; the frame keeps its own kernels")
        }
        DashaEvent::Searched { backbone, pattern } => {
            format!("search {backbone}: kernels (size/dilation) {pattern}")
        }
        DashaEvent::TrialEpoch {
            trial,
            trials,
            epoch,
            epochs,
            score,
            best,
            stopped,
        } => {
            if !*stopped && epoch < epochs {
                return None;
            }
            format!(
                "trial {} of {trials}: {epoch} epochs, score {score:.4}, best {best:.4}",
                trial + 1
            )
        }
        DashaEvent::RetrainEpoch {
            epoch,
            epochs,
            loss,
            score,
            best,
        } => {
            format!("training: epoch {epoch}/{epochs}, loss {loss:.4}, score {score:.4}, best {best:.4}")
        }
        DashaEvent::Finished { .. } | DashaEvent::Failed { .. } => return None, // told at the end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(epoch: u32, stopped: bool) -> DashaEvent {
        DashaEvent::TrialEpoch {
            trial: 3,
            trials: 12,
            epoch,
            epochs: 8,
            score: 0.5,
            best: 0.75,
            stopped,
        }
    }

    #[test]
    fn a_trial_is_told_when_it_ends() {
        assert_eq!(line(&trial(2, false)), None);
        let ended = "trial 4 of 12: 2 epochs, score 0.5000, best 0.7500";
        assert_eq!(line(&trial(2, true)).as_deref(), Some(ended));
        assert!(line(&trial(8, false)).is_some());
    }

    #[test]
    fn rungs_say_how_many_ended_there() {
        let progress = Progress::new();
        for (epoch, stopped) in [(1, true), (2, false), (4, true), (4, true), (8, true)] {
            progress.show(&trial(epoch, stopped));
        }
        assert_eq!(rungs(&progress.stopped.borrow()), "  ended: 1 after 1, 2 after 4");
        assert_eq!(rungs(&[]), "");
    }
}
