//! Samples that a decoder gave, in a nameless file: a drop of tiles does not fit into memory, and nothing of it counts
//! before all of it has come.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek};
use std::path::Path;

use forecastd_config::{SampleForm, SampleLimits};
use forecastd_models::Timestamp;
use forecastd_models::dasha::SampleSet;

use super::protocol::{self, SampleReply, fits, invalid};
use crate::message::account::RowAccount;
use crate::message::rejected::Rejected;
use crate::message::sample::{Label, MaskLabel, Place, Sample, SampleDrop};

/// What stands in a file of samples.
#[derive(Debug)]
pub struct DecodedSamples {
    /// The samples to commit, in file order, each id once.
    pub samples: SpooledSamples,
    /// Rows seen and refused; nothing is committed or known to be a duplicate yet.
    pub account: RowAccount,
    /// The first refused rows, each with its row and column.
    pub told: Vec<String>,
}

/// Samples to be read once.
#[derive(Debug)]
pub struct SpooledSamples {
    file: BufReader<File>,
    left: u64,
}

impl SampleDrop for SpooledSamples {
    fn next(&mut self) -> io::Result<Option<Sample>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        protocol::receive(&mut self.file).map(Some)
    }
}

impl DecodedSamples {
    /// Receives what decoding gave, holding the child to the promises of the form.
    pub(super) fn receive(
        answer: &mut impl Read,
        form: &SampleForm,
        limits: &SampleLimits,
        latest: Timestamp,
        spool: &Path,
    ) -> io::Result<Result<Self, Rejected>> {
        let record = record_bytes(form);
        let mut file = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(spool)?);
        let mut samples = 0;
        loop {
            match protocol::receive(answer)? {
                SampleReply::Sample(sample) => {
                    samples += 1;
                    let is_early = sample.taken.time.is_none_or(|time| time <= latest);
                    let is_one = sample.elements.len() == record && is_told(&sample, form) && is_early;
                    if samples > limits.file_samples || !is_one {
                        return Err(invalid("a sample that no file can have"));
                    }
                    protocol::send(&mut file, &sample)?;
                }
                SampleReply::Done(account, told) if fits(&account, samples) => {
                    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                    file.rewind()?;
                    let samples = SpooledSamples {
                        file: BufReader::with_capacity(1 << 20, file),
                        left: samples,
                    };
                    return Ok(Ok(Self { samples, account, told }));
                }
                SampleReply::Done(..) => return Err(invalid("an account that does not fit its samples")),
                SampleReply::Rejected(rejected) => return Ok(Err(rejected)),
            }
        }
    }
}

/// Whether what is said of a sample is something that may be said.
fn is_told(sample: &Sample, form: &SampleForm) -> bool {
    let place = sample.taken.place;
    let is_on_earth = place.is_none_or(|Place { latitude, longitude }| Place::new(latitude, longitude).is_some());
    let label = sample.label.as_deref().map(Label::from_json);
    let is_label = match (label, &sample.mask) {
        (Some(Some(Label::Mask(label))), Some(mask)) => {
            let names = form.labels.as_deref().unwrap_or_default();
            mask.len() as u64 == form.shape.positions() && MaskLabel::of(mask, names) == Some(label)
        }
        (Some(None | Some(Label::Mask(_))), _) | (_, Some(_)) => false,
        (Some(Some(_)) | None, None) => true,
    };
    is_on_earth && is_label
}

fn record_bytes(form: &SampleForm) -> usize {
    let set = SampleSet {
        count: 0,
        input: form.shape.clone(),
        element: form.element.clone(),
        task: form.task,
        labels: Vec::new(),
        hash: String::new(),
        cells: forecastd_models::dasha::CellFormat::default(),
        series: None,
    };
    set.input_bytes()
}

#[cfg(test)]
mod tests {
    use forecastd_config::Config;
    use forecastd_models::dasha::Split;

    use super::*;
    use crate::message::sample::Taken;

    /// Whether this is believed of a child that reads tiles of two pixels, whose masks have two classes.
    fn is_believed(change: impl FnOnce(&mut Sample)) -> bool {
        let text = "state_dir: s\ndatasets: [{ name: a, kind: tiles, incoming: i, samples: { id: i, image: x, \
                    shape: [1, 1, 2], task: segment, label: m, labels: [land, road] } }]";
        let config = Config::parse(text, Path::new("/")).expect("a good file");
        let dataset = &config.samples[0];
        let mask = vec![0, 1];
        let label = MaskLabel::of(&mask, dataset.form.labels.as_deref().expect("two names"));
        let mut sample = Sample {
            id: "a".to_owned(),
            split: Split::Train,
            label: label.map(|label| Label::Mask(label).to_json()),
            mask: Some(mask),
            taken: Taken::default(),
            elements: vec![1, 2],
        };
        change(&mut sample);
        let account = RowAccount {
            seen: 1,
            ..RowAccount::default()
        };
        let mut frames = Vec::new();
        for reply in [SampleReply::Sample(sample), SampleReply::Done(account, Vec::new())] {
            protocol::send(&mut frames, &reply).expect("sent");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (form, limits) = (&dataset.form, &dataset.limits);
        let received = DecodedSamples::receive(&mut frames.as_slice(), form, limits, Timestamp(7), folder.path());
        received.is_ok_and(|verdict| verdict.is_ok())
    }

    #[test]
    fn a_child_is_believed_no_mask_and_no_place_that_cannot_be() {
        assert!(is_believed(|_| {}));
        assert!(is_believed(|sample| (sample.label, sample.mask) = (None, None)));
        assert!(!is_believed(|sample| sample.label = None), "a mask without a label");
        assert!(!is_believed(|sample| sample.mask = None), "a label without its mask");
        assert!(!is_believed(|sample| sample.mask = Some(vec![1, 0])), "another mask");
        assert!(
            !is_believed(|sample| sample.mask = Some(vec![0, 1, 1])),
            "of another size"
        );
        assert!(
            !is_believed(|sample| sample.mask = Some(vec![0, 7])),
            "of a class without a name"
        );
        let place = |latitude| Place {
            latitude,
            longitude: 0.0,
        };
        assert!(is_believed(|sample| sample.taken.time = Some(Timestamp(7))));
        assert!(
            !is_believed(|sample| sample.taken.time = Some(Timestamp(8))),
            "later than can be"
        );
        assert!(is_believed(|sample| sample.taken.place = Some(place(90.0))));
        for latitude in [90.1, f64::NAN] {
            assert!(!is_believed(|sample| sample.taken.place = Some(place(latitude))));
        }
    }
}
