//! Training samples varied, a batch at a time, on the device. What is chosen comes from a seeded stream on the CPU, so
//! that a run that was broken off and goes on sees the same samples.

mod mix;
mod sequences;
mod strands;
mod tiles;

use forecastd_models::dasha::{Augmentation, Random, SampleSet, Task};
use tch::{Device, Kind, Tensor};

use crate::samples::Batch;

pub use strands::Strands;

/// Applies an [`Augmentation`] that has been checked against the samples.
#[derive(Debug)]
pub struct Augmenter {
    augmentation: Augmentation,
    task: Task,
    classes: i64,
    sequences: bool,
    /// None of numbers.
    strands: Option<Strands>,
}

impl Augmenter {
    /// For such samples.
    pub fn new(augmentation: &Augmentation, set: &SampleSet, device: Device) -> Self {
        Self {
            augmentation: *augmentation,
            task: set.task,
            classes: set.labels.len() as i64,
            sequences: set.input.is_sequence(),
            strands: Strands::of(&set.element, device),
        }
    }

    /// The batch, varied. The same stream varies it the same.
    pub fn apply(&self, batch: Batch, random: Random) -> Batch {
        if self.augmentation.is_none() {
            return batch;
        }
        let mut draw = Draw {
            random,
            count: batch.inputs.size()[0],
            device: batch.inputs.device(),
        };
        let batch = match self.sequences {
            true => self.vary_sequences(batch, &mut draw),
            false => self.vary_tiles(batch, &mut draw),
        };
        let batch = self.brighten(batch, &mut draw);
        self.mix(batch, &mut draw)
    }

    /// Whether targets lie where inputs do, and must go with them.
    fn has_masks(&self, batch: &Batch) -> bool {
        self.task == Task::Segment && batch.targets.numel() > 0
    }

    fn brighten(&self, batch: Batch, draw: &mut Draw) -> Batch {
        let most = self.augmentation.brightness;
        if most == 0.0 {
            return batch;
        }
        let axes = batch.inputs.dim();
        let moves = draw.uniform(-most, most).view(&shape_of_one(draw.count, axes)[..]);
        Batch {
            inputs: batch.inputs + moves,
            ..batch
        }
    }
}

/// `[count, 1, 1, …]`, to go with a tensor of so many axes.
fn shape_of_one(count: i64, axes: usize) -> Vec<i64> {
    let mut shape = vec![1; axes];
    shape[0] = count;
    shape
}

/// Random numbers, one for each sample of the batch.
struct Draw {
    random: Random,
    count: i64,
    device: Device,
}

impl Draw {
    /// Whether, with this probability.
    fn chance(&mut self, probability: f64) -> Tensor {
        self.uniform(0.0, 1.0).lt(probability)
    }

    fn uniform(&mut self, low: f64, high: f64) -> Tensor {
        let values: Vec<f32> = (0..self.count)
            .map(|_| self.random.uniform_in(low, high) as f32)
            .collect();
        Tensor::from_slice(&values).to_device(self.device)
    }

    /// Whole numbers from `-most` to `most`.
    fn whole(&mut self, most: u32) -> Tensor {
        let span = 2 * u64::from(most) + 1;
        let values: Vec<i64> = (0..self.count)
            .map(|_| self.random.below(span) as i64 - i64::from(most))
            .collect();
        Tensor::from_slice(&values).to_device(self.device)
    }

    /// Another sample for each.
    fn partners(&mut self) -> Tensor {
        let mut partners: Vec<i64> = (0..self.count).collect();
        self.random.shuffle(&mut partners);
        Tensor::from_slice(&partners).to_device(self.device)
    }
}

/// Of two tensors of one shape, sample by sample, the first where chosen.
fn choose(chosen: &Tensor, first: &Tensor, second: &Tensor) -> Tensor {
    let shape = shape_of_one(chosen.size()[0], first.dim());
    first.where_self(&chosen.view(&shape[..]), second)
}

/// Masks as tensors with a band, for a time.
fn with_band(masks: &Tensor) -> Tensor {
    masks.unsqueeze(1).to_kind(Kind::Float)
}

/// And back.
fn without_band(masks: &Tensor) -> Tensor {
    masks.squeeze_dim(1).to_kind(Kind::Int64)
}

#[cfg(test)]
mod tests;
