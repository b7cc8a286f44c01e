//! Two ways to the same convolution, and the measurement that chooses between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::convolution::{Step, around};
use crate::device::wait;

/// How a convolution with a large kernel is computed. Both give the same, up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Tap by tap.
    Direct,
    /// As a product of Fourier transforms, in single precision.
    Fourier,
}

/// All that the time of a convolution depends on, but the number of samples, to which it is nearly proportional.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correlation {
    /// Channels that go in.
    pub inputs: i64,
    /// Channels that come out.
    pub outputs: i64,
    /// Whether each channel has a kernel of its own and sees no other.
    pub depthwise: bool,
    /// Positions of the input along each axis.
    pub size: Vec<i64>,
    /// Taps of the kernel along each axis.
    pub extent: i64,
    /// From one output to the next.
    pub stride: i64,
}

/// Which form each convolution of a supernet has: what was measured at its first use, or was said before.
///
/// Two measurements may choose differently, and two forms round differently: what must be the same to the last bit
/// learns the forms of the earlier run before its first step, or forces one. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub(super) struct Forms(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    forced: Option<Form>,
    measured: HashMap<Correlation, Form>,
}

/// Each form is measured so often, after one run that is not counted; the fastest counts.
const RUNS: usize = 3;

/// Time is nearly proportional to the number of samples, so that a few tell which form is faster: all of a batch of
/// large tiles took minutes for every layer.
const SAMPLES: i64 = 2;

/// So many times the products of the other form need no measurement: the widest kernels of tiles of 200 by 200 pixels
/// took many minutes, tap by tap.
const HOPELESS: f64 = 10.0;

/// A first run of this length says enough by itself: what it does once only is little beside it.
const LONG: Duration = Duration::from_millis(100);

impl Forms {
    /// One form for all, and no measurement.
    pub(super) fn force(&self, form: Option<Form>) {
        self.table().forced = form;
    }

    /// All that were measured or learned, in a fixed order.
    pub(super) fn known(&self) -> Vec<(Correlation, Form)> {
        let table = self.table();
        let mut known: Vec<_> = table.measured.iter().map(|(key, form)| (key.clone(), *form)).collect();
        known.sort_by(|(left, _), (right, _)| left.cmp(right));
        known
    }

    /// Learns what an earlier run has measured.
    pub(super) fn learn(&self, known: impl IntoIterator<Item = (Correlation, Form)>) {
        self.table().measured.extend(known);
    }

    fn table(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // whole entries only, whoever panicked
    }

    /// The form for this input and kernel.
    pub(super) fn of(&self, correlation: &Correlation, input: &Tensor, kernel: &Tensor) -> Form {
        let mut table = self.table();
        if let Some(form) = table.forced.or_else(|| table.measured.get(correlation).copied()) {
            return form;
        }
        let form = correlation.faster(input, kernel);
        table.measured.insert(correlation.clone(), form);
        form
    }
}

impl Correlation {
    /// What is to be computed for this input.
    pub(super) fn new(input: &Tensor, kernel: &Tensor, stride: i64, depthwise: bool) -> Self {
        let (input, kernel) = (input.size(), kernel.size());
        Self {
            inputs: input[1],
            outputs: kernel[0],
            depthwise,
            size: input[2..].to_vec(),
            extent: kernel[2],
            stride,
        }
    }

    /// The convolution, the size kept but for the stride.
    pub(super) fn compute(&self, form: Form, input: &Tensor, kernel: &Tensor) -> Tensor {
        match form {
            Form::Direct => {
                let step = Step {
                    extent: self.extent,
                    stride: self.stride,
                    dilation: 1,
                    groups: if self.depthwise { self.inputs } else { 1 },
                };
                step.correlate(input, kernel, None)
            }
            Form::Fourier => tch::autocast(false, || self.by_fourier(input, kernel)),
        }
    }

    fn by_fourier(&self, input: &Tensor, kernel: &Tensor) -> Tensor {
        let kind = input.kind();
        let axes = self.size.len();
        let (before, _) = around(self.extent);
        let lengths = self.lengths();
        let along: Vec<i64> = (2..2 + axes as i64).collect();
        let transform = |values: &Tensor| values.fft_rfftn(lengths.as_slice(), along.as_slice(), "backward");
        let inputs = transform(&input.to_kind(Kind::Float));
        // A kernel's middle comes to the first position, and what lies before it to the end: outputs begin at 0 then.
        let behind = lengths.iter().rev().flat_map(|length| [0, length - self.extent]);
        let whole = kernel.to_kind(Kind::Float).constant_pad_nd(behind.collect::<Vec<_>>());
        let kernels = transform(&whole.roll(vec![-before; axes], along.as_slice())).conj();
        let product = if self.depthwise {
            inputs * kernels.squeeze_dim(1)
        } else {
            Tensor::einsum("ni...,oi...->no...", &[inputs, kernels], None::<i64>)
        };
        let output = product.fft_irfftn(lengths.as_slice(), along.as_slice(), "backward");
        let kept = along.iter().zip(&self.size).fold(output, |output, (axis, size)| {
            output.slice(*axis, 0, *size, self.stride)
        });
        kept.to_kind(kind)
    }

    /// Of the transform along each axis. Positions beyond both ends of the input are zeros, and since the transform goes
    /// round, the same zeros serve both ends: as many as the longer side of a kernel.
    fn lengths(&self) -> Vec<i64> {
        let (_, after) = around(self.extent);
        let length = |size: &i64| smooth((size + after).max(self.extent));
        self.size.iter().map(length).collect()
    }

    fn faster(&self, input: &Tensor, kernel: &Tensor) -> Form {
        if self.direct_products() > HOPELESS * self.fourier_products() {
            return Form::Fourier;
        }
        let (direct, fourier) = (
            self.time(Form::Direct, input, kernel),
            self.time(Form::Fourier, input, kernel),
        );
        if fourier < direct { Form::Fourier } else { Form::Direct }
    }

    /// Products of one sample, tap by tap.
    fn direct_products(&self) -> f64 {
        let outputs: f64 = self
            .size
            .iter()
            .map(|size| (size / self.stride).max(1) as f64)
            .product();
        outputs * self.channel_pairs() * (self.extent as f64).powi(self.size.len() as i32)
    }

    /// About as many of the transforms and of what is done between them, the kernels' own included.
    fn fourier_products(&self) -> f64 {
        let length: f64 = self.lengths().into_iter().map(|length| length as f64).product();
        let transforms = (self.inputs + self.outputs) as f64 + self.channel_pairs();
        2.0 * length * (transforms * length.log2() + self.channel_pairs())
    }

    fn channel_pairs(&self) -> f64 {
        let seen = if self.depthwise { 1 } else { self.inputs };
        (self.outputs * seen) as f64
    }

    /// Of one step there and back, on copies that the network's own gradients know nothing of.
    fn time(&self, form: Form, input: &Tensor, kernel: &Tensor) -> Duration {
        let leaf = |values: &Tensor| values.detach().copy().set_requires_grad(true);
        let few = input.narrow(0, 0, input.size()[0].min(SAMPLES));
        let (input, kernel) = (leaf(&few), leaf(kernel));
        let once = || {
            wait(input.device());
            let started = Instant::now();
            let output = tch::with_grad(|| self.compute(form, &input, &kernel).sum(Kind::Float));
            let _ = Tensor::run_backward(&[output], &[&input, &kernel], false, false);
            wait(input.device());
            started.elapsed()
        };
        let first = once();
        if first >= LONG {
            return first;
        }
        (0..RUNS).map(|_| once()).min().unwrap_or(Duration::MAX)
    }
}

/// Those taps of a kernel that meet an input of this size anywhere: farther ones see zeros alone, whatever is there.
pub(super) fn within_reach(kernel: &Tensor, size: &[i64]) -> Tensor {
    let farthest = size.iter().max().map_or(0, |size| size - 1);
    let (before, after) = around(kernel.size()[2]);
    let (kept_before, kept_after) = (before.min(farthest), after.min(farthest));
    let axes = 2..kernel.dim() as i64;
    axes.fold(kernel.shallow_clone(), |kernel, axis| {
        kernel.narrow(axis, before - kept_before, kept_before + 1 + kept_after)
    })
}

/// The next length that has no prime factor above 5, for which transforms are fast.
fn smooth(at_least: i64) -> i64 {
    let rest = |number: i64| {
        [2, 3, 5].into_iter().fold(number, |mut rest, prime| {
            while rest % prime == 0 {
                rest /= prime;
            }
            rest
        })
    };
    let mut length = at_least.max(1);
    while rest(length) != 1 {
        length += 1;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_kernels_of_large_tiles_are_hopeless_tap_by_tap_and_small_ones_are_measured() {
        let ratio = |size: i64, extent: i64| {
            let correlation = Correlation {
                inputs: 32,
                outputs: 32,
                depthwise: false,
                size: vec![size, size],
                extent,
                stride: 1,
            };
            correlation.direct_products() / correlation.fourier_products()
        };
        assert!(ratio(200, 57) > HOPELESS);
        assert!(ratio(64, 9) < HOPELESS && ratio(200, 3) < 1.0);
    }

    #[test]
    fn a_transform_is_as_long_as_a_product_of_small_primes() {
        assert_eq!([1, 7, 11, 121, 171].map(smooth), [1, 8, 12, 125, 180]);
    }
}
