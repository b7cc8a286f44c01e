//! What the rooms hand to one another: plain values, each named by how far the data has come.
//!
//! `LandedFile → SeriesDrop → FitJob → FitReport → Snapshot`, and for models `LandedFile → ModelVersion → Snapshot`. No behaviour beyond keeping an invariant; no room is
//! named here.

pub mod account;
pub mod change_models;
pub mod content_key;
pub mod drop_totals;
pub mod fit_job;
pub mod inference;
pub mod ingest_report;
pub mod landed_file;
pub mod model;
pub mod prediction;
pub mod rejected;
pub mod sample;
pub mod series_drop;
pub mod snapshot;
pub mod torch_status;
pub mod training;
