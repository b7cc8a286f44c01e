//! What survives a restart: a ledger of every file, the rows of all drops in immutable segments, and models.
//!
//! One [`Store`] writes; it has the state folder to itself. A drop's segment is flushed and renamed before the one
//! SQLite transaction that makes it count, so every point at which the process can die means "do it again" or "it
//! was done". The room knows nothing of incoming folders and of what becomes of a file after its commit, and keeps
//! no window of its own: [`Store::recover`] hands the rows to whoever needs them.
//!
//! ```text
//! state_dir/lock                                  held while a daemon runs
//! state_dir/ledger.sqlite                         what became of every file, which segments live, the sums
//! state_dir/segments/<dataset>/<seq>-<level>-<hash>.parquet
//! state_dir/segments/<dataset>/<seq>-<hash>.samples.parquet    of tiles and sequences; see `samples`
//! state_dir/models/<version>/                     files of models; see `registry`
//! state_dir/trainings/<id>/                       runs of trainings that are under way; see `trainings`
//! state_dir/spool/                                private copies of claimed files; emptied at a start
//! state_dir/requests/                             what somebody asks of the daemon; emptied at a start
//! ```
//!
//! The books: every ledger row has `seen = committed + duplicate + rejected`, and for each dataset the committed
//! rows of all drops are those in live segments, plus those superseded by a later row, plus those retired by age.

mod commit;
mod compaction;
mod durable;
mod error;
mod fsck;
mod ledger;
mod lock;
mod recovery;
mod registry;
mod samples;
mod segments;
#[cfg(test)]
mod tests;
mod trainings;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use forecastd_config::DatasetName;
use forecastd_models::Timestamp;

pub use compaction::Maintenance;
pub use error::StateError;
pub use fsck::{DatasetReport, FsckReport, fsck};
pub use recovery::Recovery;
pub use registry::{RegistryView, StagedModel};
pub use samples::{CommittedSamples, Exported, KeptSample, RecoveredSamples, SampleExport, SampleReader};
pub use trainings::run_folder;

use crate::message::account::{RowAccount, RowReason};
use crate::message::content_key::ContentKey;
use crate::message::drop_totals::DropTotals;
use crate::message::landed_file::Fingerprint;
use crate::message::rejected::Rejected;
use crate::message::series_drop::SeriesDrop;
use durable::Disk;
use ledger::{Dataset, Ending, Ledger};

/// The state folder's one writer.
#[derive(Debug)]
pub struct Store {
    state_dir: PathBuf,
    disk: Disk,
    ledger: Ledger,
    datasets: BTreeMap<DatasetName, Dataset>,
    cleaned: Vec<PathBuf>,
    /// Hashes of segments that were read back whole in this process: a probe need not hash them again.
    verified: RefCell<HashSet<[u8; 32]>>,
    /// Held until the store goes away.
    _lock: File,
}

/// A file as the ledger enters it. A refused file may have no key: it was never read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropMeta<K = ContentKey> {
    /// Whose folder it lay in.
    pub dataset: DatasetName,
    /// Its content.
    pub key: K,
    /// As it was when it was claimed.
    pub fingerprint: Fingerprint,
    /// Where it lay.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was claimed.
    pub received: Timestamp,
}

/// What the ledger knows of a file before it is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing, or that this content was rejected as a whole, or that rows of it were refused which may be welcome
    /// now: decode it. What the history has of it already are duplicates by the ordinary way.
    New,
    /// This very file was committed, or found a duplicate: only its post-action is owed.
    Finished,
    /// Another file brought the same content: nothing to decode.
    CommittedBefore {
        /// The ledger's number of that drop.
        drop: i64,
        /// What to book for this file: the rows that were committed then are duplicates now.
        account: RowAccount,
    },
}

/// What a dataset's configuration has to say about a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitRules {
    /// Rows older than this, behind the dataset's newest committed row, are refused.
    pub retention: Duration,
    /// Channels that the dataset may have.
    pub max_channels: usize,
}

/// A drop whose rows are durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The ledger's number of it.
    pub drop: i64,
    /// Where its rows went.
    pub account: RowAccount,
    /// The rows that are new to the history, or change it.
    pub fresh: SeriesDrop,
}

impl Store {
    /// Takes a state folder: makes what is missing, locks out a second daemon, brings the ledger up to date, and
    /// removes what a crash left behind.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        Self::open_on(state_dir, Disk::new())
    }

    fn open_on(state_dir: &Path, disk: Disk) -> Result<Self, StateError> {
        fs::create_dir_all(state_dir).map_err(StateError::io("make the folder", state_dir))?;
        let lock = lock::lock(&state_dir.join("lock"))?;
        let ledger_path = state_dir.join("ledger.sqlite");
        let segments = state_dir.join("segments");
        // A restore that broke off leaves an empty file.
        let no_ledger = fs::metadata(&ledger_path).map_or(true, |file| file.len() == 0);
        if no_ledger && recovery::holds_anything(state_dir)? {
            let path = state_dir.to_owned();
            return Err(StateError::LedgerMissing { path });
        }
        disk.make_folder(&segments)?;
        disk.make_folder(&state_dir.join("spool"))?;
        disk.make_folder(&requests_folder(state_dir))?;
        registry::make_folder(state_dir, &disk)?;
        disk.make_folder(&trainings::folders(state_dir))?;
        let ledger = Ledger::open(&ledger_path, disk.syncs())?;
        disk.flush_folder(state_dir)?;
        let mut store = Self {
            state_dir: state_dir.to_owned(),
            datasets: ledger.datasets()?,
            disk,
            ledger,
            cleaned: Vec::new(),
            verified: RefCell::default(),
            _lock: lock,
        };
        store.cleaned = store.clean()?;
        for path in &store.cleaned {
            tracing::warn!(path = %path.display(), "removed what no commit names: left by a crash, or not ours");
        }
        Ok(store)
    }

    /// What a crash had left behind and [`open`](Self::open) removed: segments and models without a commit, runs of
    /// trainings that are over, temporary files, spool copies, requests.
    pub fn cleaned(&self) -> &[PathBuf] {
        &self.cleaned
    }

    /// Where intake keeps its private copies.
    pub fn spool(&self) -> PathBuf {
        self.state_dir.join("spool")
    }

    /// What the ledger knows of a file.
    pub fn lookup(
        &self,
        dataset: &DatasetName,
        key: &ContentKey,
        fingerprint: &Fingerprint,
        path: &Path,
    ) -> Result<Lookup, StateError> {
        let Some(dataset) = self.datasets.get(dataset) else {
            return Ok(Lookup::New);
        };
        if self.ledger.is_finished(dataset.id, key, fingerprint, path)? {
            return Ok(Lookup::Finished);
        }
        let Some((drop, mut account)) = self.ledger.committed(dataset.id, key)? else {
            return Ok(Lookup::New);
        };
        if account.rejected.keys().any(|reason| may_change(*reason)) {
            return Ok(Lookup::New);
        }
        account.duplicate += std::mem::take(&mut account.committed);
        Ok(Lookup::CommittedBefore { drop, account })
    }

    /// What the ledger knows of a file of samples. What it holds is the configuration's to say: which column has the labels,
    /// above which grey a mask has its second class. Whoever has mended that brings the file again, so content that was
    /// committed under another name is decoded anew, and only rows that are there already are duplicates.
    pub fn lookup_samples(
        &self,
        dataset: &DatasetName,
        key: &ContentKey,
        fingerprint: &Fingerprint,
        path: &Path,
    ) -> Result<Lookup, StateError> {
        Ok(match self.lookup(dataset, key, fingerprint, path)? {
            Lookup::CommittedBefore { .. } => Lookup::New,
            found => found,
        })
    }

    /// Enters a file that brought the content of the drop `of` again; `account` is the one that
    /// [`lookup`](Self::lookup) gave.
    pub fn record_duplicate(&mut self, meta: &DropMeta, of: i64, account: &RowAccount) -> Result<(), StateError> {
        let dataset = self.enter_dataset(&meta.dataset)?;
        commit::check_books(&meta.path, account, 0)?;
        self.ledger
            .record(dataset, &meta.clone().keyed(), account, &Ending::Duplicate { of })?;
        Ok(())
    }

    /// Enters a refused file; says whether it is new to the ledger. The same file refused again for the same reason
    /// is not counted again: it only waits for its way into quarantine.
    pub fn record_rejection(
        &mut self,
        meta: &DropMeta<Option<ContentKey>>,
        rejected: &Rejected,
    ) -> Result<bool, StateError> {
        let dataset = self.enter_dataset(&meta.dataset)?;
        if self.ledger.is_rejected(dataset, meta, rejected.reason)? {
            return Ok(false);
        }
        let no_rows = RowAccount::default();
        self.ledger
            .record(dataset, meta, &no_rows, &Ending::Rejected(rejected))?;
        Ok(true)
    }

    /// Sums over all that was ever taken in, for each dataset that the state knows.
    pub fn totals(&self) -> Result<BTreeMap<DatasetName, DropTotals>, StateError> {
        self.ledger.totals()
    }

    /// The ledger's number of a dataset, which gets its entry and its folder with its first file.
    fn enter_dataset(&mut self, name: &DatasetName) -> Result<i64, StateError> {
        if let Some(dataset) = self.datasets.get(name) {
            return Ok(dataset.id);
        }
        self.disk.make_folder(&self.folder(name))?;
        let dataset = self.ledger.add_dataset(name)?;
        let id = dataset.id;
        self.datasets.insert(DatasetName::clone(name), dataset);
        Ok(id)
    }

    fn folder(&self, dataset: &str) -> PathBuf {
        self.state_dir.join("segments").join(dataset)
    }
}

/// Where what is asked of a running daemon lies until it is answered.
pub fn requests_folder(state_dir: &Path) -> PathBuf {
    state_dir.join("requests")
}

/// Whether a row that was refused for this reason may be welcome at another time, or under another configuration:
/// an operator who has mended either brings the file again. The other reasons lie in the file.
fn may_change(reason: RowReason) -> bool {
    match reason {
        RowReason::Future | RowReason::TooOld | RowReason::TooManyChannels => true,
        // Labels and their closed set are the configuration's, as is which column tells time or place.
        RowReason::BadLabel | RowReason::BadTime | RowReason::BadPlace => true,
        RowReason::NoTime
        | RowReason::BadChannel
        | RowReason::NotFinite
        | RowReason::NoId
        | RowReason::DuplicateId
        | RowReason::BadInput
        | RowReason::BadSplit => false,
    }
}

impl DropMeta {
    fn keyed(self) -> DropMeta<Option<ContentKey>> {
        DropMeta {
            dataset: self.dataset,
            key: Some(self.key),
            fingerprint: self.fingerprint,
            path: self.path,
            bytes: self.bytes,
            received: self.received,
        }
    }
}
