//! Samples of tiles and sequences: elements in immutable segments, one a drop, and in the ledger what counts for each id.
//!
//! A row with the elements, the label, the split, the time and the place that count already is a duplicate. Any other is
//! committed, and counts from then on: its elements, its label, its split, its time and place. Of equal elements a row takes
//! nothing away by saying nothing: label, time and place stay what they were. A mask lies in the segment of its row, though,
//! so a row without one is a duplicate of equal elements with one, whatever else it says. Two masks are the same that have
//! the same bytes and the same names of their classes. Segments of samples are never merged and never expire; what a
//! revision replaced stays in its segment.

mod export;
mod predictions;
mod reader;
mod segment;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use forecastd_config::DatasetName;
use forecastd_models::dasha::{Split, mask};

pub use export::{Exported, SampleExport};
pub use reader::{KeptSample, SampleReader};
pub(super) use segment::is_of_samples;

use super::commit::check_books;
use super::error::StateError;
use super::ledger::{Ending, Ledger};
use super::segments::{self, Segment};
use super::{DropMeta, Store};
use crate::message::account::RowAccount;
use crate::message::sample::{ComparedMask, Label, MaskLabel, Sample, SampleDrop, SampleEntry, SamplePlace, Taken};
use segment::{Kept, Writer};

/// What counts for an id.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) place: SamplePlace,
    pub(super) split: Split,
    pub(super) label: Option<String>,
    pub(super) content: [u8; 32],
    pub(super) taken: Taken,
}

impl Known {
    /// Whether a sample of the same elements says nothing that is not known.
    fn says(&self, sample: &Sample) -> bool {
        let same_label = sample.label.is_none() || sample.label == self.label;
        let same_taken = sample.taken.or(self.taken) == self.taken;
        let all_the_same = same_label && self.split == sample.split && same_taken;
        all_the_same || (sample.label.is_none() && self.has_mask())
    }

    /// A sample of the same elements with what it leaves open. A mask cannot be told: its segment is damaged.
    fn complete(&self, sample: &mut Sample) {
        sample.taken = sample.taken.or(self.taken);
        if sample.label.is_none() && !self.has_mask() {
            sample.label.clone_from(&self.label);
        }
    }

    /// Whether its label is a mask.
    pub(super) fn has_mask(&self) -> bool {
        let label = self.label.as_deref().and_then(Label::from_json);
        matches!(label, Some(Label::Mask(_)))
    }
}

/// A drop whose samples are durable.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedSamples {
    /// Where its rows went.
    pub account: RowAccount,
    /// The samples that are new, or that count otherwise than before.
    pub fresh: Vec<SampleEntry>,
}

/// A dataset's samples, and the segments that could not be found as they were written.
#[derive(Debug, Default)]
pub struct RecoveredSamples {
    /// All that count and whose elements are there.
    pub entries: Vec<SampleEntry>,
    /// Why others are not.
    pub damaged: Vec<StateError>,
}

impl Store {
    /// Commits a drop's samples, each id once. `account` is what decoding counted; its `committed` is filled in here.
    /// When this returns, they survive a power cut. Errors are as in [`commit`](Self::commit).
    pub fn commit_samples(
        &mut self,
        meta: &DropMeta,
        samples: &mut dyn SampleDrop,
        mut account: RowAccount,
    ) -> Result<CommittedSamples, StateError> {
        let id = self.enter_dataset(&meta.dataset)?;
        let folder = self.folder(&meta.dataset);
        let live = self.ledger.segments(id)?;
        refuse_other_kind(&meta.dataset, &live, true)?;
        let live: HashMap<i64, Segment> = live.into_iter().map(|segment| (segment.sequence, segment)).collect();
        let sequence = self.ledger.next_drop()?;
        let mut writer = Writer::new(&self.disk, &folder, sequence, meta.received);
        let (mut fresh, mut seen_before) = (Vec::new(), Vec::new());
        let mut names = Names::default();
        let spool = self.spool();
        while let Some(mut sample) = samples.next().map_err(StateError::io("read", &spool))? {
            let content = *blake3::hash(&sample.elements).as_bytes();
            let before = self.ledger.sample(id, &sample.id)?;
            let before = before.filter(|known| known.content == content);
            if let Some(known) = &before
                && known.says(&sample)
                && self.is_there(&folder, live.get(&known.place.sequence))?
            {
                account.duplicate += 1;
                continue;
            }
            if let Some(known) = &before {
                known.complete(&mut sample);
            }
            let truth = sample.mask.as_deref().zip(sample.label.as_deref());
            let compared = self.compared(id, (&sample.id, &content), truth, &mut names)?;
            seen_before.push((before.is_some(), compared));
            let row = writer.push(&sample, &content)?;
            let known = Known {
                place: SamplePlace { sequence, row },
                split: sample.split,
                label: sample.label,
                content,
                taken: sample.taken,
            };
            fresh.push((sample.id, known));
        }
        account.committed = fresh.len() as u64;
        check_books(&meta.path, &account, fresh.len() as u64)?;
        let segment = writer.finish()?;
        let ending = Ending::Sampled {
            segment: segment.as_ref(),
            samples: &fresh,
        };
        self.ledger.record(id, &meta.clone().keyed(), &account, &ending)?;
        self.disk.step()?;
        if let Some(dataset) = self.datasets.get_mut(&meta.dataset) {
            dataset.newest = dataset.newest.max(segment.map(|segment| segment.newest));
        }
        let fresh = fresh.into_iter().zip(seen_before);
        let fresh = fresh.map(|((id, known), (same_elements, compared))| SampleEntry {
            same_elements,
            compared,
            ..entry(id, known)
        });
        let fresh = fresh.collect();
        Ok(CommittedSamples { account, fresh })
    }

    /// What versions said of the positions of these very elements, beside what is true of them: a mask and its label. Masks
    /// are kept by the state alone, so it is the state that compares them.
    fn compared(
        &self,
        dataset: i64,
        (id, content): (&str, &[u8; 32]),
        truth: Option<(&[u8], &str)>,
        names: &mut Names,
    ) -> Result<Vec<ComparedMask>, StateError> {
        let label = truth.and_then(|(truth, label)| Some((truth, Label::from_json(label)?)));
        let Some((truth, Label::Mask(label))) = label else {
            return Ok(Vec::new());
        };
        let said = self.ledger.said_masks(dataset, id, content, truth.len())?;
        let compared = said.into_iter().map(|said| {
            let pairs = mask::compare(truth, &said.mask).into_iter();
            // No sample has as many positions as four bytes count.
            let placed = pairs.filter_map(|(of_truth, of_said, count)| {
                Some((said.label.place(of_said)?, label.place(of_truth)?, count as u32))
            });
            ComparedMask {
                version: said.version,
                said: names.of(&said.label),
                truth: names.of(&label),
                pairs: placed.collect(),
            }
        });
        Ok(compared.collect())
    }

    /// Tells what counts for each id of a dataset. No segment is read: of each only its length is looked at.
    pub fn recover_samples(&self, dataset: &DatasetName) -> Result<RecoveredSamples, StateError> {
        let Some(known) = self.datasets.get(dataset) else {
            return Ok(RecoveredSamples::default());
        };
        recover(&self.ledger, known.id, dataset, &self.folder(dataset))
    }

    /// Hands the elements of samples to `take`, segment by segment and in the order of rows. Only these segments are read,
    /// each after it was held against its hash.
    pub fn read_samples(
        &self,
        dataset: &DatasetName,
        places: &[SamplePlace],
        mut take: impl FnMut(SamplePlace, &[u8]) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let take = |place, kept: Kept<'_>| take(place, kept.elements);
        let Some(known) = self.datasets.get(dataset) else {
            return Ok(());
        };
        read(&self.ledger, known.id, &self.folder(dataset), places, take)
    }

    fn is_there(&self, folder: &Path, segment: Option<&Segment>) -> Result<bool, StateError> {
        segment.map_or(Ok(false), |segment| self.is_sound(folder, segment))
    }
}

/// Names of classes, of which most masks have the same: each list once.
#[derive(Debug, Default)]
struct Names(HashSet<Arc<[String]>>);

impl Names {
    fn of(&mut self, label: &MaskLabel) -> Arc<[String]> {
        let names: Vec<String> = label.classes.iter().map(|(_, name, _)| name.clone()).collect();
        if let Some(known) = self.0.get(names.as_slice()) {
            return Arc::clone(known);
        }
        let names: Arc<[String]> = names.into();
        self.0.insert(Arc::clone(&names));
        names
    }
}

/// What counts for each id of a dataset whose segments lie in this folder.
fn recover(ledger: &Ledger, id: i64, dataset: &str, folder: &Path) -> Result<RecoveredSamples, StateError> {
    let live = ledger.segments(id)?;
    refuse_other_kind(dataset, &live, true)?;
    let (mut gone, mut damaged) = (HashSet::new(), Vec::new());
    for segment in &live {
        if let Err(error) = segment::look(folder, segment) {
            if !matches!(error, StateError::Damaged { .. }) {
                return Err(error);
            }
            gone.insert(segment.sequence);
            damaged.push(error);
        }
    }
    let mut entries = ledger.samples(id)?;
    entries.retain(|entry| !gone.contains(&entry.place.sequence));
    Ok(RecoveredSamples { entries, damaged })
}

/// Hands samples to `take`, segment by segment and in the order of rows.
fn read(
    ledger: &Ledger,
    id: i64,
    folder: &Path,
    places: &[SamplePlace],
    mut take: impl FnMut(SamplePlace, Kept<'_>) -> Result<(), StateError>,
) -> Result<(), StateError> {
    let wanted: HashSet<SamplePlace> = places.iter().copied().collect();
    let sequences: HashSet<i64> = places.iter().map(|place| place.sequence).collect();
    for segment in ledger.segments(id)? {
        let sequence = segment.sequence;
        if !sequences.contains(&sequence) {
            continue;
        }
        segments::verify(folder, &segment)?;
        segment::read(folder, &segment, |row, kept| {
            let place = SamplePlace { sequence, row };
            if wanted.contains(&place) {
                take(place, kept)
            } else {
                Ok(())
            }
        })?;
    }
    Ok(())
}

fn entry(id: String, known: Known) -> SampleEntry {
    SampleEntry {
        id: id.into(),
        place: known.place,
        split: known.split,
        label: known.label.as_deref().and_then(Label::from_json),
        taken: known.taken,
        same_elements: false,
        compared: Vec::new(),
    }
}

/// A name that has been used for series holds no samples, and the other way round.
pub(super) fn refuse_other_kind(dataset: &str, live: &[Segment], samples: bool) -> Result<(), StateError> {
    match live.iter().any(|segment| is_of_samples(segment) != samples) {
        true => Err(StateError::OtherKind {
            dataset: dataset.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Holds a segment of samples against its hash and its manifest entry.
pub(super) fn check(folder: &Path, segment: &Segment) -> Result<(), StateError> {
    segments::verify(folder, segment)?;
    let mut rows = 0;
    segment::read(folder, segment, |row, kept| {
        rows += 1;
        let wrong = |what: &str| {
            let detail = format!("row {row}: its {what} not what the hash says");
            Err(StateError::damaged(&folder.join(&segment.file), detail))
        };
        if blake3::hash(kept.elements).as_bytes() != kept.content {
            return wrong("elements are");
        }
        let label = kept.label.and_then(Label::from_json);
        let of_label = match &label {
            Some(Label::Mask(label)) => Some(label.mask.0),
            _ => None,
        };
        match kept.mask.map(|mask| *blake3::hash(mask).as_bytes()) == of_label {
            true => Ok(()),
            false => wrong("mask is"),
        }
    })?;
    if rows != segment.rows {
        let detail = format!("{rows} rows, the manifest says {}", segment.rows);
        return Err(StateError::damaged(&folder.join(&segment.file), detail));
    }
    Ok(())
}

/// Holds what the ledger says of samples against the segments, all of them read in order; says what differs.
pub(super) fn check_index(
    ledger: &Ledger,
    dataset: i64,
    folder: &Path,
    live: &[Segment],
) -> Result<Vec<String>, StateError> {
    let mut counts = BTreeMap::new();
    for segment in live {
        let sequence = segment.sequence;
        let read = segment::read(folder, segment, |row, kept| -> Result<(), StateError> {
            let known = Known {
                place: SamplePlace { sequence, row },
                split: kept.split,
                label: kept.label.map(str::to_owned),
                content: *kept.content,
                taken: kept.taken,
            };
            counts.insert(kept.id.to_owned(), entry(kept.id.to_owned(), known));
            Ok(())
        });
        match read {
            // Its rows are missing, which is told of the segment itself.
            Err(StateError::Damaged { .. }) => return Ok(Vec::new()),
            read => read?,
        }
    }
    let mut wrong = Vec::new();
    for entry in ledger.samples(dataset)? {
        match counts.remove(&*entry.id) {
            Some(found) if found == entry => {}
            found => wrong.push(format!(
                "sample {:?} is said to be {entry:?}, the segments say {found:?}",
                entry.id
            )),
        }
    }
    wrong.extend(
        counts
            .into_keys()
            .map(|id| format!("sample {id:?} lies in a segment, and the ledger does not know it")),
    );
    Ok(wrong)
}
