//! Which keys there are, what they default to, and what holds between them: the top of the file.
//!
//! How a value is read is the business of `field`; a dataset and its larger sections have their own modules.

mod dataset;
mod forecast;
mod model;
mod samples;
mod series;
mod training;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Complaint, ConfigErrors};
use crate::field::{Errors, Field, Section};
use crate::folders::Claims;
use crate::yaml::Node;
use crate::{Config, Dataset, Http, InferenceHttp, Model, SampleDataset, Torch, TorchFit, TorchStart};

use dataset::AnyDataset;

/// Far enough for every wish, and near enough that adding it to a clock never overflows.
const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

/// Reads the whole file; relative paths are taken from `base_dir`.
pub(crate) fn read(tree: &Node, base_dir: &Path) -> Result<Config, ConfigErrors> {
    let errors = Errors::default();
    let config = config(&Field::root(tree, &errors), &absolute(base_dir));
    match (config, errors.into_inner()) {
        (Some(config), errors) if errors.is_empty() => Ok(config),
        (_, errors) => Err(ConfigErrors::new(errors)),
    }
}

/// `base_dir` from the root, so that folders can be compared and a later change of directory means nothing.
fn absolute(base_dir: &Path) -> PathBuf {
    std::path::absolute(Path::new(".").join(base_dir)).unwrap_or_else(|_| base_dir.to_owned())
}

fn config(file: &Field, base: &Path) -> Option<Config> {
    if file.is_null() {
        let complaint = Complaint::new("the file is empty");
        return file.refuse(complaint.hint("it needs at least `state_dir`, and `datasets` or `models`"));
    }
    file.section(|keys| {
        let mut claims = Claims::default();
        let state_dir = keys.required("state_dir", "the folder of all that survives a restart", |field| {
            claims.folder(field, field.file(base)?)
        });
        let http = http(&keys.field("http"), base);
        let cpu_threads = keys.optional("cpu_threads", cpu_threads);
        let torch = torch(&keys.field("torch"), base);
        let datasets = datasets(keys, base, state_dir.as_deref(), &mut claims);
        let models = models(keys, base, &mut claims);
        let models_named = claims.check_models(file);
        if keys.field("datasets").is_null() && models.as_ref().is_some_and(Vec::is_empty) {
            let complaint = Complaint::new("is required where there are no `models`");
            return keys
                .field("datasets")
                .refuse(complaint.hint("at least one: a folder to watch"));
        }
        let (state_dir, (datasets, samples)) = (state_dir?, datasets?);
        models_named?;
        let (torch, models) = (torch?, models?);
        training::check(file, &torch, &models, &samples)?;
        claims.check_state(&keys.field("state_dir"), &state_dir)?;
        Some(Config {
            state_dir,
            http: http?,
            cpu_threads: cpu_threads?.flatten(),
            torch,
            datasets,
            samples,
            models,
        })
    })
}

fn http(field: &Field, base: &Path) -> Option<Http> {
    field.section(|keys| {
        let listen = keys.or("listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)), Field::address);
        let max_series = keys.or("max_series", 100_000, |field| field.whole(0..=100_000_000));
        let inference = inference(&keys.field("inference"));
        let admin_token_file = keys.optional("admin_token_file", |field| field.file(base));
        Some(Http {
            listen: listen?,
            max_series: max_series?,
            inference: inference?,
            admin_token_file: admin_token_file?,
        })
    })
}

fn inference(field: &Field) -> Option<InferenceHttp> {
    const LEAST: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3600);
    field.section(|keys| {
        let timeout = keys.or("timeout", Duration::from_secs(10), |field| field.duration(LEAST..=HOUR));
        let max_timeout = keys.or("max_timeout", Duration::from_secs(60), |field| {
            field.duration(LEAST..=HOUR)
        });
        let body_bytes = keys.or("max_body", 64 << 20, |field| field.size(1 << 10..=192 << 20));
        let samples = keys.or("max_samples", 1024, |field| field.whole(1..=4096));
        let requests = keys.or("requests", 256, |field| field.whole(1..=10_000));
        let (timeout, max_timeout) = (timeout?, max_timeout?);
        if timeout > max_timeout {
            let complaint = Complaint::new("is longer than `max_timeout`");
            return keys.field("timeout").refuse(complaint.hint("raise `max_timeout` too"));
        }
        Some(InferenceHttp {
            timeout,
            max_timeout,
            body_bytes: usize::try_from(body_bytes?).unwrap_or(usize::MAX),
            samples: samples?,
            requests: requests?,
        })
    })
}

/// `auto` is `None`.
fn cpu_threads(field: &Field) -> Option<Option<NonZeroUsize>> {
    match field.node() {
        Node::Text(text) if text == "auto" => Some(None),
        Node::Integer(_) => field.whole(1..=1024).map(NonZeroUsize::new),
        _ => field.refuse(field.expected("`auto` or a whole number")),
    }
}

fn torch(field: &Field, base: &Path) -> Option<Torch> {
    field.section(|keys| {
        let start = keys.or("start", TorchStart::OnDemand, |field| {
            field.word(&[
                ("on_demand", TorchStart::OnDemand),
                ("always", TorchStart::Always),
                ("never", TorchStart::Never),
            ])
        });
        let executable = keys.optional("executable", |field| field.file(base));
        let fit = keys.or("fit", TorchFit::Auto, |field| {
            field.word(&[
                ("auto", TorchFit::Auto),
                ("always", TorchFit::Always),
                ("never", TorchFit::Never),
            ])
        });
        if (start, fit) == (Some(TorchStart::Never), Some(TorchFit::Always)) {
            let complaint = Complaint::new("there is no child to fit anything: `torch.start` is `never`");
            return keys
                .field("fit")
                .refuse(complaint.hint("start it `on_demand`, or leave `fit` out"));
        }
        Some(Torch {
            start: start?,
            executable: executable?,
            fit: fit?,
        })
    })
}

/// Those of series, and those of samples. Left out, there are none: a daemon may serve networks and nothing else.
fn datasets(
    keys: &mut Section,
    base: &Path,
    state_dir: Option<&Path>,
    claims: &mut Claims,
) -> Option<(Vec<Dataset>, Vec<SampleDataset>)> {
    let all = keys.or("datasets", Vec::new(), |field| {
        field.some(|field, _| dataset::dataset(field, base, state_dir, claims))
    })?;
    let (mut series, mut samples) = (Vec::new(), Vec::new());
    for dataset in all {
        match dataset {
            AnyDataset::Series(dataset) => series.push(*dataset),
            AnyDataset::Samples(dataset) => samples.push(*dataset),
        }
    }
    Some((series, samples))
}

/// Left out, there are none.
fn models(keys: &mut Section, base: &Path, claims: &mut Claims) -> Option<Vec<Model>> {
    keys.or("models", Vec::new(), |field| {
        field.list(|field, _| model::model(field, base, claims))
    })
}
