//! The service: parquet drops in, forecasts out.
//!
//! The rooms stand along the way of a drop. `message` holds what they hand to one another; a room knows only
//! messages, configuration and models, never another room. `app` knows them all. See `ARCHITECTURE.md`.

#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "the stories share it")]
#[path = "../tests/support/artifact.rs"]
mod artifact_fixture;

pub mod app;
pub mod cli;
pub mod intake;
pub mod message;
pub mod planner;
pub mod publish;
pub mod service;
pub mod state;
pub mod work;
