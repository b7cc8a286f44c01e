//! `--dasha` as the daemon starts it: from a folder of samples to an artifact, killed or not.

mod bench;
mod child;
mod endurance;
mod folder;
mod hardened;
mod motif;
mod refusals;
mod resume;
mod stages;
