//! Samples that a decoder gave, in a nameless file: a drop of tiles does not fit into memory, and nothing of it counts
//! before all of it has come.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek};
use std::path::Path;

use forecastd_config::{SampleForm, SampleLimits};
use forecastd_models::dasha::SampleSet;

use super::protocol::{self, SampleReply, fits, invalid};
use crate::message::account::RowAccount;
use crate::message::rejected::Rejected;
use crate::message::sample::{Label, Sample, SampleDrop};

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
        spool: &Path,
    ) -> io::Result<Result<Self, Rejected>> {
        let record = record_bytes(form);
        let mut file = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(spool)?);
        let mut samples = 0;
        loop {
            match protocol::receive(answer)? {
                SampleReply::Sample(sample) => {
                    samples += 1;
                    let label = sample.label.as_deref().map(Label::from_json);
                    if samples > limits.file_samples || sample.elements.len() != record || label == Some(None) {
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
