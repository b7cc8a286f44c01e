//! Results in files are those of the network, in the units of the targets.

use std::fs;

use forecastd_models::dasha::{Backbone, ElementType, Normalisation, Scale};
use tch::nn::{self, ModuleT};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use super::*;
use crate::artifact::save;
use crate::artifact::tests::{described, network};
use crate::nets::Network;
use crate::samples::tests::{described as samples_of, folder};

/// An artifact of random weights, and what is to be predicted; the folder of the artifact first.
struct Case {
    artifact: TempDir,
    samples: TempDir,
    inputs: Tensor,
    network: Network,
    _store: nn::VarStore,
}

const COUNT: i64 = 5;

fn case(description: &ModelDescription) -> Case {
    let architecture = &description.architecture;
    let (store, network) = network(description);
    let artifact = tempfile::tempdir().expect("a folder");
    save(&artifact.path().join("a"), description, &store.variables(), b"").expect("it is saved");
    let size: Vec<i64> = architecture.input.size.iter().copied().map(i64::from).collect();
    let shape = [&[COUNT, i64::from(architecture.input.bands)], &size[..]].concat();
    let inputs = Tensor::randn(&shape[..], (Kind::Float, Device::Cpu));
    let set = samples_of(
        COUNT as u64,
        architecture.input.bands,
        &architecture.input.size,
        ElementType::F32,
        architecture.task,
        architecture.outputs,
    );
    let values: Vec<f32> = Vec::try_from(inputs.flatten(0, -1)).expect("numbers");
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    Case {
        artifact,
        samples: folder(&set, &bytes, &[], &[]),
        inputs,
        network,
        _store: store,
    }
}

impl Case {
    fn run(&self) -> anyhow::Result<Vec<PredictEvent>> {
        let mut events = Vec::new();
        let artifact = self.artifact.path().join("a");
        let placement = Placement::on_cpu();
        run(&artifact, self.samples.path(), &placement, &mut |event| {
            events.push(event.clone());
        })?;
        Ok(events)
    }

    fn outputs(&self) -> Tensor {
        tch::no_grad(|| self.network.forward_t(&self.inputs, false))
    }

    fn scores(&self) -> Tensor {
        let bytes = fs::read(self.samples.path().join("scores.bin")).expect("it was written");
        Tensor::from_data_size(&bytes, &[COUNT, 2], Kind::Float)
    }
}

fn regression() -> ModelDescription {
    let mut description = described();
    description.architecture.task = Task::Regress;
    description.scaling.targets = Some(Normalisation(vec![
        Scale {
            mean: 100.0,
            deviation: 10.0,
        };
        2
    ]));
    description
}

#[test]
fn classes_have_probabilities() {
    let case = case(&described());
    let events = case.run().expect("it runs");
    assert!(matches!(events.last(), Some(PredictEvent::Finished { count: 5, file, .. }) if file == "scores.bin"));
    let expected = case.outputs().softmax(1, Kind::Float);
    assert!(case.scores().allclose(&expected, 1e-5, 1e-6, false));
}

#[test]
fn each_of_many_labels_has_its_own_probability() {
    let mut description = described();
    description.architecture.task = Task::Multilabel;
    let case = case(&description);
    case.run().expect("it runs");
    assert!(case.scores().allclose(&case.outputs().sigmoid(), 1e-5, 1e-6, false));
}

#[test]
fn numbers_come_in_their_own_units() {
    let case = case(&regression());
    case.run().expect("it runs");
    assert!(
        case.scores()
            .allclose(&(case.outputs() * 10.0 + 100.0), 1e-5, 1e-4, false)
    );
}

#[test]
fn pixels_have_classes() {
    let mut description = described();
    let architecture = &mut description.architecture;
    architecture.task = Task::Segment;
    architecture.backbone = Backbone::UNet { widths: vec![2, 4] };
    architecture.pattern = architecture.backbone.plain_pattern();
    architecture.input.size = vec![8, 12];
    let case = case(&description);
    let events = case.run().expect("it runs");
    assert!(matches!(events.last(), Some(PredictEvent::Finished { file, .. }) if file == "classes.bin"));
    let classes = fs::read(case.samples.path().join("classes.bin")).expect("it was written");
    let expected = case.outputs().argmax(1, false).to_kind(Kind::Uint8).flatten(0, -1);
    assert_eq!(classes, Vec::<u8>::try_from(expected).expect("bytes"));
}

#[test]
fn samples_of_another_kind_are_refused() {
    let case = case(&described());
    let rewrite = |set: &SampleSet, bytes: usize| {
        let text = serde_json::to_vec(set).expect("plain data");
        fs::write(case.samples.path().join("samples.json"), text).expect("it is written");
        fs::write(case.samples.path().join("inputs.bin"), vec![0; bytes]).expect("it is written");
        let told = case.run().expect_err("it does not fit").to_string();
        assert!(!case.samples.path().join("scores.bin").exists());
        told
    };
    let longer = samples_of(1, 1, &[17], ElementType::F32, Task::Classify, 2);
    assert!(rewrite(&longer, 68).contains("size [17]; the network takes 1 bands and size [16]"));
    let bytes = samples_of(1, 1, &[16], ElementType::U8, Task::Classify, 2);
    assert!(rewrite(&bytes, 16).contains("trained on F32"));
}

#[test]
fn a_value_that_is_not_finite_is_told_and_no_result_is_left() {
    let case = case(&described());
    let path = case.samples.path().join("inputs.bin");
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[2 * 64 + 4..2 * 64 + 8].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).expect("it is written");
    let told = format!("{:#}", case.run().expect_err("NaN"));
    assert!(told.contains("sample 2: band 0, position 1: NaN"), "{told}");
    assert!(!case.samples.path().join("scores.bin").exists());
}
