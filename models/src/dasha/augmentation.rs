//! What may be done to training samples without changing what they show.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::architecture::{InputShape, Task};
use super::samples::ElementType;

/// How training samples are varied. The default leaves them as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Every other tile is mirrored from left to right.
    pub flip_horizontal: bool,
    /// Every other tile is mirrored from top to bottom.
    pub flip_vertical: bool,
    /// Square tiles are turned by none to three quarters.
    pub quarter_turns: bool,
    /// Tiles are turned by up to so many degrees either way; what comes in from outside is the band's mean.
    pub rotation: f64,
    /// Samples are moved by up to so many positions either way along each axis.
    pub shift: u32,
    /// A band's values are moved, all alike in one sample, by up to so many deviations either way.
    pub brightness: f64,
    /// The part of the sequences that are read from the other strand.
    pub reverse_complement: f64,
    /// Part of a sample is another's (arXiv 1905.04899); the share is beta distributed with this alpha, 0 never.
    pub cut_mix: f64,
    /// Samples are averaged with others (arXiv 1710.09412); the share is beta distributed with this alpha, 0 never.
    pub mix_up: f64,
}

/// Why samples cannot be varied so.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AugmentationError {
    /// A number is out of its range.
    #[error("{name} is {found}; it must lie in 0..={most}")]
    Range {
        /// The option.
        name: &'static str,
        /// What it says.
        found: f64,
        /// The most.
        most: f64,
    },
    /// The option is meant for other samples.
    #[error("{name} is for {only} only")]
    Misplaced {
        /// The option.
        name: &'static str,
        /// What it is for.
        only: &'static str,
    },
    /// There is no such option, or its number is none.
    #[error("{word:?} is none of {OPTIONS}")]
    Unknown {
        /// What was asked for.
        word: String,
    },
    /// Letters without a partner on the other strand.
    #[error("letters \"{0}\" are no nucleotides: they have no reverse complement")]
    NoComplement(String),
}

/// What [`Augmentation`] is parsed from; a number after `=` takes the place of the usual one.
const OPTIONS: &str = "none, horizontal-flip, vertical-flip, quarter-turns, rotation=90, shift=4, brightness=0.2, \
                       reverse-complement=0.5, cut-mix=1, mix-up=0.2";

/// Options with commas between them, such as `horizontal-flip,cut-mix=0.5`.
impl FromStr for Augmentation {
    type Err = AugmentationError;

    fn from_str(text: &str) -> Result<Self, AugmentationError> {
        let mut augmentation = Self::default();
        for word in text.split(',').map(str::trim) {
            let known = augmentation.add(word);
            known.ok_or_else(|| AugmentationError::Unknown { word: word.to_owned() })?;
        }
        Ok(augmentation)
    }
}

impl Augmentation {
    fn add(&mut self, word: &str) -> Option<()> {
        let (name, number) = match word.split_once('=') {
            Some((name, number)) => (name, Some(number.parse::<f64>().ok()?)),
            None => (word, None),
        };
        let usual = |usual: f64| Some(number.unwrap_or(usual));
        match name {
            "rotation" => self.rotation = usual(90.0)?,
            "shift" => self.shift = usual(4.0).filter(|shift| shift.fract() == 0.0 && *shift >= 0.0)? as u32,
            "brightness" => self.brightness = usual(0.2)?,
            "reverse-complement" => self.reverse_complement = usual(0.5)?,
            "cut-mix" => self.cut_mix = usual(1.0)?,
            "mix-up" => self.mix_up = usual(0.2)?,
            _ if number.is_some() => return None,
            "none" => {}
            "horizontal-flip" => self.flip_horizontal = true,
            "vertical-flip" => self.flip_vertical = true,
            "quarter-turns" => self.quarter_turns = true,
            _ => return None,
        }
        Some(())
    }

    /// The paper's: tiles mirrored and turned by up to 90 degrees, sequences as they are.
    pub fn paper(input: &InputShape) -> Self {
        if input.is_sequence() {
            return Self::default();
        }
        Self {
            flip_horizontal: true,
            flip_vertical: true,
            rotation: 90.0,
            ..Self::default()
        }
    }

    /// Whether any of it changes a sample.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether such samples can be varied so.
    ///
    /// # Errors
    ///
    /// The first option that does not fit.
    pub fn check(&self, input: &InputShape, element: &ElementType, task: Task) -> Result<(), AugmentationError> {
        let smallest = input.size.iter().min().copied().unwrap_or(1);
        self.check_ranges(smallest)?;
        let only = |asked: bool, holds: bool, name, only| {
            if asked && !holds {
                return Err(AugmentationError::Misplaced { name, only });
            }
            Ok(())
        };
        let tile = input.size.len() == 2;
        let square = tile && input.size[0] == input.size[1];
        only(self.flip_horizontal, tile, "flip_horizontal", "tiles")?;
        only(self.flip_vertical, tile, "flip_vertical", "tiles")?;
        only(self.rotation > 0.0, tile, "rotation", "tiles")?;
        only(self.quarter_turns, square, "quarter_turns", "square tiles")?;
        only(
            self.mix_up > 0.0,
            task != Task::Segment,
            "mix_up",
            "one label for a whole sample",
        )?;
        match element {
            ElementType::Symbol { alphabet } => {
                only(self.brightness > 0.0, false, "brightness", "numbers")?;
                if self.reverse_complement > 0.0 && complement_bands(alphabet).is_none() {
                    return Err(AugmentationError::NoComplement(alphabet.clone()));
                }
                only(
                    self.reverse_complement > 0.0,
                    input.is_sequence(),
                    "reverse_complement",
                    "sequences",
                )
            }
            _ => only(
                self.reverse_complement > 0.0,
                false,
                "reverse_complement",
                "sequences of letters",
            ),
        }
    }

    fn check_ranges(&self, smallest: u32) -> Result<(), AugmentationError> {
        let ranges = [
            ("rotation", self.rotation, 180.0),
            ("shift", f64::from(self.shift), f64::from(smallest - 1)),
            ("brightness", self.brightness, 10.0),
            ("reverse_complement", self.reverse_complement, 1.0),
            ("cut_mix", self.cut_mix, 100.0),
            ("mix_up", self.mix_up, 100.0),
        ];
        match ranges
            .into_iter()
            .find(|(_, found, most)| !(0.0..=*most).contains(found))
        {
            Some((name, found, most)) => Err(AugmentationError::Range { name, found, most }),
            None => Ok(()),
        }
    }
}

/// For each letter of the alphabet the band of its partner on the other strand; none if a letter has no partner in it.
pub fn complement_bands(alphabet: &str) -> Option<Vec<usize>> {
    let letters: Vec<char> = alphabet.chars().collect();
    let band_of = |letter| letters.iter().position(|other| *other == letter);
    letters
        .iter()
        .map(|letter| complement(*letter).into_iter().find_map(band_of))
        .collect()
}

/// The partner by the codes of the IUPAC (Cornish-Bowden 1985), in DNA and in RNA.
fn complement(letter: char) -> Vec<char> {
    let upper = match letter.to_ascii_uppercase() {
        'A' => "TU",
        'T' | 'U' => "A",
        'C' => "G",
        'G' => "C",
        'R' => "Y",
        'Y' => "R",
        'K' => "M",
        'M' => "K",
        'B' => "V",
        'V' => "B",
        'D' => "H",
        'H' => "D",
        'N' => "N",
        'S' => "S",
        'W' => "W",
        '-' => "-",
        _ => "",
    };
    let same_case = |partner: char| match letter.is_ascii_lowercase() {
        true => partner.to_ascii_lowercase(),
        false => partner,
    };
    upper.chars().map(same_case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_are_found_whatever_the_order_of_the_alphabet() {
        assert_eq!(complement_bands("ATCGN"), Some(vec![1, 0, 3, 2, 4]));
        assert_eq!(complement_bands("ACGU"), Some(vec![3, 2, 1, 0]));
        assert_eq!(complement_bands("acgt"), Some(vec![3, 2, 1, 0]));
        assert_eq!(complement_bands("ACDEFGHIKLMNPQRSTVWY"), None); // amino acids
        assert_eq!(complement_bands("ACG"), None);
    }

    #[test]
    fn options_are_words_with_or_without_a_number() {
        let parsed: Result<Augmentation, _> = "vertical-flip, cut-mix,shift=3,reverse-complement=1".parse();
        let wanted = Augmentation {
            flip_vertical: true,
            cut_mix: 1.0,
            shift: 3,
            reverse_complement: 1.0,
            ..Augmentation::default()
        };
        assert_eq!(parsed, Ok(wanted));
        assert_eq!("none".parse(), Ok(Augmentation::default()));
        for word in ["flip", "shift=0.5", "shift=-1", "cut-mix=lots", "vertical-flip=1", ""] {
            let told = word.parse::<Augmentation>().expect_err("unknown").to_string();
            assert!(
                told.contains(&format!("{word:?} is none of none, horizontal-flip")),
                "{told}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_the_samples_is_told() {
        let tile = |height| InputShape {
            bands: 3,
            size: vec![height, 8],
        };
        let sequence = InputShape {
            bands: 4,
            size: vec![50],
        };
        let letters = |alphabet: &str| ElementType::Symbol {
            alphabet: alphabet.to_owned(),
        };
        let told = |change: fn(&mut Augmentation), input: &InputShape, element: ElementType, task| {
            let mut augmentation = Augmentation::default();
            change(&mut augmentation);
            augmentation
                .check(input, &element, task)
                .expect_err("it does not fit")
                .to_string()
        };
        let classify = Task::Classify;
        assert!(told(|a| a.rotation = f64::NAN, &tile(8), ElementType::U8, classify).contains("rotation is NaN"));
        assert!(told(|a| a.shift = 8, &tile(8), ElementType::U8, classify).contains("0..=7"));
        assert!(told(|a| a.quarter_turns = true, &tile(9), ElementType::U8, classify).contains("square"));
        assert!(told(|a| a.flip_vertical = true, &sequence, letters("ACGT"), classify).contains("tiles only"));
        assert!(told(|a| a.reverse_complement = 0.5, &sequence, letters("ACGX"), classify).contains("ACGX"));
        assert!(told(|a| a.reverse_complement = 0.5, &tile(8), ElementType::F32, classify).contains("letters"));
        assert!(told(|a| a.mix_up = 0.8, &tile(8), ElementType::U8, Task::Segment).contains("mix_up"));
        let paper = Augmentation::paper(&tile(9));
        assert_eq!(paper.check(&tile(9), &ElementType::U8, Task::Segment), Ok(()));
        assert!(Augmentation::paper(&sequence).is_none());
    }
}
