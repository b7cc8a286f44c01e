//! When a model is trained by the daemon itself, and with what.

use std::num::NonZeroUsize;
use std::time::Duration;

use forecastd_models::dasha::{Augmentation, BackboneChoice, ScaleChoice};

/// A network that is trained on the labelled samples of the one dataset that names its model.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// Labelled samples that the first training waits for.
    pub first: u64,
    /// Labels that are new or revised since the last training, after which it is trained again; `None`: never for that.
    pub again: Option<u64>,
    /// How long after the last training it is trained again, if any label is new; `None`: never for that.
    pub every: Option<Duration>,
    /// By how much the score on samples whose labels came later may fall short of the one on validation, before it is
    /// trained again; `None`: never for that.
    pub accuracy_drop: Option<f64>,
    /// Kernels are searched for again once there are so many times as many labelled samples as at the last search.
    pub search_growth: f64,
    /// Wall time of one training, search and trials included.
    pub time_budget: Duration,
    /// CPU threads; `None`: as many as for fits.
    pub threads: Option<NonZeroUsize>,
    /// Everything random follows from it.
    pub seed: u64,
    /// Which frames may be chosen.
    pub backbone: BackboneChoice,
    /// How large the frames are.
    pub scale: ScaleChoice,
    /// How training samples are varied; `None`: as fits what they are.
    pub augmentation: Option<Augmentation>,
    /// Whether rare classes weigh as much as frequent ones.
    pub class_weights: bool,
}
