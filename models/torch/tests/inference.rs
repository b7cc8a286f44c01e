//! `--infer` as the daemon meets it: a process with a socket for its standard input that serves networks.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use forecastd_models::dasha::artifact::FORMAT;
use forecastd_models::dasha::{
    Architecture, Backbone, ElementType, Extras, InputShape, ModelDescription, Normalisation, Scaling, Task,
};
use forecastd_models::frame::Frame;
use forecastd_models::inference::{PROTOCOL, Reply, Request};
use forecastd_models::torch_job::Hello;
use forecastd_torch::artifact::{self, Artifact};
use forecastd_torch::device::Placement;
use forecastd_torch::nets::Network;
use forecastd_torch::predictor::Predictor;
use forecastd_torch::wire;
use tch::{Device, nn};
use tempfile::TempDir;

/// A network for sequences of sixteen singles, of random weights.
fn save(folder: &Path) {
    let backbone = Backbone::ResNet { width: 4 };
    let description = ModelDescription {
        format: FORMAT,
        architecture: Architecture {
            pattern: backbone.plain_pattern(),
            backbone,
            input: InputShape {
                bands: 1,
                size: vec![16],
            },
            task: Task::Classify,
            outputs: 3,
            extras: Extras::default(),
            forecasts: false,
        },
        element: ElementType::F32,
        scaling: Scaling {
            inputs: Normalisation::identity(1),
            targets: None,
        },
        labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        weights_hash: String::new(),
        cells: Default::default(),
        both_strands: false,
        series: None,
    };
    let store = nn::VarStore::new(Device::Cpu);
    Network::new(&store.root(), &description.architecture, 0.0).expect("it can be built");
    artifact::save(folder, &description, &store.variables(), b"{}").expect("it is saved");
}

/// What the same artifact says in this process.
fn expected(folder: &Path, records: &[u8]) -> Vec<f32> {
    let artifact = Artifact::open(folder).expect("a sound artifact");
    let predictor = Predictor::new(&artifact, &Placement::on_cpu()).expect("it fits");
    floats(&predictor.answer(records).expect("it computes").records)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.as_chunks().0.iter();
    values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// So many records, each other than the next.
fn records(count: usize) -> Vec<u8> {
    let values = (0..16 * count).map(|place| ((place * place) % 23) as f32 / 7.0 - 1.5);
    values.flat_map(f32::to_le_bytes).collect()
}

/// A child and its socket.
struct Serving {
    child: Child,
    socket: UnixStream,
}

impl Serving {
    fn start() -> Self {
        let (mut socket, theirs) = UnixStream::pair().expect("a socket pair");
        let child = Command::new(env!("CARGO_BIN_EXE_forecastd-torch"))
            .args(["--threads", "1", "--infer"])
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .expect("the executable starts");
        let hello = wire::read::<Hello>(&mut socket).expect("a frame").expect("not closed");
        assert_eq!(hello.header.protocol, PROTOCOL);
        Self { child, socket }
    }

    fn send(&mut self, header: Request, slices: Vec<Vec<u8>>) {
        wire::write(&mut self.socket, &Frame { header, slices }).expect("the child reads");
    }

    fn receive(&mut self) -> Frame<Reply> {
        wire::read(&mut self.socket).expect("a frame").expect("not closed")
    }

    fn load(&mut self, key: u64, folder: PathBuf) -> Frame<Reply> {
        self.send(Request::Load { key, folder }, Vec::new());
        self.receive()
    }

    fn infer(&mut self, id: u64, key: u64, requests: &[&[u8]]) -> Frame<Reply> {
        let counts = requests.iter().map(|records| (records.len() / 64) as u32).collect();
        let slices = requests.iter().map(|records| records.to_vec()).collect();
        self.send(Request::Infer { id, key, counts }, slices);
        self.receive()
    }
}

fn prepared() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    save(&folder.path().join("one"));
    save(&folder.path().join("two"));
    folder
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn two_networks_are_loaded_and_each_answers_for_itself_until_it_is_unloaded() {
    let folder = prepared();
    let mut serving = Serving::start();
    for (key, name) in [(7, "one"), (8, "two")] {
        let loaded = serving.load(key, folder.path().join(name));
        assert!(
            matches!(loaded.header, Reply::Loaded { key: of, most: 1.. } if of == key),
            "{loaded:?}"
        );
        let description: ModelDescription = serde_json::from_slice(&loaded.slices[0]).expect("a description");
        assert_eq!(description.labels, ["a", "b", "c"]);
    }
    let records = records(5);
    let (first, second) = records.split_at(2 * 64);
    for (id, key, name) in [(1, 7, "one"), (2, 8, "two"), (3, 7, "one")] {
        let answer = serving.infer(id, key, &[first, second]);
        assert!(
            matches!(&answer.header, Reply::Answer { id: of, faults, .. } if *of == id && faults.is_empty()),
            "{answer:?}"
        );
        let expected = expected(&folder.path().join(name), &records);
        assert!(close(&floats(&answer.slices.concat()), &expected));
        assert_eq!(answer.slices[0].len(), 2 * 3 * 4);
    }
    serving.send(Request::Unload { key: 7 }, Vec::new());
    let answer = serving.infer(4, 7, &[first]);
    assert!(matches!(answer.header, Reply::Failed { id: 4, message } if message == "there is no network 7"));
    let answer = serving.infer(5, 8, &[first]);
    assert!(matches!(answer.header, Reply::Answer { id: 5, .. }), "{answer:?}");
}

#[test]
fn a_request_whose_scores_are_not_finite_fails_alone() {
    let folder = prepared();
    let mut serving = Serving::start();
    serving.load(1, folder.path().join("one"));
    let good = records(2);
    let mut bad = records(3);
    bad[64..68].copy_from_slice(&f32::NAN.to_le_bytes());
    let answer = serving.infer(1, 1, &[&good, &bad, &good]);
    let Reply::Answer { faults, .. } = answer.header else {
        panic!("{answer:?}")
    };
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].request, faults[0].sample), (1, 1));
    assert!(faults[0].reason.contains("is NaN"), "{faults:?}");
    assert!(answer.slices[1].is_empty());
    let expected = expected(&folder.path().join("one"), &good);
    for own in [&answer.slices[0], &answer.slices[2]] {
        assert!(close(&floats(own), &expected));
    }
}

#[test]
fn what_is_not_an_artifact_is_refused_with_its_reason_and_the_others_serve_on() {
    let folder = prepared();
    let mut serving = Serving::start();
    serving.load(1, folder.path().join("one"));
    let spoilt = folder.path().join("two");
    let weights = spoilt.join("weights.safetensors");
    let whole = fs::read(&weights).expect("it is there");
    let cases: [(&str, &dyn Fn()); 3] = [
        ("its BLAKE3 is not that of BLAKE3SUMS", &|| {
            fs::write(&weights, &whole[..whole.len() / 2]).expect("it is written");
        }),
        ("its BLAKE3 is not that of BLAKE3SUMS", &|| {
            let mut bytes = whole.clone();
            bytes[whole.len() - 3] ^= 0x10;
            fs::write(&weights, bytes).expect("it is written");
        }),
        ("weights.safetensors: No such file", &|| {
            fs::remove_file(&weights).expect("it is removed");
        }),
    ];
    for (key, (expected, spoil)) in (10..).zip(cases) {
        spoil();
        let refused = serving.load(key, spoilt.clone());
        assert!(
            matches!(&refused.header, Reply::Refused { key: of, reason } if *of == key && reason.contains(expected)),
            "{expected}: {refused:?}"
        );
        let answer = serving.infer(key, 1, &[&records(1)]);
        assert!(matches!(answer.header, Reply::Answer { .. }), "{answer:?}");
    }
}

#[test]
fn requests_that_do_not_add_up_fail_and_the_child_lives_on() {
    let folder = prepared();
    let mut serving = Serving::start();
    serving.load(1, folder.path().join("one"));
    serving.send(
        Request::Infer {
            id: 1,
            key: 1,
            counts: vec![2],
        },
        vec![records(1)],
    );
    let failed = serving.receive();
    assert!(
        matches!(&failed.header, Reply::Failed { id: 1, message } if message.contains("[2] records of 64 bytes")),
        "{failed:?}"
    );
    serving.send(Request::Ping { id: 2 }, Vec::new());
    assert_eq!(serving.receive().header, Reply::Pong { id: 2 });
}

#[test]
fn the_child_leaves_with_its_socket() {
    let Serving { mut child, socket } = Serving::start();
    drop(socket);
    assert!(child.wait().expect("it can be waited for").success());
}
