//! What a backtest found: a table for people, one object for programs.

use std::fmt::Write;
use std::path::PathBuf;

use forecastd_models::Level;
use forecastd_models::backtest::{Score, StepErrors};
use serde_json::{Map, Value, json};

use super::competition::{self, Competition, METHODS, Means};
use super::long_horizon::{self, BandWeights, HorizonOutcome, LongHorizon, Rivals};
use super::prepared::Skipped;

/// Everything that is told of one backtest.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) file: PathBuf,
    pub(super) seconds: f64,
    pub(super) found: Found,
}

/// By protocol, what was asked for and what came of it.
#[derive(Debug)]
pub(super) enum Found {
    LongHorizon {
        setup: LongHorizon,
        outcome: long_horizon::Outcome,
        /// Rows after the test part.
        unused: usize,
    },
    Competition {
        setup: Competition,
        outcome: competition::Outcome,
    },
}

/// Steps that are told apart, from 1, where the horizon holds them.
const STEPS: [usize; 3] = [1, 24, 96];

/// Names in a table, at most.
const NAMED: usize = 20;

impl Told {
    pub(super) fn long_horizon(
        file: PathBuf,
        setup: LongHorizon,
        outcome: long_horizon::Outcome,
        unused: usize,
    ) -> Self {
        let found = Found::LongHorizon { setup, outcome, unused };
        Self {
            file,
            seconds: 0.0,
            found,
        }
    }

    pub(super) fn competition(file: PathBuf, setup: Competition, outcome: competition::Outcome) -> Self {
        let found = Found::Competition { setup, outcome };
        Self {
            file,
            seconds: 0.0,
            found,
        }
    }

    /// Channels or series.
    pub(super) fn judged(&self) -> usize {
        match &self.found {
            Found::LongHorizon { outcome, .. } => outcome.channels.len(),
            Found::Competition { outcome, .. } => outcome.series.len(),
        }
    }

    pub(super) fn skipped(&self) -> &[Skipped] {
        match &self.found {
            Found::LongHorizon { outcome, .. } => &outcome.skipped,
            Found::Competition { outcome, .. } => &outcome.skipped,
        }
    }

    /// Cells that had no number.
    fn filled(&self) -> usize {
        match &self.found {
            Found::LongHorizon { outcome, .. } => outcome.filled,
            Found::Competition { outcome, .. } => outcome.filled,
        }
    }

    /// A line for the standard error.
    pub(super) fn summary(&self) -> String {
        let (judged, skipped) = (self.judged(), self.skipped().len());
        let what = match &self.found {
            Found::LongHorizon { outcome, .. } => format!("channels at {} horizons", outcome.horizons.len()),
            Found::Competition { .. } => "series".to_owned(),
        };
        format!("{judged} {what} judged, {skipped} skipped, in {:.1} s", self.seconds)
    }

    /// What was done, in sentences.
    pub(super) fn setting(&self) -> Vec<String> {
        let mut setting = match &self.found {
            Found::LongHorizon { setup, unused, .. } => {
                let split = &setup.split;
                let unused = if *unused > 0 {
                    format!(", {unused} after them unused")
                } else {
                    String::new()
                };
                vec![
                    format!(
                        "method {}, lookback {}, season {}",
                        setup.method, setup.lookback, setup.season
                    ),
                    format!(
                        "split {}: {} rows to fit, {} to choose, {} to judge{unused}; standardised by the rows to fit",
                        setup.rule, split.train, split.validation, split.test
                    ),
                ]
            }
            Found::Competition { setup, .. } => vec![format!(
                "method {}, lookback {} at most; MASE and sMAPE are means over series, OWA is against Naive2",
                setup.method, setup.lookback
            )],
        };
        if self.filled() > 0 {
            setting.push(format!(
                "{} cells without a number became straight lines between their neighbours",
                self.filled()
            ));
        }
        setting
    }

    /// The head of the main table, how many columns of it are words, and its rows.
    pub(super) fn figures(&self) -> (Vec<String>, usize, Vec<Vec<String>>) {
        match &self.found {
            Found::LongHorizon { setup, outcome, .. } => {
                let mut head = words(&["horizon", "method", "MSE", "MAE", "RMSE"]);
                head.extend(STEPS.map(|step| format!("MSE at {step}")));
                head.extend(interval_heads(&setup.levels));
                let rows = outcome.horizons.iter().flat_map(|horizon| horizon_rows(setup, horizon));
                (head, 2, rows.collect())
            }
            Found::Competition { setup, outcome } => {
                let mut head = words(&["period", "method", "series", "season", "MASE", "sMAPE", "OWA"]);
                head.extend(interval_heads(&setup.levels));
                let overall = outcome.overall.iter().map(|means| ("overall", means));
                // One period is the whole already.
                let overall = overall.filter(|_| outcome.groups.len() != 1);
                let groups = outcome.groups.iter().map(|(name, means)| (name.as_str(), means));
                let rows = groups
                    .chain(overall)
                    .flat_map(|(name, means)| group_rows(setup, name, means));
                (head, 2, rows.collect())
            }
        }
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{}\n", self.file.display());
        for line in self.setting() {
            let _ = writeln!(text, "{line}");
        }
        let (head, left, rows) = self.figures();
        text.push('\n');
        text.push_str(&aligned(&head, left, &rows));
        if let Some(fallback) = self.fallback() {
            let _ = writeln!(text, "\n{fallback}");
        }
        if !self.skipped().is_empty() {
            text.push('\n');
        }
        for skipped in self.skipped().iter().take(NAMED) {
            let _ = writeln!(
                text,
                "skipped {:?}: {}: {}",
                skipped.channel, skipped.reason, skipped.detail
            );
        }
        if let Some(more @ 1..) = self.skipped().len().checked_sub(NAMED) {
            let _ = writeln!(text, "skipped {more} more; --json names them");
        }
        text
    }

    /// Series that were too short, in a sentence.
    pub(super) fn fallback(&self) -> Option<String> {
        let Found::Competition { outcome, .. } = &self.found else {
            return None;
        };
        let names = &outcome.overall.as_ref()?.fallback;
        let shown = names
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let more = if names.len() > NAMED { ", …" } else { "" };
        let count = names.len();
        (count > 0)
            .then(|| format!("{count} series were too short for the method and got a random walk: {shown}{more}"))
    }

    /// For programs.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let mut object = Map::new();
        object.insert("file".to_owned(), json!(self.file));
        object.insert("seconds".to_owned(), json!(self.seconds));
        object.insert("skipped".to_owned(), json!(self.skipped()));
        object.insert("filled".to_owned(), json!(self.filled()));
        match &self.found {
            Found::LongHorizon { setup, outcome, unused } => {
                long_horizon_json(&mut object, setup, outcome, *unused);
            }
            Found::Competition { setup, outcome } => competition_json(&mut object, setup, outcome),
        }
        Ok(format!("{}\n", serde_json::to_string_pretty(&object)?))
    }
}

impl<T> Rivals<T> {
    /// With what each is called, `ours` by its own name.
    pub(super) fn named<'a>(&'a self, ours: &'a str) -> [(&'a str, &'a T); 3] {
        [
            (ours, &self.ours),
            ("random_walk", &self.random_walk),
            ("seasonal_naive", &self.seasonal_naive),
        ]
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn interval_heads(levels: &[Level]) -> impl Iterator<Item = String> {
    levels
        .iter()
        .flat_map(|level| [format!("in {} %", level.percent()), "width".to_owned()])
}

fn horizon_rows(setup: &LongHorizon, horizon: &HorizonOutcome) -> Vec<Vec<String>> {
    let method = setup.method.to_string();
    let rows = horizon.mean.named(&method).map(|(name, errors)| {
        let score = errors.score();
        let mut row = vec![horizon.horizon.to_string(), name.to_owned()];
        row.extend([score.mse, score.mae, score.rmse].map(|figure| format!("{figure:.4}")));
        let mse = errors.mse_by_step();
        row.extend(STEPS.map(|step| mse.get(step - 1).map_or("-".to_owned(), |mse| format!("{mse:.4}"))));
        let intervals = (0..setup.levels.len()).map(|level| score.intervals.get(level).copied());
        row.extend(intervals.flat_map(interval_cells));
        row
    });
    rows.to_vec()
}

fn group_rows(setup: &Competition, name: &str, means: &Means) -> Vec<Vec<String>> {
    let rows = METHODS.iter().enumerate().map(|(number, method)| {
        let method = if number == 0 {
            setup.method.to_string()
        } else {
            (*method).to_owned()
        };
        let season = means.season.map_or("-".to_owned(), |season| season.to_string());
        let mut row = vec![name.to_owned(), method, means.series.to_string(), season];
        row.extend([
            format!("{:.4}", means.mase[number]),
            format!("{:.3}", means.smape[number]),
        ]);
        row.push(means.owa[number].map_or("-".to_owned(), |owa| format!("{owa:.4}")));
        let ours = |interval: &Option<(f64, f64)>| interval.filter(|_| number == 0);
        row.extend(means.intervals.iter().map(ours).flat_map(interval_cells));
        row
    });
    rows.collect()
}

fn interval_cells(interval: Option<(f64, f64)>) -> [String; 2] {
    match interval {
        Some((coverage, width)) => [format!("{:.1} %", coverage * 100.0), format!("{width:.3}")],
        None => ["-".to_owned(), "-".to_owned()],
    }
}

/// Rows under their heads, the first columns to the left, numbers to the right.
fn aligned(head: &[String], left: usize, rows: &[Vec<String>]) -> String {
    let all = || std::iter::once(head).chain(rows.iter().map(Vec::as_slice));
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < left {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn long_horizon_json(
    object: &mut Map<String, Value>,
    setup: &LongHorizon,
    outcome: &long_horizon::Outcome,
    unused: usize,
) {
    let split = &setup.split;
    let entries = [
        ("protocol", json!("long_horizon")),
        ("method", json!(setup.method.to_string())),
        ("lookback", json!(setup.lookback)),
        ("season", json!(setup.season)),
        (
            "split",
            json!({ "name": setup.rule.to_string(), "train": split.train, "validation": split.validation,
                    "test": split.test, "unused": unused }),
        ),
    ];
    object.extend(entries.map(|(key, value)| (key.to_owned(), value)));
    for horizon in &outcome.horizons {
        object.insert(horizon.horizon.to_string(), horizon_json(setup, outcome, horizon));
    }
}

fn horizon_json(setup: &LongHorizon, outcome: &long_horizon::Outcome, horizon: &HorizonOutcome) -> Value {
    let mut object = errors_json(&horizon.mean.ours, &setup.levels);
    object.insert("windows".to_owned(), json!(horizon.windows));
    let errors = |errors: &StepErrors| Value::Object(errors_json(errors, &setup.levels));
    object.insert("random_walk".to_owned(), errors(&horizon.mean.random_walk));
    object.insert("seasonal_naive".to_owned(), errors(&horizon.mean.seasonal_naive));
    let channels = outcome.channels.iter().zip(&horizon.channels).map(|(name, channel)| {
        let score = |score: &Score| Value::Object(score_json(score, &setup.levels));
        let mut object = score_json(&channel.scores.ours, &setup.levels);
        object.insert("random_walk".to_owned(), score(&channel.scores.random_walk));
        object.insert("seasonal_naive".to_owned(), score(&channel.scores.seasonal_naive));
        object.insert("choice".to_owned(), json!(channel.choice));
        (name.clone(), Value::Object(object))
    });
    object.insert("channels".to_owned(), Value::Object(channels.collect()));
    let choice = match horizon.reference {
        Some((order, num_diff)) => json!({ "order": order, "num_diff": num_diff }),
        None => json!({ "bands": bands_json(&horizon.weights()) }),
    };
    object.insert("choice".to_owned(), choice);
    Value::Object(object)
}

fn bands_json(bands: &[BandWeights]) -> Value {
    let band = |band: &BandWeights| json!({ "first": band.first, "last": band.last, "weights": band.weights });
    bands.iter().map(band).collect()
}

fn errors_json(errors: &StepErrors, levels: &[Level]) -> Map<String, Value> {
    let mut object = score_json(&errors.score(), levels);
    let steps = STEPS.into_iter().filter(|step| *step <= errors.horizon());
    let steps = steps.map(|step| {
        let score = score_json(&errors.over(step - 1..step), levels);
        (step.to_string(), Value::Object(score))
    });
    object.insert("steps".to_owned(), Value::Object(steps.collect()));
    object
}

fn score_json(score: &Score, levels: &[Level]) -> Map<String, Value> {
    let figures = [("mse", score.mse), ("mae", score.mae), ("rmse", score.rmse)];
    let mut object: Map<String, Value> = figures
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .into_iter()
        .collect();
    for (level, (coverage, width)) in levels.iter().zip(&score.intervals) {
        object.insert(format!("coverage_{}", level.percent()), json!(coverage));
        object.insert(format!("width_{}", level.percent()), json!(width));
    }
    object
}

fn competition_json(object: &mut Map<String, Value>, setup: &Competition, outcome: &competition::Outcome) {
    let means = |means: &Means| means_json(means, &setup.levels);
    let groups = outcome.groups.iter().map(|(name, group)| (name.clone(), means(group)));
    let series = outcome.series.iter().map(|one| {
        (
            one.id.clone(),
            json!({ "mase": one.mase[0], "smape": one.smape[0], "choice": one.choice }),
        )
    });
    let entries = [
        ("protocol", json!("competition")),
        ("method", json!(setup.method.to_string())),
        ("lookback", json!(setup.lookback)),
        ("groups", Value::Object(groups.collect())),
        ("overall", outcome.overall.as_ref().map(means).unwrap_or_default()),
        ("series", Value::Object(series.collect())),
    ];
    object.extend(entries.map(|(key, value)| (key.to_owned(), value)));
}

fn means_json(means: &Means, levels: &[Level]) -> Value {
    let score = |method: usize| -> Map<String, Value> {
        let scores = [
            ("mase", json!(means.mase[method])),
            ("smape", json!(means.smape[method])),
            ("owa", json!(means.owa[method])),
        ];
        scores.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
    };
    let mut object = score(0);
    object.insert("series".to_owned(), json!(means.series));
    object.insert("season".to_owned(), json!(means.season));
    object.insert("fallback".to_owned(), json!({ "random_walk": means.fallback }));
    for (level, interval) in levels.iter().zip(&means.intervals) {
        if let Some((coverage, width)) = interval {
            object.insert(format!("coverage_{}", level.percent()), json!(coverage));
            object.insert(format!("width_{}", level.percent()), json!(width));
        }
    }
    for (number, method) in METHODS.iter().enumerate().skip(1) {
        object.insert((*method).to_owned(), Value::Object(score(number)));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_to_the_left_and_numbers_to_the_right() {
        let rows = [words(&["96", "auto", "0.35"]), words(&["720", "walk", "11.3"])];
        let expected = "horizon  method   MSE\n96       auto    0.35\n720      walk    11.3\n";
        assert_eq!(aligned(&words(&["horizon", "method", "MSE"]), 2, &rows), expected);
    }
}
