//! Samples: tiles and sequences, with or without a label, on their way from a file to where they are kept.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use forecastd_models::Timestamp;
use forecastd_models::dasha::samples::NO_CLASS;
use forecastd_models::dasha::{LabelKind, Split, mask};
use serde::{Deserialize, Deserializer, Serialize};

use super::content_key::ContentKey;

/// What is true of a sample. As JSON it is a text, a list of texts, a list of numbers, or an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Label {
    /// One class.
    Class(String),
    /// Any number of classes, in order, each once.
    Classes(Vec<String>),
    /// Numbers, all finite.
    Numbers(Vec<f32>),
    /// A class for each position.
    Mask(MaskLabel),
}

/// Which mask a sample has, and what is in it. The mask itself goes beside it, one byte a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskLabel {
    /// BLAKE3 of its bytes.
    pub mask: ContentKey,
    /// The classes in it, in the order of their numbers: number, name and positions of each. Of a label that was kept
    /// before numbers were, the number is [`NO_CLASS`]: it fits no outputs, and compares with nothing.
    #[serde(deserialize_with = "classes")]
    pub classes: Vec<(u8, String, u64)>,
}

/// A class of a mask as it is kept, or as it was.
#[derive(Deserialize)]
#[serde(untagged)]
enum KeptClass {
    Numbered(u8, String, u64),
    Named(String, u64),
}

fn classes<'de, D: Deserializer<'de>>(kept: D) -> Result<Vec<(u8, String, u64)>, D::Error> {
    let kept = Vec::<KeptClass>::deserialize(kept)?.into_iter();
    Ok(kept
        .map(|class| match class {
            KeptClass::Numbered(number, name, positions) => (number, name, positions),
            KeptClass::Named(name, positions) => (NO_CLASS, name, positions),
        })
        .collect())
}

impl MaskLabel {
    /// Of a mask whose classes have these names, by their numbers. Nothing where it has another class.
    pub fn of(mask: &[u8], names: &[String]) -> Option<Self> {
        let positions = mask::positions(mask).into_iter().enumerate();
        let there = positions.filter(|(class, count)| *count > 0 && *class != usize::from(NO_CLASS));
        Some(Self {
            mask: ContentKey(*blake3::hash(mask).as_bytes()),
            classes: there
                .map(|(class, count)| Some((class as u8, names.get(class)?.clone(), count)))
                .collect::<Option<_>>()?,
        })
    }

    /// Where a number of its mask stands in its list of classes: nothing that is not in it.
    pub fn place(&self, class: u8) -> Option<u8> {
        let is_it = |number: u8| number == class && number != NO_CLASS;
        let place = self.classes.iter().position(|(number, ..)| is_it(*number));
        place.map(|place| place as u8) // there are 255 classes at most
    }

    /// The share of the positions with a known class that each class in it has.
    pub fn shares(&self) -> impl Iterator<Item = (&String, f64)> {
        let known: u64 = self.classes.iter().map(|(.., count)| count).sum();
        let shares = self.classes.iter();
        shares.map(move |(_, class, count)| (class, *count as f64 / known as f64))
    }
}

impl Label {
    /// The classes that it says are there; of a mask those that any position has.
    pub fn classes(&self) -> impl Iterator<Item = &String> {
        let (listed, masked): (&[String], &[(u8, String, u64)]) = match self {
            Self::Class(class) => (std::slice::from_ref(class), &[]),
            Self::Classes(classes) => (classes, &[]),
            Self::Mask(mask) => (&[], &mask.classes),
            Self::Numbers(_) => (&[], &[]),
        };
        listed.iter().chain(masked.iter().map(|(_, class, _)| class))
    }

    /// What it says of what can be learnt.
    pub fn kind(&self) -> LabelKind {
        match self {
            Self::Class(class) => LabelKind::Class(class.as_str().into()),
            Self::Classes(classes) => LabelKind::Classes(classes.iter().map(|class| class.as_str().into()).collect()),
            Self::Numbers(numbers) => LabelKind::Numbers(numbers.len()),
            Self::Mask(mask) => {
                let classes = mask.classes.iter();
                LabelKind::Mask(
                    classes
                        .map(|(number, class, _)| (*number, class.as_str().into()))
                        .collect(),
                )
            }
        }
    }

    /// As it is kept.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and finite numbers are JSON")
    }

    /// From what was kept.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// When and where a sample was taken, as far as anybody said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// When.
    pub time: Option<Timestamp>,
    /// Where.
    pub place: Option<Place>,
}

/// A place on Earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// North of the equator, from -90 to 90.
    pub latitude: f64,
    /// East of Greenwich, from -180 to 180.
    pub longitude: f64,
}

impl Taken {
    /// What one says, and where it says nothing what was said before.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        Self {
            time: self.time.or(before.time),
            place: self.place.or(before.place),
        }
    }
}

impl Place {
    /// Nothing where there is no such place on Earth.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let is_there = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        is_there.then_some(Self { latitude, longitude })
    }
}

/// One sample as a file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What identifies it; not empty.
    pub id: String,
    /// Its split, by the file or by its id.
    pub split: Split,
    /// What is true of it, as JSON of a [`Label`].
    pub label: Option<String>,
    /// Where that is a mask, the mask: a class for each position.
    pub mask: Option<Vec<u8>>,
    /// When and where it was taken.
    pub taken: Taken,
    /// The record: band after band, row by row, little-endian.
    pub elements: Vec<u8>,
}

/// The samples of a drop, read one at a time: together they would not fit into memory.
pub trait SampleDrop {
    /// The next one.
    ///
    /// # Errors
    /// When the machine cannot read on.
    fn next(&mut self) -> io::Result<Option<Sample>>;
}

/// Where a sample's elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SamplePlace {
    /// The segment: the drop that brought it.
    pub sequence: i64,
    /// The row in it.
    pub row: u32,
}

/// What is known of a durable sample, all but its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleEntry {
    /// What identifies it.
    pub id: Arc<str>,
    /// Where its elements lie.
    pub place: SamplePlace,
    /// Its split.
    pub split: Split,
    /// What is true of it.
    pub label: Option<Label>,
    /// When and where it was taken.
    pub taken: Taken,
    /// Whether its elements are those that counted for its id before: only what is said of them is new.
    pub same_elements: bool,
    /// Where its label is a mask, and masks were predicted of the same elements: how they compare, version by version.
    pub compared: Vec<ComparedMask>,
}

/// Of samples by their ids, how what was said of their positions compares.
pub type ComparedMasks = BTreeMap<Arc<str>, Vec<ComparedMask>>;

/// What a version said of the positions of a sample, beside what is true of them. All labelled samples of a drop have theirs
/// at one time, and of some classes there may be thousands of pairs: a pair is eight bytes, and samples share names.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedMask {
    /// Which.
    pub version: ContentKey,
    /// What the classes that were said are called.
    pub said: Arc<[String]>,
    /// What those that are true are called.
    pub truth: Arc<[String]>,
    /// A class that was said and one that is true, by their places in these lists, and the positions that have both.
    pub pairs: Box<[(u8, u8, u32)]>,
}

impl ComparedMask {
    /// The pairs by name: what was said, what is true, and the positions.
    pub fn named(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let named = |(said, truth, positions): &(u8, u8, u32)| {
            let said = self.said.get(usize::from(*said))?;
            let truth = self.truth.get(usize::from(*truth))?;
            Some((said.as_str(), truth.as_str(), u64::from(*positions)))
        };
        self.pairs.iter().filter_map(named)
    }
}

#[cfg(test)]
mod tests {
    use forecastd_models::dasha::Task;

    use super::*;

    fn mask(mask: &[u8]) -> MaskLabel {
        let names = ["land", "road", "water"].map(str::to_owned);
        MaskLabel::of(mask, &names).expect("it has no other class")
    }

    #[test]
    fn a_mask_that_was_kept_without_numbers_is_read_and_fits_nothing_until_it_comes_again() {
        let names = ["other".to_owned(), "road".to_owned()];
        let label = MaskLabel::of(&[0, 1, 1], &names).expect("both have names");
        let json = Label::Mask(label.clone()).to_json();
        assert_eq!(Label::from_json(&json), Some(Label::Mask(label.clone())));
        let old = json.replace("[0,", "[").replace("[1,", "[");
        assert!(old.contains(r#"[["other",1],["road",2]]"#), "{old}");
        let Some(Label::Mask(kept)) = Label::from_json(&old) else {
            panic!("{old} is not read")
        };
        assert_ne!(kept, label, "so it is a revision when it comes again");
        assert_eq!([0, 1, NO_CLASS].map(|class| kept.place(class)), [None; 3]);
        assert!(kept.shares().eq(label.shares()));
        let fits = |label| Label::Mask(label).kind().fits(Task::Segment, Some(&names));
        assert_eq!([fits(label), fits(kept)], [true, false]);
    }

    #[test]
    fn a_mask_is_known_by_its_bytes_and_by_the_names_of_the_classes_in_it() {
        let bytes = [0, 0, 2, NO_CLASS];
        let label = mask(&bytes);
        assert_eq!(label.classes, [(0, "land".to_owned(), 2), (2, "water".to_owned(), 1)]);
        let places = [0, 1, 2, 3, NO_CLASS].map(|class| label.place(class));
        assert_eq!(places, [Some(0), None, Some(1), None, None]);
        let shares: Vec<f64> = label.shares().map(|(_, share)| share).collect();
        assert_eq!(shares, [2.0 / 3.0, 1.0 / 3.0]);
        assert_ne!(mask(&[2, 0, 0, NO_CLASS]), label);
        assert_eq!(MaskLabel::of(&[0, 1], &["land".to_owned()]), None);
    }

    #[test]
    fn masks_of_all_classes_are_compared_in_eight_bytes_a_pair() {
        let compared = ComparedMask {
            version: ContentKey([1; 32]),
            said: vec!["land".to_owned(), "road".to_owned()].into(),
            truth: vec!["water".to_owned()].into(),
            pairs: Box::new([(1, 0, 7), (0, 0, 2)]),
        };
        assert_eq!(
            compared.named().collect::<Vec<_>>(),
            [("road", "water", 7), ("land", "water", 2)]
        );
        assert_eq!(size_of_val(&*compared.pairs), 16);
    }

    #[test]
    fn labels_come_back_as_they_went() {
        for label in [
            Label::Class("a".to_owned()),
            Label::Classes(Vec::new()),
            Label::Classes(vec!["a".to_owned(), "b".to_owned()]),
            Label::Numbers(vec![1.0, -0.1]),
            Label::Mask(mask(&[0, 0, 2, NO_CLASS])),
        ] {
            assert_eq!(Label::from_json(&label.to_json()), Some(label));
        }
        assert_eq!(Label::from_json("{}"), None);
    }
}
