//! The libtorch side: the only crate that names `tch`, and the process in which it may crash.
//!
//! The daemon never links this crate; it starts the executable and speaks the frames of `forecastd_models`. Nothing
//! here outlives a reply: a child may be killed at any instant and another one started in its place.

pub mod artifact;
pub mod augment;
pub mod bench;
pub mod dasha;
pub mod device;
pub mod fit;
pub mod inference;
pub mod job;
pub mod nets;
pub mod onednn;
pub mod parent;
pub mod predict;
pub mod predictor;
pub mod samples;
pub mod serve;
pub mod wire;
