//! The invariants of ARCHITECTURE.md that a reader of sources can check. Each states an absence.

use std::fs;
use std::path::{Path, PathBuf};

const ROOMS: [&str; 7] = ["app", "cli", "intake", "planner", "publish", "state", "work"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust source below these folders, with its text, tests within it cut off.
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
                let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// Lines of code that name a path such as `arrow::`, outside of comments.
fn names(text: &str, path: &str) -> bool {
    let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let prefixes = [' ', '(', '<', '&', '{', ',', '[', '!'];
    code.into_iter().any(|line| {
        line.match_indices(path)
            .any(|(at, _)| at == 0 || line[..at].ends_with(prefixes))
    })
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
fn models_know_no_io_no_clock_and_no_threads() {
    let banned = [
        "tokio::",
        "arrow::",
        "parquet::",
        "tch::",
        "std::fs",
        "std::net",
        "std::thread",
        "std::time",
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
