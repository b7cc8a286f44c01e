//! Labelled samples become the flat files that a run of the libtorch child maps (`forecastd_models::dasha::samples`).
//!
//! They may be gigabytes, so this is no work for the thread that writes the state: it has a look at the ledger of its own,
//! and segments of samples never change and never go.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use forecastd_config::{DatasetName, SampleForm};
use forecastd_models::dasha::{CellFormat, LabelKind, SampleSet, SplitCounts, TrainingSet};

use super::segment::Kept;
use crate::message::sample::{Label, SampleEntry, SamplePlace};
use crate::state::error::StateError;
use crate::state::ledger::Ledger;

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// What the samples are.
    pub set: SampleSet,
    /// Samples that have a label, but none that can be used: of a class that is not learnt, or a mask whose numbers were
    /// called otherwise when it came.
    pub left_out: u64,
    /// Whether validation got a part of the samples for training, since none was for it.
    pub cuts: bool,
}

/// A look at samples, beside a daemon or without one.
#[derive(Debug)]
pub struct SampleExport {
    ledger: Ledger,
    state_dir: PathBuf,
}

impl SampleExport {
    /// Opens the ledger to look at it.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        Ok(Self {
            ledger: Ledger::open_read_only(&state_dir.join("ledger.sqlite"))?,
            state_dir: state_dir.to_owned(),
        })
    }

    /// Writes every sample that has a label, and came with this drop or before, into a folder, in the order in which they
    /// were committed; the description comes last. Which are left out and which are for validation is [`TrainingSet`]'s to
    /// say. Without any, an empty set. `goes_on` is asked before each.
    ///
    /// # Errors
    /// A damaged segment, samples of another shape, a folder that cannot be written, or it is not to go on.
    pub fn write(
        &self,
        dataset: &DatasetName,
        form: &SampleForm,
        through: i64,
        folder: &Path,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Exported, StateError> {
        let segments = self.state_dir.join("segments").join(&**dataset);
        let id = self.ledger.dataset(dataset)?;
        let mut entries = match id {
            Some(id) => super::recover(&self.ledger, id, dataset, &segments)?.entries,
            None => Vec::new(),
        };
        entries.retain(|entry| entry.place.sequence <= through);
        entries.retain(|entry| entry.label.is_some());
        let labelled = entries.len() as u64;
        let training = training_set(form, &entries);
        fs::create_dir_all(folder).map_err(StateError::io("make the folder", folder))?;
        // A folder with a description is whole, so what describes an earlier attempt goes first.
        let description = folder.join("samples.json");
        match fs::remove_file(&description) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StateError::io("remove", &description)(error));
            }
            _ => {}
        }
        let places: Vec<SamplePlace> = entries.iter().map(|entry| entry.place).collect();
        let mut set = SampleSet {
            count: 0,
            input: form.shape.clone(),
            element: form.element.clone(),
            task: form.task,
            labels: training.outputs().to_vec(),
            hash: String::new(),
            cells: CellFormat {
                layout: form.layout,
                mask_threshold: form.mask_threshold,
            },
            series: None,
        };
        let mut hasher = blake3::Hasher::new();
        let mut inputs = Records::create(folder, "inputs.bin")?;
        let mut targets = Records::create(folder, "targets.bin")?;
        let mut splits = Records::create(folder, "splits.bin")?;
        let append = |_, kept: Kept<'_>| {
            if !goes_on() {
                return Err(StateError::GivenUp);
            }
            let label = kept.label.and_then(Label::from_json);
            let Some(label) = label.filter(|label| training.takes(&label.kind())) else {
                return Ok(());
            };
            if kept.elements.len() != set.input_bytes() {
                return Err(StateError::OtherShape {
                    dataset: dataset.to_string(),
                    found: kept.elements.len(),
                    expected: set.input_bytes(),
                });
            }
            let Some(target) = target_of(&set, &label, kept.mask) else {
                return Ok(());
            };
            let split = [training.split(kept.split, kept.id) as u8];
            hasher.update(&target).update(&split).update(kept.elements);
            inputs.append(kept.elements)?;
            targets.append(&target)?;
            splits.append(&split)?;
            set.count += 1;
            Ok(())
        };
        if let Some(id) = id {
            super::read(&self.ledger, id, &segments, &places, append)?;
        }
        for file in [inputs, targets, splits] {
            file.finish()?;
        }
        set.hash = hasher.finalize().to_hex().to_string();
        let text = serde_json::to_vec_pretty(&set).expect("a description is plain data");
        let mut partial = Records::create(folder, "samples.json.partial")?;
        partial.append(&text)?;
        partial.finish()?;
        let renamed = fs::rename(folder.join("samples.json.partial"), &description);
        renamed.map_err(StateError::io("rename into place", &description))?;
        Ok(Exported {
            left_out: labelled - set.count,
            cuts: training.cuts(),
            set,
        })
    }
}

/// What a training takes of these samples.
fn training_set(form: &SampleForm, entries: &[SampleEntry]) -> TrainingSet {
    let mut counts = BTreeMap::<LabelKind, SplitCounts>::new();
    for entry in entries {
        if let Some(label) = &entry.label {
            let counts = counts.entry(label.kind()).or_default();
            counts.count(entry.split, &entry.id, |count| *count += 1);
        }
    }
    let counts = counts.iter().map(|(kind, counts)| (kind, *counts));
    TrainingSet::new(form.task, form.outputs(), counts)
}

/// A sample's target record. None where a label is not one for this set, or its mask is not there.
fn target_of(set: &SampleSet, label: &Label, mask: Option<&[u8]>) -> Option<Vec<u8>> {
    let place = |class: &String| set.labels.iter().position(|label| label == class);
    Some(match label {
        Label::Class(class) => (place(class)? as u32).to_le_bytes().to_vec(),
        Label::Classes(classes) => {
            let mut record = vec![0; set.labels.len()];
            for class in classes {
                record[place(class)?] = 1;
            }
            record
        }
        Label::Numbers(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        Label::Mask(_) => mask.filter(|mask| mask.len() == set.target_bytes())?.to_vec(),
    })
}

/// A file in the making.
struct Records {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Records {
    fn create(folder: &Path, name: &str) -> Result<Self, StateError> {
        let path = folder.join(name);
        let file = File::create(&path).map_err(StateError::io("create", &path))?;
        let writer = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { path, writer })
    }

    fn append(&mut self, record: &[u8]) -> Result<(), StateError> {
        self.writer
            .write_all(record)
            .map_err(StateError::io("write", &self.path))
    }

    /// Everything on the disk.
    fn finish(mut self) -> Result<(), StateError> {
        let flushed = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        flushed.map_err(StateError::io("write", &self.path))
    }
}
