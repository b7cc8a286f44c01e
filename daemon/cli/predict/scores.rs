//! What predictions are worth, where the truth is known.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use forecastd_models::dasha::metrics::Confusion;
use forecastd_models::dasha::samples::NO_CLASS;
use forecastd_models::dasha::{Metric, Outcomes, SampleSet, Task};
use serde_json::json;

use super::singles;

/// Those that a task has and that are defined.
#[derive(Debug, PartialEq)]
pub(super) struct Scores {
    count: u64,
    scores: Vec<(Metric, f64)>,
}

/// Holds the results of a prediction against what is true; both are files of records.
pub(super) fn scores(set: &SampleSet, truth: &Path, results: &Path) -> anyhow::Result<Scores> {
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    let (truth, results) = (read(truth)?, read(results)?);
    let record = match set.task {
        Task::Segment => set.target_bytes(),
        _ => 4 * set.labels.len(),
    };
    ensure!(
        truth.len() as u64 == set.count * set.target_bytes() as u64
            && results.len() as u64 == set.count * record as u64,
        "results and labels are not of one length"
    );
    let outputs = set.labels.len();
    let scores = match set.task {
        Task::Classify => {
            let labels: Vec<u32> = truth
                .as_chunks()
                .0
                .iter()
                .map(|label| u32::from_le_bytes(*label))
                .collect();
            Outcomes::Classify {
                scores: &singles(&results),
                labels: &labels,
                classes: outputs,
            }
            .scores()
        }
        Task::Multilabel => Outcomes::Multilabel {
            scores: &singles(&results),
            targets: &truth,
            classes: outputs,
        }
        .scores(),
        Task::Regress => Outcomes::Regress {
            predictions: &singles(&results),
            targets: &singles(&truth),
            outputs,
        }
        .scores(),
        Task::Segment => {
            let mut confusion = Confusion::new(outputs);
            for (truth, predicted) in truth.iter().zip(&results).filter(|(truth, _)| **truth != NO_CLASS) {
                let (truth, predicted) = (usize::from(*truth), usize::from(*predicted));
                ensure!(
                    truth < outputs && predicted < outputs,
                    "a mask has class {truth}, where the network knows {outputs}; grey masks need --mask-threshold"
                );
                confusion.add(truth, predicted);
            }
            Outcomes::Segment(&confusion).scores()
        }
    };
    Ok(Scores {
        count: set.count,
        scores,
    })
}

impl Scores {
    /// A line each.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for (metric, score) in &self.scores {
            writeln!(text, "{:<18} {score:.4}", metric.name()).expect("a String takes everything");
        }
        text
    }

    /// One object.
    pub(super) fn json(&self) -> String {
        let scores: serde_json::Map<_, _> = self
            .scores
            .iter()
            .map(|(metric, score)| (metric.name().to_owned(), json!(score)))
            .collect();
        format!("{}\n", json!({ "samples": self.count, "scores": scores }))
    }
}

#[cfg(test)]
mod tests {
    use forecastd_models::dasha::{ElementType, InputShape};

    use super::*;

    fn scored(task: Task, truth: &[u8], results: &[u8]) -> anyhow::Result<Scores> {
        let dir = tempfile::tempdir().expect("a folder");
        let (of_truth, of_results) = (dir.path().join("truth"), dir.path().join("results"));
        fs::write(&of_truth, truth).expect("written");
        fs::write(&of_results, results).expect("written");
        let set = SampleSet {
            count: 2,
            input: InputShape {
                bands: 1,
                size: vec![2],
            },
            element: ElementType::U8,
            task,
            labels: vec!["a".to_owned(), "b".to_owned()],
            hash: String::new(),
            cells: Default::default(),
            series: None,
        };
        scores(&set, &of_truth, &of_results)
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn classes_and_masks_are_held_against_the_truth() {
        let results = bytes(&[0.9, 0.1, 0.2, 0.8]);
        let found = scored(Task::Classify, &[0, 0, 0, 0, 1, 0, 0, 0], &results).expect("scored");
        assert!(found.scores.contains(&(Metric::Accuracy, 1.0)), "{found:?}");
        assert!(found.table().starts_with("accuracy           1.0000\n"));
        assert!(found.json().contains("\"samples\":2"));
        let found = scored(Task::Segment, &[0, 1, NO_CLASS, 1], &[0, 1, 1, 0]).expect("scored");
        let accuracy = found.scores.iter().find(|(metric, _)| *metric == Metric::Accuracy);
        assert!((accuracy.expect("it has one").1 - 2.0 / 3.0).abs() < 1e-12);
        let told = scored(Task::Segment, &[0, 200, 0, 1], &[0, 1, 1, 0]).expect_err("greys");
        assert!(told.to_string().contains("--mask-threshold"));
        assert!(scored(Task::Classify, &[0; 4], &results).is_err());
    }
}
