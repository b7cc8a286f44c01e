//! What a bad file is told: every error with its key's path and a hint.

use std::path::Path;

use super::{dataset, datasets, parse, refused, told, top};

/// Checks a table: a line of configuration, then each error that it gives after an arrow.
#[track_caller]
fn assert_told(table: &str, told: impl Fn(&str) -> String) {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match (line.strip_prefix("-> "), cases.last_mut()) {
            (Some(error), Some((_, errors))) => errors.push(error),
            _ => cases.push((line, Vec::new())),
        }
    }
    for (line, errors) in cases {
        assert_eq!(told(line), errors.join("\n"), "{line}");
    }
}

#[test]
fn every_error_of_a_file_is_told_at_once() {
    let text = "
state_dri: ./state
http: { listen: localhost, max_series: -1 }
datasets:
  - name: Étté
    kind: serious
    incoming: 7
    series: { channel: c }
    forecast: { horizon: 24, steps: [1, 48, 12], levels: [0.8, 95] }
    limits: { file_size: big }
  - [1]
";
    let errors = parse(text).expect_err("refused").in_file(Path::new("/etc/f.yaml"));
    insta::assert_snapshot!(errors, @r"
    /etc/f.yaml: state_dir: is required (the folder of all that survives a restart)
    /etc/f.yaml: http.listen: expected an address and a port, found the text `localhost` (like `127.0.0.1:9464`; `0.0.0.0:9464` for every interface)
    /etc/f.yaml: http.max_series: expected a whole number from 0 to 100000000, found the number -1
    /etc/f.yaml: datasets[0].name: expected a name, found the text `Étté` (small letters a to z, digits, `_` and `-`)
    /etc/f.yaml: datasets[0].kind: expected `series`, `tiles` or `sequences`, found the text `serious` (did you mean `series`?)
    /etc/f.yaml: datasets[0].incoming: expected a text, found the number 7 (put it in quotes)
    /etc/f.yaml: datasets[0].series.time: is required (the column of times)
    /etc/f.yaml: datasets[0].series.value: is required beside `channel` (the column of values)
    /etc/f.yaml: datasets[0].forecast.steps[1]: 48 lies beyond the horizon of 24
    /etc/f.yaml: datasets[0].forecast.levels[1]: expected a share between 0 and 1, found the number 95 (80 % is 0.8)
    /etc/f.yaml: datasets[0].limits.file_size: expected a size, found the text `big` (a number and a unit, like `2GiB` or `500MB`)
    /etc/f.yaml: datasets[1]: expected a mapping of keys, found a list
    /etc/f.yaml: state_dri: no such key (did you mean `state_dir`?)
    ");
    let step = errors
        .errors()
        .iter()
        .find(|error| error.path == "datasets[0].forecast.steps[1]");
    assert_eq!(
        step.map(|error| error.message.as_str()),
        Some("48 lies beyond the horizon of 24")
    );
}

#[test]
fn a_file_without_a_key_is_told_what_it_needs() {
    for text in ["", "# only words", "---\n"] {
        assert_eq!(
            refused(text),
            "the file is empty (it needs at least `state_dir`, and `datasets` or `models`)",
            "{text:?}"
        );
    }
}

#[test]
fn a_file_that_is_no_mapping_is_told_so() {
    let table = r"
    [1]
        -> expected a mapping of keys, found a list
    forecastd
        -> expected a mapping of keys, found the text `forecastd`
    a: [
        -> line 2, column 1: did not find expected node content, while parsing a flow node
    {}
        -> state_dir: is required (the folder of all that survives a restart)
        -> datasets: is required where there are no `models` (at least one: a folder to watch)
    { state_dir: s, models: [] }
        -> datasets: is required where there are no `models` (at least one: a folder to watch)
    { state_dir: s, datasets: [] }
        -> datasets: the list is empty (at least one)
    ";
    assert_told(table, refused);
}

#[test]
fn values_at_the_top_are_told_what_they_should_be() {
    let table = r#"
    http: 9464
        -> http: expected a mapping of keys, found the number 9464
    http: { listen: 9464 }
        -> http.listen: expected an address and a port, found the number 9464 (like `127.0.0.1:9464`; `0.0.0.0:9464` for every interface)
    http: { listen: "localhost:9464" }
        -> http.listen: expected an address and a port, found the text `localhost:9464` (like `127.0.0.1:9464`; `0.0.0.0:9464` for every interface)
    http: { listne: "127.0.0.1:1" }
        -> http.listne: no such key (did you mean `listen`?)
    cpu_threads: 0
        -> cpu_threads: expected a whole number from 1 to 1024, found the number 0
    cpu_threads: all
        -> cpu_threads: expected `auto` or a whole number, found the text `all`
    torch: { start: on-demand }
        -> torch.start: expected `on_demand`, `always` or `never`, found the text `on-demand` (did you mean `on_demand`?)
    torch: { executable: ~/bin/forecastd-torch }
        -> torch.executable: expected a path, found the text `~/bin/forecastd-torch` (a service has no home: write the folder out)
    torch: { fit: yes }
        -> torch.fit: expected `auto`, `always` or `never`, found the text `yes`
    torch: { start: never, fit: always }
        -> torch.fit: there is no child to fit anything: `torch.start` is `never` (start it `on_demand`, or leave `fit` out)
    state_dir: x
        -> state_dir: is given twice (keep one of them)
    1: x
        -> 1: no such key (known here: state_dir, http, cpu_threads, torch, datasets, models)
    "#;
    assert_told(table, |line| refused(&top(line)));
}

#[test]
fn values_of_a_dataset_are_told_what_they_should_be() {
    let table = r#"
    name: 5
        -> name: expected a text, found the number 5 (put it in quotes)
    name: ''
        -> name: expected a text, found an empty text
    name: [a]
        -> name: expected a text, found a list
    name: Etth1
        -> name: expected a name, found the text `Etth1` (small letters a to z, digits, `_` and `-`)
    name: "a\nb"
        -> name: expected a name, found the text `a\nb` (small letters a to z, digits, `_` and `-`)
    name: 気温
        -> name: expected a name, found the text `気温` (small letters a to z, digits, `_` and `-`)
    kind: serie
        -> kind: expected `series`, `tiles` or `sequences`, found the text `serie` (did you mean `series`?)
    kind: 3
        -> kind: expected `series`, `tiles` or `sequences`, found the number 3
    incoming:
        -> incoming: is required (the folder that drops land in)
    incoming: ~
        -> incoming: is required (the folder that drops land in)
    incoming: ''
        -> incoming: expected a text, found an empty text
    incoming: "~/in"
        -> incoming: expected a path, found the text `~/in` (a service has no home: write the folder out)
    incoming: "a\x00b"
        -> incoming: the path holds a NUL
    after: mvoe
        -> after: expected `move`, `delete` or `keep`, found the text `mvoe` (did you mean `move`?)
    after: true
        -> after: expected `move`, `delete` or `keep`, found `true`
    zzz: 1
        -> zzz: no such key (known here: name, kind, incoming, outgoing, quarantine, after, done, landing, series, history, forecast, limits, samples, model, predictions)
    horizon: 24
        -> horizon: no such key (known here: name, kind, incoming, outgoing, quarantine, after, done, landing, series, history, forecast, limits, samples, model, predictions)
    "#;
    assert_told(table, told);
}

#[test]
fn a_name_has_at_most_64_bytes() {
    parse(&dataset(&format!("name: {}", "x".repeat(64)))).expect("64 bytes");
    assert_eq!(
        told(&format!("name: {}", "x".repeat(65))),
        "name: the name has 65 bytes (at most 64)"
    );
}

#[test]
fn numbers_and_units_are_told_what_they_should_be() {
    let table = r#"
    landing: { settle: 2 }
        -> landing.settle: expected a duration, found the number 2 (with a unit, like `2s`)
    landing: { settle: -2s }
        -> landing.settle: expected a duration, found the text `-2s` (a number and a unit, like `90s`, `5m`, `1h 30m` or `400d`)
    landing: { settle: [2s] }
        -> landing.settle: expected a duration, found a list (a number and a unit, like `90s`, `5m`, `1h 30m` or `400d`)
    landing: { settle: 1M }
        -> landing.settle: `1M` has the unit `M` (write `m` for minutes, `d` for days)
    landing: { scan_interval: 0s }
        -> landing.scan_interval: 0s is not within 10ms and 1day
    landing: { settle: 2m }
        -> landing.patience: `settle` is longer than `patience` (a file would be given up before it can be taken)
    history: { window: "8192" }
        -> history.window: expected a whole number from 16 to 16777216, found the text `8192` (write 8192, without quotes)
    history: { window: 8_192 }
        -> history.window: expected a whole number from 16 to 16777216, found the text `8_192` (write 8192, without quotes)
    history: { window: 8192.0 }
        -> history.window: expected a whole number from 16 to 16777216, found the number 8192.0 (write 8192, without quotes)
    history: { window: 15 }
        -> history.window: expected a whole number from 16 to 16777216, found the number 15
    history: { window: 99999999999999999999999999999999999999999999 }
        -> history.window: expected a whole number from 16 to 16777216, found the number 1e44
    history: { retention: 400 }
        -> history.retention: expected a duration, found the number 400 (with a unit, like `400s`)
    history: { retention: 101y }
        -> history.retention: 101years is not within 1s and 100years
    history: { retention: 1d }
        -> history.retention: `retention` is not longer than `max_future` (one row so far ahead of the clock would expire all others)
    history: { max_future: 11y }
        -> history.retention: `retention` is not longer than `max_future` (one row so far ahead of the clock would expire all others)
    limits: { file_size: 2 gigs }
        -> limits.file_size: expected a size, found the text `2 gigs` (a number and a unit, like `2GiB` or `500MB`)
    limits: { file_size: -1 }
        -> limits.file_size: expected a size, found the number -1 (like `2GiB`)
    limits: { decode_memory: 1MiB }
        -> limits.decode_memory: 1.0 MiB is not within 64.0 MiB and 1.0 PiB
    limits: { channels: many }
        -> limits.channels: expected a whole number from 1 to 10000000, found the text `many`
    "#;
    assert_told(table, told);
}

#[test]
fn columns_that_do_not_fit_together_are_told_apart() {
    let table = r"
    series:
        -> series.time: is required (the column of times)
    series: { time: t, channel: c }
        -> series.value: is required beside `channel` (the column of values)
    series: { time: t, value: v }
        -> series.channel: is required beside `value` (the columns that name a row's channel; a wide file has neither)
    series: { time: t, channel: c, value: v, columns: [x] }
        -> series.columns: does not go with `channel` and `value` (in a long file every row names its channel)
    series: { time: t, channel: [], value: v }
        -> series.channel: the list is empty (at least one)
    series: { time: t, channel: [c, t], value: c }
        -> series.channel[1]: the column `t` is named twice (each column has one meaning)
        -> series.value: the column `c` is named twice (each column has one meaning)
    series: { time: t, columns: [x, y, x] }
        -> series.columns[2]: the column `x` is named twice (each column has one meaning)
    series: { time: t, columns: x }
        -> series.columns: expected a list, found the text `x`
    series: { time: t, frequency: 1M }
        -> series.frequency: `1M` is not a frequency (whole months or years alone, like `1mo`, `3mo` or `1y`; minutes are `m`)
    series: { time: t, frequency: hourly }
        -> series.frequency: `hourly` is not a frequency (`auto`, a duration like `15m`, `1h` or `1d`, or months like `1mo`)
    series: { time: t, frequency: 15 }
        -> series.frequency: expected a frequency, found the number 15 (`auto`, a duration like `15m`, `1h` or `1d`, or months like `1mo`)
    series: { time: t, gaps: linear }
        -> series.gaps: expected `interpolate`, `hold` or `error`, found the text `linear`
    series: { time: t, off_grid: snapp }
        -> series.off_grid: expected `snap` or `drop`, found the text `snapp` (did you mean `snap`?)
    ";
    assert_told(table, told);
}

#[test]
fn a_forecast_that_cannot_be_is_told_why() {
    let table = r#"
    forecast:
        -> forecast.horizon: is required (the number of steps to forecast)
    forecast: { horizon: "96" }
        -> forecast.horizon: expected a whole number from 1 to 100000, found the text `96` (write 96, without quotes)
    forecast: { horizon: 0 }
        -> forecast.horizon: expected a whole number from 1 to 100000, found the number 0
    forecast: { horizon: 24, steps: [] }
        -> forecast.steps: the list is empty (at least one)
    forecast: { horizon: 24, steps: 24 }
        -> forecast.steps: expected a list, found the number 24
    forecast: { horizon: 24, steps: [0, 24, 25] }
        -> forecast.steps[0]: expected a whole number from 1 to 100000, found the number 0
        -> forecast.steps[2]: 25 lies beyond the horizon of 24
    forecast: { horizon: 24, steps: [12, 1, 1] }
        -> forecast.steps[1]: 1 comes after 12 (steps ascend, each of them once)
        -> forecast.steps[2]: 1 comes after 12 (steps ascend, each of them once)
    forecast: { horizon: 24, level: [0.8] }
        -> forecast.level: no such key (did you mean `levels`?)
    forecast: { horizon: 24, levels: [80, 1, 0, -0.1, .nan, x] }
        -> forecast.levels[0]: expected a share between 0 and 1, found the number 80 (80 % is 0.8)
        -> forecast.levels[1]: expected a share between 0 and 1, found the number 1 (80 % is 0.8)
        -> forecast.levels[2]: expected a share between 0 and 1, found the number 0 (80 % is 0.8)
        -> forecast.levels[3]: expected a share between 0 and 1, found the number -0.1 (80 % is 0.8)
        -> forecast.levels[4]: expected a share between 0 and 1, found the number NaN (80 % is 0.8)
        -> forecast.levels[5]: expected a number, found the text `x`
    forecast: { horizon: 24, levels: [0.8, 0.80000000001] }
        -> forecast.levels[1]: 80 % is there already
    forecast: { horizon: 24, levels: [.1, .2, .3, .4, .5, .6, .7, .8, .9] }
        -> forecast.levels: 9 levels; at most 8
    forecast: { horizon: 24, max_lookback: 5000 }
        -> forecast.max_lookback: expected a whole number from 1 to 4096, found the number 5000
    forecast: { horizon: 24, max_lookback: 4097 }
        -> forecast.max_lookback: expected a whole number from 1 to 4096, found the number 4097
    forecast: { horizon: 16385, max_lookback: 4096 }
        -> forecast.horizon: 16385 steps by a lookback of 4096 are 67112960 numbers in every running fit (at most 16384 steps, or a shorter `max_lookback`)
    forecast: { horizon: 24, method: dasha }
        -> forecast.model: is required beside `method: dasha` (one of the names under `models`)
    forecast: { horizon: 24, method: auto, model: m }
        -> forecast.model: is only for `method: dasha` (leave `model` out, or let its networks compete)
    forecast: { horizon: 24, method: dasha, model: m }
        -> forecast.model: there is no model `m` (one of the names under `models`)
    forecast: { horizon: 24, keep_files: 0 }
        -> forecast.keep_files: expected a whole number from 1 to 1000000, found the number 0
    "#;
    assert_told(table, told);
}

#[test]
fn a_lookback_that_the_window_never_fills_is_told_so() {
    let short = dataset("forecast: { horizon: 24, max_lookback: 51 }") + "    history: { window: 100 }\n";
    let error = "51 is more than half of `history.window` (at most 50, or a window of 102)";
    assert_eq!(refused(&short), format!("datasets[0].forecast.max_lookback: {error}"));
}

#[test]
fn no_two_datasets_share_a_name_or_a_folder() {
    let table = r"
    name: x, incoming: /a | name: x, incoming: /b
        -> datasets[1].name: `x` is already `datasets[0].name` (names are unique)
    incoming: /a | incoming: /a
        -> datasets[1].incoming: `/a` is already `datasets[0].incoming` (every folder has one purpose)
    incoming: /a | incoming: /b/../a/.
        -> datasets[1].incoming: `/b/../a` is already `datasets[0].incoming` (every folder has one purpose)
    incoming: /a | incoming: /a/b
        -> datasets[1].incoming: `/a/b` lies in `datasets[0].incoming` (a drop belongs to one dataset or model)
    incoming: /a/b/c | incoming: /a
        -> datasets[1].incoming: `/a` holds `datasets[0].incoming` (a drop belongs to one dataset or model)
    incoming: /a, outgoing: /out | incoming: /b, outgoing: /out
        -> datasets[1].outgoing: `/out` is already `datasets[0].outgoing` (every folder has one purpose)
    incoming: /a, done: /b | incoming: /b
        -> datasets[1].incoming: `/b` is already `datasets[0].done` (every folder has one purpose)
    incoming: /a, done: /a
        -> datasets[0].done: `/a` is already `datasets[0].incoming` (every folder has one purpose)
    incoming: /a, quarantine: /a/done
        -> datasets[0].done: `/a/done` is already `datasets[0].quarantine` (every folder has one purpose)
    incoming: /a, outgoing: /s
        -> datasets[0].outgoing: `/s` is already `state_dir` (every folder has one purpose)
    incoming: /s
        -> datasets[0].incoming: `/s` is already `state_dir` (every folder has one purpose)
    incoming: /
        -> state_dir: `/s` lies in `datasets[0].incoming` (whoever may drop files must not reach the state)
    incoming: /s/segments/a
        -> state_dir: `/s` holds `datasets[0].incoming` (a segment of the state must never be taken for a drop)
    incoming: /a, after: keep, done: /d
        -> datasets[0].done: means nothing here: nothing is moved (leave it out, or write `after: move`)
    ";
    assert_told(table, |line| refused(&datasets(line)));
}

#[test]
fn values_of_a_model_are_told_what_they_should_be() {
    let table = r#"
    models: scenes
        -> models: expected a list, found the text `scenes`
    models: [{}]
        -> models[0].name: is required (a word for its metrics and addresses)
        -> models[0].incoming: is required (the folder that artifacts are dropped into)
    models: [{ name: Scenes, incoming: m, margin: 1 }]
        -> models[0].name: expected a name, found the text `Scenes` (small letters a to z, digits, `_` and `-`)
        -> models[0].margin: no such key (known here: name, incoming, done, quarantine, landing, promotion, retention, train)
    models: [{ name: m, incoming: m, promotion: { margin: -0.1, to: actve } }]
        -> models[0].promotion.to: expected `active`, `shadow` or `candidate`, found the text `actve` (did you mean `active`?)
        -> models[0].promotion.margin: expected a number from 0, found the number -0.1 (in units of the score: 0.01 of accuracy is one sample in a hundred)
    models: [{ name: m, incoming: m, promotion: { margin: .nan } }]
        -> models[0].promotion.margin: expected a number from 0, found the number NaN (in units of the score: 0.01 of accuracy is one sample in a hundred)
    models: [{ name: m, incoming: m, retention: { versions: -1, age: 1m } }]
        -> models[0].retention.versions: expected a whole number from 0 to 10000, found the number -1
        -> models[0].retention.age: 1m is not within 1h and 100years
    models: [{ name: m, incoming: m, landing: { settle: 2m } }]
        -> models[0].landing.patience: `settle` is longer than `patience` (a file would be given up before it can be taken)
    models: [{ name: m, incoming: m }, { name: m, incoming: m/x }]
        -> models[1].name: `m` is already `models[0].name` (names are unique)
        -> models[1].incoming: `/etc/forecastd/m/x` lies in `models[0].incoming` (a drop belongs to one dataset or model)
    models: [{ name: a, incoming: in/x }]
        -> models[0].incoming: `/etc/forecastd/in/x` lies in `datasets[0].incoming` (a drop belongs to one dataset or model)
    models: [{ name: a, incoming: m, done: in/quarantine }]
        -> models[0].done: `/etc/forecastd/in/quarantine` is already `datasets[0].quarantine` (every folder has one purpose)
    models: [{ name: a, incoming: state/models }]
        -> state_dir: `/etc/forecastd/state` holds `models[0].incoming` (a segment of the state must never be taken for a drop)
    "#;
    assert_told(table, |line| refused(&top(line)));
}
