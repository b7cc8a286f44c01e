//! One page that needs nothing else: what a backtest found, in tables and pictures.
//!
//! Both protocols become the same parts, which are written one after the other. Pictures are SVG within the page.

mod picture;

use std::fmt::{self, Write};

use super::competition::{self, Competition, METHODS};
use super::long_horizon::{self, Example, HorizonOutcome, LongHorizon, mean_weights};
use super::output::{Found, Told};
use crate::cli::drawing::{Curves, Line, STYLE};
use crate::publish::html::{Escaped, Figure};
use picture::{Fan, Histogram, WeightBars};

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light; }
body { background: #fff; color: #1a1a1a; font: 16px/1.5 system-ui, "Liberation Sans", "DejaVu Sans", sans-serif;
  margin: 2.5rem auto; max-width: 68rem; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { border-top: 1px solid #d6d6d6; font-size: 1.2rem; margin: 2.6rem 0 .3rem; padding-top: 1.4rem; }
p { margin: .2rem 0; max-width: 46rem; } p.soft, figcaption { color: #4d4d4d; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; margin: .9rem 0; }
th, td { border-bottom: 1px solid #e2e2e2; padding: .28rem .75rem; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #8c8c8c; font-weight: 600; }
th.w, td.w { text-align: left; }
tr.ours td { background: #eef4fb; font-weight: 600; }
div.two { display: grid; gap: 1rem 2rem; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); }
figure { margin: .8rem 0; } figcaption { font-size: .92rem; }
figcaption b { color: #1a1a1a; }
svg { display: block; height: auto; width: 100%; }
"#;

/// Channels listed by their errors, at most.
const WORST: usize = 10;

/// What the page shows, whichever protocol it comes from.
#[derive(Default)]
struct Parts<'a> {
    by_step: Vec<Curves>,
    worst: Worst,
    examples: Vec<(String, &'a Example)>,
    examples_say: String,
    orders: Vec<usize>,
    lookbacks: Vec<usize>,
    weights: Vec<WeightBars>,
}

/// A table of those that were forecast worst.
#[derive(Default)]
struct Worst {
    say: String,
    head: Vec<&'static str>,
    rows: Vec<(String, Vec<f64>)>,
}

/// The page.
pub(super) fn page(told: &Told) -> String {
    let mut html = format!("{HEAD}{STYLE}</style>\n");
    write_page(&mut html, told).expect("a String takes everything");
    html
}

fn write_page(html: &mut String, told: &Told) -> fmt::Result {
    let file = told
        .file
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let parts = match &told.found {
        Found::LongHorizon { setup, outcome, .. } => long_horizon_parts(setup, outcome),
        Found::Competition { setup, outcome } => competition_parts(setup, outcome),
    };
    let file = Escaped(&file);
    writeln!(
        html,
        "<title>Backtest of {file}</title>\n</head>\n<body>\n<h1>Backtest of {file}</h1>"
    )?;
    for line in told.setting().iter().chain([&told.summary()]) {
        writeln!(html, "<p class=soft>{}.</p>", Escaped(line))?;
    }
    write_figures(html, told)?;
    if told.judged() > 0 {
        write_parts(html, &parts)?;
    }
    write_skipped(html, told)?;
    html.write_str("</body>\n</html>\n")
}

fn write_figures(html: &mut String, told: &Told) -> fmt::Result {
    let (head, left, rows) = told.figures();
    html.write_str("<h2>Summary</h2>\n<div class=wide><table>\n<tr>")?;
    let class = |column: usize| if column < left { " class=w" } else { "" };
    for (column, name) in head.iter().enumerate() {
        write!(html, "<th scope=col{}>{}", class(column), Escaped(name))?;
    }
    html.write_str("</tr>\n")?;
    let mut before = None;
    for row in &rows {
        let ours = before != Some(&row[0]);
        before = Some(&row[0]);
        html.write_str(if ours { "<tr class=ours>" } else { "<tr>" })?;
        for (column, cell) in row.iter().enumerate() {
            write!(html, "<td{}>{}", class(column), Escaped(cell))?;
        }
        html.write_str("</tr>\n")?;
    }
    html.write_str("</table></div>\n")?;
    match told.fallback() {
        Some(fallback) => writeln!(html, "<p class=soft>{}</p>", Escaped(&fallback)),
        None => Ok(()),
    }
}

fn write_parts(html: &mut String, parts: &Parts<'_>) -> fmt::Result {
    write_pictures(html, "Error by step", "", &parts.by_step)?;
    let fans = parts.examples.iter().map(|(title, example)| Fan { title, example });
    write_pictures(html, "Some forecasts", &parts.examples_say, &fans.collect::<Vec<_>>())?;
    write_worst(html, &parts.worst)?;
    let histograms = [
        ("Lookback of the forecast", &parts.lookbacks),
        ("Order of the auto-regression", &parts.orders),
    ];
    let histograms = histograms.into_iter().filter(|(_, values)| !values.is_empty());
    let histograms: Vec<_> = histograms.map(|(title, values)| Histogram { title, values }).collect();
    write_pictures(html, "How far back it looks", "", &histograms)?;
    write_pictures(html, "What the forecast is made of", "", &parts.weights)
}

fn write_pictures(html: &mut String, title: &str, say: &str, pictures: &[impl fmt::Display]) -> fmt::Result {
    if pictures.is_empty() {
        return Ok(());
    }
    writeln!(
        html,
        "<h2>{title}</h2>\n<p class=soft>{}</p>\n<div class=two>",
        Escaped(say)
    )?;
    for picture in pictures {
        writeln!(html, "{picture}")?;
    }
    html.write_str("</div>\n")
}

fn write_worst(html: &mut String, worst: &Worst) -> fmt::Result {
    let say = Escaped(&worst.say);
    writeln!(
        html,
        "<h2>Worst forecast</h2>\n<p class=soft>{say}</p>\n<div class=wide><table>\n<tr>"
    )?;
    for (column, name) in worst.head.iter().enumerate() {
        write!(
            html,
            "<th scope=col{}>{name}",
            if column == 0 { " class=w" } else { "" }
        )?;
    }
    html.write_str("</tr>\n")?;
    for (name, figures) in &worst.rows {
        write!(html, "<tr><td class=w>{}", Escaped(name))?;
        for figure in figures {
            write!(html, "<td>{}", Figure(*figure))?;
        }
        html.write_str("</tr>\n")?;
    }
    html.write_str("</table></div>\n")
}

fn write_skipped(html: &mut String, told: &Told) -> fmt::Result {
    if told.skipped().is_empty() {
        return Ok(());
    }
    html.write_str(
        "<h2>Left out</h2>\n<div class=wide><table>\n<tr><th class=w>Name<th class=w>Reason<th class=w>Why</tr>\n",
    )?;
    for skipped in told.skipped() {
        let (name, why) = (Escaped(&skipped.channel), Escaped(&skipped.detail));
        writeln!(
            html,
            "<tr><td class=w>{name}<td class=w>{}<td class=w>{why}</tr>",
            skipped.reason
        )?;
    }
    html.write_str("</table></div>\n")
}

fn long_horizon_parts<'a>(setup: &LongHorizon, outcome: &'a long_horizon::Outcome) -> Parts<'a> {
    let method = setup.method.to_string();
    let (Some(first), Some(last)) = (outcome.horizons.first(), outcome.horizons.last()) else {
        return Parts::default();
    };
    let curves = |horizon: &HorizonOutcome| Curves {
        title: format!("Horizon {}", horizon.horizon),
        x: "step",
        y: "mean squared error",
        base: Some(0.0),
        lines: lines(
            horizon
                .mean
                .named(&method)
                .map(|(name, errors)| (name.to_owned(), errors.mse_by_step())),
        ),
    };
    let by_error = |horizon: &HorizonOutcome| {
        let mut numbers: Vec<usize> = (0..horizon.channels.len()).collect();
        let error = |number: &usize| horizon.channels[*number].scores.ours.mse;
        numbers.sort_by(|a, b| error(a).total_cmp(&error(b)));
        numbers
    };
    let examples = picked(&by_error(first)).into_iter().map(|(rank, number)| {
        let mse = first.channels[number].scores.ours.mse;
        let title = format!("{rank}: {}, MSE {mse:.3}", outcome.channels[number]);
        (title, &first.channels[number].example)
    });
    let worst = by_error(last).into_iter().rev().take(WORST).map(|number| {
        let scores = last.channels[number].scores.named(&method).map(|(_, score)| score.mse);
        (outcome.channels[number].clone(), scores.to_vec())
    });
    let weights = outcome.horizons.iter().map(|horizon| WeightBars {
        title: format!("Horizon {}: mean weights over the channels", horizon.horizon),
        bands: horizon.weights(),
    });
    Parts {
        by_step: outcome.horizons.iter().map(curves).collect(),
        worst: Worst {
            say: format!(
                "Mean squared error at horizon {}, in squared deviations of the rows to fit.",
                last.horizon
            ),
            head: vec!["Channel", "ours", "random walk", "seasonal naive"],
            rows: worst.collect(),
        },
        examples: examples.collect(),
        examples_say: format!(
            "Best, median and worst channel at horizon {}, each from the middle of the test part, in its own unit.",
            first.horizon
        ),
        orders: last.orders(),
        lookbacks: last.lookbacks(),
        weights: weights.filter(|bars| !bars.bands.is_empty()).collect(),
    }
}

fn competition_parts<'a>(setup: &Competition, outcome: &'a competition::Outcome) -> Parts<'a> {
    let method = setup.method.to_string();
    let curves = |name: &String| {
        let of_group = || outcome.series.iter().filter(|one| one.group == *name);
        let curve = |number: usize| {
            let name = if number == 0 { &method } else { METHODS[number] };
            let by_step = of_group().map(|one| one.by_step[number].as_slice());
            (name.to_owned(), mean_by_step(by_step))
        };
        Curves {
            title: format!("Period {name}"),
            x: "step",
            y: "absolute error, scaled",
            base: Some(0.0),
            lines: lines([0, 1, 2].map(curve)),
        }
    };
    let bars = |name: &String| {
        let of_group = outcome.series.iter().filter(|one| one.group == *name);
        WeightBars {
            title: format!("Period {name}: mean weights over the series"),
            bands: mean_weights(of_group.filter_map(|one| one.choice.as_ref())),
        }
    };
    let mut by_error: Vec<usize> = (0..outcome.series.len()).collect();
    by_error.sort_by(|a, b| outcome.series[*a].mase[0].total_cmp(&outcome.series[*b].mase[0]));
    let examples = picked(&by_error).into_iter().map(|(rank, number)| {
        let one = &outcome.series[number];
        (format!("{rank}: {}, MASE {:.3}", one.id, one.mase[0]), &one.example)
    });
    let worst = by_error.iter().rev().take(WORST).map(|number| {
        let one = &outcome.series[*number];
        (one.id.clone(), one.mase.to_vec())
    });
    let choices = || outcome.series.iter().filter_map(|one| one.choice.as_ref());
    let names = || outcome.groups.iter().map(|(name, _)| name);
    Parts {
        by_step: names().map(curves).collect(),
        worst: Worst {
            say: "MASE of each.".to_owned(),
            head: vec!["Series", "ours", "random walk", "seasonal naive", "Naive2"],
            rows: worst.collect(),
        },
        examples: examples.collect(),
        examples_say: "Best, median and worst series by MASE, each in its own unit.".to_owned(),
        orders: choices().filter_map(|choice| choice.order).collect(),
        lookbacks: choices().map(|choice| choice.lookback).collect(),
        weights: names().map(bars).filter(|bars| !bars.bands.is_empty()).collect(),
    }
}

/// Of numbers from the best to the worst: the best, the median and the worst, each once.
fn picked(order: &[usize]) -> Vec<(&'static str, usize)> {
    match order {
        [] => Vec::new(),
        [only] => vec![("Best", *only)],
        [best, worst] => vec![("Best", *best), ("Worst", *worst)],
        [best, .., worst] => vec![
            ("Best", *best),
            ("Median", order[(order.len() - 1) / 2]),
            ("Worst", *worst),
        ],
    }
}

/// Ours first; what is naive in other colours.
fn lines(curves: [(String, Vec<f64>); 3]) -> Vec<Line> {
    let strokes = [("#0b57a4", ""), ("#6b6b6b", "5 4"), ("#b04a00", "2 2")];
    let line = |((name, values), (colour, dashes))| Line {
        name,
        values,
        colour,
        dashes,
    };
    curves.into_iter().zip(strokes).map(line).collect()
}

/// Means over series of any length; NaN does not count.
fn mean_by_step<'a>(series: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
    let mut sums: Vec<(f64, f64)> = Vec::new();
    for steps in series {
        sums.resize(sums.len().max(steps.len()), (0.0, 0.0));
        for ((sum, count), value) in sums.iter_mut().zip(steps).filter(|(_, value)| !value.is_nan()) {
            *sum += value;
            *count += 1.0;
        }
    }
    sums.into_iter().map(|(sum, count)| sum / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_median_and_worst_are_named_once_each() {
        assert_eq!(picked(&[]), []);
        assert_eq!(picked(&[7]), [("Best", 7)]);
        assert_eq!(picked(&[7, 8]), [("Best", 7), ("Worst", 8)]);
        assert_eq!(picked(&[7, 8, 9]), [("Best", 7), ("Median", 8), ("Worst", 9)]);
    }

    #[test]
    fn a_mean_by_step_takes_what_there_is() {
        let series: [&[f64]; 2] = [&[1.0, f64::NAN], &[3.0, 5.0, 7.0]];
        assert_eq!(mean_by_step(series.into_iter()), [2.0, 5.0, 7.0]);
    }
}
