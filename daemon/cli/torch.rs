//! `forecastd torch`: is libtorch there, on which device, and can it count?

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use forecastd_config::{Torch as Settings, TorchFit, TorchStart};

use crate::work::torch_process::TorchProcess;

/// Start forecastd-torch, have it solve a system, check the solution, and tell its version and device.
#[derive(Debug, clap::Args)]
pub(super) struct Torch {
    /// Its executable, if it lies neither beside this one nor on the PATH.
    #[arg(long, value_name = "FILE")]
    executable: Option<PathBuf>,
}

/// A first start on a cold disk with a GPU to find takes a while.
const PATIENCE: Duration = Duration::from_secs(120);

impl Torch {
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let settings = Settings {
            start: TorchStart::OnDemand,
            executable: self.executable,
            fit: TorchFit::Never,
        };
        let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (told, statuses) = channel();
        let report = move |status| {
            let _ = told.send(status); // nobody listens once the command is over
        };
        let process = TorchProcess::start(&settings, threads, report).context("start the supervisor")?;
        process.smoke(PATIENCE)?;
        let up = statuses.try_iter().filter(|status| status.up).last();
        let status = up.context("the child answered without saying what it is")?;
        let (version, device) = (status.version.unwrap_or_default(), status.device.unwrap_or_default());
        println!("libtorch {version} on {device}; the smoke computation is right");
        Ok(ExitCode::SUCCESS)
    }
}
