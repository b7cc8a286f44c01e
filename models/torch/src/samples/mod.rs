//! The labelled samples of a run, mapped from its folder and asked every question before anything trusts them.
//!
//! The files stay on disk: what a batch needs is read into the page cache as it is needed, and the kernel may let go
//! of it again. [`Loader`] makes tensors of them.

mod decoder;
mod error;
mod loader;
mod mapped;
mod measure;
mod record;

use std::fs;
use std::path::{Path, PathBuf};

use forecastd_models::dasha::samples::NO_CLASS;
use forecastd_models::dasha::{ElementType, SampleSet, Split, Task};
use memmap2::Mmap;

pub(crate) use decoder::{InputDecoder, Scales};
pub use error::SamplesError;
pub use loader::{Batch, Epoch, Loader, LoaderOptions};

use mapped::map_records;

/// The most bytes that a description has.
const MAX_DESCRIPTION: u64 = 64 << 20;

/// Samples in a run's folder, with targets and splits, or without either where they are to be predicted.
#[derive(Debug)]
pub struct Samples {
    set: SampleSet,
    folder: PathBuf,
    inputs: Mmap,
    targets: Option<Mmap>,
    splits: [Vec<u32>; 3],
}

impl Samples {
    /// Maps the files of a folder and checks their lengths, every target and every split. Inputs are checked where
    /// they are read: by [`scaling`](Self::scaling), or one by one.
    ///
    /// # Errors
    ///
    /// The file, and the sample in it, that is not as the description says.
    pub fn open(folder: &Path) -> Result<Self, SamplesError> {
        let set = read_description(&folder.join("samples.json"))?;
        let inputs_path = folder.join("inputs.bin");
        let inputs = map_records(&inputs_path, set.count, set.input_bytes())?
            .ok_or_else(|| SamplesError::missing(&inputs_path))?;
        let targets = map_records(&folder.join("targets.bin"), set.count, set.target_bytes())?;
        let split_bytes = map_records(&folder.join("splits.bin"), set.count, 1)?;
        let splits = match &split_bytes {
            Some(bytes) => sort_by_split(bytes, &folder.join("splits.bin"))?,
            None => Default::default(),
        };
        let samples = Self {
            set,
            folder: folder.to_owned(),
            inputs,
            targets,
            splits,
        };
        samples.check_targets()?;
        Ok(samples)
    }

    /// What lies in the files.
    pub fn set(&self) -> &SampleSet {
        &self.set
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.set.count as usize
    }

    /// The samples of one split, in their order. None where there are no splits.
    pub fn of(&self, split: Split) -> &[u32] {
        &self.splits[split as usize]
    }

    /// Whether it is known what they show.
    pub fn has_targets(&self) -> bool {
        self.targets.is_some()
    }

    /// How often each class occurs among the samples of a split, pixels counted one by one; empty for regression,
    /// and without targets.
    pub fn class_counts(&self, split: Split) -> Vec<u64> {
        if self.set.task == Task::Regress || self.targets.is_none() {
            return Vec::new();
        }
        let mut counts = vec![0; self.set.labels.len()];
        for index in self.of(split) {
            record::count_classes(self.set.task, self.target(*index), &mut counts);
        }
        counts
    }

    /// One sample's input, as it lies in the file.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn input(&self, index: u32) -> &[u8] {
        record::of(&self.inputs, index, self.set.input_bytes())
    }

    /// One sample's target, as it lies in the file; no bytes where there are none.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn target(&self, index: u32) -> &[u8] {
        match &self.targets {
            Some(targets) => record::of(targets, index, self.set.target_bytes()),
            None => &[],
        }
    }

    /// Whether every element of one sample's input is a finite number, or a letter of the alphabet.
    ///
    /// # Errors
    ///
    /// The sample and the band where it is not.
    pub fn check_input(&self, index: u32) -> Result<(), SamplesError> {
        record::fault(&self.set, self.input(index)).map_or(Ok(()), |reason| {
            Err(SamplesError::Sample {
                path: self.folder.join("inputs.bin"),
                sample: index,
                reason,
            })
        })
    }

    fn check_targets(&self) -> Result<(), SamplesError> {
        for index in 0..self.set.count as u32 {
            if let Some(reason) = record::target_fault(&self.set, self.target(index)) {
                return Err(SamplesError::Sample {
                    path: self.folder.join("targets.bin"),
                    sample: index,
                    reason,
                });
            }
        }
        Ok(())
    }
}

fn read_description(path: &Path) -> Result<SampleSet, SamplesError> {
    let unreadable = |source| SamplesError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let described = |reason: String| SamplesError::Description {
        path: path.to_owned(),
        reason,
    };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_DESCRIPTION {
        return Err(described(format!("{length} bytes; at most {MAX_DESCRIPTION} are read")));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let set: SampleSet = serde_json::from_slice(&bytes).map_err(|error| described(error.to_string()))?;
    match description_fault(&set) {
        Some(reason) => Err(described(reason)),
        None => Ok(set),
    }
}

/// Everything that the arithmetic on records relies on.
fn description_fault(set: &SampleSet) -> Option<String> {
    let bands = u64::from(set.input.bands);
    let elements = set
        .input
        .size
        .iter()
        .try_fold(bands, |product, size| product.checked_mul(u64::from(*size)));
    let labels = set.labels.len();
    if set.count == 0 || set.count > u64::from(u32::MAX) {
        return Some(format!("count is {}; it must lie in 1..={}", set.count, u32::MAX));
    }
    if !matches!(set.input.size.len(), 1 | 2) {
        return Some(format!(
            "samples of {} axes; one or two are taken",
            set.input.size.len()
        ));
    }
    if !elements.is_some_and(|elements| (1..=1 << 30).contains(&elements)) {
        return Some("a sample has no element, or more than 2^30".to_owned());
    }
    if labels == 0 || (set.task == Task::Segment && labels > usize::from(NO_CLASS)) {
        return Some(format!("{labels} labels"));
    }
    match &set.element {
        ElementType::Symbol { alphabet } => {
            let letters = alphabet.chars().count();
            let agree = letters as u64 == bands && letters < 255;
            (!agree).then(|| format!("an alphabet of {letters} letters for {bands} bands; at most 254 are taken"))
        }
        _ => None,
    }
}

fn sort_by_split(bytes: &[u8], path: &Path) -> Result<[Vec<u32>; 3], SamplesError> {
    let mut splits: [Vec<u32>; 3] = Default::default();
    for (sample, byte) in (0..).zip(bytes) {
        let split = Split::from_byte(*byte).ok_or_else(|| SamplesError::Sample {
            path: path.to_owned(),
            sample,
            reason: format!("{byte} is no split"),
        })?;
        splits[split as usize].push(sample);
    }
    Ok(splits)
}

#[cfg(test)]
pub(crate) mod tests;
