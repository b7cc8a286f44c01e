//! The page for a person, beside the weights: what the network is, how good, and how it came to be.

use std::fmt::{self, Write};

use forecastd_models::dasha::card::{Candidate, Card, Evaluation, OutputScores};
use forecastd_models::dasha::{Metric, Task};

use crate::publish::html::Figure;

/// Outputs that are listed one by one.
const LISTED: usize = 100;

/// The text, with the pictures of these names and what they show.
pub(super) fn readme(card: &Card, file: &str, pictures: &[(&str, &str)]) -> String {
    let mut text = String::new();
    write_readme(&mut text, card, file, pictures).expect("a String takes everything");
    text
}

fn write_readme(text: &mut String, card: &Card, file: &str, pictures: &[(&str, &str)]) -> fmt::Result {
    let what = match card.architecture.task {
        Task::Classify => "tells one class for each sample",
        Task::Multilabel => "tells any number of classes for each sample",
        Task::Segment => "tells a class for each position",
        Task::Regress => "predicts numbers",
    };
    let input = &card.architecture.input;
    let sizes: Vec<String> = input.size.iter().map(u32::to_string).collect();
    writeln!(text, "# A network for {}\n", code(file))?;
    writeln!(
        text,
        "`{}` with {} weights, which {what}. It takes {} bands of {}.\n",
        card.architecture.name(),
        card.parameters,
        input.bands,
        sizes.join(" × ")
    )?;
    write_scores(text, card)?;
    write_outputs(text, card)?;
    write_course(text, card)?;
    write_networks(text, card)?;
    for (name, shows) in pictures {
        writeln!(text, "## {shows}\n\n![{shows}]({name})\n")?;
    }
    write_use(text, card)
}

fn write_scores(text: &mut String, card: &Card) -> fmt::Result {
    writeln!(
        text,
        "## How good it is\n\n| score | validation | test |\n|---|---:|---:|"
    )?;
    let of = |evaluation: Option<&Evaluation>, metric: &Metric| {
        let score = evaluation.and_then(|evaluation| evaluation.scores.get(metric));
        score.map_or("–".to_owned(), |score| Figure(*score).to_string())
    };
    for metric in card.validation.scores.keys() {
        let by = if *metric == card.metric { " (chosen by)" } else { "" };
        let (validation, test) = (of(Some(&card.validation), metric), of(card.test.as_ref(), metric));
        writeln!(text, "| {}{by} | {validation} | {test} |", metric.name())?;
    }
    let data = &card.data;
    let test = match data.test {
        0 => "No sample was kept for test, so nothing here says how it does on data that nothing was chosen by."
            .to_owned(),
        test => format!("The {test} test samples were looked at once, after everything was chosen."),
    };
    writeln!(
        text,
        "\nGreater is better everywhere. Trained on {} samples, chosen by {}. {test}\n",
        data.train, data.validation
    )
}

fn write_outputs(text: &mut String, card: &Card) -> fmt::Result {
    let (of, evaluation) = match &card.test {
        Some(test) => ("test", test),
        None => ("validation", &card.validation),
    };
    type Score = (&'static str, fn(&OutputScores) -> Option<f64>);
    let all: [Score; 6] = [
        ("recall", |output| output.recall),
        ("F1", |output| output.f1),
        ("IoU", |output| output.iou),
        ("ROC AUC", |output| output.roc_auc),
        ("average precision", |output| output.average_precision),
        ("RMSE", |output| output.rmse),
    ];
    let outputs = &evaluation.outputs;
    let known: Vec<Score> = all
        .into_iter()
        .filter(|(_, of)| outputs.iter().any(|one| of(one).is_some()))
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    writeln!(
        text,
        "By output, on {of}:\n\n| output | count | {} |",
        names.join(" | ")
    )?;
    writeln!(text, "|---|---:|{}", "---:|".repeat(known.len()))?;
    for output in outputs.iter().take(LISTED) {
        let scores: Vec<String> = known
            .iter()
            .map(|(_, of)| of(output).map_or("–".to_owned(), |score| Figure(score).to_string()))
            .collect();
        writeln!(
            text,
            "| {} | {} | {} |",
            plain(&output.label),
            output.count,
            scores.join(" | ")
        )?;
    }
    if outputs.len() > LISTED {
        writeln!(text, "\nand {} more, which `card.json` has.", outputs.len() - LISTED)?;
    }
    writeln!(text)
}

fn write_course(text: &mut String, card: &Card) -> fmt::Result {
    let (chosen, seconds) = (&card.chosen, &card.seconds);
    let how = match chosen.candidate.searched {
        true => "were searched for",
        false => "are the frame's own",
    };
    writeln!(text, "## How it came to be\n")?;
    writeln!(text, "- Kernels (size/dilation) {how}: `{}`.", chosen.candidate.pattern)?;
    let tried = match chosen.trial {
        Some(trial) => format!("trial {} of {}", trial + 1, card.trials.len()),
        None => "no trial: the defaults".to_owned(),
    };
    let with = &chosen.hyper_parameters;
    writeln!(
        text,
        "- Hyper-parameters from {tried}: learning rate {:.3}, dropout {:.2}, weight decay {}, momentum {:.2}.",
        with.learning_rate,
        with.dropout,
        Figure(with.weight_decay),
        with.momentum
    )?;
    let epochs = card.retrain.epochs.len();
    let averaged = if chosen.averaged { ", averaged over steps" } else { "" };
    match chosen.epoch {
        0 => writeln!(
            text,
            "- Weights of the trial: none of the {epochs} epochs after it was better."
        )?,
        epoch => writeln!(text, "- Weights of epoch {epoch} of {epochs}{averaged}.")?,
    }
    writeln!(
        text,
        "- Wall time: search {:.0} s, trials {:.0} s, training {:.0} s, on {} with {} CPU threads. Seed {}.",
        seconds.search,
        seconds.trials,
        seconds.retrain,
        card.environment.device,
        card.environment.threads,
        card.job.seed
    )?;
    writeln!(
        text,
        "- forecastd {}, libtorch {}. BLAKE3 of the data: `{}`.\n",
        card.environment.forecastd, card.environment.libtorch, card.data.hash
    )
}

/// What trials have tried, and what came of it: the choice was made by these scores.
fn write_networks(text: &mut String, card: &Card) -> fmt::Result {
    let mut networks: Vec<(&Candidate, Vec<f64>)> = Vec::new();
    for trial in &card.trials {
        let Some(best) = trial.best() else { continue };
        match networks.iter_mut().find(|(network, _)| **network == trial.candidate) {
            Some((_, scores)) => scores.push(best),
            None => networks.push((&trial.candidate, vec![best])),
        }
    }
    if networks.is_empty() {
        return Ok(());
    }
    let metric = card.metric.name();
    writeln!(
        text,
        "Networks that were tried, by the best {metric} on validation that a trial of each had:\n\n\
         | network | beyond its paper | kernels | trials | best | |\n|---|---|---|---:|---:|---|"
    )?;
    networks.sort_by(|(_, one), (_, other)| greatest(other).total_cmp(&greatest(one)));
    for (network, scores) in networks {
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            network.backbone.name(),
            network.extras.to_string().replace('_', " "),
            if network.searched { "searched" } else { "its own" },
            scores.len(),
            Figure(greatest(&scores)),
            if *network == card.chosen.candidate {
                "chosen"
            } else {
                ""
            }
        )?;
    }
    writeln!(text)
}

fn greatest(scores: &[f64]) -> f64 {
    scores.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn write_use(text: &mut String, card: &Card) -> fmt::Result {
    let gives = match card.architecture.task {
        Task::Classify => "the class, its probability, and that of every class",
        Task::Multilabel => "the classes, and the probability of every class",
        Task::Segment => "the class of every position",
        Task::Regress => "the numbers",
    };
    writeln!(
        text,
        "## How it is used\n\n```sh\nforecastd predict THIS_FOLDER new.parquet --out predictions.parquet   # {gives}\n\
         forecastd inspect THIS_FOLDER                                        # whether its files are whole\n```\n\n\
         New samples stand in columns as those that it was trained on, and are read as those were. `weights.safetensors` has the weights, `model.json` what is \
         needed to use them, `card.json` everything above as numbers; `b3sum --check BLAKE3SUMS` tells whether they \
         are whole."
    )
}

/// A name in a cell of a table.
fn plain(text: &str) -> String {
    let odd = |character: char| character.is_control() || "|<>`[]*_\\".contains(character);
    text.chars()
        .map(|character| if odd(character) { ' ' } else { character })
        .collect()
}

/// A name as code.
fn code(text: &str) -> String {
    let odd = |character: char| character.is_control() || character == '`';
    let text: String = text
        .chars()
        .map(|character| if odd(character) { ' ' } else { character })
        .collect();
    format!("`{text}`")
}
