//! What the planner knows of samples, and whose turn it is.

use std::num::NonZeroUsize;
use std::path::Path;

use forecastd_config::Config;
use forecastd_models::Timestamp;
use forecastd_models::dasha::Task;

use super::*;
use crate::message::account::RowAccount;
use crate::message::ingest_report::{IngestReport, Outcome};
use crate::message::landed_file::{Fingerprint, LandedFile, Listing};
use crate::message::sample::{Label, MaskLabel, Taken};
use crate::message::snapshot::Snapshot;
use crate::planner::{Command, Event, Planner};

fn entry(id: &str, row: u32, split: Split, label: Option<&str>) -> SampleEntry {
    SampleEntry {
        id: id.into(),
        place: SamplePlace { sequence: 1, row },
        split,
        label: label.map(|class| Label::Class(class.to_owned())),
        taken: Default::default(),
        same_elements: false,
        compared: Vec::new(),
    }
}

#[test]
fn the_last_word_on_a_sample_counts_and_no_other() {
    let mut index = SampleIndex::default();
    index.insert(entry("a", 0, Split::Train, None));
    index.insert(entry("b", 1, Split::Test, Some("x")));
    assert_eq!((index.unlabelled, index.labelled()), ([1, 0, 0], [0, 0, 1]));
    index.insert(entry("a", 2, Split::Train, Some("y")));
    index.insert(entry("b", 3, Split::Validation, Some("y")));
    assert_eq!((index.unlabelled, index.labelled()), ([0; 3], [1, 1, 0]));
    assert_eq!(index.classes(), BTreeMap::from([("y".into(), [1, 1, 0])]));
    assert_eq!(index.get("b").map(|known| known.place.row), Some(3));
    assert_eq!(index.iter().len(), 2);
}

#[test]
fn a_sample_with_a_mask_has_every_class_that_any_position_has() {
    let names = ["land", "road", "water"].map(str::to_owned);
    let mask = MaskLabel::of(&[2, 0, 2, 255], &names).expect("it has no other class");
    let mut index = SampleIndex::default();
    index.insert(SampleEntry {
        label: Some(Label::Mask(mask)),
        ..entry("a", 0, Split::Train, None)
    });
    index.insert(entry("b", 1, Split::Train, None));
    assert_eq!((index.unlabelled, index.labelled()), ([1, 0, 0], [1, 0, 0]));
    let expected = [("land", [1, 0, 0]), ("water", [1, 0, 0])];
    assert_eq!(
        index.classes(),
        expected.map(|(class, counts)| (class.into(), counts)).into()
    );
}

#[test]
fn the_newest_time_is_that_of_the_samples_that_count() {
    let at = |id: &str, row, time: Option<i64>| SampleEntry {
        taken: Taken {
            time: time.map(Timestamp),
            place: None,
        },
        ..entry(id, row, Split::Train, None)
    };
    let mut index = SampleIndex::default();
    index.insert(at("a", 0, None));
    assert_eq!(index.newest(), None);
    index.insert(at("b", 1, Some(7)));
    index.insert(at("c", 2, Some(7)));
    index.insert(at("d", 3, Some(9)));
    assert_eq!(index.newest(), Some(Timestamp(9)));
    index.insert(at("d", 4, Some(3)));
    index.insert(at("c", 5, None));
    assert_eq!(index.newest(), Some(Timestamp(7)));
    index.insert(at("b", 6, Some(5)));
    assert_eq!((index.newest(), index.times.len()), (Some(Timestamp(5)), 2));
}

#[test]
fn labels_are_told_by_the_drop_that_brought_them() {
    let mut index = SampleIndex::default();
    let in_drop = |sequence, entry: SampleEntry| SampleEntry {
        place: SamplePlace { sequence, row: 0 },
        ..entry
    };
    let since = |index: &SampleIndex, drop, outputs: &[&str]| {
        let outputs = outputs.iter().map(|class| (*class).to_owned()).collect();
        let training = TrainingSet::new(Task::Classify, Some(outputs), index.labels());
        index.labelled_since(drop, &training)
    };
    assert_eq!((index.last_labelled(), since(&index, 0, &["x", "y"])), (None, 0));
    index.insert(in_drop(1, entry("a", 0, Split::Train, Some("x"))));
    index.insert(in_drop(1, entry("b", 0, Split::Train, Some("x"))));
    index.insert(in_drop(4, entry("c", 0, Split::Train, None)));
    index.insert(in_drop(6, entry("d", 0, Split::Test, Some("y"))));
    assert_eq!((index.last_labelled(), since(&index, 0, &["x", "y"])), (Some(6), 3));
    assert_eq!(since(&index, 0, &["x"]), 2, "of those that a training takes");
    index.insert(in_drop(9, entry("a", 0, Split::Train, Some("y"))));
    assert_eq!([1, 6].map(|drop| since(&index, drop, &["x", "y"])), [2, 1]);
    index.insert(in_drop(10, entry("b", 0, Split::Train, None)));
    let all = [0, 1, 6, 9].map(|drop| since(&index, drop, &["x", "y"]));
    assert_eq!((index.last_labelled(), all), (Some(9), [2, 2, 1, 0]));
    assert_eq!(index.labels().count(), 1, "what no sample has is forgotten");
}

fn file(dataset: &str, inode: u64) -> LandedFile {
    LandedFile {
        dataset: dataset.into(),
        path: format!("/{dataset}/{inode}.parquet").into(),
        fingerprint: Fingerprint {
            device: 1,
            inode,
            size: 1,
            modified: 0,
            changed: 0,
        },
    }
}

/// A planner with the datasets `s` of series and `t` of tiles, whose states are back and in whose folders two files wait.
fn planner() -> (Planner, Vec<Command>) {
    let text = "state_dir: /s
datasets:
  - { name: s, kind: series, incoming: /in/s, series: { time: t }, forecast: { horizon: 3 } }
  - { name: t, kind: tiles, incoming: /in/t, samples: { id: i, image: x, shape: [1, 2, 2] } }
";
    let config = Config::parse(text, Path::new("/")).expect("a good file");
    let mut planner = Planner::new(NonZeroUsize::MIN);
    let now = Timestamp(0);
    let mut commands = planner.apply(Event::Reconfigured(Arc::new(config)), now);
    for name in ["s", "t"] {
        let epoch = commands.iter().find_map(|command| match command {
            Command::Recover(dataset, epoch) | Command::RecoverSamples(dataset, epoch) => {
                (**dataset == *name).then_some(*epoch)
            }
            _ => None,
        });
        let epoch = epoch.expect("it is read back");
        if name == "t" {
            let known = vec![entry("a", 0, Split::Train, None)];
            planner.apply(Event::SamplesRecovered(name.into(), epoch, known), now);
        }
        assert!(!planner.is_ready());
        commands = planner.apply(Event::RecoveryFinished(name.into(), epoch), now);
    }
    for name in ["s", "t"] {
        let listing = Listing {
            dataset: name.into(),
            landed: vec![file(name, 1), file(name, 2)],
            waiting: 0,
            ignored: 0,
        };
        commands.extend(planner.apply(Event::Listed(listing), now));
    }
    assert!(planner.is_ready());
    (planner, commands)
}

fn taken(commands: &[Command]) -> Option<LandedFile> {
    commands.iter().find_map(|command| match command {
        Command::Ingest(file, ..) | Command::IngestSamples(file, _) => Some(file.clone()),
        _ => None,
    })
}

#[test]
fn series_and_samples_take_turns_and_neither_starves() {
    let (mut planner, mut commands) = planner();
    let mut order = String::new();
    while let Some(file) = taken(&commands) {
        order += &file.dataset;
        let outcome = Outcome::Finished;
        commands = planner.apply(Event::Ingested(IngestReport { file, outcome }), Timestamp(0));
    }
    assert_eq!(order, "stst");
}

#[test]
fn samples_that_were_committed_are_seen_with_those_that_were_there() {
    let (mut planner, mut commands) = planner();
    let mut now = Timestamp(0);
    let mut last: Option<Snapshot> = None;
    while let Some(file) = taken(&commands) {
        now = now.after(std::time::Duration::from_secs(1));
        let outcome = match &*file.dataset {
            "t" => Outcome::Sampled {
                account: RowAccount::default(),
                fresh: vec![entry("b", file.fingerprint.inode as u32, Split::Test, Some("x"))],
            },
            _ => Outcome::Finished,
        };
        commands = planner.apply(Event::Ingested(IngestReport { file, outcome }), now);
        let published = commands.iter().find_map(|command| match command {
            Command::Publish(snapshot) => Some(snapshot.clone()),
            _ => None,
        });
        last = published.or(last);
    }
    let last = last.expect("published");
    assert_eq!((last.datasets.len(), last.samples.len()), (1, 1));
    let view = &last.samples[0];
    assert_eq!((view.unlabelled, view.labelled), ([1, 0, 0], [0, 0, 1]));
    assert_eq!(view.classes, BTreeMap::from([("x".into(), [0, 0, 1])]));
}
