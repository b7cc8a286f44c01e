//! Which keys a dataset has, what they default to, and what holds between them.
//!
//! The larger sections, `series`, `samples` and `forecast`, have their own modules.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forecastd_models::FitSpec;

use super::samples::foreign;
use super::{CENTURY, forecast, samples, series};
use crate::error::Complaint;
use crate::field::{Field, Section};
use crate::folders::Claims;
use crate::{AfterIngest, Dataset, DatasetName, History, Landing, Limits, SampleDataset, SampleKind, SampleLimits};

/// A dataset of whatever kind.
pub(super) enum AnyDataset {
    Series(Box<Dataset>),
    Samples(Box<SampleDataset>),
}

/// Reads one dataset; what it takes, no other may take. One whose kind is wrong is read as series are.
pub(super) fn dataset(field: &Field, base: &Path, state_dir: Option<&Path>, claims: &mut Claims) -> Option<AnyDataset> {
    field.section(|keys| {
        let name = keys.required("name", "a word for its metrics and files", |field| {
            claims.name(field, name(field)?)
        });
        let kind = keys.required("kind", "`series`, `tiles` or `sequences`", kind);
        match kind {
            Some(Some(kind)) => {
                let dataset = sample_dataset(keys, name, kind, base, state_dir, claims)?;
                Some(AnyDataset::Samples(Box::new(dataset)))
            }
            _ => {
                let dataset = series_dataset(keys, name, base, state_dir, claims);
                kind?;
                Some(AnyDataset::Series(Box::new(dataset?)))
            }
        }
    })
}

fn series_dataset(
    keys: &mut Section,
    name: Option<DatasetName>,
    base: &Path,
    state_dir: Option<&Path>,
    claims: &mut Claims,
) -> Option<Dataset> {
    let outgoing = default_outgoing(state_dir, name.as_deref());
    let incoming = incoming(keys, base, claims);
    let outgoing = folder(keys, "outgoing", base, outgoing, claims);
    let folders = folders(keys, base, incoming, claims);
    let landing = landing(&keys.field("landing"));
    let series = series::series(&keys.field("series"));
    let history = history(&keys.field("history"));
    let asked = forecast::asked(&keys.field("forecast"), history.map(|history| history.window), claims);
    let limits = limits(&keys.field("limits"));
    let samples = foreign(keys, "samples", "tiles");
    let model = foreign(keys, "model", "tiles");
    let predictions = foreign(keys, "predictions", "tiles");
    let (folders, series, asked) = (folders?, series?, asked?);
    samples.and(model).and(predictions)?;
    Some(Dataset {
        name: name?,
        incoming: folders.incoming,
        outgoing: outgoing?,
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
        network: asked.network,
        steps: asked.steps,
        refit_interval: asked.refit_interval,
        max_age: asked.max_age,
        keep_files: asked.keep_files,
        limits: limits?,
    })
}

fn sample_dataset(
    keys: &mut Section,
    name: Option<DatasetName>,
    kind: SampleKind,
    base: &Path,
    state_dir: Option<&Path>,
    claims: &mut Claims,
) -> Option<SampleDataset> {
    let outgoing = default_outgoing(state_dir, name.as_deref());
    let incoming = incoming(keys, base, claims);
    let outgoing = folder(keys, "outgoing", base, outgoing, claims);
    let folders = folders(keys, base, incoming, claims);
    let landing = landing(&keys.field("landing"));
    let form = samples::form(&keys.field("samples"), kind);
    let model = keys.optional("model", |field| Some(claims.want_model(field, self::name(field)?)));
    let predictions = samples::predictions(&keys.field("predictions"));
    let limits = sample_limits(&keys.field("limits"));
    let others = ["series", "history", "forecast"].map(|key| foreign(keys, key, "series"));
    let folders = folders?;
    others.into_iter().collect::<Option<Vec<()>>>()?;
    Some(SampleDataset {
        name: name?,
        incoming: folders.incoming,
        quarantine: folders.quarantine,
        outgoing: outgoing?,
        after: folders.after,
        landing: landing?,
        form: form?,
        model: model?,
        predictions: predictions?,
        limits: limits?,
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

/// `None` are series.
fn kind(field: &Field) -> Option<Option<SampleKind>> {
    field.word(&[
        ("series", None),
        ("tiles", Some(SampleKind::Tiles)),
        ("sequences", Some(SampleKind::Sequences)),
    ])
}

struct Folders {
    incoming: PathBuf,
    quarantine: PathBuf,
    after: AfterIngest,
}

fn incoming(keys: &mut Section, base: &Path, claims: &mut Claims) -> Option<PathBuf> {
    keys.required("incoming", "the folder that drops land in", |field| {
        claims.incoming(field, field.file(base)?)
    })
}

fn folders(keys: &mut Section, base: &Path, incoming: Option<PathBuf>, claims: &mut Claims) -> Option<Folders> {
    let within = |name| Some(incoming.as_ref()?.join(name));
    let quarantine = folder(keys, "quarantine", base, within("quarantine"), claims);
    let after = after(keys, base, within("done"), claims);
    Some(Folders {
        incoming: incoming?,
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

const MIB: u64 = 1 << 20;
const PIB: u64 = 1 << 50;

fn file_size(keys: &mut Section) -> Option<u64> {
    keys.or("file_size", 2048 * MIB, |field| field.size(1..=PIB))
}

fn decode_memory(keys: &mut Section) -> Option<u64> {
    // Below it a decoder cannot even start: the limit counts its own program as well.
    const LEAST_MEMORY: u64 = 64 * MIB;
    keys.or("decode_memory", 2048 * MIB, |field| field.size(LEAST_MEMORY..=PIB))
}

fn sample_limits(field: &Field) -> Option<SampleLimits> {
    field.section(|keys| {
        let file_size = file_size(keys);
        let file_samples = keys.or("file_samples", 1_000_000, |field| field.whole(1..=100_000_000));
        let decode_memory = decode_memory(keys);
        let others = ["file_values", "channels"].map(|key| foreign(keys, key, "series"));
        others.into_iter().collect::<Option<Vec<()>>>()?;
        Some(SampleLimits {
            file_bytes: file_size?,
            file_samples: file_samples? as u64,
            decode_memory: decode_memory?,
        })
    })
}

fn limits(field: &Field) -> Option<Limits> {
    field.section(|keys| {
        let file_size = file_size(keys);
        let file_values = keys.or("file_values", 100_000_000, |field| field.whole(1..=1_000_000_000_000));
        let channels = keys.or("channels", 100_000, |field| field.whole(1..=10_000_000));
        let decode_memory = decode_memory(keys);
        foreign(keys, "file_samples", "tiles")?;
        Some(Limits {
            file_bytes: file_size?,
            file_values: file_values? as u64,
            channels: channels?,
            decode_memory: decode_memory?,
        })
    })
}
