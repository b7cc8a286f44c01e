//! `forecastd models train`: asks the running service for a training now, whatever its policy would wait for.

use anyhow::bail;

use super::change::ask;
use super::{Place, print};
use crate::message::model::TrainWish;
use crate::state::{RegistryView, StateError, Store};

/// Have the running service train a network now, on all labelled samples that it has.
///
/// The model needs `train` in the configuration. One training is under way at a time: where another is, this one is next.
#[derive(Debug, clap::Args)]
pub(super) struct Train {
    #[command(flatten)]
    place: Place,
    /// The model.
    #[arg(value_name = "MODEL")]
    model: String,
}

impl Train {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let state_dir = self.place.state_dir()?;
        RegistryView::open(&state_dir)?; // the store would make a state where there is none
        let pid = match Store::open(&state_dir) {
            Err(StateError::Locked { pid, .. }) => pid,
            Ok(_) => bail!(
                "no forecastd uses {}: start it, for it is the service that trains; forecastd dasha trains without one",
                state_dir.display()
            ),
            Err(error) => return Err(error.into()),
        };
        let wish = TrainWish {
            train: self.model.as_str().into(),
        };
        ask(&state_dir, &wish, &pid)?;
        print(&format!(
            "model {}: a training is asked for; forecastd_training_running tells when it is under way\n",
            self.model
        ))
    }
}
