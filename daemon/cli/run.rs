//! `forecastd run`: the service.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::app::{App, Options};
use crate::service::{memory, signals};

/// Run the service.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// The program that runs, whatever an upgrade has put in its place meanwhile: decoder children must be of our own
/// version.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// Threads of the runtime: it only waits, encodes pages and turns the planner; work has threads of its own.
const RUNTIME_THREADS: usize = 2;

impl Run {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        memory::return_large_buffers();
        let config = super::read_config(&self.config)?;
        log_to_stderr();
        let options = Options {
            config_path: self.config,
            executable: PathBuf::from(OWN_EXECUTABLE),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("runtime")
            .enable_all()
            .build()
            .context("start the runtime")?;
        runtime.block_on(async {
            let shutdown = signals::shutdown().context("install the signal handlers")?;
            let reloads = signals::reloads().context("install the signal handlers")?;
            App::run(options, config, shutdown, reloads, |address| {
                tracing::info!("listening on http://{address}/");
            })
            .await
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One line an event; the journal has its own clock.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        logger.without_time().init();
    } else {
        logger.init();
    }
}
