//! What the child is asked for: a job of the configuration, with the kernels that are known or a search for others.

use forecastd_config::{SampleForm, SampleKind, Training as Config};
use forecastd_models::dasha::card::Candidate;
use forecastd_models::dasha::{Budget, DashaJob, SearchSpace, TrainingOptions};

/// The job of a training on samples of this form. With a network no kernels are searched for.
pub(super) fn job(config: &Config, form: &SampleForm, network: Option<Candidate>) -> DashaJob {
    DashaJob {
        backbone: config.backbone,
        scale: config.scale,
        space: match form.kind {
            SampleKind::Tiles => SearchSpace::images(),
            SampleKind::Sequences => SearchSpace::sequences(),
        },
        budget: Budget {
            seconds: Some(config.time_budget.as_secs_f64()),
            ..Budget::default()
        },
        network,
        batch: None,
        training: TrainingOptions {
            class_weights: config.class_weights,
            augmentation: config.augmentation,
            ..TrainingOptions::default()
        },
        seed: config.seed,
    }
}
