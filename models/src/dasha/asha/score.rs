//! Scores in a checkpoint, bit by bit: JSON knows neither NaN nor infinity and its readers may miss the last digit,
//! and a decision can hang on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(scores: &BTreeMap<u32, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    let bits: Vec<(u32, u64)> = scores.iter().map(|(trial, score)| (*trial, score.to_bits())).collect();
    bits.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u32, f64>, D::Error> {
    let bits = Vec::<(u32, u64)>::deserialize(deserializer)?;
    Ok(bits
        .into_iter()
        .map(|(trial, bits)| (trial, f64::from_bits(bits)))
        .collect())
}
