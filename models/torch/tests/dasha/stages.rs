//! What comes of runs that nobody disturbs.

use std::time::Instant;

use forecastd_models::dasha::card::{Candidate, TrialEnd};
use forecastd_models::dasha::{Backbone, BackboneChoice, Budget, DashaEvent, Extras, Kernel, Metric, Task};
use forecastd_torch::artifact::Artifact;

use crate::child::{card, events};
use crate::folder::{job, planted, squares, variation};

#[test]
fn a_run_ends_with_an_artifact_its_scores_and_its_history() {
    let folder = planted(600, 48, 1).folder(&job(&[3, 11], 1));
    let events = events(folder.path());
    assert!(
        matches!(events.first(), Some(DashaEvent::Started { resumed: false, .. })),
        "{events:?}"
    );
    let count = |is: fn(&DashaEvent) -> bool| events.iter().filter(|event| is(event)).count();
    assert_eq!(count(|event| matches!(event, DashaEvent::SearchEpoch { .. })), 6); // three each of two frames
    assert_eq!(count(|event| matches!(event, DashaEvent::Searched { .. })), 2);
    assert_eq!(count(|event| matches!(event, DashaEvent::RetrainEpoch { .. })), 4);
    let Some(DashaEvent::Finished {
        metric,
        validation,
        test,
    }) = events.last()
    else {
        panic!("{events:?}");
    };
    assert_eq!(metric, "mcc");

    let card = card(folder.path());
    assert_eq!((card.data.train, card.data.validation, card.data.test), (360, 120, 120));
    assert_eq!(card.validation.scores.get(&Metric::Mcc), Some(validation));
    let of_test = card.test.as_ref().map(|test| test.scores[&Metric::Mcc]);
    assert_eq!(of_test, *test);
    let counted = card
        .test
        .and_then(|test| test.confusion)
        .map(|confusion| confusion.total());
    assert_eq!(counted, Some(120));

    assert_eq!(card.trials.len(), 5);
    let tried: Vec<bool> = card.trials[..4].iter().map(|trial| trial.candidate.searched).collect();
    assert_eq!(
        tried,
        [true, true, false, false],
        "the plain kernels are tried beside the searched ones"
    );
    assert!(
        card.trials
            .iter()
            .all(|trial| trial.ended.is_some() && !trial.scores.is_empty())
    );
    assert_eq!(
        card.rungs.iter().map(|rung| rung.milestone).collect::<Vec<_>>(),
        [1.0, 2.0]
    );
    assert_eq!(card.rungs[0].recorded.len(), 5);
    let best = card
        .trials
        .iter()
        .filter_map(|trial| trial.best())
        .max_by(f64::total_cmp);
    let chosen = card.chosen.trial.and_then(|trial| card.trials[trial as usize].best());
    assert_eq!(chosen, best, "the best on validation is trained again");
    assert!(
        card.trials.iter().all(|trial| trial.ended != Some(TrialEnd::OutOfTime)),
        "nobody limited the time"
    );

    let artifact = Artifact::open(&folder.path().join("artifact")).expect("it is sound");
    assert_eq!(artifact.description().architecture, card.architecture);
    let kept = card.retrain.epochs[card.chosen.epoch as usize - 1].better();
    assert_eq!(
        kept,
        (*validation, card.chosen.averaged),
        "the weights are those of the best epoch"
    );
}

#[test]
fn training_makes_the_loss_small_and_the_score_high() {
    let mut job = job(&[3], 2);
    job.budget.search_epochs = 0;
    job.budget.retrain_epochs = 25;
    job.training.augmentation = Some(Default::default()); // a mirrored tile has its square on the other side
    let folder = squares(Task::Classify, 300).folder(&job);
    events(folder.path());
    let card = card(folder.path());
    let losses: Vec<f64> = card.retrain.epochs.iter().map(|epoch| epoch.loss).collect();
    assert!(losses.last() < losses.first(), "{losses:?}");
    let accuracy = card.test.expect("there are samples for test").scores[&Metric::Accuracy];
    assert!(accuracy > 0.9, "{accuracy}");
}

#[test]
fn frames_vary_where_the_job_says_so_and_the_best_on_validation_is_built() {
    let mut job = job(&[3], 6);
    job.backbone = BackboneChoice::WideResnet;
    job.budget.search_epochs = 0;
    job.budget.trials = 9;
    job.training.variations = ["plain", "squeeze_excitation", "silu+antialias", "3x"]
        .map(variation)
        .to_vec();
    let folder = squares(Task::Classify, 200).folder(&job);
    events(folder.path());
    let card = card(folder.path());
    let tried: Vec<String> = card
        .trials
        .iter()
        .map(|trial| format!("{}+{}", trial.candidate.backbone.name(), trial.candidate.extras))
        .collect();
    let first = [
        "wide_resnet_16_1+plain",
        "wide_resnet_16_1+squeeze_excitation",
        "wide_resnet_16_1+silu+antialias",
        "wide_resnet_16_3+plain",
    ];
    assert_eq!(tried[..4], first, "each is tried once");
    assert!(
        tried[4..].iter().all(|name| first.contains(&name.as_str())),
        "others are drawn: {tried:?}"
    );
    let hyper_parameters = |trial: usize| card.trials[trial].hyper_parameters;
    assert!((1..4).all(|trial| hyper_parameters(trial) == hyper_parameters(0)));
    assert_ne!(hyper_parameters(4), hyper_parameters(0));

    let scores = card.trials.iter().filter_map(|trial| trial.best());
    let best = scores.max_by(f64::total_cmp);
    let chosen = &card.trials[card.chosen.trial.expect("one was chosen") as usize];
    assert_eq!(chosen.best(), best);
    assert_eq!(chosen.candidate, card.chosen.candidate);
    let artifact = Artifact::open(&folder.path().join("artifact")).expect("it is sound");
    let architecture = &artifact.description().architecture;
    assert_eq!(
        (&architecture.extras, &architecture.backbone),
        (&chosen.candidate.extras, &chosen.candidate.backbone)
    );
}

#[test]
fn a_network_that_is_known_is_trained_as_it_is() {
    let mut job = job(&[3, 11], 1);
    let backbone = Backbone::ResNet { width: 8 };
    let mut pattern = backbone.plain_pattern();
    pattern.0[4] = Kernel::new(11, 3);
    let known = Candidate {
        backbone,
        pattern,
        searched: true,
        extras: Extras {
            squeeze_excitation: true,
            ..Extras::default()
        },
    };
    job.network = Some(known.clone());
    let folder = planted(300, 48, 1).folder(&job);
    let events = events(folder.path());
    let searches = events
        .iter()
        .filter(|event| matches!(event, DashaEvent::SearchEpoch { .. }));
    assert_eq!(searches.count(), 0);
    let card = card(folder.path());
    assert!(card.searches.is_empty());
    assert_eq!(card.trials.len(), 5);
    assert!(card.trials.iter().all(|trial| trial.candidate == known));
    let artifact = Artifact::open(&folder.path().join("artifact")).expect("it is sound");
    let architecture = &artifact.description().architecture;
    assert_eq!(
        (&architecture.pattern, &architecture.extras),
        (&known.pattern, &known.extras)
    );
}

#[test]
fn every_task_gets_its_scores() {
    for (task, metric) in [
        (Task::Multilabel, Metric::MacroAp),
        (Task::Segment, Metric::MeanIou),
        (Task::Regress, Metric::NegativeRmse),
    ] {
        let mut job = job(&[3, 5], 4);
        job.budget.search_epochs = 1;
        job.training.class_weights = task != Task::Regress;
        let folder = squares(task, 120).folder(&job);
        events(folder.path());
        let card = card(folder.path());
        assert_eq!(card.metric, metric);
        let test = card.test.expect("there are samples for test");
        assert!(test.scores.contains_key(&metric), "{task:?}: {test:?}");
        assert_eq!(test.outputs.len(), 2);
    }
}

#[test]
fn a_run_with_a_time_limit_ends_in_time_with_its_learning_rate_gone_down() {
    let mut job = job(&[3, 11], 5);
    job.budget = Budget {
        seconds: Some(12.0),
        ..Budget::default()
    };
    let folder = planted(600, 48, 5).folder(&job);
    let started = Instant::now();
    events(folder.path());
    let seconds = started.elapsed().as_secs_f64();
    assert!(
        seconds < 24.0,
        "{seconds}: twice the limit, for machines that do other things"
    );
    let card = card(folder.path());
    assert!(card.retrain.epochs.len() < 200 && !card.trials.is_empty());
    let of_trials = card.trials.iter().filter_map(|trial| trial.best());
    let best = of_trials.max_by(f64::total_cmp).expect("trials had epochs");
    let validation = card.validation.scores[&card.metric];
    assert!(validation >= best - 1e-9, "{validation}: a trial had {best} already");
    let rates: Vec<f64> = card.retrain.epochs.iter().map(|epoch| epoch.rate).collect();
    let (first, last) = (rates[0], rates[rates.len() - 1]);
    assert!(last < first / 4.0 || rates.len() < 4, "{rates:?}");
}
