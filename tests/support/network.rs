//! Small networks: their samples, the command that makes them, and changes to what was made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use super::{forecastd, skip};

/// The executable of libtorch's side, if the environment names it. In CI it must.
pub fn executable() -> Option<String> {
    std::env::var("FORECASTD_TORCH")
        .ok()
        .or_else(|| skip("FORECASTD_TORCH does not name forecastd-torch"))
}

/// Sequences of which half have a motif somewhere; the same for the same seed.
pub fn sequences(folder: &Path, name: &str, length: u64, count: u64) -> PathBuf {
    let mut state = 7_u64;
    let mut random = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let (mut texts, mut labels, mut splits, mut ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..count {
        let mut text: Vec<u8> = (0..length).map(|_| b"ACGT"[random(4) as usize]).collect();
        let label = random(2) as i32;
        if label == 1 {
            let start = random(length - 8) as usize;
            text[start..start + 8].copy_from_slice(b"TTGACATA");
        }
        texts.push(String::from_utf8(text).unwrap());
        labels.push(label);
        splits.push(["train", "train", "train", "dev", "test"][(row % 5) as usize]);
        ids.push(format!("s{row}"));
    }
    let path = folder.join(name);
    write(
        &path,
        vec![
            ("sequence", Arc::new(StringArray::from(texts))),
            ("label", Arc::new(Int32Array::from(labels))),
            ("split", Arc::new(StringArray::from(splits))),
            ("name", Arc::new(StringArray::from(ids))),
        ],
    );
    path
}

/// A parquet file of these columns.
pub fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The command, with budgets for a test.
pub fn dasha<'a>(file: &'a str, out: &'a str, executable: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["dasha", file, "--task", "classify", "--input", "sequence", "--out", out];
    arguments.extend([
        "--executable",
        executable,
        "--backbone",
        "wide_resnet",
        "--scale",
        "small",
    ]);
    arguments.extend([
        "--search-epochs",
        "1",
        "--trials",
        "3",
        "--variations",
        "silu",
        "--max-epochs",
        "2",
        "--retrain-epochs",
        "3",
    ]);
    arguments.extend(["--threads", "1", "--batch", "32"]);
    arguments
}

/// An artifact of a network that tells sequences of this length with a motif from those without.
pub fn artifact(folder: &Path, executable: &str, length: u64) -> PathBuf {
    let file = sequences(folder, &format!("of-{length}.parquet"), length, 100);
    let out = folder.join(format!("of-{length}"));
    let output = forecastd(&dasha(file.to_str().unwrap(), out.to_str().unwrap(), executable));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

/// A sound artifact of the same network with other weights: each `factor` times as large.
pub fn scaled(artifact: &Path, to: &Path, factor: f32) {
    reweighted(artifact, to, |weights| {
        let header = 8 + u64::from_le_bytes(*weights.first_chunk().unwrap()) as usize;
        let (head, data) = weights.split_at(header);
        let values = data
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes) * factor);
        [head, &values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()].concat()
    });
}

/// An artifact of which one tensor has a name that no network has: only who builds the network can tell.
pub fn renamed(artifact: &Path, to: &Path) {
    reweighted(artifact, to, |weights| {
        let mut weights = weights.to_vec();
        let place = weights.windows(7).position(|name| name == b"weight\"").unwrap();
        weights[place] = b'h';
        weights
    });
}

/// An artifact of other weights, its sums right.
fn reweighted(artifact: &Path, to: &Path, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    let weights = fs::read(artifact.join("weights.safetensors")).unwrap();
    let before = blake3::hash(&weights).to_hex();
    let weights = change(&weights);
    let after = blake3::hash(&weights).to_hex();
    rewritten(
        artifact,
        to,
        |model| model.replace(before.as_str(), after.as_str()),
        &weights,
    );
}

/// An artifact whose description was changed by somebody who means to deceive: its sums are right.
pub fn described_otherwise(artifact: &Path, to: &Path, change: impl FnOnce(String) -> String) {
    let weights = fs::read(artifact.join("weights.safetensors")).unwrap();
    rewritten(artifact, to, change, &weights);
}

fn rewritten(artifact: &Path, to: &Path, change: impl FnOnce(String) -> String, weights: &[u8]) {
    let model = change(fs::read_to_string(artifact.join("model.json")).unwrap());
    let card = fs::read(artifact.join("card.json")).unwrap();
    fs::create_dir(to).unwrap();
    let mut sums = String::new();
    for (name, bytes) in [
        ("weights.safetensors", weights),
        ("model.json", model.as_bytes()),
        ("card.json", &card),
    ] {
        fs::write(to.join(name), bytes).unwrap();
        sums += &format!("{}  {name}\n", blake3::hash(bytes));
    }
    fs::write(to.join("BLAKE3SUMS"), sums).unwrap();
}
