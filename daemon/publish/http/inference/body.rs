//! The body of a request, read whole within bounds: of one request, and of all together.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::publish::http::error::ApiError;

/// What a permit of [`Room`] stands for.
const UNIT: usize = 1 << 10;

/// Memory for bodies.
#[derive(Clone, Debug)]
pub(super) struct Room {
    most: usize,
    units: Arc<Semaphore>,
}

/// A body, which counts against the room until it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Room {
    /// For bodies of at most so many bytes, and of so many all together.
    pub(super) fn new(most: usize, all: usize) -> Self {
        let units = all.max(most).div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            most,
            units: Arc::new(Semaphore::new(units)),
        }
    }

    /// Reads a body. One that is too long, or for which there is no room now, is refused before it is read, if its
    /// length is told.
    pub(super) async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Received, ApiError> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            let message = format!("Content-Encoding {encoding:?}: send the body as it is");
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let told: Option<usize> = told.and_then(|length| length.parse().ok());
        let reserved = told.unwrap_or(self.most);
        if reserved > self.most {
            return Err(self.too_long());
        }
        let units = u32::try_from(reserved.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).map_err(|_| {
            let message = "the bodies of other requests take all memory that they may: try again later";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        })?;
        let mut bytes = Vec::with_capacity(told.unwrap_or_default());
        while let Some(piece) = next(&mut body).await? {
            if bytes.len() + piece.len() > reserved {
                return Err(self.too_long());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Received { bytes, permit })
    }

    fn too_long(&self) -> ApiError {
        let message = format!("at most {} bytes are taken: http.inference.max_body", self.most);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers say nothing here.
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(error)) => return Err(ApiError::malformed(format!("the body broke off: {error}"))),
        }
    }
}
