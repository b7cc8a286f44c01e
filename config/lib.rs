//! The configuration: what the user wrote becomes what the program needs.
//!
//! [`Config`] is valid by construction: units, resolved paths, non-zero counts. All errors come at once, each with
//! its key's path and a hint. Nothing here opens what it names; the caller reads the file.
//!
//! The text becomes a tree (`yaml`), the `schema` reads the tree key by key (`field`, `unit`), and `folders` holds the
//! folders against each other. The tree is walked by hand, for a derived deserializer stops at its first complaint.

mod dataset;
mod error;
mod field;
mod folders;
mod model;
mod samples;
mod schema;
#[cfg(test)]
mod tests;
mod training;
mod unit;
mod yaml;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use dataset::{AfterIngest, Columns, Dataset, DatasetName, History, Landing, Layout, Limits, OffGrid};
pub use error::{ConfigError, ConfigErrors};
pub use model::{Model, ModelName, PromoteTo, Promotion, Retention};
pub use samples::{PlaceColumns, PredictionRules, SampleColumns, SampleDataset, SampleForm, SampleKind, SampleLimits};
pub use training::Training;

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where everything that survives a restart lives.
    pub state_dir: PathBuf,
    /// The endpoint.
    pub http: Http,
    /// Threads for fits; `None`: what the machine or the cgroup allows.
    pub cpu_threads: Option<NonZeroUsize>,
    /// The libtorch child.
    pub torch: Torch,
    /// Those of kind `series`, in the order of the file, names unique, no two folders shared.
    pub datasets: Vec<Dataset>,
    /// Those of kind `tiles` and `sequences`, in the order of the file; names and folders are unique among all datasets.
    pub samples: Vec<SampleDataset>,
    /// In the order of the file, names unique among them, no two folders shared.
    pub models: Vec<Model>,
}

/// The HTTP endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Cardinality budget: forecast samples on one page of `/metrics`; whole channels beyond it are held back.
    pub max_series: usize,
    /// Requests for what networks say.
    pub inference: InferenceHttp,
    /// The file with the token of those who may change models; `None`: nobody may, over HTTP.
    pub admin_token_file: Option<PathBuf>,
}

/// Bounds of requests for what networks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InferenceHttp {
    /// How long a client waits that says nothing of it.
    pub timeout: Duration,
    /// How long one may wait at most.
    pub max_timeout: Duration,
    /// Bytes of one request's body.
    pub body_bytes: usize,
    /// Samples of one request.
    pub samples: usize,
    /// Requests at once.
    pub requests: usize,
}

/// How the libtorch child is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Torch {
    /// When it starts.
    pub start: TorchStart,
    /// Its executable; `None`: `forecastd-torch` beside the daemon's own, else on the PATH.
    pub executable: Option<PathBuf>,
    /// Whether it fits series.
    pub fit: TorchFit,
}

/// Whether the libtorch child fits series. Where it is not sure, or fails, the CPU does, with the same orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TorchFit {
    /// Batches that are large enough, where the child computes on CUDA.
    Auto,
    /// Every batch, whatever it computes on.
    Always,
    /// None.
    Never,
}

/// When the libtorch child starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TorchStart {
    /// With the first job that needs it.
    OnDemand,
    /// With the daemon, and again whenever it ends.
    Always,
    /// Never: jobs that need it fail with a clear error.
    Never,
}

impl Config {
    /// Reads a configuration from the text of its file.
    ///
    /// Relative paths are taken from `base_dir`, the folder of that file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text, in one go; only broken YAML hides what comes after it.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, ConfigErrors> {
        let tree = yaml::parse(text)?;
        schema::read(&tree, base_dir)
    }

    /// The keys that differ in `new` and that a reload cannot change: they hold from one start to the next.
    pub fn restart_needed(&self, new: &Self) -> Vec<&'static str> {
        [
            ("state_dir", self.state_dir != new.state_dir),
            ("http.listen", self.http.listen != new.http.listen),
            ("http.inference", self.http.inference != new.http.inference),
            (
                "http.admin_token_file",
                self.http.admin_token_file != new.http.admin_token_file,
            ),
            ("cpu_threads", self.cpu_threads != new.cpu_threads),
            ("torch", self.torch != new.torch),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

/// The step of a grid as the configuration has it: `15m`, `1h`, `1d`, `1mo`, `1y`.
///
/// # Errors
///
/// A sentence that quotes the text and says what to write.
pub fn parse_frequency(text: &str) -> Result<forecastd_models::Frequency, String> {
    unit::frequency(text).map_err(|complaint| complaint.at("").to_string())
}

/// A time span as the configuration has it: `90s`, `30m`, `1h 30m`.
///
/// # Errors
///
/// A sentence that quotes the text and says what to write.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    unit::duration(text).map_err(|complaint| complaint.at("").to_string())
}

/// A number of bytes as the configuration has it: `2GiB`, `500MB`, `4096`.
///
/// # Errors
///
/// A sentence that quotes the text and says what to write.
pub fn parse_size(text: &str) -> Result<u64, String> {
    unit::size(text).map_err(|complaint| complaint.at("").to_string())
}
