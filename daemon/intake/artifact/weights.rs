//! The head of a file of weights: which tensors it has, and where. The format is safetensors: a length, a JSON header of
//! names, shapes and places, and the numbers, end to end. The numbers themselves are not looked at here.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Deserialize;

/// Bytes in front of the header: its length.
pub const PREFIX: u64 = 8;

/// Bytes of the header, at most.
const MOST_HEADER: u64 = 16 << 20;

const FLOAT_BYTES: u64 = 4;

/// One tensor in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Where its bytes begin, behind the header.
    pub from: u64,
    /// Where they end.
    pub to: u64,
}

/// The head of a file whose every byte has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightsHead {
    /// Bytes before the numbers.
    pub length: u64,
    /// In the order of their places.
    pub tensors: Vec<Tensor>,
}

impl WeightsHead {
    /// Numbers in all tensors.
    pub fn numbers(&self) -> u64 {
        self.tensors.last().map_or(0, |tensor| tensor.to / FLOAT_BYTES)
    }
}

/// What the header says of one tensor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u32>,
    data_offsets: [u64; 2],
}

/// Reads the head of a file of so many bytes. The inner error says what is wrong with the file.
///
/// # Errors
/// When it cannot be read.
pub fn read_head(file: &mut impl Read, length: u64) -> io::Result<Result<WeightsHead, String>> {
    let Some(behind) = length.checked_sub(PREFIX) else {
        return Ok(Err(format!("only {length} bytes")));
    };
    let mut prefix = [0; PREFIX as usize];
    file.read_exact(&mut prefix)?;
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MOST_HEADER || header_length > behind {
        return Ok(Err(format!("a header of {header_length} bytes in a file of {length}")));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header)?;
    let tensors = tensors(&header, behind - header_length);
    Ok(tensors.map(|tensors| WeightsHead {
        length: PREFIX + header_length,
        tensors,
    }))
}

/// The tensors of a header, if they fill so many bytes end to end.
fn tensors(header: &[u8], data: u64) -> Result<Vec<Tensor>, String> {
    let entries: BTreeMap<String, Entry> =
        serde_json::from_slice(header).map_err(|error| format!("the header: {error}"))?;
    let mut entries: Vec<(String, Entry)> = entries.into_iter().collect();
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut end = 0;
    let mut tensors = Vec::new();
    for (name, entry) in entries {
        if entry.dtype != "F32" {
            return Err(format!("tensor {name:?} is of type {}", entry.dtype));
        }
        let mut shape = entry.shape.iter();
        let numbers = shape.try_fold(1_u64, |product, size| product.checked_mul(u64::from(*size)));
        let bytes = numbers.and_then(|numbers| numbers.checked_mul(FLOAT_BYTES));
        let [from, to] = entry.data_offsets;
        let lies = from == end && Some(to) == bytes.and_then(|bytes| from.checked_add(bytes)) && to <= data;
        if !lies {
            return Err(format!("tensor {name:?} does not lie where its shape says"));
        }
        end = to;
        tensors.push(Tensor { name, from, to });
    }
    match data - end {
        0 => Ok(tensors),
        left => Err(format!("{left} bytes belong to no tensor")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<WeightsHead, String> {
        read_head(&mut &bytes[..], bytes.len() as u64).expect("all of it is there")
    }

    const HEADER: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;

    #[test]
    fn tensors_lie_end_to_end_or_the_file_is_refused() {
        let sound = read(&file(HEADER, 12)).expect("sound");
        let names: Vec<&str> = sound.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!((names, sound.numbers()), (vec!["b", "a"], 3));
        let told = |bytes: &[u8]| read(bytes).expect_err("unsound");
        assert_eq!(told(&file(HEADER, 8)), "tensor \"a\" does not lie where its shape says");
        assert_eq!(told(&file(HEADER, 16)), "4 bytes belong to no tensor");
        assert_eq!(told(&file(HEADER, 12)[..7]), "only 7 bytes");
        assert!(told(&u64::MAX.to_le_bytes()).contains("a header of"));
        assert!(told(&file(&HEADER.replace("F32", "F64"), 12)).contains("is of type F64"));
        assert!(told(&file(&HEADER.replace("[4,12]", "[0,8]"), 12)).contains("does not lie"));
        assert!(told(&file(&HEADER.replace("[2]", "[4294967295,4294967295,4294967295]"), 12)).contains("does not lie"));
        assert!(told(&file("[]", 0)).contains("the header"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0..120_usize, flip in any::<u8>()) {
            let _ = read(&bytes);
            let mut flipped = file(HEADER, 12);
            let length = flipped.len();
            flipped[at % length] ^= flip;
            if let Ok(head) = read(&flipped) {
                prop_assert_eq!(head.length + 4 * head.numbers(), length as u64);
            }
        }
    }
}
