//! The page against a checked-in one, a strict reader, and Prometheus' own tool.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use forecastd_models::{ChannelFit, Fallback, FitFailure};

use super::checker::check;
use super::*;
use crate::message::snapshot::DatasetView;
use crate::publish::fixture::{Stage, dataset, fallback, fit, mapped, scored, view};

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];

/// Names that a file may bring, made to break out of quotes, lines, terminals and pages.
fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "quote\" back\\slash \\n \\\" end\\",
        "two\nlines",
        "\r\t\u{0}\u{7f}\u{1b}[31m",
        "🌡️ Außen/Ω",
        "<script>alert(1)</script>&amp;",
        "} 1\nforecastd_forecast{channel=\"forged\"} 2",
        "",
    ]
    .map(str::to_owned)
    .into();
    names.push("ß".repeat(256));
    names
}

fn fits(names: &[&str]) -> Vec<ChannelFit> {
    names.iter().map(|name| fit(name, 10.0, &[0.8, 0.95])).collect()
}

/// Two datasets with every kind of channel.
fn stage() -> Stage {
    let stage = Stage::new(1000);
    let mut first = view(
        dataset("etth1"),
        vec![
            fit("OT", 21.5, &[0.8, 0.95]),
            mapped(fit("HUFL", -1e-7, &[0.95])),
            fallback("flat", Fallback::Constant),
        ],
    );
    let failed = first.channels.entry("broken".into());
    failed.or_insert(crate::message::snapshot::ChannelView {
        fit: None,
        failure: Some(FitFailure::NotFinite),
        anomaly: None,
    });
    let mut first = scored(first);
    for (channel, score) in [("OT", 0.25), ("HUFL", 3.5)] {
        first.channels.get_mut(channel).expect("it is there").anomaly = Some(score);
    }
    let second = view(dataset("a-second"), fits(&["OT"]));
    stage.publish(vec![first, second]);
    stage
}

/// A page without what differs from run to run.
fn steady(page: &str) -> String {
    let mut text = String::new();
    for line in page.lines() {
        match line.split_once(' ') {
            Some((name, _)) if name.starts_with("process_") && name != "process_start_time_seconds" => {
                text.extend([name, " (varies)\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
        .replace(std::env::consts::ARCH, "ARCH")
}

#[test]
fn the_text_page_is_the_one_that_was_reviewed() {
    insta::assert_snapshot!(steady(&stage().page(Format::Text)));
}

#[test]
fn the_openmetrics_page_is_the_one_that_was_reviewed() {
    insta::assert_snapshot!(steady(&stage().page(Format::OpenMetrics)));
}

#[test]
fn both_formats_keep_the_rules_and_hold_the_same_numbers() {
    let [text, open] = FORMATS.map(|format| check(&stage().page(format), format));
    let name = |series: &(String, BTreeMap<String, String>)| series.0.clone();
    let [names, open_names] = [&text, &open].map(|page| page.keys().map(name).collect::<BTreeSet<_>>());
    assert_eq!(names, open_names);
    let forecasts = |page: &BTreeMap<_, f64>| -> Vec<_> {
        let forecast = |(series, _): &(&(String, _), &f64)| series.0.starts_with("forecastd_forecast");
        page.iter()
            .filter(forecast)
            .map(|(series, value)| (series.clone(), *value))
            .collect()
    };
    assert_eq!(forecasts(&text), forecasts(&open));
}

#[test]
fn promtool_has_nothing_to_say() {
    let stage = stage();
    let names = hostile_names();
    let hostile = view(
        dataset("hostile"),
        fits(&names.iter().map(String::as_str).collect::<Vec<_>>()),
    );
    stage.publish(vec![hostile]);
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "promtool is missing"
        );
        eprintln!("skipped: promtool is not installed");
        return;
    };
    let mut input = promtool.stdin.take().expect("piped");
    input
        .write_all(stage.page(Format::Text).as_bytes())
        .expect("promtool reads");
    drop(input);
    let said = promtool.wait_with_output().expect("promtool ends");
    let words = [said.stdout, said.stderr].concat();
    assert!(
        said.status.success() && words.is_empty(),
        "{}",
        String::from_utf8_lossy(&words)
    );
}

#[test]
fn hostile_channel_names_come_through_unchanged() {
    let names = hostile_names();
    let stage = Stage::new(10_000);
    stage.publish(vec![view(
        dataset("hostile"),
        fits(&names.iter().map(String::as_str).collect::<Vec<_>>()),
    )]);
    for format in FORMATS {
        let samples = check(&stage.page(format), format);
        let orders = samples.keys().filter(|(name, _)| name == "forecastd_model_order");
        let shown: BTreeSet<&String> = orders.map(|(_, labels)| &labels["channel"]).collect();
        assert_eq!(shown, names.iter().collect());
        assert_eq!(
            samples.len(),
            samples.iter().filter(|(_, value)| !value.is_nan()).count()
        );
    }
}

#[test]
fn a_removed_channel_disappears_from_the_next_scrape() {
    let stage = stage();
    let shown = |stage: &Stage| -> usize {
        let samples = stage.samples();
        samples
            .keys()
            .filter(|series| series.contains("channel=\"OT\""))
            .count()
    };
    assert_eq!(shown(&stage), 2 * (3 * 5 + 4) + 1);
    stage.publish(vec![view(dataset("etth1"), fits(&["HUFL"]))]);
    assert_eq!(shown(&stage), 0);
}

#[test]
fn a_step_beyond_a_forecast_s_end_is_not_shown() {
    let stage = Stage::new(1000);
    let mut short = fit("a", 1.0, &[0.8]);
    short.forecast.mean.truncate(6);
    stage.publish(vec![view(dataset("d"), vec![short])]);
    let samples = stage.samples();
    let steps: Vec<&String> = samples
        .keys()
        .filter(|series| series.starts_with("forecastd_forecast{"))
        .collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert_eq!(
        samples["forecastd_forecast{dataset=\"d\",channel=\"a\",step=\"6\"}"],
        1.75
    );
}

/// Three channels of 19 series each: 3 steps of a mean and two pairs of bounds, and 4 of the model.
#[test]
fn whole_channels_beyond_the_budget_are_held_back_in_order_and_counted_at_each_scrape() {
    for (max_series, shown, held_back) in [
        (1000, "a b c", 0.0),
        (57, "a b c", 0.0),
        (56, "a b", 19.0),
        (37, "a", 38.0),
        (18, "", 57.0),
        (0, "", 57.0),
    ] {
        let stage = Stage::new(max_series);
        // The order is the configuration's before it is the name's.
        let datasets = [("z", &["a", "b"] as &[_]), ("y", &["c"])];
        stage.publish(
            datasets
                .map(|(name, channels)| view(dataset(name), fits(channels)))
                .into(),
        );
        for scrape in 1..3 {
            let samples = check(&stage.page(Format::Text), Format::Text);
            let channels: BTreeSet<&str> = samples
                .keys()
                .filter_map(|(_, labels)| Some(labels.get("channel")?.as_str()))
                .collect();
            assert_eq!(
                channels.into_iter().collect::<Vec<_>>().join(" "),
                shown,
                "{max_series}"
            );
            let counter = ("forecastd_series_held_back_total".to_owned(), BTreeMap::new());
            assert_eq!(samples[&counter], held_back * f64::from(scrape), "{max_series}");
            let series = samples
                .keys()
                .filter(|(_, labels)| labels.contains_key("channel"))
                .count();
            assert!(series <= max_series && (series + held_back as usize) == 57);
        }
    }
}

#[test]
fn a_small_channel_behind_a_large_one_does_not_slip_in() {
    let stage = Stage::new(18);
    let small = fallback("b", Fallback::Short);
    stage.publish(vec![view(dataset("d"), vec![fit("a", 1.0, &[0.8, 0.95]), small])]);
    assert_eq!(stage.samples()["forecastd_series_held_back_total"], 19.0 + 8.0);
}

#[test]
fn scores_take_their_room_before_the_channels_and_are_held_back_whole() {
    // 1 + 2 · (1 + 3 + 2) + 1 of the dataset; 19 and an anomaly score of the channel.
    for (max_series, shown, held_back) in [(34, (14, 20), 0.0), (33, (14, 0), 20.0), (13, (0, 0), 34.0)] {
        let stage = Stage::new(max_series);
        let mut view = scored(view(dataset("d"), fits(&["a"])));
        view.channels.get_mut("a").expect("it is there").anomaly = Some(1.5);
        stage.publish(vec![view]);
        let samples = check(&stage.page(Format::OpenMetrics), Format::OpenMetrics);
        let of_forecasts = samples.keys().filter(|(name, _)| {
            ["forecastd_forecast", "forecastd_model", "forecastd_anomal"]
                .iter()
                .any(|part| name.starts_with(part))
                && !name.contains("_file")
        });
        let (of_channel, of_dataset): (Vec<_>, Vec<_>) =
            of_forecasts.partition(|(_, labels)| labels.contains_key("channel"));
        assert_eq!((of_dataset.len(), of_channel.len()), shown, "{max_series}");
        assert_eq!(stage.samples()["forecastd_series_held_back_total"], 2.0 * held_back);
    }
}

#[test]
fn another_budget_holds_from_the_next_scrape() {
    let stage = stage();
    stage.page(Format::Text);
    stage.exposition.set_max_series(0);
    assert!(!stage.page(Format::Text).contains("channel="));
    stage.exposition.set_max_series(1000);
    assert!(stage.page(Format::Text).contains("channel="));
}

#[test]
fn a_page_for_one_dataset_has_nothing_of_another() {
    let stage = stage();
    for format in FORMATS {
        let page = stage
            .exposition
            .page(format, Some("a-second"))
            .expect("it exists")
            .text();
        let samples = check(&page, format);
        let datasets: BTreeSet<&str> = samples
            .keys()
            .filter_map(|(_, labels)| Some(labels.get("dataset")?.as_str()))
            .collect();
        assert_eq!(datasets, BTreeSet::from(["a-second"]));
        assert!(page.contains("forecastd_snapshot_generation 1\n"));
    }
    assert_eq!(stage.exposition.page(Format::Text, Some("no-such")), None);
}

#[test]
fn the_forecasts_of_a_generation_are_rendered_once() {
    let stage = stage();
    let forecasts = |stage: &Stage| stage.exposition.page(Format::Text, None).expect("the page").forecasts;
    let (first, second) = (forecasts(&stage), forecasts(&stage));
    assert_eq!(first.as_ptr(), second.as_ptr());
    let same: Vec<DatasetView> = stage.snapshots.borrow().datasets.clone();
    stage.publish(same);
    let third = forecasts(&stage);
    assert_ne!(first.as_ptr(), third.as_ptr());
    assert_eq!(first, third);
}

#[test]
fn a_scrape_while_the_snapshot_changes_sees_one_generation() {
    let stage = Stage::new(1000);
    // In generation g every channel expects g + 1/8 at step 1.
    let publish = |generation: u32| {
        let channel = |name: &str| fit(name, f64::from(generation), &[]);
        stage.publish(vec![view(dataset("d"), ["a", "b", "c"].map(channel).into())]);
    };
    publish(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let samples = stage.samples();
                let firsts = samples.iter().filter(|(series, _)| series.contains("step=\"1\""));
                let values: BTreeSet<String> = firsts.map(|(_, value)| value.to_string()).collect();
                assert_eq!(values.len(), 1, "{values:?}");
            }
        });
        (1..500).for_each(publish);
        done.store(true, Ordering::Relaxed);
    });
}
