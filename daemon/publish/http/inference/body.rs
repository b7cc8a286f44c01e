//! The body of a request, read whole within bounds: of one request, and of all together.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::publish::http::error::ApiError;

/// What a permit of [`Room`] stands for.
const UNIT: usize = 1 << 10;

/// Memory for bodies.
#[derive(Clone, Debug)]
pub(super) struct Room {
    most: usize,
    units: Arc<Semaphore>,
    patience: Duration,
}

/// A body, which counts against the room until it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Room {
    /// For bodies of at most so many bytes, and of so many all together, that come within a time.
    pub(super) fn new(most: usize, all: usize, patience: Duration) -> Self {
        let units = all.max(most).div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            most,
            units: Arc::new(Semaphore::new(units)),
            patience,
        }
    }

    /// Reads a body. One that is too long, or for which there is no room now, is refused before it is read, if its
    /// length is told.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Received, ApiError> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            let message = format!("Content-Encoding {encoding:?}: send the body as it is");
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let told = told.and_then(|length| length.parse().ok()).unwrap_or_default();
        let read = timeout(self.patience, self.read_whole(told, body)).await;
        read.unwrap_or_else(|_| {
            let message = format!("the body did not come within {:?}", self.patience);
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message))
        })
    }

    /// `told` bytes are to come; 0, if nobody says.
    async fn read_whole(&self, told: usize, mut body: Body) -> Result<Received, ApiError> {
        let mut permit = self.reserve(told)?;
        let mut bytes = Vec::with_capacity(told);
        while let Some(piece) = next(&mut body).await? {
            let length = bytes.len() + piece.len();
            if length > permit.num_permits() * UNIT {
                if length > self.most {
                    return Err(self.too_long());
                }
                permit.merge(self.reserve(piece.len())?);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Received { bytes, permit })
    }

    fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        if bytes > self.most {
            return Err(self.too_long());
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.units).try_acquire_many_owned(units).map_err(|_| {
            let message = "the bodies of other requests take all memory that they may: try again later";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room::new(3 * UNIT, 4 * UNIT, Duration::from_secs(30))
    }

    fn told(length: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, length.into())])
    }

    #[tokio::test]
    async fn bodies_take_room_until_they_are_dropped_and_one_too_many_is_turned_away() {
        let room = room();
        let read = |headers: HeaderMap, length: usize| {
            let room = room.clone();
            async move { room.read(&headers, Body::from(vec![7; length])).await }
        };
        let first = read(told(3 * UNIT), 3 * UNIT).await.expect("there is room");
        assert_eq!(first.bytes.len(), 3 * UNIT);
        let second = read(HeaderMap::new(), UNIT)
            .await
            .expect("there is room, and nobody said how long");
        let refused = read(told(1), 1).await.expect_err("no room");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let refused = read(HeaderMap::new(), 1).await.expect_err("no room either");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        drop((first, second));
        for headers in [told(3 * UNIT + 1), HeaderMap::new()] {
            let refused = read(headers, 3 * UNIT + 1).await.expect_err("too long");
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        }
        assert!(
            read(HeaderMap::new(), 3 * UNIT).await.is_ok(),
            "all room was given back"
        );
    }
}
