//! Decisions become results: what computes, each on threads or in a process of its own.

pub mod fit;
pub mod fit_on_device;
pub mod inference;
pub mod networks;
pub mod predict;
pub mod torch_process;
pub mod train;
pub mod worker;
