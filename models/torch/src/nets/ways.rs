//! The ways to compute a searched convolution, for whoever measures them beside each other: its candidates mixed into
//! one kernel, or each candidate's own convolution and their sum; either directly or by Fourier transforms.

use std::time::{Duration, Instant};

use forecastd_models::dasha::{Kernel, SearchSpace};
use serde::{Deserialize, Serialize};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::convolution::{Shape, Step};
use super::form::{Correlation, Form, Forms};
use super::mixed::MixedConvolution;
use super::placement::{Placement, grouped};
use crate::device::wait;

/// A searched convolution on its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Channels that go in.
    pub inputs: i64,
    /// Channels that come out. Where they are as many, no channel sees another, as in a search.
    pub outputs: i64,
    /// Positions along each axis.
    pub size: Vec<i64>,
    /// Samples at once.
    pub samples: i64,
}

/// How the candidates come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sum {
    /// One kernel, one convolution.
    Mixed,
    /// A convolution for each candidate.
    Apart,
}

/// The four ways.
pub(super) const WAYS: [(Sum, Form); 4] = [
    (Sum::Mixed, Form::Direct),
    (Sum::Mixed, Form::Fourier),
    (Sum::Apart, Form::Direct),
    (Sum::Apart, Form::Fourier),
];

/// How long one way took there and back.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WayTime {
    /// How the candidates came together.
    pub sum: Sum,
    /// How convolutions were computed.
    pub form: Form,
    /// The middle of all runs.
    pub seconds: f64,
}

/// Measures a layer forwards and backwards in all four ways, in turn, after a run of each that is not counted.
pub fn time_ways(layer: &Layer, space: &SearchSpace, runs: usize, device: Device) -> Vec<WayTime> {
    let bench = Bench::new(layer, space, device);
    let mut times: [Vec<Duration>; WAYS.len()] = Default::default();
    for run in 0..=runs {
        for ((sum, form), times) in WAYS.into_iter().zip(&mut times) {
            let time = bench.time(sum, form);
            if run > 0 {
                times.push(time);
            }
        }
    }
    let all = WAYS.into_iter().zip(&mut times);
    all.map(|((sum, form), times)| WayTime {
        sum,
        form,
        seconds: middle(times).as_secs_f64(),
    })
    .collect()
}

fn middle(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// One layer, and an input for it.
#[derive(Debug)]
pub(super) struct Bench {
    store: VarStore,
    mixed: MixedConvolution,
    forms: Forms,
    candidates: Vec<Candidate>,
    coefficients: Tensor,
    input: Tensor,
}

/// One kernel of the space, alone.
#[derive(Debug)]
struct Candidate {
    index: i64,
    kernel: Kernel,
    /// Its first tap in a row of the layer's weights, and how many it has.
    taps: (i64, i64),
    placement: Placement,
}

impl Bench {
    pub(super) fn new(layer: &Layer, space: &SearchSpace, device: Device) -> Self {
        let kernels = space.kernels();
        let axes = layer.size.len();
        let store = VarStore::new(device);
        let root = store.root();
        let choice = MixedConvolution::choice(&root, "choice", kernels.len());
        let coefficients = choice.detach().softmax(0, Kind::Float);
        let shape = Shape {
            bias: false,
            ..Shape::new(axes, layer.inputs, layer.outputs)
        };
        let forms = Forms::default();
        let mixed = MixedConvolution::new(&root, choice, shape, &kernels, true, forms.clone());
        let dims = [&[layer.samples, layer.inputs], &layer.size[..]].concat();
        Self {
            mixed,
            forms,
            candidates: candidates(&kernels, axes, device),
            coefficients,
            input: Tensor::randn(dims, (Kind::Float, device)).set_requires_grad(true),
            store,
        }
    }

    pub(super) fn output(&self, sum: Sum, form: Form) -> Tensor {
        match sum {
            Sum::Mixed => {
                self.forms.force(Some(form));
                self.mixed.forward_with(&self.input, &self.coefficients)
            }
            Sum::Apart => {
                let outputs = self.candidates.iter().map(|candidate| self.alone(candidate, form));
                outputs
                    .reduce(|sum, output| sum + output)
                    .expect("a space that makes a layer has a candidate")
            }
        }
    }

    fn alone(&self, candidate: &Candidate, form: Form) -> Tensor {
        let (first, count) = candidate.taps;
        let taps = self.mixed.weight().narrow(2, first, count);
        let coefficient = self.coefficients.narrow(0, candidate.index, 1);
        let axes = self.input.dim() - 2;
        if form == Form::Fourier {
            let kernel = candidate.placement.mix(&taps, &coefficient);
            let correlation = Correlation::new(&self.input, &kernel, 1, self.is_depthwise());
            return correlation.compute(form, &self.input, &kernel);
        }
        let mut dims = taps.size()[..2].to_vec();
        dims.resize(2 + axes, i64::from(candidate.kernel.size));
        let step = Step {
            extent: i64::from(candidate.kernel.extent()),
            stride: 1,
            dilation: i64::from(candidate.kernel.dilation),
            groups: if self.is_depthwise() { self.input.size()[1] } else { 1 },
        };
        step.correlate(&self.input, &(taps * coefficient).reshape(dims), None)
    }

    fn is_depthwise(&self) -> bool {
        let size = self.mixed.weight().size();
        size[0] == self.input.size()[1]
    }

    fn time(&self, sum: Sum, form: Form) -> Duration {
        let device = self.store.device();
        wait(device);
        let started = Instant::now();
        let output = self.output(sum, form).sum(Kind::Float);
        let _ = Tensor::run_backward(&[&output], &[&self.input, self.mixed.weight()], false, false);
        wait(device);
        started.elapsed()
    }
}

/// In the order in which a layer's weights have them.
fn candidates(kernels: &[Kernel], axes: usize, device: Device) -> Vec<Candidate> {
    let mut first = 0;
    let order = grouped(kernels, axes).concat();
    let candidates = order.into_iter().map(|index| {
        let kernel = kernels[index];
        let count = i64::from(kernel.size).pow(axes as u32);
        let taps = (first, count);
        first += count;
        Candidate {
            index: index as i64,
            kernel,
            taps,
            placement: Placement::new(&[kernel], axes, device),
        }
    });
    candidates.collect()
}
