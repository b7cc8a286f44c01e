//! `kill -9` at random instants: nothing lost, nothing twice. `make torture CYCLES=200` runs it long.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{Environment, wide};

/// A small generator with a seed, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |text| text.parse().unwrap())
}

#[test]
fn torture() {
    let cycles = number("TORTURE_CYCLES", 8);
    let seed = number("TORTURE_SEED", u64::from(std::process::id()) | 1);
    println!("TORTURE_SEED={seed}");
    let mut random = Random(seed);
    // Hundreds of cycles outrun the calendar, and rows of the future would be refused.
    let more = "history: { max_future: 10000d, retention: 20000d }\n    forecast: { horizon: 12, steps: [1, 12] }";
    let environment = Environment::with_datasets(&Environment::dataset("d", "{ time: time }", more));
    // What the world has been told: the value of each hour, and how many rows were dropped in all.
    let mut truth: BTreeMap<i64, f64> = BTreeMap::new();
    let (mut drops, mut rows, mut newest) = (0, 0, 0);
    // What it has been told before, and what it should not have been told at all.
    let mut good: Vec<(Vec<u8>, i64)> = Vec::new();
    let (mut repeated_drops, mut repeated_rows) = (0, 0);
    let mut bad: Vec<(String, String)> = Vec::new();
    for cycle in 0..cycles {
        let daemon = environment.start();
        let moment = Duration::from_millis(random.below(600));
        for _ in 0..1 + random.below(4) {
            let name = format!("{drops:06}.parquet");
            drops += 1;
            match random.below(8) {
                0 => {
                    environment.drop_bytes(&name, format!("{name} is a text\n").as_bytes());
                    bad.push((name, "not_parquet".to_owned()));
                    continue;
                }
                1 if !good.is_empty() => {
                    let (bytes, count) = &good[random.below(good.len() as u64) as usize];
                    environment.drop_bytes(&name, bytes);
                    rows += count;
                    (repeated_drops, repeated_rows) = (repeated_drops + 1, repeated_rows + count);
                    continue;
                }
                _ => {}
            }
            // Mostly the next rows, sometimes an overlap that revises older ones.
            let back = if random.below(3) == 0 {
                random.below(40) as i64
            } else {
                0
            };
            let hours = (newest - back).max(0)..newest + 1 + random.below(60) as i64;
            // No two drops say the same of an hour, so that only repeated files hold duplicates.
            let revision = drops as f64;
            let value = move |hour: i64| (hour % 24) as f64 + revision / 1024.0;
            let (bytes, count) = (wide(hours.clone(), &[("x", &value)]), hours.end - hours.start);
            environment.drop_bytes(&name, &bytes);
            good.push((bytes, count));
            newest = hours.end;
            rows += count;
            truth.extend(hours.map(|hour| (hour, value(hour))));
        }
        std::thread::sleep(moment);
        daemon.kill();
        if cycle % 10 == 9 {
            environment.fsck();
        }
    }
    let daemon = environment.start();
    let page = daemon.after_drops(drops);
    assert_eq!(page.sum("forecastd_drops_total"), drops as f64, "every drop once");
    let (seen, committed, duplicate, rejected) = page.rows();
    assert_eq!((seen, rejected), (rows as u64, 0), "every row once");
    assert_eq!(
        duplicate, repeated_rows as u64,
        "the rows of repeated files and no others"
    );
    assert_eq!(committed + duplicate, seen);
    let counted = |family: &str| page.sum(&format!("forecastd_drops_{family}_total"));
    assert_eq!(
        counted("duplicate"),
        f64::from(repeated_drops),
        "every repeated file once"
    );
    assert_eq!(counted("rejected"), bad.len() as f64, "every bad file once");
    assert_eq!(environment.quarantined(), bad, "every bad file in quarantine, once");
    daemon.scrape_until("forecasts", |page| page.count("forecastd_forecast") == 2);
    assert!(daemon.stop().success());
    environment.fsck();
    assert_eq!(
        history(&environment),
        truth,
        "the history is what the world was told, last word first"
    );
    println!(
        "{cycles} kills, {drops} drops ({repeated_drops} repeated, {} bad), {rows} rows: nothing lost, nothing twice",
        bad.len()
    );
}

/// The rows of dataset `d` as the state has them: hours since the start of the fixture, value.
fn history(environment: &Environment) -> BTreeMap<i64, f64> {
    let store = forecastd::state::Store::open(&environment.path("state")).unwrap();
    let mut rows = BTreeMap::new();
    for drop in store.recover("d").unwrap() {
        for (_, channel) in drop.unwrap().channels() {
            rows.extend(
                channel
                    .iter()
                    .map(|(time, value)| ((time.0 / 1_000_000 - 1_767_225_600_000) / 3_600_000, value)),
            );
        }
    }
    rows
}
