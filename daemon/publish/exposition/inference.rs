//! What was asked of networks, as samples, and whether each model's active version answers.

use super::encoder::{Encoder, Kind, push_label};
use crate::message::inference::{
    BatchSizes, Infer, InferenceCounts, InferenceError, ModelCounts, ServedModel, VersionState,
};
use crate::message::snapshot::{ModelView, Snapshot};

/// A counter or gauge that each model has.
type Figure = (&'static str, Kind, &'static str, fn(&ModelCounts) -> f64);

const FIGURES: [Figure; 8] = [
    (
        "forecastd_inference_requests_total",
        Kind::Counter,
        "Requests to the serving process, of clients and of the daemon itself, whatever became of them.",
        |counts| counts.requests as f64,
    ),
    (
        "forecastd_inference_requests_cancelled_total",
        Kind::Counter,
        "Requests whose callers went away first.",
        |counts| counts.cancelled as f64,
    ),
    (
        "forecastd_inference_requests_retried_total",
        Kind::Counter,
        "Requests that were computed again, since a serving process had ended over them.",
        |counts| counts.retried as f64,
    ),
    (
        "forecastd_inference_samples_total",
        Kind::Counter,
        "Samples of requests that were answered.",
        |counts| counts.samples as f64,
    ),
    (
        "forecastd_inference_queue_seconds_total",
        Kind::Counter,
        "Time that answered requests waited for their batch, all together.",
        |counts| counts.queue.as_secs_f64(),
    ),
    (
        "forecastd_inference_compute_seconds_total",
        Kind::Counter,
        "Time that batches took to compute, all together.",
        |counts| counts.compute.as_secs_f64(),
    ),
    (
        "forecastd_inference_swaps_total",
        Kind::Counter,
        "Versions that took the place of another while they served.",
        |counts| counts.swaps as f64,
    ),
    (
        "forecastd_inference_waiting_samples",
        Kind::Gauge,
        "Samples that wait for a batch.",
        |counts| counts.waiting as f64,
    ),
];

/// Writes all of it.
pub(super) fn write_inference(encoder: &mut Encoder, infer: &dyn Infer, snapshot: &Snapshot) {
    write_models(encoder, &snapshot.models, &infer.served());
    let counts = infer.counts();
    for (name, kind, help, figure) in FIGURES {
        each(encoder, (name, kind, help), &counts, |encoder, labels, counts| {
            encoder.sample(name, labels, figure(counts));
        });
    }
    write_failures(encoder, &counts);
    write_batches(encoder, &counts);
    write_child(encoder, &counts);
}

/// A version that is active in the registry and answers no one must not look well.
fn write_models(encoder: &mut Encoder, models: &[ModelView], served: &[ServedModel]) {
    if models.is_empty() {
        return;
    }
    let name = "forecastd_model_served";
    encoder.family(
        name,
        Kind::Gauge,
        "Whether the model's active version answers requests.",
    );
    for view in models {
        let answers = view.active().is_some_and(|active| {
            let key = active.version.to_string();
            let model = served.iter().find(|model| model.name == view.model);
            model.is_some_and(|model| {
                let mut versions = model.versions.iter();
                let is_ready = versions.any(|one| *one.version == *key && one.state == VersionState::Ready);
                is_ready && model.active.as_deref() == Some(&*key)
            })
        });
        encoder.sample(name, &label("model", &view.model), f64::from(u8::from(answers)));
    }
}

fn write_failures(encoder: &mut Encoder, counts: &InferenceCounts) {
    let name = "forecastd_inference_request_failures_total";
    let help = "Requests to the serving process without an answer, by reason.";
    each(
        encoder,
        (name, Kind::Counter, help),
        counts,
        |encoder, model, counts| {
            // Every reason is there from the beginning, so that the first one is seen to rise.
            for reason in InferenceError::LABELS {
                let mut labels = model.to_owned();
                push_label(&mut labels, "reason", reason);
                let failures = counts.failures.get(reason).copied().unwrap_or_default();
                encoder.sample(name, &labels, failures as f64);
            }
        },
    );
}

fn write_batches(encoder: &mut Encoder, counts: &InferenceCounts) {
    let name = "forecastd_inference_batch_samples";
    let help = "Samples that were computed at once.";
    each(
        encoder,
        (name, Kind::Histogram, help),
        counts,
        |encoder, labels, counts| {
            let sizes = &counts.batches;
            let mut below = 0;
            for (bound, batches) in BatchSizes::BOUNDS.iter().zip(&sizes.buckets) {
                below += batches;
                encoder.bucket(&format!("{name}_bucket"), labels, f64::from(*bound), below);
            }
            encoder.bucket(&format!("{name}_bucket"), labels, f64::INFINITY, sizes.count());
            encoder.sample(&format!("{name}_sum"), labels, sizes.samples as f64);
            encoder.sample(&format!("{name}_count"), labels, sizes.count() as f64);
        },
    );
}

fn write_child(encoder: &mut Encoder, counts: &InferenceCounts) {
    let child = &counts.child;
    let name = "forecastd_inference_child_up";
    encoder.family(
        name,
        Kind::Gauge,
        "Whether the serving process runs and answered its last ping.",
    );
    encoder.sample(name, "", f64::from(u8::from(child.up)));
    let name = "forecastd_inference_child_restarts_total";
    encoder.family(
        name,
        Kind::Counter,
        "Times the serving process had to be started again.",
    );
    encoder.sample(name, "", child.restarts as f64);
    if let (Some(version), Some(device), Some(onednn)) = (&child.version, &child.device, child.onednn) {
        let name = "forecastd_inference_child_info";
        encoder.family(
            name,
            Kind::Gauge,
            "The libtorch that networks are served by, its device, and whether it computes them by oneDNN.",
        );
        let mut labels = label("version", version);
        push_label(&mut labels, "device", device);
        push_label(&mut labels, "onednn", if onednn { "true" } else { "false" });
        encoder.sample(name, &labels, 1.0);
    }
}

/// A family with samples for each model that was ever served; none without one.
fn each(
    encoder: &mut Encoder,
    (name, kind, help): (&str, Kind, &str),
    counts: &InferenceCounts,
    write: impl Fn(&mut Encoder, &str, &ModelCounts),
) {
    if counts.models.is_empty() {
        return;
    }
    encoder.family(name, kind, help);
    for (model, counts) in &counts.models {
        write(encoder, &label("model", model), counts);
    }
}

fn label(name: &str, value: &str) -> String {
    let mut labels = String::new();
    push_label(&mut labels, name, value);
    labels
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::message::torch_status::TorchStatus;
    use crate::publish::exposition::{Format, checker};
    use crate::publish::fixture::Networks;

    fn counted() -> Networks {
        let networks = Networks::default();
        let mut batches = BatchSizes::default();
        batches.add(1);
        batches.add(5);
        let counts = ModelCounts {
            requests: 7,
            samples: 6,
            answered: 3,
            failures: [("overload", 4)].into(),
            queue: Duration::from_millis(1500),
            compute: Duration::from_millis(250),
            batches,
            swaps: 2,
            waiting: 9,
            ..ModelCounts::default()
        };
        let child = TorchStatus {
            up: true,
            restarts: 3,
            version: Some("2.11.0".to_owned()),
            device: Some("cpu".to_owned()),
            onednn: Some(false),
            last_error: None,
        };
        *networks.counts.lock().expect("no panic") = InferenceCounts {
            models: [(Arc::from("m"), counts)].into(),
            child,
        };
        networks
    }

    #[test]
    fn every_count_is_a_sample_in_base_units_and_the_page_is_well_formed() {
        for format in [Format::Text, Format::OpenMetrics] {
            let mut encoder = Encoder::new(format);
            write_inference(&mut encoder, &counted(), &Snapshot::default());
            let page = encoder.finish(true);
            checker::check(&page, format);
            for line in [
                "forecastd_inference_requests_total{model=\"m\"} 7",
                "forecastd_inference_samples_total{model=\"m\"} 6",
                "forecastd_inference_request_failures_total{model=\"m\",reason=\"overload\"} 4",
                "forecastd_inference_request_failures_total{model=\"m\",reason=\"poison\"} 0",
                "forecastd_inference_queue_seconds_total{model=\"m\"} 1.5",
                "forecastd_inference_compute_seconds_total{model=\"m\"} 0.25",
                "forecastd_inference_swaps_total{model=\"m\"} 2",
                "forecastd_inference_waiting_samples{model=\"m\"} 9",
                "forecastd_inference_batch_samples_sum{model=\"m\"} 6",
                "forecastd_inference_batch_samples_count{model=\"m\"} 2",
                "forecastd_inference_batch_samples_bucket{model=\"m\",le=\"+Inf\"} 2",
                "forecastd_inference_child_up 1",
                "forecastd_inference_child_restarts_total 3",
                "forecastd_inference_child_info{version=\"2.11.0\",device=\"cpu\",onednn=\"false\"} 1",
            ] {
                assert!(page.contains(&format!("{line}\n")), "{line}\n{page}");
            }
        }
    }

    #[test]
    fn every_reason_that_a_request_can_fail_for_is_known_here() {
        use crate::message::inference::{InferenceError as Error, Stage};
        let (text, name) = (String::new, || Arc::from("m"));
        let errors = [
            Error::NotReady {
                model: name(),
                version: name(),
                reason: text(),
            },
            Error::Input { reason: text() },
            Error::Overloaded {
                model: name(),
                waiting: 0,
            },
            Error::Deadline { stage: Stage::Waiting },
            Error::Poison { deaths: 0, how: text() },
            Error::Failed { reason: text() },
            Error::Unavailable { reason: text() },
            Error::Stopping,
            Error::UnknownVersion {
                model: name(),
                version: name(),
            },
        ];
        for error in errors {
            assert!(Error::LABELS.contains(&error.label()), "{error:?}");
        }
    }
}
