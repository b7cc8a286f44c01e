//! What systemd is told. Without systemd every call here does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Recovery is done and every folder was looked at; `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Start-up goes on and needs more time than the unit gives it.
pub fn extend_start(by: Duration, status: &str) {
    let microseconds = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::ExtendTimeoutUsec(microseconds),
        NotifyState::Status(status),
    ]);
}

/// The configuration is being read again. `Type=notify-reload` wants the time with it, or it kills the service.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(monotonic) => notify(&[NotifyState::Reloading, monotonic]),
        Err(error) => tracing::warn!(%error, "no monotonic clock for the reload notice"),
    }
}

/// No more work is taken.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// All loops have turned.
pub fn feed_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear of that, if it does.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be notified");
    }
}
