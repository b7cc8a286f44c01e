//! `--bench-networks`: what is asked is answered, on the samples of a run. How fast is nobody's to assert.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use forecastd_models::dasha::{BackboneChoice, Task};
use serde_json::Value;

use crate::folder::{job, squares};

fn asked(folder: &Path, questions: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_forecastd-torch"))
        .args(["--threads", "1", "--bench-networks"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the executable starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let written = stdin.write_all((questions.join("\n") + "\n").as_bytes());
    drop(stdin);
    written.expect("it listens");
    child.wait_with_output().expect("it ends")
}

fn answers(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("each line is JSON")
}

#[test]
fn every_question_about_a_run_is_answered_in_turn() {
    let mut job = job(&[3, 5], 1);
    job.backbone = BackboneChoice::WideResnet;
    let folder = squares(Task::Classify, 100).folder(&job); // sixty are for training
    let output = asked(
        folder.path(),
        &[
            r#"{"measure": "train", "steps": 2}"#,
            r#"{"measure": "search", "steps": 1}"#,
            r#"{"measure": "predict", "steps": 3}"#,
            r#"{"measure": "epoch"}"#,
            r#"{"measure": "ways", "layer": {"inputs": 2, "outputs": 4, "size": [8, 8], "samples": 2}, "runs": 1}"#,
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = answers(&output);
    let [ready, took @ .., ways] = &answers[..] else {
        panic!("{answers:?}")
    };
    let ready = &ready["ready"];
    assert_eq!(ready["batch"], 32);
    assert_eq!(ready["prediction_batch"], 60);
    assert_eq!(ready["architecture"]["outputs"], 2);
    let samples: Vec<_> = took
        .iter()
        .filter_map(|answer| answer["took"]["samples"].as_i64())
        .collect();
    assert_eq!(samples, [64, 32, 180, 60]);
    assert_eq!(ways["ways"].as_array().map(Vec::len), Some(4));
}

#[test]
fn what_is_no_question_is_told_and_ends_it() {
    let folder = squares(Task::Classify, 40).folder(&job(&[3], 1));
    for (question, told) in [
        (r#"{"measure": "heat"}"#, "heat"),
        (
            r#"{"measure": "ways", "layer": {"inputs": 0, "outputs": 4, "size": [8], "samples": 2}, "runs": 1}"#,
            "inputs: 0",
        ),
    ] {
        let output = asked(folder.path(), &[question]);
        assert!(!output.status.success());
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains(told), "{complaint}");
    }
}
