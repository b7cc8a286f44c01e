//! Wires the rooms and runs until the shutdown future completes. The only place that knows every room.

mod change;
mod event;
mod ingest;
mod models;
mod predict;
mod run;
mod serving;
mod trainings;
mod wiring;

pub use run::{App, Options};
