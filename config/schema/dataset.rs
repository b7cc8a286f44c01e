//! Which keys a dataset has, what they default to, and what holds between them.
//!
//! The two larger sections, `series` and `forecast`, have their own modules.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forecastd_models::FitSpec;

use super::{CENTURY, forecast, series};
use crate::error::Complaint;
use crate::field::{Field, Section};
use crate::folders::Claims;
use crate::yaml::Node;
use crate::{AfterIngest, Dataset, DatasetName, History, Landing, Limits};

/// Reads one dataset; what it takes, no other may take.
pub(super) fn dataset(field: &Field, base: &Path, state_dir: Option<&Path>, claims: &mut Claims) -> Option<Dataset> {
    field.section(|keys| {
        let name = keys.required("name", "a word for its metrics and files", |field| {
            claims.name(field, name(field)?)
        });
        let kind = keys.required("kind", "`series`", kind);
        let outgoing = default_outgoing(state_dir, name.as_deref());
        let folders = folders(keys, base, outgoing, claims);
        let landing = landing(&keys.field("landing"));
        let series = series::series(&keys.field("series"));
        let history = history(&keys.field("history"));
        let asked = forecast::asked(&keys.field("forecast"), history.map(|history| history.window));
        let limits = limits(&keys.field("limits"));
        kind?;
        let (folders, series, asked) = (folders?, series?, asked?);
        Some(Dataset {
            name: name?,
            incoming: folders.incoming,
            outgoing: folders.outgoing,
            quarantine: folders.quarantine,
            after: folders.after,
            landing: landing?,
            columns: series.columns,
            frequency: series.frequency,
            off_grid: series.off_grid,
            history: history?,
            fit: FitSpec {
                horizon: asked.horizon,
                levels: asked.levels,
                max_lookback: asked.max_lookback,
                gaps: series.gaps,
            },
            method: asked.method,
            steps: asked.steps,
            refit_interval: asked.refit_interval,
            max_age: asked.max_age,
            keep_files: asked.keep_files,
            limits: limits?,
        })
    })
}

/// The name is a label value, a key and a folder, so it takes what all three take.
pub(super) fn name(field: &Field) -> Option<DatasetName> {
    const LONGEST: usize = 64;
    let text = field.text()?;
    if text.len() > LONGEST {
        let message = format!("the name has {} bytes", text.len());
        return field.refuse(Complaint::new(message).hint(format!("at most {LONGEST}")));
    }
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    if !text.bytes().all(allowed) {
        let complaint = field.expected("a name");
        return field.refuse(complaint.hint("small letters a to z, digits, `_` and `-`"));
    }
    Some(text.into())
}

fn kind(field: &Field) -> Option<()> {
    match field.node() {
        Node::Text(word) if word == "tiles" || word == "sequences" => {
            let complaint = Complaint::new(format!("this version does not serve `{word}`"));
            field.refuse(complaint.hint("only `series`"))
        }
        _ => field.word(&[("series", ())]),
    }
}

struct Folders {
    incoming: PathBuf,
    outgoing: PathBuf,
    quarantine: PathBuf,
    after: AfterIngest,
}

fn folders(keys: &mut Section, base: &Path, outgoing: Option<PathBuf>, claims: &mut Claims) -> Option<Folders> {
    let incoming = keys.required("incoming", "the folder that drops land in", |field| {
        claims.incoming(field, field.file(base)?)
    });
    let within = |name| Some(incoming.as_ref()?.join(name));
    let outgoing = folder(keys, "outgoing", base, outgoing, claims);
    let quarantine = folder(keys, "quarantine", base, within("quarantine"), claims);
    let after = after(keys, base, within("done"), claims);
    Some(Folders {
        incoming: incoming?,
        outgoing: outgoing?,
        quarantine: quarantine?,
        after: after?,
    })
}

fn default_outgoing(state_dir: Option<&Path>, name: Option<&str>) -> Option<PathBuf> {
    Some(state_dir?.join("outgoing").join(name?))
}

/// A folder that has a default, unless the key that the default hangs on is wrong itself.
pub(super) fn folder(
    keys: &mut Section,
    key: &'static str,
    base: &Path,
    default: Option<PathBuf>,
    claims: &mut Claims,
) -> Option<PathBuf> {
    let field = keys.field(key);
    let folder = if field.is_null() { default } else { field.file(base) };
    claims.folder(&field, folder?)
}

fn after(keys: &mut Section, base: &Path, done: Option<PathBuf>, claims: &mut Claims) -> Option<AfterIngest> {
    let word = keys.or("after", Then::Move, |field| {
        field.word(&[("move", Then::Move), ("delete", Then::Delete), ("keep", Then::Keep)])
    });
    let stays = match word {
        Some(Then::Delete) => AfterIngest::Delete,
        Some(Then::Keep) => AfterIngest::Keep,
        Some(Then::Move) | None => {
            let done = folder(keys, "done", base, done, claims);
            return word.and(done).map(AfterIngest::Move);
        }
    };
    let done = keys.field("done");
    if done.is_null() {
        return Some(stays);
    }
    let complaint = Complaint::new("means nothing here: nothing is moved");
    done.refuse(complaint.hint("leave it out, or write `after: move`"))
}

#[derive(Clone, Copy)]
enum Then {
    Move,
    Delete,
    Keep,
}

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn landing(field: &Field) -> Option<Landing> {
    field.section(|keys| {
        let scan_interval = keys.or("scan_interval", Duration::from_secs(5), |field| {
            field.duration(Duration::from_millis(10)..=DAY)
        });
        let settle = keys.or("settle", Duration::from_secs(2), |field| {
            field.duration(Duration::ZERO..=DAY)
        });
        let patience = keys.or("patience", Duration::from_secs(60), |field| {
            field.duration(Duration::ZERO..=CENTURY)
        });
        let (settle, patience) = (settle?, patience?);
        if settle > patience {
            let complaint = Complaint::new("`settle` is longer than `patience`");
            return keys
                .field("patience")
                .refuse(complaint.hint("a file would be given up before it can be taken"));
        }
        Some(Landing {
            scan_interval: scan_interval?,
            settle,
            patience,
        })
    })
}

/// Ten years: monthly and daily rows are few, and a fit can use them all.
const RETENTION: Duration = Duration::from_secs(3650 * 86_400);

fn history(field: &Field) -> Option<History> {
    // In fewer points neither the number of differences nor an order can be told.
    const LEAST_WINDOW: usize = 16;
    field.section(|keys| {
        let window = keys.or("window", 8192, |field| field.whole(LEAST_WINDOW..=1 << 24));
        let retention = keys.or("retention", RETENTION, |field| {
            field.duration(Duration::from_secs(1)..=CENTURY)
        });
        let max_future = keys.or("max_future", DAY, |field| field.duration(Duration::ZERO..=CENTURY));
        let (retention, max_future) = (retention?, max_future?);
        if retention <= max_future {
            let complaint = Complaint::new("`retention` is not longer than `max_future`");
            return keys
                .field("retention")
                .refuse(complaint.hint("one row so far ahead of the clock would expire all others"));
        }
        Some(History {
            window: NonZeroUsize::new(window?)?,
            retention,
            max_future,
        })
    })
}

fn limits(field: &Field) -> Option<Limits> {
    const MIB: u64 = 1 << 20;
    const PIB: u64 = 1 << 50;
    // Below it a decoder cannot even start: the limit counts its own program as well.
    const LEAST_MEMORY: u64 = 64 * MIB;
    field.section(|keys| {
        let file_size = keys.or("file_size", 2048 * MIB, |field| field.size(1..=PIB));
        let file_values = keys.or("file_values", 100_000_000, |field| field.whole(1..=1_000_000_000_000));
        let channels = keys.or("channels", 100_000, |field| field.whole(1..=10_000_000));
        let decode_memory = keys.or("decode_memory", 2048 * MIB, |field| field.size(LEAST_MEMORY..=PIB));
        Some(Limits {
            file_bytes: file_size?,
            file_values: file_values? as u64,
            channels: channels?,
            decode_memory: decode_memory?,
        })
    })
}
