//! Bodies of requests, read whole within bounds: of one request, of all together, and in time.
//!
//! Room is taken as bytes come, not as they are announced: who announces much and sends nothing takes none. What a body
//! grows to, and what is answered, takes room as well.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::ApiError;

/// What a permit of [`Room`] stands for.
const UNIT: usize = 1 << 10;

/// Bytes that must come in each [`PACE`], or the rest: slower clients hold room and requests from others.
const LEAST: usize = 64 << 10;

const PACE: Duration = Duration::from_secs(5);

/// Bytes that memory is asked for before any has come.
const FIRST: usize = 64 << 10;

/// What those may send who ask for little.
const SMALL: usize = 64 << 10;

/// Memory for bodies.
#[derive(Clone, Debug)]
pub(super) struct Room {
    most: usize,
    /// Where that bound comes from, for the message.
    whence: &'static str,
    all: usize,
    units: Arc<Semaphore>,
    patience: Duration,
    pace: Duration,
}

/// A body, which counts against the room until it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Room {
    /// For bodies of at most so many bytes, and of so many all together, that come within a time.
    pub(super) fn new(most: usize, whence: &'static str, all: usize, patience: Duration) -> Self {
        let all = all.max(most);
        let units = all.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            most,
            whence,
            all,
            units: Arc::new(Semaphore::new(units)),
            patience,
            pace: PACE,
        }
    }

    /// For a few words.
    pub(super) fn small() -> Self {
        Self::new(SMALL, "more is never needed here", 16 * SMALL, PACE)
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
        drop(self.reserve(told)?);
        let read = timeout(self.patience, self.read_whole(told, body)).await;
        read.unwrap_or_else(|_| {
            let message = format!("the body did not come within {:?}", self.patience);
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message))
        })
    }

    /// `told` bytes are to come; 0, if nobody says.
    async fn read_whole(&self, told: usize, mut body: Body) -> Result<Received, ApiError> {
        let mut permit = self.reserve(0)?;
        let mut bytes = Vec::with_capacity(told.min(FIRST));
        let mut pace = Instant::now() + self.pace;
        let mut paced = 0;
        loop {
            let piece = timeout_at(pace, next(&mut body)).await.map_err(|_| self.too_slow())?;
            let Some(piece) = piece? else {
                return Ok(Received { bytes, permit });
            };
            let length = bytes.len() + piece.len();
            if length > self.most {
                return Err(self.too_long());
            }
            let held = permit.num_permits() * UNIT;
            if length > held {
                permit.merge(self.reserve(length - held)?);
            }
            bytes.extend_from_slice(&piece);
            paced += piece.len();
            if paced >= LEAST {
                (pace, paced) = (Instant::now() + self.pace, 0);
            }
        }
    }

    fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        match bytes > self.most {
            true => Err(self.too_long()),
            false => self.take(bytes),
        }
    }

    /// Room for what is no body.
    pub(super) fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        if bytes > self.all {
            let all = self.all;
            let message = format!("{bytes} bytes of memory, where all requests have {all}: ask in several requests");
            return Err(ApiError::too_large(message));
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.units).try_acquire_many_owned(units).map_err(|_| {
            ApiError::busy("other requests and their answers take all memory that they may: try again later")
        })
    }

    fn too_long(&self) -> ApiError {
        ApiError::too_large(format!("at most {} bytes are taken: {}", self.most, self.whence))
    }

    fn too_slow(&self) -> ApiError {
        let message = format!("of the body came fewer than {LEAST} bytes within {:?}", self.pace);
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
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
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    use http_body::Frame;
    use tokio::time::{Sleep, sleep};

    use super::*;

    fn room() -> Room {
        Room::new(3 * UNIT, "a test", 4 * UNIT, Duration::from_secs(30))
    }

    fn told(length: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, length.into())])
    }

    /// A piece each millisecond, for ever.
    struct Drip {
        piece: usize,
        pause: Pin<Box<Sleep>>,
    }

    impl Drip {
        fn body(piece: usize) -> Body {
            let pause = Box::pin(sleep(Duration::ZERO));
            Body::new(Self { piece, pause })
        }
    }

    impl HttpBody for Drip {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.pause.set(sleep(Duration::from_millis(1)));
            Poll::Ready(Some(Ok(Frame::data(vec![7; self.piece].into()))))
        }
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

    #[tokio::test]
    async fn what_is_no_body_takes_room_too() {
        let room = room();
        let held = room
            .take(4 * UNIT)
            .expect("there is room, for more than one body may have");
        let refused = room.take(1).expect_err("no room");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        drop(held);
        let refused = room.take(4 * UNIT + 1).expect_err("there will never be");
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(room.take(0).is_ok());
    }

    #[tokio::test]
    async fn who_announces_much_and_sends_nothing_takes_no_room() {
        let room = room();
        let silent = tokio::spawn({
            let room = room.clone();
            let never = Drip {
                piece: 1,
                pause: Box::pin(sleep(Duration::from_secs(60))),
            };
            async move { room.read(&told(3 * UNIT), Body::new(never)).await.map(drop) }
        });
        tokio::task::yield_now().await;
        let body = Body::from(vec![7; 3 * UNIT]);
        assert!(room.read(&told(3 * UNIT), body).await.is_ok());
        silent.abort();
    }

    #[tokio::test]
    async fn a_body_that_drips_is_given_up_and_one_that_flows_is_read() {
        let mut room = Room::new(1 << 20, "a test", 1 << 20, Duration::from_secs(30));
        room.pace = Duration::from_millis(100);
        let slow = room.read(&HeaderMap::new(), Drip::body(1)).await.expect_err("it drips");
        assert_eq!(slow.status, StatusCode::REQUEST_TIMEOUT);
        assert!(
            slow.message.contains("fewer than 65536 bytes within 100ms"),
            "{}",
            slow.message
        );
        // It flows until there is too much of it.
        let long = room
            .read(&HeaderMap::new(), Drip::body(16 << 10))
            .await
            .expect_err("endless");
        assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
