//! One record of the flat files: where it lies, what it says, whether it may say so.

pub(super) use forecastd_models::dasha::samples::numbers;
use forecastd_models::dasha::samples::{NO_CLASS, input_fault};
use forecastd_models::dasha::{SampleSet, Task};

/// The record of one sample.
pub(super) fn of(bytes: &[u8], index: u32, length: usize) -> &[u8] {
    let start = index as usize * length;
    &bytes[start..start + length]
}

/// The singles of a record.
pub(super) fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

fn class_of(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes))
}

/// What is wrong with an input.
pub(super) fn fault(set: &SampleSet, bytes: &[u8]) -> Option<String> {
    input_fault(&set.input, &set.element, bytes)
}

/// What is wrong with a target.
pub(super) fn target_fault(set: &SampleSet, bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return None; // not known
    }
    let classes = set.labels.len();
    match set.task {
        Task::Classify => {
            let class = class_of(bytes);
            (class as usize >= classes).then(|| format!("class {class} of {classes}"))
        }
        Task::Multilabel => {
            let (label, byte) = bytes.iter().enumerate().find(|(_, byte)| **byte > 1)?;
            Some(format!("label {label}: {byte} is neither 0 nor 1"))
        }
        Task::Segment => {
            let strange = |class: u8| class != NO_CLASS && usize::from(class) >= classes;
            let (position, class) = bytes.iter().enumerate().find(|(_, class)| strange(**class))?;
            Some(format!("position {position}: class {class} of {classes}"))
        }
        Task::Regress => {
            let (output, value) = floats(bytes).enumerate().find(|(_, value)| !value.is_finite())?;
            Some(format!("output {output}: {value}"))
        }
    }
}

/// Adds what one target shows to the counts of all classes.
pub(super) fn count_classes(task: Task, bytes: &[u8], counts: &mut [u64]) {
    match task {
        Task::Classify => counts[class_of(bytes) as usize] += 1,
        Task::Multilabel => {
            for (count, byte) in counts.iter_mut().zip(bytes) {
                *count += u64::from(*byte);
            }
        }
        Task::Segment => {
            for class in bytes.iter().filter(|class| **class != NO_CLASS) {
                counts[usize::from(*class)] += 1;
            }
        }
        Task::Regress => {}
    }
}
