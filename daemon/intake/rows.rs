//! Cells become rows: each value goes to its channel, or is counted under the reason why not.
//!
//! Where several reasons hold, the first of these counts: no time, bad channel, not finite, future. An empty value is
//! no row at all.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use forecastd_models::{ChannelName, Timestamp};

use super::columns::{Cells, Plan, is_text, plain};
use crate::message::account::{RowAccount, RowReason};
use crate::message::series_drop::RawRows;

/// The longest name of a channel, in bytes: it becomes a label.
const NAME: usize = 512;

/// The rows of a file, as far as it was read.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    plan: &'a Plan,
    latest: Timestamp,
    names: HashMap<ChannelName, usize>,
    rows: Vec<Vec<(Timestamp, f64)>>,
    account: RowAccount,
    /// A text that is no time, if no time was read so far.
    unread_time: Option<String>,
    any_time: bool,
}

impl<'a> Rows<'a> {
    /// None yet; rows later than `latest` will be refused.
    pub(crate) fn new(plan: &'a Plan, latest: Timestamp) -> Self {
        Self {
            plan,
            latest,
            names: HashMap::new(),
            rows: Vec::new(),
            account: RowAccount::default(),
            unread_time: None,
            any_time: false,
        }
    }

    /// Takes what stands in a piece of the file.
    pub(crate) fn take(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let plan = self.plan;
        let times = self.times(batch.column(plan.time))?;
        match &plan.cells {
            Cells::Wide(channels) => {
                for (column, name) in channels {
                    let values = values(batch.column(*column))?;
                    let channel = self.channel(name);
                    for (time, value) in times.iter().zip(&values) {
                        self.put(*time, channel, value);
                    }
                }
            }
            Cells::Long { channel, value } => {
                let values = values(batch.column(*value))?;
                let channels = self.channels(batch, channel)?;
                for ((time, channel), value) in times.iter().zip(channels).zip(&values) {
                    self.put(*time, channel, value);
                }
            }
        }
        Ok(())
    }

    /// A text of the time column, if there were texts and none of them was a time.
    pub(crate) fn no_time_at_all(&self) -> Option<&str> {
        self.unread_time.as_deref().filter(|_| !self.any_time)
    }

    /// All rows, and where the others went.
    pub(crate) fn finish(mut self) -> (RawRows, RowAccount) {
        let mut raw = RawRows::default();
        for (name, index) in self.names {
            let rows = std::mem::take(&mut self.rows[index]);
            if !rows.is_empty() {
                raw.channels.insert(name, rows);
            }
        }
        (raw, self.account)
    }

    fn put(&mut self, time: Option<Timestamp>, channel: Option<usize>, value: Option<f64>) {
        let Some(value) = value.filter(|value| !value.is_nan()) else {
            self.account.missing += 1;
            return;
        };
        let refused = match (time, channel) {
            (None, _) => RowReason::NoTime,
            (_, None) => RowReason::BadChannel,
            _ if value.is_infinite() => RowReason::NotFinite,
            (Some(time), _) if time > self.latest => RowReason::Future,
            (Some(time), Some(channel)) => {
                self.account.seen += 1;
                self.rows[channel].push((time, value));
                return;
            }
        };
        self.account.reject(refused, 1);
    }

    /// The number of a channel; `None` for a name that can be none.
    fn channel(&mut self, name: &str) -> Option<usize> {
        if let Some(index) = self.names.get(name) {
            return Some(*index);
        }
        if name.is_empty() || name.len() > NAME {
            return None;
        }
        self.names.insert(name.into(), self.rows.len());
        self.rows.push(Vec::new());
        Some(self.rows.len() - 1)
    }

    fn channels(&mut self, batch: &RecordBatch, columns: &[usize]) -> Result<Vec<Option<usize>>, ArrowError> {
        let parts: Result<Vec<ArrayRef>, ArrowError> = columns
            .iter()
            .map(|column| cast(batch.column(*column), &DataType::Utf8View))
            .collect();
        let parts = parts?;
        let parts: Vec<&StringViewArray> = parts.iter().map(AsArray::as_string_view).collect();
        // Files hold long runs of one channel: its name is looked up once a run.
        let (mut name, mut last) = (String::new(), (String::new(), None));
        let mut channels = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            name.clear();
            join(&mut name, &parts, row);
            if name != last.0 {
                last = (name.clone(), self.channel(&name));
            }
            channels.push(last.1);
        }
        Ok(channels)
    }

    fn times(&mut self, column: &ArrayRef) -> Result<Vec<Option<Timestamp>>, ArrowError> {
        let (ticks, nanoseconds) = ticks(column)?;
        let instant = |ticks: Option<i64>| Some(Timestamp(ticks?.checked_mul(nanoseconds)?));
        let times: Vec<Option<Timestamp>> = ticks.iter().map(instant).collect();
        self.any_time |= times.iter().any(Option::is_some);
        if !self.any_time && self.unread_time.is_none() && is_text(column.data_type()) {
            let texts = cast(column, &DataType::Utf8View)?;
            self.unread_time = texts
                .as_string_view()
                .iter()
                .flatten()
                .next()
                .map(|text| clip(text, NAME).to_owned());
        }
        Ok(times)
    }
}

/// Joins the parts of a channel's name by `/`; a `/` or `\` in a part gets a `\` before it, so that no two channels
/// share a name. The name stays empty if a part is missing. A single part is a name as it stands.
fn join(name: &mut String, parts: &[&StringViewArray], row: usize) {
    for (position, part) in parts.iter().enumerate() {
        let text = if part.is_null(row) { "" } else { part.value(row) };
        let text = clip(text, 2 * NAME); // still seen to be too long, and no more
        if text.is_empty() {
            return name.clear();
        }
        if position > 0 {
            name.push('/');
        }
        match parts.len() {
            1 => name.push_str(text),
            _ => text.chars().for_each(|character| push_escaped(name, character)),
        }
    }
}

fn push_escaped(name: &mut String, character: char) {
    if matches!(character, '/' | '\\') {
        name.push('\\');
    }
    name.push(character);
}

/// The beginning of a text, of `limit` bytes at most.
pub(crate) fn clip(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Values as floats; every numeric type has a cast to them.
fn values(column: &ArrayRef) -> Result<Float64Array, ArrowError> {
    Ok(cast(&cast(column, plain(column.data_type()))?, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}

/// Times as whole numbers, and how many nanoseconds one counts. A timestamp with a zone counts in UTC; one without,
/// and a text without an offset, are taken as UTC. A text that is no time is a null.
fn ticks(column: &ArrayRef) -> Result<(Int64Array, i64), ArrowError> {
    let column = cast(column, plain(column.data_type()))?;
    let (column, nanoseconds) = match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => (column, 1_000_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => (column, 1_000_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => (column, 1_000),
        DataType::Date32 => (cast(&column, &DataType::Int32)?, 86_400_000_000_000),
        _ => (cast(&column, &DataType::Timestamp(TimeUnit::Nanosecond, None))?, 1),
    };
    let ticks = cast(&column, &DataType::Int64)?;
    Ok((ticks.as_primitive::<Int64Type>().clone(), nanoseconds))
}
