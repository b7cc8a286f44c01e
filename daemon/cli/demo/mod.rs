//! `forecastd demo`: the service at work on a fresh folder, fed with something real.

mod feeder;
mod scrape;
mod telemetry;

use std::fs;
use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use forecastd_config::{Columns, Layout};
use tokio::process::{Child, Command};
use tokio::signal::ctrl_c;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::feeder::Feeder;
use self::scrape::Page;

/// Show the service at work: on this machine's own telemetry, sampled ten times a second, or on a file of yours.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Feed this parquet file instead of telemetry. Its first time column is the time; with a text column and one
    /// column of numbers it is read as one row a value, else as one column a channel.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Stop after so many seconds; exit 0 only if forecasts were scraped.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Where configuration, drops, state and forecasts go. Emptied first, if an earlier demo made it.
    #[arg(long, value_name = "DIR", default_value = "demo")]
    dir: PathBuf,
}

const USUAL_PORT: u16 = 9464;

/// What a demo's folder is known by.
const CONFIG_FILE: &str = "demo.yaml";

impl Demo {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.play())
    }

    #[expect(clippy::print_stdout, reason = "a show")]
    async fn play(self) -> anyhow::Result<ExitCode> {
        let address = free_address()?;
        let dir = fresh_folder(&self.dir)?;
        let (dataset, series) = match &self.data {
            Some(file) => ("data", series_of(file)?),
            None => ("machine", "series: { time: time, frequency: 100ms }".to_owned()),
        };
        let config = dir.join(CONFIG_FILE);
        fs::write(&config, configuration(address, dataset, &series))?;
        let incoming = dir.join("incoming");
        fs::create_dir_all(&incoming)?;
        let mut daemon = start_daemon(&config, &dir)?;
        let feeder = match &self.data {
            Some(file) => {
                feeder::drop_copy(file, &incoming)?;
                None
            }
            None => Some(Feeder::start(incoming.clone())?),
        };
        println!(
            "forecastd runs in {} (log: forecastd.log, configuration: {CONFIG_FILE})",
            dir.display()
        );
        println!("  page     http://{address}/");
        println!("  metrics  http://{address}/metrics");
        println!("  drops    {}", incoming.display());
        println!("  parquet  {}", dir.join("outgoing").display());
        println!("Ctrl-C stops it.\n");

        let scraped = watch(&mut daemon, address, self.seconds.map(Duration::from_secs)).await;
        if let Some(feeder) = feeder {
            feeder.stop()?;
        }
        stop(&mut daemon).await?;
        let forecasts = scraped?;
        println!("\nstopped cleanly; {forecasts} forecast samples were on the last page");
        Ok(if forecasts > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Scrapes once a second and shows a line, until the time is over or Ctrl-C. Says how many forecast samples the
/// last page had.
async fn watch(daemon: &mut Child, address: SocketAddr, limit: Option<Duration>) -> anyhow::Result<usize> {
    let started = Instant::now();
    let mut every_second = interval(Duration::from_secs(1));
    every_second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut forecasts = 0;
    let mut interrupted = std::pin::pin!(ctrl_c());
    loop {
        tokio::select! {
            _ = every_second.tick() => {}
            result = &mut interrupted => { result?; return Ok(forecasts); }
            status = daemon.wait() => bail!("forecastd ended by itself: {}; see forecastd.log", status?),
        }
        // Until the first answer the daemon is starting; a daemon that died is noticed above.
        if let Ok(page) = Page::fetch(address).await {
            forecasts = page.samples("forecastd_forecast").count();
            show(&page, started.elapsed());
        }
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            return Ok(forecasts);
        }
    }
}

#[expect(clippy::print_stdout, reason = "a show")]
fn show(page: &Page, elapsed: Duration) {
    let line = format!(
        "{:4.0} s  {:.0} drops  {:.0} rows  {:.0} fits  {} forecasts   {}",
        elapsed.as_secs_f64(),
        page.sum("forecastd_drops_total"),
        page.sum("forecastd_rows_committed_total"),
        page.sum("forecastd_fits_total"),
        page.samples("forecastd_forecast").count(),
        farthest(page).unwrap_or_default(),
    );
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[2K{}", line.chars().take(150).collect::<String>());
        let _ = std::io::stdout().flush();
    } else {
        println!("{line}");
    }
}

/// The farthest forecast of the first channel, with its widest interval.
fn farthest(page: &Page) -> Option<String> {
    let (first, _) = page.samples("forecastd_forecast").next()?;
    let channel = label(first, "channel")?;
    let of_channel = |labels: &str| label(labels, "channel") == Some(channel);
    let last = |family| page.samples(family).filter(|(labels, _)| of_channel(labels)).last();
    let (labels, mean) = last("forecastd_forecast")?;
    let interval = last("forecastd_forecast_lower").zip(last("forecastd_forecast_upper"));
    let interval = interval
        .map(|((_, lower), (_, upper))| format!(" [{lower:.4}, {upper:.4}]"))
        .unwrap_or_default();
    Some(format!(
        "{channel}, {} steps ahead: {mean:.4}{interval}",
        label(labels, "step")?
    ))
}

/// The value of a label, as long as it has no quotes in it.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0)
}

fn start_daemon(config: &Path, dir: &Path) -> anyhow::Result<Child> {
    let log = fs::File::create(dir.join("forecastd.log"))?;
    Command::new(std::env::current_exe()?)
        .args(["run", "--config"])
        .arg(config)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("start forecastd")
}

/// SIGTERM, as systemd would. After a Ctrl-C in a terminal it has had its SIGINT already.
async fn stop(daemon: &mut Child) -> anyhow::Result<()> {
    let pid = daemon.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    let status = timeout(Duration::from_secs(30), daemon.wait())
        .await
        .context("forecastd does not stop")??;
    if !status.success() {
        bail!("forecastd stopped with {status}; see forecastd.log");
    }
    sleep(Duration::from_millis(10)).await;
    Ok(())
}

/// The usual port if it is free, else one that is.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", USUAL_PORT)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?;
    Ok(listener.local_addr()?)
}

/// An empty folder. What an earlier demo left is removed; what somebody else put there is not.
fn fresh_folder(dir: &Path) -> anyhow::Result<PathBuf> {
    if dir.join(CONFIG_FILE).exists() {
        fs::remove_dir_all(dir).with_context(|| format!("empty {}", dir.display()))?;
    } else if dir.exists() && fs::read_dir(dir)?.next().is_some() {
        bail!(
            "{} is not empty, and no earlier demo made it; name another folder with --dir",
            dir.display()
        );
    }
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(dir.canonicalize()?)
}

/// The `series` part for a file of the user's.
fn series_of(file: &Path) -> anyhow::Result<String> {
    let columns = crate::intake::guess::columns_of(file).with_context(|| file.display().to_string())?;
    let Columns { time, layout } = columns;
    Ok(match layout {
        Layout::Wide { .. } => format!("series: {{ time: {time:?} }}"),
        Layout::Long { channel, value } => {
            format!("series: {{ time: {time:?}, channel: {channel:?}, value: {value:?} }}")
        }
    })
}

fn configuration(address: SocketAddr, dataset: &str, series: &str) -> String {
    format!(
        "state_dir: ./state
http: {{ listen: \"{address}\" }}
datasets:
  - name: {dataset}
    kind: series
    incoming: ./incoming
    outgoing: ./outgoing
    after: delete
    {series}
    forecast: {{ horizon: 50, steps: [1, 10, 50], keep_files: 20 }}
"
    )
}
