//! Samples as batches of tensors, in an order that hangs on the seed and the epoch alone.
//!
//! Named threads copy records from the mapped files ahead of whoever trains; page faults, and so the disk, are theirs
//! to wait for. What crosses to the device are the bytes of the files. They become numbers there, are scaled there and
//! varied there, because that is a quarter of the traffic for bytes and an eighth for letters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use forecastd_models::dasha::{Augmentation, Random, SampleSet, Scaling, Task};
use tch::{Device, Kind, Tensor};

use super::decoder::{InputDecoder, Scales};
use super::{Samples, SamplesError};
use crate::augment::Augmenter;

/// Batches that each thread may be ahead. One is being used, one waits, one is being copied.
const AHEAD: usize = 2;

/// Some samples, on the device.
#[derive(Debug)]
pub struct Batch {
    /// `f32 [n, bands, *size]`, scaled.
    pub inputs: Tensor,
    /// Classify `i64 [n]`, or `f32 [n, classes]` after mixing; multilabel `f32 [n, classes]`; segment
    /// `i64 [n, *size]`; regress `f32 [n, outputs]`, scaled. `f32 [0]` where they are not known.
    pub targets: Tensor,
}

/// How samples become batches.
#[derive(Clone, Copy, Debug)]
pub struct LoaderOptions {
    /// Samples of a batch.
    pub batch: usize,
    /// For training: shuffled each epoch, varied, and without a last batch of one sample, which batch normalisation
    /// cannot use. Otherwise in the given order, whole, as they are.
    pub training: bool,
    /// The part of the batches that an epoch of training has, in (0, 1]: one more than the part rounded down, as in
    /// the paper's code.
    pub part: f64,
    /// Orders and variations follow from it.
    pub seed: u64,
    /// Variations, for training.
    pub augmentation: Augmentation,
    /// Threads that copy ahead, at least 1. On two cores one is enough: the other computes.
    pub threads: usize,
}

/// Makes batches of some of the samples.
#[derive(Debug)]
pub struct Loader {
    samples: Arc<Samples>,
    indices: Arc<[u32]>,
    options: LoaderOptions,
    decoder: Decoder,
    augmenter: Augmenter,
}

impl Loader {
    /// Batches of the samples with these numbers.
    ///
    /// # Errors
    ///
    /// Samples of this kind cannot be varied so.
    ///
    /// # Panics
    ///
    /// If the scaling has not a scale for each band.
    pub fn new(
        samples: &Arc<Samples>,
        indices: &[u32],
        scaling: &Scaling,
        options: LoaderOptions,
        device: Device,
    ) -> Result<Self, SamplesError> {
        let set = samples.set();
        options.augmentation.check(&set.input, &set.element, set.task)?;
        Ok(Self {
            samples: Arc::clone(samples),
            indices: indices.into(),
            options,
            decoder: Decoder::new(set, scaling, device),
            augmenter: Augmenter::new(&options.augmentation, set, device),
        })
    }

    /// Batches of one epoch.
    pub fn batches(&self) -> usize {
        let (samples, batch) = (self.indices.len(), self.options.batch.max(1));
        let whole = samples.div_ceil(batch);
        if !self.options.training {
            return whole;
        }
        let usable = whole - usize::from(samples % batch == 1 && batch > 1);
        let part = (self.options.part * usable as f64) as usize + 1;
        part.min(usable)
    }

    /// Begins an epoch. The same number gives the same batches, in this process and in any other.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch<'_>, SamplesError> {
        let random = Random::new(self.options.seed).derive(&format!("epoch {epoch}"));
        let order = Arc::new(self.order(&random));
        let crew = self.options.threads.clamp(1, self.batches().max(1));
        let mut readers = VecDeque::new();
        for first in 0..crew {
            let (give, batches) = sync_channel(AHEAD);
            let task = Copying {
                samples: Arc::clone(&self.samples),
                order: Arc::clone(&order),
                batch: self.options.batch.max(1),
                mine: (first..self.batches()).step_by(crew),
            };
            let thread = thread::Builder::new()
                .name(format!("decode-{first}"))
                .spawn(move || task.run(&give))
                .map_err(SamplesError::Thread)?;
            readers.push_back(Reader {
                batches: Some(batches),
                thread: Some(thread),
            });
        }
        Ok(Epoch {
            loader: self,
            readers,
            random,
            next: 0,
        })
    }

    fn order(&self, random: &Random) -> Vec<u32> {
        let mut order = self.indices.to_vec();
        if self.options.training {
            random.derive("order").shuffle(&mut order);
        }
        order
    }
}

/// The batches of one epoch, in order. Dropped early, it ends its threads.
#[derive(Debug)]
pub struct Epoch<'a> {
    loader: &'a Loader,
    /// The one whose batch is next stands first.
    readers: VecDeque<Reader>,
    random: Random,
    next: usize,
}

impl Iterator for Epoch<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.next == self.loader.batches() {
            return None;
        }
        let copied = self.readers.front()?.batches.as_ref()?.recv().ok()?;
        self.readers.rotate_left(1);
        let batch = self.loader.decoder.decode(&copied);
        let random = self.random.derive(&format!("batch {}", self.next));
        self.next += 1;
        Some(match self.loader.options.training {
            true => self.loader.augmenter.apply(batch, random),
            false => batch,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.loader.batches() - self.next;
        (left, Some(left))
    }
}

/// Where the batches of one thread come out.
#[derive(Debug)]
struct Reader {
    batches: Option<Receiver<Copied>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.batches = None; // a thread that waits for room goes on, and ends
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Records of one batch, end to end.
#[derive(Debug)]
struct Copied {
    count: usize,
    inputs: Vec<u8>,
    targets: Vec<u8>,
}

/// What one thread copies.
struct Copying {
    samples: Arc<Samples>,
    order: Arc<Vec<u32>>,
    batch: usize,
    mine: std::iter::StepBy<std::ops::Range<usize>>,
}

impl Copying {
    fn run(self, give: &SyncSender<Copied>) {
        for batch in self.mine {
            let end = self.order.len().min((batch + 1) * self.batch);
            let indices = &self.order[batch * self.batch..end];
            let set = self.samples.set();
            let copied = Copied {
                count: indices.len(),
                inputs: joined(indices, set.input_bytes(), |index| self.samples.input(index)),
                targets: joined(indices, set.target_bytes(), |index| self.samples.target(index)),
            };
            if give.send(copied).is_err() {
                return; // nobody wants the rest
            }
        }
    }
}

fn joined<'a>(indices: &[u32], record: usize, of: impl Fn(u32) -> &'a [u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(indices.len() * record);
    for index in indices {
        bytes.extend_from_slice(of(*index));
    }
    bytes
}

/// Makes tensors of the bytes of a batch, on the device.
#[derive(Debug)]
struct Decoder {
    inputs: InputDecoder,
    task: Task,
    size: Vec<i64>,
    outputs: i64,
    targets: Option<Scales>,
    device: Device,
}

impl Decoder {
    fn new(set: &SampleSet, scaling: &Scaling, device: Device) -> Self {
        Self {
            inputs: InputDecoder::new(&set.input, &set.element, &scaling.inputs, device),
            task: set.task,
            size: set.input.size.iter().copied().map(i64::from).collect(),
            outputs: set.labels.len() as i64,
            targets: scaling.targets.as_ref().map(|targets| Scales::new(targets, 0, device)),
            device,
        }
    }

    fn decode(&self, copied: &Copied) -> Batch {
        Batch {
            inputs: self.inputs.decode(copied.count, &copied.inputs),
            targets: self.decode_targets(copied),
        }
    }

    fn decode_targets(&self, copied: &Copied) -> Tensor {
        if copied.targets.is_empty() {
            return Tensor::zeros([0], (Kind::Float, self.device));
        }
        let raw = |shape: &[i64], kind| Tensor::from_data_size(&copied.targets, shape, kind).to_device(self.device);
        let count = copied.count as i64;
        match self.task {
            Task::Classify => raw(&[count], Kind::Int).to_kind(Kind::Int64),
            Task::Multilabel => raw(&[count, self.outputs], Kind::Uint8).to_kind(Kind::Float),
            Task::Segment => {
                let shape = [&[count], &self.size[..]].concat();
                raw(&shape, Kind::Uint8).to_kind(Kind::Int64)
            }
            Task::Regress => {
                let values = raw(&[count, self.outputs], Kind::Float);
                self.targets
                    .as_ref()
                    .map_or(values.shallow_clone(), |scales| scales.apply(&values))
            }
        }
    }
}
