//! A serving child that misbehaves on purpose: this very test executable, started again with a manner in its
//! environment. What else it does wrong, its networks' folders and the samples say.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, abort, exit};
use std::time::Duration;
use std::{env, fs, thread};

use forecastd_models::dasha::artifact::FORMAT;
use forecastd_models::dasha::{
    Architecture, Backbone, ElementType, Extras, InputShape, ModelDescription, Normalisation, Scaling, Task,
};
use forecastd_models::frame::{Frame, PREFIX, body_length};
use forecastd_models::inference::{Fault, PROTOCOL, Reply, Request};
use forecastd_models::torch_job::{Hello, TorchDevice};
use rustix::process::{Signal, getpid, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::work::torch_process::TorchError;

/// The environment variable that makes this executable a child.
const MANNER: &str = "FORECASTD_TEST_SERVING_MANNER";

/// Samples over which the child does something else than to answer. Beyond [`SLEEP`] it answers after so many
/// milliseconds more.
pub(super) const ABORT: f32 = 666.0;
pub(super) const ABORT_ONCE: f32 = 99.0;
pub(super) const HANG: f32 = 13.0;
pub(super) const BREAK_BATCH: f32 = 7.0;
pub(super) const NOT_FINITE: f32 = 5.0;
pub(super) const MISCOUNT: f32 = 17.0;
pub(super) const MISPLACE: f32 = 19.0;
pub(super) const SLEEP: f32 = 1000.0;

/// The command that starts a fake child.
pub(super) fn command(manner: &str) -> Result<Command, TorchError> {
    let mut command = Command::new(env::current_exe().expect("a test knows its executable"));
    command.args([
        "--exact",
        "work::inference::tests::fake::the_child_of_the_other_tests",
        "--nocapture",
    ]);
    command.env(MANNER, manner);
    Ok(command)
}

/// Networks that take one single and give it times their factor.
pub(super) fn described(labels: &[&str]) -> ModelDescription {
    let backbone = Backbone::ResNet { width: 1 };
    ModelDescription {
        format: FORMAT,
        architecture: Architecture {
            pattern: backbone.plain_pattern(),
            backbone,
            input: InputShape {
                bands: 1,
                size: vec![1],
            },
            task: Task::Regress,
            outputs: labels.len() as u32,
            extras: Extras::default(),
            forecasts: false,
        },
        element: ElementType::F32,
        scaling: Scaling {
            inputs: Normalisation::identity(1),
            targets: Some(Normalisation::identity(labels.len())),
        },
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        cells: Default::default(),
        both_strands: false,
        weights_hash: "0".repeat(64),
        series: None,
    }
}

#[test]
fn the_child_of_the_other_tests() {
    match env::var(MANNER).as_deref() {
        Err(_) => {} // run as a test: nothing to do
        Ok(manner) => serve(manner).expect("the socket works while the daemon lives"),
    }
}

/// A network: its factor, and its folder.
struct Network {
    factor: f32,
    folder: PathBuf,
}

fn serve(manner: &str) -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let protocol = PROTOCOL + u32::from(manner == "speak another protocol");
    match manner {
        "crash at once" => exit(3),
        "say nothing" => thread::park(),
        _ => say(&mut socket, &hello(protocol), Vec::new())?,
    }
    if manner == "stop still" {
        kill_process(getpid(), Signal::STOP)?; // hears no SIGTERM any more
    }
    let mut networks = BTreeMap::new();
    loop {
        let Frame { header, slices } = read(&mut socket)?;
        match header {
            Request::Ping { .. } if manner == "forget pings" => {}
            Request::Ping { id } => say(&mut socket, &Reply::Pong { id }, Vec::new())?,
            Request::Load { key, folder } => load(&mut socket, &mut networks, key, folder)?,
            Request::Unload { key } => drop(networks.remove(&key)),
            Request::Infer { id, key, .. } => match networks.get(&key) {
                Some(network) => infer(&mut socket, network, id, &slices)?,
                None => abort(), // nobody may ask for what is not loaded
            },
        }
    }
}

/// Networks that say class 1 of each letter of sequences of three.
fn of_letters() -> ModelDescription {
    let mut description = described(&["no", "yes"]);
    description.element = ElementType::Symbol {
        alphabet: "AC".to_owned(),
    };
    description.scaling = Scaling {
        inputs: Normalisation::identity(2),
        targets: None,
    };
    let backbone = Backbone::UNet { widths: vec![1, 1] };
    description.architecture = Architecture {
        pattern: backbone.plain_pattern(),
        backbone,
        input: InputShape {
            bands: 2,
            size: vec![3],
        },
        task: Task::Segment,
        ..description.architecture
    };
    description
}

/// `…/x2` is a network that doubles; see the tests for the others.
fn load(socket: &mut UnixStream, networks: &mut BTreeMap<u64, Network>, key: u64, folder: PathBuf) -> io::Result<()> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(factor) = name.strip_prefix('x').and_then(|factor| factor.parse().ok()) {
        fs::write(folder.join("pid"), std::process::id().to_string())?;
        networks.insert(key, Network { factor, folder });
        let description = serde_json::to_vec(&described(&["product"]))?;
        return say(socket, &Reply::Loaded { key, most: 512 }, vec![description]);
    }
    match name {
        "letters" => {
            networks.insert(
                key,
                Network {
                    factor: f32::NAN,
                    folder,
                },
            );
            let description = serde_json::to_vec(&of_letters())?;
            say(socket, &Reply::Loaded { key, most: 512 }, vec![description])
        }
        "deadly" => abort(),
        "endless" => Ok(()),
        _ => {
            let reason = "model.json: not what it should be".to_owned();
            say(socket, &Reply::Refused { key, reason }, Vec::new())
        }
    }
}

fn infer(socket: &mut UnixStream, network: &Network, id: u64, requests: &[Vec<u8>]) -> io::Result<()> {
    if network.factor.is_nan() {
        let masks = requests.iter().map(|slice| vec![1; slice.len()]).collect();
        let (faults, microseconds) = (Vec::new(), 100);
        return say(
            socket,
            &Reply::Answer {
                id,
                faults,
                microseconds,
            },
            masks,
        );
    }
    let samples: Vec<Vec<f32>> = requests.iter().map(|slice| singles(slice)).collect();
    let mut slept = 0;
    for sample in samples.iter().flatten() {
        match *sample {
            ABORT => abort(),
            ABORT_ONCE => abort_once(&network.folder),
            HANG => thread::park(),
            sample if sample > SLEEP => {
                let milliseconds = (sample - SLEEP) as u64;
                thread::sleep(Duration::from_millis(milliseconds));
                slept += milliseconds;
            }
            _ => {}
        }
    }
    if samples.iter().flatten().any(|sample| *sample == BREAK_BATCH) {
        let message = "out of memory".to_owned();
        return say(socket, &Reply::Failed { id, message }, Vec::new());
    }
    let (mut faults, mut slices) = (Vec::new(), Vec::new());
    for (request, samples) in (0..).zip(&samples) {
        if let Some(sample) = samples.iter().position(|sample| *sample == NOT_FINITE) {
            let (sample, reason) = (sample as u32, "output 0 is NaN".to_owned());
            faults.push(Fault {
                request,
                sample,
                reason,
            });
            slices.push(Vec::new());
            continue;
        }
        let products = samples
            .iter()
            .flat_map(|sample| (sample * network.factor).to_le_bytes());
        let cut = usize::from(samples.contains(&MISCOUNT));
        slices.push(products.skip(cut).collect());
    }
    if samples.iter().flatten().any(|sample| *sample == MISPLACE) {
        let (request, reason) = (samples.len() as u32, "of no request".to_owned());
        faults.push(Fault {
            request,
            sample: 0,
            reason,
        });
    }
    let answer = Reply::Answer {
        id,
        faults,
        microseconds: 100 + 1000 * slept,
    };
    say(socket, &answer, slices)
}

fn abort_once(folder: &Path) {
    let mark = folder.join("has aborted");
    if !mark.exists() {
        fs::write(mark, "").expect("the test's folder");
        abort();
    }
}

fn singles(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.as_chunks().0.iter();
    values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

pub(super) fn hello(protocol: u32) -> Hello {
    Hello {
        protocol,
        libtorch: "2.11.0".to_owned(),
        device: TorchDevice::Cpu,
        threads: 1,
        onednn: false,
    }
}

fn say<T: Serialize + Clone>(socket: &mut UnixStream, header: &T, slices: Vec<Vec<u8>>) -> io::Result<()> {
    let header = header.clone();
    socket.write_all(&Frame { header, slices }.encode().map_err(io::Error::other)?)
}

/// The next request. Without a daemon this process ends here.
fn read<T: DeserializeOwned>(socket: &mut UnixStream) -> io::Result<Frame<T>> {
    let mut prefix = [0; PREFIX];
    if socket.read_exact(&mut prefix).is_err() {
        exit(0);
    }
    let mut body = vec![0; body_length(prefix).map_err(io::Error::other)?];
    socket.read_exact(&mut body)?;
    Frame::decode(&body).map_err(io::Error::other)
}
