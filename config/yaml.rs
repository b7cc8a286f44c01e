//! YAML text becomes a tree, or one error with its line.
//!
//! The tree keeps what `serde_yaml::Value` loses or refuses at once: keys that are given twice, so that they can be
//! told together with everything else. It also counts what it takes: aliases of a large anchor make a small file
//! expand without bound, and the parser limits the number of jumps only, not their size. What the keys mean is the
//! business of `schema`.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

use crate::error::{Complaint, ConfigErrors};

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// `null`, `~`, or a key with nothing after it.
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key may stand in it twice.
    Map(Vec<(String, Node)>),
}

impl fmt::Display for Node {
    /// What a person calls it: `the number 5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "`{value}`"),
            Self::Integer(value) => write!(f, "the number {value}"),
            Self::Float(value) => write!(f, "the number {value:?}"),
            Self::Text(text) if text.is_empty() => f.write_str("an empty text"),
            Self::Text(text) => write!(f, "the text `{}`", quoted(text)),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a mapping"),
        }
    }
}

/// A text of the user's, fit for one line of an error.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let start: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        start + "…"
    } else {
        start
    }
}

/// Reads the one document of a text; a text without one is `Null`.
pub(crate) fn parse(text: &str) -> Result<Node, ConfigErrors> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; a configuration has at most {MAX_BYTES}",
            text.len()
        );
        return Err(whole_file(message));
    }
    if nests_too_deep(text) {
        let message = format!("more than {MAX_OPEN} brackets are open at once");
        return Err(whole_file(message));
    }
    let left = Cell::new(MAX_COST);
    Tree { left: &left }
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| broken(&error))
}

/// About a thousand datasets with every key written out.
const MAX_BYTES: usize = 256 << 10;

/// What a file may expand to: a value costs one, a text its bytes as well. No file of `MAX_BYTES` reaches it without
/// aliases.
const MAX_COST: usize = 1 << 20;

/// The parser refuses depth 128, but only after libyaml has scanned all of the text, at a cost that grows with the
/// square of the open brackets: 256 KiB of `{a: ` took 47 s in a debug build.
const MAX_OPEN: usize = 1000;

/// Counts brackets without knowing quotes and comments, which is near enough for a bound of a thousand.
fn nests_too_deep(text: &str) -> bool {
    let mut open = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > MAX_OPEN
    })
}

/// The parser's own words, with their place in front instead of behind.
fn broken(error: &serde_yaml::Error) -> ConfigErrors {
    let message = error.to_string();
    let Some(location) = error.location() else {
        return whole_file(message);
    };
    let place = format!(" at line {} column {}", location.line(), location.column());
    let path = format!("line {}, column {}", location.line(), location.column());
    ConfigErrors::new(vec![Complaint::new(message.replacen(&place, "", 1)).at(path)])
}

fn whole_file(message: String) -> ConfigErrors {
    ConfigErrors::new(vec![Complaint::new(message).at("")])
}

/// Builds a tree until the file has cost too much.
#[derive(Clone, Copy)]
struct Tree<'a> {
    left: &'a Cell<usize>,
}

impl Tree<'_> {
    fn pay<E: de::Error>(self, cost: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(cost);
        self.left
            .set(left.ok_or_else(|| E::custom("the aliases expand to far more than a configuration holds"))?);
        Ok(())
    }

    fn leaf<E: de::Error>(self, node: Node) -> Result<Node, E> {
        self.pay(1)?;
        Ok(node)
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.leaf(Node::Null)
    }

    /// What the parser says of a text without a document.
    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.leaf(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.leaf(Node::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.leaf(Node::Integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.leaf(Node::Integer(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        // No key takes a number near either end, so the end stands for what lies beyond.
        self.leaf(Node::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.leaf(Node::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.pay(value.len())?;
        self.leaf(Node::Text(value.to_owned()))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, value: A) -> Result<Node, A::Error> {
        let (tag, _) = value.variant::<String>()?;
        Err(de::Error::custom(format!("the tag `!{tag}` means nothing here")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        self.pay(1)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        self.pay(1)?;
        let mut map = Vec::new();
        let mut merged = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.pay(key.len())?;
            let value = entries.next_value_seed(self)?;
            match key.as_str() {
                "<<" => merged.extend(merge_source(value).ok_or_else(|| {
                    de::Error::custom("`<<` takes the alias of a mapping, or a list of them: `<<: *base`")
                })?),
                _ => map.push((key, value)),
            }
        }
        fill_in(&mut map, merged);
        Ok(Node::Map(map))
    }
}

/// The entries that `<<: *base` brings.
fn merge_source(value: Node) -> Option<Vec<(String, Node)>> {
    match value {
        Node::Map(entries) => Some(entries),
        Node::List(items) => {
            let maps: Option<Vec<_>> = items.into_iter().map(merge_source).collect();
            maps.map(|maps| maps.into_iter().flatten().collect())
        }
        _ => None,
    }
}

/// Adds the merged entries whose key is not there yet: what is written in place wins, then the earlier source.
fn fill_in(map: &mut Vec<(String, Node)>, merged: Vec<(String, Node)>) {
    let mut present: HashSet<String> = map.iter().map(|(key, _)| key.clone()).collect();
    map.extend(merged.into_iter().filter(|(key, _)| present.insert(key.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(key: &str, value: i128) -> (String, Node) {
        (key.to_owned(), Node::Integer(value))
    }

    fn map(text: &str) -> Vec<(String, Node)> {
        match parse(text) {
            Ok(Node::Map(entries)) => entries,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    #[test]
    fn a_text_without_a_document_is_null() {
        for text in ["", " \n\n", "# only a comment", "---", "\u{feff}", "\u{feff}# x\n", "~"] {
            assert_eq!(parse(text), Ok(Node::Null), "{text:?}");
        }
    }

    #[test]
    fn words_that_look_like_numbers_stay_words_and_numbers_keep_their_size() {
        let text = "a: 0x10\nb: 1_000\nc: 08\nd: no\ne: \"5\"\nf: 340282366920938463463374607431768211455\ng: -1";
        let word = |key: &str, value: &str| (key.to_owned(), Node::Text(value.to_owned()));
        let expected = [
            integer("a", 16),
            word("b", "1_000"),
            word("c", "08"),
            word("d", "no"),
            word("e", "5"),
            integer("f", i128::MAX),
            integer("g", -1),
        ];
        assert_eq!(map(text), expected);
    }

    #[test]
    fn a_key_that_is_given_twice_is_kept_twice() {
        assert_eq!(map("a: 1\na: 2"), [integer("a", 1), integer("a", 2)]);
    }

    #[test]
    fn a_merged_mapping_fills_in_what_is_not_written_in_place() {
        let text = "x: &x { a: 1, b: 2 }\ny: &y { b: 3, c: 4 }\nz: { <<: [*x, *y], a: 0 }";
        let (_, merged) = map(text).remove(2);
        assert_eq!(
            merged,
            Node::Map(vec![integer("a", 0), integer("b", 2), integer("c", 4)])
        );
    }

    #[test]
    fn broken_yaml_is_told_with_its_line() {
        for (text, expected) in [
            (
                "a: [1,\nb: 2",
                "line 3, column 1: did not find expected ',' or ']', while parsing a flow sequence at line 1 column 4",
            ),
            (
                "a: b: c",
                "line 1, column 5: mapping values are not allowed in this context",
            ),
            (
                "a:\n\tb: 1",
                "line 2, column 1: found character that cannot start any token, while scanning for the next token",
            ),
            ("a: 1\nb: *x", "line 2, column 4: unknown anchor"),
            ("a: &a [*a]", "line 1, column 4: recursion limit exceeded"),
            ("a: !x 1", "line 1, column 4: a: the tag `!x` means nothing here"),
            (
                "? [1]\n: 2",
                "line 1, column 3: invalid type: sequence, expected a string",
            ),
            ("\u{0}", "line 1, column 1: control characters are not allowed"),
            (
                "a: 1\n---\nb: 2",
                "deserializing from YAML containing more than one document is not supported",
            ),
        ] {
            assert_eq!(refused(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_that_would_take_for_ever_is_refused() {
        let wide = format!("a: &a [{}]\nb: [{}]", "0,".repeat(20_000), "*a,".repeat(20_000));
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a,".repeat(20_000));
        let doubling: String = (1..40)
            .map(|n| format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1))
            .collect();
        for (text, reason) in [
            ("[".repeat(MAX_BYTES), "brackets are open"),
            ("{a: ".repeat(MAX_BYTES / 4), "brackets are open"),
            ("- ".repeat(MAX_BYTES / 2), "recursion limit exceeded"),
            ("[".repeat(500), "recursion limit exceeded"),
            (wide, "the aliases expand to far more"),
            (long, "the aliases expand to far more"),
            (format!("a0: &a0 0\n{doubling}"), "repetition limit exceeded"),
            ("#".repeat(MAX_BYTES + 1), "a configuration has at most"),
        ] {
            let message = refused(&text);
            assert!(message.contains(reason), "{message}");
        }
    }
}
