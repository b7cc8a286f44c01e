//! `forecastd fit` at scale: many short series, parquet to parquet, in bounded memory.
//!
//! `cargo bench --bench fit` fits 100,000 series of 1,000 points; `cargo bench --bench fit -- 1000000` a million, for
//! which 25 GB must be free in `target`. `-- 100000 interleaved` writes the rows in order of time instead of channel.
//! Under `cargo test` a tiny input, so that it cannot rot.
//!
//! Making the input is not measured. A process of its own does it: a child begins with its parent's peak of memory, so
//! the one that starts the executable must be small.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports by printing and fails by panicking"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::array::{AsArray, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

const POINTS: usize = 1_000;
const HORIZON: usize = 96;
const HOUR: i64 = 3_600_000;

/// 2026-01-01T00:00:00Z in milliseconds.
const START: i64 = 1_767_225_600_000;

/// Set, to the folder, for the process that makes the input.
const GENERATE: &str = "FORECASTD_BENCH_GENERATE";

/// Series of one file, which are also written together.
const SERIES_A_FILE: usize = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let number = arguments.iter().find_map(|argument| argument.parse().ok());
    // Cargo tells a bench that it is to measure; of a test it says nothing.
    let series = if named("--bench") {
        number.unwrap_or(100_000)
    } else {
        30
    };
    if let Some(folder) = std::env::var_os(GENERATE) {
        return generate(Path::new(&folder), series, named("interleaved"));
    }

    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (input, output) = (folder.path().join("input"), folder.path().join("output"));
    fs::create_dir(&input).unwrap();
    let mut generator = Command::new(std::env::current_exe().unwrap());
    assert!(
        generator
            .args(&arguments)
            .env(GENERATE, &input)
            .status()
            .unwrap()
            .success()
    );
    let files = fs::read_dir(&input).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    println!(
        "{series} series of {POINTS} points, {:.2} GB of parquet",
        bytes as f64 / 1e9
    );

    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let started = Instant::now();
    let (cpu, peak) = fit(&input, &output);
    let wall = started.elapsed().as_secs_f64();
    println!(
        "fit: {wall:.1} s, {cpu:.1} s of CPU, peak resident {:.0} MB, {:.0} series a second; load before: {}",
        peak / 1e6,
        series as f64 / wall,
        load.split(' ').next().unwrap(),
    );
    check(&output.join("input-forecasts.parquet"), series);
}

/// Fits all series; says how many seconds of CPU and how many resident bytes that took.
fn fit(input: &Path, output: &Path) -> (f64, f64) {
    let options = "--time time --channel channel --value value --max-order 128 --levels 0.8,0.95 --method auto_ar";
    #[expect(clippy::zombie_processes, reason = "`wait4` below waits for it")]
    let child = Command::new(env!("CARGO_BIN_EXE_forecastd"))
        .arg("fit")
        .arg(input)
        .args(options.split(' '))
        .args(["--horizon", &HORIZON.to_string(), "--out"])
        .arg(output)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (pid, mut status) = (i32::try_from(child.id()).unwrap(), 0);
    // SAFETY: zeroes are a value of this plain struct; the call fills in both, of a child that nobody else waits for.
    #[expect(unsafe_code, reason = "no safe wrapper gives the maximum resident set of a child")]
    let usage = unsafe {
        let mut usage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid);
        usage
    };
    assert_eq!(status, 0);
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (
        seconds(usage.ru_utime) + seconds(usage.ru_stime),
        usage.ru_maxrss as f64 * 1024.0,
    )
}

/// Every series has each of its steps in the file, after its last point.
fn check(path: &Path, series: usize) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let rows = reader.metadata().file_metadata().num_rows();
    assert_eq!(rows as usize, series * HORIZON);
    println!(
        "forecasts: {rows} rows, {:.2} GB",
        fs::metadata(path).unwrap().len() as f64 / 1e9
    );
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let times = cast(&batch["time"], &DataType::Int64).unwrap();
    let first = times.as_primitive::<Int64Type>().value(0);
    assert_eq!(first, (START + POINTS as i64 * HOUR) * 1_000_000);
}

fn generate(folder: &Path, series: usize, interleaved: bool) {
    for (part, first) in (0..series).step_by(SERIES_A_FILE).enumerate() {
        let numbers = first..series.min(first + SERIES_A_FILE);
        let values: Vec<Vec<f64>> = numbers.clone().map(values).collect();
        let names = StringArray::from_iter_values(numbers.map(|number| format!("meter-{number:07}")));
        let mut file = Part::create(folder.join(format!("part-{part:04}.parquet")), names);
        if interleaved {
            for point in 0..POINTS {
                let row = |series: usize| (series as i32, START + point as i64 * HOUR, values[series][point]);
                file.write((0..values.len()).map(row));
            }
        } else {
            for (series, values) in values.iter().enumerate() {
                let row = |point: usize| (series as i32, START + point as i64 * HOUR, values[point]);
                file.write((0..POINTS).map(row));
            }
        }
        file.writer.close().unwrap();
    }
}

/// A file in the making: times, names and values in the long layout.
struct Part {
    names: ArrayRef,
    writer: ArrowWriter<File>,
}

impl Part {
    fn create(path: PathBuf, names: StringArray) -> Self {
        let names: ArrayRef = Arc::new(names);
        let schema = batch(&names, std::iter::empty()).schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_column_dictionary_enabled("value".into(), false)
            .build();
        let writer = ArrowWriter::try_new(File::create(path).unwrap(), schema, Some(properties)).unwrap();
        Self { names, writer }
    }

    fn write(&mut self, rows: impl Iterator<Item = (i32, i64, f64)>) {
        self.writer.write(&batch(&self.names, rows)).unwrap();
    }
}

fn batch(names: &ArrayRef, rows: impl Iterator<Item = (i32, i64, f64)>) -> RecordBatch {
    let (mut keys, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (key, time, value) in rows {
        keys.push(key);
        times.push(time);
        values.push(value);
    }
    let names = DictionaryArray::new(Int32Array::from(keys), Arc::clone(names));
    let columns: [(&str, ArrayRef); 3] = [
        ("time", Arc::new(TimestampMillisecondArray::from(times))),
        ("channel", Arc::new(names)),
        ("value", Arc::new(Float64Array::from(values))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A random walk, a season with noise, an auto-regression, or a season on a walk: by the number of the series, so that
/// every run has the same.
fn values(number: usize) -> Vec<f64> {
    let mut noise = Noise(number as u64 * 2 + 1);
    let (mut walk, mut ar) = (100.0, 0.0);
    let point = |point: usize| {
        let shock = noise.next();
        walk += shock;
        ar = 0.8 * ar + shock;
        let season = 10.0 * (std::f64::consts::TAU * point as f64 / 24.0).sin();
        match number % 4 {
            0 => walk,
            1 => season + shock,
            2 => ar,
            _ => season + walk,
        }
    };
    (0..POINTS).map(point).collect()
}

/// About normal: the sum of four uniform numbers, from Marsaglia's xorshift.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        (0..4).map(|_| self.uniform() - 0.5).sum::<f64>() * 3.0_f64.sqrt()
    }

    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
