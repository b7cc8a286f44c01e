//! How a command that reckons for minutes hears that it must end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;

use crate::service::signals;

/// Set by the first SIGINT or SIGTERM: what is unfinished is then cleared away in order.
pub(super) fn interruption() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let signal = {
        let _entered = runtime.enter();
        signals::shutdown().context("install the signal handlers")?
    };
    let told = Arc::clone(&stop);
    let wait = move || {
        runtime.block_on(signal);
        told.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(stop)
}
