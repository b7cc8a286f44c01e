//! The sections `samples`, which columns mean what and what every sample is, and `predictions`.

use std::num::NonZeroUsize;

use forecastd_models::dasha::{ElementType, InputShape, PixelLayout, Task, mask};

use super::series::Names;
use crate::error::Complaint;
use crate::field::{Field, Section};
use crate::yaml::{Node, quoted};
use crate::{PlaceColumns, PredictionRules, SampleColumns, SampleForm, SampleKind};

/// A frame between the daemon and its decoder holds one.
const LARGEST_SAMPLE: u64 = 32 << 20;

const DTYPES: [(&str, Dtype); 4] = [
    ("u8", Dtype::U8),
    ("u16", Dtype::U16),
    ("i16", Dtype::I16),
    ("f32", Dtype::F32),
];

#[derive(Clone, Copy)]
enum Dtype {
    U8,
    U16,
    I16,
    F32,
}

impl Dtype {
    fn element(self) -> ElementType {
        match self {
            Self::U8 => ElementType::U8,
            Self::U16 => ElementType::U16,
            Self::I16 => ElementType::I16,
            Self::F32 => ElementType::F32,
        }
    }
}

pub(super) fn form(field: &Field, kind: SampleKind) -> Option<SampleForm> {
    field.section(|keys| {
        let columns = columns(keys, kind);
        let task = keys.or("task", Task::Classify, |field| {
            field.word(&[
                ("classify", Task::Classify),
                ("multilabel", Task::Multilabel),
                ("segment", Task::Segment),
                ("regress", Task::Regress),
            ])
        });
        let shape = keys.required("shape", shape_hint(kind), sizes);
        let layout = match kind {
            SampleKind::Tiles => keys.or("layout", PixelLayout::Hwc, |field| {
                field.word(&[("hwc", PixelLayout::Hwc), ("chw", PixelLayout::Chw)])
            }),
            SampleKind::Sequences => foreign(keys, "layout", "tiles").map(|()| PixelLayout::Chw),
        };
        let element = element(keys, kind);
        let labels = keys.optional("labels", |field| field.some(label));
        let mask_threshold = keys.optional("mask_threshold", |field| {
            field.whole(0..=254).map(|threshold| threshold as u8)
        });
        // What is wrong with one key hides nothing that is wrong with another.
        let is_masked = task == Some(Task::Segment) && !keys.field("label").is_null();
        let labels = match (task, labels, mask_threshold) {
            (Some(task), Some(labels), Some(threshold)) => classes(keys, task, is_masked, labels, threshold),
            _ => None,
        };
        let shape = match (&element, &shape) {
            (Some(element), Some(sizes)) => shaped(&keys.field("shape"), kind, (element, is_masked), sizes),
            _ => None,
        };
        Some(SampleForm {
            kind,
            columns: columns?,
            task: task?,
            shape: shape?,
            element: element?,
            layout: layout?,
            labels: labels?,
            mask_threshold: mask_threshold?,
        })
    })
}

pub(super) fn predictions(field: &Field) -> Option<PredictionRules> {
    field.section(|keys| {
        let keep_files = keys.or("keep_files", 100, |field| field.whole(1..=1_000_000));
        let scores = keys.or("scores", true, |field| field.word(&[("all", true), ("none", false)]));
        Some(PredictionRules {
            keep_files: NonZeroUsize::new(keep_files?)?,
            scores: scores?,
        })
    })
}

/// Refuses a key that only another kind of dataset has.
pub(super) fn foreign(keys: &mut Section, key: &'static str, of: &str) -> Option<()> {
    let field = keys.field(key);
    if field.is_null() {
        return Some(());
    }
    field.refuse(Complaint::new(format!("is for `kind: {of}`")).hint("leave it out here"))
}

fn columns(keys: &mut Section, kind: SampleKind) -> Option<SampleColumns> {
    let names = Names::default();
    let id = keys.required("id", "the column of what identifies a sample", |field| {
        names.take(field)
    });
    let (input, other) = match kind {
        SampleKind::Tiles => (
            keys.required("image", "the column of the tiles", |field| names.take(field)),
            foreign(keys, "sequence", "sequences"),
        ),
        SampleKind::Sequences => (
            keys.required("sequence", "the column of the sequences", |field| names.take(field)),
            foreign(keys, "image", "tiles"),
        ),
    };
    let label = keys.optional("label", |field| names.take(field));
    let split = keys.optional("split", |field| names.take(field));
    let time = keys.optional("time", |field| names.take(field));
    let latitude = keys.optional("latitude", |field| names.take(field));
    let longitude = keys.optional("longitude", |field| names.take(field));
    let place = match (latitude?, longitude?) {
        (Some(latitude), Some(longitude)) => Some(PlaceColumns { latitude, longitude }),
        (None, None) => None,
        (Some(_), None) => return lonely(keys, "longitude", "latitude"),
        (None, Some(_)) => return lonely(keys, "latitude", "longitude"),
    };
    other?;
    Some(SampleColumns {
        id: id?,
        input: input?,
        label: label?,
        split: split?,
        time: time?,
        place,
    })
}

fn lonely<T>(keys: &mut Section, key: &'static str, beside: &str) -> Option<T> {
    let complaint = Complaint::new(format!("is required beside `{beside}`"));
    keys.field(key).refuse(complaint.hint("a place has both"))
}

/// Names of the classes of masks, which hold but their numbers; of other tasks the labels as they stand.
fn classes(
    keys: &mut Section,
    task: Task,
    is_masked: bool,
    labels: Option<Vec<String>>,
    threshold: Option<u8>,
) -> Option<Option<Vec<String>>> {
    if threshold.is_some() && task != Task::Segment {
        let complaint = Complaint::new("is for `task: segment`");
        return keys.field("mask_threshold").refuse(complaint.hint("leave it out here"));
    }
    match (labels, threshold) {
        (Some(labels), _) if task != Task::Segment => Some(Some(labels)),
        (Some(labels), Some(_)) if labels.len() != 2 => {
            let complaint = Complaint::new(format!("{} classes beside `mask_threshold`", labels.len()));
            let hint = "two: what greys up to the threshold are, and what those above it are";
            keys.field("labels").refuse(complaint.hint(hint))
        }
        (Some(labels), _) if !(2..=mask::MAX_CLASSES).contains(&labels.len()) => {
            let complaint = Complaint::new(format!("{} classes", labels.len()));
            let hint = format!("masks tell from 2 to {} apart", mask::MAX_CLASSES);
            keys.field("labels").refuse(complaint.hint(hint))
        }
        (Some(labels), _) => Some(Some(labels)),
        (None, Some(threshold)) => Some(Some(mask::classes_of_greys(threshold).into())),
        (None, None) if is_masked => {
            let complaint = Complaint::new("is required for masks");
            let hint = "the names of their classes, in the order of their numbers from 0; or `mask_threshold`, such as \
                        127, if masks are grey pictures";
            keys.field("labels").refuse(complaint.hint(hint))
        }
        (None, None) => Some(None),
    }
}

fn shape_hint(kind: SampleKind) -> &'static str {
    match kind {
        SampleKind::Tiles => "bands, height and width of every tile, like `[3, 64, 64]`",
        SampleKind::Sequences => "the length of the longest sequence, like `[101]`; of numbers bands and length",
    }
}

fn sizes(field: &Field) -> Option<Vec<u32>> {
    field.some(|item, _| item.whole(1..=1 << 24).map(|size| size as u32))
}

/// Sequences are letters unless `dtype` says that they are numbers.
fn element(keys: &mut Section, kind: SampleKind) -> Option<ElementType> {
    let dtype = keys.optional("dtype", |field| field.word(&DTYPES));
    if kind == SampleKind::Tiles {
        foreign(keys, "alphabet", "sequences")?;
        return Some(dtype?.unwrap_or(Dtype::U8).element());
    }
    let alphabet = keys.optional("alphabet", alphabet);
    match (dtype?, alphabet?) {
        (Some(dtype), None) => Some(dtype.element()),
        (None, alphabet) => Some(ElementType::Symbol {
            alphabet: alphabet.unwrap_or_else(|| "ACGTN".to_owned()),
        }),
        (Some(_), Some(_)) => {
            let complaint = Complaint::new("does not go with `dtype`");
            keys.field("alphabet")
                .refuse(complaint.hint("letters have an alphabet, numbers a type"))
        }
    }
}

/// Letters are told apart whatever the case.
fn alphabet(field: &Field) -> Option<String> {
    let text = field.text()?;
    let mut seen = Vec::new();
    for letter in text.chars() {
        let upper = letter.to_ascii_uppercase();
        if !letter.is_ascii_graphic() || seen.contains(&upper) {
            let complaint = Complaint::new(format!("`{}` is no alphabet", quoted(text)));
            return field.refuse(complaint.hint("plain letters, each once, like `ACGTN`"));
        }
        seen.push(upper);
    }
    Some(text.to_owned())
}

fn shaped(
    field: &Field,
    kind: SampleKind,
    (element, is_masked): (&ElementType, bool),
    sizes: &[u32],
) -> Option<InputShape> {
    let letters = match element {
        ElementType::Symbol { alphabet } => Some(alphabet.len() as u32),
        _ => None,
    };
    let (bands, size) = match (kind, letters, sizes) {
        (SampleKind::Tiles, _, [bands, height, width]) => (*bands, vec![*height, *width]),
        (SampleKind::Sequences, Some(letters), [length]) => (letters, vec![*length]),
        (SampleKind::Sequences, None, [length]) => (1, vec![*length]),
        (SampleKind::Sequences, None, [bands, length]) => (*bands, vec![*length]),
        _ => {
            let complaint = Complaint::new(format!("{} sizes", sizes.len()));
            return field.refuse(complaint.hint(shape_hint(kind)));
        }
    };
    let shape = InputShape { bands, size };
    let stored = if letters.is_some() { 1 } else { u64::from(bands) };
    let bytes = [shape.positions(), element.bytes() as u64]
        .into_iter()
        .fold(stored, u64::saturating_mul)
        .saturating_add(if is_masked { shape.positions() } else { 0 });
    if bytes > LARGEST_SAMPLE {
        let complaint = Complaint::new(format!("every sample would have {bytes} bytes"));
        return field.refuse(complaint.hint(format!("at most {LARGEST_SAMPLE}")));
    }
    Some(shape)
}

fn label(field: &Field, earlier: &[String]) -> Option<String> {
    let label = match field.node() {
        Node::Integer(number @ 0..) => number.to_string(),
        _ => field.text()?.to_owned(),
    };
    if earlier.contains(&label) {
        return field.refuse(Complaint::new(format!("`{}` is there already", quoted(&label))));
    }
    Some(label)
}
