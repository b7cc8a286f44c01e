//! Signals as a future and a stream: the application takes them as parameters, so that tests need none.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Completes with the first SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn shutdown() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
    })
}

/// Yields once for each SIGHUP. Several that come while one is waiting are one.
///
/// # Errors
/// When the handler cannot be installed.
pub fn reloads() -> io::Result<mpsc::Receiver<()>> {
    let hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(forward(hangup, sender));
    Ok(receiver)
}

async fn forward(mut hangup: Signal, sender: mpsc::Sender<()>) {
    while hangup.recv().await.is_some() {
        if matches!(sender.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
            return;
        }
    }
}
