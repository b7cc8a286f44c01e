//! Versions of models: what is imported stays as it is, one is active at most, and every death means "do it again" or
//! "it was done".

use forecastd_models::dasha::{ModelDescription, card::Card};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::artifact_fixture::Artifact;
use crate::message::model::{ModelAct, ModelChange, ModelFacts, ModelState, ModelVersion, rollback_target};

const NOW: Timestamp = Timestamp(1_000);

/// The artifact with this number, staged where a claim would have left it; imports it.
fn try_import(scene: &mut Scene, model: &str, number: u8) -> Result<bool, StateError> {
    let staged = tempfile::tempdir_in(scene.folder.path().join("spool")).expect("a folder");
    let key = Artifact::scoring(f64::from(number)).write(staged.path());
    let read = |name: &str| fs::read(staged.path().join(name)).expect("read");
    let description: ModelDescription = serde_json::from_slice(&read("model.json")).expect("JSON");
    let card: Card = serde_json::from_slice(&read("card.json")).expect("JSON");
    let facts = ModelFacts {
        bytes: 10,
        metric: card.metric,
        validation: Some(f64::from(number)),
        test: None,
        data: card.data.hash,
        description,
    };
    let staged = StagedModel {
        folder: staged.path(),
        key: key.parse().expect("a key"),
        facts,
    };
    scene.store().import_model(model, staged, NOW, "dropped")
}

fn import(scene: &mut Scene, model: &str, number: u8) -> ContentKey {
    try_import(scene, model, number).expect("imported");
    versions(scene, model)
        .into_iter()
        .find(|version| version.facts.validation == Some(f64::from(number)))
        .expect("it is there")
        .version
}

fn versions(scene: &mut Scene, model: &str) -> Vec<ModelVersion> {
    let mut versions = scene.store().models().expect("read");
    versions.retain(|version| *version.model == *model);
    versions
}

fn change(scene: &mut Scene, act: ModelAct) -> Result<(), StateError> {
    let change = ModelChange {
        model: "m".into(),
        act,
        reason: "so it is wanted".to_owned(),
    };
    scene.store().change_model(&change, NOW)
}

fn state_of(scene: &mut Scene, key: ContentKey) -> ModelState {
    let versions = versions(scene, "m");
    versions
        .iter()
        .find(|version| version.version == key)
        .expect("it is known")
        .state
}

fn remove(version: ContentKey) -> ModelAct {
    ModelAct::Remove { version, force: false }
}

fn folders(scene: &Scene) -> usize {
    fs::read_dir(scene.folder.path().join("models"))
        .expect("a folder")
        .count()
}

#[test]
fn an_artifact_becomes_one_version_however_often_it_is_brought() {
    let mut scene = Scene::new();
    let key = import(&mut scene, "m", 1);
    assert!(!try_import(&mut scene, "m", 1).expect("it is there"), "it is not new");
    scene.reopen();
    let all = versions(&mut scene, "m");
    let [version] = all.as_slice() else {
        panic!("one version: {all:?}");
    };
    assert_eq!(
        (version.version, version.state, version.reason.as_str()),
        (key, ModelState::Candidate, "dropped")
    );
    assert_eq!(version.folder, scene.folder.path().join("models").join(key.to_string()));
    assert_eq!((folders(&scene), scene.audit().models[0].versions), (1, 1));
    let history = RegistryView::open(scene.folder.path())
        .expect("opened")
        .transitions("m")
        .expect("read");
    assert_eq!(history.len(), 1, "nothing happened the second time");
}

#[test]
fn an_import_that_dies_at_any_step_is_redone_or_was_done() {
    let deaths = crash::at_every_step(
        |scene| {
            import(scene, "m", 1);
        },
        |scene| try_import(scene, "m", 2).map(|_| ()),
        |scene| {
            assert!(versions(scene, "m").len() == folders(scene), "nothing is half there");
            try_import(scene, "m", 2).expect("redone");
            assert_eq!((versions(scene, "m").len(), folders(scene)), (2, 2));
        },
    );
    assert_eq!(deaths, 4, "flushed, renamed, folder flushed, recorded");
}

#[test]
fn a_promotion_that_dies_at_any_step_leaves_one_active() {
    let deaths = crash::at_every_step(
        |scene| {
            let first = import(scene, "m", 1);
            import(scene, "m", 2);
            change(scene, ModelAct::Promote(first)).expect("promoted");
        },
        |scene| {
            let second = versions(scene, "m")[1].version;
            change(scene, ModelAct::Promote(second))
        },
        |scene| {
            let active = versions(scene, "m")
                .into_iter()
                .filter(|version| version.state == ModelState::Active);
            assert_eq!(active.count(), 1);
        },
    );
    assert_eq!(deaths, 1, "recorded");
}

#[test]
fn a_removal_that_dies_at_any_step_leaves_nothing_half_there() {
    let deaths = crash::at_every_step(
        |scene| {
            import(scene, "m", 1);
        },
        |scene| {
            let key = versions(scene, "m")[0].version;
            change(scene, remove(key))
        },
        |scene| {
            let key = versions(scene, "m")[0].version;
            assert_eq!(state_of(scene, key) == ModelState::Removed, folders(scene) == 0);
        },
    );
    assert_eq!(deaths, 2, "recorded, and the files are gone");
}

#[test]
fn versions_are_promoted_and_rolled_back_one_at_a_time() {
    use ModelState::{Active, Removed, Retired, Shadow};
    let mut scene = Scene::new();
    let keys: Vec<ContentKey> = (1..=4).map(|number| import(&mut scene, "m", number)).collect();
    let [a, b, c, d] = keys[..] else { panic!("four") };
    for key in [a, b, c] {
        change(&mut scene, ModelAct::Promote(key)).expect("promoted");
        scene.reopen();
    }
    let states = |scene: &mut Scene| keys.iter().map(|key| state_of(scene, *key)).collect::<Vec<_>>();
    assert_eq!(states(&mut scene)[..3], [Retired, Retired, Active]);
    change(&mut scene, ModelAct::Rollback).expect("back to b");
    change(&mut scene, ModelAct::Promote(d)).expect("promoted");
    assert_eq!(states(&mut scene), [Retired, Retired, Retired, Active]);
    change(&mut scene, ModelAct::Rollback).expect("back to b, not to c, which was rolled back itself");
    assert_eq!(state_of(&mut scene, b), Active);
    change(&mut scene, ModelAct::Rollback).expect("back to a");
    assert_eq!(state_of(&mut scene, a), Active);
    let refused = change(&mut scene, ModelAct::Rollback)
        .expect_err("nothing before a")
        .to_string();
    assert_eq!(refused, "model m: no version was active before, or its files are gone");

    change(&mut scene, ModelAct::Shadow(c)).expect("into the shadow");
    change(&mut scene, ModelAct::Shadow(d)).expect("in its place");
    assert_eq!(states(&mut scene), [Active, Retired, Retired, Shadow]);
    change(&mut scene, ModelAct::Promote(d)).expect("out of the shadow");
    change(&mut scene, remove(b)).expect("it is nobody's");
    assert_eq!(states(&mut scene), [Retired, Removed, Retired, Active]);
    scene.audit();
}

#[test]
fn what_must_not_be_is_refused_and_changes_nothing() {
    let mut scene = Scene::new();
    let keys: Vec<ContentKey> = (1..=3).map(|number| import(&mut scene, "m", number)).collect();
    let [a, b, c] = keys[..] else { panic!("three") };
    for act in [ModelAct::Promote(a), ModelAct::Promote(b), ModelAct::Refuse(c)] {
        change(&mut scene, act).expect("it can be");
    }
    let short = |key: ContentKey| key.short();
    let nobody = ContentKey([9; 32]);
    let cases = [
        (ModelAct::Promote(b), format!("version {} is active already", short(b))),
        (ModelAct::Shadow(b), format!("version {} is active already", short(b))),
        (ModelAct::Refuse(a), format!("version {} is retired already", short(a))),
        (ModelAct::Refuse(c), format!("version {} is refused already", short(c))),
        (
            remove(b),
            format!("version {} is active: promote another one first", short(b)),
        ),
        (
            remove(a),
            format!(
                "version {} is what a rollback would take: it goes by force only",
                short(a)
            ),
        ),
        (
            ModelAct::Promote(nobody),
            format!("there is no version {}", short(nobody)),
        ),
    ];
    let before = versions(&mut scene, "m");
    for (act, expected) in cases {
        let error = change(&mut scene, act).expect_err("refused");
        assert!(!error.is_fatal());
        assert_eq!(error.to_string(), format!("model m: {expected}"));
    }
    assert_eq!(versions(&mut scene, "m"), before);
    let force = true;
    change(&mut scene, ModelAct::Remove { version: a, force }).expect("by force");
    let error = change(&mut scene, ModelAct::Promote(a))
        .expect_err("its files are gone")
        .to_string();
    assert!(error.ends_with("is removed: drop it again"), "{error}");
    let error = change(&mut scene, ModelAct::Rollback)
        .expect_err("its files are gone")
        .to_string();
    assert!(error.contains("no version was active before"), "{error}");
}

#[test]
fn a_version_that_was_removed_comes_back_as_a_candidate_with_its_history() {
    let mut scene = Scene::new();
    let key = import(&mut scene, "m", 1);
    change(&mut scene, remove(key)).expect("removed");
    assert_eq!(folders(&scene), 0);
    assert!(try_import(&mut scene, "m", 1).expect("imported"), "it is new again");
    assert_eq!((state_of(&mut scene, key), folders(&scene)), (ModelState::Candidate, 1));
    let history = RegistryView::open(scene.folder.path())
        .expect("opened")
        .transitions("m")
        .expect("read");
    let states: Vec<ModelState> = history.iter().map(|transition| transition.state).collect();
    assert_eq!(
        states,
        [ModelState::Candidate, ModelState::Removed, ModelState::Candidate]
    );
    scene.audit();
}

#[test]
fn two_models_share_the_files_of_one_artifact_until_both_let_go() {
    let mut scene = Scene::new();
    let key = import(&mut scene, "m", 1);
    assert_eq!(import(&mut scene, "n", 1), key);
    assert_eq!(folders(&scene), 1);
    change(&mut scene, remove(key)).expect("removed");
    assert_eq!(
        (folders(&scene), scene.audit().models.len()),
        (1, 1),
        "the other has it"
    );
    scene.reopen();
    assert_eq!(folders(&scene), 1);
}

#[test]
fn damaged_files_of_a_version_are_named_and_healed_by_the_same_artifact() {
    let harms: [fn(&Path); 4] = [
        |folder| {
            let path = folder.join("weights.safetensors");
            let mut bytes = fs::read(&path).expect("read");
            bytes[100] ^= 4;
            fs::write(path, bytes).expect("written");
        },
        |folder| fs::remove_file(folder.join("BLAKE3SUMS")).expect("removed"),
        |folder| fs::write(folder.join("more"), "x").expect("written"),
        |folder| fs::remove_dir_all(folder).expect("removed"),
    ];
    for harm in harms {
        let mut scene = Scene::new();
        let key = import(&mut scene, "m", 1);
        let folder = versions(&mut scene, "m")[0].folder.clone();
        harm(&folder);
        let report = fsck(scene.folder.path()).expect("checked");
        assert!(
            report.problems.len() == 1 && report.problems[0].contains(&key.to_string()),
            "{report}"
        );
        assert!(!try_import(&mut scene, "m", 1).expect("healed"), "it is not new");
        scene.audit();
    }
}

#[test]
fn files_that_no_version_names_are_orphans_and_others_are_not_ours() {
    let mut scene = Scene::new();
    import(&mut scene, "m", 1);
    scene.store = None;
    let models = scene.folder.path().join("models");
    let orphan = models.join("ab".repeat(32));
    let request = scene.folder.path().join("requests/x.request.json");
    let staged = scene.folder.path().join("spool/model-x");
    for folder in [&orphan, &staged, &models.join("notes")] {
        fs::create_dir(folder).expect("made");
        fs::write(folder.join("card.json"), "x").expect("written");
    }
    fs::write(&request, "{}").expect("written");
    let report = fsck(scene.folder.path()).expect("checked");
    assert!(report.is_clean());
    assert_eq!(report.orphans, std::slice::from_ref(&orphan));
    scene.reopen();
    assert_eq!(scene.store().cleaned(), [staged, orphan, request]);
    assert!(models.join("notes").exists());
    assert_eq!(versions(&mut scene, "m").len(), 1);
    scene.audit();
}

#[test]
fn a_ledger_from_before_models_is_looked_at_as_it_is_and_then_brought_up_to_date() {
    let mut scene = Scene::new();
    scene.drop(&[("x", 1, 1.0)]);
    scene.store = None;
    let ledger = rusqlite::Connection::open(scene.folder.path().join("ledger.sqlite")).expect("opened");
    let version_2 = "DROP TABLE predictions; DROP TABLE trainings; DROP TABLE samples;
        DROP TABLE model_transitions; DROP TABLE model_versions; PRAGMA user_version = 2;";
    ledger.execute_batch(version_2).expect("as it was");
    drop(ledger);
    let view = RegistryView::open(scene.folder.path()).expect("opened");
    assert_eq!(
        (view.models().expect("none"), view.transitions("m").expect("none")),
        (vec![], vec![])
    );
    drop(view);
    scene.audit();
    scene.reopen();
    import(&mut scene, "m", 1);
    assert_eq!(scene.history(), history_of(&[("x", 1, 1.0)]));
    scene.audit();
}

#[test]
fn models_without_a_ledger_are_not_thrown_away() {
    let mut scene = Scene::new();
    import(&mut scene, "m", 1);
    scene.store = None;
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = fs::remove_file(scene.folder.path().join(name));
    }
    let error = scene.open().expect_err("refused");
    assert!(matches!(error, StateError::LedgerMissing { .. }), "{error}");
    assert_eq!(folders(&scene), 1);
}

#[test]
fn a_cooked_registry_is_found() {
    let cases = [
        (
            "UPDATE model_versions SET state = 'refused' WHERE state = 'candidate'",
            "its history says candidate",
        ),
        (
            "UPDATE model_versions SET promotion = 99 WHERE state = 'retired'",
            "a promotion after the active one's",
        ),
        (
            "DELETE FROM model_transitions WHERE state = 'active'",
            "its history says",
        ),
    ];
    for (cooked, expected) in cases {
        let mut scene = Scene::new();
        let keys: Vec<ContentKey> = (1..=3).map(|number| import(&mut scene, "m", number)).collect();
        change(&mut scene, ModelAct::Promote(keys[0])).expect("promoted");
        change(&mut scene, ModelAct::Promote(keys[1])).expect("promoted");
        scene.audit();
        scene.store = None;
        let ledger = rusqlite::Connection::open(scene.folder.path().join("ledger.sqlite")).expect("opened");
        ledger.execute_batch(cooked).expect("cooked");
        drop(ledger);
        let report = fsck(scene.folder.path()).expect("checked");
        assert!(
            report.problems.iter().any(|problem| problem.contains(expected)),
            "{cooked}: {report}"
        );
    }
}

#[derive(Clone, Debug)]
enum Turn {
    Import(u8),
    Promote(usize),
    Shadow(usize),
    Refuse(usize),
    Rollback,
    Remove(usize, bool),
    Restart,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..5_u8).prop_map(Turn::Import),
        4 => (0..5_usize).prop_map(Turn::Promote),
        1 => (0..5_usize).prop_map(Turn::Shadow),
        1 => (0..5_usize).prop_map(Turn::Refuse),
        3 => Just(Turn::Rollback),
        2 => (0..5_usize, any::<bool>()).prop_map(|(version, force)| Turn::Remove(version, force)),
        1 => Just(Turn::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// A stack of promotions says which version is active and which a rollback takes; and whatever is done, the books
    /// are in order and the active version has its files.
    #[test]
    fn any_life_of_a_registry_equals_a_stack(turns in vec(turn(), 1..60)) {
        let mut scene = Scene::new();
        let mut stack: Vec<ContentKey> = Vec::new();
        for turn in turns {
            let known = versions(&mut scene, "m");
            let key = |n: usize| known.get(n).map_or(ContentKey([7; 32]), |version| version.version);
            match turn {
                Turn::Restart => scene.reopen(),
                Turn::Import(number) => { try_import(&mut scene, "m", number).expect("imported"); }
                Turn::Promote(n) => if change(&mut scene, ModelAct::Promote(key(n))).is_ok() {
                    stack.retain(|other| *other != key(n));
                    stack.push(key(n));
                },
                Turn::Shadow(n) => if change(&mut scene, ModelAct::Shadow(key(n))).is_ok() {
                    stack.retain(|other| *other != key(n));
                },
                Turn::Refuse(n) => { let _ = change(&mut scene, ModelAct::Refuse(key(n))); }
                Turn::Rollback => {
                    let done = change(&mut scene, ModelAct::Rollback).is_ok();
                    prop_assert_eq!(done, stack.len() > 1);
                    if done { stack.pop(); }
                }
                Turn::Remove(n, force) => {
                    let act = ModelAct::Remove { version: key(n), force };
                    if change(&mut scene, act).is_ok() {
                        stack.retain(|other| *other != key(n));
                    }
                }
            }
            let now = versions(&mut scene, "m");
            let active: Vec<ContentKey> =
                now.iter().filter(|version| version.state == ModelState::Active).map(|version| version.version).collect();
            prop_assert_eq!(active.as_slice(), stack.last().map_or(&[][..], std::slice::from_ref));
            prop_assert!(now.iter().filter(|version| version.state == ModelState::Shadow).count() <= 1);
            let target = rollback_target(&now).map(|version| version.version);
            prop_assert_eq!(target, stack.iter().rev().nth(1).copied());
        }
        scene.audit();
        scene.reopen();
        scene.audit();
    }
}
