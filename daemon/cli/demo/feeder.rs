//! Plays the outside world: samples this machine ten times a second and drops a parquet file every second, the
//! way the drop contract asks for: written under a name that is ignored, then renamed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampMillisecondArray};
use parquet::arrow::ArrowWriter;

use super::telemetry::{CHANNELS, Sample, Sampler};

/// Time between two samples.
pub(super) const PERIOD: Duration = Duration::from_millis(100);

const ROWS_PER_DROP: usize = 10;

/// Feeds a folder from a thread of its own until dropped.
#[derive(Debug)]
pub(super) struct Feeder {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<anyhow::Result<()>>>,
}

impl Feeder {
    /// Starts to feed.
    ///
    /// # Errors
    /// When this machine has no `/proc`.
    pub(super) fn start(incoming: PathBuf) -> anyhow::Result<Self> {
        let sampler = Sampler::new().context("the demo samples /proc, which only Linux has; give it a file instead")?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("feeder".to_owned())
            .spawn(move || feed(sampler, &incoming, &until))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops, and tells what went wrong if anything did.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread.join().unwrap_or_else(|_| anyhow::bail!("the feeder panicked"))
    }
}

/// Puts a file of the user's into the folder, under its own name.
pub(super) fn drop_copy(file: &Path, incoming: &Path) -> anyhow::Result<()> {
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or("data");
    let hidden = incoming.join(format!(".{name}.tmp"));
    fs::copy(file, &hidden).with_context(|| format!("copy {}", file.display()))?;
    fs::rename(&hidden, incoming.join(format!("{name}.parquet")))?;
    Ok(())
}

fn feed(mut sampler: Sampler, incoming: &Path, stop: &AtomicBool) -> anyhow::Result<()> {
    let period = PERIOD.as_millis() as i64;
    let mut rows: Vec<(i64, Sample)> = Vec::with_capacity(ROWS_PER_DROP);
    while !stop.load(Ordering::Relaxed) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        let tick = (now / period + 1) * period; // samples stand on whole tenths of a second
        thread::sleep(Duration::from_millis((tick - now) as u64));
        rows.push((tick, sampler.sample()));
        if rows.len() == ROWS_PER_DROP {
            write_drop(incoming, &rows)?;
            rows.clear();
        }
    }
    Ok(())
}

fn write_drop(incoming: &Path, rows: &[(i64, Sample)]) -> anyhow::Result<()> {
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|(time, _)| *time)).with_timezone("UTC");
    let mut columns: Vec<(&str, ArrayRef)> = vec![("time", Arc::new(times))];
    for (index, channel) in CHANNELS.iter().enumerate() {
        columns.push((
            channel,
            Arc::new(Float64Array::from_iter(rows.iter().map(|(_, sample)| sample[index]))),
        ));
    }
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?;
    let hidden = incoming.join(".sample.tmp");
    let mut writer = ArrowWriter::try_new(File::create(&hidden)?, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    fs::rename(&hidden, incoming.join(format!("sample-{}.parquet", rows[0].0)))?;
    Ok(())
}
