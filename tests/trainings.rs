//! Labelled tiles land and train a network by themselves, over deaths of the child, of the daemon, and a restart.

use std::fs;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::network::executable;
use crate::support::{
    Daemon, Environment, LANDING, child_of, data, fixed_tiles, forecastd, tiles, wait_for, wait_idly_for, wide,
};

/// A dataset `d` of tiles for a model `scenes` that is trained so, beside a dataset `s` of series.
fn environment(executable: &str, shape: &str, train: &str) -> Environment {
    let environment = Environment::with_datasets("");
    let series = Environment::dataset("s", "{ time: time }", "forecast: { horizon: 12, steps: [1] }");
    environment.write_config(&format!(
        "state_dir: ./state\nhttp: {{ listen: \"127.0.0.1:0\" }}\ntorch: {{ executable: {executable}, fit: never }}\n\
         datasets:\n{series}  - name: d\n    kind: tiles\n    incoming: ./incoming/d\n    model: scenes\n    {LANDING}\n    \
         samples: {{ id: name, image: image, label: label, shape: {shape} }}\n\
         models:\n  - name: scenes\n    incoming: ./incoming/models\n    {LANDING}\n    train: {train}\n"
    ));
    environment
}

/// Neighbourhoods of pixels of a satellite, with what they show.
struct Landsat(RecordBatch);

impl Landsat {
    fn open() -> Option<Self> {
        let file = fs::File::open(data("satellite/landsat_statlog_3x3x4.parquet")?).unwrap();
        let mut reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .with_batch_size(10_000)
            .build()
            .unwrap();
        reader.next().map(|batch| Self(batch.unwrap()))
    }

    /// These rows as a drop.
    fn drop(&self, environment: &Environment, rows: std::ops::Range<usize>) {
        let images = self.0.column_by_name("image").unwrap().as_fixed_size_binary();
        let labels = self.0.column_by_name("label_name").unwrap().as_string::<i32>();
        // The file is sorted by nothing, but strides mix what neighbours have in common.
        let place = |row: usize| row * 7 % labels.len();
        let names: Vec<String> = rows.clone().map(|row| format!("pixel-{row}")).collect();
        let rows: Vec<_> = rows
            .zip(&names)
            .map(|(row, name)| {
                let row = place(row);
                (name.as_str(), images.value(row).to_vec(), Some(labels.value(row)))
            })
            .collect();
        let name = format!("{}.parquet", rows[0].0);
        environment.drop_bytes(&name, &fixed_tiles(&rows));
    }
}

fn begun(daemon: &Daemon, reason: &str) -> f64 {
    let labels = [("model", "scenes"), ("reason", reason)];
    daemon
        .scrape()
        .get("forecastd_trainings_total", &labels)
        .unwrap_or(-1.0)
}

fn running(daemon: &Daemon) -> bool {
    daemon
        .scrape()
        .get("forecastd_training_running", &[("model", "scenes")])
        == Some(1.0)
}

/// Waits until the training under way is in one of these stages: how much there is time for, the machine says.
fn until_stage(daemon: &Daemon, stages: &[&str]) {
    wait_idly_for(&format!("one of {stages:?}; the log:\n{}", daemon.log()), || {
        let page = daemon.scrape();
        let of = |stage| page.get("forecastd_training_stage", &[("model", "scenes"), ("stage", stage)]);
        stages.iter().any(|stage| of(stage) == Some(1.0)).then_some(())
    });
}

/// The child that trains, once it runs.
fn child(daemon: &Daemon) -> i32 {
    wait_for("the child that trains", || child_of(daemon.pid(), "forecastd-torch"))
}

fn versions(environment: &Environment) -> Vec<Value> {
    let state = environment.path("state");
    let output = forecastd(&["models", "list", "--json", "--state", state.to_str().unwrap()]);
    assert!(output.status.success());
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    list.as_array().unwrap().clone()
}

/// Waits until there are so many versions, all of them judged.
fn judged(daemon: &Daemon, environment: &Environment, count: usize) -> Vec<Value> {
    wait_idly_for(&format!("{count} judged versions; the log:\n{}", daemon.log()), || {
        let versions = versions(environment);
        let all = versions.iter().all(|version| version["state"] != "candidate");
        (versions.len() == count && all).then_some(versions)
    })
}

fn card(environment: &Environment, version: &Value) -> Value {
    let folder = environment
        .path("state/models")
        .join(version["version"].as_str().unwrap());
    serde_json::from_slice(&fs::read(folder.join("card.json")).unwrap()).unwrap()
}

/// Every reason that a version's history has.
fn history(environment: &Environment, version: &Value) -> String {
    let state = environment.path("state");
    let version = version["version"].as_str().unwrap();
    let output = forecastd(&["models", "show", "scenes", version, "--state", state.to_str().unwrap()]);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn runs(environment: &Environment) -> usize {
    fs::read_dir(environment.path("state/trainings")).unwrap().count()
}

/// The niceness of every thread of a process.
fn niceness(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default());
    let nice = |stat: String| Some(stat.rsplit(')').next()?.split_whitespace().nth(16)?.to_owned());
    stats.filter_map(nice).collect()
}

#[test]
fn tiles_that_land_train_and_retrain_a_network_over_deaths_and_restarts() {
    let Some(executable) = executable() else { return };
    let Some(landsat) = Landsat::open() else { return };
    let train = "{ first: 300, again: 200, time_budget: 6s, threads: 1, scale: small, backbone: wide_resnet }";
    let environment = environment(&executable, "[4, 3, 3]", train);
    let daemon = environment.start();
    landsat.drop(&environment, 0..200);
    daemon.after_drops(1);
    assert_eq!((begun(&daemon, "first"), running(&daemon)), (0.0, false));
    landsat.drop(&environment, 200..400);
    wait_for("the first training", || (begun(&daemon, "first") == 1.0).then_some(()));

    until_stage(&daemon, &["search", "trials", "retrain"]);
    let first = child(&daemon);
    let niceness = niceness(first);
    assert!(niceness.iter().all(|nice| nice == "19"), "{niceness:?}");
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    wait_for("another child", || {
        child_of(daemon.pid(), "forecastd-torch").filter(|child| *child != first)
    });
    assert!(daemon.log().contains("another one goes on where it stood"));
    until_stage(&daemon, &["trials", "retrain"]);
    let second = child(&daemon);
    daemon.kill();
    wait_for("the child to end with the daemon", || {
        let stat = fs::read_to_string(format!("/proc/{second}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    });
    assert_eq!((runs(&environment), versions(&environment).len()), (1, 0));

    let daemon = environment.start();
    wait_for("the training to go on", || running(&daemon).then_some(()));
    // Series are forecast meanwhile.
    environment.drop_into(
        "s",
        "series.parquet",
        &wide(0..300, &[("a", &|hour| (hour % 24) as f64)]),
    );
    let forecast = [("dataset", "s"), ("channel", "a")];
    daemon.scrape_until("a forecast of the series", |page| {
        page.get("forecastd_forecast_cutoff_timestamp_seconds", &forecast)
            .is_some()
    });
    let version = judged(&daemon, &environment, 1).remove(0);
    assert_eq!(version["state"], "active");
    let first = card(&environment, &version);
    assert!(
        first["environment"]["processes"].as_u64().unwrap() >= 2,
        "it was gone on with"
    );
    assert_eq!(first["searches"].as_array().unwrap().len(), 1);
    let seen = ["train", "validation", "test"].map(|split| first["data"][split].as_u64().unwrap());
    assert_eq!(seen.iter().sum::<u64>(), 400);
    let told = history(&environment, &version);
    let [train, validation, test] = seen;
    let expected = format!(
        "trained by the daemon on {train} samples of d, chosen on {validation}, tested on {test}, kernels searched for; \
         first: 400 samples have a label"
    );
    assert!(told.contains(&expected), "{told}");
    wait_for("its end in the books", || (!running(&daemon)).then_some(()));
    assert_eq!((runs(&environment), begun(&daemon, "first")), (0, 0.0));

    landsat.drop(&environment, 400..650);
    wait_for("the second training", || {
        (begun(&daemon, "labels") == 1.0).then_some(())
    });
    child(&daemon);
    assert!(daemon.stop().success(), "a training does not hold up a shutdown");
    let daemon = environment.start();
    let versions = judged(&daemon, &environment, 2);
    assert_eq!(
        versions[0]["version"], version["version"],
        "in the order in which they came"
    );
    let second = card(&environment, &versions[1]);
    assert_eq!(
        second["searches"].as_array().unwrap().len(),
        0,
        "the kernels were known"
    );
    assert_eq!(second["architecture"]["pattern"], first["architecture"]["pattern"]);
    let told = history(&environment, &versions[1]);
    assert!(
        told.contains("labels: 250 labels are new or revised since the last training") && told.contains("accuracy"),
        "{told}"
    );

    let output = environment.run(&["models", "train", "scenes"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_for("what was asked for", || (begun(&daemon, "asked") == 1.0).then_some(()));
    assert!(daemon.stop().success());
    environment.fsck();
}

#[test]
fn what_cannot_be_trained_is_told_once_and_a_missing_child_is_a_failure() {
    let environment = environment("/nowhere/forecastd-torch", "[1, 2, 2]", "{ first: 10 }");
    let of_class = |class: &'static str, from: u8| {
        let names: Vec<String> = (from..from + 60).map(|row| row.to_string()).collect();
        let rows: Vec<_> = (0..)
            .zip(&names)
            .map(|(row, name)| (name.as_str(), vec![row; 4], Some(class)))
            .collect();
        tiles(&rows)
    };
    let daemon = environment.start();
    environment.drop_bytes("water.parquet", &of_class("water", 0));
    let blocked = [("model", "scenes"), ("reason", "one_class")];
    let is_blocked = |value: f64| {
        daemon.scrape_until("what blocks it", |page| {
            page.get("forecastd_training_blocked", &blocked) == Some(value)
        })
    };
    is_blocked(1.0);
    let output = environment.run(&["models", "train", "other"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && told.contains("no model of this name with `train`"),
        "{told}"
    );
    let log = daemon.log();
    assert_eq!(log.matches("have fewer than two classes").count(), 1, "{log}");

    environment.drop_bytes("land.parquet", &of_class("land", 60));
    let failed = [("model", "scenes"), ("reason", "no_child")];
    daemon.scrape_until("a failure", |page| {
        page.get("forecastd_training_failures_total", &failed) == Some(1.0)
    });
    is_blocked(0.0);
    assert!(daemon.log().contains("/nowhere/forecastd-torch"));
    assert_eq!((runs(&environment), begun(&daemon, "first")), (0, 1.0));
    daemon.kill();
    let daemon = environment.start();
    daemon.scrape_until("ready", |page| page.sum("forecastd_samples") == 120.0);
    assert_eq!(begun(&daemon, "first"), 0.0, "a restart does not forget the failure");
    assert!(daemon.stop().success());
    environment.fsck();
    let output = environment.run(&["models", "train", "scenes"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no forecastd uses"));
    assert!(Path::new(&environment.path("state/trainings")).exists());
}
