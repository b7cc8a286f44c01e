//! `forecastd fsck`: is everything that was taken still there, once?

use std::path::PathBuf;
use std::process::ExitCode;

use crate::state::fsck;

/// Prove that the state is whole: every row accounted for, every segment intact. Changes nothing, and may run
/// beside the service.
#[derive(Debug, clap::Args)]
pub(super) struct Fsck {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl Fsck {
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let config = super::read_config(&self.config)?;
        let report = fsck(&config.state_dir)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            println!("{report}");
        }
        Ok(if report.problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
