//! The service: parquet drops in, forecasts out.
//!
//! The rooms stand along the way of a drop. `message` holds what they hand to one another; a room knows only
//! messages, configuration and models, never another room. `app` knows them all. See `ARCHITECTURE.md`.

pub mod message;
pub mod work;
