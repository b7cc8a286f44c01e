//! Artifacts that are sound, half there, broken and hostile.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forecastd_config::Landing;
use forecastd_models::dasha::Metric;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::claim::{ArtifactError, ClaimedArtifact, claim};
use super::*;
use crate::artifact_fixture::{Artifact, sum_up};
use crate::intake::fixture::landed_file;
use crate::intake::scan::{Landings, Scanner};
use crate::message::rejected::{ArtifactFault, Rejected};

type Change<'a> = &'a dyn Fn(&Path);

/// An artifact in a folder of its own, after a change of it; and its version before that.
fn changed(change: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("spool")).expect("a folder");
    let folder = dir.path().join("net");
    let version = Artifact::scoring(0.75).write(&folder);
    change(&folder);
    (dir, folder, version)
}

fn claimed(change: impl FnOnce(&Path)) -> Result<ClaimedArtifact, ArtifactError> {
    let (dir, folder, _) = changed(change);
    claim(&landed_file(&folder), &dir.path().join("spool"))
}

fn verdict(change: impl FnOnce(&Path)) -> Rejected<ArtifactFault> {
    match claimed(change) {
        Err(ArtifactError::Rejected(verdict)) => verdict,
        other => panic!("not rejected: {other:?}"),
    }
}

/// Replaces a text in a file, and sums everything up again.
fn replace(folder: &Path, name: &str, from: &str, to: &str) {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).expect("a text");
    assert!(text.contains(from), "{name} has {from}");
    fs::write(&path, text.replacen(from, to, 1)).expect("written");
    sum_up(folder);
}

/// Other weights, to which `model.json` has the hash.
fn put_weights(folder: &Path, bytes: &[u8]) {
    let before = blake3::hash(&fs::read(folder.join(WEIGHTS)).expect("it is there")).to_string();
    fs::write(folder.join(WEIGHTS), bytes).expect("written");
    replace(folder, MODEL, &before, blake3::hash(bytes).to_hex().as_str());
}

#[test]
fn a_sound_artifact_is_copied_and_says_what_it_is() {
    let (dir, folder, version) = changed(|folder| {
        fs::write(folder.join("README.md"), "for people").expect("written");
        fs::write(folder.join("loss.svg"), "<svg/>").expect("written");
    });
    let spool = dir.path().join("spool");
    let claimed = claim(&landed_file(&folder), &spool).expect("sound");
    assert_eq!(claimed.key.to_string(), version);
    let facts = &claimed.facts;
    assert_eq!(
        (facts.metric, facts.validation, facts.test),
        (Metric::Accuracy, Some(0.75), Some(0.75))
    );
    assert_eq!(facts.description.labels, ["no", "yes"]);
    let mut bytes = 0;
    for name in ARTIFACT_FILES {
        let (one, other) = (fs::read(folder.join(name)), fs::read(claimed.folder.path().join(name)));
        let one = one.expect("it stays");
        bytes += one.len() as u64;
        assert_eq!(one, other.expect("it is copied"), "{name}");
    }
    assert_eq!(facts.bytes, bytes);
    let copied = fs::read_dir(claimed.folder.path()).expect("a folder").count();
    assert_eq!(copied, ARTIFACT_FILES.len(), "what is for people is not the service's");
    drop(claimed);
    assert_eq!(
        fs::read_dir(&spool).expect("a folder").count(),
        0,
        "the copy goes with the claim"
    );
}

#[test]
fn whatever_is_no_artifact_is_refused_with_its_reason() {
    use ArtifactFault as Fault;
    let write = |folder: &Path, name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("written");
    let linked = |folder: &Path, name: &str| {
        fs::rename(folder.join(name), folder.with_extension("elsewhere")).expect("moved");
        symlink(folder.with_extension("elsewhere"), folder.join(name)).expect("linked");
    };
    let cases: [(Fault, &str, Change<'_>); 21] = [
        (Fault::Incomplete, "there is no card.json", &|f| {
            fs::remove_file(f.join(CARD)).expect("removed")
        }),
        (Fault::Incomplete, "there is no weights", &|f| {
            fs::remove_file(f.join(WEIGHTS)).expect("removed")
        }),
        (Fault::UnknownFile, "\"run.sh\" belongs", &|f| {
            write(f, "run.sh", b"#!/bin/sh")
        }),
        (Fault::UnknownFile, "\"more\" belongs", &|f| {
            fs::create_dir(f.join("more")).expect("made")
        }),
        (Fault::NotPlain, "a link", &|f| linked(f, WEIGHTS)),
        (Fault::NotPlain, "a link", &|f| linked(f, SUMS)),
        (Fault::NotPlain, "a second hard link", &|f| {
            fs::hard_link(f.join(MODEL), f.with_extension("again")).expect("linked");
        }),
        (Fault::NotPlain, "card.json is a folder", &|f| {
            fs::remove_file(f.join(CARD)).expect("removed");
            fs::create_dir(f.join(CARD)).expect("made");
        }),
        (Fault::NotPlain, "model.json is a fifo", &|f| {
            fs::remove_file(f.join(MODEL)).expect("removed");
            mknodat(CWD, f.join(MODEL), FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        }),
        (Fault::NotPlain, "a symlink is not taken", &|f| {
            fs::rename(f, f.with_extension("elsewhere")).expect("moved");
            symlink(f.with_extension("elsewhere"), f).expect("linked");
        }),
        (Fault::TooLarge, "weights.safetensors: 4294967297 bytes", &|f| {
            let file = fs::File::create(f.join(WEIGHTS)).expect("made");
            file.set_len(MOST_WEIGHTS + 1).expect("sparse");
        }),
        (Fault::TooLarge, "BLAKE3SUMS: 5000 bytes", &|f| {
            write(f, SUMS, &[b' '; 5000])
        }),
        (Fault::Sums, "weights.safetensors: its BLAKE3", &|f| {
            let mut bytes = fs::read(f.join(WEIGHTS)).expect("read");
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            write(f, WEIGHTS, &bytes);
        }),
        (Fault::Sums, "model.json: its BLAKE3", &|f| write(f, MODEL, b"{}")),
        (Fault::Sums, "more than a line", &|f| {
            let sums = fs::read_to_string(f.join(SUMS)).expect("read");
            let extra = format!("{sums}{}  ../../etc/passwd\n", "0".repeat(64));
            write(f, SUMS, extra.as_bytes());
        }),
        (Fault::Description, "model.json: format 9", &|f| {
            replace(f, MODEL, "\"format\": 1", "\"format\": 9")
        }),
        (Fault::Description, "a newer forecastd may have written it", &|f| {
            replace(f, MODEL, "\"format\": 1", "\"run\": 1, \"format\": 1")
        }),
        (Fault::Description, "hash of other weights", &|f| {
            let mut bytes = fs::read(f.join(WEIGHTS)).expect("read");
            bytes.truncate(bytes.len() - 4);
            write(f, WEIGHTS, &bytes);
            sum_up(f);
        }),
        (Fault::Weights, "does not lie where its shape says", &|f| {
            let mut bytes = fs::read(f.join(WEIGHTS)).expect("read");
            bytes.truncate(bytes.len() - 4);
            put_weights(f, &bytes);
        }),
        (Fault::Weights, "1 weights, where the convolutions alone have", &|f| {
            let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
            put_weights(f, &bytes);
        }),
        (Fault::Card, "its labels are not those", &|f| {
            replace(f, CARD, "\"yes\"", "\"perhaps\"")
        }),
    ];
    for (fault, detail, change) in cases {
        let verdict = verdict(change);
        assert!(
            verdict.reason == fault && verdict.detail.contains(detail),
            "{detail}: {verdict:?}"
        );
    }
}

#[test]
fn a_card_of_another_network_or_metric_is_refused() {
    let verdict_of = |artifact: &Artifact| {
        verdict(|folder| {
            artifact.write(folder);
        })
    };
    let mut artifact = Artifact::scoring(0.5);
    artifact.card.metric = Metric::R2;
    assert_eq!(verdict_of(&artifact).detail, "card.json: r2 does not score Classify");
    let mut artifact = Artifact::scoring(0.5);
    artifact.card.architecture.input.size = vec![8];
    assert_eq!(
        verdict_of(&artifact).detail,
        "card.json: its architecture is not that of model.json"
    );
    let mut artifact = Artifact::scoring(0.5);
    artifact.card.format = 7;
    assert_eq!(
        verdict_of(&artifact).detail,
        "card.json: format 7; this version reads 1"
    );
}

#[test]
fn an_artifact_without_the_score_that_it_was_chosen_by_has_none() {
    let claimed = claimed(|folder| {
        let mut artifact = Artifact::scoring(0.5);
        artifact.card.metric = Metric::Mcc;
        artifact.write(folder);
    });
    assert_eq!(claimed.expect("sound").facts.validation, None);
}

#[test]
fn what_changed_or_went_away_since_the_listing_is_withdrawn() {
    let (dir, folder, _) = changed(|_| {});
    let file = landed_file(&folder);
    let spool = dir.path().join("spool");
    fs::write(folder.join("README.md"), "more").expect("written");
    assert!(matches!(claim(&file, &spool), Err(ArtifactError::Withdrawn)));
    fs::remove_dir_all(&folder).expect("removed");
    assert!(matches!(claim(&file, &spool), Err(ArtifactError::Withdrawn)));
}

#[test]
fn a_disk_that_fails_is_not_the_artifacts_fault() {
    let (_dir, folder, _) = changed(|_| {});
    let failed = claim(&landed_file(&folder), Path::new("/nowhere"));
    assert!(matches!(failed, Err(ArtifactError::Io { path, .. }) if path == Path::new("/nowhere")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever a bit flips, or wherever a file ends too early: the sums tell.
    #[test]
    fn no_flipped_bit_and_no_cut_gets_in(name in 0..4_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8, cut: bool) {
        let verdict = verdict(|folder| {
            let path = folder.join(ARTIFACT_FILES[name]);
            let mut bytes = fs::read(&path).expect("read");
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            fs::write(&path, bytes).expect("written");
        });
        prop_assert!(verdict.reason == ArtifactFault::Sums, "{verdict:?}");
    }
}

const SETTLE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that artifacts land in, its scanner, and a clock that the test turns.
struct Bench {
    dir: tempfile::TempDir,
    scanner: Scanner,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let landing = Landing {
            scan_interval: SETTLE,
            settle: SETTLE,
            patience: PATIENCE,
        };
        let aside = vec![dir.path().join("done"), dir.path().join("quarantine")];
        let landings = Landings::Artifacts { aside };
        Self {
            scanner: Scanner::new("m".into(), dir.path().to_owned(), landings, landing),
            dir,
            now: Instant::now(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What has landed after so long; how many wait, how many are ignored.
    fn after(&mut self, wait: Duration, renamed_in: &[&str]) -> (Vec<String>, usize, usize) {
        self.now += wait;
        let renamed_in: HashSet<PathBuf> = renamed_in.iter().map(|name| self.path(name)).collect();
        let listing = self.scanner.scan(self.now, &renamed_in).expect("readable");
        let names = listing.landed.iter().map(|file| {
            let name = file.path.file_name().expect("a name");
            name.to_string_lossy().into_owned()
        });
        (names.collect(), listing.waiting, listing.ignored)
    }
}

#[test]
fn an_artifact_that_is_renamed_in_lands_at_once_and_one_that_is_copied_when_it_holds_still() {
    let mut bench = Bench::new();
    Artifact::scoring(0.6).write(&bench.path("copied"));
    Artifact::scoring(0.5).write(&bench.path("moved"));
    assert_eq!(
        bench.after(Duration::ZERO, &["moved"]),
        (vec![], 2, 0),
        "an older one may settle yet"
    );
    let (mut landed, ..) = bench.after(SETTLE, &[]);
    landed.sort();
    assert_eq!(landed, ["copied", "moved"]);
}

#[test]
fn a_half_copied_artifact_is_waited_for_however_slowly_it_comes() {
    let mut bench = Bench::new();
    let whole = tempfile::tempdir().expect("a folder");
    Artifact::scoring(0.5).write(whole.path());
    let folder = bench.path("net");
    fs::create_dir(&folder).expect("made");
    for name in ["BLAKE3SUMS", "card.json", "model.json", "weights.safetensors"] {
        let bytes = fs::read(whole.path().join(name)).expect("read");
        for length in [0, bytes.len() / 2, bytes.len()] {
            assert_eq!(
                bench.after(PATIENCE / 2, &[]),
                (vec![], 1, 0),
                "{length} bytes of {name}"
            );
            fs::write(folder.join(name), &bytes[..length]).expect("written");
        }
    }
    assert_eq!(bench.after(SETTLE, &[]), (vec![], 1, 0), "it has just changed");
    assert_eq!(bench.after(SETTLE, &[]).0, ["net"]);
}

#[test]
fn an_artifact_that_never_becomes_whole_is_given_up_after_patience() {
    let mut bench = Bench::new();
    let folder = bench.path("net");
    Artifact::scoring(0.5).write(&folder);
    fs::remove_file(folder.join(CARD)).expect("removed");
    bench.after(Duration::ZERO, &[]);
    assert_eq!(bench.after(PATIENCE - SETTLE, &[]), (vec![], 1, 0));
    assert_eq!(bench.after(SETTLE, &[]).0, ["net"], "its claim tells what is missing");
}

#[test]
fn what_is_surely_no_artifact_lands_to_be_refused_and_what_is_not_meant_stays() {
    let mut bench = Bench::new();
    for name in ["done", "quarantine", ".net.partial", "_net"] {
        Artifact::scoring(0.5).write(&bench.path(name));
    }
    fs::write(bench.path("notes.txt"), "a plain file").expect("written");
    symlink("/etc", bench.path("link")).expect("linked");
    let folder = bench.path("linked");
    Artifact::scoring(0.5).write(&folder);
    fs::remove_file(folder.join(CARD)).expect("removed");
    symlink("/etc/hostname", folder.join(CARD)).expect("linked");
    bench.after(Duration::ZERO, &[]);
    let (mut landed, waiting, ignored) = bench.after(SETTLE, &[]);
    landed.sort();
    assert_eq!(
        (landed, waiting, ignored),
        (vec!["link".to_owned(), "linked".to_owned()], 0, 1)
    );
}
