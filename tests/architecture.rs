//! The invariants of ARCHITECTURE.md that a reader of sources can check. Each states an absence.

use std::fs;
use std::path::{Path, PathBuf};

const ROOMS: [&str; 7] = ["app", "cli", "intake", "planner", "publish", "state", "work"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust source below these folders, with its text, tests within it cut off and imports in braces written out.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut text = without_tests(&text);
                text.extend(imports(&text));
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The lines of a source but for its test modules. Of any other item that only tests see, the line with its name.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.extend([line, "\n"]);
            continue;
        }
        let item = lines.next().unwrap_or_default();
        if item.trim().starts_with("mod ") && item.ends_with('{') {
            // As rustfmt leaves it, what closes the module stands below what opens it.
            let close = line.replace("#[cfg(test)]", "}");
            lines.find(|line| *line == close);
        }
    }
    kept
}

/// What a source imports, one path a line: `use std::{fs, io::{self as i}};` is `std::fs::` and `std::io::self::`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let starts = line.starts_with("use ") || (line.starts_with("pub") && line.contains(" use "));
        if starts || !open.is_empty() {
            open.extend([line, " "]);
        }
        if line.ends_with(';')
            && let Some((_, tree)) = std::mem::take(&mut open).split_once("use ")
        {
            write_out("", tree.trim().trim_end_matches(';'), &mut found);
        }
    }
    found
}

/// Writes out the paths of `tree`, each behind `prefix`.
fn write_out(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, list)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        found.push(format!("{prefix}{path}::\n"));
        return;
    };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let mut depth = 0;
    let between = list.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    for tree in between.filter(|tree| !tree.trim().is_empty()) {
        write_out(&format!("{prefix}{}", head.trim()), tree.trim(), found);
    }
}

/// Whether a line of code names a path such as `arrow::`, outside of comments.
fn names(text: &str, path: &str) -> bool {
    let mut code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let in_a_word = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.any(|line| line.match_indices(path).any(|(at, _)| !in_a_word(&line[..at])))
}

/// No source below `folders` names one of `paths`, but for those that start with one of `but`.
fn nobody_names(paths: &[&str], folders: &[&str], but: &[&str]) {
    let mut found = Vec::new();
    for (file, text) in sources(folders) {
        if but.iter().any(|allowed| file.to_str().unwrap().starts_with(allowed)) {
            continue;
        }
        found.extend(
            paths
                .iter()
                .filter(|path| names(&text, path))
                .map(|path| format!("{} names {path}", file.display())),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_a_source_names_is_seen_behind_braces_and_behind_tests() {
    let source = "
use std::{
    collections::BTreeMap, // a comment
    fs, io::{self, Write as _},
};
pub(crate) use crate::{intake, work::worker};
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests {
    use tokio::sync;
    fn test() {
    }
}
// arrow::array in a comment
fn later() -> bool {
    let narrow = std::time::Instant::now() > zzz_rusqlite::now();
}
";
    let mut text = without_tests(source);
    text.extend(imports(&text));
    for path in ["std::fs", "std::io", "crate::intake", "crate::work", "Instant"] {
        assert!(names(&text, path), "{path}\n{text}");
    }
    for path in ["fixture", "tokio::", "arrow::", "rusqlite::"] {
        assert!(!names(&text, path), "{path}\n{text}");
    }
}

#[test]
fn models_know_no_io_no_clock_and_no_threads() {
    let banned = [
        "tokio::",
        "arrow::",
        "parquet::",
        "tch::",
        "std::fs",
        "std::net",
        "std::thread",
        "std::time::Instant",
        "SystemTime",
        "std::env",
    ];
    nobody_names(&banned, &["models/src"], &[]);
}

#[test]
fn only_the_child_names_libtorch_and_the_daemon_does_not_depend_on_it() {
    nobody_names(
        &["tch::", "forecastd_torch::"],
        &["daemon", "config", "models/src"],
        &[],
    );
    for manifest in ["Cargo.toml", "config/Cargo.toml", "models/Cargo.toml"] {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        assert!(
            !text.contains("tch") && !text.contains("path = \"models/torch\""),
            "{manifest}"
        );
    }
    nobody_names(&["tokio::", "arrow::", "parquet::"], &["models/torch/src"], &[]);
}

#[test]
fn no_room_knows_another() {
    for room in ["intake", "planner", "publish", "state", "work", "message", "service"] {
        for other in ROOMS.iter().chain(&["service"]).filter(|other| **other != room) {
            nobody_names(&[&format!("crate::{other}")], &[&format!("daemon/{room}")], &[]);
        }
    }
}

#[test]
fn the_planner_touches_nothing_and_asks_no_clock() {
    let banned = [
        "std::fs",
        "std::thread",
        "std::net",
        "std::sync::mpsc",
        "tokio::",
        "SystemTime",
        "Instant",
        "tracing::",
    ];
    nobody_names(&banned, &["daemon/planner"], &[]);
}

#[test]
fn each_foreign_library_is_named_in_its_own_room_only() {
    let outside = [
        "daemon/intake",
        "daemon/state",
        "daemon/publish/forecast_writer",
        "daemon/publish/prediction_file.rs",
        "daemon/cli/demo/feeder.rs",
    ];
    nobody_names(&["arrow::", "parquet::"], &["daemon", "config", "models/src"], &outside);
    nobody_names(
        &["prometheus::"],
        &["daemon"],
        &["daemon/publish/metrics", "daemon/publish/exposition"],
    );
    nobody_names(&["notify::"], &["daemon"], &["daemon/intake/watch"]);
    nobody_names(&["rusqlite::"], &["daemon"], &["daemon/state"]);
    nobody_names(
        &["axum::"],
        &["daemon"],
        &["daemon/publish/http", "daemon/publish/exposition"],
    );
    nobody_names(&["sd_notify::"], &["daemon"], &["daemon/service/systemd.rs"]);
    nobody_names(&["serde_yaml::"], &["daemon", "models/src"], &[]);
}

#[test]
fn only_the_clock_asks_for_the_time_of_day() {
    // The page for people says how old things are; nothing is decided there.
    let but = ["daemon/service/clock.rs", "daemon/cli/demo", "daemon/publish/http"];
    nobody_names(&["SystemTime::now", "Timestamp::now"], &["daemon"], &but);
}

#[test]
fn the_configuration_never_opens_what_it_names() {
    nobody_names(
        &["std::fs", "std::env", "std::net::TcpListener"],
        &["config"],
        &["config/tests"],
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    for (file, text) in sources(&["daemon", "models/src", "models/torch/src"]) {
        assert!(text.starts_with("//!"), "{}", file.display());
    }
}
