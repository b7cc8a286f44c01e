//! Which network may forecast a dataset of series: the active version of the model that it names, if that fits.

use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Dataset, ModelName};
use forecastd_models::FitSpec;
use forecastd_models::network::unfit;

use crate::message::model::ModelVersion;
use crate::message::snapshot::NetworkView;

/// First wait before a network that could not be asked is asked again, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const DOUBLINGS: u32 = 8;

/// How long a channel waits whose network could not be asked so often in a row.
pub(super) fn pause(owed: u32) -> Duration {
    FIRST_PAUSE * 2_u32.pow(owed.saturating_sub(1).min(DOUBLINGS))
}

/// The version that competes, or why the active one does not.
#[derive(Clone, Debug, Default)]
pub(super) struct DatasetNetwork {
    version: Option<Arc<ModelVersion>>,
    held: Option<String>,
}

impl DatasetNetwork {
    /// Takes over which version is active, and says whether that changes what competes.
    pub(super) fn becomes(&mut self, active: Option<&ModelVersion>, spec: &FitSpec) -> bool {
        let held = active.and_then(|active| unfit(&active.facts.description, spec));
        let competes = active.filter(|_| held.is_none());
        let changes = competes.map(ModelVersion::name) != self.version.as_deref().map(ModelVersion::name);
        self.held = held;
        if changes {
            self.version = competes.cloned().map(Arc::new);
        }
        changes
    }

    /// The version that competes.
    pub(super) fn version(&self) -> Option<&Arc<ModelVersion>> {
        self.version.as_ref()
    }

    /// For readers.
    pub(super) fn view(&self, config: &Dataset) -> Option<NetworkView> {
        let model = config.network.as_ref()?;
        Some(NetworkView {
            model: ModelName::clone(model),
            held: self.held.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_cannot_be_asked_is_asked_ever_more_seldom() {
        let seconds = |owed| pause(owed).as_secs();
        assert_eq!([1, 2, 3, 9, 10, u32::MAX].map(seconds), [2, 4, 8, 512, 512, 512]);
    }
}
