//! Values become decisions: a deterministic state machine with no thread, file, clock or channel in it.
//!
//! [`Planner::apply`] takes what happened and says what to do; others do it. It owns the histories, knows which
//! files wait and which channels are due, and builds the snapshot.

pub mod accuracy;
pub mod command;
pub mod dataset;
pub mod due;
pub mod event;
pub mod files;
pub mod frequency;
pub mod history;
mod machine;
mod network;
pub mod pool;
pub mod predictions;
pub mod registry;
pub mod samples;
pub mod trainings;

pub use command::{Command, ModelJob};
pub use event::Event;
pub use machine::{PREDICTORS, Planner};
