//! From a parquet file to a network, from the network to predictions: the commands with the real child, and what is
//! said where there is nothing to train.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float32Array, Int32Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http::ask;
use crate::support::network::{dasha, executable, sequences, write};
use crate::support::{Environment, forecastd, wait_for};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_file_becomes_a_network_that_predicts_and_is_inspected() {
    let Some(executable) = executable() else { return };
    let dir = TempDir::new().unwrap();
    let file = sequences(dir.path(), "motif.parquet", 40, 300);
    let out = dir.path().join("motif");
    let arguments = dasha(text(&file), text(&out), &executable);
    let output = forecastd(&[&arguments[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let card: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&card["data"]["train"], &card["data"]["test"]),
        (&180.into(), &60.into())
    );
    assert!(
        stderr(&output).contains("splits are by column \"split\""),
        "{}",
        stderr(&output)
    );
    for name in [
        "weights.safetensors",
        "model.json",
        "card.json",
        "BLAKE3SUMS",
        "README.md",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }
    for name in ["kernels.svg", "trials.svg", "score.svg", "loss.svg", "confusion.svg"] {
        let picture = fs::read_to_string(out.join(name)).unwrap();
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"), "{name}");
        assert!(
            fs::read_to_string(out.join("README.md")).unwrap().contains(name),
            "{name}"
        );
    }
    assert!(!out.join(".run").exists());
    let tried = &card["trials"][2]["candidate"];
    assert_eq!(
        tried["extras"]["activation"], "silu",
        "after the searched and the plain kernels"
    );
    let page = fs::read_to_string(out.join("README.md")).unwrap();
    let row = |line: &&str| line.starts_with("| `resnet_32` | silu |");
    assert_eq!(page.lines().filter(row).count(), 1, "{page}");
    assert!(page.lines().any(|line| line.ends_with("| chosen |")), "{page}");

    let again = forecastd(&arguments);
    assert!(stderr(&again).contains("holds an artifact"), "{}", stderr(&again));

    let inspected = forecastd(&["inspect", text(&out), "--json"]);
    assert!(inspected.status.success(), "{}", stderr(&inspected));
    let told: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(told["card"]["data"]["hash"], card["data"]["hash"]);

    let predictions = dir.path().join("predictions.parquet");
    let predict = [
        "predict",
        text(&out),
        text(&file),
        "--out",
        text(&predictions),
        "--id",
        "name",
    ];
    let output = forecastd(&[&predict[..], &["--executable", &executable, "--json", "--threads", "1"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(scores["samples"], 300);
    assert!(scores["scores"]["accuracy"].as_f64().unwrap() > 0.0);
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&predictions).unwrap()).unwrap();
    let rows: Vec<RecordBatch> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
    let columns: Vec<_> = rows[0]
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(columns, ["name", "label", "probability", "score_0", "score_1"]);
    assert_eq!(
        (rows[0].column(0).as_string::<i32>().value(1), rows[0].column(0).len()),
        ("s1", 300)
    );

    let mut weights = fs::read(out.join("weights.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(out.join("weights.safetensors"), weights).unwrap();
    let told = stderr(&forecastd(&["inspect", text(&out)]));
    assert!(
        told.contains("weights.safetensors: its BLAKE3 is not that of BLAKE3SUMS"),
        "{told}"
    );
}

#[test]
fn a_killed_run_goes_on_with_the_same_command_and_with_no_other() {
    let Some(executable) = executable() else { return };
    let dir = TempDir::new().unwrap();
    let file = sequences(dir.path(), "motif.parquet", 40, 300);
    let out = dir.path().join("motif");
    let arguments = dasha(text(&file), text(&out), &executable);
    let mut child = Command::new(env!("CARGO_BIN_EXE_forecastd"))
        .args(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the samples", || out.join(".run/samples.json").exists().then_some(()));
    thread::sleep(Duration::from_millis(1500));
    child.kill().unwrap();
    child.wait().unwrap();
    if !out.join("card.json").exists() {
        let other = forecastd(&[&arguments[..], &["--seed", "9"]].concat());
        assert!(!other.status.success());
        assert!(stderr(&other).contains("job.seed was 0 and is 9"), "{}", stderr(&other));
        let output = forecastd(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("going on where an earlier run"),
            "{}",
            stderr(&output)
        );
    }
    assert!(out.join("card.json").is_file());
}

#[test]
fn what_cannot_be_trained_is_told_before_anything_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("bad.parquet");
    let out = dir.path().join("out");
    let texts = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let told = |columns: Vec<(&str, ArrayRef)>| {
        write(&path, columns);
        let output = forecastd(&dasha(text(&path), text(&out), "/nowhere/forecastd-torch"));
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(!out.exists(), "nothing is left of a run that never was");
        stderr(&output)
    };
    let labels = || -> ArrayRef { Arc::new(Int32Array::from(vec![0, 1, -1, 1])) };
    let splits = || texts(&["train", "train", "val", "test"]);
    let sound = || texts(&["ACGT", "AC", "GG", "T"]);
    let said = told(vec![("sequence", sound()), ("label", labels()), ("split", splits())]);
    assert!(
        said.contains("bad.parquet: row 2, column \"label\": label -1 is negative"),
        "{said}"
    );
    let labels = || -> ArrayRef { Arc::new(Int32Array::from(vec![0, 1, 0, 1])) };
    let said = told(vec![("sequence", texts(&["ACGT", "", "GG", "T"])), ("label", labels())]);
    assert!(said.contains("row 1, column \"sequence\": an empty sequence"), "{said}");
    let said = told(vec![("dna_text", sound()), ("label", labels())]);
    assert!(
        said.contains("name it with --image; the file has \"dna_text\", \"label\""),
        "{said}"
    );

    write(
        &path,
        vec![("sequence", sound()), ("label", labels()), ("split", splits())],
    );
    let output = forecastd(&dasha(text(&path), text(&out), "/nowhere/forecastd-torch"));
    assert!(
        stderr(&output).contains("/nowhere/forecastd-torch not found"),
        "{}",
        stderr(&output)
    );
    let output = forecastd(&["inspect", text(dir.path())]);
    assert!(stderr(&output).contains("weights.safetensors"), "{}", stderr(&output));
}

/// Tiles of 16×16 pixels and two bands, the pixels of a band together, on which a brighter square lies; its mask in
/// greys, its edge as a number, and whether it lies on the left and at the top.
fn squares(folder: &Path, count: u64) -> PathBuf {
    const EDGE: usize = 16;
    let (mut tiles, mut masks, mut edges, mut places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..count as usize {
        let (top, left, edge) = (row * 5 % 9, row * 7 % 8, 4 + row % 4);
        let mut tile = vec![20_u8; 2 * EDGE * EDGE];
        let mut mask = vec![90_u8; EDGE * EDGE];
        for y in top..top + edge {
            for x in left..left + edge {
                tile[y * EDGE + x] = 200;
                mask[y * EDGE + x] = 110;
            }
        }
        tiles.push(tile);
        masks.push(mask);
        edges.push(edge as f32);
        let places_of = [("left", left < 4), ("top", top < 4)];
        let there = places_of.iter().filter(|(_, is_there)| *is_there);
        places.push(Some(there.map(|(name, _)| Some(*name)).collect::<Vec<_>>()));
    }
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.extend(places);
    let path = folder.join("squares.parquet");
    write(
        &path,
        vec![
            ("image", Arc::new(BinaryArray::from_iter_values(tiles))),
            ("mask", Arc::new(BinaryArray::from_iter_values(masks))),
            ("edge", Arc::new(Float32Array::from(edges))),
            ("places", Arc::new(lists.finish())),
        ],
    );
    path
}

/// The command for tiles, with budgets for a test.
fn dasha_tiles<'a>(file: &'a str, out: &'a str, executable: &'a str, asked: [&'a str; 4]) -> Vec<&'a str> {
    let [task, label, backbone, scale] = asked;
    let mut arguments = vec!["dasha", file, "--task", task, "--label", label, "--backbone", backbone];
    arguments.extend(["--scale", scale, "--out", out, "--executable", executable]);
    arguments.extend(["--input", "image", "--shape", "2,16,16", "--layout", "chw"]);
    arguments.extend(["--search-epochs", "1", "--trials", "0", "--retrain-epochs", "4"]);
    arguments.extend(["--threads", "1", "--batch", "8"]);
    arguments
}

#[test]
fn later_samples_are_read_as_those_of_the_training_were() {
    let Some(executable) = executable() else { return };
    let dir = TempDir::new().unwrap();
    let file = squares(dir.path(), 60);
    let out = dir.path().join("squares");
    let arguments = dasha_tiles(
        text(&file),
        text(&out),
        &executable,
        ["segment", "mask", "unet", "small"],
    );
    let output = forecastd(&[&arguments[..], &["--mask-threshold", "100"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));

    let masks = dir.path().join("masks.parquet");
    let predicted = |more: &[&str]| {
        let predict = ["predict", text(&out), text(&file), "--out", text(&masks)];
        let child = [
            "--executable",
            &executable,
            "--threads",
            "1",
            "--label",
            "mask",
            "--json",
        ];
        let output = forecastd(&[&predict[..], &child, more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
        scores["scores"]["mean_iou"].as_f64().unwrap()
    };
    let plainly = predicted(&[]);
    assert_eq!(plainly, predicted(&["--layout", "chw", "--mask-threshold", "100"]));
    assert_ne!(plainly, predicted(&["--layout", "hwc"]), "what is asked for goes first");
}

#[test]
fn numbers_and_several_labels_are_learnt_and_predicted_too() {
    let Some(executable) = executable() else { return };
    let dir = TempDir::new().unwrap();
    let file = squares(dir.path(), 60);
    for (task, label, metric, columns) in [
        ("regress", "edge", "negative_rmse", &["row", "edge"][..]),
        (
            "multilabel",
            "places",
            "macro_ap",
            &["row", "labels", "score_left", "score_top"],
        ),
    ] {
        let out = dir.path().join(task);
        let arguments = dasha_tiles(
            text(&file),
            text(&out),
            &executable,
            [task, label, "wide_resnet", "small"],
        );
        let output = forecastd(&[&arguments[..], &["--json"]].concat());
        assert!(output.status.success(), "{task}: {}", stderr(&output));
        let card: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(card["test"]["scores"][metric].is_f64(), "{task}: {}", card["test"]);

        let predictions = dir.path().join("predictions.parquet");
        let predict = [
            "predict",
            text(&out),
            text(&file),
            "--out",
            text(&predictions),
            "--label",
            label,
        ];
        let output = forecastd(&[&predict[..], &["--executable", &executable, "--threads", "1"]].concat());
        assert!(output.status.success(), "{task}: {}", stderr(&output));
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&predictions).unwrap()).unwrap();
        let names: Vec<_> = reader
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(names, columns);
    }
}

/// Drops what the command wrote into the folder of a model, as a careful copier does.
fn hand_over(artifact: &Path, environment: &Environment, model: &str) {
    let folder = environment.path(format!("incoming/{model}"));
    let hidden = folder.join(".artifact.tmp");
    fs::create_dir_all(&hidden).unwrap();
    for entry in fs::read_dir(artifact).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), hidden.join(entry.file_name())).unwrap();
    }
    fs::rename(hidden, folder.join("artifact")).unwrap();
}

#[test]
fn what_the_command_writes_is_served_by_a_daemon_that_has_nothing_but_models() {
    let Some(executable) = executable() else { return };
    let environment = Environment::with_datasets("");
    let file = squares(&environment.path("."), 60);
    let tasks = [
        ("regress", "edge", "values", vec![1, 1]),
        ("multilabel", "places", "probabilities", vec![1, 2]),
        ("segment", "mask", "classes", vec![1, 16, 16]),
    ];
    let mut config = format!(
        "state_dir: ./state\nhttp: {{ listen: \"127.0.0.1:0\" }}\ntorch: {{ executable: {executable} }}\nmodels:\n"
    );
    for (task, ..) in &tasks {
        config +=
            &format!("  - {{ name: {task}, incoming: ./incoming/{task}, landing: {{ scan_interval: 200ms }} }}\n");
    }
    environment.write_config(&config);
    let daemon = environment.start();
    wait_for("readiness", || (daemon.get("/-/ready").0 == 200).then_some(()));
    assert!(
        daemon.get("/").1.contains("/metrics"),
        "the page for people has nothing to show and says so"
    );
    for (task, label, output, shape) in tasks {
        let out = environment.path(task);
        let backbone = if task == "segment" { "unet" } else { "wide_resnet" };
        let arguments = dasha_tiles(text(&file), text(&out), &executable, [task, label, backbone, "small"]);
        let threshold = ["--mask-threshold", "100"];
        let more = if task == "segment" { &threshold[..] } else { &[] };
        let made = forecastd(&[&arguments[..], more].concat());
        assert!(made.status.success(), "{}", stderr(&made));
        hand_over(&out, &environment, task);
        wait_for(&format!("{task}; the log:\n{}", daemon.log()), || {
            (daemon.get(&format!("/v2/models/{task}/ready")).0 == 200).then_some(())
        });
        let tile = json!({ "name": "input", "datatype": "UINT8", "shape": [1, 2, 16, 16], "data": vec![20; 512] });
        let body = json!({ "inputs": [tile] }).to_string();
        let path = format!("/v2/models/{task}/infer");
        let answer = ask(daemon.address(), "POST", &path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{task}: {answer:?}");
        let said = &answer.json()["outputs"][0];
        assert_eq!(
            (&said["name"], &said["shape"]),
            (&json!(output), &json!(shape)),
            "{said}"
        );
    }
    assert!(daemon.stop().success());
    environment.fsck();
}
