//! Stories about the whole: the real executable, real folders, real scrapes. One binary, one module a theme.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests say why by failing")]
#![allow(unreachable_pub, reason = "the benches include `support` too")]

mod support;

mod accuracy;
mod architecture;
mod backtest;
mod bad_files;
mod commands;
mod dasha;
mod demo;
mod forecasts;
mod inference;
mod load;
mod masks;
mod method;
mod models;
mod networks;
mod oracle;
mod predictions;
mod prometheus;
mod reload;
mod rolling;
mod rows;
mod samples;
mod service;
mod serving;
mod tiles;
mod torch;
mod torture;
mod trainings;
