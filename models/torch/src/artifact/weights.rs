//! The safetensors format, as far as it is needed here: a length, a JSON header of names, shapes and places, and the
//! numbers, little-endian, end to end.
//!
//! Other readers take more of it: other types, notes, and names that come twice, of which the last one wins. Here
//! one file says one thing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::plain;

/// Bytes in front of the header: its length.
const PREFIX: usize = 8;

/// The longest header; a network of a thousand tensors has a tenth of a megabyte.
const MAX_HEADER: u64 = 16 << 20;

const FLOAT: &str = "F32";

/// What the header says of one tensor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u32>,
    data_offsets: [u64; 2],
}

/// Weights that have been read: finite, each in its place, no byte left over.
#[derive(Debug)]
pub(super) struct Weights {
    bytes: Vec<u8>,
    tensors: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    shape: Vec<i64>,
    range: Range<usize>,
}

impl Weights {
    /// From the whole file.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let length = bytes.len() as u64;
        let prefix = bytes.first_chunk::<PREFIX>().ok_or(format!("only {length} bytes"))?;
        let header_length = u64::from_le_bytes(*prefix);
        if header_length > MAX_HEADER || header_length > length - PREFIX as u64 {
            return Err(format!("a header of {header_length} bytes in a file of {length}"));
        }
        let data_start = PREFIX + header_length as usize;
        let header: Header = serde_json::from_slice(&bytes[PREFIX..data_start]).map_err(|error| error.to_string())?;
        let tensors = places(header, data_start, bytes.len())?;
        let weights = Self { bytes, tensors };
        weights.check_finite()?;
        Ok(weights)
    }

    fn check_finite(&self) -> Result<(), String> {
        for (name, place) in &self.tensors {
            let mut values = self.bytes[place.range.clone()].as_chunks().0.iter();
            if let Some(index) = values.position(|value| !f32::from_le_bytes(*value).is_finite()) {
                return Err(format!("tensor {name:?}: value {index} is not finite"));
            }
        }
        Ok(())
    }

    /// Numbers in all tensors.
    pub(super) fn elements(&self) -> u128 {
        self.tensors.values().map(|place| place.range.len() as u128 / 4).sum()
    }

    /// Whether these are the network's tensors, in name and shape.
    pub(super) fn fit(&self, variables: &BTreeMap<String, Tensor>) -> Result<(), String> {
        for (name, variable) in variables {
            let stored = self.tensors.get(name).ok_or(format!("no tensor {name:?}"))?;
            let (found, expected) = (&stored.shape, variable.size());
            if *found != expected {
                return Err(format!(
                    "tensor {name:?}: shape {found:?}, where the network has {expected:?}"
                ));
            }
        }
        match self.tensors.keys().find(|name| !variables.contains_key(*name)) {
            Some(name) => Err(format!("tensor {name:?} is none of the network's")),
            None => Ok(()),
        }
    }

    /// One that [fits](Self::fit).
    pub(super) fn tensor(&self, name: &str) -> Tensor {
        let place = &self.tensors[name];
        Tensor::from_data_size(&self.bytes[place.range.clone()], &place.shape, Kind::Float)
    }
}

/// Every tensor's bytes, if they lie end to end.
fn places(header: Header, data_start: usize, file_length: usize) -> Result<BTreeMap<String, Place>, String> {
    let mut entries = header.0;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut end = data_start;
    let mut tensors = BTreeMap::new();
    for (name, entry) in entries {
        let wrong = |reason: String| Err(format!("tensor {name:?}: {reason}"));
        if entry.dtype != FLOAT {
            return wrong(format!("type {:?}; only {FLOAT} is read", entry.dtype));
        }
        let elements = entry
            .shape
            .iter()
            .try_fold(1_u64, |product, size| product.checked_mul(u64::from(*size)));
        let bytes = elements.and_then(|elements| elements.checked_mul(4));
        let [from, to] = entry.data_offsets;
        let starts = (end - data_start) as u64;
        if from != starts || to.checked_sub(from).is_none_or(|length| Some(length) != bytes) {
            let shape = &entry.shape;
            return wrong(format!(
                "bytes {from}..{to} of shape {shape:?}; they should begin at {starts}"
            ));
        }
        if to > (file_length - data_start) as u64 {
            return wrong(format!("bytes {from}..{to} lie beyond the end of the file"));
        }
        let range = end..data_start + to as usize;
        end = range.end;
        let shape = entry.shape.into_iter().map(i64::from).collect();
        if tensors.insert(name.clone(), Place { shape, range }).is_some() {
            return Err(format!("tensor {name:?} comes twice"));
        }
    }
    if end != file_length {
        return Err(format!("{} bytes belong to no tensor", file_length - end));
    }
    Ok(tensors)
}

/// The whole file, names in their order.
pub(super) fn write(variables: &HashMap<String, Tensor>) -> Result<Vec<u8>, String> {
    let sorted: BTreeMap<&String, Tensor> = variables.iter().map(|(name, tensor)| (name, plain(tensor))).collect();
    let mut entries = BTreeMap::new();
    let mut data = Vec::new();
    for (name, tensor) in sorted {
        if !bool::try_from(tensor.isfinite().all()).map_err(|error| error.to_string())? {
            return Err(format!("tensor {name:?} is not finite"));
        }
        let mut values = vec![0.0_f32; tensor.numel()];
        tensor.copy_data(&mut values, tensor.numel());
        let from = data.len() as u64;
        data.extend(values.into_iter().flat_map(f32::to_le_bytes));
        let sizes = tensor.size().into_iter();
        let entry = Entry {
            dtype: FLOAT.to_owned(),
            shape: sizes.map(|size| size as u32).collect(),
            data_offsets: [from, data.len() as u64],
        };
        entries.insert(name, entry);
    }
    let mut header = serde_json::to_vec(&entries).map_err(|error| error.to_string())?;
    header.resize(header.len().next_multiple_of(PREFIX), b' '); // numbers begin at a multiple of eight
    let length = (header.len() as u64).to_le_bytes();
    Ok([&length[..], &header, &data].concat())
}

/// Entries in the order of the file, the same name twice included.
struct Header(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from names to tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
