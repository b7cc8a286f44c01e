//! The books of trainings: what is open after a death is open, what is over is over, and only open runs have a folder.

use super::crash::at_every_step;
use super::*;
use crate::message::training::{Training, TrainingEnd, TrainingFailure, TrainingFault, TrainingPlan, TrainingReason};

fn plan(model: &str, labelled: u64) -> TrainingPlan {
    TrainingPlan {
        model: model.into(),
        dataset: "a".into(),
        reason: TrainingReason::Labels,
        words: "200 labels are new".to_owned(),
        through: 7,
        labelled,
        searches: false,
        searched: 3,
    }
}

fn ended(result: Result<u8, TrainingFault>) -> TrainingEnd {
    let failure = |fault| TrainingFailure {
        fault,
        detail: "so it is".to_owned(),
    };
    TrainingEnd {
        time: Timestamp(9),
        result: result.map(|number| ContentKey([number; 32])).map_err(failure),
    }
}

fn begin(scene: &mut Scene, model: &str, labelled: u64) -> i64 {
    let begun = scene.store().begin_training(&plan(model, labelled), Timestamp(5));
    let id = begun.expect("begun");
    fs::create_dir_all(run_folder(scene.folder.path(), id).join("checkpoint")).expect("a folder");
    id
}

fn trainings(scene: &mut Scene) -> Vec<Training> {
    scene.store().trainings().expect("read")
}

#[test]
fn a_training_is_told_until_a_later_one_has_made_a_version() {
    let mut scene = Scene::new();
    let first = begin(&mut scene, "m", 10);
    let other = begin(&mut scene, "n", 20);
    scene.reopen();
    let expected = Training {
        id: first,
        plan: plan("m", 10),
        begun: Timestamp(5),
        end: None,
    };
    assert_eq!(trainings(&mut scene)[0], expected);
    for (model, result, told) in [
        ("m", Err(TrainingFault::Died), 3),
        ("m", Ok(1), 2),
        ("m", Err(TrainingFault::Failed), 3),
        ("n", Ok(2), 3),
    ] {
        let id = begin(&mut scene, model, 30);
        let end = ended(result);
        scene.store().end_training(id, &end).expect("ended");
        scene
            .store()
            .end_training(id, &ended(Ok(9)))
            .expect("it is over already");
        let told_now = trainings(&mut scene);
        assert_eq!(told_now.len(), told, "{model}: {told_now:?}");
        let found = told_now.iter().find(|training| training.id == id);
        assert_eq!(found.and_then(|training| training.end.clone()), Some(end));
    }
    assert!(other > first);
}

#[test]
fn only_the_run_of_an_open_training_has_a_folder_after_a_start() {
    let mut scene = Scene::new();
    let (over, open) = (begin(&mut scene, "m", 10), begin(&mut scene, "m", 20));
    scene.store().end_training(over, &ended(Ok(1))).expect("ended");
    let folder = |scene: &Scene, id| run_folder(scene.folder.path(), id);
    assert!(!folder(&scene, over).exists());
    fs::create_dir_all(folder(&scene, over)).expect("what a crash leaves");
    fs::create_dir_all(folder(&scene, 77)).expect("what nobody began");
    scene.reopen();
    assert!(!folder(&scene, over).exists() && !folder(&scene, 77).exists());
    assert!(folder(&scene, open).join("checkpoint").exists());
}

#[test]
fn an_end_that_dies_at_any_step_leaves_the_training_open_or_over() {
    at_every_step(
        |scene| {
            begin(scene, "m", 10);
        },
        |scene| scene.store().end_training(1, &ended(Ok(1))),
        |scene| {
            let is_open = trainings(scene)[0].end.is_none();
            assert_eq!(run_folder(scene.folder.path(), 1).exists(), is_open);
        },
    );
}
