//! The end of a run: the weights that were kept are looked at on test, once, and everything is written down.

use std::collections::HashMap;

use anyhow::Context;
use forecastd_models::dasha::card::{CARD_FORMAT, Card, Chosen, DataRecord, Environment, Evaluation, RungRecord};
use forecastd_models::dasha::{DashaEvent, ModelDescription, Split, artifact::FORMAT};
use forecastd_models::torch_job::TorchDevice;
use tch::Tensor;

use super::journal::Journal;
use super::learner::Learner;
use super::setup::Setup;
use super::state::State;
use crate::{artifact, device};

/// Writes the artifact and tells what it is worth.
pub(super) fn finish(setup: &Setup, journal: &mut Journal<'_>) -> anyhow::Result<()> {
    let retrain = journal.state.retrain.clone().context("nothing was trained")?;
    let kept = journal.kept()?.context("no weights were kept")?;
    let architecture = setup.architecture(&retrain.chosen.candidate);
    let mut learner = Learner::new(&setup.recipe, &architecture, &retrain.chosen.hyper_parameters, false)?;
    learner.set_weights(&kept);

    let validation = evaluate(setup, &learner, Split::Validation)?;
    let has_test = !setup.samples.of(Split::Test).is_empty();
    let test = has_test.then(|| evaluate(setup, &learner, Split::Test)).transpose()?;
    let score = |evaluation: &Evaluation| evaluation.scores.get(&setup.metric).copied();
    let finished = DashaEvent::Finished {
        metric: setup.metric.name().to_owned(),
        validation: score(&validation).unwrap_or_default(),
        test: test.as_ref().and_then(score),
    };
    let card = card(setup, &journal.state, &learner, retrain.chosen, validation, test)?;
    let set = setup.set();
    let description = ModelDescription {
        format: FORMAT,
        architecture,
        element: set.element.clone(),
        cells: set.cells,
        both_strands: setup.recipe.strands.is_some(),
        scaling: setup.scaling.clone(),
        labels: set.labels.clone(),
        weights_hash: String::new(), // filled in as they are written
        series: set.series,
    };
    let weights: HashMap<String, Tensor> = kept.into_iter().collect();
    let text = serde_json::to_vec_pretty(&card)?;
    artifact::save(&setup.folder.join("artifact"), &description, &weights, &text)?;
    journal.tell(&finished);
    Ok(())
}

fn evaluate(setup: &Setup, learner: &Learner, split: Split) -> anyhow::Result<Evaluation> {
    let predictions = setup.examiner(split)?.predictions(&|inputs| learner.forward(inputs))?;
    Ok(predictions.evaluation(&setup.set().labels))
}

fn card(
    setup: &Setup,
    state: &State,
    learner: &Learner,
    chosen: Chosen,
    validation: Evaluation,
    test: Option<Evaluation>,
) -> anyhow::Result<Card> {
    Ok(Card {
        format: CARD_FORMAT,
        job: setup.job.clone(),
        data: data(setup),
        metric: setup.metric,
        architecture: setup.architecture(&chosen.candidate),
        parameters: learner.parameters(),
        chosen,
        validation,
        test,
        searches: state.searches.clone(),
        trials: state.trials.clone(),
        rungs: rungs(state),
        retrain: state.retrain.clone().context("nothing was trained")?.record,
        seconds: state.seconds,
        environment: environment(setup, state),
    })
}

fn data(setup: &Setup) -> DataRecord {
    let count = |split| setup.samples.of(split).len() as u64;
    DataRecord {
        hash: setup.set().hash.clone(),
        train: count(Split::Train),
        validation: count(Split::Validation),
        test: count(Split::Test),
        labels: setup.set().labels.clone(),
        class_counts: setup.samples.class_counts(Split::Train),
    }
}

fn rungs(state: &State) -> Vec<RungRecord> {
    let Some(asha) = &state.asha else { return Vec::new() };
    let nearest_first = asha.rungs().iter().rev();
    nearest_first
        .map(|rung| RungRecord {
            milestone: rung.milestone(),
            recorded: asha.recorded(rung).collect(),
        })
        .collect()
}

fn environment(setup: &Setup, state: &State) -> Environment {
    Environment {
        forecastd: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch: device::libtorch_version(),
        device: match &setup.placement.described {
            TorchDevice::Cpu => "cpu".to_owned(),
            TorchDevice::Cuda { name, .. } => name.clone(),
        },
        threads: tch::get_num_threads().unsigned_abs(),
        processes: state.processes,
    }
}
