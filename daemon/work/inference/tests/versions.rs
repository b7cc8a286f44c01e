//! Versions: loaded beside one another, swapped without a failure, refused without harm.

use super::*;
use crate::message::inference::VersionState;

/// Versions of `m`, each with its state, and the active one.
fn served(story: &Story) -> (Option<String>, Vec<(String, VersionState)>) {
    let models = story.inference.served();
    let model = models.first().expect("m is served");
    let versions = model.versions.iter();
    (
        model.active.as_deref().map(str::to_owned),
        versions
            .map(|version| (version.version.to_string(), version.state.clone()))
            .collect(),
    )
}

fn ready(name: &str) -> (String, VersionState) {
    (name.to_owned(), VersionState::Ready)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_beside_the_active_one_are_asked_by_name() {
    let story = Story::doubling(Limits::default()).await;
    story.load("m", "x3").await.expect("it is loaded");
    let mut third = request(&[1.0], LONG);
    third.version = Some("x3".into());
    assert_eq!(score(&story.inference.infer(third.clone()).await), 3.0);
    assert_eq!(score(&story.ask(1.0).await), 2.0);
    assert_eq!(served(&story), (Some("x2".to_owned()), vec![ready("x2"), ready("x3")]));
    story.inference.unload("m", "x3").await;
    story.until("one version", |story| served(story).1.len() == 1).await;
    let told = error(&story.inference.infer(third).await).to_string();
    assert_eq!(told, "model \"m\" has no version \"x3\" that is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_version_answers_what_it_has_and_goes() {
    let story = Story::doubling(Limits::default()).await;
    let busy = story.occupy(Duration::from_millis(100)).await;
    let before = story.begin(request(&[1.0], LONG)).await;
    story.activate("m", "x3").await.expect("it is loaded");
    assert_eq!(score(&story.ask(1.0).await), 3.0);
    assert_eq!(score(&ended(before).await), 2.0);
    assert!(ended(busy).await.is_ok());
    story.until("one version", |story| served(story).1.len() == 1).await;
    assert_eq!(served(&story), (Some("x3".to_owned()), vec![ready("x3")]));
    assert_eq!(story.counts().swaps, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_fail_nothing_and_every_answer_is_one_versions() {
    let story = Arc::new(Story::doubling(Limits::default()).await);
    let swapping = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (story, swapping) = (Arc::clone(&story), Arc::clone(&swapping));
        clients.push(tokio::spawn(async move {
            while swapping.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = story.ask(1.0).await.expect("no request fails");
                let factor: f32 = answer.version[1..].parse().expect("x and a number");
                assert_eq!(answer.outputs, Outputs::Scores(vec![factor]));
            }
        }));
    }
    for swap in 0..1000 {
        let version = format!("x{}", swap % 7 + 1);
        story.activate("m", &version).await.expect("it is loaded");
        assert_eq!(served(&story).0, Some(version));
    }
    swapping.store(false, std::sync::atomic::Ordering::Relaxed);
    for client in clients {
        client.await.expect("every answer was right");
    }
    let counts = story.counts();
    assert_eq!((counts.requests, counts.failures.len()), (counts.answered, 0));
    assert!(counts.swaps >= 999, "{counts:?}"); // the first is x1, which is not x2
    assert_eq!(story.restarts(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_the_active_version_as_it_was() {
    let story = Story::doubling(Limits::default()).await;
    let told = story
        .activate("m", "spoilt")
        .await
        .expect_err("it is refused")
        .to_string();
    assert_eq!(
        told,
        "model \"m\" version \"spoilt\" is refused: model.json: not what it should be"
    );
    assert_eq!(served(&story), (Some("x2".to_owned()), vec![ready("x2")]));
    assert_eq!(score(&story.ask(1.0).await), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_that_ends_children_is_given_up_and_the_active_version_comes_back() {
    let story = Story::doubling(Limits::default()).await;
    let told = story
        .activate("m", "deadly")
        .await
        .expect_err("it is refused")
        .to_string();
    assert!(
        told.contains("2 serving processes ended while they loaded it: ended (signal: 6"),
        "{told}"
    );
    assert_eq!(score(&story.ask(1.0).await), 2.0);
    assert_eq!(served(&story), (Some("x2".to_owned()), vec![ready("x2")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_versions_are_loaded_again_after_a_restart() {
    let story = Story::doubling(Limits::default()).await;
    story.load("m", "x3").await.expect("it is loaded");
    assert_eq!(score(&story.ask(fake::ABORT_ONCE).await), 198.0);
    let mut third = request(&[1.0], LONG);
    third.version = Some("x3".into());
    assert_eq!(score(&story.inference.infer(third).await), 3.0);
    assert_eq!(story.restarts(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_still_being_loaded_is_not_ready_and_gives_way_to_the_next() {
    let story = Arc::new(Story::new("well", Limits::default(), quick()));
    let loading = {
        let story = Arc::clone(&story);
        tokio::spawn(async move { story.activate("m", "endless").await })
    };
    story
        .until("a model", |story| !story.inference.served().is_empty())
        .await;
    let told = error(&story.ask(1.0).await).to_string();
    assert_eq!(
        told,
        "model \"m\" version \"endless\" is not ready: no version is active"
    );
    let mut by_name = request(&[1.0], LONG);
    by_name.version = Some("endless".into());
    let told = error(&story.inference.infer(by_name).await).to_string();
    assert_eq!(told, "model \"m\" version \"endless\" is not ready: it is being loaded");
    let next = {
        let story = Arc::clone(&story);
        tokio::spawn(async move { story.activate("m", "x2").await })
    };
    let given_up = loading.await.expect("it does not panic");
    assert!(matches!(given_up, Err(LoadError::GivenUp { .. })), "{given_up:?}");
    next.abort(); // the child still loads what nobody wants
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_takes_too_long_to_load_is_given_up() {
    let limits = Limits {
        load: Duration::from_millis(50),
        ..Limits::default()
    };
    let story = Story::doubling(limits).await;
    let told = story.activate("m", "endless").await.expect_err("it hangs").to_string();
    assert!(told.contains("did not load a version within 50ms"), "{told}");
    assert_eq!(score(&story.ask(1.0).await), 2.0);
}
