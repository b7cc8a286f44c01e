//! The configuration as its users meet it.

mod accepted;
mod example;
mod refused;
mod samples;
mod torn;

use std::path::Path;

use crate::{Config, ConfigErrors};

const EXAMPLE: &str = include_str!("../forecastd.yaml");

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("/etc/forecastd"))
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// The errors, one a line.
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("taken:\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

/// A good file, but for one line of its only dataset, which takes the place of the line with the same key.
fn dataset(line: &str) -> String {
    let (key, _) = line.split_once(':').expect("a line has a key");
    let lines = [
        "name: a",
        "kind: series",
        "incoming: in",
        "series: { time: t }",
        "forecast: { horizon: 24 }",
    ];
    let others = lines.iter().filter(|other| !other.starts_with(&format!("{key}:")));
    let lines: String = others.chain([&line]).map(|line| format!("    {line}\n")).collect();
    format!("state_dir: state\ndatasets:\n  -\n{lines}")
}

/// A good file with one dataset of this kind of samples, but for one line of it.
fn samples(kind: &str, line: &str) -> String {
    let (key, _) = line.split_once(':').expect("a line has a key");
    let of_kind = match kind {
        "tiles" => "samples: { id: i, image: x, shape: [3, 8, 8] }",
        _ => "samples: { id: i, sequence: x, shape: [9] }",
    };
    let kind = format!("kind: {kind}");
    let lines = ["name: a", &kind, "incoming: in", of_kind];
    let others = lines.iter().filter(|other| !other.starts_with(&format!("{key}:")));
    let lines: String = others.chain([&line]).map(|line| format!("    {line}\n")).collect();
    format!("state_dir: state\ndatasets:\n  -\n{lines}")
}

/// A good file with one more line at its top.
fn top(line: &str) -> String {
    format!("{line}\n{}", dataset("after: move"))
}

/// What a file is told whose only dataset has this line, without the path of the dataset.
fn told(line: &str) -> String {
    refused(&dataset(line)).replace("datasets[0].", "")
}

/// A file with datasets `a`, `b`, …, each with the keys between two bars.
fn datasets(of_each: &str) -> String {
    let mut text = "state_dir: /s\ndatasets:\n".to_owned();
    for (name, keys) in ('a'..='z').zip(of_each.split(" | ")) {
        let name = if keys.contains("name:") {
            String::new()
        } else {
            format!("name: {name}, ")
        };
        text += &format!("  - {{ {name}kind: series, series: {{ time: t }}, forecast: {{ horizon: 1 }}, {keys} }}\n");
    }
    text
}

/// The example with its defaults written out: a `#` without a space after it is taken away.
fn uncommented(text: &str) -> String {
    let uncomment = |line: &str| match line.trim_start().strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => line.replacen('#', "", 1),
        _ => line.to_owned(),
    };
    text.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}
