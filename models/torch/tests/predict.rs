//! `--predict` as the daemon starts it: a process that tells how it goes, and does not outlive its parent.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fs, thread, time::Duration};

use forecastd_models::dasha::artifact::FORMAT;
use forecastd_models::dasha::{
    Architecture, Backbone, ElementType, Extras, InputShape, ModelDescription, Normalisation, PredictEvent, SampleSet,
    Scaling, Task,
};
use forecastd_torch::artifact;
use forecastd_torch::nets::Network;
use tch::{Device, nn};
use tempfile::TempDir;

/// An artifact, `artifact`, and so many tiles, `run`.
fn prepared(count: u64) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let backbone = Backbone::WideResNet { depth: 10, width: 1 };
    let input = InputShape {
        bands: 3,
        size: vec![32, 32],
    };
    let description = ModelDescription {
        format: FORMAT,
        architecture: Architecture {
            pattern: backbone.plain_pattern(),
            backbone,
            input: input.clone(),
            task: Task::Classify,
            outputs: 2,
            extras: Extras::default(),
            forecasts: false,
        },
        element: ElementType::U8,
        scaling: Scaling {
            inputs: Normalisation::identity(3),
            targets: None,
        },
        labels: vec!["no".to_owned(), "yes".to_owned()],
        weights_hash: String::new(),
        cells: Default::default(),
        both_strands: false,
        series: None,
    };
    let store = nn::VarStore::new(Device::Cpu);
    Network::new(&store.root(), &description.architecture, 0.0).expect("it can be built");
    artifact::save(&folder.path().join("artifact"), &description, &store.variables(), b"{}").expect("it is saved");

    let set = SampleSet {
        count,
        input,
        element: ElementType::U8,
        task: Task::Classify,
        labels: description.labels,
        hash: String::new(),
        cells: Default::default(),
        series: None,
    };
    let run = folder.path().join("run");
    fs::create_dir(&run).expect("a folder");
    fs::write(run.join("samples.json"), serde_json::to_vec(&set).expect("plain data")).expect("it is written");
    fs::write(run.join("inputs.bin"), vec![1; count as usize * set.input_bytes()]).expect("it is written");
    folder
}

fn start(folder: &Path, artifact: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_forecastd-torch"))
        .args(["--threads", "1", "--predict"])
        .args([folder.join(artifact), folder.join("run")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the executable starts")
}

#[test]
fn a_prediction_ends_with_a_line_that_names_its_file() {
    let folder = prepared(3);
    let mut child = start(folder.path(), "artifact");
    let stdin = child.stdin.take(); // stays open until it is done
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    assert!(output.status.success(), "{output:?}");
    let last = output
        .stdout
        .trim_ascii_end()
        .rsplit(|byte| *byte == b'\n')
        .next()
        .expect("a line");
    let event: PredictEvent = serde_json::from_slice(last).expect("JSON");
    assert!(matches!(event, PredictEvent::Finished { count: 3, file, .. } if file == "scores.bin"));
    assert_eq!(
        fs::metadata(folder.path().join("run/scores.bin"))
            .expect("it is there")
            .len(),
        3 * 2 * 4
    );
}

#[test]
fn a_prediction_ends_with_its_parent_and_leaves_no_result() {
    let folder = prepared(40_000); // minutes
    let mut child = start(folder.path(), "artifact");
    thread::sleep(Duration::from_millis(500));
    drop(child.stdin.take());
    let status = child.wait().expect("it ends");
    assert_eq!(status.signal(), Some(9), "{status}");
    assert!(!folder.path().join("run/scores.bin").exists());
}

#[test]
fn what_cannot_be_used_is_told_on_standard_error() {
    let folder = prepared(1);
    let mut child = start(folder.path(), "nothing");
    let stdin = child.stdin.take();
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("nothing/model.json"),
        "{said}"
    );
}
