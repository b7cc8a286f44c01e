//! The columns that name channels become runs: rows that stand one after the other and are of one channel.
//!
//! A name is looked up once a run, or once an entry of a dictionary, never once a row. Whose channel it is, the caller
//! knows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

use super::columns::plain;

/// The longest name of a channel, in bytes: it becomes a label.
pub(crate) const NAME: usize = 512;

/// Who takes the rows of which channel.
pub(crate) trait Channels {
    /// The number under which a channel's rows are taken here; `None` if they are another's.
    fn channel(&mut self, name: &str) -> Option<usize>;

    /// Whether rows under a name that no channel can have are refused, and counted, here.
    fn refuses(&mut self, name: &str) -> bool;
}

/// What becomes of the rows under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// They are taken under this number.
    Channel(usize),
    /// No channel can have the name.
    Refused,
    /// They are another's: neither taken nor counted.
    Elsewhere,
}

impl Place {
    pub(crate) fn of(name: &str, channels: &mut impl Channels) -> Self {
        if !name.is_empty() && name.len() <= NAME {
            return channels.channel(name).map_or(Self::Elsewhere, Self::Channel);
        }
        if channels.refuses(name) {
            Self::Refused
        } else {
            Self::Elsewhere
        }
    }
}

/// Rows of a batch that go to one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) rows: Range<usize>,
    pub(crate) place: Place,
}

/// Finds the runs of a file's batches, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The last batch's dictionary; the batches of a row group mostly share one.
    dictionary: Option<ArrayRef>,
    /// Where the rows of each of its entries go, as far as that was asked.
    places: Vec<Option<Place>>,
}

impl Names {
    /// The runs of a batch, whose columns of names are `columns`.
    pub(crate) fn runs(
        &mut self,
        batch: &RecordBatch,
        columns: &[usize],
        channels: &mut impl Channels,
    ) -> Result<Vec<Run>, ArrowError> {
        let parts: Result<Vec<_>, _> = columns
            .iter()
            .map(|column| in_dictionary(batch.column(*column)))
            .collect();
        let parts = parts?;
        if let [part] = parts.as_slice() {
            self.turn_to(part.values());
        }
        let mut parts: Vec<Part<'_>> = parts.iter().map(Part::new).collect();
        let (mut runs, mut name, mut start) = (Vec::new(), String::new(), 0);
        while start < batch.num_rows() {
            let ends = parts.iter_mut().map(|part| part.run_end(start));
            let rows = start..ends.min().unwrap_or(batch.num_rows());
            start = rows.end;
            let place = match parts.as_slice() {
                [part] => self.place(part, rows.start, channels),
                parts => {
                    join(&mut name, parts, rows.start);
                    Place::of(&name, channels)
                }
            };
            runs.push(Run { rows, place });
        }
        Ok(runs)
    }

    fn turn_to(&mut self, dictionary: &ArrayRef) {
        if !self
            .dictionary
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, dictionary))
        {
            self.places.clear();
            self.places.resize(dictionary.len(), None);
            self.dictionary = Some(Arc::clone(dictionary));
        }
    }

    /// A single part is a name as it stands.
    fn place(&mut self, part: &Part<'_>, row: usize, channels: &mut impl Channels) -> Place {
        match part.key(row) {
            Some(key) => *self.places[key].get_or_insert_with(|| Place::of(part.text(row), channels)),
            None => Place::of("", channels),
        }
    }
}

/// The type in which columns of names are read: most files hold them so.
pub(crate) fn names_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn in_dictionary(column: &ArrayRef) -> Result<DictionaryArray<Int32Type>, ArrowError> {
    if *column.data_type() == names_type() {
        return Ok(column.as_dictionary().clone());
    }
    let texts = cast(&cast(column, plain(column.data_type()))?, &DataType::Utf8)?;
    Ok(cast(&texts, &names_type())?.as_dictionary().clone())
}

/// One column of names.
struct Part<'a> {
    keys: &'a [i32],
    nulls: Option<&'a NullBuffer>,
    texts: &'a StringArray,
    /// Where the last run that was asked for ends.
    end: usize,
}

impl<'a> Part<'a> {
    fn new(part: &'a DictionaryArray<Int32Type>) -> Self {
        Self {
            keys: part.keys().values(),
            nulls: part.keys().nulls(),
            texts: part.values().as_string(),
            end: 0,
        }
    }

    /// Where the run of equal keys ends that `row` is in. Rows are asked for in order, so each is looked at once.
    fn run_end(&mut self, row: usize) -> usize {
        if self.end <= row {
            let key = self.keys[row];
            let following = &self.keys[row..];
            let length = match self.nulls {
                None => following.iter().position(|other| *other != key),
                Some(nulls) if nulls.is_null(row) => Some(1), // the key of a null means nothing
                Some(nulls) => (0..following.len()).find(|at| following[*at] != key || nulls.is_null(row + at)),
            };
            self.end = row + length.unwrap_or(following.len());
        }
        self.end
    }

    fn key(&self, row: usize) -> Option<usize> {
        let null = self.nulls.is_some_and(|nulls| nulls.is_null(row));
        (!null).then_some(self.keys[row] as usize)
    }

    /// The text of a row, long enough to be seen to be too long; empty for none.
    fn text(&self, row: usize) -> &'a str {
        let key = self.key(row).filter(|key| self.texts.is_valid(*key));
        key.map_or("", |key| clip(self.texts.value(key), 2 * NAME))
    }
}

/// Joins the parts of a channel's name by `/`; a `/` or `\` in a part gets a `\` before it, so that no two channels
/// share a name. The name stays empty if a part is missing.
fn join(name: &mut String, parts: &[Part<'_>], row: usize) {
    name.clear();
    for (position, part) in parts.iter().enumerate() {
        let text = part.text(row);
        if text.is_empty() {
            return name.clear();
        }
        if position > 0 {
            name.push('/');
        }
        text.chars().for_each(|character| push_escaped(name, character));
    }
}

fn push_escaped(name: &mut String, character: char) {
    if matches!(character, '/' | '\\') {
        name.push('\\');
    }
    name.push(character);
}

/// The beginning of a text, of `limit` bytes at most.
pub(crate) fn clip(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
