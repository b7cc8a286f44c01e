//! A child that misbehaves on purpose: this very test executable, started again with a manner in its environment.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, exit};
use std::{env, process, thread};

use forecastd_config::{Torch, TorchFit, TorchStart};
use forecastd_models::device_fit::DeviceBatch;
use forecastd_models::frame::{Frame, PREFIX, body_length, slice_of};
use forecastd_models::torch_job::{
    Hello, PROTOCOL, Reply, ReplyBody, Request, RequestBody, TorchDevice, smoke_residual, smoke_system,
};
use rustix::process::{Signal, getpid, kill_process};
use serde::Serialize;

use super::tests::quick;
use super::{TorchError, TorchProcess};

/// The environment variable that makes this executable a child.
const MANNER: &str = "FORECASTD_TEST_TORCH_MANNER";

/// The command that starts a fake child.
pub(super) fn command(manner: &str) -> Result<Command, TorchError> {
    let mut command = Command::new(env::current_exe().expect("a test knows its executable"));
    command.args([
        "--exact",
        "work::torch_process::fake::the_child_of_the_other_tests",
        "--nocapture",
    ]);
    command.env(MANNER, manner);
    Ok(command)
}

#[test]
fn the_child_of_the_other_tests() {
    match env::var(MANNER).as_deref() {
        Err(_) => {} // run as a test: nothing to do
        Ok("be the daemon") => be_the_daemon(),
        Ok(manner) => serve(manner).expect("the socket works while the daemon lives"),
    }
}

/// A daemon with a child, for the test that kills it.
fn be_the_daemon() {
    let launch = Box::new(|| command("sit on jobs"));
    let _torch = TorchProcess::supervise(launch, true, quick(), |status| {
        if status.up {
            eprintln!("the child is up");
        }
    });
    thread::park();
}

fn serve(manner: &str) -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    match manner {
        "crash at once" => exit(3),
        "say nothing" => thread::park(),
        "stop still" => {
            say(&mut socket, hello(PROTOCOL))?;
            kill_process(getpid(), Signal::STOP)?; // hears no SIGTERM any more
        }
        "speak another protocol" => say(&mut socket, hello(PROTOCOL + 1))?,
        "babble" => socket.write_all(&[0xff; 8])?,
        _ => say(&mut socket, hello(PROTOCOL))?,
    }
    loop {
        let Request { id, body } = read(&mut socket)?;
        match (body, manner) {
            (RequestBody::Ping, "forget pings") => {}
            (RequestBody::Ping, _) => say(
                &mut socket,
                Reply {
                    id,
                    body: ReplyBody::Pong,
                },
            )?,
            (_, "sit on jobs") => {}
            (_, "crash in a job") => process::abort(),
            (_, "fail") => {
                let message = "out of memory".to_owned();
                say(
                    &mut socket,
                    Reply {
                        id,
                        body: ReplyBody::Failed { message },
                    },
                )?;
            }
            (RequestBody::Smoke { size }, "answer another question") => solve(&mut socket, id + 100, size, 0.0)?,
            (RequestBody::Smoke { size }, "miscalculate") => solve(&mut socket, id, size, 1e-6)?,
            (RequestBody::Fit { .. }, _) => lie(&mut socket, id)?,
            (RequestBody::Smoke { size }, _) => solve(&mut socket, id, size, 0.0)?,
        }
    }
}

fn hello(protocol: u32) -> Hello {
    Hello {
        protocol,
        libtorch: "2.11.0".to_owned(),
        device: TorchDevice::Cpu,
        threads: 1,
        onednn: false,
    }
}

/// Gauss and Seidel's iteration, which converges on the smoke system: its diagonal dominates.
fn solve(socket: &mut UnixStream, id: u64, size: u32, wrong_by: f64) -> io::Result<()> {
    let size = size as usize;
    let (matrix, right) = smoke_system(size);
    let mut solution = vec![0.0; size];
    while smoke_residual(&solution) > 1e-13 {
        for row in 0..size {
            let lhs: f64 = matrix[row * size..].iter().zip(&solution).map(|(a, x)| a * x).sum();
            solution[row] += (right[row] - lhs) / matrix[row * size + row];
        }
    }
    solution[0] += wrong_by;
    let header = Reply {
        id,
        body: ReplyBody::Smoke,
    };
    let slices = vec![slice_of(&solution)];
    socket.write_all(&Frame { header, slices }.encode().map_err(io::Error::other)?)
}

/// Answers for no window at all.
fn lie(socket: &mut UnixStream, id: u64) -> io::Result<()> {
    let Frame { header: body, slices } = DeviceBatch::reply(&[]);
    let header = Reply { id, body };
    socket.write_all(&Frame { header, slices }.encode().map_err(io::Error::other)?)
}

fn say<T: Serialize>(socket: &mut UnixStream, header: T) -> io::Result<()> {
    socket.write_all(&Frame::from(header).encode().map_err(io::Error::other)?)
}

/// The next request. Without a daemon this process ends here.
fn read(socket: &mut UnixStream) -> io::Result<Request> {
    let mut prefix = [0; PREFIX];
    if socket.read_exact(&mut prefix).is_err() {
        exit(0);
    }
    let mut body = vec![0; body_length(prefix).map_err(io::Error::other)?];
    socket.read_exact(&mut body)?;
    Ok(Frame::decode(&body).map_err(io::Error::other)?.header)
}

/// The configuration that names the real executable, if the environment does.
pub(super) fn real() -> Option<Torch> {
    let executable = env::var_os("FORECASTD_TORCH")?.into();
    let start = TorchStart::OnDemand;
    Some(Torch {
        start,
        executable: Some(executable),
        fit: TorchFit::Never,
    })
}
