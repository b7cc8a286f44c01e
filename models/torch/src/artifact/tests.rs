//! What is written is read again to the bit; what was tampered with is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::OnceLock;

use forecastd_models::dasha::artifact::FORMAT;
use forecastd_models::dasha::{Architecture, Backbone, ElementType, Extras, InputShape, Normalisation, Scaling, Task};
use proptest::prelude::*;
use safetensors::SafeTensors;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use super::*;
use crate::nets::Network;

/// A network so small that a header is half of its file.
pub(crate) fn described() -> ModelDescription {
    let backbone = Backbone::ResNet { width: 2 };
    ModelDescription {
        format: FORMAT,
        architecture: Architecture {
            pattern: backbone.plain_pattern(),
            backbone,
            input: InputShape {
                bands: 1,
                size: vec![16],
            },
            task: Task::Classify,
            outputs: 2,
            extras: Extras::default(),
            forecasts: false,
        },
        element: ElementType::F32,
        cells: Default::default(),
        both_strands: false,
        scaling: Scaling {
            inputs: Normalisation::identity(1),
            targets: None,
        },
        labels: vec!["no".to_owned(), "yes".to_owned()],
        weights_hash: String::new(),
        series: None,
    }
}

pub(crate) fn network(description: &ModelDescription) -> (VarStore, Network) {
    let store = VarStore::new(Device::Cpu);
    let network = Network::new(&store.root(), &description.architecture, 0.0).expect("it can be built");
    (store, network)
}

/// An artifact of a network of these weights, and those.
fn saved() -> (TempDir, VarStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = network(&described());
    save(&artifact_in(&folder), &described(), &store.variables(), b"{}").expect("it is saved");
    (folder, store)
}

fn artifact_in(folder: &TempDir) -> PathBuf {
    folder.path().join("artifact")
}

fn load(folder: &Path) -> Result<VarStore, ArtifactError> {
    let artifact = Artifact::open(folder)?;
    let (mut store, _) = network(artifact.description());
    artifact.load_into(&mut store)?;
    Ok(store)
}

fn same(one: &VarStore, other: &VarStore) -> bool {
    let (one, other) = (one.variables(), other.variables());
    one.len() == other.len() && one.iter().all(|(name, tensor)| other[name] == *tensor)
}

/// The weights of a saved artifact, changed, with a description that has their hash: only the format is asked.
fn refused_weights(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let (folder, _) = saved();
    let path = artifact_in(&folder);
    let mut bytes = fs::read(path.join(WEIGHTS)).expect("it is there");
    change(&mut bytes);
    put_weights(&path, &bytes);
    load(&path).expect_err("it is not to be trusted").to_string()
}

fn put_weights(artifact: &Path, bytes: &[u8]) {
    let text = fs::read(artifact.join(MODEL)).expect("it is there");
    let mut description: ModelDescription = serde_json::from_slice(&text).expect("it was written");
    description.weights_hash = blake3::hash(bytes).to_hex().to_string();
    fs::write(
        artifact.join(MODEL),
        serde_json::to_vec(&description).expect("plain data"),
    )
    .expect("it is written");
    fs::write(artifact.join(WEIGHTS), bytes).expect("it is written");
    put_sums(artifact);
}

/// As somebody does who means to deceive.
fn put_sums(artifact: &Path) {
    let contents = [WEIGHTS, MODEL, CARD].map(|name| (name, fs::read(artifact.join(name)).expect("it is there")));
    let sums = sums(&contents.each_ref().map(|(name, bytes)| (*name, &bytes[..])));
    fs::write(artifact.join(SUMS), sums).expect("it is written");
}

/// The same numbers under another header.
fn with_header(bytes: &mut Vec<u8>, change: impl FnOnce(String) -> String) {
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes")) as usize;
    let header = String::from_utf8(bytes[PREFIX..PREFIX + length].to_vec()).expect("JSON");
    let header = change(header);
    let data = bytes.split_off(PREFIX + length);
    *bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
}

const PREFIX: usize = 8;

#[test]
fn what_is_saved_is_loaded_to_the_bit() {
    let (folder, store) = saved();
    let loaded = load(&artifact_in(&folder)).expect("it was just saved");
    assert!(same(&store, &loaded));
    assert_eq!(fs::read(artifact_in(&folder).join(CARD)).expect("it is there"), b"{}");
}

#[test]
fn running_statistics_are_saved_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, net) = network(&described());
    let input = Tensor::randn([8, 1, 16], (Kind::Float, Device::Cpu));
    let _ = tch::nn::ModuleT::forward_t(&net, &input, true); // moves them
    save(&artifact_in(&folder), &described(), &store.variables(), b"").expect("it is saved");
    let (mut other, again) = network(&described());
    let artifact = Artifact::open(&artifact_in(&folder)).expect("it was just saved");
    artifact.load_into(&mut other).expect("it fits");
    let outputs = |network: &Network| tch::nn::ModuleT::forward_t(network, &input, false);
    assert_eq!(outputs(&net), outputs(&again));
}

#[test]
fn an_older_artifact_gives_way_and_nothing_else_is_left() {
    let (folder, _) = saved();
    let (store, _) = network(&described());
    fs::create_dir(folder.path().join(".artifact.partial")).expect("as a killed process leaves it");
    save(&artifact_in(&folder), &described(), &store.variables(), b"new").expect("it is saved");
    assert!(same(&store, &load(&artifact_in(&folder)).expect("it was just saved")));
    let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn weights_are_safetensors_that_others_read() {
    let (folder, store) = saved();
    let bytes = fs::read(artifact_in(&folder).join(WEIGHTS)).expect("it is there");
    let read = SafeTensors::deserialize(&bytes).expect("the format");
    assert_eq!(read.len(), store.variables().len());
    for (name, tensor) in store.variables() {
        let view = read.tensor(&name).expect("by its name");
        let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
        let theirs = Tensor::from_data_size(view.data(), &shape, Kind::Float);
        assert_eq!(theirs, tensor);
    }
}

#[test]
fn weights_that_are_not_finite_are_not_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = network(&described());
    let mut variables = store.variables();
    let name = variables.keys().next().expect("some").clone();
    variables.insert(name, Tensor::from_slice(&[f32::NAN]));
    let told = save(&artifact_in(&folder), &described(), &variables, b"")
        .expect_err("NaN")
        .to_string();
    assert!(told.contains("not finite"), "{told}");
    assert!(!artifact_in(&folder).exists());
}

#[test]
fn every_place_where_a_file_may_be_cut_is_noticed() {
    let (folder, _) = saved();
    let path = artifact_in(&folder);
    for file in [WEIGHTS, MODEL, SUMS] {
        let bytes = fs::read(path.join(file)).expect("it is there");
        for end in (0..bytes.len()).step_by(bytes.len() / 50) {
            fs::write(path.join(file), &bytes[..end]).expect("it is written");
            let told = load(&path).expect_err("it is cut").to_string();
            assert!(told.contains(file), "{told}");
        }
        fs::write(path.join(file), &bytes).expect("it is written");
    }
    load(&path).expect("whole again");
}

#[test]
fn a_cut_is_noticed_without_the_hash() {
    for end in [0, 7, 8, 9, 100] {
        refused_weights(|bytes| bytes.truncate(end));
    }
    let told = refused_weights(|bytes| bytes.truncate(bytes.len() - 4));
    assert!(told.contains("beyond the end"), "{told}");
    let told = refused_weights(|bytes| bytes.extend([0; 4]));
    assert!(told.contains("4 bytes belong to no tensor"), "{told}");
}

#[test]
fn a_huge_header_is_refused_before_it_is_allocated() {
    for length in [u64::MAX, 1 << 40, MAX_WEIGHTS] {
        let told = refused_weights(|bytes| bytes[..8].copy_from_slice(&length.to_le_bytes()));
        assert!(told.contains("a header of"), "{told}");
    }
}

#[test]
fn tensors_that_lie_are_refused() {
    let told = |from: &'static str, to: &'static str| {
        refused_weights(|bytes| {
            with_header(bytes, |header| {
                assert!(header.contains(from), "{header}");
                header.replacen(from, to, 1)
            });
        })
    };
    assert!(told("F32", "F64").contains("only F32"));
    assert!(told("F32", "I8").contains("only F32"));
    assert!(told("\"shape\":[2", "\"shape\":[4294967295,4294967295,4294967295,2").contains("of shape"));
    assert!(told("\"shape\":[2", "\"shape\":[-2").contains("invalid value"));
    assert!(told("\"data_offsets\":[0,", "\"data_offsets\":[4,").contains("should begin at 0"));
    assert!(told("\"dtype\"", "\"run\":\"me\",\"dtype\"").contains("unknown field `run`"));
    assert!(told("{\"", "{\"__metadata__\":{},\"").contains("missing field"));
    assert!(told("{\"", "{\"../../etc/x").contains("no tensor"));
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    let told = refused_weights(|bytes| {
        with_header(bytes, |header| {
            let empty = "{\"twice\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},";
            header.replacen('{', &format!("{empty}{}", &empty[1..]), 1)
        });
    });
    assert!(told.contains("\"twice\" comes twice"), "{told}");
}

#[test]
fn a_tensor_too_many_and_one_of_another_shape_are_told() {
    let told = refused_weights(|bytes| {
        with_header(bytes, |header| {
            header.replacen(
                '{',
                "{\"more\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
                1,
            )
        });
    });
    assert!(told.contains("\"more\" is none of the network's"), "{told}");
    let told =
        refused_weights(|bytes| with_header(bytes, |header| header.replacen("\"shape\":[2]", "\"shape\":[2,1]", 1)));
    assert!(told.contains("shape [2, 1], where the network has [2]"), "{told}");
}

#[test]
fn deep_json_does_not_overflow_the_stack() {
    let deep = "[".repeat(1 << 20);
    let told = refused_weights(|bytes| with_header(bytes, |_| format!("{{\"a\":{deep}")));
    assert!(told.contains(WEIGHTS), "{told}");
    let (folder, _) = saved();
    fs::write(artifact_in(&folder).join(MODEL), deep).expect("it is written");
    put_sums(&artifact_in(&folder));
    assert!(load(&artifact_in(&folder)).is_err());
}

#[test]
fn infinite_weights_are_told_by_name() {
    let told = refused_weights(|bytes| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
    assert!(told.contains("is not finite") && told.contains("tensor"), "{told}");
}

#[test]
fn a_network_larger_than_its_file_is_not_built() {
    let (folder, _) = saved();
    let path = artifact_in(&folder).join(MODEL);
    let mut description: ModelDescription =
        serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it was written");
    description.architecture.backbone = Backbone::ResNet { width: 4096 };
    for kernel in &mut description.architecture.pattern.0 {
        kernel.size = 255;
    }
    fs::write(&path, serde_json::to_vec(&description).expect("plain data")).expect("it is written");
    put_sums(&artifact_in(&folder));
    let told = Artifact::open(&artifact_in(&folder))
        .expect_err("much too large")
        .to_string();
    assert!(told.contains("where the convolutions alone have"), "{told}");
}

#[test]
fn links_and_pipes_are_not_opened() {
    let (folder, _) = saved();
    let path = artifact_in(&folder).join(WEIGHTS);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).expect("it is moved");
    symlink(&elsewhere, &path).expect("a link");
    assert!(load(&artifact_in(&folder)).is_err());
    fs::remove_file(&path).expect("it is there");
    fs::create_dir(&path).expect("a folder");
    let told = load(&artifact_in(&folder)).expect_err("a folder").to_string();
    assert!(told.contains("not a regular file"), "{told}");
}

/// The convolutions that are found by their kernels: all others of these backbones have one tap, or two in a
/// transposed one.
#[test]
fn searched_weights_are_those_of_the_network() {
    let count = |backbone: Backbone, size: &[u32]| {
        let mut pattern = backbone.plain_pattern();
        for (index, kernel) in pattern.0.iter_mut().enumerate() {
            kernel.size = 3 + 2 * (index as u32 % 2);
        }
        let architecture = Architecture {
            backbone,
            pattern,
            input: InputShape {
                bands: 3,
                size: size.to_vec(),
            },
            ..described().architecture
        };
        let store = VarStore::new(Device::Cpu);
        Network::new(&store.root(), &architecture, 0.0).expect("it can be built");
        let weights = store.variables().into_values().map(|tensor| tensor.size());
        let searched = weights.filter(|shape| shape.len() == size.len() + 2 && shape[2] > 2);
        let found: i64 = searched.map(|shape| shape.iter().product::<i64>()).sum();
        assert_eq!(
            architecture.searched_weights(),
            found as u128,
            "{}",
            architecture.backbone.name()
        );
    };
    count(Backbone::WideResNet { depth: 16, width: 2 }, &[32, 32]);
    count(Backbone::ResNet { width: 8 }, &[64]);
    let widths = vec![4, 6, 8, 10];
    count(Backbone::UNet { widths: widths.clone() }, &[32, 32]);
    count(Backbone::UNet { widths }, &[64]);
}

#[test]
fn a_weights_hash_that_is_not_theirs_is_told_whatever_the_sums_say() {
    let (folder, _) = saved();
    let path = artifact_in(&folder);
    let mut bytes = fs::read(path.join(WEIGHTS)).expect("it is there");
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(path.join(WEIGHTS), bytes).expect("it is written");
    put_sums(&path);
    let told = load(&path).expect_err("other weights").to_string();
    assert!(told.contains("model.json says"), "{told}");
}

/// One artifact for all cases: building networks takes longest.
fn sound() -> &'static [(&'static str, Vec<u8>); 4] {
    static SOUND: OnceLock<[(&str, Vec<u8>); 4]> = OnceLock::new();
    SOUND.get_or_init(|| {
        let (folder, _) = saved();
        [WEIGHTS, MODEL, CARD, SUMS].map(|name| (name, fs::read(artifact_in(&folder).join(name)).expect("it is there")))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_corruption_loads(
        file in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
    ) {
        let mut files = sound().clone();
        for (place, change) in &changes {
            let bytes = &mut files[file].1;
            let place = place.index(bytes.len());
            bytes[place] ^= change;
        }
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in &files {
            fs::write(folder.path().join(name), bytes).expect("it is written");
        }
        prop_assert!(files == *sound() || load(folder.path()).is_err());
    }

    /// Past the sums and the hash: only the reader of the format, and the network, are left to object.
    #[test]
    fn no_corrupt_description_makes_loading_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), b' '..=b'~'), 1..4),
    ) {
        let mut model = sound()[1].1.clone();
        for (place, byte) in changes {
            let place = place.index(model.len());
            model[place] = byte;
        }
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in sound() {
            fs::write(folder.path().join(name), bytes).expect("it is written");
        }
        fs::write(folder.path().join(MODEL), model).expect("it is written");
        put_sums(folder.path());
        let _ = load(folder.path());
    }

    #[test]
    fn no_corrupt_weights_make_reading_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sound()[0].1.clone();
        let header = 2_000.min(bytes.len()); // where there is something to get wrong
        for (place, byte) in changes {
            bytes[place.index(header)] = byte;
        }
        let _ = Weights::read(bytes.clone());
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(Weights::read(bytes).is_err());
    }
}
