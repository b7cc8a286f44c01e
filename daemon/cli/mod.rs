//! The command line: arguments, one file a command, exit codes.

mod artifact;
mod backtest;
mod bar;
mod check;
mod dasha;
mod demo;
mod drawing;
mod errand;
mod fit;
mod fsck;
mod inspect;
mod interruption;
mod models;
mod predict;
mod reading;
mod run;
mod torch;

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::Context;
use clap::{Parser, Subcommand};
use forecastd_config::{Config, ConfigErrors};

/// Forecasts from parquet drops, on a Prometheus endpoint.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Run(run::Run),
    /// Check a configuration file and exit.
    Check(check::Check),
    /// Fit the channels of parquet files and print or write their forecasts, without the service.
    Fit(fit::Fit),
    /// Judge a method on rows it has not seen, by the protocols of the literature.
    Backtest(backtest::Backtest),
    Dasha(Box<dasha::Dasha>),
    Predict(predict::Predict),
    Inspect(inspect::Inspect),
    Models(models::Models),
    /// Prove that the state is whole: every row accounted for, every segment intact.
    Fsck(fsck::Fsck),
    /// Start forecastd-torch, ask for its device and version, run its smoke computation, and exit.
    Torch(torch::Torch),
    /// Show the service at work on this machine's own telemetry, or on a file of yours.
    Demo(demo::Demo),
    /// Decode one drop, as a disposable child of the service.
    #[command(hide = true)]
    Decode,
}

/// EX_CONFIG of sysexits.h: systemd and scripts can tell a bad configuration from a failure.
const BAD_CONFIG: u8 = 78;

/// Carries out a command line.
pub fn main(arguments: Arguments) -> ExitCode {
    let outcome = match arguments.command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Fit(fit) => fit.execute(),
        Command::Backtest(backtest) => backtest.execute(),
        Command::Dasha(dasha) => dasha.execute(),
        Command::Predict(predict) => predict.execute(),
        Command::Inspect(inspect) => inspect.execute(),
        Command::Models(models) => models.execute(),
        Command::Fsck(fsck) => fsck.execute(),
        Command::Torch(torch) => torch.execute(),
        Command::Demo(demo) => demo.execute(),
        Command::Decode => return crate::intake::decode_worker::decode_worker_main(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("forecastd: {}", told(&error));
        ExitCode::from(if error.is::<ConfigErrors>() { BAD_CONFIG } else { 1 })
    })
}

/// The whole chain of causes on one line. Some errors end in their cause themselves, for those who print no chain.
fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Reads and checks a configuration file.
///
/// # Errors
/// When the file cannot be read, or with everything that is wrong in it.
pub(crate) fn read_config(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read the configuration {}", path.display()))?;
    let path = std::path::absolute(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok(Config::parse(&text, folder).map_err(|errors| errors.in_file(&path))?)
}

/// As many threads as were asked for, or as there are cores.
fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.unwrap_or_else(|| available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;
    use crate::intake::samples::content_hash;

    #[test]
    fn each_cause_is_told_once() {
        let missing = content_hash(Path::new("/nonexistent/file")).expect_err("it is not there");
        let error = Err::<(), _>(missing).context("read the samples").expect_err("likewise");
        let told = told(&error);
        assert!(told.starts_with("read the samples: open /nonexistent/file: "), "{told}");
        assert_eq!(told.matches("No such file").count(), 1, "{told}");
        let plain = anyhow::anyhow!("the disk").context("write").context("publish");
        assert_eq!(super::told(&plain), "publish: write: the disk");
    }
}
