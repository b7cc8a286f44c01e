//! ETTh1 against the numbers of other people's software (`tests/reference/auto_ar.py`), the whole way from parquet.

use std::fs::{self, File};
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Float64Type;
use forecastd_models::kpss::kpss_trend;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::support::{Environment, data, forecastd};

/// Train and validation of the literature's split.
const ROWS: usize = 11_520;

fn golden() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tests/golden/auto_ar.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn read(file: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[track_caller]
fn close(ours: &[f64], theirs: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert!(
            (ours - theirs).abs() <= tolerance,
            "{what}[{index}]: {ours} instead of {theirs}"
        );
    }
}

#[test]
fn differences_orders_coefficients_and_forecasts_of_etth1_are_the_oracles() {
    let Some(file) = data("timeseries/ETTh1.parquet") else {
        return;
    };
    let environment = Environment::with_series("{ time: time }");
    let cut = environment.path("cut.parquet");
    let batch = read(&file).slice(0, ROWS);
    let mut writer = ArrowWriter::try_new(File::create(&cut).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let options = "--time date --horizon 96 --levels 0.95 --method auto_ar --window 20000 --json";
    let arguments: Vec<&str> = ["fit", cut.to_str().unwrap()]
        .into_iter()
        .chain(options.split(' '))
        .collect();
    let output = forecastd(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let channels = report["channels"].as_array().unwrap();
    assert_eq!(channels.len(), 7);
    let golden = golden();
    for channel in channels {
        let name = channel["channel"].as_str().unwrap();
        let (model, theirs) = (&channel["model"], &golden["ETTh1"]["channels"][name]);
        for field in ["num_diff", "order", "max_order"] {
            assert_eq!(model[field], theirs[field], "{field} of {name}");
        }
        close(
            &numbers(&model["coefficients"]),
            &numbers(&theirs["coefficients"]),
            1e-9,
            name,
        );
        let number = |value: &Value| value.as_f64().unwrap();
        close(
            &[number(&model["intercept"])],
            &[number(&theirs["intercept"])],
            1e-9,
            name,
        );
        close(
            &[number(&model["variance"])],
            &[number(&theirs["variance"])],
            1e-8,
            name,
        );
        let bic = &theirs["bic"][model["order"].to_string()];
        close(&[number(&model["bic"])], &[number(bic)], 1e-6, name);
        let forecast = &channel["forecast"];
        let (mean, upper) = (numbers(&forecast["mean"]), numbers(&forecast["upper_95"]));
        close(&mean, &numbers(&theirs["forecast"]["mean"]), 1e-8, name);
        let deviation: Vec<f64> = mean
            .iter()
            .zip(&upper)
            .map(|(mean, upper)| (upper - mean) / 1.959_963_984_540_054)
            .collect();
        close(&deviation, &numbers(&theirs["forecast"]["deviation"]), 1e-8, name);
    }
}

#[test]
fn kpss_statistics_are_the_published_vectors() {
    let golden = golden();
    for name in ["ETTh1", "ETTh2"] {
        let Some(file) = data(&format!("timeseries/{name}.parquet")) else {
            return;
        };
        let batch = read(&file);
        for (channel, vectors) in golden["kpss_with_512_rows_twice"][name].as_object().unwrap() {
            let values = batch[channel.as_str()].as_primitive::<Float64Type>().values();
            // The published code repeats the last 512 training rows; its vectors can be had only with them.
            let mut rows = [&values[..8640], &values[8128..ROWS]].concat();
            for vector in vectors.as_array().unwrap() {
                let kpss = kpss_trend(&rows);
                assert_eq!(kpss.lags as u64, vector["lags"].as_u64().unwrap(), "{name} {channel}");
                close(
                    &[kpss.statistic],
                    &[vector["statistic"].as_f64().unwrap()],
                    1e-9,
                    channel,
                );
                rows = rows.windows(2).map(|pair| pair[1] - pair[0]).collect();
            }
        }
    }
}

/// PAPER-level vectors as published, to the digits given there: the golden file itself is held against them.
#[test]
fn the_golden_file_agrees_with_the_vectors_printed_in_the_literature() {
    let printed: [(&str, f64, u64, f64, u64); 3] = [
        ("HUFL", 1.6782, 42, 0.008704, 98),
        ("MUFL", 1.7853, 38, 0.004197, 87),
        ("OT", 2.7513, 68, 0.009784, 40),
    ];
    let golden = golden();
    for (channel, level, level_lags, difference, difference_lags) in printed {
        let vectors = &golden["kpss_with_512_rows_twice"]["ETTh1"][channel];
        close(&[vectors[0]["statistic"].as_f64().unwrap()], &[level], 5e-5, channel);
        close(
            &[vectors[1]["statistic"].as_f64().unwrap()],
            &[difference],
            5e-7,
            channel,
        );
        assert_eq!(vectors[0]["lags"], level_lags);
        assert_eq!(vectors[1]["lags"], difference_lags);
    }
}
