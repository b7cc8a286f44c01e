//! Which column is the input, the label, the split: as named, or the obvious one.

use arrow::datatypes::{DataType, Field, Schema};
use forecastd_models::dasha::Task;
use serde::{Deserialize, Serialize};

use super::super::columns::{find, is_text, listed, plain};
use super::InputKind;

/// The columns that the user named; what is missing is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnNames {
    /// Of the tiles or sequences.
    pub input: Option<String>,
    /// Of the labels, or of the masks.
    pub label: Option<String>,
    /// Of what labels are called, where the labels are numbers.
    pub label_name: Option<String>,
    /// Of the splits.
    pub split: Option<String>,
    /// Of what identifies a sample.
    pub id: Option<String>,
}

/// Where they stand in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) input: usize,
    pub(super) label: Option<usize>,
    pub(super) label_name: Option<usize>,
    pub(super) split: Option<usize>,
    pub(super) id: Option<usize>,
}

const IMAGES: [&str; 6] = ["image", "img", "tile", "picture", "pixels", "chip"];
const SEQUENCES: [&str; 5] = ["sequence", "seq", "dna", "series", "values"];
const LABELS: [&str; 5] = ["label", "class", "target", "category", "y"];
const LABEL_LISTS: [&str; 5] = ["labels", "classes", "targets", "label", "tags"];
const MASKS: [&str; 4] = ["mask", "segmentation", "label", "labels"];
const NUMBERS: [&str; 5] = ["target", "label", "value", "y", "targets"];
const SPLITS: [&str; 5] = ["split", "subset", "partition", "fold", "set"];
const LABEL_NAMES: [&str; 3] = ["label_name", "class_name", "label_text"];

impl Plan {
    /// Of labelled samples.
    pub(super) fn labelled(schema: &Schema, names: &ColumnNames, kind: InputKind, task: Task) -> Result<Self, String> {
        let mut plan = Self::unlabelled(schema, names, kind, task)?;
        if plan.label.is_none() {
            return Err(format!(
                "no column looks like the {}; name it with --label; the file has {}",
                if task == Task::Segment { "masks" } else { "labels" },
                listed(schema)
            ));
        }
        plan.split = match &names.split {
            Some(name) => Some(place(schema, name)?),
            None => guess(schema, &SPLITS, |field| is_text(field.data_type())),
        };
        Ok(plan)
    }

    /// Of samples to predict; labels count if there are any.
    pub(super) fn unlabelled(
        schema: &Schema,
        names: &ColumnNames,
        kind: InputKind,
        task: Task,
    ) -> Result<Self, String> {
        let input = match &names.input {
            Some(name) => place(schema, name)?,
            None => guess_input(schema, kind)?,
        };
        let label = match &names.label {
            Some(name) => Some(place(schema, name)?),
            None => guess(schema, label_words(task), |field| holds_labels(field.data_type(), task)),
        };
        let label_name = match &names.label_name {
            Some(name) => Some(place(schema, name)?),
            None if task == Task::Classify => guess(schema, &LABEL_NAMES, |field| is_text(field.data_type())),
            None => None,
        };
        Ok(Self {
            input,
            label: label.filter(|label| *label != input),
            label_name: label_name.filter(|name| Some(*name) != label),
            split: None,
            id: names.id.as_deref().map(|name| place(schema, name)).transpose()?,
        })
    }

    /// The columns to read in a pass, ascending.
    pub(super) fn roots(columns: impl IntoIterator<Item = Option<usize>>) -> Vec<usize> {
        let mut roots: Vec<usize> = columns.into_iter().flatten().collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

fn place(schema: &Schema, name: &str) -> Result<usize, String> {
    find(schema, name).map_err(|rejected| rejected.detail)
}

/// The first of the words that a fitting column is called, whatever the case.
fn guess(schema: &Schema, words: &[&str], fits: impl Fn(&Field) -> bool) -> Option<usize> {
    words.iter().find_map(|word| {
        let fields = schema.fields().iter();
        fields
            .into_iter()
            .position(|field| field.name().eq_ignore_ascii_case(word) && fits(field))
    })
}

fn guess_input(schema: &Schema, kind: InputKind) -> Result<usize, String> {
    let (what, words): (_, &[&str]) = match kind {
        InputKind::Image => ("tiles", &IMAGES),
        InputKind::Sequence => ("sequences", &SEQUENCES),
    };
    if let Some(found) = guess(schema, words, |field| holds_input(field.data_type(), kind)) {
        return Ok(found);
    }
    // Texts of any name are too many things; bytes or numbers that stand alone are what is meant.
    let candidates: Vec<usize> = (0..schema.fields().len())
        .filter(|root| {
            let field = schema.field(*root);
            let name = field.name().to_lowercase();
            let other = MASKS.contains(&name.as_str()) || LABEL_LISTS.contains(&name.as_str());
            holds_input(field.data_type(), kind) && !is_text(field.data_type()) && !other
        })
        .collect();
    match candidates.as_slice() {
        [only] => Ok(*only),
        _ => Err(format!(
            "no single column looks like the {what}; name it with --image; the file has {}",
            listed(schema)
        )),
    }
}

fn label_words(task: Task) -> &'static [&'static str] {
    match task {
        Task::Classify => &LABELS,
        Task::Multilabel => &LABEL_LISTS,
        Task::Segment => &MASKS,
        Task::Regress => &NUMBERS,
    }
}

pub(super) fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    matches!(plain(data_type), Binary | LargeBinary | BinaryView | FixedSizeBinary(_))
}

/// The type of a list's items.
pub(super) fn item(data_type: &DataType) -> Option<&DataType> {
    use DataType::{FixedSizeList, LargeList, List};
    match data_type {
        List(item) | LargeList(item) | FixedSizeList(item, _) => Some(plain(item.data_type())),
        _ => None,
    }
}

fn is_list_of_numbers(data_type: &DataType) -> bool {
    item(data_type).is_some_and(DataType::is_numeric)
}

fn holds_input(data_type: &DataType, kind: InputKind) -> bool {
    match kind {
        InputKind::Image => is_bytes(data_type) || is_list_of_numbers(data_type),
        InputKind::Sequence => is_text(data_type) || is_list_of_numbers(data_type),
    }
}

fn holds_labels(data_type: &DataType, task: Task) -> bool {
    let of_list = item(data_type);
    let data_type = plain(data_type);
    match task {
        Task::Classify => data_type.is_integer() || *data_type == DataType::Boolean || is_text(data_type),
        Task::Multilabel => of_list.is_some_and(|item| item.is_integer() || is_text(item)),
        Task::Segment => is_bytes(data_type) || of_list.is_some_and(DataType::is_integer),
        Task::Regress => data_type.is_numeric() || of_list.is_some_and(DataType::is_numeric),
    }
}

/// Refuses a column of labels that the task cannot have.
pub(super) fn check_label(field: &Field, task: Task) -> Result<(), String> {
    if holds_labels(field.data_type(), task) {
        return Ok(());
    }
    let (verb, wanted) = match task {
        Task::Classify => ("classify", "integers, text or booleans"),
        Task::Multilabel => ("multilabel", "lists of integers or text"),
        Task::Segment => ("segment", "bytes, one a position, or lists of integers"),
        Task::Regress => ("regress", "numbers or lists of numbers"),
    };
    Err(format!(
        "column {:?} is of type {}; --task {verb} takes {wanted}",
        field.name(),
        field.data_type()
    ))
}

/// Refuses a column that cannot be an input of this kind.
pub(super) fn check_input(field: &Field, kind: InputKind) -> Result<(), String> {
    if holds_input(field.data_type(), kind) {
        return Ok(());
    }
    let wanted = match kind {
        InputKind::Image => "bytes (raw pixels, PNG or JPEG) or lists of numbers",
        InputKind::Sequence => "text or lists of numbers",
    };
    Err(format!(
        "column {:?} is of type {}; {wanted} are taken",
        field.name(),
        field.data_type()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
        Schema::new(fields.iter().map(field).collect::<Vec<_>>())
    }

    #[test]
    fn the_obvious_columns_are_found() {
        let scenes = schema(&[
            ("name", DataType::Utf8),
            ("label", DataType::Int32),
            ("label_name", DataType::Utf8),
            ("split", DataType::Utf8),
            ("image", DataType::FixedSizeBinary(12)),
        ]);
        let names = ColumnNames::default();
        let plan = Plan::labelled(&scenes, &names, InputKind::Image, Task::Classify).expect("all are there");
        assert_eq!(
            (plan.input, plan.label, plan.label_name, plan.split),
            (4, Some(1), Some(2), Some(3))
        );
        let roads = schema(&[("bytes", DataType::Binary), ("mask", DataType::Binary)]);
        let plan = Plan::labelled(&roads, &names, InputKind::Image, Task::Segment).expect("both are there");
        assert_eq!((plan.input, plan.label, plan.split), (0, Some(1), None));
    }

    #[test]
    fn what_is_not_obvious_is_asked_for() {
        let odd = schema(&[("a", DataType::Binary), ("b", DataType::Binary), ("l", DataType::Int8)]);
        let told = |names: &ColumnNames| {
            Plan::labelled(&odd, names, InputKind::Image, Task::Classify).expect_err("it is not obvious")
        };
        let mut names = ColumnNames::default();
        assert!(told(&names).ends_with("name it with --image; the file has \"a\", \"b\", \"l\""));
        names.input = Some("a".to_owned());
        assert!(told(&names).contains("name it with --label"));
        names.label = Some("m".to_owned());
        assert!(told(&names).starts_with("no column \"m\""));
        names.label = Some("l".to_owned());
        let plan = Plan::labelled(&odd, &names, InputKind::Image, Task::Classify).expect("both are named");
        assert_eq!((plan.input, plan.label), (0, Some(2)));
    }
}
