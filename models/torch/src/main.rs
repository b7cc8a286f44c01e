//! `forecastd-torch`: started by the daemon with a socket as its standard input; by people with `--probe`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use forecastd_torch::{device, serve};

const USAGE: &str = "\
The libtorch side of forecastd. The daemon starts it; by hand:

forecastd-torch --probe      print the device and the libtorch version as one line of JSON
forecastd-torch --version    print the version of this executable
forecastd-torch --threads N  the CPU threads that libtorch may use; with --probe or a daemon's socket";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Arguments {
    probe: bool,
    version: bool,
    threads: Option<i32>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forecastd-torch: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result that was asked for")]
fn run() -> anyhow::Result<()> {
    let arguments = parse(std::env::args().skip(1))?;
    if arguments.version {
        println!("forecastd-torch {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let placement = device::find();
    if let Some(threads) = arguments.threads {
        tch::set_num_threads(threads);
    }
    if arguments.probe {
        println!("{}", serde_json::to_string(&serve::hello(&placement))?);
        return Ok(());
    }
    let socket = serve::inherited_socket().context("standard input is no socket of forecastd's; try --probe")?;
    Ok(serve::run(socket, &placement)?)
}

fn parse(words: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let mut words = words;
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--probe" => arguments.probe = true,
            "--version" => arguments.version = true,
            "--threads" => {
                let count = words.next().and_then(|count| count.parse().ok());
                arguments.threads = Some(
                    count
                        .filter(|count| *count > 0)
                        .context("--threads takes a count from 1")?,
                );
            }
            _ => bail!("unknown argument `{word}`\n\n{USAGE}"),
        }
    }
    Ok(arguments)
}
