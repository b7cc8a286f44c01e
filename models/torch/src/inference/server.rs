//! The thread that computes: takes what the daemon sends, batch by batch, and answers.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use anyhow::bail;
use forecastd_models::frame::{Frame, encode};
use forecastd_models::inference::{Fault, Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::AWAKE;
use super::crew::Crew;
use super::loader::{Loader, Made};
use crate::device::Placement;
use crate::job::guarded;
use crate::predictor::Outputs;
use crate::wire;

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Networks, and who asks for them.
#[derive(Debug)]
pub(super) struct Server {
    socket: UnixStream,
    networks: BTreeMap<u64, Crew>,
    loader: Loader,
    /// What a network may use of the processor.
    threads: i32,
}

/// What there is to do.
enum Next {
    Request,
    Made,
}

impl Server {
    pub(super) fn start(socket: UnixStream, placement: &Placement) -> anyhow::Result<Self> {
        let threads = if placement.device.is_cuda() {
            1 // the device computes
        } else {
            tch::get_num_threads()
        };
        Ok(Self {
            socket,
            networks: BTreeMap::new(),
            loader: Loader::start(placement, threads)?,
            threads,
        })
    }

    /// Until the daemon closes the socket.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        loop {
            match self.next()? {
                Next::Made => {
                    let made = self.loader.taken()?;
                    self.put(made)?;
                }
                Next::Request => {
                    let Some(request) = wire::read::<Request>(&mut self.socket)? else {
                        return Ok(());
                    };
                    self.take(request)?;
                }
            }
        }
    }

    /// Waits. A network that has been made goes first, since the daemon may wait for it with a swap.
    fn next(&self) -> anyhow::Result<Next> {
        let mut places = [
            PollFd::new(self.loader.bell(), PollFlags::IN),
            PollFd::new(&self.socket, PollFlags::IN),
        ];
        let awake_until = Instant::now() + AWAKE;
        loop {
            let is_awake = Instant::now() < awake_until;
            match poll(&mut places, is_awake.then_some(&AT_ONCE)) {
                Ok(0) => thread::yield_now(),
                Err(Errno::INTR) => {}
                Err(error) => bail!("poll: {error}"),
                Ok(_) if !places[0].revents().is_empty() => return Ok(Next::Made),
                Ok(_) => return Ok(Next::Request),
            }
        }
    }

    fn take(&mut self, request: Frame<Request>) -> anyhow::Result<()> {
        match request.header {
            Request::Ping { id } => self.say(&Reply::Pong { id }, &[]),
            Request::Load { key, folder } => {
                self.loader.order(key, folder);
                Ok(())
            }
            Request::Unload { key } => {
                self.networks.remove(&key);
                Ok(())
            }
            Request::Infer { id, key, counts } => self.infer(id, key, &counts, &request.slices),
        }
    }

    /// A network that has been made is warmed up once more, by the thread that will compute with it: what libtorch
    /// keeps a thread (its pool of workers, cuDNN's handle) is there then as well.
    fn put(&mut self, (key, made): Made) -> anyhow::Result<()> {
        let threads = self.threads;
        let warmed = made.and_then(|mut crew| {
            let warmed = guarded(|| crew.warm(threads));
            warmed.map(|()| crew)
        });
        match warmed {
            Ok(crew) => {
                let most = crew.most() as u32;
                let description = serde_json::to_vec(crew.description())?;
                self.networks.insert(key, crew);
                self.say(&Reply::Loaded { key, most }, &[&description])
            }
            Err(reason) => {
                check_device(&reason)?;
                self.say(&Reply::Refused { key, reason }, &[])
            }
        }
    }

    fn infer(&mut self, id: u64, key: u64, counts: &[u32], requests: &[Vec<u8>]) -> anyhow::Result<()> {
        let started = Instant::now();
        let computed = match self.networks.get(&key) {
            Some(crew) => guarded(|| compute(crew, counts, requests)).map(|outputs| (crew, outputs)),
            None => Err(format!("there is no network {key}")),
        };
        match computed {
            Ok((crew, outputs)) => {
                let record = crew.description().output_bytes();
                let (faults, slices) = divide(&outputs, counts, record);
                let microseconds = started.elapsed().as_micros() as u64;
                let answer = Reply::Answer {
                    id,
                    faults,
                    microseconds,
                };
                self.say(&answer, &slices)
            }
            Err(message) => {
                check_device(&message)?;
                self.say(&Reply::Failed { id, message }, &[])
            }
        }
    }

    fn say(&self, reply: &Reply, slices: &[&[u8]]) -> anyhow::Result<()> {
        use std::io::Write;
        (&self.socket).write_all(&encode(reply, slices)?)?;
        Ok(())
    }
}

fn compute(crew: &Crew, counts: &[u32], requests: &[Vec<u8>]) -> anyhow::Result<Outputs> {
    let record = crew.description().input_bytes();
    let lengths = counts.iter().map(|count| *count as usize * record);
    if !requests.iter().map(Vec::len).eq(lengths) {
        bail!("the requests are not of {counts:?} records of {record} bytes");
    }
    let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    crew.answer(&requests)
}

/// To each request what is its own.
fn divide<'a>(outputs: &'a Outputs, counts: &[u32], record: usize) -> (Vec<Fault>, Vec<&'a [u8]>) {
    let mut faults = Vec::new();
    let mut slices = Vec::with_capacity(counts.len());
    let mut first = 0;
    for (request, count) in (0..).zip(counts) {
        let end = first + *count as usize;
        let own = outputs
            .not_finite
            .iter()
            .find(|(sample, _)| (first..end).contains(sample));
        if let Some((sample, reason)) = own {
            let sample = (sample - first) as u32;
            let reason = reason.clone();
            faults.push(Fault {
                request,
                sample,
                reason,
            });
            slices.push(&[][..]);
        } else {
            slices.push(&outputs.records[first * record..end * record]);
        }
        first = end;
    }
    (faults, slices)
}

/// After a fault of CUDA nothing in this process computes any more; the daemon starts another, on the CPU if the GPU
/// is gone. Memory that ran out is none.
fn check_device(message: &str) -> anyhow::Result<()> {
    let fatal = ["CUDA error", "cuDNN error", "CUBLAS_STATUS"];
    if fatal.iter().any(|words| message.contains(words)) {
        bail!("the device has failed: {message}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_gets_its_own_records_or_its_own_fault() {
        let outputs = Outputs {
            records: (0..12).collect(),
            not_finite: vec![(2, "output 1 is NaN".to_owned())],
        };
        let (faults, slices) = divide(&outputs, &[1, 3, 2], 2);
        assert_eq!(slices, [&[0, 1][..], &[], &[8, 9, 10, 11]]);
        let fault = Fault {
            request: 1,
            sample: 1,
            reason: "output 1 is NaN".to_owned(),
        };
        assert_eq!(faults, [fault]);
    }

    #[test]
    fn a_fault_of_the_device_ends_the_process_and_want_of_memory_does_not() {
        assert!(check_device("CUDA error: an illegal memory access was encountered").is_err());
        assert!(check_device("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED").is_err());
        assert!(check_device("CUDA out of memory. Tried to allocate 2.00 GiB").is_ok());
    }
}
