//! Artifacts made by hand: what `forecastd dasha` writes, small, and with the scores that a story needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use forecastd_models::dasha::artifact::FORMAT;
use forecastd_models::dasha::card::{
    CARD_FORMAT, Candidate, Card, Chosen, DataRecord, Environment, Evaluation, RetrainRecord, StageSeconds,
};
use forecastd_models::dasha::plan::EpochPlan;
use forecastd_models::dasha::{
    Architecture, Backbone, BackboneChoice, Budget, CellFormat, DashaJob, ElementType, Extras, HyperParameters,
    InputShape, Metric, ModelDescription, Normalisation, ScaleChoice, Scaling, SearchSpace, Task, TrainingOptions,
};

/// Numbers in the only tensor: enough for the convolutions of the network.
const NUMBERS: usize = 1000;

/// An artifact that is yet to be written.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub description: ModelDescription,
    pub card: Card,
    /// What every weight is.
    pub weight: f32,
}

impl Artifact {
    /// A network of two classes with this accuracy on validation. Its weights are its own.
    pub fn scoring(accuracy: f64) -> Self {
        let backbone = Backbone::ResNet { width: 2 };
        let architecture = Architecture {
            pattern: backbone.plain_pattern(),
            backbone: backbone.clone(),
            input: InputShape {
                bands: 1,
                size: vec![16],
            },
            task: Task::Classify,
            outputs: 2,
            extras: Extras::default(),
            forecasts: false,
        };
        let labels = vec!["no".to_owned(), "yes".to_owned()];
        Self {
            card: card(&architecture, &labels, accuracy),
            description: ModelDescription {
                format: FORMAT,
                architecture,
                element: ElementType::F32,
                cells: CellFormat::default(),
                both_strands: false,
                scaling: Scaling {
                    inputs: Normalisation::identity(1),
                    targets: None,
                },
                labels,
                weights_hash: String::new(),
                series: None,
            },
            weight: accuracy as f32,
        }
    }

    /// The same with other names of its classes.
    pub fn with_labels(mut self, labels: [&str; 2]) -> Self {
        self.description.labels = labels.map(str::to_owned).to_vec();
        self.card.data.labels.clone_from(&self.description.labels);
        self
    }

    /// Writes it into a new folder; the BLAKE3 of its sums, which is its version.
    pub fn write(&self, folder: &Path) -> String {
        fs::create_dir_all(folder).expect("a folder");
        let weights = weights(&[self.weight; NUMBERS]);
        let description = ModelDescription {
            weights_hash: blake3::hash(&weights).to_string(),
            ..self.description.clone()
        };
        let model = serde_json::to_vec_pretty(&description).expect("plain data");
        let card = serde_json::to_vec_pretty(&self.card).expect("plain data");
        for (name, bytes) in [
            ("weights.safetensors", &weights),
            ("model.json", &model),
            ("card.json", &card),
        ] {
            fs::write(folder.join(name), bytes).expect("written");
        }
        sum_up(folder)
    }
}

/// Writes the sums of what lies in a folder, as somebody does who means to deceive; their own BLAKE3.
pub fn sum_up(folder: &Path) -> String {
    let line = |name: &str| {
        let bytes = fs::read(folder.join(name)).expect("it is there");
        format!("{}  {name}\n", blake3::hash(&bytes))
    };
    let sums: String = ["weights.safetensors", "model.json", "card.json"].map(line).concat();
    fs::write(folder.join("BLAKE3SUMS"), &sums).expect("written");
    blake3::hash(sums.as_bytes()).to_string()
}

fn weights(values: &[f32]) -> Vec<u8> {
    let bytes = 4 * values.len();
    let header = format!(
        r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{bytes}]}}}}"#,
        values.len()
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file
}

fn card(architecture: &Architecture, labels: &[String], accuracy: f64) -> Card {
    let evaluation = Evaluation {
        scores: BTreeMap::from([(Metric::Accuracy, accuracy)]),
        ..Evaluation::default()
    };
    Card {
        format: CARD_FORMAT,
        job: DashaJob {
            backbone: BackboneChoice::Auto,
            scale: ScaleChoice::Small,
            space: SearchSpace {
                kernel_sizes: vec![3],
                dilations: vec![1],
            },
            budget: Budget::default(),
            network: None,
            batch: None,
            training: TrainingOptions::default(),
            seed: 0,
        },
        data: DataRecord {
            hash: "0".repeat(64),
            train: 10,
            validation: 10,
            test: 10,
            labels: labels.to_vec(),
            class_counts: vec![5, 5],
        },
        metric: Metric::Accuracy,
        architecture: architecture.clone(),
        parameters: NUMBERS as u64,
        chosen: Chosen {
            trial: None,
            candidate: Candidate {
                backbone: architecture.backbone.clone(),
                pattern: architecture.pattern.clone(),
                searched: false,
                extras: Extras::default(),
            },
            hyper_parameters: HyperParameters::default(),
            epoch: 1,
            averaged: false,
        },
        validation: evaluation.clone(),
        test: Some(evaluation),
        searches: Vec::new(),
        trials: Vec::new(),
        rungs: Vec::new(),
        retrain: RetrainRecord {
            plan: EpochPlan { epochs: 1, part: 1.0 },
            trials: None,
            epochs: Vec::new(),
        },
        seconds: StageSeconds::default(),
        environment: Environment {
            forecastd: "0".to_owned(),
            libtorch: "0".to_owned(),
            device: "cpu".to_owned(),
            threads: 1,
            processes: 1,
        },
    }
}
