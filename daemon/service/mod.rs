//! The process among processes: what it tells systemd, which signals it heeds, where it takes the time from.

pub mod clock;
pub mod memory;
pub mod pulse;
pub mod signals;
pub mod systemd;
