//! `forecastd-torch --infer`: the serving child. It holds networks and applies them to whatever the daemon sends.
//!
//! One thread computes, and reads the socket between two batches: each thread more that a request goes through costs
//! it more than the socket does. Of a batch it gives parts to others (`crew`). A further one reads, checks and builds
//! artifacts, so that a network that is being loaded holds up no other for longer than a forward pass. Another sees to
//! it that this process ends with its daemon.

pub mod bench;
mod crew;
mod loader;
mod server;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use forecastd_models::inference::PROTOCOL;
use forecastd_models::torch_job::Hello;

use crate::device::Placement;
use crate::{parent, serve, wire};

use server::Server;

/// How long the next request, or the next part of one, is looked for before a thread sleeps. Who has an answer often
/// asks again at once, and to be woken takes longer than that: a virtual processor that is idle has to be started
/// again. Whoever else wants the processor gets it meanwhile.
const AWAKE: Duration = Duration::from_micros(300);

/// Serves the daemon at the other end of `socket` until that end closes.
///
/// # Errors
///
/// The socket fails, or the device does: then only another process can go on.
pub fn run(mut socket: UnixStream, placement: &Placement) -> anyhow::Result<()> {
    parent::end_with(&socket)?;
    wire::write(&mut socket, &hello(placement).into())?;
    Server::start(socket, placement)?.run()
}

fn hello(placement: &Placement) -> Hello {
    Hello {
        protocol: PROTOCOL,
        ..serve::hello(placement)
    }
}
