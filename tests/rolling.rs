//! Refits from the rows that entered and left.

use crate::support::{Daemon, Environment, Page, forecastd, long};

const SERIES: &str = "{ time: time, channel: channel, value: value, frequency: 1h }";
const WINDOW: i64 = 400;
const MORE: &str =
    "history: { window: 400 }\n    forecast: { method: auto_ar, horizon: 12, steps: [1, 6, 12], levels: [0.8] }";

/// A daily wave, and what no regression can foresee.
fn value(hour: i64) -> f64 {
    let noise = (hour * 7919 % 101) as f64 / 50.0 + (hour * hour * 31 % 67) as f64 / 40.0;
    40.0 + 3.0 * (hour as f64 * 0.2618).sin() + noise
}

fn hours(hours: impl IntoIterator<Item = i64>) -> Vec<u8> {
    long(
        &hours
            .into_iter()
            .map(|hour| (hour, "a", value(hour)))
            .collect::<Vec<_>>(),
    )
}

/// Mean and bounds at the steps shown.
fn shown(page: &Page) -> Vec<f64> {
    let families = [
        "forecastd_forecast",
        "forecastd_forecast_lower",
        "forecastd_forecast_upper",
    ];
    let at = |step: &str| {
        let labels = [("dataset", "d"), ("channel", "a"), ("step", step)];
        families.map(|family| match family {
            "forecastd_forecast" => page.get(family, &labels).unwrap(),
            bound => page.get(bound, &[&labels[..], &[("level", "0.8")]].concat()).unwrap(),
        })
    };
    ["1", "6", "12"].map(at).concat()
}

/// The same from `forecastd fit`, which looks at all of these rows.
fn fitted(environment: &Environment, rows: &[u8]) -> Vec<f64> {
    let file = environment.path("all.parquet");
    std::fs::write(&file, rows).unwrap();
    let options = "--time time --channel channel --value value --frequency 1h --horizon 12 --levels 0.8 --window 400 --method auto_ar --json";
    let arguments: Vec<&str> = ["fit", file.to_str().unwrap()]
        .into_iter()
        .chain(options.split(' '))
        .collect();
    let report: serde_json::Value = serde_json::from_slice(&forecastd(&arguments).stdout).unwrap();
    let forecast = &report["channels"][0]["forecast"];
    let at = |step: usize| ["mean", "lower_80", "upper_80"].map(|family| forecast[family][step - 1].as_f64().unwrap());
    [1, 6, 12].map(at).concat()
}

fn assert_agree(shown: &[f64], fitted: &[f64]) {
    let mut pairs = shown.iter().zip(fitted);
    assert!(
        pairs.all(|(shown, fitted)| (shown - fitted).abs() <= 1e-9 * fitted.abs()),
        "{shown:?} {fitted:?}"
    );
}

/// Scrapes until the newest row of this hour has been fitted.
fn forecast_after(daemon: &Daemon, hour: i64) -> Page {
    let cutoff = (1_767_225_600 + 3600 * hour) as f64;
    daemon.scrape_until("the newest row to be fitted", |page| {
        page.sum("forecastd_forecast_cutoff_timestamp_seconds") == cutoff
    })
}

#[test]
fn small_drops_are_rolled_to_the_forecast_of_a_whole_fit_and_a_late_row_is_not() {
    let environment = Environment::with_datasets(&Environment::dataset("d", SERIES, MORE));
    let daemon = environment.start();
    environment.drop_bytes("0.parquet", &hours(0..WINDOW));
    let page = forecast_after(&daemon, WINDOW - 1);
    assert_eq!(page.sum("forecastd_fits_rolled_total"), 0.0);
    let mut seen: Vec<i64> = (0..WINDOW).collect();
    let mut end = WINDOW;
    for drop in 1..=10 {
        // Every second drop leaves a gap, which the policy fills.
        let first = end + drop % 2;
        end = first + 5;
        seen.extend(first..end);
        environment.drop_bytes(&format!("{drop}.parquet"), &hours(first..end));
        let page = forecast_after(&daemon, end - 1);
        assert_agree(&shown(&page), &fitted(&environment, &hours(seen.clone())));
    }
    let page = daemon.scrape();
    let (fits, rolled) = (
        page.sum("forecastd_fits_total"),
        page.sum("forecastd_fits_rolled_total"),
    );
    assert_eq!((fits, rolled), (11.0, 10.0));

    seen.push(WINDOW);
    environment.drop_bytes("late.parquet", &hours([WINDOW]));
    let page = daemon.scrape_until("another fit", |page| page.sum("forecastd_fits_total") == 12.0);
    assert_eq!(page.sum("forecastd_fits_rolled_total"), rolled);

    seen.push(end);
    environment.drop_bytes("next.parquet", &hours([end]));
    let page = forecast_after(&daemon, end);
    assert_agree(&shown(&page), &fitted(&environment, &hours(seen)));
    assert_eq!(page.sum("forecastd_fits_rolled_total"), rolled + 1.0);
    assert_eq!(page.sum("forecastd_fit_rolls_declined_total"), 0.0);
}
