//! The decoding child: reads one request from its standard input, a socket, answers on it, and ends.
//!
//! It lives for one file, with limits on memory and processor time that it sets itself before it reads a byte of the
//! file, and writes nowhere but to the socket. `decoder` is its parent.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::decode::decode;
use super::protocol::{self, Request, SampleReply};
use super::samples::drop::read_samples;

/// Processor time that a file may take, in seconds. The largest honest file takes a few.
pub(crate) const CPU_SECONDS: u64 = 120;

/// Serves the one request on the standard input. The whole of `forecastd decode`.
pub fn decode_worker_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "this command is for forecastd itself, which sends it a file: {error}"
            );
            ExitCode::from(70) // EX_SOFTWARE
        }
    }
}

fn serve() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let file = File::from(protocol::receive_descriptor(&socket)?);
    let request: Request = protocol::receive(&mut &socket)?;
    confine(request.memory())?;
    // What a hostile file makes the reader say at length becomes part of the verdict.
    panic::set_hook(Box::new(|_| {}));
    let mut writer = BufWriter::new(&socket);
    match request {
        Request::Series {
            columns,
            limits,
            latest,
        } => protocol::send_result(&mut writer, decode(file, &columns, &limits, latest))?,
        Request::Samples { form, limits, latest } => {
            let mut give = |sample| protocol::send(&mut writer, &SampleReply::Sample(sample));
            let reply = match read_samples(file, &form, &limits, latest, &mut give)? {
                Ok(found) => SampleReply::Done(found.account, found.told),
                Err(rejected) => SampleReply::Rejected(rejected),
            };
            protocol::send(&mut writer, &reply)?;
        }
    }
    writer.flush()
}

/// Takes away what decoding does not need.
fn confine(memory: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If memory is short all the same, the kernel is to end the child, never the daemon. Not every container has the
    // file, and nothing depends on it.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    lower(Resource::As, memory, memory)?;
    lower(Resource::Cpu, CPU_SECONDS, CPU_SECONDS + 5)?; // the soft limit's signal says what happened
    lower(Resource::Core, 0, 0)?;
    lower(Resource::Fsize, 0, 0)
}

/// Sets a limit, or keeps a tighter one that is there already.
fn lower(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(soft.min(ceiling)),
        maximum: Some(hard.min(ceiling)),
    };
    Ok(setrlimit(resource, limit)?)
}
