//! What this process uses, read from `/proc` by hand: two small files stand in for a crate.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// What this process uses at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProcessUse {
    /// User and system together.
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) threads: u64,
    pub(super) open_fds: u64,
    /// `None`: without limit.
    pub(super) max_fds: Option<u64>,
}

impl ProcessUse {
    /// `None` where `/proc` is not mounted.
    pub(super) fn read() -> Option<Self> {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        // Less the descriptor of this very listing.
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        Some(Self {
            cpu_seconds: stat.cpu_ticks as f64 / clock_ticks_per_second() as f64,
            resident_bytes: stat.resident_pages * page_size() as u64,
            threads: stat.threads,
            open_fds: open_fds as u64,
            max_fds: getrlimit(Resource::Nofile).current,
        })
    }
}

/// The fields of `/proc/self/stat` that are shown, see proc_pid_stat(5).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The second field is the executable's name in parentheses, and may itself hold spaces and parentheses.
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_with_a_hostile_name_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 0 0 12 30 0 0 20 0 5 0 1234 99999 321 1844 1 1";
        let expected = Stat {
            cpu_ticks: 42,
            threads: 5,
            resident_pages: 321,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory_threads_and_descriptors() {
        let used = ProcessUse::read().expect("/proc is mounted");
        assert!(used.resident_bytes > 100_000, "{used:?}");
        assert!(used.threads >= 1 && used.open_fds >= 3, "{used:?}");
        assert!(used.max_fds.is_none_or(|most| most >= used.open_fds), "{used:?}");
    }
}
