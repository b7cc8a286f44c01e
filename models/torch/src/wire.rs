//! Frames over the socket: reading and writing, blocking, and nothing about what they say.

use std::io::{self, Read, Write};

use forecastd_models::frame::{Frame, FrameError, PREFIX, body_length};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why no frame could be read or written.
#[derive(Debug, Error)]
pub enum WireError {
    /// The socket failed, or broke off inside a frame.
    #[error("the socket to the daemon failed: {0}")]
    Socket(#[from] io::Error),
    /// The bytes are no frame.
    #[error("the daemon sent {0}")]
    Frame(#[from] FrameError),
}

/// The next frame; `None` once the other side has closed the socket between two frames.
pub fn read<T: DeserializeOwned>(socket: &mut impl Read) -> Result<Option<Frame<T>>, WireError> {
    let mut prefix = [0; PREFIX];
    if socket.read(&mut prefix[..1])? == 0 {
        return Ok(None);
    }
    socket.read_exact(&mut prefix[1..])?;
    let mut body = vec![0; body_length(prefix)?];
    socket.read_exact(&mut body)?;
    Ok(Some(Frame::decode(&body)?))
}

/// Sends a frame.
pub fn write<T: Serialize>(socket: &mut impl Write, frame: &Frame<T>) -> Result<(), WireError> {
    Ok(socket.write_all(&frame.encode()?)?)
}
