//! The proof that nothing was lost and nothing counted twice: the whole state, read and added up afresh.
//!
//! Reads only, and may run beside a live daemon: the books are taken from one consistent view of the ledger, and a
//! segment that a merge removed meanwhile is not missed.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use forecastd_models::Timestamp;
use serde::Serialize;

use super::error::StateError;
use super::ledger::{Dataset, Ledger};
use super::segments::{self, Row, Segment};
use super::{recovery, registry};
use crate::message::content_key::ContentKey;
use crate::message::drop_totals::DropTotals;
use crate::message::model::{ModelState, ModelVersion};

/// What `fsck` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FsckReport {
    /// Every dataset that the state knows, in the configuration or not.
    pub datasets: Vec<DatasetReport>,
    /// Every model that the state knows, in the configuration or not.
    pub models: Vec<ModelReport>,
    /// Files in the segment folders, and folders of models, that no commit names: what a crash left, or what a live
    /// daemon is writing.
    pub orphans: Vec<PathBuf>,
    /// Everything that is not as it must be, one sentence each.
    pub problems: Vec<String>,
}

/// A dataset's books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetReport {
    /// Its name.
    pub dataset: String,
    /// Sums over its ledger.
    #[serde(flatten)]
    pub totals: DropTotals,
    /// Live segments.
    pub segments: usize,
    /// Rows in them.
    pub segment_rows: u64,
    /// Their size.
    pub segment_bytes: u64,
    /// The newest committed row, in nanoseconds since the epoch.
    pub newest: Option<Timestamp>,
}

/// A model's versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelReport {
    /// Its name.
    pub model: String,
    /// The version that is active, if one is.
    pub active: Option<ContentKey>,
    /// Versions that have their files.
    pub versions: usize,
    /// Their size. A file that several versions share counts for each.
    pub bytes: u64,
}

/// Checks a state folder. An error means that it could not be checked; what is wrong with it stands in the report.
pub fn fsck(state_dir: &Path) -> Result<FsckReport, StateError> {
    let ledger = Ledger::open_read_only(&state_dir.join("ledger.sqlite"))?;
    let mut report = FsckReport::default();
    let datasets = ledger.view(|ledger| {
        report.problems = ledger.integrity()?;
        report.problems.extend(ledger.crooked_model_versions()?);
        let mut with_segments = Vec::new();
        for (name, dataset) in ledger.datasets()? {
            let live = ledger.segments(dataset.id)?;
            report.check_books(ledger, &name, &dataset, &live)?;
            with_segments.push((state_dir.join("segments").join(&*name), dataset.id, live));
        }
        Ok(with_segments)
    })?;
    for (folder, id, live) in &datasets {
        for segment in live {
            if let Err(error) = check_segment(folder, segment)
                && ledger.segments(*id)?.contains(segment)
            {
                report.problems.push(error.to_string());
            }
        }
    }
    let folders = registry::folders(state_dir);
    let unknown_models = registry::orphans(&folders, &HashSet::new())?;
    let live_models = report.check_models(&ledger, &folders)?;
    report.orphans = unknown_models
        .into_iter()
        .filter(|path| !live_models.contains(path) && path.exists())
        .collect();
    // The folders are listed before the ledger is asked again: what was committed in between is no orphan.
    let unknown = recovery::orphans(&state_dir.join("segments"), &HashSet::new())?;
    let mut live = HashSet::new();
    for (folder, id, _) in &datasets {
        live.extend(
            ledger
                .segments(*id)?
                .into_iter()
                .map(|segment| folder.join(segment.file)),
        );
    }
    let unknown = unknown.into_iter();
    report
        .orphans
        .extend(unknown.filter(|path| !live.contains(path) && path.exists()));
    Ok(report)
}

impl FsckReport {
    /// Whether everything is as it must be. An orphan is no problem: the next start removes it.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Holds the files of every version against its name; says where they lie.
    fn check_models(&mut self, ledger: &Ledger, folders: &Path) -> Result<HashSet<PathBuf>, StateError> {
        let live = |ledger: &Ledger| -> Result<Vec<ModelVersion>, StateError> {
            let versions = ledger.model_versions(folders)?.into_iter();
            Ok(versions
                .filter(|version| version.state != ModelState::Removed)
                .collect())
        };
        let mut models = BTreeMap::<String, ModelReport>::new();
        let mut checked = HashSet::new();
        let versions = live(ledger)?;
        for version in &versions {
            let model = models.entry(version.model.to_string()).or_default();
            model.model = version.model.to_string();
            model.versions += 1;
            model.bytes += version.facts.bytes;
            if version.state == ModelState::Active {
                model.active = Some(version.version);
            }
            // Two models may share a version's files.
            if checked.insert(version.version)
                && let Err(error) = registry::verify(&version.folder, &version.version)
                && ledger.has_model_files(&version.version)?
            {
                self.problems.push(format!("model {}: {error}", version.model));
            }
        }
        self.models = models.into_values().collect();
        // Asked again: what was imported meanwhile is no orphan.
        Ok(live(ledger)?.into_iter().map(|version| version.folder).collect())
    }

    fn check_books(
        &mut self,
        ledger: &Ledger,
        name: &str,
        dataset: &Dataset,
        live: &[Segment],
    ) -> Result<(), StateError> {
        let mut wrong = |detail: String| self.problems.push(format!("dataset {name}: {detail}"));
        ledger.unbalanced_drops(dataset.id)?.into_iter().for_each(&mut wrong);

        let totals = ledger.totals()?.remove(name).unwrap_or_default();
        let recount = DropTotals {
            rows_superseded: totals.rows_superseded,
            rows_retired: totals.rows_retired,
            ..ledger.recount(dataset.id)?
        };
        if totals != recount {
            wrong(format!("the totals say {totals:?}, the drops add up to {recount:?}"));
        }
        let segment_rows = live.iter().map(|segment| segment.rows).sum();
        let accounted = segment_rows + totals.rows_superseded + totals.rows_retired;
        if recount.rows.committed != accounted {
            wrong(format!(
                "{} rows committed, but {segment_rows} in segments + {} superseded + {} retired = {accounted}",
                recount.rows.committed, totals.rows_superseded, totals.rows_retired
            ));
        }
        let newest = live.iter().map(|segment| segment.newest).max();
        if newest > dataset.newest {
            wrong(format!(
                "a segment reaches {newest:?}, the newest row is said to be {:?}",
                dataset.newest
            ));
        }
        self.datasets.push(DatasetReport {
            dataset: name.to_owned(),
            totals,
            segments: live.len(),
            segment_rows,
            segment_bytes: live.iter().map(|segment| segment.bytes).sum(),
            newest: dataset.newest,
        });
        Ok(())
    }
}

impl fmt::Display for FsckReport {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for dataset in &self.datasets {
            writeln!(f, "{dataset}")?;
        }
        for model in &self.models {
            writeln!(f, "{model}")?;
        }
        for path in &self.orphans {
            writeln!(f, "orphan, removed by the next start: {}", path.display())?;
        }
        for problem in &self.problems {
            writeln!(f, "PROBLEM: {problem}")?;
        }
        match self.problems.len() {
            0 => write!(f, "clean: every row that was seen is accounted for"),
            1 => write!(f, "1 problem"),
            n => write!(f, "{n} problems"),
        }
    }
}

impl fmt::Display for ModelReport {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let active = self
            .active
            .map_or("none active".to_owned(), |active| format!("{} active", active.short()));
        let (model, versions, bytes) = (&self.model, self.versions, self.bytes);
        write!(f, "model {model}\n  {versions} versions ({bytes} bytes), {active}")
    }
}

impl fmt::Display for DatasetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DropTotals {
            drops_committed,
            drops_duplicate,
            drops_rejected,
            rows,
            rows_superseded,
            rows_retired,
        } = &self.totals;
        let rejected: u64 = drops_rejected.values().sum();
        writeln!(f, "{}", self.dataset)?;
        writeln!(
            f,
            "  drops: {drops_committed} committed, {drops_duplicate} duplicate, {rejected} rejected"
        )?;
        writeln!(
            f,
            "  rows:  {} seen = {} committed + {} duplicate + {} rejected; {} empty cells",
            rows.seen,
            rows.committed,
            rows.duplicate,
            rows.rejected_total(),
            rows.missing
        )?;
        write!(
            f,
            "  kept:  {} committed = {} in {} segments ({} bytes) + {rows_superseded} superseded + {rows_retired} retired",
            rows.committed, self.segment_rows, self.segments, self.segment_bytes
        )
    }
}

/// Holds a segment against its hash, its manifest entry, and the order that it promises.
fn check_segment(folder: &Path, segment: &Segment) -> Result<(), StateError> {
    let path = folder.join(&segment.file);
    let mut rows = 0;
    let mut previous: Option<Row> = None;
    let mut times: Option<(Timestamp, Timestamp)> = None;
    for row in segments::open_verified(folder, segment)? {
        let row = row?;
        if previous
            .as_ref()
            .is_some_and(|previous| (&previous.channel, previous.time) >= (&row.channel, row.time))
        {
            let detail = format!("channel {:?} at {}: twice, or out of order", row.channel, row.time);
            return Err(StateError::damaged(&path, detail));
        }
        rows += 1;
        times = Some(times.map_or((row.time, row.time), |(min, max)| {
            (min.min(row.time), max.max(row.time))
        }));
        previous = Some(row);
    }
    if rows != segment.rows || times != Some((segment.oldest, segment.newest)) {
        let detail = format!("{rows} rows within {times:?}, the manifest says {segment:?}");
        return Err(StateError::damaged(&path, detail));
    }
    Ok(())
}
