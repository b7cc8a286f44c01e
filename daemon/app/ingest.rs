//! The way of one landed file: claim, look up, decode, commit, and only then the post-action.
//!
//! Runs on the one ingest thread, which owns the store. Every crash point between two steps means "do it again"
//! or "it was done": the ledger is asked first, and the drop leaves its folder last.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{AfterIngest, Dataset, DatasetName, SampleDataset};
use forecastd_models::Timestamp;
use tracing::{info, warn};

use crate::intake::claim::{ClaimError, Claimed, claim};
use crate::intake::decoder::{DecodeError, Decoder};
use crate::intake::finish::finish;
use crate::intake::quarantine::quarantine;
use crate::message::account::RowAccount;
use crate::message::content_key::ContentKey;
use crate::message::drop_totals::DropTotals;
use crate::message::fit_job::Epoch;
use crate::message::ingest_report::{IngestReport, Outcome};
use crate::message::landed_file::LandedFile;
use crate::message::prediction::Predictions;
use crate::message::rejected::Rejected;
use crate::message::sample::ComparedMasks;
use crate::message::series_drop::SeriesDrop;
use crate::planner::{Event, ModelJob};
use crate::state::{CommitRules, DropMeta, Lookup, StateError, Store};

/// How far ahead of the clock a sample may have been taken: as far as a row of series, unless told otherwise.
const MAX_FUTURE_OF_SAMPLES: Duration = Duration::from_secs(86_400);

/// Work for the ingest thread.
#[derive(Debug)]
pub(super) enum IngestJob {
    /// Read a dataset's durable rows back.
    Recover(DatasetName, Epoch),
    /// Deal with a landed file, under the configuration of its dataset, keeping what is within this reach of a fit,
    /// at this time.
    Ingest(LandedFile, Arc<Dataset>, Duration, Timestamp),
    /// Tell what is known of a dataset's durable samples.
    RecoverSamples(DatasetName, Epoch),
    /// Deal with a landed file of samples, at this time.
    IngestSamples(LandedFile, Arc<SampleDataset>, Timestamp),
    /// Keep what was said of samples.
    KeepPredictions(DatasetName, Epoch, Arc<Predictions>),
    /// Do something about models, at this time.
    Models(ModelJob, Timestamp),
}

/// What the ingest thread has to say.
#[derive(Debug)]
pub(super) enum Told {
    /// To the planner.
    Event(Event),
    /// What the ledger has of a dataset, before its rows are read back.
    Totals(DatasetName, DropTotals),
    /// A segment of a dataset is not what was written.
    Damaged(DatasetName, StateError),
}

/// The ingest thread's state: the one writer of the store.
#[derive(Debug)]
pub(super) struct Ingest {
    pub(super) store: Store,
    decoder: Decoder,
    pub(super) spool: PathBuf,
}

impl Ingest {
    pub(super) fn new(store: Store, decoder: Decoder) -> Self {
        let spool = store.spool();
        Self { store, decoder, spool }
    }

    /// Does a job and tells what came of it.
    ///
    /// # Errors
    /// Only where going on would risk data: the process must stop and recover from disk.
    pub(super) fn work(&mut self, job: IngestJob, tell: &mut dyn FnMut(Told)) -> Result<(), StateError> {
        match job {
            IngestJob::Recover(dataset, epoch) => self.recover(&dataset, epoch, tell),
            IngestJob::Ingest(file, dataset, reach, now) => {
                let retention = dataset.history.retention.max(reach);
                let commit = |this: &mut Self, claimed, meta: &DropMeta| {
                    this.commit_series(&file, &dataset, retention, claimed, meta)
                };
                let outcome = self.ingest(&file, &Home::of_series(&dataset), now, commit)?;
                if matches!(outcome, Outcome::Committed { .. }) {
                    self.maintain(&dataset, retention)?;
                }
                tell(Told::Event(Event::Ingested(IngestReport { file, outcome })));
                Ok(())
            }
            IngestJob::RecoverSamples(dataset, epoch) => self.recover_samples(&dataset, epoch, tell),
            IngestJob::IngestSamples(file, dataset, now) => {
                let commit =
                    |this: &mut Self, claimed, meta: &DropMeta| this.commit_samples(&file, &dataset, claimed, meta);
                let outcome = self.ingest(&file, &Home::of_samples(&dataset), now, commit)?;
                tell(Told::Event(Event::Ingested(IngestReport { file, outcome })));
                Ok(())
            }
            IngestJob::KeepPredictions(dataset, epoch, predictions) => {
                let kept = self.keep_predictions(&dataset, &predictions)?;
                tell(Told::Event(Event::PredictionsKept(dataset, epoch, kept)));
                Ok(())
            }
            IngestJob::Models(job, now) => {
                let report = self.models(job, now)?;
                tell(Told::Event(Event::Models(report)));
                Ok(())
            }
        }
    }

    fn recover(&self, dataset: &DatasetName, epoch: Epoch, tell: &mut dyn FnMut(Told)) -> Result<(), StateError> {
        let totals = self.store.totals()?.remove(dataset).unwrap_or_default();
        tell(Told::Totals(DatasetName::clone(dataset), totals));
        for rows in self.store.recover(dataset)? {
            match rows {
                Ok(rows) => tell(Told::Event(Event::Recovered(DatasetName::clone(dataset), epoch, rows))),
                // The rest of the history still serves; `forecastd fsck` names the damage.
                Err(error @ StateError::Damaged { .. }) => {
                    tracing::error!(%dataset, %error, "a segment cannot be read back");
                    tell(Told::Damaged(DatasetName::clone(dataset), error));
                }
                // What could be read another time must not be missing until then.
                Err(error) => return Err(error),
            }
        }
        tell(Told::Event(Event::RecoveryFinished(DatasetName::clone(dataset), epoch)));
        Ok(())
    }

    fn recover_samples(
        &self,
        dataset: &DatasetName,
        epoch: Epoch,
        tell: &mut dyn FnMut(Told),
    ) -> Result<(), StateError> {
        let totals = self.store.totals()?.remove(dataset).unwrap_or_default();
        tell(Told::Totals(DatasetName::clone(dataset), totals));
        let recovered = self.store.recover_samples(dataset)?;
        let predictions = self.store.recover_predictions(dataset)?;
        for error in recovered.damaged {
            tracing::error!(%dataset, %error, "the samples of a segment are missing");
            tell(Told::Damaged(DatasetName::clone(dataset), error));
        }
        let name = || DatasetName::clone(dataset);
        tell(Told::Event(Event::SamplesRecovered(name(), epoch, recovered.entries)));
        tell(Told::Event(Event::PredictionsRecovered(name(), epoch, predictions)));
        tell(Told::Event(Event::RecoveryFinished(name(), epoch)));
        Ok(())
    }

    /// The inner error says why it is to be tried again.
    fn keep_predictions(
        &mut self,
        dataset: &DatasetName,
        predictions: &Predictions,
    ) -> Result<Result<ComparedMasks, String>, StateError> {
        match self.store.keep_predictions(dataset, predictions) {
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                warn!(%dataset, %error, "predictions are not kept for now");
                Ok(Err(error.to_string()))
            }
            Ok(compared) => Ok(Ok(compared)),
        }
    }

    /// Deals with a file. `commit` decodes and commits the private copy of one that is new.
    fn ingest(
        &mut self,
        file: &LandedFile,
        home: &Home<'_>,
        now: Timestamp,
        commit: impl FnOnce(&mut Self, Claimed, &DropMeta) -> Result<Decided, Fault>,
    ) -> Result<Outcome, StateError> {
        match self.try_ingest(file, home, now, commit) {
            Ok(outcome) => Ok(outcome),
            Err(Fault::Fatal(error)) => Err(error),
            Err(Fault::Machine(error)) => {
                warn!(dataset = %home.name, file = ?file.path, %error, "drop deferred");
                Ok(Outcome::Deferred { error })
            }
        }
    }

    fn try_ingest(
        &mut self,
        file: &LandedFile,
        home: &Home<'_>,
        now: Timestamp,
        commit: impl FnOnce(&mut Self, Claimed, &DropMeta) -> Result<Decided, Fault>,
    ) -> Result<Outcome, Fault> {
        let claimed = match claim(file, &self.spool, home.file_bytes) {
            Ok(claimed) => claimed,
            Err(ClaimError::Withdrawn) => return Ok(Outcome::Withdrawn),
            Err(ClaimError::Rejected(verdict)) => return self.reject(file, home, now, None, verdict),
            Err(error @ ClaimError::Io { .. }) => return Err(Fault::Machine(error.to_string())),
        };
        let meta = meta(file, claimed.key, claimed.bytes, now);
        let lookup = match home.is_of_samples {
            true => Store::lookup_samples,
            false => Store::lookup,
        };
        match lookup(&self.store, &meta.dataset, &meta.key, &meta.fingerprint, &meta.path)? {
            Lookup::New => match commit(self, claimed, &meta)? {
                Decided::Committed(outcome) => {
                    post_action(file, home.after);
                    Ok(outcome)
                }
                Decided::Rejected(verdict) => self.reject(file, home, now, Some(meta.key), verdict),
            },
            Lookup::Finished => {
                post_action(file, home.after);
                Ok(Outcome::Finished)
            }
            Lookup::CommittedBefore { drop, account } => {
                self.store.record_duplicate(&meta, drop, &account)?;
                post_action(file, home.after);
                info!(dataset = %home.name, file = ?file.path, "drop holds what was committed before");
                Ok(Outcome::Duplicate { account })
            }
        }
    }

    fn commit_series(
        &mut self,
        file: &LandedFile,
        dataset: &Dataset,
        retention: Duration,
        claimed: Claimed,
        meta: &DropMeta,
    ) -> Result<Decided, Fault> {
        let latest = meta.received.after(dataset.history.max_future);
        let decoded = self
            .decoder
            .decode(claimed.file, &dataset.columns, &dataset.limits, latest);
        let decoded = match decided(file, decoded)? {
            Ok(decoded) => decoded,
            Err(verdict) => return Ok(Decided::Rejected(verdict)),
        };
        let (rows, duplicates) = SeriesDrop::from_rows(decoded.rows);
        let mut account = decoded.account;
        account.duplicate += duplicates;
        let rules = CommitRules {
            retention,
            max_channels: dataset.limits.channels,
        };
        let committed = self.store.commit(meta, rows, account, &rules)?;
        told_committed(file, &committed.account, &[]);
        Ok(Decided::Committed(Outcome::Committed {
            account: committed.account,
            fresh: committed.fresh,
        }))
    }

    fn commit_samples(
        &mut self,
        file: &LandedFile,
        dataset: &SampleDataset,
        claimed: Claimed,
        meta: &DropMeta,
    ) -> Result<Decided, Fault> {
        let latest = meta.received.after(MAX_FUTURE_OF_SAMPLES);
        let decoded = self
            .decoder
            .decode_samples(claimed.file, &dataset.form, &dataset.limits, latest, &self.spool);
        let mut decoded = match decided(file, decoded)? {
            Ok(decoded) => decoded,
            Err(verdict) => return Ok(Decided::Rejected(verdict)),
        };
        let committed = self.store.commit_samples(meta, &mut decoded.samples, decoded.account)?;
        told_committed(file, &committed.account, &decoded.told);
        Ok(Decided::Committed(Outcome::Sampled {
            account: committed.account,
            fresh: committed.fresh,
        }))
    }

    fn reject(
        &mut self,
        file: &LandedFile,
        home: &Home<'_>,
        now: Timestamp,
        key: Option<ContentKey>,
        verdict: Rejected,
    ) -> Result<Outcome, Fault> {
        let first_time = self
            .store
            .record_rejection(&meta(file, key, file.fingerprint.size, now), &verdict)?;
        match quarantine(file, key, &verdict, home.quarantine, now) {
            Ok(place) => told_rejected(file, &verdict, &place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Withdrawn),
            // It is in the ledger with its reason. One bad file that cannot be moved must not hold up the good ones.
            Err(error) => {
                told_rejected(file, &verdict, &file.path);
                warn!(dataset = %home.name, file = ?file.path, %error, "the bad file stays where it is");
            }
        }
        // After a crash between ledger and quarantine this file has been counted before.
        Ok(if first_time {
            Outcome::Rejected(verdict)
        } else {
            Outcome::Finished
        })
    }

    /// Rows are durable by now: a merge that cannot be written is put off, not an error of the drop.
    fn maintain(&mut self, dataset: &Dataset, retention: Duration) -> Result<(), StateError> {
        match self.store.maintain(&dataset.name, retention) {
            Ok(_) => Ok(()),
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                warn!(dataset = %dataset.name, %error, "segments are not merged for now");
                Ok(())
            }
        }
    }
}

/// What an ingest needs of a dataset, whatever its kind.
struct Home<'a> {
    name: &'a DatasetName,
    quarantine: &'a Path,
    after: &'a AfterIngest,
    file_bytes: u64,
    is_of_samples: bool,
}

impl<'a> Home<'a> {
    fn of_series(dataset: &'a Dataset) -> Self {
        Self {
            is_of_samples: false,
            name: &dataset.name,
            quarantine: &dataset.quarantine,
            after: &dataset.after,
            file_bytes: dataset.limits.file_bytes,
        }
    }

    fn of_samples(dataset: &'a SampleDataset) -> Self {
        Self {
            is_of_samples: true,
            name: &dataset.name,
            quarantine: &dataset.quarantine,
            after: &dataset.after,
            file_bytes: dataset.limits.file_bytes,
        }
    }
}

/// What became of a new file's content.
enum Decided {
    Committed(Outcome),
    Rejected(Rejected),
}

/// A verdict on a file is an answer; a fault of the machine is none.
fn decided<T>(file: &LandedFile, decoded: Result<T, DecodeError>) -> Result<Result<T, Rejected>, Fault> {
    match decoded {
        Ok(decoded) => Ok(Ok(decoded)),
        Err(DecodeError::Rejected(verdict)) => Ok(Err(verdict)),
        Err(DecodeError::Io(error)) => Err(Fault::Machine(format!("{}: {error}", file.path.display()))),
    }
}

/// Why a file could not be dealt with, when it is not the file's fault.
pub(super) enum Fault {
    /// Later may be better.
    Machine(String),
    /// Nothing may go on.
    Fatal(StateError),
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        if error.is_fatal() {
            Self::Fatal(error)
        } else {
            Self::Machine(error.to_string())
        }
    }
}

fn told_committed(file: &LandedFile, account: &RowAccount, told: &[String]) {
    if account.rejected_total() > 0 {
        warn!(dataset = %file.dataset, file = ?file.path, refused = ?account.rejected, first = ?told, "rows were refused");
    }
    info!(
        dataset = %file.dataset, file = ?file.path, rows = account.seen,
        committed = account.committed, duplicate = account.duplicate, rejected = account.rejected_total(),
        "drop committed"
    );
}

fn told_rejected(file: &LandedFile, verdict: &Rejected, place: &Path) {
    warn!(
        dataset = %file.dataset, file = ?file.path, reason = verdict.reason.label(),
        detail = %verdict.detail, place = %place.display(), "drop rejected"
    );
}

fn meta<K>(file: &LandedFile, key: K, bytes: u64, received: Timestamp) -> DropMeta<K> {
    DropMeta {
        dataset: DatasetName::clone(&file.dataset),
        key,
        fingerprint: file.fingerprint,
        path: file.path.clone(),
        bytes,
        received,
    }
}

/// The drop's rows are durable, so a drop that cannot be moved is a nuisance and no loss: it is told to the
/// operator, and done again after a restart.
fn post_action(file: &LandedFile, after: &AfterIngest) {
    if let Err(error) = finish(file, after) {
        warn!(dataset = %file.dataset, file = ?file.path, %error, "the drop stays where it is");
    }
}
