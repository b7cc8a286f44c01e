//! Metrics of samples: how many there are of each split and class, with and without a label, and how old they are.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use prometheus::{GaugeVec, IntGaugeVec};

use super::families::Register;
use super::set;
use crate::message::snapshot::SampleView;

const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// Classes of a dataset that have a label set, those with most samples first: nobody bounds what a file calls them.
const CLASSES: usize = 100;

/// What there is to learn from.
#[derive(Debug)]
pub(super) struct SampleFamilies {
    samples: IntGaugeVec,
    classes: IntGaugeVec,
    newest: GaugeVec,
    /// Label sets that are there: a page must not miss one that stays.
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    samples: BTreeSet<[String; 3]>,
    classes: BTreeSet<[String; 2]>,
    newest: BTreeSet<[String; 1]>,
}

impl SampleFamilies {
    pub(super) fn register(to: &Register) -> Self {
        Self {
            samples: to.gauges(
                "forecastd_samples",
                "Tiles or sequences, each id once.",
                &["dataset", "split", "labelled"],
            ),
            classes: to.gauges(
                "forecastd_class_samples",
                "Tiles or sequences that have this class, with masks at any position; of the hundred largest classes.",
                &["dataset", "class"],
            ),
            newest: to.float_gauges(
                "forecastd_sample_newest_timestamp_seconds",
                "When the newest tile or sequence was taken, of those that say so.",
                &["dataset"],
            ),
            shown: Mutex::default(),
        }
    }

    /// Shows what readers see, and no dataset that is not there any more.
    pub(super) fn published(&self, views: &[SampleView]) {
        let mut now = Shown::default();
        for view in views {
            let dataset = &view.config.name;
            for (labelled, counts) in [("no", &view.unlabelled), ("yes", &view.labelled)] {
                for (split, count) in SPLITS.iter().zip(counts) {
                    let labels = [dataset.to_string(), (*split).to_owned(), labelled.to_owned()];
                    set(&self.samples.with_label_values(&labels), *count);
                    now.samples.insert(labels);
                }
            }
            if let Some(newest) = view.newest {
                let labels = [dataset.to_string()];
                self.newest.with_label_values(&labels).set(newest.as_seconds());
                now.newest.insert(labels);
            }
            let mut classes: Vec<_> = view
                .classes
                .iter()
                .map(|(class, counts)| (counts.iter().sum::<u64>(), class))
                .collect();
            classes.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
            for (count, class) in classes.into_iter().take(CLASSES) {
                let labels = [dataset.to_string(), class.to_string()];
                set(&self.classes.with_label_values(&labels), count);
                now.classes.insert(labels);
            }
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // An error means that the label set is not there, which is what is wanted.
        for labels in shown.samples.difference(&now.samples) {
            let _ = self.samples.remove_label_values(labels);
        }
        for labels in shown.classes.difference(&now.classes) {
            let _ = self.classes.remove_label_values(labels);
        }
        for labels in shown.newest.difference(&now.newest) {
            let _ = self.newest.remove_label_values(labels);
        }
        *shown = now;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use forecastd_config::Config;
    use forecastd_models::Timestamp;

    use super::*;
    use crate::message::snapshot::Snapshot;
    use crate::publish::fixture::Stage;

    #[test]
    fn the_newest_sample_is_shown_as_long_as_one_says_when_it_was_taken() {
        let text = "state_dir: s\ndatasets: [{ name: d, kind: tiles, incoming: i, samples: { id: i, image: x, shape: [1, 1, 1] } }]";
        let mut config = Config::parse(text, Path::new("/")).expect("a good file");
        let config = Arc::new(config.samples.remove(0));
        let stage = Stage::new(100);
        let shown = |newest| {
            stage.metrics.published(&Snapshot {
                samples: vec![SampleView {
                    config: Arc::clone(&config),
                    unlabelled: [0; 3],
                    labelled: [0; 3],
                    classes: BTreeMap::new(),
                    newest,
                    files_waiting: 0,
                    predictions: None,
                }],
                ..Snapshot::default()
            });
            let samples = stage.samples();
            samples
                .get("forecastd_sample_newest_timestamp_seconds{dataset=\"d\"}")
                .copied()
        };
        assert_eq!(shown(None), None);
        assert_eq!(shown(Some(Timestamp(2_500_000_000))), Some(2.5));
        assert_eq!(shown(None), None);
    }
}
