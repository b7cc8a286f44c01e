//! A file becomes a value: from a name in a folder to rows that can be trusted.
//!
//! On the way: `watch` and `scan` say what has landed, `claim` takes a private copy, `decoder` reads it in a process
//! of its own, `finish` and `quarantine` clear the folder afterwards. Models come as folders (`artifact`), and what
//! somebody asks of the daemon as a file (`request`). What the rows mean for the history, and when a
//! file is taken up, others decide; nothing here remembers anything across a restart.

pub mod artifact;
pub mod claim;
mod columns;
pub mod decode;
pub mod decode_worker;
pub mod decoder;
pub mod finish;
#[cfg(test)]
mod fixture;
mod footer;
pub mod guess;
mod landed;
mod names;
pub mod panel;
pub mod parts;
mod protocol;
pub mod quarantine;
mod relocate;
pub mod request;
mod rows;
pub mod samples;
pub mod scan;
pub mod shard;
mod table;
pub mod watch;
