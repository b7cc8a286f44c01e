//! The examples: what is shipped with the program and what its pages show.

use std::collections::HashSet;
use std::path::Path;

use super::{EXAMPLE, dataset, good, refused, samples, top, uncommented};
use crate::Layout;
use crate::yaml::{self, Node};

#[test]
fn the_example_of_the_readme_is_taken() {
    let config = good(
        r#"
state_dir: ./state
http: { listen: "127.0.0.1:9464" }
datasets:
  - name: etth1
    kind: series
    incoming: ./incoming/etth1
    series: { time: date }                       # wide: every other numeric column is a channel
    forecast: { horizon: 96, steps: [1, 24, 96], levels: [0.8, 0.95] }
  - name: nab
    kind: series
    incoming: ./incoming/nab
    series: { time: timestamp, channel: [category, series], value: value }   # long
    forecast: { horizon: 24 }
"#,
    );
    let [etth1, nab] = config.datasets.as_slice() else {
        panic!("two datasets: {config:?}");
    };
    assert_eq!(etth1.incoming, Path::new("/etc/forecastd/incoming/etth1"));
    assert_eq!(etth1.outgoing, Path::new("/etc/forecastd/state/outgoing/etth1"));
    assert_eq!(etth1.steps, [1, 24, 96]);
    let long = Layout::Long {
        channel: vec!["category".to_owned(), "series".to_owned()],
        value: "value".to_owned(),
    };
    assert_eq!((&nab.columns.layout, nab.steps.as_slice()), (&long, &[1, 24][..]));
}

#[test]
fn every_default_in_the_commented_example_is_the_default_in_code() {
    assert_eq!(good(EXAMPLE), good(&uncommented(EXAMPLE)));
}

#[test]
fn the_commented_example_shows_every_key() {
    let shown = shown_keys(&uncommented(EXAMPLE));
    for section in [
        "",
        "http",
        "inference",
        "torch",
        "datasets",
        "landing",
        "series",
        "samples",
        "predictions",
        "history",
        "forecast",
        "limits",
        "models",
        "promotion",
        "retention",
        "train",
    ] {
        for key in known_keys(section) {
            assert!(
                shown.contains(&(section.to_owned(), key.clone())),
                "`{key}` of `{section}`"
            );
        }
    }
}

/// Every key of a text, with the section in which it stands.
fn shown_keys(text: &str) -> HashSet<(String, String)> {
    let mut keys = HashSet::new();
    let mut nodes = vec![(String::new(), yaml::parse(text).expect("YAML"))];
    while let Some((section, node)) = nodes.pop() {
        match node {
            Node::List(items) => nodes.extend(items.into_iter().map(|item| (section.clone(), item))),
            Node::Map(entries) => {
                for (key, value) in entries {
                    keys.insert((section.clone(), key.clone()));
                    nodes.push((key, value));
                }
            }
            _ => {}
        }
    }
    keys
}

/// The keys that a section knows, from what it says to one that it does not.
fn known_keys(section: &str) -> Vec<String> {
    let errors = match section {
        "" => refused(&top("zzz: 1")),
        "http" | "torch" => refused(&top(&format!("{section}: {{ zzz: 1 }}"))),
        "inference" => refused(&top("http: { inference: { zzz: 1 } }")),
        "datasets" => refused(&dataset("zzz: 1")),
        "models" => refused(&top("models: [{ zzz: 1 }]")),
        "promotion" | "retention" | "train" => refused(&top(&format!("models: [{{ {section}: {{ zzz: 1 }} }}]"))),
        "samples" | "predictions" => refused(&samples("tiles", &format!("{section}: {{ zzz: 1 }}"))),
        _ => refused(&dataset(&format!("{section}: {{ zzz: 1 }}"))),
    };
    let line = errors
        .lines()
        .find(|line| line.contains("zzz"))
        .expect("`zzz` is not known");
    let (_, keys) = line.split_once("known here: ").expect("a list of keys");
    keys.trim_end_matches(')').split(", ").map(str::to_owned).collect()
}
