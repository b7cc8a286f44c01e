//! Bad input, every time: a clear error that names the file, and nothing lost.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Environment, wait_for, wide};

fn good(hours: std::ops::Range<i64>) -> Vec<u8> {
    wide(hours, &[("x", &|i| (i % 24) as f64)])
}

#[test]
fn every_bad_file_ends_in_quarantine_with_its_reason_and_the_service_stays_up() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    let bytes = good(0..100);
    let mut flipped = bytes.clone();
    let footer = flipped.len() - 100;
    flipped[footer..footer + 40].fill(0xff);
    environment.drop_bytes("empty.parquet", b"");
    environment.drop_bytes("truncated.parquet", &bytes[..bytes.len() / 2]);
    environment.drop_bytes("text.parquet", b"time,x\n2026-01-01,1\n");
    environment.drop_bytes("flipped.parquet", &flipped);
    environment.drop_bytes(
        "schema.parquet",
        &wide(0..9, &[("x", &|_| 0.0)]).into_iter().collect::<Vec<_>>(),
    );
    fs::write(environment.path("secret.parquet"), &bytes).unwrap();
    std::os::unix::fs::symlink(environment.path("secret.parquet"), environment.incoming("link.parquet")).unwrap();
    mknodat(
        CWD,
        environment.incoming("fifo.parquet"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    fs::hard_link(environment.path("secret.parquet"), environment.incoming("hard.parquet")).unwrap();
    fs::write(environment.incoming("notes.txt"), "not a drop by its name").unwrap();
    fs::create_dir(environment.incoming("folder.parquet")).unwrap();

    // `schema.parquet` is good as it stands; only the others are bad.
    let page = daemon.after_drops(8);
    let expected = [
        ("empty.parquet", "empty"),
        ("fifo.parquet", "not_a_regular_file"),
        ("flipped.parquet", "corrupt"),
        ("hard.parquet", "not_a_regular_file"),
        ("link.parquet", "not_a_regular_file"),
        ("text.parquet", "not_parquet"),
        ("truncated.parquet", "truncated"),
    ]
    .map(|(name, reason)| (name.to_owned(), reason.to_owned()));
    assert_eq!(environment.quarantined(), expected);
    for (_, reason) in &expected {
        assert!(
            page.get(
                "forecastd_drops_rejected_total",
                &[("dataset", "d"), ("reason", reason)]
            )
            .unwrap()
                > 0.0
        );
    }
    for (name, reason) in &expected {
        let log = daemon.log();
        assert!(
            log.lines()
                .any(|line| line.contains(name.as_str()) && line.contains(reason.as_str())),
            "{name}\n{log}"
        );
    }
    assert_eq!(page.sum("forecastd_files_ignored"), 2.0);
    assert_eq!(
        fs::read(environment.path("secret.parquet")).unwrap(),
        bytes,
        "a link's target is not touched"
    );

    environment.drop_bytes("good.parquet", &good(9..60));
    let page = daemon.after_drops(9);
    assert_eq!(page.rows(), (60, 60, 0, 0));
    assert!(daemon.stop().success());
    environment.fsck();
}

#[test]
fn a_wrong_schema_is_told_with_the_column_and_accepted_once_the_configuration_is_mended() {
    let environment = Environment::with_series("{ time: when }");
    let daemon = environment.start();
    environment.drop_bytes("a.parquet", &good(0..50));
    daemon.after_drops(1);
    assert_eq!(
        environment.quarantined(),
        [("a.parquet".to_owned(), "schema".to_owned())]
    );
    let log = daemon.log();
    assert!(log.contains(r#""when""#) && log.contains(r#""time""#), "{log}");

    let series = Environment::dataset("d", "{ time: time }", "forecast: { horizon: 3 }");
    environment.configure(&series);
    daemon.signal(rustix::process::Signal::HUP);
    wait_for("the reload", || {
        daemon.log().contains("configuration reloaded").then_some(())
    });
    let folder = fs::read_dir(environment.path("incoming/d/quarantine"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::rename(folder.join("a.parquet"), environment.incoming("a.parquet")).unwrap();
    assert_eq!(daemon.after_drops(2).rows(), (50, 50, 0, 0));
    drop(daemon);
    environment.fsck();
}

#[test]
fn a_file_that_is_written_for_ten_seconds_is_taken_once_it_is_whole() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    let bytes = good(0..4000);
    let started = Instant::now();
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(environment.incoming("slow.parquet"))
        .unwrap();
    for (number, piece) in bytes.chunks(bytes.len().div_ceil(40)).enumerate() {
        std::thread::sleep(Duration::from_millis(250 * (number as u64 + 1)).saturating_sub(started.elapsed()));
        file.write_all(piece).unwrap();
        if number < 39 {
            assert_eq!(
                daemon.scrape().sum("forecastd_drops_total"),
                0.0,
                "after {:?}",
                started.elapsed()
            );
        }
    }
    drop(file);
    assert_eq!(daemon.after_drops(1).rows(), (4000, 4000, 0, 0));
    assert_eq!(environment.quarantined(), []);
}

#[test]
fn a_bomb_is_refused_and_the_daemon_does_not_swell() {
    let more = "limits: { decode_memory: 128MiB }\n    forecast: { horizon: 3 }";
    let series = "{ time: time, channel: channel, value: value }";
    let environment = Environment::with_datasets(&Environment::dataset("d", series, more));
    let daemon = environment.start();
    let before = resident(daemon.pid());
    let bomb = bomb();
    assert!(bomb.len() < 200_000, "{} bytes", bomb.len());
    environment.drop_bytes("bomb.parquet", &bomb);
    let page = daemon.after_drops(1);
    let labels = [("dataset", "d"), ("reason", "too_large")];
    assert_eq!(page.get("forecastd_drops_rejected_total", &labels), Some(1.0));
    let after = resident(daemon.pid());
    assert!(after < before + (64 << 20), "from {before} to {after} bytes");
    environment.drop_bytes("good.parquet", &crate::support::long(&[(0, "a", 1.0), (1, "a", 2.0)]));
    assert_eq!(daemon.after_drops(2).rows().1, 2);
}

/// A small file with a channel name of 256 MiB.
fn bomb() -> Vec<u8> {
    use std::sync::Arc;

    use arrow::array::{Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::{EnabledStatistics, WriterProperties};

    let name = "a".repeat(256 << 20);
    let batch = RecordBatch::try_from_iter([
        ("time", Arc::new(TimestampMillisecondArray::from_iter_values([0])) as _),
        ("channel", Arc::new(StringArray::from_iter_values([&name])) as _),
        ("value", Arc::new(Float64Array::from_iter_values([1.0])) as _),
    ])
    .unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_folder_that_cannot_be_listed_is_told_and_picked_up_when_it_comes_back() {
    let environment = Environment::with_series("{ time: time }");
    fs::create_dir_all(environment.path("incoming")).unwrap();
    File::create(environment.path("incoming/d")).unwrap();
    let daemon = environment.start();
    wait_for("the complaint", || {
        daemon.log().contains("cannot be listed").then_some(())
    });
    assert_eq!(daemon.get("/-/healthy").0, 200);
    fs::remove_file(environment.path("incoming/d")).unwrap();
    environment.drop_bytes("a.parquet", &good(0..30));
    assert_eq!(daemon.after_drops(1).rows(), (30, 30, 0, 0));
}
