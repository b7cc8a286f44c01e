//! How channels are forecast: chosen for each, told, and kept while little is added.

use crate::support::{Environment, forecastd, wide};

const FORECAST: &str = "forecast: { horizon: 12, steps: [1, 12], levels: [0.8] }";

/// What no regression can foresee.
fn noise(hour: i64) -> f64 {
    (hour * 7919 % 101) as f64 / 50.0 + (hour * hour * 31 % 67) as f64 / 40.0
}

fn daily(hour: i64) -> f64 {
    40.0 + 8.0 * (hour as f64 * 0.2618).sin() + noise(hour)
}

fn later(hour: i64) -> f64 {
    -3.0 + 5.0 * (hour as f64 * 0.2618 + 1.0).sin() - noise(hour)
}

fn hours(hours: std::ops::Range<i64>) -> Vec<u8> {
    wide(hours, &[("a", &daily), ("b", &later), ("flat", &|_| 7.0)])
}

#[test]
fn what_is_chosen_is_told_and_is_what_fit_chooses_of_the_same_rows() {
    let environment = Environment::with_datasets(&Environment::dataset("d", "{ time: time }", FORECAST));
    let daemon = environment.start();
    environment.drop_bytes("a.parquet", &hours(0..600));
    let page = daemon.scrape_until("three channels", |page| page.count("forecastd_model_info") == 3);

    let of = |channel| [("dataset", "d"), ("channel", channel), ("method", "auto")];
    let leading = |channel, leading| {
        let labels = [&of(channel)[..], &[("leading", leading)]].concat();
        page.get("forecastd_model_info", &labels)
    };
    assert_eq!(
        leading("flat", "random_walk"),
        Some(1.0),
        "nothing to choose for a constant"
    );
    assert!((page.sum("forecastd_method_weight") - 1.0).abs() < 1e-9);
    let walk = [("dataset", "d"), ("member", "random_walk")];
    assert!(
        page.get("forecastd_method_weight", &walk).unwrap_or(0.0) < 0.05,
        "a wave is no random walk"
    );

    let file = environment.path("again.parquet");
    std::fs::write(&file, hours(0..600)).unwrap();
    let options = "--time time --horizon 12 --levels 0.8 --json";
    let arguments: Vec<&str> = ["fit", file.to_str().unwrap()]
        .into_iter()
        .chain(options.split(' '))
        .collect();
    let report: serde_json::Value = serde_json::from_slice(&forecastd(&arguments).stdout).unwrap();
    for (place, channel) in ["a", "b", "flat"].into_iter().enumerate() {
        let fitted = &report["channels"][place];
        assert_eq!(fitted["channel"], channel);
        let name = fitted["leading"].as_str().unwrap();
        assert_eq!(leading(channel, name), Some(1.0), "{channel}: {name}");
        for step in [1, 12] {
            let step_label = step.to_string();
            let labels = [("dataset", "d"), ("channel", channel), ("step", step_label.as_str())];
            let shown = page.get("forecastd_forecast", &labels).unwrap();
            let mean = fitted["forecast"]["mean"][step - 1].as_f64().unwrap();
            assert!(
                (shown - mean).abs() <= 1e-6 * mean.abs(),
                "{channel} {step}: {shown} {mean}"
            );
        }
    }
    let choice = &report["channels"][0]["choice"];
    let bands = choice["bands"].as_array().unwrap();
    assert_eq!(
        (bands[0]["first"].as_u64(), bands[bands.len() - 1]["last"].as_u64()),
        (Some(1), Some(12))
    );
    for band in bands {
        let weights = band["weights"]
            .as_array()
            .unwrap()
            .iter()
            .map(|weight| weight[1].as_f64().unwrap());
        assert!((weights.sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(band["mse"].as_f64() < band["random_walk_mse"].as_f64());
    }
}

#[test]
fn a_new_row_is_forecast_from_by_the_map_that_is_there_until_many_have_come() {
    let environment = Environment::with_datasets(&Environment::dataset("d", "{ time: time }", FORECAST));
    let daemon = environment.start();
    environment.drop_bytes("a.parquet", &hours(0..600));
    let newest = |hour: i64| 3.0 * (1_767_225_600 + 3600 * hour) as f64;
    let forecast_after = |hour| {
        daemon.scrape_until("the newest row", |page| {
            page.sum("forecastd_forecast_cutoff_timestamp_seconds") == newest(hour)
        })
    };
    let before = forecast_after(599);
    assert_eq!(before.sum("forecastd_fits_applied_total"), 0.0);
    environment.drop_bytes("b.parquet", &hours(600..603));
    let after = forecast_after(602);
    assert_eq!(after.sum("forecastd_fits_applied_total"), 2.0, "not for the constant");
    let next = |page: &crate::support::Page| {
        let labels = [("dataset", "d"), ("channel", "a"), ("step", "1")];
        page.get("forecastd_forecast", &labels).unwrap()
    };
    // A quarter of a day later in the wave, the amplitude being eight: it would be seen if the map looked at old samples.
    assert!(
        (next(&after) - (daily(603) - noise(603) + 1.5)).abs() < 3.0,
        "{}",
        next(&after)
    );
    assert!((next(&before) - next(&after)).abs() > 0.01);
    // A sixteenth of six hundred.
    environment.drop_bytes("c.parquet", &hours(603..640));
    let chosen_anew = forecast_after(639);
    assert_eq!(chosen_anew.sum("forecastd_fits_applied_total"), 2.0);
    assert!(daemon.stop().success());
}
