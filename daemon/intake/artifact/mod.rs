//! A folder becomes a model: a dropped artifact, from a name in a listing to files that are surely what their sums say.
//!
//! An artifact may come from anywhere. Nothing in it is executed, no name in it is a path, links are not followed, and
//! everything that is read has a bound. `look` says whether a folder is whole, for whoever waits for it; `claim` makes a
//! private copy and checks that. Whether the weights are the network's, name by name, the libtorch child says when it
//! builds it.

pub mod claim;
pub mod look;
pub mod weights;

use forecastd_models::dasha::artifact::ARTIFACT_FILES;

/// What `forecastd dasha` writes beside the artifact, for people: let in, and not looked at.
const FOR_PEOPLE: [&str; 6] = [
    "README.md",
    "kernels.svg",
    "trials.svg",
    "score.svg",
    "loss.svg",
    "confusion.svg",
];

const WEIGHTS: &str = "weights.safetensors";
const MODEL: &str = "model.json";
const CARD: &str = "card.json";
const SUMS: &str = "BLAKE3SUMS";

/// What has sums, in the order of their lines.
const SUMMED: [&str; 3] = [WEIGHTS, MODEL, CARD];

/// Bytes of weights, at most.
const MOST_WEIGHTS: u64 = 4 << 30;

/// Bytes of a description or a card, at most. They are decoded in the daemon itself, into plain numbers and words.
const MOST_TEXT: u64 = 16 << 20;

/// Bytes of the sums, at most: a line for each file.
const MOST_SUMS: u64 = 4096;

fn is_known(name: &str) -> bool {
    ARTIFACT_FILES.contains(&name) || FOR_PEOPLE.contains(&name)
}

/// How long a file of an artifact may be.
fn most(name: &str) -> u64 {
    match name {
        WEIGHTS => MOST_WEIGHTS,
        SUMS => MOST_SUMS,
        _ => MOST_TEXT,
    }
}

#[cfg(test)]
mod tests;
