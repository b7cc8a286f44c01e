//! Which column of a file means what: the configuration's names, found in a file's schema.
//!
//! Every refusal names the column, its type or the columns that there are, and what to do. The cells are for `rows`.

use arrow::datatypes::{DataType, Field, Schema};
use forecastd_config::{Columns, Layout};

use crate::message::rejected::{RejectReason, Rejected};

/// The columns to read, and where each stands among those read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The file's columns to read, ascending.
    pub(crate) roots: Vec<usize>,
    /// The column of times, as a position in `roots`; so are all others here.
    pub(crate) time: usize,
    pub(crate) cells: Cells,
}

/// Where channels and values stand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cells {
    /// Columns and the channels that they are.
    Wide(Vec<(usize, String)>),
    /// Columns that name the channel, and the one that holds the value.
    Long { channel: Vec<usize>, value: usize },
}

/// Columns named in a refusal, at most.
const NAMED: usize = 30;

impl Plan {
    pub(crate) fn new(schema: &Schema, columns: &Columns) -> Result<Self, Rejected> {
        let time = find(schema, &columns.time)?;
        check_time(schema.field(time))?;
        let mut plan = Self {
            roots: vec![time],
            time,
            cells: match &columns.layout {
                Layout::Wide { only: Some(names) } => wide(schema, names)?,
                Layout::Wide { only: None } => every_numeric(schema, time)?,
                Layout::Long { channel, value } => long(schema, channel, value)?,
            },
        };
        plan.settle_positions();
        Ok(plan)
    }

    /// Values in a row of the file.
    pub(crate) fn values_per_row(&self) -> usize {
        match &self.cells {
            Cells::Wide(channels) => channels.len(),
            Cells::Long { .. } => 1,
        }
    }

    /// The same, without the columns of channels whose names `keep` does not want. Only a wide file has such columns.
    pub(crate) fn only(mut self, keep: impl Fn(&str) -> bool) -> Self {
        let Cells::Wide(channels) = &mut self.cells else {
            return self;
        };
        channels.retain(|(_, name)| keep(name));
        channels.iter_mut().for_each(|(index, _)| *index = self.roots[*index]);
        self.time = self.roots[self.time];
        self.roots = vec![self.time];
        self.settle_positions();
        self
    }

    /// Until here every index was one of the file's; the reader counts only the columns that it reads.
    fn settle_positions(&mut self) {
        match &self.cells {
            Cells::Wide(channels) => self.roots.extend(channels.iter().map(|(root, _)| *root)),
            Cells::Long { channel, value } => self.roots.extend(channel.iter().chain([value])),
        }
        self.roots.sort_unstable();
        self.roots.dedup();
        let roots = &self.roots;
        let settle = |index: &mut usize| *index = roots.partition_point(|root| root < index);
        settle(&mut self.time);
        match &mut self.cells {
            Cells::Wide(channels) => channels.iter_mut().for_each(|(index, _)| settle(index)),
            Cells::Long { channel, value } => channel.iter_mut().chain([value]).for_each(settle),
        }
    }
}

/// A column's type, whether or not its values stand in a dictionary.
pub(crate) fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        other => other,
    }
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    use DataType::{LargeUtf8, Utf8, Utf8View};
    matches!(plain(data_type), Utf8 | LargeUtf8 | Utf8View)
}

fn wide(schema: &Schema, names: &[String]) -> Result<Cells, Rejected> {
    let mut channels = Vec::with_capacity(names.len());
    for name in names {
        let root = find(schema, name)?;
        check_value(schema.field(root))?;
        channels.push((root, name.clone()));
    }
    Ok(Cells::Wide(channels))
}

fn every_numeric(schema: &Schema, time: usize) -> Result<Cells, Rejected> {
    let mut channels = Vec::new();
    for (root, field) in schema.fields().iter().enumerate() {
        if root != time && plain(field.data_type()).is_numeric() {
            find(schema, field.name())?; // a name that stands twice would be one channel of two columns
            channels.push((root, field.name().clone()));
        }
    }
    if channels.is_empty() {
        let time = schema.field(time).name();
        return Err(refusal(format!(
            "no numeric column beside {time:?}; the file has {}",
            listed(schema)
        )));
    }
    Ok(Cells::Wide(channels))
}

fn long(schema: &Schema, channel: &[String], value: &str) -> Result<Cells, Rejected> {
    let value = find(schema, value)?;
    check_value(schema.field(value))?;
    let mut parts = Vec::with_capacity(channel.len());
    for name in channel {
        let part = find(schema, name)?;
        check_channel(schema.field(part))?;
        parts.push(part);
    }
    Ok(Cells::Long { channel: parts, value })
}

/// Refuses a column that cannot hold times.
pub(crate) fn check_time(field: &Field) -> Result<(), Rejected> {
    use DataType::{Date32, Date64, Time32, Time64, Timestamp};
    let advice = match plain(field.data_type()) {
        Timestamp(..) | Date32 | Date64 => return Ok(()),
        _ if is_text(field.data_type()) => return Ok(()),
        Time32(_) | Time64(_) => "a time of day belongs to no day: write a timestamp",
        numeric if numeric.is_numeric() => "a number does not say its unit or its origin: write a timestamp",
        _ => "write a timestamp, a date, or ISO 8601 text",
    };
    Err(unfit(field, "hold times", advice))
}

/// Refuses a column that cannot hold numbers.
pub(crate) fn check_value(field: &Field) -> Result<(), Rejected> {
    if !plain(field.data_type()).is_numeric() {
        return Err(unfit(field, "hold values", "write integers, floats or decimals"));
    }
    Ok(())
}

fn check_channel(field: &Field) -> Result<(), Rejected> {
    if !is_text(field.data_type()) && !plain(field.data_type()).is_integer() {
        return Err(unfit(field, "name a channel", "write text or integers"));
    }
    Ok(())
}

fn unfit(field: &Field, purpose: &str, advice: &str) -> Rejected {
    refusal(format!(
        "column {:?} is of type {} and cannot {purpose}: {advice}",
        field.name(),
        field.data_type()
    ))
}

/// The place of the column of this name.
pub(crate) fn find(schema: &Schema, name: &str) -> Result<usize, Rejected> {
    let mut found = schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| field.name() == name);
    match (found.next(), found.next()) {
        (Some((root, _)), None) => Ok(root),
        (Some(_), Some(_)) => Err(refusal(format!("column {name:?} stands in the file more than once"))),
        (None, _) => Err(absent(schema, name)),
    }
}

/// Where a column stands that a file may lack. One that is there under nearly this name is a slip, unless it is one of
/// `others`, which have their own use.
pub(crate) fn find_if_there(schema: &Schema, name: &str, others: &[&str]) -> Result<Option<usize>, Rejected> {
    let is_there = schema.fields().iter().any(|field| field.name() == name);
    let is_near = near(schema, name).is_some_and(|near| !others.contains(&near));
    match is_there || is_near {
        true => find(schema, name).map(Some),
        false => Ok(None),
    }
}

fn absent(schema: &Schema, name: &str) -> Rejected {
    let hint = near(schema, name)
        .map(|near| format!("; did you mean {near:?}?"))
        .unwrap_or_default();
    refusal(format!("no column {name:?}; the file has {}{hint}", listed(schema)))
}

/// The column whose name is nearly this one.
fn near<'a>(schema: &'a Schema, name: &str) -> Option<&'a str> {
    let near = schema
        .fields()
        .iter()
        .map(|field| {
            (
                distance(&field.name().to_lowercase(), &name.to_lowercase()),
                field.name(),
            )
        })
        .filter(|(distance, _)| *distance <= name.len() / 3)
        .min();
    near.map(|(_, near)| near.as_str())
}

/// The names of the columns, for a refusal.
pub(crate) fn listed(schema: &Schema) -> String {
    let names: Vec<String> = schema
        .fields()
        .iter()
        .take(NAMED)
        .map(|field| format!("{:?}", field.name()))
        .collect();
    let more = schema.fields().len() - names.len();
    match (names.is_empty(), more) {
        (true, _) => "no column at all".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// A verdict on the columns.
pub(crate) fn refusal(detail: String) -> Rejected {
    Rejected::new(RejectReason::Schema, detail)
}

/// Levenshtein's: edits of single characters between two words.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 16 || a.len() > 256 {
        return usize::MAX; // a hostile name is not worth the time
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::super::fixture::{long as long_columns, wide as wide_columns};
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
        Schema::new(fields.iter().map(field).collect::<Vec<_>>())
    }

    fn readings() -> Schema {
        schema(&[
            ("station", DataType::Utf8),
            ("date", DataType::Timestamp(TimeUnit::Millisecond, None)),
            ("wind", DataType::Utf8),
            ("load", DataType::Float64),
            ("count", DataType::UInt8),
            ("open", DataType::Boolean),
        ])
    }

    fn detail(schema: &Schema, columns: &Columns) -> String {
        let rejected = Plan::new(schema, columns).expect_err("refused");
        assert_eq!(rejected.reason, RejectReason::Schema);
        rejected.detail
    }

    #[test]
    fn a_wide_file_gives_every_numeric_column_but_the_time() {
        let plan = Plan::new(&readings(), &wide_columns("date", None)).expect("planned");
        assert_eq!((plan.roots.as_slice(), plan.time), (&[1, 3, 4][..], 0));
        assert_eq!(plan.cells, Cells::Wide(vec![(1, "load".into()), (2, "count".into())]));
    }

    #[test]
    fn a_wide_file_gives_only_the_columns_asked_for() {
        let plan = Plan::new(&readings(), &wide_columns("date", Some(&["count"]))).expect("planned");
        assert_eq!(
            (plan.roots.as_slice(), plan.time, plan.values_per_row()),
            (&[1, 4][..], 0, 1)
        );
        assert_eq!(plan.cells, Cells::Wide(vec![(1, "count".into())]));
    }

    #[test]
    fn a_plan_of_fewer_channels_reads_fewer_columns() {
        let plan = Plan::new(&readings(), &wide_columns("date", None)).expect("planned");
        let plan = plan.only(|name| name == "count");
        assert_eq!((plan.roots.as_slice(), plan.time), (&[1, 4][..], 0));
        assert_eq!(plan.cells, Cells::Wide(vec![(1, "count".into())]));
    }

    #[test]
    fn a_long_file_gives_its_channel_columns_in_the_order_of_the_configuration() {
        let columns = long_columns("date", &["wind", "station"], "load");
        let plan = Plan::new(&readings(), &columns).expect("planned");
        assert_eq!(plan.roots, [0, 1, 2, 3]);
        assert_eq!(
            plan.cells,
            Cells::Long {
                channel: vec![2, 0],
                value: 3
            }
        );
    }

    #[test]
    fn a_refusal_names_the_column_and_what_to_do() {
        let nested = schema(&[
            ("Date", DataType::Date32),
            ("when", DataType::Time64(TimeUnit::Microsecond)),
            ("epoch", DataType::Int64),
            ("list", DataType::new_list(DataType::Float64, true)),
            ("name", DataType::Utf8),
        ]);
        let cases = [
            (
                wide_columns("date", None),
                r#"no column "date"; the file has "Date", "when", "epoch", "list", "name"; did you mean "Date"?"#,
            ),
            (
                wide_columns("temperature", None),
                r#"no column "temperature"; the file has "Date", "when", "epoch", "list", "name""#,
            ),
            (
                wide_columns("when", None),
                r#"column "when" is of type Time64(µs) and cannot hold times: a time of day belongs to no day: write a timestamp"#,
            ),
            (
                wide_columns("epoch", None),
                r#"column "epoch" is of type Int64 and cannot hold times: a number does not say its unit or its origin: write a timestamp"#,
            ),
            (
                wide_columns("Date", Some(&["list"])),
                r#"column "list" is of type List(Float64) and cannot hold values: write integers, floats or decimals"#,
            ),
            (
                long_columns("Date", &["list"], "epoch"),
                r#"column "list" is of type List(Float64) and cannot name a channel: write text or integers"#,
            ),
            (
                long_columns("Date", &["name"], "name"),
                r#"column "name" is of type Utf8 and cannot hold values: write integers, floats or decimals"#,
            ),
        ];
        for (columns, expected) in cases {
            assert_eq!(detail(&nested, &columns), expected);
        }
    }

    #[test]
    fn a_file_without_a_number_or_with_two_columns_of_one_name_is_refused() {
        let text = schema(&[("date", DataType::Date32), ("name", DataType::Utf8)]);
        assert_eq!(
            detail(&text, &wide_columns("date", None)),
            r#"no numeric column beside "date"; the file has "date", "name""#
        );
        let twice = schema(&[
            ("date", DataType::Date32),
            ("a", DataType::Int8),
            ("a", DataType::Float32),
        ]);
        assert_eq!(
            detail(&twice, &wide_columns("date", None)),
            r#"column "a" stands in the file more than once"#
        );
    }
}
