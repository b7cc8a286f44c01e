//! `forecastd-torch`: started by the daemon with a socket as its standard input, to fit or to serve networks; by people
//! with `--probe`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use forecastd_models::device_fit::DeviceBatch;
use forecastd_torch::{bench, dasha, device, inference, onednn, parent, predict, serve};
use serde::Serialize;

const USAGE: &str = "\
The libtorch side of forecastd. The daemon starts it; by hand:

forecastd-torch --probe      print the device and the libtorch version as one line of JSON
forecastd-torch --version    print the version of this executable
forecastd-torch --threads N  the CPU threads that libtorch may use; with any of these or a daemon's socket
forecastd-torch --infer      serve networks to the daemon at the other end of the socket
forecastd-torch --bench-fit CHANNELS T P
                             measure fits of so many channels of T samples, looking back P
forecastd-torch --bench-networks FOLDER
                             answer questions about the speed of networks on the samples in a folder, a line of
                             JSON each; benches/network_peers.py asks them
forecastd-torch --bench-forward ARTIFACT SAMPLES
                             measure forward passes of a trained network over so many samples
forecastd-torch --dasha FOLDER
                             search, tune and train a network for the samples in a folder, as the job.json in it
                             says; one line of JSON for each epoch. Killed, it goes on where it stood
forecastd-torch --predict ARTIFACT FOLDER
                             write what a trained network says of the samples in a folder beside them;
                             one line of JSON each second, and one at the end";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Arguments {
    probe: bool,
    version: bool,
    threads: Option<i32>,
    infer: bool,
    bench: Option<DeviceBatch>,
    /// The folder of a run whose steps are measured.
    bench_networks: Option<PathBuf>,
    /// The artifact, and samples of a pass.
    forward: Option<(PathBuf, usize)>,
    /// The folder of a run.
    dasha: Option<PathBuf>,
    /// The artifact and the folder of the samples.
    predict: Option<(PathBuf, PathBuf)>,
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
    if let Some(advice) = onednn::advice() {
        eprintln!("{advice}");
    }
    if let Some(threads) = arguments.threads {
        tch::set_num_threads(threads);
    }
    if arguments.probe {
        println!("{}", serde_json::to_string(&serve::hello(&placement))?);
        return Ok(());
    }
    if let Some(batch) = arguments.bench {
        return bench::run(&placement, &batch);
    }
    if let Some(folder) = &arguments.bench_networks {
        return dasha::bench::run(folder, &placement, std::io::stdin().lock(), &mut print_line);
    }
    if let Some((artifact, samples)) = &arguments.forward {
        return inference::bench::run(artifact, *samples, &placement);
    }
    if let Some(folder) = &arguments.dasha {
        parent::end_with_parent()?;
        return dasha::run(folder, &placement, &mut print_line);
    }
    if let Some((artifact, folder)) = &arguments.predict {
        parent::end_with_parent()?;
        return predict::run(artifact, folder, &placement, &mut print_line);
    }
    let socket = serve::inherited_socket().context("standard input is no socket of forecastd's; try --probe")?;
    match arguments.infer {
        true => inference::run(socket, &placement),
        false => Ok(serve::run(socket, &placement)?),
    }
}

/// One event a line. What cannot be told is nobody's to hear: whoever listened is gone, and so is this process soon.
#[expect(clippy::print_stdout, reason = "the events that were asked for")]
fn print_line<T: Serialize>(event: &T) {
    if let Ok(line) = serde_json::to_string(event) {
        println!("{line}");
    }
}

fn parse(words: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let mut words = words;
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--probe" => arguments.probe = true,
            "--version" => arguments.version = true,
            "--infer" => arguments.infer = true,
            "--bench-fit" => {
                let mut size = || words.next()?.parse().ok().filter(|size: &usize| *size > 0);
                let batch = size().zip(size()).zip(size());
                let ((channels, length), max_lookback) =
                    batch.context("--bench-fit takes channels, samples of each and the look-back")?;
                arguments.bench = Some(DeviceBatch {
                    channels,
                    length,
                    max_lookback,
                });
            }
            "--bench-networks" => {
                let folder = words.next().context("--bench-networks takes the folder of a run")?;
                arguments.bench_networks = Some(folder.into());
            }
            "--bench-forward" => {
                let sizes = |samples: String| samples.parse().ok().filter(|samples: &usize| *samples > 0);
                let given = words.next().zip(words.next().and_then(sizes));
                let (artifact, samples) = given.context("--bench-forward takes an artifact and samples of a pass")?;
                arguments.forward = Some((artifact.into(), samples));
            }
            "--dasha" => {
                let folder = words.next().context("--dasha takes the folder of a run")?;
                arguments.dasha = Some(folder.into());
            }
            "--predict" => {
                let paths = words.next().zip(words.next());
                let (artifact, folder) = paths.context("--predict takes an artifact and the folder of the samples")?;
                arguments.predict = Some((artifact.into(), folder.into()));
            }
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
