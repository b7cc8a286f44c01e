//! `forecastd check`: is this configuration file good?

use std::path::PathBuf;
use std::process::ExitCode;

/// Check a configuration file and exit.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let config = super::read_config(&self.config)?;
        let datasets = config.datasets.len() + config.samples.len();
        let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (datasets, models) = (of(datasets, "dataset"), of(config.models.len(), "model"));
        println!("{}: good, {datasets}, {models}", self.config.display());
        Ok(ExitCode::SUCCESS)
    }
}
