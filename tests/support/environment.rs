use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrow::array::ArrayRef;
use tempfile::TempDir;

use super::Daemon;
use super::network::write;

/// A fresh folder with a configuration in it.
pub struct Environment {
    dir: TempDir,
}

/// Quick to settle, quick to give up: stories should not wait.
pub const LANDING: &str = "landing: { scan_interval: 200ms, settle: 300ms, patience: 1s }";

impl Environment {
    /// One dataset `d` with this `series` part and forecasts of twelve steps.
    pub fn with_series(series: &str) -> Self {
        Self::with_datasets(&Self::dataset("d", series, "forecast: { horizon: 12, steps: [1, 12] }"))
    }

    /// One entry of `datasets`, with its own folder `incoming/NAME` and quick to land.
    pub fn dataset(name: &str, series: &str, more: &str) -> String {
        format!(
            "  - name: {name}\n    kind: series\n    incoming: ./incoming/{name}\n    outgoing: ./outgoing/{name}\n    \
             {LANDING}\n    series: {series}\n    {more}\n"
        )
    }

    /// These datasets, as YAML list entries.
    pub fn with_datasets(datasets: &str) -> Self {
        let environment = Self {
            dir: TempDir::new().unwrap(),
        };
        environment.configure(datasets);
        environment
    }

    /// Writes the configuration again with these datasets.
    pub fn configure(&self, datasets: &str) {
        self.write_config(&format!(
            "state_dir: ./state\nhttp: {{ listen: \"127.0.0.1:0\" }}\ntorch: {{ start: never }}\ndatasets:\n{datasets}"
        ));
    }

    /// Writes the whole configuration.
    pub fn write_config(&self, text: &str) {
        fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.path("forecastd.yaml")
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// A path in the incoming folder of dataset `d`.
    pub fn incoming(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.path("incoming/d")).unwrap();
        self.path("incoming/d").join(name)
    }

    /// Starts the service.
    pub fn start(&self) -> Daemon {
        Daemon::start(self, &[])
    }

    /// Puts a file into the folder of `d` the way the contract asks for: under an ignored name, then renamed.
    pub fn drop_bytes(&self, name: &str, bytes: &[u8]) {
        self.drop_into("d", name, bytes);
    }

    /// The same for any dataset.
    pub fn drop_into(&self, dataset: &str, name: &str, bytes: &[u8]) {
        let folder = self.path(format!("incoming/{dataset}"));
        fs::create_dir_all(&folder).unwrap();
        let hidden = folder.join(format!(".{name}.tmp"));
        fs::write(&hidden, bytes).unwrap();
        fs::rename(&hidden, folder.join(name)).unwrap();
    }

    /// The same for columns.
    pub fn drop_columns(&self, name: &str, columns: Vec<(&str, ArrayRef)>) {
        let made = self.path("made.parquet");
        write(&made, columns);
        self.drop_bytes(name, &fs::read(&made).unwrap());
    }

    /// Drops a copy of an artifact for the model whose folder is `incoming/models`; its version.
    pub fn drop_artifact(&self, artifact: &Path) -> String {
        let folder = self.path("incoming/models");
        let name = artifact.file_name().unwrap().to_str().unwrap();
        let hidden = folder.join(format!(".{name}.tmp"));
        fs::create_dir_all(&hidden).unwrap();
        for file in ["weights.safetensors", "model.json", "card.json", "BLAKE3SUMS"] {
            fs::copy(artifact.join(file), hidden.join(file)).unwrap();
        }
        let sums = fs::read(hidden.join("BLAKE3SUMS")).unwrap();
        fs::rename(hidden, folder.join(name)).unwrap();
        blake3::hash(&sums).to_string()
    }

    /// The files that `d` has written, the oldest first.
    pub fn outgoing(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("outgoing/d")) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        files
    }

    /// `forecastd COMMAND --config …`.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        forecastd(&[arguments, &["--config", config.to_str().unwrap()]].concat())
    }

    /// Runs fsck, which must find nothing; its report.
    pub fn fsck(&self) -> serde_json::Value {
        let output = self.run(&["fsck", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert!(
            output.status.success(),
            "{report:#}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        report
    }

    /// Names in `quarantine`, with the reason of each: `(file name, reason)`, sorted.
    pub fn quarantined(&self) -> Vec<(String, String)> {
        let Ok(folders) = fs::read_dir(self.path("incoming/d/quarantine")) else {
            return Vec::new();
        };
        let mut found: Vec<_> = folders
            .flatten()
            .filter_map(|folder| quarantined_file(&folder.path()))
            .collect();
        found.sort();
        found
    }
}

/// The file in a quarantine folder and the reason beside it, once both are there.
fn quarantined_file(folder: &Path) -> Option<(String, String)> {
    let reason: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("reason.json")).ok()?).ok()?;
    let names = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let file = names.into_iter().find(|name| name != "reason.json")?;
    Some((file, reason["reason"].as_str()?.to_owned()))
}

/// Runs the executable to its end.
pub fn forecastd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forecastd"))
        .args(arguments)
        .output()
        .unwrap()
}
