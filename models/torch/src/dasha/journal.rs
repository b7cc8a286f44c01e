//! What a run has done: kept on disk, told to whoever listens, and timed.

use std::time::Instant;

use forecastd_models::dasha::DashaEvent;

use super::setup::Setup;
use super::state::{Checkpoint, State, Tensors};

/// The stages of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Search,
    Trials,
    Retrain,
}

/// The state, where it is kept, and who is told.
pub(super) struct Journal<'a> {
    pub(super) state: State,
    checkpoint: Checkpoint,
    tell: &'a mut dyn FnMut(&DashaEvent),
    /// When the time was last written down.
    noted: Instant,
}

impl<'a> Journal<'a> {
    /// Goes on with what lies in the run's folder.
    pub(super) fn open(setup: &Setup, tell: &'a mut dyn FnMut(&DashaEvent)) -> anyhow::Result<Self> {
        let (checkpoint, mut state) = Checkpoint::open(&setup.folder.join("checkpoint"), setup.identity.clone())?;
        state.processes += 1;
        Ok(Self {
            state,
            checkpoint,
            tell,
            noted: Instant::now(),
        })
    }

    pub(super) fn tell(&mut self, event: &DashaEvent) {
        (self.tell)(event);
    }

    /// Writes down how long a stage has taken since the last time, and gives its total.
    pub(super) fn note_time(&mut self, stage: Stage) -> f64 {
        let since = self.noted.elapsed();
        self.noted += since;
        let seconds = self.seconds_of(stage);
        *seconds += since.as_secs_f64();
        *seconds
    }

    fn seconds_of(&mut self, stage: Stage) -> &mut f64 {
        let seconds = &mut self.state.seconds;
        match stage {
            Stage::Search => &mut seconds.search,
            Stage::Trials => &mut seconds.trials,
            Stage::Retrain => &mut seconds.retrain,
        }
    }

    /// Keeps the state as it is now. See [`Checkpoint::save`].
    pub(super) fn save(
        &mut self,
        stage: Stage,
        under_way: Option<&Tensors>,
        kept: Option<&Tensors>,
    ) -> anyhow::Result<()> {
        self.note_time(stage);
        self.checkpoint.save(&mut self.state, under_way, kept)
    }

    pub(super) fn under_way(&self) -> anyhow::Result<Option<Tensors>> {
        self.checkpoint.under_way(&self.state)
    }

    pub(super) fn kept(&self) -> anyhow::Result<Option<Tensors>> {
        self.checkpoint.kept(&self.state)
    }
}

/// How long epochs take, as far as this process has seen.
#[derive(Debug, Default)]
pub(super) struct Pace {
    epochs: u32,
    seconds: f64,
}

impl Pace {
    /// One more epoch; the mean of all.
    pub(super) fn add(&mut self, seconds: f64) -> f64 {
        self.epochs += 1;
        self.seconds += seconds;
        self.seconds / f64::from(self.epochs)
    }
}
