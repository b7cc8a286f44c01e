//! Cells become rows: each value goes to its channel, or is counted under the reason why not.
//!
//! Where several reasons hold, the first of these counts: no time, bad channel, not finite, future. An empty value is
//! no row at all. Who keeps the rows, and of which channels, is the sink's business.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use forecastd_models::Timestamp;

use super::columns::{Cells, Plan, is_text, plain};
use super::names::{Channels, NAME, Names, Place, Run, clip};
use crate::message::account::{RowAccount, RowReason};
use crate::message::rejected::{RejectReason, Rejected};

/// Where the rows of a file go.
pub(crate) trait RowSink: Channels {
    /// Takes what stands in the next `cells` cells of a channel: so many rows, every value finite.
    fn take(&mut self, channel: usize, cells: usize, times: &[Timestamp], values: &[f64]);
}

/// Reads the cells of a file, batch by batch.
#[derive(Debug)]
pub(crate) struct Rows<'a, S> {
    plan: &'a Plan,
    latest: Timestamp,
    sink: &'a mut S,
    names: Names,
    account: RowAccount,
    /// A text that is no time, if no time was read so far.
    unread_time: Option<String>,
    any_time: bool,
    /// The good rows of a run that has others too.
    sifted: (Vec<Timestamp>, Vec<f64>),
}

/// A column of times, and which of them are none.
pub(crate) struct Times {
    instants: Vec<Timestamp>,
    nulls: Option<NullBuffer>,
}

impl<'a, S: RowSink> Rows<'a, S> {
    /// Nothing read yet; rows later than `latest` will be refused.
    pub(crate) fn new(plan: &'a Plan, latest: Timestamp, sink: &'a mut S) -> Self {
        Self {
            plan,
            latest,
            sink,
            names: Names::default(),
            account: RowAccount::default(),
            unread_time: None,
            any_time: false,
            sifted: Default::default(),
        }
    }

    /// Takes what stands in a piece of the file.
    pub(crate) fn take(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let plan = self.plan;
        let times = self.times(batch.column(plan.time))?;
        match &plan.cells {
            Cells::Wide(channels) => {
                for (column, name) in channels {
                    let whole = Run {
                        rows: 0..batch.num_rows(),
                        place: Place::of(name, self.sink),
                    };
                    self.put(&times, &values(batch.column(*column))?, &[whole]);
                }
            }
            Cells::Long { channel, value } => {
                let values = values(batch.column(*value))?;
                let runs = self.names.runs(batch, channel, self.sink)?;
                self.put(&times, &values, &runs);
            }
        }
        Ok(())
    }

    /// Refuses a column of texts none of which was a time.
    pub(crate) fn check_times(&self, column: &str) -> Result<(), Rejected> {
        match &self.unread_time {
            Some(text) if !self.any_time => {
                let detail = format!("column {column:?} holds no time: {text:?} is not ISO 8601");
                Err(Rejected::new(RejectReason::Schema, detail))
            }
            _ => Ok(()),
        }
    }

    /// Where the rows went; what the sink took counts as seen only.
    pub(crate) fn finish(self) -> RowAccount {
        self.account
    }

    /// Most batches have nothing but rows: their runs are handed on as they stand.
    fn put(&mut self, times: &Times, values: &Float64Array, runs: &[Run]) {
        let every_time = times.nulls.is_none() && times.instants.iter().all(|time| *time <= self.latest);
        let every_value = values.null_count() == 0 && values.values().iter().all(|value| value.is_finite());
        for Run { rows, place } in runs.iter().cloned() {
            match place {
                Place::Elsewhere => {}
                Place::Channel(channel) if every_time && every_value => {
                    self.account.seen += rows.len() as u64;
                    let (times, values) = (&times.instants[rows.clone()], &values.values()[rows.clone()]);
                    self.sink.take(channel, rows.len(), times, values);
                }
                Place::Channel(channel) => self.sift(times, values, rows, Some(channel)),
                Place::Refused => self.sift(times, values, rows, None),
            }
        }
    }

    /// Looks at a run row by row.
    fn sift(&mut self, times: &Times, values: &Float64Array, rows: Range<usize>, channel: Option<usize>) {
        let cells = rows.len();
        self.sifted.0.clear();
        self.sifted.1.clear();
        for row in rows {
            let value = values.value(row);
            if values.is_null(row) || value.is_nan() {
                self.account.missing += 1;
                continue;
            }
            let refused = match times.at(row) {
                None => RowReason::NoTime,
                Some(_) if channel.is_none() => RowReason::BadChannel,
                Some(_) if value.is_infinite() => RowReason::NotFinite,
                Some(time) if time > self.latest => RowReason::Future,
                Some(time) => {
                    self.account.seen += 1;
                    self.sifted.0.push(time);
                    self.sifted.1.push(value);
                    continue;
                }
            };
            self.account.reject(refused, 1);
        }
        if let Some(channel) = channel {
            self.sink.take(channel, cells, &self.sifted.0, &self.sifted.1);
        }
    }

    fn times(&mut self, column: &ArrayRef) -> Result<Times, ArrowError> {
        let times = Times::read(column)?;
        self.any_time |= times.nulls.as_ref().map_or(0, NullBuffer::null_count) < times.instants.len();
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

impl Times {
    /// Ticks of so many nanoseconds as instants; a tick beyond their range is none.
    fn new(ticks: &Int64Array, nanoseconds: i64) -> Self {
        let reach = i64::MIN / nanoseconds..=i64::MAX / nanoseconds;
        let within = |ticks: i64| reach.contains(&ticks);
        let instants = ticks
            .values()
            .iter()
            .map(|ticks| Timestamp(ticks.wrapping_mul(nanoseconds)));
        let nulls = if ticks.values().iter().all(|ticks| within(*ticks)) {
            ticks.nulls().filter(|nulls| nulls.null_count() > 0).cloned()
        } else {
            Some(ticks.iter().map(|ticks| ticks.is_some_and(within)).collect())
        };
        Self {
            instants: instants.collect(),
            nulls,
        }
    }

    /// Those of a column.
    pub(crate) fn read(column: &ArrayRef) -> Result<Self, ArrowError> {
        let (ticks, nanoseconds) = ticks(column)?;
        Ok(Self::new(&ticks, nanoseconds))
    }

    /// The instants that there are.
    pub(crate) fn of(column: &ArrayRef) -> Result<Vec<Timestamp>, ArrowError> {
        let times = Self::read(column)?;
        Ok((0..times.instants.len()).filter_map(|row| times.at(row)).collect())
    }

    /// The instant of a row, if it has one.
    pub(crate) fn at(&self, row: usize) -> Option<Timestamp> {
        let null = self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        (!null).then_some(self.instants[row])
    }
}

/// Values as floats; every numeric type has a cast to them.
pub(crate) fn values(column: &ArrayRef) -> Result<Float64Array, ArrowError> {
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
