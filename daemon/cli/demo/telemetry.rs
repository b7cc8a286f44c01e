//! This machine's own telemetry, read from `/proc`: something real to forecast on any Linux machine.

use std::fs;
use std::io;
use std::time::Instant;

/// What is sampled, in the order of [`Sample`].
pub(super) const CHANNELS: [&str; 10] = [
    "cpu_busy_ratio",
    "memory_used_bytes",
    "load_1m",
    "processes_running",
    "context_switches_per_second",
    "interrupts_per_second",
    "disk_read_bytes_per_second",
    "disk_written_bytes_per_second",
    "network_received_bytes_per_second",
    "network_sent_bytes_per_second",
];

/// One value a channel; `None` where this machine does not tell.
pub(super) type Sample = [Option<f64>; CHANNELS.len()];

/// Reads `/proc` and turns its counters into rates.
#[derive(Debug)]
pub(super) struct Sampler {
    last: Counters,
    at: Instant,
}

/// Counters that only grow, since the machine started.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    cpu_busy: Option<f64>,
    cpu_all: Option<f64>,
    context_switches: Option<f64>,
    interrupts: Option<f64>,
    disk_read: Option<f64>,
    disk_written: Option<f64>,
    received: Option<f64>,
    sent: Option<f64>,
}

impl Sampler {
    /// Takes the first reading, so that the first sample has rates.
    ///
    /// # Errors
    /// When there is no `/proc/stat`.
    pub(super) fn new() -> io::Result<Self> {
        fs::metadata("/proc/stat")?;
        Ok(Self {
            last: Counters::read(),
            at: Instant::now(),
        })
    }

    /// The machine now; rates are over the time since the last sample.
    pub(super) fn sample(&mut self) -> Sample {
        let (now, at) = (Counters::read(), Instant::now());
        let seconds = (at - self.at).as_secs_f64().max(1e-3);
        let (last, stat) = (std::mem::replace(&mut self.last, now), read("/proc/stat"));
        self.at = at;
        let grown = |now: Option<f64>, last: Option<f64>| Some((now? - last?).max(0.0));
        let rate = |now, last| grown(now, last).map(|by| by / seconds);
        let busy = grown(now.cpu_busy, last.cpu_busy).zip(grown(now.cpu_all, last.cpu_all));
        [
            busy.map(|(busy, all)| if all > 0.0 { busy / all } else { 0.0 }),
            memory_used(&read("/proc/meminfo")),
            read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok()),
            line(&stat, "procs_running").and_then(|fields| fields.first().copied()),
            rate(now.context_switches, last.context_switches),
            rate(now.interrupts, last.interrupts),
            rate(now.disk_read, last.disk_read),
            rate(now.disk_written, last.disk_written),
            rate(now.received, last.received),
            rate(now.sent, last.sent),
        ]
    }
}

impl Counters {
    fn read() -> Self {
        let stat = read("/proc/stat");
        let cpu = line(&stat, "cpu");
        let idle = cpu.as_ref().and_then(|cpu| Some(cpu.get(3)? + cpu.get(4)?));
        // The last two fields, guest times, are contained in the first two.
        let all = cpu.as_ref().map(|cpu| cpu.iter().take(8).sum::<f64>());
        let (disk_read, disk_written) = disk_bytes(&read("/proc/diskstats")).unzip();
        let (received, sent) = network_bytes(&read("/proc/net/dev")).unzip();
        Self {
            cpu_busy: all.zip(idle).map(|(all, idle)| all - idle),
            cpu_all: all,
            context_switches: line(&stat, "ctxt").and_then(|fields| fields.first().copied()),
            interrupts: line(&stat, "intr").and_then(|fields| fields.first().copied()),
            disk_read,
            disk_written,
            received,
            sent,
        }
    }
}

/// A file that this machine does not have tells nothing.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The numbers of the line that begins with `name`.
fn line(text: &str, name: &str) -> Option<Vec<f64>> {
    let fields = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', ':']))?;
    Some(
        fields
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect(),
    )
}

fn memory_used(meminfo: &str) -> Option<f64> {
    let kibibytes = |name| line(meminfo, name).and_then(|fields| fields.first().copied());
    Some((kibibytes("MemTotal")? - kibibytes("MemAvailable")?) * 1024.0)
}

/// Bytes read and written by whole disks: partitions would count twice, loop and ram devices are no disks.
fn disk_bytes(diskstats: &str) -> Option<(f64, f64)> {
    const SECTOR: f64 = 512.0;
    let mut total = None;
    for line in diskstats.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, name, _, _, read, _, _, _, written, ..] = fields[..] else {
            continue;
        };
        let is_partition = !name.starts_with("nvme") && name.ends_with(|last: char| last.is_ascii_digit())
            || name.starts_with("nvme") && name.contains('p');
        if is_partition
            || ["loop", "ram", "zram", "dm-", "md", "sr"]
                .iter()
                .any(|kind| name.starts_with(kind))
        {
            continue;
        }
        if let (Ok(read), Ok(written)) = (read.parse::<f64>(), written.parse::<f64>()) {
            let (all_read, all_written) = total.unwrap_or((0.0, 0.0));
            total = Some((all_read + read * SECTOR, all_written + written * SECTOR));
        }
    }
    total
}

/// Bytes received and sent by every interface, the loopback too: a quiet machine has at least that.
fn network_bytes(dev: &str) -> Option<(f64, f64)> {
    let mut total = None;
    for (_, counters) in dev.lines().filter_map(|line| line.split_once(':')) {
        let fields: Vec<f64> = counters
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        if let (Some(received), Some(sent)) = (fields.first(), fields.get(8)) {
            let (all_received, all_sent) = total.unwrap_or((0.0, 0.0));
            total = Some((all_received + received, all_sent + sent));
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_as_the_kernel_writes_them() {
        let disks = "   8       0 sda 10 0 100 5 20 0 200 7 0 1 2\n   8       1 sda1 10 0 100 5 20 0 200 7 0 1 2\n \
                     259 0 nvme0n1 1 0 8 1 1 0 16 1 0 1 1\n 259 1 nvme0n1p1 1 0 8 1 1 0 16 1 0 1 1\n   7 0 loop0 9 0 9 9 9 0 9";
        assert_eq!(disk_bytes(disks), Some((108.0 * 512.0, 216.0 * 512.0)));
        assert_eq!(disk_bytes(""), None);
        let network =
            "Inter-|   Receive\n face |bytes packets\n    lo: 100 1 0 0 0 0 0 0 50 1 0\n  eth0: 7 1 0 0 0 0 0 0 8 1 0";
        assert_eq!(network_bytes(network), Some((107.0, 58.0)));
        assert_eq!(
            memory_used("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB"),
            Some(60.0 * 1024.0)
        );
        assert_eq!(line("cpu  1 2 3\ncpu0 4", "cpu"), Some(vec![1.0, 2.0, 3.0]));
    }

    #[test]
    fn this_machine_tells_something() {
        let mut sampler = Sampler::new().expect("a Linux machine");
        let known = sampler.sample().iter().flatten().count();
        assert!(known >= 4, "{known} channels");
    }
}
