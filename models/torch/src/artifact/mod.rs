//! A trained network in a folder: `weights.safetensors`, `model.json`, a `card.json` that is for people and other
//! programs, and `BLAKE3SUMS`, which holds the three to what was written (`b3sum --check BLAKE3SUMS` asks the same).
//!
//! It may come from anywhere. Nothing in it is executed, no name in it is a path, and nothing is built before
//! lengths, hash, every name and every shape have been asked for. Files are read once: what was checked is what is
//! used.

mod error;
mod files;
mod weights;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use forecastd_models::dasha::ModelDescription;
use tch::nn::VarStore;
use tch::{Kind, Tensor};

pub use error::ArtifactError;
pub(crate) use files::replace_file;

use weights::Weights;

const MODEL: &str = "model.json";
const WEIGHTS: &str = "weights.safetensors";
const CARD: &str = "card.json";
const SUMS: &str = "BLAKE3SUMS";

/// The most bytes of a description, or of a card; one of the largest has 65,536 labels.
const MAX_MODEL: u64 = 64 << 20;

/// The most bytes of the sums: three lines.
const MAX_SUMS: u64 = 4096;

/// The most bytes of weights: six times the largest network of the paper.
const MAX_WEIGHTS: u64 = 4 << 30;

/// An artifact that was read, and is sound as far as that can be told without its network.
#[derive(Debug)]
pub struct Artifact {
    folder: PathBuf,
    description: ModelDescription,
    weights: Weights,
}

impl Artifact {
    /// Reads a folder and checks all of it that is not the network's to say.
    ///
    /// # Errors
    ///
    /// The file that is wrong, and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, ArtifactError> {
        let (model_path, weights_path) = (folder.join(MODEL), folder.join(WEIGHTS));
        let text = files::read(&model_path, MAX_MODEL)?;
        let card = files::read(&folder.join(CARD), MAX_MODEL)?;
        let bytes = files::read(&weights_path, MAX_WEIGHTS)?;
        check_sums(folder, &[(WEIGHTS, &bytes), (MODEL, &text), (CARD, &card)])?;
        let wrong = |reason| ArtifactError::in_file(&model_path, reason);
        let description: ModelDescription = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        description.check().map_err(|error| wrong(error.to_string()))?;

        let wrong = |reason| ArtifactError::in_file(&weights_path, reason);
        let found = blake3::hash(&bytes).to_hex();
        if !found.as_str().eq_ignore_ascii_case(&description.weights_hash) {
            let expected = &description.weights_hash;
            return Err(wrong(format!("its BLAKE3 is {found}; {MODEL} says {expected}")));
        }
        let weights = Weights::read(bytes).map_err(wrong)?;
        let (needed, there) = (description.architecture.searched_weights(), weights.elements());
        if needed > there {
            return Err(wrong(format!(
                "{there} weights, where the convolutions alone have {needed}"
            )));
        }
        Ok(Self {
            folder: folder.to_owned(),
            description,
            weights,
        })
    }

    /// All but the weights.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// Gives a network its weights and running statistics, all of them or, if any does not fit, none.
    ///
    /// # Errors
    ///
    /// A name that only one side has, or whose shape differs.
    pub fn load_into(&self, store: &mut VarStore) -> Result<(), ArtifactError> {
        let mut variables: BTreeMap<String, Tensor> = store.variables().into_iter().collect();
        let path = self.folder.join(WEIGHTS);
        self.weights
            .fit(&variables)
            .map_err(|reason| ArtifactError::in_file(&path, reason))?;
        tch::no_grad(|| {
            for (name, variable) in &mut variables {
                variable.copy_(&self.weights.tensor(name));
            }
        });
        Ok(())
    }
}

/// Writes an artifact, in place of an older one if there is one. Whatever happens meanwhile, `folder` holds all of
/// the old one or all of the new.
///
/// `variables` are a network's (`VarStore::variables`), or averages of them; `description.weights_hash` is filled in.
///
/// # Errors
///
/// The description does not fit, a weight is not finite, or the system does not write it.
pub fn save(
    folder: &Path,
    description: &ModelDescription,
    variables: &HashMap<String, Tensor>,
    card: &[u8],
) -> Result<(), ArtifactError> {
    let weights = weights::write(variables).map_err(|reason| ArtifactError::in_file(&folder.join(WEIGHTS), reason))?;
    let description = ModelDescription {
        weights_hash: blake3::hash(&weights).to_hex().to_string(),
        ..description.clone()
    };
    let wrong = |reason| ArtifactError::in_file(&folder.join(MODEL), reason);
    description.check().map_err(|error| wrong(error.to_string()))?;
    let text = serde_json::to_vec_pretty(&description).map_err(|error| wrong(error.to_string()))?;
    let sums = sums(&[(WEIGHTS, &weights), (MODEL, &text), (CARD, card)]);
    let contents = [
        (WEIGHTS, &weights[..]),
        (MODEL, &text),
        (CARD, card),
        (SUMS, sums.as_bytes()),
    ];
    files::replace_folder(folder, &contents)
}

/// A line for each file, as `b3sum` writes it.
fn sums(contents: &[(&str, &[u8])]) -> String {
    let lines = contents
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", blake3::hash(bytes)));
    lines.collect()
}

/// A wrong digit in a description may be another sound one; only its sum tells.
fn check_sums(folder: &Path, contents: &[(&str, &[u8])]) -> Result<(), ArtifactError> {
    let path = folder.join(SUMS);
    let stored = files::read(&path, MAX_SUMS)?;
    let expected = sums(contents);
    if stored == expected.as_bytes() {
        return Ok(());
    }
    let stored = String::from_utf8_lossy(&stored);
    let differs = contents
        .iter()
        .zip(expected.lines())
        .find(|(_, line)| !stored.lines().any(|stored| stored == *line));
    Err(match differs {
        Some(((name, _), _)) => ArtifactError::in_file(&folder.join(name), format!("its BLAKE3 is not that of {SUMS}")),
        None => ArtifactError::in_file(&path, "more than a line for each file".to_owned()),
    })
}

/// A tensor as it is stored.
fn plain(tensor: &Tensor) -> Tensor {
    tensor
        .detach()
        .to_device(tch::Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous()
}

#[cfg(test)]
pub(crate) mod tests;
