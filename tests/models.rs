//! The story of models: dropped, judged, promoted, rolled back, over restarts; and what is refused on the way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::artifact::{Artifact, sum_up};
use crate::support::{Daemon, Environment, LANDING, forecastd, wait_for};

/// A dataset that nobody drops into, and the model `scenes` with these keys more.
fn environment(more: &str) -> Environment {
    let series = Environment::dataset("d", "{ time: time }", "forecast: { horizon: 12 }");
    let model = format!("  - {{ name: scenes, incoming: ./incoming/models, {LANDING}, {more} }}\n");
    Environment::with_datasets(&format!("{series}models:\n{model}"))
}

/// Drops an artifact as a careful copier does: under a hidden name, then renamed. Its version.
fn drop_artifact(environment: &Environment, name: &str, artifact: &Artifact) -> String {
    let folder = environment.path("incoming/models");
    let hidden = folder.join(format!(".{name}.tmp"));
    let version = artifact.write(&hidden);
    fs::rename(hidden, folder.join(name)).unwrap();
    version
}

fn models(environment: &Environment, arguments: &[&str]) -> Output {
    let state = environment.path("state");
    forecastd(&[&["models"], arguments, &["--state", state.to_str().unwrap()]].concat())
}

/// What a command that must succeed prints.
fn told(environment: &Environment, arguments: &[&str]) -> String {
    let output = models(environment, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn as_json(environment: &Environment, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(environment, &[arguments, &["--json"]].concat())).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The state of each version, in the order in which they came.
fn states(environment: &Environment) -> Vec<(String, String)> {
    let list = as_json(environment, &["list", "--all"]);
    let versions = list.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    versions
        .map(|version| (text(&version["version"]), text(&version["state"])))
        .collect()
}

fn active(environment: &Environment) -> Option<String> {
    let states = states(environment).into_iter();
    let mut active = states
        .filter(|(_, state)| state == "active")
        .map(|(version, _)| version);
    let found = active.next();
    assert_eq!(active.next(), None, "one is active at most");
    found
}

/// Waits until a version is in a state, in the ledger and on the page that readers see.
fn until(daemon: &Daemon, environment: &Environment, version: &str, state: &str) {
    wait_for(&format!("{version} to be {state}; the log:\n{}", daemon.log()), || {
        let wanted = (version.to_owned(), state.to_owned());
        states(environment).contains(&wanted).then_some(())
    });
    if ["active", "shadow"].contains(&state) {
        daemon.scrape_until(&format!("{version} {state} on the page"), |page| {
            let labels = [("model", "scenes"), ("version", version), ("state", state)];
            page.get("forecastd_model_version_info", &labels) == Some(1.0)
        });
    }
}

fn names(folder: PathBuf) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into())
        .collect();
    names.sort();
    names
}

#[test]
fn versions_come_by_dropping_and_the_better_one_answers_over_restarts_and_kills() {
    let environment = environment("promotion: { margin: 0.05 }");
    let daemon = environment.start();
    let first = drop_artifact(&environment, "first", &Artifact::scoring(0.80));
    until(&daemon, &environment, &first, "active");
    assert!(told(&environment, &["show", "scenes"]).contains("no version was active"));
    let close = drop_artifact(&environment, "close", &Artifact::scoring(0.82));
    until(&daemon, &environment, &close, "refused");
    let shown = told(&environment, &["show", "scenes", &close[..12]]);
    assert!(
        shown.contains("accuracy 0.8200 on validation, with the same data, against 0.8000"),
        "{shown}"
    );
    assert!(shown.contains("better by 0.0200 only, margin 0.05"), "{shown}");
    daemon.kill();

    let better = drop_artifact(&environment, "better", &Artifact::scoring(0.90));
    let daemon = environment.start();
    until(&daemon, &environment, &better, "active");
    assert_eq!(drop_artifact(&environment, "again", &Artifact::scoring(0.90)), better);
    let page = daemon.scrape_until("the same once more", |page| {
        page.get("forecastd_model_drops_duplicate_total", &[("model", "scenes")]) == Some(1.0)
    });
    for (state, count) in [("active", 1.0), ("retired", 1.0), ("refused", 1.0), ("candidate", 0.0)] {
        let labels = [("model", "scenes"), ("state", state)];
        assert_eq!(page.get("forecastd_model_versions", &labels), Some(count), "{state}");
    }
    assert_eq!(
        page.count("forecastd_model_version_info"),
        1,
        "only what answers is named"
    );
    assert_eq!(
        names(environment.path("incoming/models/done")),
        ["again", "better", "close", "first"]
    );
    assert_eq!(names(environment.path("state/models")).len(), 3, "no second copy");

    told(&environment, &["rollback", "scenes", "--reason", "it is slow"]);
    until(&daemon, &environment, &first, "active");
    daemon.kill();
    let daemon = environment.start();
    until(&daemon, &environment, &first, "active");
    let shown = told(&environment, &["show", "scenes", &better]);
    assert!(shown.contains("rolled back by hand: it is slow"), "{shown}");
    assert!(daemon.stop().success());
    assert_eq!(environment.fsck()["models"][0]["active"], first);
}

#[test]
fn commands_do_the_same_beside_the_service_and_without_it() {
    for runs in [true, false] {
        let environment = environment("promotion: { to: candidate }");
        let daemon = environment.start();
        let one = drop_artifact(&environment, "one", &Artifact::scoring(0.7));
        until(&daemon, &environment, &one, "candidate");
        let two = drop_artifact(&environment, "two", &Artifact::scoring(0.6));
        until(&daemon, &environment, &two, "candidate");
        let daemon = if runs {
            Some(daemon)
        } else {
            assert!(daemon.stop().success());
            None
        };
        assert_eq!(active(&environment), None, "nobody has promoted one");
        let refused = models(&environment, &["rollback", "scenes"]);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(stderr(&refused), "forecastd: model scenes: no version is active\n");

        let promoted = told(&environment, &["promote", "scenes", &one[..8], "--reason", "the first"]);
        assert_eq!(promoted, format!("model scenes: version {} is active\n", &one[..12]));
        let promoted = as_json(&environment, &["promote", "scenes", &two[..8], "--reason", "its turn"]);
        assert_eq!(
            (&promoted["version"], &promoted["state"]),
            (&json!(two), &json!("active"))
        );
        let shown = told(&environment, &["show", "scenes"]);
        assert!(
            shown.contains(promoted["reason"].as_str().unwrap()),
            "{promoted} {shown}"
        );
        assert_eq!(active(&environment), Some(two.clone()));
        let again = models(&environment, &["promote", "scenes", "active"]);
        assert!(stderr(&again).contains("is active already"), "{}", stderr(&again));
        let kept = models(&environment, &["remove", "scenes", &one[..8]]);
        assert!(
            stderr(&kept).contains("what a rollback would take"),
            "{}",
            stderr(&kept)
        );
        let back = told(&environment, &["rollback", "scenes"]);
        assert_eq!(back, format!("model scenes: version {} is active again\n", &one[..12]));
        let removed = as_json(&environment, &["remove", "scenes", &two[..8]]);
        assert_eq!(removed["state"], "removed");
        assert_eq!(names(environment.path("state/models")), std::slice::from_ref(&one));
        assert_eq!(
            states(&environment),
            [(one, "active".to_owned()), (two.clone(), "removed".to_owned())]
        );
        let gone = models(&environment, &["promote", "scenes", &two]);
        assert!(stderr(&gone).contains("is removed: drop it again"), "{}", stderr(&gone));
        assert!(names(environment.path("state/requests")).is_empty(), "no request stays");
        drop(daemon);
        environment.fsck();
    }
}

#[test]
fn versions_are_listed_and_compared_for_people_and_for_programs() {
    let environment = environment("promotion: { margin: 0.5 }");
    let daemon = environment.start();
    let one = drop_artifact(&environment, "one", &Artifact::scoring(0.5));
    until(&daemon, &environment, &one, "active");
    let two = drop_artifact(&environment, "two", &Artifact::scoring(0.625));
    until(&daemon, &environment, &two, "refused");
    let list = told(&environment, &["list"]);
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        [
            "MODEL",
            "VERSION",
            "STATE",
            "SINCE",
            "METRIC",
            "VALIDATION",
            "TEST",
            "BYTES"
        ]
    );
    assert_eq!(
        (lines[1][1], lines[1][2], lines[1][5]),
        (&one[..12], "active", "0.5000")
    );
    assert_eq!(
        (lines[2][1], lines[2][2], lines[2][5]),
        (&two[..12], "refused", "0.6250")
    );
    let listed = as_json(&environment, &["list", "scenes"]);
    assert_eq!(
        (&listed[1]["metric"], &listed[1]["validation"]),
        (&"accuracy".into(), &0.625.into())
    );
    assert!(
        Path::new(listed[1]["folder"].as_str().unwrap())
            .join("model.json")
            .exists()
    );

    let compared = told(&environment, &["compare", "scenes", &two[..6]]);
    assert!(
        compared.contains("better: accuracy 0.6250") && compared.contains("by 0.1250, margin 0"),
        "{compared}"
    );
    let config = environment.config();
    let with_config = [
        "models",
        "compare",
        "scenes",
        &two[..6],
        "--json",
        "--config",
        config.to_str().unwrap(),
    ];
    let compared: Value = serde_json::from_slice(&forecastd(&with_config).stdout).unwrap();
    assert_eq!(
        (&compared["margin"], &compared["better"]),
        (&0.5.into(), &false.into()),
        "as it is configured"
    );
    let shown = as_json(&environment, &["show", "scenes", &two[..6]]);
    let reasons: Vec<&str> = shown["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["state"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["candidate", "refused"]);
    assert_eq!(shown["version"]["description"]["labels"][1], "yes");

    for (arguments, expected) in [
        (vec!["list", "nobody"], "model nobody: there is no version of it"),
        (vec!["show", "scenes", "ffffffff"], "no version begins with ffffffff"),
        (vec!["show", "scenes", "ab"], "at least 4 digits"),
        (vec!["show", "scenes", "shadow"], "no version is shadow"),
    ] {
        let output = models(&environment, &arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let nowhere = forecastd(&["models", "list"]);
    assert_eq!(nowhere.status.code(), Some(2), "neither --config nor --state");
}

#[test]
fn where_there_is_no_state_every_command_says_so_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    for arguments in [
        &["list"][..],
        &["show", "scenes"],
        &["compare", "scenes", "3f2a91"],
        &["promote", "scenes", "3f2a91"],
        &["rollback", "scenes"],
        &["remove", "scenes", "3f2a91"],
        &["train", "scenes"],
    ] {
        let output = forecastd(&[&["models"], arguments, &["--state", state]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let expected = format!("{state}/ledger.sqlite: there is no such file, so no state of forecastd");
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
        assert!(names(folder.path().into()).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_version_with_other_outputs_is_refused_and_taken_only_by_force() {
    let environment = environment("");
    let daemon = environment.start();
    let one = drop_artifact(&environment, "one", &Artifact::scoring(0.5));
    until(&daemon, &environment, &one, "active");
    let other = Artifact::scoring(0.9).with_labels(["yes", "no"]);
    let other = drop_artifact(&environment, "other", &other);
    until(&daemon, &environment, &other, "refused");
    let refused = models(&environment, &["promote", "scenes", &other]);
    let expected = "its output 0 is \"yes\", the active version's \"no\"; --force promotes it all the same";
    assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    told(&environment, &["promote", "scenes", &other, "--force"]);
    until(&daemon, &environment, &other, "active");
}

#[test]
fn a_better_version_goes_into_the_shadow_where_that_is_wanted() {
    let environment = environment("promotion: { to: shadow }");
    let daemon = environment.start();
    let one = drop_artifact(&environment, "one", &Artifact::scoring(0.5));
    until(&daemon, &environment, &one, "active");
    let two = drop_artifact(&environment, "two", &Artifact::scoring(0.6));
    until(&daemon, &environment, &two, "shadow");
    let three = drop_artifact(&environment, "three", &Artifact::scoring(0.7));
    until(&daemon, &environment, &three, "shadow");
    until(&daemon, &environment, &two, "retired");
    told(&environment, &["promote", "scenes", "shadow"]);
    until(&daemon, &environment, &three, "active");
    assert_eq!(
        daemon.scrape().count("forecastd_model_version_info"),
        1,
        "nothing is in the shadow"
    );
}

#[test]
fn old_versions_go_and_those_that_are_needed_stay() {
    let environment = environment("retention: { versions: 1 }");
    let daemon = environment.start();
    let mut dropped = Vec::new();
    for number in 1..=5 {
        let artifact = Artifact::scoring(f64::from(number) / 10.0);
        let version = drop_artifact(&environment, &number.to_string(), &artifact);
        until(&daemon, &environment, &version, "active");
        dropped.push(version);
    }
    until(&daemon, &environment, &dropped[1], "removed");
    let expected = ["removed", "removed", "retired", "retired", "active"];
    let states: Vec<String> = states(&environment).into_iter().map(|(_, state)| state).collect();
    assert_eq!(
        states, expected,
        "one beside the active one and the one that a rollback takes"
    );
    let mut kept = dropped[2..].to_vec();
    kept.sort();
    assert_eq!(names(environment.path("state/models")), kept);
    told(&environment, &["rollback", "scenes"]);
    until(&daemon, &environment, &dropped[3], "active");
}

#[test]
fn whatever_is_no_artifact_ends_in_quarantine_with_its_reason_and_the_active_one_stays() {
    let environment = environment("");
    let daemon = environment.start();
    let good = drop_artifact(&environment, "good", &Artifact::scoring(0.5));
    until(&daemon, &environment, &good, "active");
    let folder = environment.path("incoming/models");
    let secret = environment.path("secret");
    fs::write(&secret, "nobody's business").unwrap();
    let spoil = |name: &str, spoil: &dyn Fn(&Path)| {
        let hidden = folder.join(format!(".{name}.tmp"));
        Artifact::scoring(0.9).write(&hidden);
        spoil(&hidden);
        fs::rename(hidden, folder.join(name)).unwrap();
    };
    let cut = |path: &Path, less: u64| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - less).unwrap();
    };
    spoil("half", &|f| fs::remove_file(f.join("card.json")).unwrap());
    spoil("truncated", &|f| cut(&f.join("weights.safetensors"), 9));
    spoil("flipped", &|f| {
        let path = f.join("weights.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        bytes[500] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    spoil("script", &|f| {
        fs::write(f.join("run.sh"), "#!/bin/sh\nrm -rf /").unwrap()
    });
    spoil("linked", &|f| {
        fs::remove_file(f.join("model.json")).unwrap();
        symlink(&secret, f.join("model.json")).unwrap();
    });
    spoil("shape", &|f| {
        let path = f.join("model.json");
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("\"outputs\": 2", "\"outputs\": 3");
        fs::write(path, text).unwrap();
        sum_up(f);
    });
    spoil("huge", &|f| {
        fs::File::create(f.join("weights.safetensors"))
            .unwrap()
            .set_len(5 << 30)
            .unwrap()
    });
    symlink(&secret, folder.join("link")).unwrap();
    fs::write(folder.join("notes.txt"), "a plain file is nobody's artifact").unwrap();

    let expected = [
        ("flipped", "sums"),
        ("half", "incomplete"),
        ("huge", "too_large"),
        ("link", "not_plain"),
        ("linked", "not_plain"),
        ("script", "unknown_file"),
        ("shape", "description"),
        ("truncated", "sums"),
    ];
    let quarantined = || {
        let mut found: Vec<(String, String)> = Vec::new();
        for cell in names(folder.join("quarantine")) {
            let cell = folder.join("quarantine").join(cell);
            let verdict: Value = serde_json::from_slice(&fs::read(cell.join("reason.json")).ok()?).ok()?;
            let name = names(cell).into_iter().find(|name| name != "reason.json")?;
            found.push((name, verdict["reason"].as_str()?.to_owned()));
        }
        found.sort();
        (found.len() == expected.len()).then_some(found)
    };
    let found = wait_for(&format!("eight verdicts; the log:\n{}", daemon.log()), quarantined);
    assert_eq!(
        found,
        expected.map(|(name, reason)| (name.to_owned(), reason.to_owned()))
    );
    let page = daemon.scrape_until("eight are counted", |page| {
        page.sum("forecastd_model_drops_rejected_total") == expected.len() as f64
    });
    assert_eq!(page.sum("forecastd_model_drops_total"), 1.0 + expected.len() as f64);
    assert_eq!(states(&environment), [(good.clone(), "active".to_owned())]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "nobody's business");
    assert!(folder.join("notes.txt").exists());

    // What was refused can be mended and moved back.
    let half = names(folder.join("quarantine"))
        .into_iter()
        .find(|cell| cell.starts_with("half"))
        .unwrap();
    let half = folder.join("quarantine").join(half).join("half");
    let mended = Artifact::scoring(0.9).write(&half);
    fs::rename(half, folder.join("half")).unwrap();
    until(&daemon, &environment, &mended, "active");
    assert!(daemon.stop().success());
    environment.fsck();
}

#[test]
fn a_reload_brings_a_model_takes_it_away_and_keeps_its_versions() {
    let environment = environment("");
    let daemon = environment.start();
    let version = drop_artifact(&environment, "one", &Artifact::scoring(0.5));
    until(&daemon, &environment, &version, "active");
    let with_model = fs::read_to_string(environment.config()).unwrap();
    let (without, _) = with_model.split_once("models:").unwrap();
    environment.write_config(without);
    daemon.signal(Signal::HUP);
    daemon.scrape_until("no model on the page", |page| {
        page.count("forecastd_model_version_info") == 0 && page.count("forecastd_model_drops_total") == 0
    });
    assert_eq!(active(&environment), Some(version.clone()), "the state keeps it");
    environment.write_config(&with_model);
    daemon.signal(Signal::HUP);
    until(&daemon, &environment, &version, "active");
}

#[test]
fn kills_at_any_instant_leave_every_version_whole_and_none_twice() {
    let environment = environment("promotion: { to: candidate }, retention: { versions: 100 }");
    fs::create_dir_all(environment.path("incoming/models")).unwrap();
    let mut dropped = Vec::new();
    for kill in 0..6_u64 {
        let daemon = environment.start();
        for number in 0..3 {
            let artifact = Artifact::scoring(f64::from(number) / 8.0 + kill as f64);
            let name = format!("{kill}-{number}");
            dropped.push(drop_artifact(&environment, &name, &artifact));
        }
        std::thread::sleep(std::time::Duration::from_millis(150 * kill));
        daemon.kill();
    }
    let daemon = environment.start();
    let folder = environment.path("incoming/models");
    wait_for("every artifact to be dealt with", || {
        (names(folder.clone()) == ["done"]).then_some(())
    });
    assert!(daemon.stop().success());
    let mut found: Vec<String> = states(&environment).into_iter().map(|(version, _)| version).collect();
    found.sort();
    dropped.sort();
    assert_eq!(found, dropped, "each once");
    assert_eq!(names(environment.path("state/models")), dropped);
    assert_eq!(names(environment.path("incoming/models/done")).len(), dropped.len());
    environment.fsck();
}
