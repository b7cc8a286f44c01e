//! What lies beside the weights of a trained network, `model.json`: all that is needed to use it; and which files make
//! an artifact.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::architecture::{Architecture, ArchitectureError, Task};
use super::augmentation::complement_bands;
use super::normalisation::Scaling;
use super::samples::{CellFormat, ElementType, NO_CLASS, filled, input_bytes};
use super::windows::SeriesWindows;

/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// The files of an artifact, the card last: a folder with a card is whole.
pub const ARTIFACT_FILES: [&str; 4] = ["weights.safetensors", "model.json", "BLAKE3SUMS", "card.json"];

/// Digits of a BLAKE3 hash in hexadecimal.
const HASH_DIGITS: usize = 64;

/// A trained network but for its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// [`FORMAT`].
    pub format: u32,
    /// The network, task and shape of its input included.
    pub architecture: Architecture,
    /// What elements of an input are, before scaling.
    pub element: ElementType,
    /// How the cells of a file become such elements.
    #[serde(default)]
    pub cells: CellFormat,
    /// Whether what it says of a sequence is the mean of what it says of both strands.
    #[serde(default)]
    pub both_strands: bool,
    /// What inputs and targets went through.
    pub scaling: Scaling,
    /// Names of the outputs.
    pub labels: Vec<String>,
    /// Of a network that forecasts series, what there is to know beyond its shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesWindows>,
    /// BLAKE3 of `weights.safetensors`, in hexadecimal.
    pub weights_hash: String,
}

/// Why a description is of no use.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DescriptionError {
    /// Another version wrote it.
    #[error("format {0}; this version reads {FORMAT}")]
    Format(u32),
    /// There is no such network.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Parts that must agree do not.
    #[error("{what}: {found}, where the architecture has {expected}")]
    Disagrees {
        /// What was counted.
        what: &'static str,
        /// So many.
        found: usize,
        /// What the architecture says.
        expected: u32,
    },
    /// A mean or deviation is missing, not finite or not above zero, or there is one for classes.
    #[error("the scaling of {0} does not fit the architecture")]
    Scaling(&'static str),
    /// A pixel's class is one byte.
    #[error("{0} classes of pixels; at most {NO_CLASS} are taken")]
    Classes(usize),
    /// Only letters of nucleic acids have partners.
    #[error("both_strands, but the inputs are no sequences of nucleotides with one answer each")]
    Strands,
    /// Windows of series are numbers in one band, and what follows them are numbers.
    #[error("series, but the network takes no single band of numbers, or does not regress")]
    Series,
    /// It is no BLAKE3 in hexadecimal.
    #[error("weights_hash is not {HASH_DIGITS} hexadecimal digits")]
    Hash,
}

impl ModelDescription {
    /// Bytes of one sample's record in `inputs.bin`.
    pub fn input_bytes(&self) -> usize {
        input_bytes(&self.architecture.input, &self.element)
    }

    /// Bytes of one sample's record in an answer (see [`inference`](crate::inference)).
    pub fn output_bytes(&self) -> usize {
        match self.architecture.task {
            Task::Segment => self.architecture.input.positions() as usize,
            Task::Classify | Task::Multilabel | Task::Regress => size_of::<f32>() * self.labels.len(),
        }
    }

    /// Takes the classes away from the positions of answers that only fill shorter sequences up: a network says something
    /// of each, and of those it means nothing. Inputs and answers are the records of the same samples.
    pub fn unsay_fill(&self, inputs: &[u8], answers: &mut [u8]) {
        let is_filled_up = matches!(self.element, ElementType::Symbol { .. });
        if self.architecture.task != Task::Segment || !is_filled_up {
            return;
        }
        let (input, output) = (self.input_bytes().max(1), self.output_bytes().max(1));
        for (input, mask) in inputs.chunks_exact(input).zip(answers.chunks_exact_mut(output)) {
            let filled = filled(&self.element, input, mask.len());
            mask[filled..].fill(NO_CLASS);
        }
    }

    /// Whether its parts fit one another: everything a reader of an untrusted file must ask before it builds.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), DescriptionError> {
        if self.format != FORMAT {
            return Err(DescriptionError::Format(self.format));
        }
        self.architecture.check()?;
        let (bands, outputs) = (self.architecture.input.bands, self.architecture.outputs);
        let agree = |what, found: usize, expected: u32| match found == expected as usize {
            true => Ok(()),
            false => Err(DescriptionError::Disagrees { what, found, expected }),
        };
        if self.architecture.task == Task::Segment && self.labels.len() > usize::from(NO_CLASS) {
            return Err(DescriptionError::Classes(self.labels.len()));
        }
        agree("labels", self.labels.len(), outputs)?;
        if let ElementType::Symbol { alphabet } = &self.element {
            agree("letters of the alphabet", alphabet.chars().count(), bands)?;
        }
        if self.both_strands && !has_two_strands(&self.element, self.architecture.task) {
            return Err(DescriptionError::Strands);
        }
        let is_forecaster = self.element == ElementType::F32 && bands == 1 && self.architecture.task == Task::Regress;
        if self.series.is_some() && !(is_forecaster && self.architecture.input.size.len() == 1) {
            return Err(DescriptionError::Series);
        }
        if !self.scaling.inputs.fits(bands as usize) {
            return Err(DescriptionError::Scaling("inputs"));
        }
        let targets = match (&self.scaling.targets, self.architecture.task) {
            (Some(targets), Task::Regress) => targets.fits(outputs as usize),
            (None, task) => task != Task::Regress,
            (Some(_), _) => false,
        };
        if !targets {
            return Err(DescriptionError::Scaling("targets"));
        }
        let digits = self.weights_hash.bytes().filter(u8::is_ascii_hexdigit).count();
        if digits != HASH_DIGITS || self.weights_hash.len() != HASH_DIGITS {
            return Err(DescriptionError::Hash);
        }
        Ok(())
    }
}

/// Whether a mean over both strands has a meaning: an answer for each position would have to be turned too.
pub fn has_two_strands(element: &ElementType, task: Task) -> bool {
    let ElementType::Symbol { alphabet } = element else {
        return false;
    };
    task != Task::Segment && complement_bands(alphabet).is_some()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::dasha::normalisation::Normalisation;
    use crate::dasha::samples::NO_SYMBOL;
    use crate::dasha::{Backbone, Extras, InputShape};
    use crate::time::Timestamp;

    pub(crate) fn sound() -> ModelDescription {
        let backbone = Backbone::ResNet { width: 8 };
        let architecture = Architecture {
            pattern: backbone.plain_pattern(),
            backbone,
            input: InputShape {
                bands: 5,
                size: vec![100],
            },
            task: Task::Classify,
            outputs: 2,
            extras: Extras::default(),
            forecasts: false,
        };
        ModelDescription {
            format: FORMAT,
            architecture,
            element: ElementType::Symbol {
                alphabet: "ACGTN".to_owned(),
            },
            cells: CellFormat::default(),
            both_strands: true,
            scaling: Scaling {
                inputs: Normalisation::identity(5),
                targets: None,
            },
            labels: vec!["no".to_owned(), "yes".to_owned()],
            weights_hash: "0".repeat(64),
            series: None,
        }
    }

    #[test]
    fn a_description_survives_json() {
        let text = serde_json::to_string(&sound()).expect("it is plain data");
        let read: ModelDescription = serde_json::from_str(&text).expect("it was just written");
        assert_eq!(read, sound());
        assert_eq!(read.check(), Ok(()));
    }

    #[test]
    fn records_are_as_long_as_samples_and_labels_say() {
        let mut description = sound();
        assert_eq!((description.input_bytes(), description.output_bytes()), (100, 8));
        description.element = ElementType::F32;
        description.architecture.task = Task::Segment;
        assert_eq!((description.input_bytes(), description.output_bytes()), (2000, 100));
    }

    #[test]
    fn of_the_positions_that_fill_a_sequence_up_an_answer_says_nothing() {
        let mut description = sound();
        description.architecture.input.size = vec![3];
        let inputs = [0, 1, 1, 0, NO_SYMBOL, 4, 2, NO_SYMBOL, NO_SYMBOL];
        let unsaid = |description: &ModelDescription| {
            let mut answers = [1; 9];
            description.unsay_fill(&inputs, &mut answers);
            answers
        };
        assert_eq!(unsaid(&description), [1; 9], "an answer for each sequence is no mask");
        description.architecture.task = Task::Segment;
        assert_eq!(unsaid(&description), [1, 1, 1, 1, 1, 1, 1, NO_CLASS, NO_CLASS]);
        description.element = ElementType::U8;
        assert_eq!(unsaid(&description), [1; 9], "pixels fill nothing up");
    }

    #[test]
    fn parts_that_do_not_fit_are_told() {
        let told = |change: fn(&mut ModelDescription)| {
            let mut changed = sound();
            change(&mut changed);
            changed.check().expect_err("it does not fit").to_string()
        };
        assert!(told(|d| d.format = 2).contains("format 2"));
        assert!(told(|d| d.architecture.outputs = 0).contains("outputs is 0"));
        assert!(told(|d| d.labels.truncate(1)).contains("labels: 1, where the architecture has 2"));
        assert!(told(|d| d.scaling.inputs.0[3].deviation = 0.0).contains("scaling of inputs"));
        assert!(told(|d| d.architecture.task = Task::Regress).contains("scaling of targets"));
        assert!(told(|d| d.scaling.targets = Some(Normalisation::identity(2))).contains("scaling of targets"));
        assert!(
            told(|d| d.element = ElementType::Symbol {
                alphabet: "ACDEF".to_owned() // amino acids
            })
            .contains("both_strands")
        );
        assert!(
            told(|d| d.series = Some(SeriesWindows {
                seen_until: Timestamp(0)
            }))
            .contains("series, but")
        );
        assert!(told(|d| d.weights_hash = "../../x".to_owned()).contains("hexadecimal"));
        assert!(
            told(|d| d.element = ElementType::Symbol {
                alphabet: "ACGT".to_owned()
            })
            .contains("letters of the alphabet: 4")
        );
    }
}
