//! An answer on its way to a client, which counts against a limit until the last of it is handed over.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// What is handed to the connection at once. The page is let go when the last chunk is taken, so chunks are small
/// against a page.
const CHUNK: usize = 64 * 1024;

/// The pieces of a page, none of them copied.
#[derive(Debug)]
pub(super) struct PageBody {
    pieces: VecDeque<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl PageBody {
    pub(super) fn new<const N: usize>(pieces: [Bytes; N], permit: OwnedSemaphorePermit) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self {
            pieces,
            _permit: permit,
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.front_mut()?;
        let chunk = piece.split_to(CHUNK.min(piece.len()));
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        Some(chunk)
    }
}

impl HttpBody for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// The same answer, which holds `guard` until the last of it is handed over.
pub(super) fn guarded<G: Send + Unpin + 'static>(answer: Response, guard: G) -> Response {
    answer.map(|body| {
        let rest = Bytes::new();
        Body::new(Guarded {
            body,
            rest,
            _guard: guard,
        })
    })
}

/// A body, and what goes with it. It comes in chunks: hyper lets go of a body when it takes the last of it, and of one
/// that is a single piece therefore before a byte of it is sent.
struct Guarded<G> {
    body: Body,
    /// Of the piece that the body gave last.
    rest: Bytes,
    _guard: G,
}

impl<G: Unpin> HttpBody for Guarded<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(None);
            };
            match frame?.into_data() {
                Ok(piece) => self.rest = piece,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = CHUNK.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut both = SizeHint::new();
        both.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            both.set_upper(upper + rest);
        }
        both
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use std::future::poll_fn;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_page_comes_whole_in_chunks_and_gives_its_permit_back() {
        let limit = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&limit).try_acquire_owned().expect("the only one");
        let long = Bytes::from(vec![b'x'; CHUNK + 1]);
        let mut body = PageBody::new([long, Bytes::new(), Bytes::from("end")], permit);
        assert_eq!(body.size_hint().exact(), Some(CHUNK as u64 + 4));
        let lengths: Vec<usize> = std::iter::from_fn(|| body.next()).map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [CHUNK, 1, 3]);
        assert!(body.is_end_stream() && limit.available_permits() == 0);
        drop(body);
        assert_eq!(limit.available_permits(), 1);
    }

    #[tokio::test]
    async fn an_answer_of_one_piece_has_its_end_when_the_last_chunk_of_it_is_taken_and_not_before() {
        let mut body = guarded(Response::new(Body::from(vec![b'x'; 2 * CHUNK + 1])), ()).into_body();
        for (chunk, left) in [(CHUNK, CHUNK as u64 + 1), (CHUNK, 1), (1, 0)] {
            assert!(!body.is_end_stream());
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let data = frame.expect("there is more").expect("nothing fails").into_data();
            assert_eq!(data.expect("data").len(), chunk);
            assert_eq!(body.size_hint().exact(), Some(left));
        }
        assert!(body.is_end_stream());
    }
}
