//! A value of the file together with its key's path: reads itself as what the schema asks for, or complains.
//!
//! Every reader returns `None` once it has complained, and goes on: the caller reads all of a section first and
//! looks at the results last, so that every error of the file is found. What the keys mean is the business of
//! `schema`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Complaint, ConfigError};
use crate::unit;
use crate::yaml::{Node, quoted};

/// Where complaints are gathered.
pub(crate) type Errors = RefCell<Vec<ConfigError>>;

/// A value and the path of its key.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    path: String,
    node: &'a Node,
    errors: &'a Errors,
}

impl<'a> Field<'a> {
    /// The whole file.
    pub(crate) fn root(node: &'a Node, errors: &'a Errors) -> Self {
        let path = String::new();
        Self { path, node, errors }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn node(&self) -> &'a Node {
        self.node
    }

    pub(crate) fn is_null(&self) -> bool {
        *self.node == Node::Null
    }

    /// Complains of this value.
    pub(crate) fn refuse<T>(&self, complaint: Complaint) -> Option<T> {
        self.errors.borrow_mut().push(complaint.at(self.path.as_str()));
        None
    }

    /// Complains of the value of another key.
    pub(crate) fn refuse_at<T>(&self, path: &str, complaint: Complaint) -> Option<T> {
        self.errors.borrow_mut().push(complaint.at(path));
        None
    }

    /// Reads a mapping, and complains of the keys that `read` did not ask for. Nothing at all is an empty mapping.
    ///
    /// `read` asks for every key before it looks at a result.
    pub(crate) fn section<T>(&self, read: impl FnOnce(&mut Section<'a, '_>) -> Option<T>) -> Option<T> {
        let entries = match self.node {
            Node::Map(entries) => entries.as_slice(),
            Node::Null => &[],
            _ => return self.refuse(self.expected("a mapping of keys")),
        };
        let mut section = Section {
            field: self,
            entries,
            known: Vec::new(),
        };
        let value = read(&mut section);
        section.refuse_unknown_and_repeated();
        value
    }

    /// Reads a list; `read` also gets the items that were good before this one.
    pub(crate) fn list<T>(&self, mut read: impl FnMut(&Self, &[T]) -> Option<T>) -> Option<Vec<T>> {
        let Node::List(items) = self.node else {
            return self.refuse(self.expected("a list"));
        };
        let mut good = Vec::with_capacity(items.len());
        for (i, node) in items.iter().enumerate() {
            let item = Self {
                path: format!("{}[{i}]", self.path),
                node,
                errors: self.errors,
            };
            good.extend(read(&item, &good));
        }
        (good.len() == items.len()).then_some(good)
    }

    /// Reads a list that is not empty.
    pub(crate) fn some<T>(&self, read: impl FnMut(&Self, &[T]) -> Option<T>) -> Option<Vec<T>> {
        match self.node {
            Node::List(items) if items.is_empty() => {
                self.refuse(Complaint::new("the list is empty").hint("at least one"))
            }
            _ => self.list(read),
        }
    }

    /// Reads a text that is not empty.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.node {
            Node::Text(text) if !text.is_empty() => Some(text),
            Node::Bool(_) | Node::Integer(_) | Node::Float(_) => {
                self.refuse(self.expected("a text").hint("put it in quotes"))
            }
            _ => self.refuse(self.expected("a text")),
        }
    }

    /// Reads one of a few words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = match self.node {
            Node::Text(text) => text.as_str(),
            _ => "",
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let choices = one_of(words.iter().map(|(word, _)| *word));
        let complaint = self.expected(&choices);
        self.refuse(match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(word) => complaint.hint(format!("did you mean `{word}`?")),
            None => complaint,
        })
    }

    /// Reads a whole number within bounds.
    pub(crate) fn whole(&self, bounds: RangeInclusive<usize>) -> Option<usize> {
        let (least, most) = (*bounds.start(), *bounds.end());
        let wanted = format!("a whole number from {least} to {most}");
        let value = match self.node {
            Node::Integer(value) => *value,
            _ => return self.refuse(self.expected(&wanted).maybe_hint(self.plain_number())),
        };
        match usize::try_from(value) {
            Ok(value) if bounds.contains(&value) => Some(value),
            _ => self.refuse(self.expected(&wanted)),
        }
    }

    /// Reads `true` or `false`.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.node {
            Node::Bool(value) => Some(*value),
            _ => self.refuse(self.expected("`true` or `false`")),
        }
    }

    /// Reads a number, whole or not.
    pub(crate) fn number(&self) -> Option<f64> {
        match self.node {
            Node::Integer(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            _ => self.refuse(self.expected("a number").maybe_hint(self.plain_number())),
        }
    }

    /// Reads a duration within bounds.
    pub(crate) fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let value = match self.node {
            Node::Text(text) => self.judge(unit::duration(text))?,
            Node::Integer(value @ 0..) => {
                let hint = format!("with a unit, like `{value}s`");
                return self.refuse(self.expected("a duration").hint(hint));
            }
            _ => return self.refuse(self.expected("a duration").hint(unit::DURATION_HINT)),
        };
        self.within(value, bounds, |bound| humantime::format_duration(bound).to_string())
    }

    /// Reads a number of bytes within bounds.
    pub(crate) fn size(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let value = match self.node {
            Node::Text(text) => self.judge(unit::size(text))?,
            Node::Integer(value @ 0..) => u64::try_from(*value).unwrap_or(u64::MAX),
            _ => return self.refuse(self.expected("a size").hint("like `2GiB`")),
        };
        self.within(value, bounds, |bound| {
            bytesize::ByteSize(bound).display().iec().to_string()
        })
    }

    /// Reads an address and a port.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let address = match self.node {
            Node::Text(text) => text.parse().ok(),
            _ => None,
        };
        let hint = "like `127.0.0.1:9464`; `0.0.0.0:9464` for every interface";
        address.or_else(|| self.refuse(self.expected("an address and a port").hint(hint)))
    }

    /// Reads a path, taken from `base` if it is relative.
    pub(crate) fn file(&self, base: &Path) -> Option<PathBuf> {
        let text = self.text()?;
        if text == "~" || text.starts_with("~/") {
            let complaint = self.expected("a path");
            return self.refuse(complaint.hint("a service has no home: write the folder out"));
        }
        if text.contains('\0') {
            return self.refuse(Complaint::new("the path holds a NUL"));
        }
        // Component by component, so that `./x` and `x/` are `x`. `..` stays: only the filesystem knows where it leads.
        Some(base.join(text).components().collect())
    }

    /// Passes a value on, or complains.
    pub(crate) fn judge<T>(&self, result: Result<T, Complaint>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(complaint) => self.refuse(complaint),
        }
    }

    /// `expected an apple, found a pear`
    pub(crate) fn expected(&self, wanted: &str) -> Complaint {
        Complaint::new(format!("expected {wanted}, found {}", self.node))
    }

    fn within<T: PartialOrd + Copy>(
        &self,
        value: T,
        bounds: RangeInclusive<T>,
        show: impl Fn(T) -> String,
    ) -> Option<T> {
        if bounds.contains(&value) {
            return Some(value);
        }
        let (least, most) = (show(*bounds.start()), show(*bounds.end()));
        self.refuse(Complaint::new(format!(
            "{} is not within {least} and {most}",
            show(value)
        )))
    }

    /// The number that a text or a float was meant to be.
    fn plain_number(&self) -> Option<String> {
        let meant = match self.node {
            Node::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
            Node::Text(text) => text.replace(['_', ',', '\''], "").trim().to_owned(),
            _ => return None,
        };
        meant.parse::<f64>().ok()?;
        Some(format!("write {meant}, without quotes"))
    }
}

/// A mapping that is being read. It remembers the keys that were asked for; the others are not known.
#[derive(Debug)]
pub(crate) struct Section<'a, 'f> {
    field: &'f Field<'a>,
    entries: &'a [(String, Node)],
    known: Vec<&'static str>,
}

impl<'a> Section<'a, '_> {
    /// The value of a key; `Null` where it is absent.
    pub(crate) fn field(&mut self, key: &'static str) -> Field<'a> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = self.entries.iter().find(|(name, _)| name == key);
        Field {
            path: self.path_of(key),
            node: entry.map_or(&Node::Null, |(_, node)| node),
            errors: self.field.errors,
        }
    }

    /// Reads a key that must be there; `what` says what it is.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        let field = self.field(key);
        if field.is_null() {
            return field.refuse(Complaint::new("is required").hint(what));
        }
        read(&field)
    }

    /// Reads a key that may be left out; `Some(None)` where it is.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        let field = self.field(key);
        if field.is_null() {
            Some(None)
        } else {
            read(&field).map(Some)
        }
    }

    /// Reads a key that has a default.
    pub(crate) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        Some(self.optional(key, read)?.unwrap_or(default))
    }

    fn path_of(&self, key: &str) -> String {
        match self.field.path.as_str() {
            "" => key.to_owned(),
            parent => format!("{parent}.{key}"),
        }
    }

    fn refuse_unknown_and_repeated(&self) {
        let mut seen = HashSet::new();
        for (key, _) in self.entries {
            let complaint = if !self.known.contains(&key.as_str()) {
                self.unknown(key)
            } else if !seen.insert(key) {
                Complaint::new("is given twice").hint("keep one of them")
            } else {
                continue;
            };
            let path = self.path_of(&quoted(key));
            self.field.errors.borrow_mut().push(complaint.at(path));
        }
    }

    fn unknown(&self, key: &str) -> Complaint {
        Complaint::new("no such key").hint(match nearest(key, self.known.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known here: {}", self.known.join(", ")),
        })
    }
}

/// The word that was probably meant.
fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // From here on two words look alike; clap takes about the same.
    const ALIKE: f64 = 0.8;
    let scored = words.map(|word| (strsim::jaro_winkler(text, word), word));
    scored
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

/// `a`, `b` or `c`.
fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let quoted: Vec<_> = words.map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
