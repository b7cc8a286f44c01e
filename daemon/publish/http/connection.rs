//! Connections: not too many, none that waits for ever, and room for a new one.
//!
//! There are more of them than requests to networks may hold (`mod`), and a new one that finds no room has the one closed
//! that has been idle longest. So nobody keeps a scrape out: neither who asks networks, nor who connects and says
//! nothing. Idle is whoever has no request under way, one that sends its head byte by byte included.
//!
//! Nothing else ends a client that sends half a head or stops reading, and hyper would keep six times as much of a head.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Sleep, sleep};

/// How long a client may take no byte of an answer.
const WRITE_STALL: Duration = Duration::from_secs(5);

/// How long a client may take for all of it: longer than any scraper waits.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a client may send no byte: longer than the usual scrape interval of a minute, so that Prometheus keeps
/// its connection.
const IDLE: Duration = Duration::from_secs(75);

/// Bytes of a head after which no more are read of it: it stays in memory until it is whole.
const HEAD: usize = 64 << 10;

/// A listener that has room for so many.
#[derive(Debug)]
pub(super) struct Connections {
    listener: TcpListener,
    table: Arc<Table>,
}

impl Connections {
    pub(super) fn new(listener: TcpListener, most: usize) -> Self {
        let table = Arc::new(Table::new(most));
        Self { listener, table }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let (seat, unseated) = self.table.seat().await;
        (Connection::new(stream, seat, unseated), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who is connected.
#[derive(Debug)]
struct Table {
    most: usize,
    seats: Mutex<Seats>,
    /// Told whenever a connection goes or becomes idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seats {
    taken: BTreeMap<u64, Place>,
    last: u64,
}

#[derive(Debug)]
struct Place {
    standing: Standing,
    /// Goes with the place, which tells the connection to close.
    _keeps: oneshot::Sender<Infallible>,
}

#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Without a request.
    Idle(Instant),
    /// A request has come, and no answer yet.
    Asked,
    /// An answer is on its way, until its last byte has been handed to the kernel.
    Answered(Instant),
}

/// Told by an error that the place is gone.
type Unseated = oneshot::Receiver<Infallible>;

impl Table {
    fn new(most: usize) -> Self {
        Self {
            most,
            seats: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A seat for a new connection, that of the one that has been idle longest if there is no other. Waits where all have
    /// requests under way.
    async fn seat(self: &Arc<Self>) -> (Seat, Unseated) {
        loop {
            if let Some(seated) = self.try_seat(Instant::now()) {
                return seated;
            }
            self.changed.notified().await;
        }
    }

    fn try_seat(self: &Arc<Self>, now: Instant) -> Option<(Seat, Unseated)> {
        let mut seats = self.lock();
        if seats.taken.len() >= self.most {
            let longest = seats.longest_idle()?;
            seats.taken.remove(&longest);
        }
        seats.last += 1;
        let id = seats.last;
        let (keeps, unseated) = oneshot::channel();
        let place = Place {
            standing: Standing::Idle(now),
            _keeps: keeps,
        };
        seats.taken.insert(id, place);
        let held = Held {
            id,
            table: Arc::clone(self),
            head: AtomicUsize::new(0),
            is_asked: AtomicBool::new(false),
        };
        Some((Seat(Arc::new(held)), unseated))
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    fn longest_idle(&self) -> Option<u64> {
        let idle = self.taken.iter().filter_map(|(id, place)| match place.standing {
            Standing::Idle(since) => Some((since, *id)),
            Standing::Asked | Standing::Answered(_) => None,
        });
        idle.min().map(|(_, id)| id)
    }
}

/// A connection's place among all, for itself and for its requests.
#[derive(Clone, Debug)]
pub(super) struct Seat(Arc<Held>);

#[derive(Debug)]
struct Held {
    id: u64,
    table: Arc<Table>,
    /// Bytes that have come while no request was under way.
    head: AtomicUsize,
    is_asked: AtomicBool,
}

impl Seat {
    /// A request has come. It is over when what this returns is dropped; its answer, when that is flushed.
    pub(super) fn ask(&self) -> Asked {
        self.0.is_asked.store(true, Ordering::Relaxed);
        self.stand(Standing::Asked);
        Asked(self.clone())
    }

    /// Bytes have come. Those of the head of a request are counted until it is whole.
    fn read(&self, bytes: usize) {
        if !self.is_asked() {
            self.0.head.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn has_too_long_a_head(&self) -> bool {
        !self.is_asked() && self.0.head.load(Ordering::Relaxed) >= HEAD
    }

    fn stand(&self, standing: Standing) {
        if let Some(place) = self.0.table.lock().taken.get_mut(&self.0.id) {
            place.standing = standing;
        }
    }

    fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::Relaxed)
    }

    /// All that has been written has been handed to the kernel: if no request is under way, this one is idle now, unless
    /// it has been since before.
    fn flushed(&self, now: Instant) {
        if self.is_asked() {
            return;
        }
        if let Some(place) = self.0.table.lock().taken.get_mut(&self.0.id)
            && !matches!(place.standing, Standing::Idle(_))
        {
            place.standing = Standing::Idle(now);
            self.0.table.changed.notify_one();
        }
    }

    /// Whether an answer has been on its way for too long.
    fn is_overdue(&self, now: Instant) -> bool {
        let seats = self.0.table.lock();
        let standing = seats.taken.get(&self.0.id).map(|place| place.standing);
        matches!(standing, Some(Standing::Answered(since)) if now.saturating_duration_since(since) >= ANSWER)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.table.lock().taken.remove(&self.id);
        self.table.changed.notify_one();
    }
}

impl Connected<IncomingStream<'_, Connections>> for Seat {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.io().seat.clone()
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Asked(Seat);

impl Asked {
    /// Its answer is ready to be taken.
    pub(super) fn answered(&self) {
        self.0.stand(Standing::Answered(Instant::now()));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.0.head.store(0, Ordering::Relaxed);
        self.0.0.is_asked.store(false, Ordering::Relaxed);
    }
}

/// A connection that ends when its place is wanted, and with an error when its client keeps it waiting.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    reads: Patience,
    writes: Patience,
    seat: Seat,
    /// None once it has been told.
    unseated: Option<Unseated>,
}

impl Connection {
    fn new(stream: TcpStream, seat: Seat, unseated: Unseated) -> Self {
        Self {
            stream,
            reads: Patience::new(IDLE),
            writes: Patience::new(WRITE_STALL),
            seat,
            unseated: Some(unseated),
        }
    }

    fn has_lost_its_seat(&mut self, cx: &mut Context<'_>) -> bool {
        let told = |unseated: &mut Unseated| Pin::new(unseated).poll(cx).is_ready();
        self.unseated.take_if(told);
        self.unseated.is_none()
    }

    fn bound_write(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        // While a message is under way nothing else looks: hyper does not read then, if it has bytes of the next one.
        if written.is_pending() && (self.has_lost_its_seat(cx) || self.seat.is_overdue(Instant::now())) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.writes.bound(cx, written)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seat.has_too_long_a_head() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.seat.read(buffer.filled().len() - before);
        if read.is_pending() && self.has_lost_its_seat(cx) {
            return Poll::Ready(Ok(())); // as if the client had closed it
        }
        if self.seat.is_asked() {
            // It is the client that waits, or sends a body, which has bounds of its own (`room`).
            self.reads.timer = None;
            return read;
        }
        self.reads.bound(cx, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bound_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream has nothing to flush; hyper asks for it when it has nothing left to write.
        self.seat.flushed(Instant::now());
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Bounds the time from one progress to the next.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    /// Runs while there is none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    fn bound<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.timer = None;
            return progress;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn waiting_ends_in_an_error_and_progress_starts_it_anew() {
        let mut patience = Patience::new(Duration::ZERO);
        let waited = poll_fn(|cx| patience.bound::<()>(cx, Poll::Pending)).await;
        assert_eq!(waited.expect_err("timed out").kind(), io::ErrorKind::TimedOut);

        let mut patience = Patience::new(IDLE);
        poll_fn(|cx| {
            assert!(patience.bound::<()>(cx, Poll::Pending).is_pending());
            assert!(patience.timer.is_some());
            patience.bound(cx, Poll::Ready(Ok(())))
        })
        .await
        .expect("progress");
        assert!(patience.timer.is_none());
    }

    #[test]
    fn a_new_connection_takes_the_place_of_the_one_that_has_been_idle_longest() {
        let table = Arc::new(Table::new(3));
        let start = Instant::now();
        let seat = |second| table.try_seat(start + Duration::from_secs(second));
        let (busy, mut busy_unseated) = seat(0).expect("there is room");
        let (_first, mut first_unseated) = seat(2).expect("there is room");
        let (_second, mut second_unseated) = seat(1).expect("there is room");
        let asked = busy.ask();
        let (third, _) = seat(3).expect("in the place of the second");
        assert!(
            second_unseated
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        for unseated in [&mut busy_unseated, &mut first_unseated] {
            assert_eq!(unseated.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        }
        let (fourth, _) = seat(4).expect("in the place of the first");
        let all_ask = [third.ask(), fourth.ask()];
        assert!(seat(5).is_none(), "all have requests under way");
        drop(asked);
        assert!(seat(6).is_none(), "its answer is on its way");
        busy.flushed(start);
        assert!(seat(6).is_some(), "it is idle again");
        drop((all_ask, third));
        assert_eq!(table.lock().taken.len(), 1, "a seat goes with its connection");
    }

    #[test]
    fn an_answer_is_overdue_when_its_time_is_over_and_not_before() {
        let table = Arc::new(Table::new(1));
        let (seat, _unseated) = table.try_seat(Instant::now()).expect("there is room");
        let later = |part: u32| Instant::now() + ANSWER * part / 2;
        let asked = seat.ask();
        assert!(
            !seat.is_overdue(later(3)),
            "whoever waits for an answer is not late to take it"
        );
        asked.answered();
        assert!(!seat.is_overdue(later(1)));
        assert!(seat.is_overdue(later(3)));
        drop(asked);
        assert!(seat.is_overdue(later(3)), "what is left of it is on its way");
        seat.flushed(Instant::now());
        assert!(!seat.is_overdue(later(3)), "nothing is left of it");
    }

    #[test]
    fn who_is_idle_already_is_not_idle_anew_with_each_byte_of_a_head() {
        let table = Arc::new(Table::new(2));
        let start = Instant::now();
        let (slow, mut slow_unseated) = table.try_seat(start).expect("there is room");
        let (_other, _) = table.try_seat(start + IDLE).expect("there is room");
        slow.flushed(start + 2 * IDLE);
        let _third = table.try_seat(start + 3 * IDLE).expect("in the place of the slow one");
        assert!(
            slow_unseated
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
    }

    /// A connection that is not read from, its client, and the table that it has the only place of.
    async fn connected() -> (Connection, TcpStream, Arc<Table>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("a client");
        let table = Arc::new(Table::new(1));
        let (seat, unseated) = table.try_seat(Instant::now()).expect("there is room");
        (Connection::new(stream, seat, unseated), client, table)
    }

    #[tokio::test]
    async fn a_client_that_waits_for_its_answer_is_not_one_that_sends_nothing() {
        let (mut connection, _client, _table) = connected().await;
        connection.reads = Patience::new(Duration::ZERO);
        let asked = connection.seat.ask();
        let mut bytes = [0; 8];
        for _ in 0..2 {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = poll_fn(|cx| Poll::Ready(Pin::new(&mut connection).poll_read(cx, &mut buffer))).await;
            assert!(read.is_pending(), "{read:?}");
            sleep(Duration::from_millis(5)).await;
        }
        drop(asked);
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = poll_fn(|cx| Pin::new(&mut connection).poll_read(cx, &mut buffer)).await;
        assert_eq!(read.expect_err("it is idle").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_without_a_seat_writes_to_no_client_that_keeps_it_waiting() {
        let (mut connection, _client, table) = connected().await;
        let _another = table.try_seat(Instant::now()).expect("in its place");
        let written = poll_fn(|cx| {
            loop {
                match Pin::new(&mut connection).poll_write(cx, &[0; 1 << 16]) {
                    Poll::Ready(Ok(_)) => {}
                    other => return Poll::Ready(other),
                }
            }
        });
        let Poll::Ready(Err(error)) = written.await else {
            panic!("it waits for the client");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_head_that_does_not_end_is_given_up_and_a_body_of_any_length_is_not() {
        let table = Arc::new(Table::new(1));
        let (seat, _unseated) = table.try_seat(Instant::now()).expect("there is room");
        seat.read(HEAD - 1);
        assert!(!seat.has_too_long_a_head());
        seat.read(1);
        assert!(seat.has_too_long_a_head());
        let asked = seat.ask();
        seat.read(10 * HEAD);
        assert!(!seat.has_too_long_a_head(), "that was a body");
        drop(asked);
        assert!(!seat.has_too_long_a_head(), "another head begins");
    }
}
