//! A strict reader of both formats: it refuses what the specifications forbid, so that a test of a page is one call.

use std::collections::{BTreeMap, BTreeSet};

use super::Format;

/// A sample's name and labels, unescaped.
pub(super) type Series = (String, BTreeMap<String, String>);

/// Reads a page, and panics at the first line that breaks a rule: one HELP and TYPE a family, before its samples;
/// families in one piece; no series twice; valid names and escapes; the end where there has to be one.
pub(super) fn check(page: &str, format: Format) -> BTreeMap<Series, f64> {
    let mut checker = Checker {
        format,
        family: None,
        families: BTreeSet::new(),
        samples: BTreeMap::new(),
    };
    let page = match format {
        Format::OpenMetrics => page.strip_suffix("# EOF\n").expect("the end"),
        Format::Text => page,
    };
    assert!(page.is_empty() || page.ends_with('\n'), "the last line is whole");
    for line in page.split_terminator('\n') {
        match line.strip_prefix("# ") {
            Some(meta) => checker.meta(meta),
            None => checker.sample(line),
        }
    }
    checker.samples
}

struct Family {
    name: String,
    kind: Option<String>,
    /// Samples have come.
    begun: bool,
}

struct Checker {
    format: Format,
    family: Option<Family>,
    families: BTreeSet<String>,
    samples: BTreeMap<Series, f64>,
}

impl Checker {
    fn meta(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').expect("a word and a name");
        let (name, text) = rest.split_once(' ').expect("a name and a text");
        if word == "HELP" {
            assert!(self.families.insert(name.to_owned()), "{name} comes twice");
            check_name(name);
            self.family = Some(Family {
                name: name.to_owned(),
                kind: None,
                begun: false,
            });
            return;
        }
        let family = self.family.as_mut().expect("HELP comes first");
        assert!(family.name == name && !family.begun, "{line} stands elsewhere");
        match word {
            "TYPE" => {
                assert!(
                    family.kind.is_none() && ["counter", "gauge", "histogram"].contains(&text),
                    "{line}"
                );
                assert!(self.format == Format::Text || !name.ends_with("_total"), "{line}");
                family.kind = Some(text.to_owned());
            }
            "UNIT" => {
                assert!(self.format == Format::OpenMetrics, "{line}");
                assert!(name.ends_with(&format!("_{text}")), "{line}");
            }
            _ => panic!("{line}"),
        }
    }

    fn sample(&mut self, line: &str) {
        let (name, labels, value) = split_sample(line);
        let family = self.family.as_mut().expect("a family");
        family.begun = true;
        let kind = family.kind.as_deref().expect("TYPE comes before samples");
        let suffix = name
            .strip_prefix(family.name.as_str())
            .unwrap_or_else(|| panic!("{line} stands elsewhere"));
        let allowed: &[&str] = match (kind, self.format) {
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("counter", Format::OpenMetrics) => &["_total"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line}");
        if self.format == Format::OpenMetrics {
            assert!(
                labels.get("le").is_none_or(|le| le.contains('.') || le == "+Inf"),
                "{line}"
            );
        }
        assert!(!value.contains(' '), "a timestamp: {line}");
        let value = value
            .replace("+Inf", "inf")
            .parse()
            .unwrap_or_else(|_| panic!("{line}"));
        let before = self.samples.insert((name.to_owned(), labels), value);
        assert!(before.is_none(), "{line} comes twice");
    }
}

fn split_sample(line: &str) -> (&str, BTreeMap<String, String>, &str) {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, rest) = line.split_at(end);
    check_name(name);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest),
        None => (BTreeMap::new(), rest),
    };
    (name, labels, rest.strip_prefix(' ').expect("one space"))
}

fn read_labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        check_name(name);
        let (value, after) = read_value(after);
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} comes twice");
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, after.strip_prefix('}').expect("a closing brace")),
        }
    }
}

fn read_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => panic!("escape of {other:?}"),
            }),
            other => value.push(other),
        }
    }
    panic!("no closing quote: {text}")
}

fn check_name(name: &str) {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = name.chars().next().expect("a name");
    assert!(!first.is_ascii_digit() && name.chars().all(valid), "{name}");
}

#[test]
fn the_checker_refuses_what_the_specifications_forbid() {
    let head = "# HELP a x\n# TYPE a gauge\n";
    for bad in [
        format!("{head}a 1\n# HELP b x\n# TYPE b gauge\na 2\n"),
        format!("{head}a 1\na 1\n"),
        format!("{head}a 1 1700000000\n"),
        format!("{head}a{{b=\"\\t\"}} 1\n"),
        format!("{head}a{{b=\"1\",b=\"2\"}} 1\n"),
        format!("{head}a_total 1\n"),
        format!("{head}{head}a 1\n"),
        format!("{head}a 1"),
        "a 1\n".to_owned(),
    ] {
        let refused = std::panic::catch_unwind(|| check(&bad, Format::Text));
        assert!(refused.is_err(), "{bad}");
    }
    let missing_end = std::panic::catch_unwind(|| check(head, Format::OpenMetrics));
    assert!(missing_end.is_err());
}
