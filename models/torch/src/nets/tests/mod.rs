//! Against PyTorch's own statement of the same (`tests/reference/networks.py` writes it), and what must hold anyway.

use std::collections::HashMap;

use forecastd_models::dasha::{Architecture, Backbone, Extras, InputShape, KernelPattern, Task};
use tch::{Kind, Tensor, nn};

mod backbones;
mod layers;
mod losses;
mod mixed;
mod search;
mod ways;

/// What PyTorch has said.
struct Golden(HashMap<String, Tensor>);

/// How far single precision may be off.
const TOLERANCE: f64 = 1e-5;

impl Golden {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/networks.safetensors");
        let tensors = Tensor::read_safetensors(path).expect("tests/reference/networks.py writes it");
        Self(tensors.into_iter().collect())
    }

    #[track_caller]
    fn check(&self, name: &str, found: &Tensor) {
        let wanted = self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("nothing is stored as {name}"));
        assert_close(name, found, wanted);
    }
}

#[track_caller]
fn assert_close(name: &str, found: &Tensor, wanted: &Tensor) {
    assert_eq!(found.size(), wanted.size(), "the shape of {name}");
    let unit = wanted.abs().max().clamp_min(1.0); // of a sum of many, the last digits are the device's
    let error = ((found - wanted).abs().max() / unit).double_value(&[]);
    assert!(error <= TOLERANCE, "{name} is off by {error:.1e}"); // not so of NaN
}

/// Values that follow from a name and a shape: the script has the same.
fn fill(name: &str, shape: &[i64], scale: f64, offset: f64) -> Tensor {
    let bytes = name.bytes().zip(1_usize..);
    let start = (bytes.map(|(byte, place)| place * usize::from(byte)).sum::<usize>() % 1000) as f64;
    let count: i64 = shape.iter().product();
    let value = |i: i64| {
        let i = i as f64;
        (scale * (0.37 * i + 0.0013 * i * i % 7.0 + start).sin() + offset) as f32
    };
    Tensor::from_slice(&(0..count).map(value).collect::<Vec<f32>>()).reshape(shape)
}

/// Values in ±1.
fn wave(name: &str, shape: &[i64]) -> Tensor {
    fill(name, shape, 1.0, 0.0)
}

/// Fills every variable by its name.
fn fill_variables(store: &nn::VarStore) {
    let _guard = tch::no_grad_guard();
    for (name, mut variable) in store.variables() {
        let size = variable.size();
        let kind = name.rsplit('.').next().unwrap_or(&name);
        let value = match kind {
            "running_var" => fill(&name, &size, 0.5, 1.0),
            "weight" if size.len() == 1 => fill(&name, &size, 0.2, 1.0),
            _ if size.len() == 1 => fill(&name, &size, 0.2, 0.0),
            _ => {
                let taps: i64 = size[1..].iter().product();
                fill(&name, &size, (2.0 / taps as f64).sqrt(), 0.0)
            }
        };
        variable.copy_(&value);
    }
}

/// An architecture with a pattern of its backbone's own, to be changed by whom it does not suit.
fn architecture(backbone: Backbone, bands: u32, size: &[u32], task: Task, outputs: u32) -> Architecture {
    Architecture {
        pattern: backbone.plain_pattern(),
        backbone,
        input: InputShape {
            bands,
            size: size.to_vec(),
        },
        task,
        outputs,
        extras: Extras::default(),
        forecasts: false,
    }
}

/// Kernels in turn, as `size/dilation`, for each convolution of a backbone.
fn in_turn(backbone: &Backbone, kernels: &[(u32, u32)]) -> KernelPattern {
    let turns = kernels.iter().cycle().take(backbone.searched_convolutions());
    KernelPattern(
        turns
            .map(|(size, dilation)| forecastd_models::dasha::Kernel::new(*size, *dilation))
            .collect(),
    )
}

fn sum(values: &Tensor) -> Tensor {
    values.sum(Kind::Float)
}
