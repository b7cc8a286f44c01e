//! An artifact as far as it can be told without libtorch: sums, description, and the weights' own file.
//!
//! The child checks the same and more, name by name, before it builds a network; here a folder is judged on machines
//! that have no libtorch.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use forecastd_models::dasha::ModelDescription;
use forecastd_models::dasha::card::Card;

use crate::intake::artifact::weights::{Tensor, read_head};

/// What has sums, as the child writes them.
const SUMMED: [&str; 3] = ["weights.safetensors", "model.json", "card.json"];

/// Bytes of a description or a card, at most.
const MAX_TEXT: u64 = 64 << 20;

/// Bytes of weights, at most.
const MAX_WEIGHTS: u64 = 4 << 30;

/// An artifact that is sound as far as that can be told.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) description: ModelDescription,
    /// None where another version wrote it.
    pub(super) card: Option<Card>,
    pub(super) tensors: usize,
    /// Numbers in all tensors, running statistics included.
    pub(super) numbers: u64,
}

/// Reads and checks a folder.
pub(super) fn open(folder: &Path) -> anyhow::Result<Artifact> {
    ensure!(folder.is_dir(), "{}: no such folder", folder.display());
    let weights = read(folder, "weights.safetensors", MAX_WEIGHTS)?;
    let model = read(folder, "model.json", MAX_TEXT)?;
    let card = read(folder, "card.json", MAX_TEXT)?;
    check_sums(folder, [&weights, &model, &card])?;
    let in_file = |name: &str| folder.join(name).display().to_string();
    let description: ModelDescription = serde_json::from_slice(&model).with_context(|| in_file("model.json"))?;
    description.check().with_context(|| in_file("model.json"))?;
    let found = blake3::hash(&weights).to_hex();
    ensure!(
        found.as_str().eq_ignore_ascii_case(&description.weights_hash),
        "{}: its BLAKE3 is {found}; model.json says {}",
        in_file("weights.safetensors"),
        description.weights_hash
    );
    let (tensors, numbers) = check_weights(&weights).with_context(|| in_file("weights.safetensors"))?;
    let needed = description.architecture.searched_weights();
    ensure!(
        needed <= u128::from(numbers),
        "{}: {numbers} weights, where the convolutions alone have {needed}",
        in_file("weights.safetensors")
    );
    Ok(Artifact {
        description,
        card: serde_json::from_slice(&card).ok(),
        tensors,
        numbers,
    })
}

fn read(folder: &Path, name: &str, most: u64) -> anyhow::Result<Vec<u8>> {
    let path = folder.join(name);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    let read = read.with_context(|| path.display().to_string())?;
    ensure!(read as u64 <= most, "{}: more than {most} bytes", path.display());
    Ok(bytes)
}

fn check_sums(folder: &Path, contents: [&Vec<u8>; 3]) -> anyhow::Result<()> {
    let sums = String::from_utf8(read(folder, "BLAKE3SUMS", MAX_TEXT)?).unwrap_or_default();
    for (name, bytes) in SUMMED.into_iter().zip(contents) {
        let line = format!("{}  {name}", blake3::hash(bytes));
        if !sums.lines().any(|stored| stored == line) {
            bail!("{}: its BLAKE3 is not that of BLAKE3SUMS", folder.join(name).display());
        }
    }
    Ok(())
}

/// Every tensor in its place, every byte in a tensor, every number finite; how many there are of both.
fn check_weights(bytes: &[u8]) -> anyhow::Result<(usize, u64)> {
    let head = read_head(&mut &bytes[..], bytes.len() as u64)?.map_err(anyhow::Error::msg)?;
    let data = &bytes[head.length as usize..];
    for Tensor { name, from, to } in &head.tensors {
        let values = data[*from as usize..*to as usize].as_chunks().0;
        if let Some(place) = values.iter().position(|value| !f32::from_le_bytes(*value).is_finite()) {
            bail!("tensor {name:?}: value {place} is not finite");
        }
    }
    Ok((head.tensors.len(), head.numbers()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(header: &str, values: &[f32]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    #[test]
    fn weights_lie_end_to_end_and_are_finite() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let sound = weights(header, &[1.0, 2.0, 3.0]);
        assert_eq!(check_weights(&sound).expect("sound"), (2, 3));
        let told = |bytes: &[u8]| check_weights(bytes).expect_err("unsound").to_string();
        assert_eq!(
            told(&weights(header, &[1.0, 2.0, f32::NAN])),
            "tensor \"a\": value 1 is not finite"
        );
        assert_eq!(
            told(&weights(header, &[1.0, 2.0])),
            "tensor \"a\" does not lie where its shape says"
        );
        assert_eq!(told(&weights(header, &[0.0; 4])), "4 bytes belong to no tensor");
        assert!(told(&sound[..7]).contains("only 7 bytes"));
        assert!(told(&u64::MAX.to_le_bytes()).contains("a header of"));
        assert!(told(&weights(&header.replace("F32", "F64"), &[0.0; 3])).contains("is of type F64"));
    }
}
