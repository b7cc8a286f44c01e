//! Parquet files of the user's own that are parts of one data set: what channels stand in them, and the rows of some
//! channels at a time.
//!
//! Strangers' files come through `decode`. Here nobody is guarded against, and no file needs to fit into memory: which
//! channels are read together, and so how many rows are held, is for the caller to decide.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use forecastd_config::Columns;
use forecastd_models::{ChannelName, Timestamp};
use thiserror::Error;

use super::columns::Cells;
use super::footer::Shape;
use super::names::{Channels, Names, Place};
use super::rows::{RowSink, Rows};
use super::shard::Shard;
use super::table::Table;
use crate::message::account::RowAccount;
use crate::message::rejected::{RejectReason, Rejected};

/// Files in the order in which their rows count: of several rows for one time the last stays.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// Which of their columns mean what.
    pub columns: Columns,
    /// Whose channels alone are looked at.
    pub shard: Option<Shard>,
}

/// Which channels there are, and where.
#[derive(Debug, Default)]
pub struct Survey {
    /// In the order in which they first appear.
    channels: Vec<ChannelExtent>,
    numbers: HashMap<ChannelName, usize>,
    /// Of each file, its row groups.
    parts: Vec<Vec<GroupExtent>>,
}

/// One channel's cells, whether rows or not. Places count the rows of all files, one file after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelExtent {
    /// Which.
    pub name: ChannelName,
    /// How many.
    pub cells: u64,
    /// The place of the first.
    pub first: u64,
    /// The place of the last.
    pub last: u64,
    /// Bytes that its column's reader takes, in a wide file.
    pub reader: u64,
}

/// A time and a value.
const CELL: u64 = 16;

/// What the reader of one column holds at most of it, about: a page and what it was compressed to.
const PAGES: u64 = 1 << 20;

/// What a row group has for us.
#[derive(Clone, Debug, Default)]
struct GroupExtent {
    rows: u64,
    /// Numbers of channels, from the least to the greatest.
    channels: Option<(usize, usize)>,
    /// Whether rows without a usable name are in it.
    refused: bool,
}

/// Takes the rows of channels as they come, by the numbers of the survey.
pub trait Gather {
    /// Takes what stands in the next `cells` cells of a channel: so many rows, every value finite.
    fn take(&mut self, channel: usize, cells: usize, times: &[Timestamp], values: &[f64]);
}

/// Hears of rows that were read; says whether to go on.
pub type Watch<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Why there are no rows.
#[derive(Debug, Error)]
pub enum PartError {
    /// A file is not there or cannot be opened.
    #[error("open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("{}: {}", path.display(), rejected.detail)]
    Rejected {
        /// Which.
        path: PathBuf,
        /// Why.
        rejected: Rejected,
    },
    /// The watch did not want to go on.
    #[error("interrupted")]
    Interrupted,
}

impl Parts {
    /// Finds the channels, reading their names only.
    pub fn survey(&self, watch: &mut Watch<'_>) -> Result<Survey, PartError> {
        let mut surveyor = Surveyor {
            shard: self.shard,
            survey: Survey::default(),
        };
        let mut place = 0;
        for path in &self.paths {
            let table = self.open(path)?;
            let groups = match &table.plan.cells {
                Cells::Wide(channels) => surveyor.wide(&table, channels, place),
                Cells::Long { channel, .. } => surveyor
                    .long(&table, channel, place, watch)
                    .map_err(|rejected| blame(path, rejected))?
                    .ok_or(PartError::Interrupted)?,
            };
            surveyor.survey.parts.push(groups);
            place += table.rows();
        }
        Ok(surveyor.survey)
    }

    /// Reads the rows of some channels, by their numbers in the survey. Rows that are of no channel are counted with
    /// the first of them.
    pub fn read(
        &self,
        survey: &Survey,
        channels: Range<usize>,
        gather: &mut impl Gather,
        watch: &mut Watch<'_>,
    ) -> Result<RowAccount, PartError> {
        let mut account = RowAccount::default();
        let mut pass = Pass {
            shard: self.shard,
            survey,
            channels,
            gather,
        };
        for (path, groups) in self.paths.iter().zip(&survey.parts) {
            if groups.iter().any(|group| pass.reads(group)) {
                account += &self.read_part(path, groups, &mut pass, watch)?;
            }
        }
        Ok(account)
    }

    fn read_part<G: Gather>(
        &self,
        path: &Path,
        groups: &[GroupExtent],
        pass: &mut Pass<'_, G>,
        watch: &mut Watch<'_>,
    ) -> Result<RowAccount, PartError> {
        let mut table = self.open(path)?;
        if groups.len() != table.groups() {
            return Err(blame(path, changed()));
        }
        table.plan = table.plan.only(|name| pass.wants(name));
        let wanted: Vec<usize> = (0..groups.len()).filter(|group| pass.reads(&groups[*group])).collect();
        let mut rows = Rows::new(&table.plan, Timestamp(i64::MAX), pass);
        for group in wanted {
            let read = table.read(group, &table.plan.roots, |batch| {
                rows.take(batch)?;
                Ok(watch(batch.num_rows() as u64))
            });
            if read.map_err(|rejected| blame(path, rejected))?.is_break() {
                return Err(PartError::Interrupted);
            }
        }
        rows.check_times(&self.columns.time)
            .map_err(|rejected| blame(path, rejected))?;
        Ok(rows.finish())
    }

    fn open(&self, path: &Path) -> Result<Table, PartError> {
        let file = whole_file(path)?;
        Table::open(file, &self.columns).map_err(|rejected| blame(path, rejected))
    }
}

/// Opens a file that has a whole footer.
pub(crate) fn whole_file(path: &Path) -> Result<File, PartError> {
    let unopened = |source| PartError::Open {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unopened)?;
    let bytes = file.metadata().map_err(unopened)?.len();
    match Shape::of(&file, bytes).map_err(unopened)?.verdict() {
        Some(rejected) => Err(blame(path, rejected)),
        None => Ok(file),
    }
}

impl Survey {
    /// In the order in which they first appear; a channel's number is its position here.
    pub fn channels(&self) -> &[ChannelExtent] {
        &self.channels
    }

    /// Rows that a reading of these channels goes through.
    pub fn rows_read(&self, channels: &Range<usize>) -> u64 {
        let groups = self.parts.iter().flatten();
        groups
            .filter(|group| group.meets(channels))
            .map(|group| group.rows)
            .sum()
    }
}

impl ChannelExtent {
    /// What it takes to hold all its cells, in bytes.
    pub fn bytes(&self) -> u64 {
        self.cells.saturating_mul(CELL).saturating_add(self.reader)
    }
}

impl GroupExtent {
    fn meets(&self, channels: &Range<usize>) -> bool {
        let overlap = self
            .channels
            .is_some_and(|(least, greatest)| least < channels.end && greatest >= channels.start);
        overlap || (self.refused && channels.start == 0)
    }

    fn add(&mut self, channel: usize) {
        let (least, greatest) = self.channels.unwrap_or((channel, channel));
        self.channels = Some((least.min(channel), greatest.max(channel)));
    }
}

/// Whoever finds the channels.
struct Surveyor {
    shard: Option<Shard>,
    survey: Survey,
}

impl Surveyor {
    /// Every channel of a wide file stands in all its rows.
    fn wide(&mut self, table: &Table, channels: &[(usize, String)], place: u64) -> Vec<GroupExtent> {
        let mut whole = GroupExtent::default();
        for (_, name) in channels {
            match Place::of(name, self) {
                Place::Channel(channel) => {
                    self.count(channel, place..place + table.rows());
                    self.survey.channels[channel].reader = PAGES.min(table.rows().saturating_mul(CELL));
                    whole.add(channel);
                }
                Place::Refused => whole.refused = true,
                Place::Elsewhere => {}
            }
        }
        let group = |group| GroupExtent {
            rows: table.group_rows(group),
            ..whole.clone()
        };
        (0..table.groups()).map(group).collect()
    }

    /// `None` if the watch did not want to go on.
    fn long(
        &mut self,
        table: &Table,
        columns: &[usize],
        mut place: u64,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Vec<GroupExtent>>, Rejected> {
        let roots: Vec<usize> = columns.iter().map(|column| table.plan.roots[*column]).collect();
        let mut sorted = roots.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let columns: Vec<usize> = roots
            .iter()
            .map(|root| sorted.partition_point(|other| other < root))
            .collect();
        let mut names = Names::default();
        let mut groups = Vec::with_capacity(table.groups());
        for number in 0..table.groups() {
            let mut group = GroupExtent {
                rows: table.group_rows(number),
                ..GroupExtent::default()
            };
            let read = table.read(number, &sorted, |batch| {
                for run in names.runs(batch, &columns, self)? {
                    match run.place {
                        Place::Channel(channel) => {
                            self.count(channel, place + run.rows.start as u64..place + run.rows.end as u64);
                            group.add(channel);
                        }
                        Place::Refused => group.refused = true,
                        Place::Elsewhere => {}
                    }
                }
                place += batch.num_rows() as u64;
                Ok(watch(batch.num_rows() as u64))
            });
            if read?.is_break() {
                return Ok(None);
            }
            groups.push(group);
        }
        Ok(Some(groups))
    }

    fn count(&mut self, channel: usize, places: Range<u64>) {
        let extent = &mut self.survey.channels[channel];
        if extent.cells == 0 {
            extent.first = places.start;
        }
        extent.cells += places.end - places.start;
        extent.last = places.end.saturating_sub(1);
    }
}

impl Channels for Surveyor {
    fn channel(&mut self, name: &str) -> Option<usize> {
        if let Some(number) = self.survey.numbers.get(name) {
            return Some(*number);
        }
        if self.shard.is_some_and(|shard| !shard.holds(name)) {
            return None;
        }
        let name = ChannelName::from(name);
        self.survey.channels.push(ChannelExtent {
            name: ChannelName::clone(&name),
            cells: 0,
            first: 0,
            last: 0,
            reader: 0,
        });
        self.survey.numbers.insert(name, self.survey.channels.len() - 1);
        Some(self.survey.channels.len() - 1)
    }

    fn refuses(&mut self, name: &str) -> bool {
        self.shard.is_none_or(|shard| shard.holds(name))
    }
}

/// One reading of the files.
struct Pass<'a, G> {
    shard: Option<Shard>,
    survey: &'a Survey,
    channels: Range<usize>,
    gather: &'a mut G,
}

impl<G> Pass<'_, G> {
    fn reads(&self, group: &GroupExtent) -> bool {
        group.meets(&self.channels)
    }

    /// Whether a column of this name is read at all.
    fn wants(&self, name: &str) -> bool {
        match self.survey.numbers.get(name) {
            Some(number) => self.channels.contains(number),
            None => self.channels.start == 0 && self.shard.is_none_or(|shard| shard.holds(name)),
        }
    }
}

impl<G> Channels for Pass<'_, G> {
    fn channel(&mut self, name: &str) -> Option<usize> {
        let number = self.survey.numbers.get(name)?;
        self.channels.contains(number).then_some(*number)
    }

    fn refuses(&mut self, name: &str) -> bool {
        self.wants(name)
    }
}

impl<G: Gather> RowSink for Pass<'_, G> {
    fn take(&mut self, channel: usize, cells: usize, times: &[Timestamp], values: &[f64]) {
        self.gather.take(channel, cells, times, values);
    }
}

/// A verdict with its file.
pub(crate) fn blame(path: &Path, rejected: Rejected) -> PartError {
    PartError::Rejected {
        path: path.to_owned(),
        rejected,
    }
}

/// What a survey said of a file is no longer so.
fn changed() -> Rejected {
    Rejected::new(RejectReason::Corrupt, "the file was changed while it was read")
}
