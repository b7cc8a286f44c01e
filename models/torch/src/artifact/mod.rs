//! A trained network in a folder: `weights.safetensors`, `model.json`, and a `card.json` that is for people and other
//! programs.
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

/// The most bytes of a description; one of the largest has 65,536 labels.
const MAX_MODEL: u64 = 64 << 20;

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
        let wrong = |reason| ArtifactError::in_file(&model_path, reason);
        let description: ModelDescription = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        description.check().map_err(|error| wrong(error.to_string()))?;

        let bytes = files::read(&weights_path, MAX_WEIGHTS)?;
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
    files::replace_folder(folder, &[(WEIGHTS, &weights), (MODEL, &text), (CARD, card)])
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
