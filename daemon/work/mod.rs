//! Decisions become results: what computes, each on threads or in a process of its own.

pub mod torch_process;
