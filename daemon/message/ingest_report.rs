//! What became of a landed file.

use crate::message::account::RowAccount;
use crate::message::landed_file::LandedFile;
use crate::message::rejected::Rejected;
use crate::message::sample::SampleEntry;
use crate::message::series_drop::SeriesDrop;

/// A landed file and what became of it.
#[derive(Clone, Debug)]
pub struct IngestReport {
    /// The file.
    pub file: LandedFile,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a landed file.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Its rows are durable.
    Committed {
        /// Where they went.
        account: RowAccount,
        /// The rows that are new to the history, or change it.
        fresh: SeriesDrop,
    },
    /// Its samples are durable.
    Sampled {
        /// Where its rows went.
        account: RowAccount,
        /// The samples that are new, or that count otherwise than before.
        fresh: Vec<SampleEntry>,
    },
    /// A file of this content was committed before: no row was added.
    Duplicate {
        /// All its rows, as duplicates.
        account: RowAccount,
    },
    /// This very file was dealt with before a restart; only its post-action was still owed.
    Finished,
    /// It is in quarantine, with the verdict beside it.
    Rejected(Rejected),
    /// It changed or went away before it could be claimed: the next listing tells.
    Withdrawn,
    /// The machine is at fault, not the file: try again later. Intake holds until then.
    Deferred {
        /// What failed.
        error: String,
    },
}
