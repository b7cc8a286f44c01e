use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Environment, Page, wait_for};

/// A running service. Killed when the story is over.
pub struct Daemon {
    child: Child,
    address: SocketAddr,
    log: std::path::PathBuf,
}

impl Daemon {
    /// Starts it with these variables added to its environment, and waits until it listens.
    pub fn start(environment: &Environment, variables: &[(&str, &str)]) -> Self {
        let log = environment.path("forecastd.log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_forecastd"))
            .args(["run", "--config"])
            .arg(environment.config())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let address = wait_for("the daemon to listen", || {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{text}");
            }
            let (_, rest) = text.split_once("listening on http://")?;
            rest.split_once('/')?.0.parse().ok()
        });
        Self { child, address, log }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// `GET path`: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        try_get(self.address, path).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()))
    }

    /// Scrapes `/metrics`.
    pub fn scrape(&self) -> Page {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        Page::parse(&body)
    }

    /// Scrapes until `condition` holds.
    pub fn scrape_until(&self, what: &str, condition: impl Fn(&Page) -> bool) -> Page {
        wait_for(&format!("{what}; the log:\n{}", self.log()), || {
            Some(self.scrape()).filter(|page| condition(page))
        })
    }

    /// Scrapes until so many drops have been dealt with.
    pub fn after_drops(&self, drops: u64) -> Page {
        self.scrape_until(&format!("{drops} drops"), |page| {
            page.sum("forecastd_drops_total") >= drops as f64
        })
    }

    /// Scrapes until no file waits and no fit is due.
    pub fn at_rest(&self) -> Page {
        self.scrape_until("rest", |page| {
            page.sum("forecastd_files_waiting") == 0.0 && page.sum("forecastd_channels_due") == 0.0
        })
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM; how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        wait_for("the daemon to stop", || self.child.try_wait().unwrap())
    }

    /// SIGKILL, as a power cut of the process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bare HTTP request.
pub fn try_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if chunked { dechunk(body) } else { body.to_owned() }))
}

fn dechunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}
