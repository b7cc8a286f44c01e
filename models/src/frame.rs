//! Frames: how a header and arrays become bytes on the socket between the daemon and its libtorch child.
//!
//! `u32 length | u32 header length | header | (u32 slice length | slice)…`, every number little-endian, the first
//! length counting all that follows it. The header is a serde type in postcard; slices are contiguous
//! little-endian arrays that need no parsing. Reading from and writing to the socket is left to the two sides.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Bytes in front of a frame's body: the body's length.
pub const PREFIX: usize = 4;

/// The longest body. A longer one means that the two sides have lost step, or a batch that belongs in a file.
pub const MAX_BODY: usize = 256 << 20;

/// A header and the arrays that belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame<T> {
    /// What is said.
    pub header: T,
    /// Arrays as bytes, in the order that the header's type documents.
    pub slices: Vec<Vec<u8>>,
}

/// Why bytes are not a frame, or a frame cannot become bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Longer than [`MAX_BODY`].
    #[error("a frame of {0} bytes; at most {MAX_BODY} are taken")]
    TooLong(usize),
    /// The lengths inside do not add up.
    #[error("a frame whose parts do not add up to its length of {0} bytes")]
    Ragged(usize),
    /// The header is not of the expected type.
    #[error("a frame whose header cannot be read: {0}")]
    Header(postcard::Error),
    /// A slice is not a whole number of values.
    #[error("a slice of {0} bytes is no array of 8-byte values")]
    NotValues(usize),
}

impl<T> From<T> for Frame<T> {
    /// A header without arrays.
    fn from(header: T) -> Self {
        let slices = Vec::new();
        Self { header, slices }
    }
}

impl<T: Serialize> Frame<T> {
    /// The whole frame, prefix included.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let slices: Vec<&[u8]> = self.slices.iter().map(Vec::as_slice).collect();
        encode(&self.header, &slices)
    }
}

/// A whole frame of slices that lie elsewhere, prefix included.
pub fn encode<T: Serialize>(header: &T, slices: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
    let header = postcard::to_stdvec(header).map_err(FrameError::Header)?;
    let parts = || std::iter::once(&header[..]).chain(slices.iter().copied());
    let length: usize = parts().map(|part| PREFIX + part.len()).sum();
    let prefix_of_all = prefix(length)?;
    let mut bytes = Vec::with_capacity(PREFIX + length);
    bytes.extend(prefix_of_all);
    for part in parts() {
        bytes.extend(prefix(part.len())?);
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

impl<T: DeserializeOwned> Frame<T> {
    /// The frame whose body, the bytes after the prefix, this is.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let ragged = || FrameError::Ragged(body.len());
        let (header, mut rest) = split_part(body).ok_or_else(ragged)?;
        let (header, unread) = postcard::take_from_bytes(header).map_err(FrameError::Header)?;
        if !unread.is_empty() {
            return Err(ragged());
        }
        let mut slices = Vec::new();
        while !rest.is_empty() {
            let (slice, after) = split_part(rest).ok_or_else(ragged)?;
            slices.push(slice.to_vec());
            rest = after;
        }
        Ok(Self { header, slices })
    }
}

/// The length of the body that follows a prefix.
pub fn body_length(prefix: [u8; PREFIX]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MAX_BODY {
        return Err(FrameError::TooLong(length));
    }
    Ok(length)
}

/// An array as a slice of a frame.
pub fn slice_of(values: &[f64]) -> Vec<u8> {
    let mut bytes = vec![0; size_of_val(values)];
    put_values(values, &mut bytes);
    bytes
}

/// Writes an array into the part of a slice that it fills.
pub(crate) fn put_values(values: &[f64], bytes: &mut [u8]) {
    for (place, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
}

/// The array that a slice of a frame holds.
pub fn values_of(slice: &[u8]) -> Result<Vec<f64>, FrameError> {
    let (values, rest) = slice.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(FrameError::NotValues(slice.len()));
    }
    Ok(values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

fn prefix(length: usize) -> Result<[u8; PREFIX], FrameError> {
    if length > MAX_BODY {
        return Err(FrameError::TooLong(length));
    }
    Ok((length as u32).to_le_bytes())
}

/// The first part of a body and what comes after it.
fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Header = (u64, String);

    fn frame(slices: &[&[f64]]) -> Frame<Header> {
        Frame {
            header: (7, "fit".to_owned()),
            slices: slices.iter().map(|values| slice_of(values)).collect(),
        }
    }

    fn body(frame: &Frame<Header>) -> Vec<u8> {
        frame.encode().expect("a small frame")[PREFIX..].to_vec()
    }

    #[test]
    fn a_frame_lies_on_the_wire_as_documented() {
        let bytes = frame(&[&[1.0]]).encode().expect("a small frame");
        #[rustfmt::skip]
        let expected = [
            21, 0, 0, 0, // all that follows
            5, 0, 0, 0, 7, 3, b'f', b'i', b't',
            8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // 1.0 as IEEE 754 has it
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn header_and_arrays_come_back() {
        for slices in [&[][..], &[&[][..]], &[&[1.5, f64::MIN], &[f64::INFINITY]]] {
            let sent = frame(slices);
            let read: Frame<Header> = Frame::decode(&body(&sent)).expect("its own bytes");
            assert_eq!(read, sent);
            let values: Result<Vec<_>, _> = read.slices.iter().map(|slice| values_of(slice)).collect();
            assert_eq!(values.expect("whole values"), slices);
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused_or_lacks_whole_slices() {
        let sent = frame(&[&[1.0, 2.0], &[3.0]]);
        let whole = body(&sent);
        for end in 0..whole.len() {
            if let Ok(read) = Frame::<Header>::decode(&whole[..end]) {
                assert!(
                    read.slices.len() < 2 && sent.slices.starts_with(&read.slices),
                    "cut at {end}"
                );
            }
        }
    }

    #[test]
    fn a_prefix_beyond_the_bound_is_refused_before_anything_is_read() {
        assert_eq!(body_length([1, 0, 0, 0]), Ok(1));
        let beyond = MAX_BODY + 1;
        assert_eq!(
            body_length((beyond as u32).to_le_bytes()),
            Err(FrameError::TooLong(beyond))
        );
    }

    #[test]
    fn a_slice_that_is_no_whole_number_of_values_is_refused() {
        assert_eq!(values_of(&[0; 9]), Err(FrameError::NotValues(9)));
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_decoding_panic(bytes: Vec<u8>) {
            let _ = Frame::<Header>::decode(&bytes);
        }
    }
}
