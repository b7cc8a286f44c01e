//! What a good file sets.

use std::path::Path;
use std::time::Duration;

use forecastd_models::{Frequency, GapPolicy, Method};

use super::{dataset, datasets, good, top};
use crate::{
    AfterIngest, Config, Dataset, Layout, Model, OffGrid, PromoteTo, Promotion, Retention, TorchFit, TorchStart,
};

/// The only dataset of a good file, with this line.
fn with(line: &str) -> Dataset {
    good(&dataset(line)).datasets.remove(0)
}

#[test]
fn the_shortest_file_gets_every_default() {
    let config = good(&dataset("after: move"));
    assert_eq!(config.state_dir, Path::new("/etc/forecastd/state"));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.http.max_series, 100_000);
    assert_eq!(config.http.admin_token_file, None);
    assert_eq!(
        (config.http.inference.body_bytes, config.http.inference.requests),
        (64 << 20, 256)
    );
    assert_eq!(config.cpu_threads, None);
    assert_eq!(
        (config.torch.start, &config.torch.executable, config.torch.fit),
        (TorchStart::OnDemand, &None, TorchFit::Auto)
    );
    let [dataset] = config.datasets.as_slice() else {
        panic!("one dataset: {config:?}");
    };
    assert_eq!(dataset.outgoing, Path::new("/etc/forecastd/state/outgoing/a"));
    assert_eq!(dataset.quarantine, Path::new("/etc/forecastd/in/quarantine"));
    assert_eq!(dataset.after, AfterIngest::Move("/etc/forecastd/in/done".into()));
    assert_eq!(dataset.steps, [1, 24]);
    assert_eq!(dataset.history.retention, Duration::from_secs(3650 * 86_400));
    assert_eq!(
        (dataset.limits.file_values, dataset.limits.decode_memory),
        (100_000_000, 2 << 30)
    );
}

#[test]
fn every_key_says_what_it_sets() {
    let config = good(&top(
        "http: { listen: \"[::1]:0\", max_series: 7 }\ncpu_threads: 3\ntorch: { start: never, executable: bin/torch, fit: never }",
    ));
    assert_eq!(
        (config.http.listen.to_string().as_str(), config.http.max_series),
        ("[::1]:0", 7)
    );
    assert_eq!(config.cpu_threads.map(|threads| threads.get()), Some(3));
    let http = good(&top(
        "http: { admin_token_file: token, inference: { timeout: 2s, max_timeout: 5s, max_body: 1MiB, max_samples: 32, requests: 9 } }",
    ))
    .http;
    assert_eq!(
        http.admin_token_file.as_deref(),
        Some(Path::new("/etc/forecastd/token"))
    );
    let seconds = Duration::from_secs;
    assert_eq!(
        (http.inference.timeout, http.inference.max_timeout),
        (seconds(2), seconds(5))
    );
    assert_eq!((http.inference.body_bytes, http.inference.samples), (1 << 20, 32));
    assert_eq!(http.inference.requests, 9);
    let executable = Path::new("/etc/forecastd/bin/torch").to_owned();
    assert_eq!(
        (config.torch.start, config.torch.executable, config.torch.fit),
        (TorchStart::Never, Some(executable), TorchFit::Never)
    );
    assert_eq!(good(&top("torch: { start: always }")).torch.start, TorchStart::Always);
    assert_eq!(good(&top("torch: { fit: always }")).torch.fit, TorchFit::Always);
    assert_eq!(good(&top("cpu_threads: auto")).cpu_threads, None);

    assert_eq!(with("after: keep").after, AfterIngest::Keep);
    assert_eq!(with("after: delete").after, AfterIngest::Delete);
    assert_eq!(
        with("done: ../done").after,
        AfterIngest::Move("/etc/forecastd/../done".into())
    );
    assert_eq!(with("outgoing: /out/").outgoing, Path::new("/out"));
    assert_eq!(
        with("quarantine: in/bad").quarantine,
        Path::new("/etc/forecastd/in/bad")
    );
    assert_eq!(with("landing: { settle: 0s }").landing.settle, Duration::ZERO);
    assert_eq!(
        with("history: { retention: 2y }").history.retention,
        Duration::from_secs(63_115_200)
    );
    let just_longer = with("history: { retention: 86401s, max_future: 1d }").history;
    assert_eq!(just_longer.retention - just_longer.max_future, Duration::from_secs(1));
    assert_eq!(with("limits: { file_size: 1MB }").limits.file_bytes, 1_000_000);
    assert_eq!(with("limits: { file_size: 4096 }").limits.file_bytes, 4096);
}

#[test]
fn a_series_and_its_forecast_are_set_as_written() {
    let series = with("series: { time: t, columns: [x, y], frequency: 3mo, gaps: hold, off_grid: drop }");
    let only = Some(vec!["x".to_owned(), "y".to_owned()]);
    assert_eq!(series.columns.layout, Layout::Wide { only });
    assert_eq!(series.frequency, Frequency::months(3));
    assert_eq!((series.fit.gaps, series.off_grid), (GapPolicy::Hold, OffGrid::Drop));
    let auto = with("series: { time: t, frequency: auto, gaps: error }");
    assert_eq!((auto.frequency, auto.fit.gaps), (None, GapPolicy::Error));

    let once = with("forecast: { horizon: 1, levels: [], refit_interval: 10m, keep_files: 1, max_lookback: 4096 }");
    assert_eq!((once.steps.as_slice(), once.fit.levels.len()), (&[1][..], 0));
    assert_eq!(
        (once.refit_interval, once.keep_files.get()),
        (Duration::from_secs(600), 1)
    );
    assert_eq!(once.fit.max_lookback, 4096);
    let largest = with("forecast: { horizon: 16384, max_lookback: 4096 }");
    assert_eq!(largest.fit.horizon.get() * largest.fit.max_lookback, 64 << 20);
    assert_eq!(with("forecast: { horizon: 100000 }").fit.max_lookback, 512);
}

#[test]
fn a_short_window_shortens_the_lookback_that_nobody_asked_for() {
    assert_eq!(with("history: { window: 100 }").fit.max_lookback, 50);
    assert_eq!(with("history: { window: 16 }").fit.max_lookback, 8);
    assert_eq!(with("history: { window: 1025 }").fit.max_lookback, 512);
}

#[test]
fn a_section_with_nothing_in_it_is_a_section_left_out() {
    assert_eq!(with("landing:"), with("after: move"));
    assert_eq!(good(&top("http:\ntorch:")), good(&top("http: {}")));
}

#[test]
fn anchors_and_merge_keys_save_repetition() {
    let text = "
state_dir: s
datasets:
  - &base
    name: a
    kind: series
    incoming: a
    series: { time: t }
    forecast: &forecast { horizon: 24, steps: [12] }
  - { <<: *base, name: b, incoming: b, forecast: { <<: *forecast, horizon: 48 } }
";
    let datasets = good(text).datasets;
    assert_eq!(datasets[1].steps, [12]);
    assert_eq!((datasets[0].fit.horizon.get(), datasets[1].fit.horizon.get()), (24, 48));
    assert_eq!(datasets[1].columns, datasets[0].columns);
}

#[test]
fn folders_that_only_look_alike_are_taken() {
    good(&datasets(
        "incoming: /a | incoming: /ab | incoming: /b/a | incoming: /sa",
    ));
    good(&datasets(
        "incoming: /a, outgoing: /a/out, quarantine: /a/bad, done: /a/good | incoming: /b, done: /a/b",
    ));
}

#[test]
fn a_relative_base_directory_counts_from_the_working_directory() {
    let here = std::env::current_dir().expect("a working directory");
    for base in ["", ".", "./"] {
        let config = Config::parse(&dataset("after: move"), Path::new(base)).expect("a good file");
        assert_eq!(config.state_dir, here.join("state"), "{base:?}");
    }
}

#[test]
fn a_reload_names_the_keys_that_need_a_restart() {
    let old = good(&top("cpu_threads: 1"));
    assert_eq!(old.restart_needed(&old), [""; 0]);
    assert_eq!(
        old.restart_needed(&good(&top("cpu_threads: 2\nhttp: { max_series: 5 }"))),
        ["cpu_threads"]
    );
    let new = good(&datasets("incoming: /a").replace("state_dir", "http: { listen: \"[::]:1\" }\nstate_dir"));
    assert_eq!(old.restart_needed(&new), ["state_dir", "http.listen", "cpu_threads"]);
}

/// The only model of a good file, with these keys.
fn model(keys: &str) -> Model {
    let line = format!("models: [{{ name: scenes, incoming: models, {keys} }}]");
    good(&top(&line)).models.remove(0)
}

#[test]
fn a_model_is_set_as_written_and_its_folders_lie_in_the_one_that_artifacts_land_in() {
    assert_eq!(good(&dataset("after: move")).models, [], "nobody needs one");
    assert_eq!(good(&top("models:")).models, []);
    let plain = model("");
    assert_eq!(plain.incoming, Path::new("/etc/forecastd/models"));
    assert_eq!(
        (plain.done, plain.quarantine),
        (
            Path::new("/etc/forecastd/models/done").into(),
            Path::new("/etc/forecastd/models/quarantine").into()
        )
    );
    assert_eq!(plain.landing, with("after: move").landing, "as drops land");
    let promotion = Promotion {
        to: PromoteTo::Active,
        margin: 0.0,
    };
    assert_eq!(plain.promotion, promotion);
    assert_eq!((plain.retention.versions, plain.retention.age), (10, None));

    let other = model("promotion: { to: shadow, margin: 1 }, retention: { versions: 0, age: 90d }, done: /d");
    let promotion = Promotion {
        to: PromoteTo::Shadow,
        margin: 1.0,
    };
    let retention = Retention {
        versions: 0,
        age: Some(Duration::from_secs(90 * 86_400)),
    };
    assert_eq!((other.promotion, other.retention), (promotion, retention));
    assert_eq!(other.done, Path::new("/d"));
    assert_eq!(model("promotion: { to: candidate }").promotion.to, PromoteTo::Candidate);
}

#[test]
fn a_daemon_may_serve_networks_and_nothing_else() {
    let config = good("state_dir: s\nmodels: [{ name: a, incoming: m }]");
    assert_eq!(
        (config.datasets.len(), config.samples.len(), config.models.len()),
        (0, 0, 1)
    );
}

#[test]
fn a_model_may_be_called_as_a_dataset_is() {
    let config = good(&top("models: [{ name: a, incoming: m }]"));
    assert_eq!(config.models[0].name, config.datasets[0].name);
}

#[test]
fn networks_compete_for_a_dataset_that_names_their_model() {
    let networks = dataset("forecast: { horizon: 24, method: dasha, model: m }");
    let networks = good(&format!("models: [{{ name: m, incoming: m }}]\n{networks}"))
        .datasets
        .remove(0);
    assert_eq!(
        (networks.network.as_deref(), networks.method_name()),
        (Some("m"), "dasha")
    );
    assert_eq!(networks.method, Method::Auto);
    let plain = with("forecast: { horizon: 24, method: direct }");
    assert_eq!((plain.method_name(), plain.network), ("direct", None));
}
